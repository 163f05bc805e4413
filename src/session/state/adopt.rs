//! Where a session comes from: the store at start, a sign-in, another process; and how it goes.

use std::time::Duration;

use super::{Forced, Phase, Publish, State};
use crate::{
    clock::Now,
    session::{Session, Settings, Token, schedule, validity, verdict::Suspicion},
};

impl State {
    pub(super) fn rest(&mut self, stored: Result<Option<Box<Session>>, String>) {
        match stored {
            Err(detail) => self.sign_out(detail),
            Ok(None) => self.sign_out("nobody has signed in".into()),
            Ok(Some(session)) if !self.is_ours(&session) => self.sign_out(foreign(&session)),
            Ok(Some(session)) => self.take(*session),
        }
    }

    pub(super) fn loaded(&mut self, now: Now, stored: Result<Option<Box<Session>>, String>) {
        self.rest(stored);
        self.used(now.boot);
        self.withheld = None;
        if let Some(session) = self.session.as_ref() {
            // A stored token says nothing about AWS's clock, unless it comes from the future.
            self.skew_ms = schedule::skew_ms(now.wall, None, session.id_token.claims.issued_at);
        }
        if self.has_ended() {
            // One attempt: the verdict may have been mistaken, or mended since.
            self.start(now, true);
        } else {
            self.withheld = self.too_short_at_start(now);
        }
    }

    pub(super) fn adopted(&mut self, now: Now, mut session: Session, stored: bool) {
        if stored {
            self.saving = false;
        }
        let ours = self.session.as_ref();
        let is_old = |ours: &Session| session.generation <= ours.generation && !self.gives_way(ours, &session);
        if !self.is_ours(&session) || (stored && ours.is_some_and(is_old)) {
            return;
        }
        let goes_on = stored && ours.is_some_and(|ours| is_same_sign_in(ours, &session));
        if let Some(ours) = ours {
            inherit(&mut session, ours, goes_on);
        }
        self.save = false;
        self.publish = Publish::Now;
        self.undurable = false;
        if !goes_on {
            session.notes.locked = false;
            self.withheld = None;
            self.used(now.boot);
        }
        if session.generation <= self.newest {
            session.generation = self.newest + 1;
            self.save = true;
        }
        if !stored {
            self.save = true;
            self.publish = Publish::AfterSave;
            self.undurable = true;
        }
        self.unsaved = None;
        self.forced.under_way = false;
        self.skew_ms = match schedule::skew_ms(now.wall, None, session.id_token.claims.issued_at) {
            0 => self.skew_ms,
            ahead => self.skew_ms.max(ahead),
        };
        self.take(session);
    }

    /// Whether a session that has ended is worth less than a stored one of whatever generation: somebody put another
    /// refresh token there.
    fn gives_way(&self, ours: &Session, stored: &Session) -> bool {
        let is_durable = !self.undurable && self.unsaved.is_none();
        is_durable && ours.notes.ended.is_some() && ours.refresh_token != stored.refresh_token
    }

    /// Makes `session` the current one, as its notes say it is.
    pub(super) fn take(&mut self, session: Session) {
        self.failures = 0;
        self.lost = false;
        self.warned_of_failing = false;
        self.suspicion = Suspicion::default();
        self.phase = match &session.notes.ended {
            Some(reason) => Phase::Ended { reason: reason.clone() },
            None => Phase::Fresh,
        };
        self.minted = session.generation;
        self.newest = self.newest.max(session.generation);
        self.left_when_granted = Duration::MAX;
        self.session = Some(session);
        self.roll_lead();
    }

    pub(super) fn sign_out(&mut self, detail: String) {
        self.phase = Phase::SignedOut { detail };
        self.session = None;
        self.unsaved = None;
        self.withheld = None;
        self.failures = 0;
        self.suspicion = Suspicion::default();
        self.forced = Forced::default();
        self.publish = Publish::Now;
        self.save = false;
        self.undurable = false;
    }

    pub(super) fn roll_lead(&mut self) {
        let life = self.token().map_or(Duration::ZERO, |token| self.life_of(token));
        self.lead = schedule::jittered_lead(schedule::lead(&self.settings, life), &mut self.dice);
    }

    /// The lifetime that caps are reckoned from: what was left of the token when it was granted, where that is less
    /// than its issuer gave it. A pool that hands out a token again and again until its end is not asked in a loop.
    pub(in crate::session) fn life_of(&self, token: &Token) -> Duration {
        token.lifetime().min(self.left_when_granted)
    }

    pub(super) fn is_ours(&self, session: &Session) -> bool {
        is_of(&self.settings, session)
    }

    /// `session.min_remaining_at_start`: why a session with too little left must not be used.
    fn too_short_at_start(&self, now: Now) -> Option<String> {
        let wanted = self.settings.min_remaining_at_start?;
        let session = self.session.as_ref()?;
        let expiry = self.horizon()?.refresh_token.at?;
        let validity = validity::believed(&self.settings, self.pool_validity, &session.notes.observed).0?;
        let short = expiry.since(now.wall) < wanted.min(validity / 2);
        short.then(|| format!("the session ends at {expiry}, sooner than session.min_remaining_at_start allows"))
    }
}

/// What `session` keeps of the one before it; `goes_on` where it is the same sign-in, refreshed by another process.
fn inherit(session: &mut Session, ours: &Session, goes_on: bool) {
    let notes = &mut session.notes;
    if goes_on {
        notes.locked |= ours.notes.locked;
        notes.observed.accepted_at = notes.observed.accepted_at.max(ours.notes.observed.accepted_at);
        // Both were raised about one sign-in: the later one is the more urgent.
        notes.warned = match (notes.warned, ours.notes.warned) {
            (Some(theirs), Some(ours)) if theirs.expiry == ours.expiry && ours.threshold < theirs.threshold => {
                Some(ours)
            }
            (theirs, ours) => theirs.or(ours),
        };
    } else {
        notes.observed = ours.notes.observed.carried();
    }
}

/// Whether `session` came from `ours` by refreshing: `auth_time` stays the time of the sign-in.
fn is_same_sign_in(ours: &Session, session: &Session) -> bool {
    ours.subject == session.subject && ours.auth_time.is_some() && ours.auth_time == session.auth_time
}

/// Whether `session` belongs to the pool and the client of `settings`.
pub(super) fn is_of(settings: &Settings, session: &Session) -> bool {
    session.user_pool_id == settings.user_pool_id && session.client_id == settings.client_id
}

/// Why a stored session of another pool or client is none of ours.
pub(super) fn foreign(session: &Session) -> String {
    format!(
        "the stored session belongs to client {} of pool {}, which is not the one configured",
        session.client_id, session.user_pool_id
    )
}
