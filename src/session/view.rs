//! What of the machine's state may be seen from outside: the snapshot, made from the state and nothing else.

use std::time::Duration;

use super::{
    Basis, Expiry, Session, Token, schedule,
    snapshot::{Gate, Injectable, Snapshot},
    state::{NUDGE_PAUSE, Phase, State},
    status::{Facts, Identity, StateName, TokenTimes},
    warning::Level,
};
use crate::clock::Now;

/// Requests that arrive this long after the last token died may still be held for a sign-in.
const HOLD_WINDOW: Duration = Duration::from_secs(600);

impl State {
    /// What is published at `now`.
    #[must_use]
    pub fn snapshot(&self, now: Now) -> Snapshot {
        let session = self.session();
        Snapshot {
            id_token: session.map(|session| self.injectable(session, &session.id_token)),
            access_token: session
                .and_then(|session| session.access_token.as_ref().map(|token| self.injectable(session, token))),
            gate: self.gate(),
            facts: self.facts(now),
            login: self.login.clone(),
        }
    }

    fn injectable(&self, session: &Session, token: &Token) -> Injectable {
        let min_ttl = schedule::min_ttl(&self.settings, token.lifetime());
        Injectable::new(token, session.generation, self.end_of(token), min_ttl)
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
            Phase::Ended { reason } => Gate::Ended {
                reason: reason.clone(),
                hold_until: self.end_of_token().map(|end| end.later(HOLD_WINDOW)),
            },
        }
    }

    fn failing_fix(&self) -> String {
        match self.setting_at_fault() {
            Some(setting) => setting.fix().to_owned(),
            None => self.login.replacen("login", "status", 1),
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
            unpersisted_rotation: self.unsaved.is_some(),
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

    fn next_refresh_at(&self, now: Now) -> Option<crate::clock::UnixTime> {
        match self.phase {
            Phase::BackingOff { until_wall, .. } => Some(until_wall),
            Phase::Refreshing { .. } => Some(now.wall),
            Phase::Fresh => {
                let last_chance = self.horizon().and_then(|horizon| horizon.last_chance());
                let ahead = self.end_of_token().map(|end| end.earlier(self.lead).wall);
                match self.settings.mode {
                    super::Mode::Ahead => ahead.into_iter().chain(last_chance.filter(|at| *at > now.wall)).min(),
                    super::Mode::OnDemand => last_chance.filter(|at| *at > now.wall),
                }
            }
            Phase::SignedOut { .. } | Phase::Ended { .. } => None,
        }
    }

    fn level(&self, now: Now) -> Level {
        match self.phase {
            Phase::Ended { .. } => Level::Ended,
            _ => self.plan().map_or(Level::None, |plan| plan.level(now.wall)),
        }
    }

    fn fix(&self, level: Level) -> Option<String> {
        match self.setting_at_fault() {
            Some(setting) => Some(setting.fix().to_owned()),
            None => (level > Level::None || self.withheld.is_some()).then(|| self.login.clone()),
        }
    }
}
