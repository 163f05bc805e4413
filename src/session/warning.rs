//! Warning levels: when the end of a session is near enough to say so. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::EndReason;
use crate::clock::UnixTime;

/// How near the end is, from `none` to `ended`, in the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing to say.
    None,
    /// The first threshold.
    Notice,
    /// The thresholds between.
    Soon,
    /// The last one, or one token lifetime before the end.
    Urgent,
    /// Cognito's verdict has come.
    Ended,
}

impl Level {
    /// The word of the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Notice => "notice",
            Self::Soon => "soon",
            Self::Urgent => "urgent",
            Self::Ended => "ended",
        }
    }
}

/// A warning that was raised: kept, so that it is raised once, also across restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// How long before the expiry its moment lay.
    pub threshold: Duration,
    /// The expiry that it was about, in AWS's time: this machine's idea of it moves with its clock.
    pub expiry: UnixTime,
}

/// One thing that a person is told: when, why, and the command that mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// When the refresh token ends, where that is known.
    pub expires_at: Option<UnixTime>,
    /// The latest moment at which a token can still be injected, where that is known.
    pub injecting_until: Option<UnixTime>,
    /// Cognito's verdict, for [`Level::Ended`].
    pub reason: Option<EndReason>,
    /// The command that mends it, or the setting.
    pub fix: String,
}

/// What a warning is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// The end of the session, and how near it is.
    SessionEnd(Level),
    /// The idle lock is about to close; the fix keeps it open.
    IdleLock {
        /// When it closes.
        closes_at: UnixTime,
    },
    /// Refreshing fails, and will not heal itself before requests fail.
    RefreshFailing {
        /// What went wrong last.
        error: String,
        /// When the current token ends, or ended.
        token_ends_at: UnixTime,
    },
}

impl Warning {
    /// How urgent it is.
    #[must_use]
    pub const fn level(&self) -> Level {
        match self.kind {
            WarningKind::SessionEnd(level) => level,
            WarningKind::IdleLock { .. } => Level::Soon,
            WarningKind::RefreshFailing { .. } => Level::Urgent,
        }
    }

    /// The word of the interface for hooks (`COGNITO_PROXY_EVENT`).
    #[must_use]
    pub const fn event(&self) -> &'static str {
        match self.kind {
            WarningKind::SessionEnd(Level::Ended) => "ended",
            WarningKind::SessionEnd(_) | WarningKind::RefreshFailing { .. } => "warning",
            WarningKind::IdleLock { .. } => "idle_lock",
        }
    }
}

/// The moments at which one session's end is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    expiry: UnixTime,
    /// How long before the expiry `urgent` begins.
    urgent: Duration,
    /// How long before the expiry each moment lies, longest first, without repeats.
    moments: Vec<Duration>,
}

impl Plan {
    /// The plan for a refresh token that ends at `expiry` after living `validity`, in a pool whose tokens live
    /// `lifetime`.
    ///
    /// Thresholds beyond half the validity are dropped: a session of an hour that warns of its end in a day would warn
    /// always, that is never.
    #[must_use]
    pub fn new(expiry: UnixTime, validity: Duration, lifetime: Duration, before: &[Duration]) -> Self {
        let mut moments: Vec<Duration> = before.iter().copied().filter(|moment| *moment <= validity / 2).collect();
        let last_token = lifetime.min(validity / 2);
        let urgent = moments.iter().min().copied().unwrap_or_default().max(last_token);
        moments.push(urgent);
        moments.sort_unstable_by(|a, b| b.cmp(a));
        moments.dedup();
        Self { expiry, urgent, moments }
    }

    /// The level at `now`.
    #[must_use]
    pub fn level(&self, now: UnixTime) -> Level {
        self.passed(now).map_or(Level::None, |threshold| self.level_of(threshold))
    }

    /// What is to be announced at `now`: the most urgent moment that has passed, unless it, or a more urgent one, was
    /// announced before.
    #[must_use]
    pub fn due(&self, now: UnixTime, raised: Option<Raised>) -> Option<(Level, Raised)> {
        let threshold = self.passed(now)?;
        let again = raised.is_some_and(|raised| raised.expiry == self.expiry && raised.threshold <= threshold);
        (!again).then(|| (self.level_of(threshold), Raised { threshold, expiry: self.expiry }))
    }

