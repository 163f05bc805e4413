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
        self.until.remaining(now) + LAST_SECOND > self.min_ttl && self.is_usable(now)
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

    /// What a request for a token of `kind` is told at `now`.
    #[must_use]
    pub fn decide(&self, kind: TokenKind, now: Now) -> Decision {
        let token = self.token(kind);
        match &self.gate {
            Gate::Locked => return Decision::Refuse(self.locked()),
            Gate::SignedOut { detail } => return Decision::Refuse(self.signed_out(detail)),
            Gate::Open | Gate::Refreshing | Gate::BackingOff { .. } | Gate::Ended { .. } => {}
        }
        if token.is_some_and(|token| token.is_fresh(now)) {
            return Decision::Inject;
        }
        let usable = token.is_some_and(|token| token.is_usable(now));
        match &self.gate {
            Gate::Open => Decision::Wait { nudge: true },
            Gate::Refreshing => Decision::Wait { nudge: false },
            Gate::BackingOff { .. } | Gate::Ended { .. } if usable => Decision::Inject,
            Gate::BackingOff { nudge_from: Some(from), .. } if now.boot >= *from => Decision::Wait { nudge: true },
            Gate::BackingOff { until, fix, .. } => Decision::Refuse(self.failing(until.saturating_sub(now.boot), fix)),
            Gate::Ended { reason, hold_until } => {
                let refusal = self.ended(reason);
                if hold_until.is_some_and(|until| !until.remaining(now).is_zero()) {
                    Decision::Hold(refusal)
                } else {
                    Decision::Refuse(refusal)
                }
            }
            Gate::Locked | Gate::SignedOut { .. } => unreachable_gate(),
        }
    }

    /// What a request is told whose patience ends at `now`: the token, if it still has a moment, else why not.
    #[must_use]
    pub fn decide_at_last(&self, kind: TokenKind, now: Now) -> Decision {
        if self.token(kind).is_some_and(|token| token.is_usable(now)) {
            return Decision::Inject;
        }
        match self.decide(kind, now) {
            Decision::Wait { .. } => Decision::Refuse(self.failing(Duration::from_secs(1), "cognito-proxy status")),
            Decision::Hold(refusal) => Decision::Refuse(refusal),
            decided @ (Decision::Inject | Decision::Refuse(_)) => decided,
        }
    }

    /// Why no token can be had just now, or `None` where one can: what `/readyz` answers.
    #[must_use]
    pub fn unready(&self, kinds: &[TokenKind], on_demand: bool, now: Now) -> Option<Code> {
        let usable = kinds.iter().all(|kind| self.token(*kind).is_some_and(|token| token.is_usable(now)));
        match &self.gate {
            Gate::Locked => Some(Code::Locked),
            Gate::SignedOut { .. } => Some(Code::LoginRequired),
            Gate::Ended { .. } if !usable => Some(Code::SessionExpired),
            Gate::Open | Gate::Refreshing if !usable && !on_demand => Some(Code::RefreshFailing),
            Gate::BackingOff { .. } if !usable || on_demand => Some(Code::RefreshFailing),
            Gate::Ended { .. } | Gate::Open | Gate::Refreshing | Gate::BackingOff { .. } => None,
        }
    }

    fn locked(&self) -> Refusal {
        Refusal {
            code: Code::Locked,
            detail: "the session was locked after a time without requests".into(),
            fix: self.login.replacen("login", "unlock", 1),
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

/// The two gates that were answered above; a refusal all the same, since a request must never be let through by
/// mistake.
fn unreachable_gate() -> Decision {
    debug_assert!(false, "answered above");
    Decision::Wait { nudge: false }
}
