//! What happened lately, told by two states that were published one after the other. Pure.
//!
//! Owns which changes are worth a line to a person. Holds no secret: an error is shown as `status` shows it.

use std::fmt;

use super::{
    Outcome,
    snapshot::{Gate, Snapshot},
    status::StateName,
    warning::Level,
};
use crate::clock::{Now, UnixTime};

/// One line of what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// When.
    pub at: UnixTime,
    /// What.
    pub what: What,
}

/// What may happen to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The proxy began with this state.
    Started(StateName),
    /// A sign-in was taken over.
    SignedIn {
        /// Whose.
        username: String,
    },
    /// Somebody logged out, or the stored session may not be used.
    SignedOut,
    /// A refresh brought new tokens.
    Refreshed,
    /// A refresh brought none.
    RefreshFailed {
        /// Why, without any secret.
        error: String,
    },
    /// The end of the session is this near.
    Warned(Level),
    /// Cognito's verdict has come.
    Ended {
        /// The verdict.
        reason: String,
    },
    /// The idle lock closed.
    Locked,
    /// Somebody opened it.
    Unlocked,
    /// The disk refuses the rotated refresh token.
    StoreRefused,
    /// It took it at last.
    StoreTook,
}

impl fmt::Display for What {
    /// One sentence without its full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started(StateName::SignedOut) => f.write_str("The proxy started, and nobody has signed in"),
            Self::Started(StateName::SessionEnded) => f.write_str("The proxy started with a session that has ended"),
            Self::Started(_) => f.write_str("The proxy started with the stored session"),
            Self::SignedIn { username } => write!(f, "{username} signed in"),
            Self::SignedOut => f.write_str("Signed out"),
            Self::Refreshed => f.write_str("The token was refreshed"),
            Self::RefreshFailed { error } => write!(f, "A refresh failed: {error}"),
            Self::Warned(level) => write!(f, "The session's end is near: {}", level.as_str()),
            Self::Ended { reason } => write!(f, "The session ended: {reason}"),
            Self::Locked => f.write_str("Locked, after a time without requests"),
            Self::Unlocked => f.write_str("Unlocked"),
            Self::StoreRefused => f.write_str("The disk refused the new refresh token"),
            Self::StoreTook => f.write_str("The new refresh token was stored at last"),
        }
    }
}

impl What {
    /// Whether a person should look twice.
    #[must_use]
    pub const fn is_bad(&self) -> bool {
        matches!(
            self,
            Self::RefreshFailed { .. } | Self::Warned(_) | Self::Ended { .. } | Self::Locked | Self::StoreRefused
        )
    }
}

