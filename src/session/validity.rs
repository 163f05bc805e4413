//! Clocks two and three: how long the refresh token lives, how that is known, and until when a token can be injected.
//! Pure.
//!
//! Cognito never states the refresh token's end. It is `auth_time` + the app client's validity, since `auth_time` stays
//! the time of the original sign-in (Amazon Cognito developer guide, "Refresh tokens") and rotation does not extend it.

use std::time::Duration;

use super::{
    Basis, Expiry, Observed, Session, Settings,
    schedule::{self, DEFAULT_VALIDITY, Deadline, LAST_SECOND},
};
use crate::clock::{Now, UnixTime};

/// The validity that is believed in, and why; `None` where nothing is.
pub(super) fn believed(settings: &Settings, pool: Option<Duration>, observed: &Observed) -> (Option<Duration>, Basis) {
    if let Some(configured) = settings.validity {
        return (Some(configured), Basis::Configured);
    }
    if let Some(pool) = pool {
        return (Some(pool), Basis::PoolSetting);
    }
    if observed.disproved {
        return (None, Basis::Unknown);
    }
    match (observed.learnt, observed.refused_at) {
        (Some(learnt), _) => (Some(learnt), Basis::Observed),
        (None, Some(refused_at)) => (Some(refused_at.min(DEFAULT_VALIDITY)), Basis::Assumed),
        (None, None) => (Some(DEFAULT_VALIDITY), Basis::Assumed),
    }
}

/// The end of `session`'s refresh token in this machine's time.
pub(super) fn expiry(settings: &Settings, pool: Option<Duration>, session: &Session, skew_ms: i64) -> Expiry {
    match (believed(settings, pool, &session.notes.observed), session.auth_time) {
        ((Some(validity), basis), Some(signed_in)) => {
            Expiry { at: Some((signed_in + validity).shifted(-skew_ms)), basis }
        }
        // A pool that states no `auth_time` leaves nothing to reckon from.
        ((_, _), None) | ((None, _), _) => Expiry { at: None, basis: Basis::Unknown },
    }
}

impl Observed {
    /// A refresh succeeded when the refresh token was this old.
    pub(super) fn succeeded(&mut self, age: Duration, believed: (Option<Duration>, Basis)) {
        self.accepted_at = self.accepted_at.max(Some(age));
        if let (Some(validity), Basis::Observed | Basis::Assumed) = believed
            && age > validity
        {
            self.disproved = true;
        }
        // What it contradicts was about a validity that somebody has raised since.
        self.refused_at = self.refused_at.filter(|refused| age < *refused);
        self.learnt = self.learnt.filter(|learnt| age <= *learnt);
    }

    /// One was refused as expired when the refresh token was this old.
    pub(super) fn refused(&mut self, age: Duration) {
        self.refused_at = Some(self.refused_at.map_or(age, |earlier| earlier.min(age)));
        let close = self.accepted_at.filter(|accepted| age.saturating_sub(*accepted) <= age / 10);
        // A refusal long after the last success says nothing against what an earlier session taught, unless it came
        // before that.
        self.learnt = close.or(self.learnt.filter(|learnt| *learnt <= age));
        self.disproved = false;
    }

    /// What the next sign-in inherits: everything but the age that this one reached.
    #[must_use]
    pub fn carried(self) -> Self {
        Self { accepted_at: None, ..self }
    }
}

/// How far a session reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Horizon {
    /// The refresh token's end.
    pub(super) refresh_token: Expiry,
    /// The current token's end, less the last second.
    end: UnixTime,
    lifetime: Duration,
    margin: Duration,
    last_chance: bool,
    /// Whether no refresh will come any more.
    over: bool,
}

impl Horizon {
    pub(super) fn new(
        settings: &Settings,
        refresh_token: Expiry,
        end: Deadline,
        lifetime: Duration,
        over: bool,
    ) -> Self {
        Self {
            refresh_token,
            end: end.wall - LAST_SECOND,
            lifetime,
            margin: schedule::last_chance_margin(settings, lifetime),
            last_chance: settings.last_chance,
            over,
        }
    }

    /// Clock three: the latest moment at which a token can still be injected; `None` while the refresh token's end is
    /// not known.
    pub(super) fn injecting_until(&self, now: Now) -> Option<UnixTime> {
        let expiry = self.refresh_token.at?;
        Some(if self.over || now.wall >= expiry {
            self.end
        } else if self.last_chance {
            self.end.max(expiry - self.margin + self.lifetime - LAST_SECOND)
        } else {
            self.end.max(expiry)
        })
    }

