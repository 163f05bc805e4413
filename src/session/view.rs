//! What of the machine's state may be seen from outside: the snapshot, made from the state and nothing else.

use std::time::Duration;

use super::{
    Basis, Expiry, Mode, Token,
    snapshot::{Gate, Snapshot},
    state::{NUDGE_PAUSE, Phase, State},
    status::{Facts, Identity, StateName, TokenTimes},
    warning::Level,
};
use crate::clock::{Now, UnixTime};

/// Requests that arrive this long after the last token died may still be held for a sign-in.
const HOLD_WINDOW: Duration = Duration::from_secs(600);

impl State {
    /// What is published at `now`.
    #[must_use]
    pub fn snapshot(&self, now: Now) -> Snapshot {
        let session = self.session();
        Snapshot {
            id_token: session.map(|session| self.injectable(&session.id_token)),
            access_token: session.and_then(|session| session.access_token.as_ref()).map(|token| self.injectable(token)),
            gate: self.gate(),
            facts: self.facts(now),
            idle: self.idle_lock(now),
            login: self.login.clone(),
        }
    }

    fn gate(&self) -> Gate {
        if let Some(detail) = &self.withheld {
            return Gate::SignedOut { detail: detail.clone() };
        }
        if self.session().is_some_and(|session| session.notes.locked) {
            return Gate::Locked;
        }
        match &self.phase {
            Phase::SignedOut { detail } => Gate::SignedOut { detail: detail.clone() },
            Phase::Fresh => Gate::Open,
            Phase::Refreshing { .. } => Gate::Refreshing,
            Phase::BackingOff { until, nudgeable, .. } => Gate::BackingOff {
                until: *until,
                nudge_from: nudgeable.then(|| self.last_attempt().unwrap_or_default() + NUDGE_PAUSE),
                fix: self.failing_fix(),
            },
            Phase::Ended { reason } => {
                Gate::Ended { reason: reason.clone(), hold_until: self.last_death().map(|end| end.later(HOLD_WINDOW)) }
            }
        }
    }

    fn failing_fix(&self) -> String {
        match self.setting_at_fault() {
            Some(setting) => setting.fix().to_owned(),
            None => self.command("status"),
        }
    }

    fn facts(&self, now: Now) -> Facts {
        let Some(session) = self.session() else {
            return Facts::signed_out(Some(self.login.clone()));
        };
        let horizon = self.horizon();
        let level = self.level(now);
        Facts {
            state: self.state_name(),
            identity: Some(Identity {
                username: session.username.clone(),
                sub: session.subject.clone(),
                user_pool_id: session.user_pool_id.clone(),
                client_id: session.client_id.clone(),
            }),
            signed_in_at: session.auth_time,
            id_token: Some(self.times(&session.id_token)),
            access_token: session.access_token.as_ref().map(|token| self.times(token)),
            refresh_token: horizon
                .as_ref()
                .map_or(Expiry { at: None, basis: Basis::Unknown }, |horizon| horizon.refresh_token),
            injecting_until: horizon.and_then(|horizon| horizon.injecting_until(now)),
            next_refresh_at: self.next_refresh_at(now),
            last_refresh: session.notes.last_refresh.clone(),
            consecutive_failures: self.failures(),
            level,
            fix: self.fix(level),
            unpersisted_rotation: self.unsaved.is_some() && self.undurable,
            usable_until: self.token().map(|token| self.end_of(token)),
        }
    }

    fn state_name(&self) -> StateName {
        if self.withheld.is_some() {
            return StateName::SignedOut;
        }
        if self.session().is_some_and(|session| session.notes.locked) {
            return StateName::Locked;
        }
        match self.phase {
            Phase::SignedOut { .. } => StateName::SignedOut,
            Phase::Fresh => StateName::Fresh,
            Phase::Refreshing { .. } => StateName::Refreshing,
            Phase::BackingOff { .. } => StateName::BackingOff,
            Phase::Ended { .. } => StateName::SessionEnded,
        }
    }

    fn times(&self, token: &Token) -> TokenTimes {
        TokenTimes { issued_at: token.claims.issued_at, expires_at: token.claims.expires_at, end: self.end_of(token) }
    }

    fn next_refresh_at(&self, now: Now) -> Option<UnixTime> {
        match self.phase {
            Phase::BackingOff { until_wall, .. } => Some(until_wall),
            Phase::Refreshing { since, .. } => Some(since),
            Phase::Fresh => self.next_planned(now),
            Phase::SignedOut { .. } | Phase::Ended { .. } => None,
        }
    }

    fn next_planned(&self, now: Now) -> Option<UnixTime> {
        let last_chance = self.horizon().and_then(|horizon| horizon.last_chance()).filter(|at| *at > now.wall);
        let ahead = self.end_of_token().filter(|_| self.settings.mode == Mode::Ahead).map(|end| {
            let due = end.earlier(self.lead);
            // The wall clock states the moment, unless it was set back: then the clock since boot comes first. Which
            // of them is nearer by a few milliseconds is no news.
            let by_boot = now.wall + due.boot.saturating_sub(now.boot);
            if by_boot + Duration::from_secs(5) < due.wall { by_boot } else { due.wall }
        });
        ahead.into_iter().chain(last_chance).min()
    }

    fn level(&self, now: Now) -> Level {
        if self.has_ended() {
            return Level::Ended;
        }
        self.plan().map_or(Level::None, |plan| plan.level(self.aws(now.wall)))
    }

    fn fix(&self, level: Level) -> Option<String> {
        let locked = self.session().is_some_and(|session| session.notes.locked);
        match self.setting_at_fault() {
            Some(setting) => Some(setting.fix().to_owned()),
            None if locked && !self.has_ended() && self.withheld.is_none() => Some(self.command("unlock")),
            None => (level > Level::None || self.withheld.is_some()).then(|| self.login.clone()),
        }
    }
}