/// What happened between `old` and `new`, which was published at `now`, in the order in which a person tells it.
#[must_use]
pub fn between(old: &Snapshot, new: &Snapshot, now: Now) -> Vec<Happening> {
    let (was, is) = (&old.facts, &new.facts);
    // A pool may state an earlier time of the sign-in at a refresh, never a later one.
    let signed_in =
        is.state != StateName::SignedOut && (was.state == StateName::SignedOut || is.signed_in_at > was.signed_in_at);
    let mut happened = Vec::new();
    if signed_in {
        let username = is.identity.as_ref().map(|identity| identity.username.clone()).unwrap_or_default();
        happened.push(What::SignedIn { username });
    } else if let Some(last) = is.last_refresh.as_ref().filter(|last| was.last_refresh.as_ref() != Some(last)) {
        happened.push(match (last.outcome, &last.error) {
            (Outcome::Ok, _) => What::Refreshed,
            (outcome, error) => {
                What::RefreshFailed { error: error.clone().unwrap_or_else(|| outcome.as_str().to_owned()) }
            }
        });
    }
    match (was.state, is.state) {
        (was, is) if was == is => {}
        (_, StateName::SignedOut) => happened.push(What::SignedOut),
        (_, StateName::Locked) => happened.push(What::Locked),
        (StateName::Locked, _) if !signed_in => happened.push(What::Unlocked),
        _ => {}
    }
    match &new.gate {
        Gate::Ended { reason, .. } if !matches!(old.gate, Gate::Ended { .. }) => {
            happened.push(What::Ended { reason: reason.to_string() });
        }
        _ if is.level > was.level && is.level < Level::Ended => happened.push(What::Warned(is.level)),
        _ => {}
    }
    match (was.unpersisted_rotation, is.unpersisted_rotation) {
        (false, true) => happened.push(What::StoreRefused),
        (true, false) if !signed_in && is.state != StateName::SignedOut => happened.push(What::StoreTook),
        _ => {}
    }
    happened.into_iter().map(|what| Happening { at: now.wall, what }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::session::{
        EndReason, LastRefresh,
        state::{State, fixtures},
    };

    fn now() -> Now {
        Now { wall: UnixTime::from_secs(1_800_000_000), boot: Duration::from_secs(60) }
    }

    fn signed_in() -> Snapshot {
        let session = Box::new(fixtures::session(now(), 3600));
        State::new(fixtures::settings(), "cognito-proxy login".into(), 1).at_rest(Ok(Some(session))).snapshot(now())
    }

    fn signed_out() -> Snapshot {
        State::new(fixtures::settings(), "cognito-proxy login".into(), 1).at_rest(Ok(None)).snapshot(now())
    }

    fn told(old: &Snapshot, change: impl FnOnce(&mut Snapshot)) -> Vec<What> {
        let mut new = old.clone();
        change(&mut new);
        between(old, &new, now()).into_iter().map(|happening| happening.what).collect()
    }

    fn last(outcome: Outcome, error: Option<&str>) -> LastRefresh {
        LastRefresh { at: UnixTime::from_secs(1_800_000_100), outcome, error: error.map(str::to_owned) }
    }

    #[test]
    fn each_change_is_one_line_and_no_change_is_none() {
        let fresh = signed_in();
        assert_eq!(told(&fresh, |_| {}), []);
        assert_eq!(told(&fresh, |new| new.facts.state = StateName::Refreshing), []);
        assert_eq!(told(&fresh, |new| new.facts.last_refresh = Some(last(Outcome::Ok, None))), [What::Refreshed]);
        let failed = told(&fresh, |new| new.facts.last_refresh = Some(last(Outcome::Transient, Some("no route"))));
        assert_eq!(failed, [What::RefreshFailed { error: "no route".into() }]);
        assert_eq!(told(&fresh, |new| new.facts.state = StateName::Locked), [What::Locked]);
        assert_eq!(told(&fresh, |new| new.facts.level = Level::Soon), [What::Warned(Level::Soon)]);
        assert_eq!(told(&fresh, |new| new.facts.unpersisted_rotation = true), [What::StoreRefused]);

        let mut locked = fresh.clone();
        locked.facts.state = StateName::Locked;
        locked.facts.unpersisted_rotation = true;
        let opened = told(&locked, |new| {
            new.facts.state = StateName::Fresh;
            new.facts.unpersisted_rotation = false;
        });
        assert_eq!(opened, [What::Unlocked, What::StoreTook]);
    }

    #[test]
    fn a_verdict_is_told_with_its_reason_and_not_as_a_level() {
        let fresh = signed_in();
        let ended = told(&fresh, |new| {
            new.facts.state = StateName::SessionEnded;
            new.facts.level = Level::Ended;
            new.gate = Gate::Ended { reason: EndReason::UserDisabled, hold_until: None };
        });
        assert_eq!(ended, [What::Ended { reason: EndReason::UserDisabled.to_string() }]);
    }

    #[test]
    fn a_sign_in_is_that_and_no_refresh() {
        let (fresh, nobody) = (signed_in(), signed_out());
        let alice = What::SignedIn { username: "alice".into() };
        assert_eq!(between(&nobody, &fresh, now())[0].what, alice);
        assert_eq!(between(&fresh, &nobody, now())[0].what, What::SignedOut);
        let again = told(&fresh, |new| {
            new.facts.signed_in_at = Some(UnixTime::from_secs(1_800_000_200));
            new.facts.last_refresh = Some(last(Outcome::Ok, None));
        });
        assert_eq!(again, [alice]);
    }
}
