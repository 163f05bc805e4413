//! The idle lock: after so long without a request the token is withheld, until somebody opens the lock.
//!
//! Reckoned on the clock since boot, sleep included. The machine hears of requests only when it wakes, so a busy proxy
//! costs one wake-up in each idle period, and none without the lock.

use std::time::Duration;

use super::State;
use crate::{
    clock::Now,
    session::{snapshot::IdleLock, warning::WarningKind},
};

/// What is known of the use of this proxy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Use {
    /// The last sign of a person: a request, a sign-in, an unlock, the start.
    last: Duration,
    /// Whether the closing of the lock after it has been announced.
    announced: bool,
}

impl State {
    /// A sign of a person at `at`, on the clock since boot.
    pub(super) const fn used(&mut self, at: Duration) {
        if at.as_nanos() > self.usage.last.as_nanos() {
            self.usage = Use { last: at, announced: false };
        }
    }

    pub(super) fn unlocked(&mut self, now: Now) {
        self.used(now.boot);
        if let Some(session) = self.session.as_mut()
            && std::mem::take(&mut session.notes.locked)
        {
            self.save = true;
        }
    }

    /// Announces the lock, or closes it.
    pub(super) fn watch_idleness(&mut self, now: Now) {
        let Some(lock) = self.idle_lock(now) else { return };
        let closes = lock.closes();
        if now.boot >= closes {
            if let Some(session) = self.session.as_mut() {
                session.notes.locked = true;
                self.save = true;
            }
        } else if now.boot >= lock.announced() && !self.usage.announced {
            self.usage.announced = true;
            self.warn(now, WarningKind::IdleLock { closes_at: now.wall + closes.saturating_sub(now.boot) });
        }
    }

    /// How long until the lock is announced, or closes.
    pub(super) fn idleness_due(&self, now: Now) -> Option<Duration> {
        let lock = self.idle_lock(now)?;
        let next = if self.usage.announced { lock.closes() } else { lock.announced() };
        Some(next.saturating_sub(now.boot))
    }

    /// The lock, while there is something that it would withhold.
    pub(in crate::session) fn idle_lock(&self, now: Now) -> Option<IdleLock> {
        let after = self.settings.idle_lock?;
        let session = self.session.as_ref()?;
        let over = session.notes.ended.is_some() && self.lacks_usable(now);
        (!session.notes.locked && !over).then_some(IdleLock { after, since: self.usage.last })
    }
}
