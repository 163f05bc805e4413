//! What a person is told, each thing once.

use super::{Phase, State};
use crate::{
    clock::{Now, UnixTime},
    session::{
        Failure,
        warning::{Level, Raised, Warning, WarningKind},
    },
};

impl State {
    /// Announces the end of the session, if a moment has come.
    pub(super) fn announce(&mut self, now: Now) {
        let Some(plan) = self.plan().filter(|_| !self.has_ended()) else { return };
        let raised = self.session.as_ref().and_then(|session| session.notes.warned);
        if let Some((level, raised)) = plan.due(self.aws(now.wall), raised) {
            self.warn(now, WarningKind::SessionEnd(level));
            self.note_warned(raised);
        }
    }

    /// Announces that the session has ended.
    pub(super) fn announce_end(&mut self, now: Now) {
        self.warn(now, WarningKind::SessionEnd(Level::Ended));
    }

    /// Announces that refreshing fails, where that will not heal itself in time: a setting is at fault, or the token
    /// dies before the next attempt could have brought another. Once, until a refresh succeeds.
    pub(super) fn announce_failing(&mut self, now: Now, failure: &Failure) {
        let Phase::BackingOff { until, .. } = self.phase else { return };
        let Some(token) = self.token() else { return };
        let left = self.end_of(token).remaining(now);
        let min_ttl = crate::session::schedule::min_ttl(&self.settings, self.life_of(token));
        let dies = !left.is_zero() && left <= until.saturating_sub(now.boot) + min_ttl;
        let token_ends_at = self.end_of(token).wall;
        if (dies || matches!(failure, Failure::Setting { .. })) && !self.warned_of_failing {
            self.warned_of_failing = true;
            self.warn(now, WarningKind::RefreshFailing { error: failure.to_string(), token_ends_at });
        }
    }

    pub(super) fn warn(&mut self, now: Now, kind: WarningKind) {
        let horizon = self.horizon();
        let fix = match (&kind, self.setting_at_fault()) {
            (WarningKind::RefreshFailing { .. }, Some(setting)) => setting.fix().to_owned(),
            (WarningKind::RefreshFailing { .. }, None) => self.command("status"),
            (WarningKind::IdleLock { .. }, _) => self.command("unlock"),
            (WarningKind::SessionEnd(_), _) => self.login.clone(),
        };
        let reason = match (&kind, &self.phase) {
            (WarningKind::SessionEnd(Level::Ended), Phase::Ended { reason }) => Some(reason.clone()),
            _ => None,
        };
        self.warnings.push(Warning {
            kind,
            expires_at: horizon.as_ref().and_then(|horizon| horizon.refresh_token.at),
            injecting_until: horizon.and_then(|horizon| horizon.injecting_until(now)),
            reason,
            fix,
        });
    }

    fn note_warned(&mut self, raised: Raised) {
        if let Some(session) = self.session.as_mut() {
            session.notes.warned = Some(raised);
            self.save = true;
        }
    }

    /// `wall` in AWS's time, in which the end of a session does not move when this machine's clock does.
    pub(in crate::session) const fn aws(&self, wall: UnixTime) -> UnixTime {
        wall.shifted(self.skew_ms)
    }
}
