//! The session as the rest of the program sees it: one immutable value, made by the machine at every change.
//!
//! Owns the decision whether a request may be injected now, must wait, or is refused. Pure: the time is a parameter,
//! so a value that nobody has replaced for hours still never lets a dead token out.

use std::time::Duration;

use super::{
    EndReason, Token, TokenKind,
    schedule::{Deadline, LAST_SECOND},
    status::Facts,
};
use crate::{
    clock::Now,
    reply::{Code, Refusal},
    secret::Secret,
};

/// What is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The ID token, where there is one, used up or not.
    pub id_token: Option<Injectable>,
    /// The access token, likewise.
    pub access_token: Option<Injectable>,
    /// What the machine is doing about it.
    pub gate: Gate,
    /// What `status` shows.
    pub facts: Facts,
    /// The idle lock, where one would close.
    pub idle: Option<IdleLock>,
    /// The command that mends a missing sign-in.
    pub login: String,
}

/// A token that may be injected until its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injectable {
    /// The token itself.
    pub jwt: Secret,
    /// Which generation of the session it belongs to.
    pub generation: u64,
    /// One second before its end, on both clocks of this machine.
    pub until: Deadline,
    /// With less than this left a request waits for the refresh.
    pub min_ttl: Duration,
}

impl Injectable {
    /// `token`, whose end in this machine's time is `end`.
    #[must_use]
    pub fn new(token: &Token, generation: u64, end: Deadline, min_ttl: Duration) -> Self {
        Self { jwt: token.jwt.clone(), generation, until: end.earlier(LAST_SECOND), min_ttl }
    }

    /// Whether it may still be sent.
    #[must_use]
    pub fn is_usable(&self, now: Now) -> bool {
        !self.until.remaining(now).is_zero()
    }

    /// Whether it will still be good for a request that takes a while.
    #[must_use]
    pub fn is_fresh(&self, now: Now) -> bool {
        self.until.remaining(now) + LAST_SECOND >= self.min_ttl && self.is_usable(now)
    }
}

/// `session.idle_lock`, as a request sees it before the machine has closed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleLock {
    /// So long without a request, and the token is withheld.
    pub after: Duration,
    /// The last use that the machine knows of, on the clock since boot.
    pub since: Duration,
}

/// How long before it closes the idle lock is announced; half-way where that would be earlier.
const NOTICE: Duration = Duration::from_secs(60);

/// How far the idle lock is, where no request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdleClock {
    /// Until it is announced; zero from then on.
    pub announced_in: Duration,
    /// Until it closes.
    pub closes_in: Duration,
}

impl IdleLock {
    /// When it closes, on the clock since boot.
    #[must_use]
    pub const fn closes(self) -> Duration {
        self.since.saturating_add(self.after)
    }

    /// When that is announced, on the clock since boot.
    #[must_use]
    pub fn announced(self) -> Duration {
        self.closes().saturating_sub(NOTICE.min(self.after / 2))
    }

    /// How far it is at `now`, where the last request came at `used` on the clock since boot.
    #[must_use]
    pub fn clock(self, used: Duration, now: Now) -> IdleClock {
        let lock = Self { since: self.since.max(used), ..self };
        IdleClock {
            announced_in: lock.announced().saturating_sub(now.boot),
            closes_in: lock.closes().saturating_sub(now.boot),
        }
    }
}

/// What the machine is doing, as far as a request needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Nobody has signed in, or the session that is stored may not be used.
    SignedOut {
        /// What happened, for the reply.
        detail: String,
    },
    /// Nothing is under way; a request that needs more asks for it.
    Open,
    /// A refresh is under way.
    Refreshing,
    /// The last refresh failed and the next one has its time.
    BackingOff {
        /// When the next attempt is due, on the clock since boot.
        until: Duration,
        /// From when on a request may start one earlier; `None` where that would not help.
        nudge_from: Option<Duration>,
        /// What a person can do about it.
        fix: String,
    },
    /// Cognito's verdict has come.
    Ended {
        /// The verdict.
        reason: EndReason,
        /// Until when a request may arrive and still be held for a sign-in.
        hold_until: Option<Deadline>,
    },
    /// The idle lock is closed.
    Locked,
}

/// What a request is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The token of that kind may be injected.
    Inject,
    /// Wait for the next snapshot.
    Wait {
        /// Whether the machine must be told that somebody waits.
        nudge: bool,
    },
    /// The session has ended: wait for a sign-in, if there is room to be held.
    Hold(Refusal),
    /// Answer instead.
    Refuse(Refusal),
}

impl Snapshot {
    /// The token of `kind`.
    #[must_use]
    pub const fn token(&self, kind: TokenKind) -> Option<&Injectable> {
        match kind {
            TokenKind::Id => self.id_token.as_ref(),
            TokenKind::Access => self.access_token.as_ref(),
        }
    }

    /// The command `verb` of this profile, as a shell takes it.
    #[must_use]
    pub fn command(&self, verb: &str) -> String {
        command(&self.login, verb)
    }

    /// What a request for a token of `kind` is told at `now`.
    #[must_use]
    pub fn decide(&self, kind: TokenKind, now: Now) -> Decision {
        let token = self.token(kind);
        let is_usable = || token.is_some_and(|token| token.is_usable(now));
        match &self.gate {
            Gate::Locked => Decision::Refuse(self.locked()),
            Gate::SignedOut { detail } => Decision::Refuse(self.signed_out(detail)),
            _ if token.is_some_and(|token| token.is_fresh(now)) => Decision::Inject,
            Gate::Open => Decision::Wait { nudge: true },
            // A refresh that fails is not waited for while the old token is good.
            Gate::Refreshing if self.facts.consecutive_failures > 0 && is_usable() => Decision::Inject,
            Gate::Refreshing => Decision::Wait { nudge: false },
            Gate::BackingOff { .. } | Gate::Ended { .. } if is_usable() => Decision::Inject,
            Gate::BackingOff { nudge_from: Some(from), .. } if now.boot >= *from => Decision::Wait { nudge: true },
            Gate::BackingOff { until, fix, .. } => Decision::Refuse(self.failing(until.saturating_sub(now.boot), fix)),
            Gate::Ended { reason, .. } if self.holds(now) => Decision::Hold(self.ended(reason)),
            Gate::Ended { reason, .. } => Decision::Refuse(self.ended(reason)),
        }
    }