    /// When the last chance begins, where there is one.
    pub(super) fn last_chance(&self) -> Option<UnixTime> {
        self.refresh_token.at.filter(|_| self.last_chance).map(|expiry| expiry - self.margin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::state::fixtures;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn every_basis_and_each_step_from_one_to_the_next() {
        let mut settings = fixtures::settings();
        let mut observed = Observed::default();
        assert_eq!(believed(&settings, None, &observed), (Some(30 * DAY), Basis::Assumed));
        observed.succeeded(29 * DAY, believed(&settings, None, &observed));
        assert_eq!(believed(&settings, None, &observed).1, Basis::Assumed);
        // A refresh past the believed end: nothing is known any more.
        observed.succeeded(31 * DAY, believed(&settings, None, &observed));
        assert_eq!(believed(&settings, None, &observed), (None, Basis::Unknown));
        // Refused soon after a success: that is the validity, from the next session on.
        observed.refused(32 * DAY);
        let mut observed = observed.carried();
        assert_eq!(believed(&settings, None, &observed), (Some(31 * DAY), Basis::Observed));
        observed.succeeded(33 * DAY, believed(&settings, None, &observed));
        assert_eq!(believed(&settings, None, &observed), (None, Basis::Unknown));
        assert_eq!(believed(&settings, Some(DAY), &observed), (Some(DAY), Basis::PoolSetting));
        settings.validity = Some(2 * DAY);
        assert_eq!(believed(&settings, Some(DAY), &observed), (Some(2 * DAY), Basis::Configured));
    }

    #[test]
    fn a_refusal_long_after_the_last_success_only_lowers_what_is_assumed() {
        let settings = fixtures::settings();
        let mut observed = Observed::default();
        observed.succeeded(DAY, believed(&settings, None, &observed));
        observed.refused(5 * DAY);
        assert_eq!(believed(&settings, None, &observed.carried()), (Some(5 * DAY), Basis::Assumed));
    }

    #[test]
    fn what_one_session_taught_is_kept_until_another_contradicts_it() {
        let settings = fixtures::settings();
        let mut observed = Observed::default();
        observed.succeeded(10 * DAY, believed(&settings, None, &observed));
        observed.refused(11 * DAY);
        assert_eq!(believed(&settings, None, &observed.carried()), (Some(10 * DAY), Basis::Observed));
        // Asleep for weeks and then refused: nothing new.
        let mut observed = observed.carried();
        observed.succeeded(2 * DAY, believed(&settings, None, &observed));
        observed.refused(30 * DAY);
        assert_eq!(believed(&settings, None, &observed.carried()), (Some(10 * DAY), Basis::Observed));
        // Refused sooner than that: somebody has lowered the setting.
        let mut observed = observed.carried();
        observed.succeeded(DAY, believed(&settings, None, &observed));
        observed.refused(5 * DAY);
        assert_eq!(believed(&settings, None, &observed.carried()), (Some(5 * DAY), Basis::Assumed));
        // And raised again: a success past the refusal, so that nothing is known, until the next refusal teaches.
        let mut observed = observed.carried();
        observed.succeeded(6 * DAY, believed(&settings, None, &observed));
        assert_eq!(believed(&settings, None, &observed), (None, Basis::Unknown));
        observed.refused(20 * DAY);
        assert_eq!(believed(&settings, None, &observed.carried()), (Some(20 * DAY), Basis::Assumed));
    }

    #[test]
    fn injecting_until_follows_the_formula() {
        let at = UnixTime::from_secs;
        let now = |wall| Now { wall: at(wall), boot: Duration::ZERO };
        let hour = Duration::from_secs(3600);
        let end = Deadline { wall: at(5000), boot: Duration::ZERO };
        let expiry = |at| Expiry { at, basis: Basis::Configured };
        let mut settings = fixtures::settings();
        let horizon = |settings: &Settings, r, over| Horizon::new(settings, expiry(r), end, hour, over);
        assert_eq!(horizon(&settings, None, false).injecting_until(now(0)), None);
        assert_eq!(horizon(&settings, Some(at(9000)), true).injecting_until(now(0)), Some(at(4999)));
        assert_eq!(horizon(&settings, Some(at(9000)), false).injecting_until(now(9000)), Some(at(4999)));
        // margin = min(2 × 60, 360) = 120
        assert_eq!(horizon(&settings, Some(at(9000)), false).injecting_until(now(0)), Some(at(9000 - 120 + 3599)));
        settings.last_chance = false;
        assert_eq!(horizon(&settings, Some(at(9000)), false).injecting_until(now(0)), Some(at(9000)));
        assert_eq!(horizon(&settings, Some(at(4000)), false).injecting_until(now(0)), Some(at(4999)));
    }
}