    /// The next moment after `now`.
    #[must_use]
    pub fn next(&self, now: UnixTime) -> Option<UnixTime> {
        self.moments.iter().map(|moment| self.expiry - *moment).find(|at| *at > now)
    }

    /// The last moment that `now` has reached.
    fn passed(&self, now: UnixTime) -> Option<Duration> {
        self.moments.iter().copied().rev().find(|moment| self.expiry - *moment <= now)
    }

    fn level_of(&self, threshold: Duration) -> Level {
        if threshold <= self.urgent {
            Level::Urgent
        } else if Some(&threshold) == self.moments.first() {
            Level::Notice
        } else {
            Level::Soon
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn secs(seconds: &[u64]) -> Vec<Duration> {
        seconds.iter().copied().map(Duration::from_secs).collect()
    }

    fn plan(validity: u64, lifetime: u64) -> Plan {
        Plan::new(
            UnixTime::from_secs(i64::try_from(validity).expect("small")),
            Duration::from_secs(validity),
            Duration::from_secs(lifetime),
            &secs(&[7 * DAY, DAY, 4 * 3600, 3600, 600]),
        )
    }

    #[test]
    fn thirty_days_are_announced_at_every_threshold() {
        let plan = plan(30 * DAY, 3600);
        let at = |days_left: u64| UnixTime::from_secs(i64::try_from(30 * DAY - days_left).expect("small"));
        for (left, level) in [
            (8 * DAY, Level::None),
            (7 * DAY, Level::Notice),
            (DAY, Level::Soon),
            (4 * 3600, Level::Soon),
            (3601, Level::Soon),
            (3600, Level::Urgent),
            (600, Level::Urgent),
            (0, Level::Urgent),
        ] {
            assert_eq!(plan.level(at(left)), level, "{left} s left");
        }
    }

    #[test]
    fn thresholds_beyond_half_the_validity_are_dropped() {
        // One day: 7d and 1d go; 4h is the first and so the notice.
        let plan = plan(DAY, 3600);
        let at = |left: u64| UnixTime::from_secs(i64::try_from(DAY - left).expect("small"));
        assert_eq!(plan.level(at(5 * 3600)), Level::None);
        assert_eq!(plan.level(at(4 * 3600)), Level::Notice);
        assert_eq!(plan.level(at(3600)), Level::Urgent);
    }

    #[test]
    fn urgent_begins_where_no_threshold_lies() {
        let plan =
            Plan::new(UnixTime::from_secs(600), Duration::from_secs(600), Duration::from_secs(20), &secs(&[300]));
        // The only threshold is the last one, so it is urgent, and the token lifetime lies within it.
        assert_eq!(plan.level(UnixTime::from_secs(300)), Level::Urgent);
        let bare = Plan::new(UnixTime::from_secs(600), Duration::from_secs(600), Duration::from_secs(20), &[]);
        assert_eq!(bare.level(UnixTime::from_secs(579)), Level::None);
        assert_eq!(bare.level(UnixTime::from_secs(580)), Level::Urgent);
    }

    #[test]
    fn each_moment_once_and_after_a_sleep_only_the_most_urgent() {
        let plan = plan(30 * DAY, 3600);
        let at = |left: u64| UnixTime::from_secs(i64::try_from(30 * DAY - left).expect("small"));
        let (level, raised) = plan.due(at(7 * DAY), None).expect("the notice is due");
        assert_eq!(level, Level::Notice);
        assert_eq!(plan.due(at(6 * DAY), Some(raised)), None);
        // Asleep from 6 days to 2 hours: one warning, not two.
        let (level, raised) = plan.due(at(7200), Some(raised)).expect("one is due");
        assert_eq!((level, raised.threshold), (Level::Soon, Duration::from_secs(4 * 3600)));
        // A clock that goes back does not repeat the earlier one.
        assert_eq!(plan.due(at(2 * DAY), Some(raised)), None);
        assert_eq!(plan.next(at(7200)), Some(at(3600)));
        // What was said of another end says nothing of this one.
        let other = Raised { expiry: raised.expiry + Duration::from_secs(DAY), ..raised };
        assert!(plan.due(at(7 * DAY), Some(other)).is_some());
    }
}