    /// What a request is told whose patience ends at `now`: the token, if it still has a moment, else why not.
    #[must_use]
    pub fn decide_at_last(&self, kind: TokenKind, now: Now) -> Decision {
        match self.decide(kind, now) {
            Decision::Wait { .. } if self.token(kind).is_some_and(|token| token.is_usable(now)) => Decision::Inject,
            Decision::Wait { .. } => Decision::Refuse(self.failing(Duration::from_secs(1), &self.command("status"))),
            Decision::Hold(refusal) => Decision::Refuse(refusal),
            decided @ (Decision::Inject | Decision::Refuse(_)) => decided,
        }
    }

    /// Whether a request that arrived at `arrived` may be held for a sign-in.
    #[must_use]
    pub fn holds(&self, arrived: Now) -> bool {
        let Gate::Ended { hold_until: Some(until), .. } = &self.gate else { return false };
        !until.remaining(arrived).is_zero()
    }

    /// Whether the refresh that failed is tried again within `patience`: then a request waits for that.
    #[must_use]
    pub fn retries_within(&self, patience: Duration, now: Now) -> bool {
        matches!(&self.gate, Gate::BackingOff { until, .. } if until.saturating_sub(now.boot) <= patience)
    }

    /// Why a request that comes now is refused, where the last one came at `used` on the clock since boot and the idle
    /// lock is due: the machine may have had no time yet to close it, after a resume above all.
    #[must_use]
    pub fn idle_refusal(&self, used: Duration, now: Now) -> Option<Refusal> {
        let lock = self.idle?;
        let is_due = now.boot.saturating_sub(used.max(lock.since)) >= lock.after;
        is_due.then(|| self.locked())
    }

    /// Why no token can be had just now, or `None` where one can: what `/readyz` answers.
    #[must_use]
    pub fn unready(&self, kinds: &[TokenKind], on_demand: bool, now: Now) -> Option<Code> {
        let usable = kinds.iter().all(|kind| self.token(*kind).is_some_and(|token| token.is_usable(now)));
        match &self.gate {
            Gate::Locked => Some(Code::Locked),
            Gate::SignedOut { .. } => Some(Code::LoginRequired),
            Gate::Ended { .. } if !usable || on_demand => Some(Code::SessionExpired),
            Gate::Open | Gate::Refreshing if !usable && !on_demand => Some(Code::RefreshFailing),
            Gate::BackingOff { .. } if !usable || on_demand => Some(Code::RefreshFailing),
            Gate::Ended { .. } | Gate::Open | Gate::Refreshing | Gate::BackingOff { .. } => None,
        }
    }

    fn locked(&self) -> Refusal {
        Refusal {
            code: Code::Locked,
            detail: "the session was locked after a time without requests".into(),
            fix: self.command("unlock"),
            retry_after: Some(Duration::from_secs(5)),
        }
    }

    fn signed_out(&self, detail: &str) -> Refusal {
        Refusal {
            code: Code::LoginRequired,
            detail: detail.to_owned(),
            fix: self.login.clone(),
            retry_after: Some(Duration::from_secs(5)),
        }
    }

    fn ended(&self, reason: &EndReason) -> Refusal {
        Refusal {
            code: Code::SessionExpired,
            detail: format!("the session has ended: {reason}"),
            fix: self.login.clone(),
            retry_after: Some(Duration::from_secs(5)),
        }
    }

    fn failing(&self, wait: Duration, fix: &str) -> Refusal {
        let error = self.facts.last_refresh.as_ref().and_then(|last| last.error.as_deref());
        Refusal {
            code: Code::RefreshFailing,
            detail: match error {
                Some(error) => format!("no token can be injected, since refreshing fails: {error}"),
                None => "no token can be injected yet: the refresh is still under way".into(),
            },
            fix: fix.to_owned(),
            retry_after: Some(wait.max(Duration::from_secs(1))),
        }
    }
}

/// The command `verb` of the profile whose sign-in is `login`.
pub(super) fn command(login: &str, verb: &str) -> String {
    // The profile follows the verb, or comes before it.
    match (login.strip_prefix("cognito-proxy login"), login.strip_suffix("login")) {
        (Some(profile), _) => format!("cognito-proxy {verb}{profile}"),
        (None, Some(profile)) => format!("{profile}{verb}"),
        (None, None) => format!("cognito-proxy {verb}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_a_profile_are_those_of_its_sign_in() {
        for (login, unlock) in [
            ("cognito-proxy login", "cognito-proxy unlock"),
            ("cognito-proxy login -p work", "cognito-proxy unlock -p work"),
            ("cognito-proxy login -p login", "cognito-proxy unlock -p login"),
            ("cognito-proxy login -p work -c '/a b/work.toml'", "cognito-proxy unlock -p work -c '/a b/work.toml'"),
            ("cognito-proxy -p login login", "cognito-proxy -p login unlock"),
            ("cognito-proxy demo", "cognito-proxy unlock"),
        ] {
            assert_eq!(command(login, "unlock"), unlock);
        }
    }
}
