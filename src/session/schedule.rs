//! When things are due: pure arithmetic over lifetimes.

use std::time::Duration;

use super::Settings;
use crate::clock::{Now, UnixTime};

/// A token is given up this long before its end, so that it does not die on its way to the upstream.
pub const LAST_SECOND: Duration = Duration::from_secs(1);

/// Backoff starts here (`session.md`: 1 s × 2 to 60 s with full jitter).
const BACKOFF_BASE: Duration = Duration::from_secs(1);

/// Throttling without `Retry-After` starts here, since Cognito's quotas are per second and shared.
const THROTTLE_BASE: Duration = Duration::from_secs(5);

/// No backoff is longer, nor is a `Retry-After` obeyed beyond it.
const BACKOFF_CAP: Duration = Duration::from_secs(60);

/// Full jitter never goes below this: it would be a hot loop.
pub(super) const BACKOFF_FLOOR: Duration = Duration::from_millis(500);

/// Below this, a difference between AWS's clock and ours is the resolution of `Date` and the way of the answer.
const SKEW_IGNORED_MS: i64 = 3_000;

/// Cognito's default validity of a refresh token (`CreateUserPoolClient`, `RefreshTokenValidity`).
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(30 * 86_400);

/// A source of jitter that belongs to a value: the same seed decides the same, so tests need no luck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dice(u64);

impl Dice {
    /// Dice that roll what `seed` says.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in `0.0..1.0` (`SplitMix64`, whose output is good enough for spreading load).
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        // 32 bits are exact in an f64, and plenty.
        f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / (f64::from(u32::MAX) + 1.0)
    }
}

/// `refresh.lead` for a token that lives `lifetime`: at most a fifth of it.
#[must_use]
pub fn lead(settings: &Settings, lifetime: Duration) -> Duration {
    settings.lead.min(lifetime / 5)
}

/// `inject.min_ttl` for a token that lives `lifetime`: at most a tenth of it.
#[must_use]
pub fn min_ttl(settings: &Settings, lifetime: Duration) -> Duration {
    settings.min_ttl.min(lifetime / 10)
}

/// How far before the refresh token's end the last chance begins: twice `min_ttl`, at most a tenth of the lifetime.
#[must_use]
pub fn last_chance_margin(settings: &Settings, lifetime: Duration) -> Duration {
    (min_ttl(settings, lifetime) * 2).min(lifetime / 10)
}

/// `lead` with its jitter: up to a tenth longer, never shorter.
#[must_use]
pub fn jittered_lead(lead: Duration, dice: &mut Dice) -> Duration {
    lead + lead.mul_f64(dice.roll() / 10.0)
}

/// How long to wait after `failures` transient failures in a row (1 or more).
#[must_use]
pub fn backoff(failures: u32, dice: &mut Dice) -> Duration {
    jittered(BACKOFF_BASE, failures, dice)
}

/// How long to wait after being throttled `failures` times in a row.
#[must_use]
pub fn throttled(failures: u32, retry_after: Option<Duration>, dice: &mut Dice) -> Duration {
    match retry_after {
        Some(wait) => wait.min(BACKOFF_CAP).max(BACKOFF_FLOOR),
        None => jittered(THROTTLE_BASE, failures, dice),
    }
}

/// Full jitter over an exponential ceiling.
fn jittered(base: Duration, failures: u32, dice: &mut Dice) -> Duration {
    let ceiling = base.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(BACKOFF_CAP);
    ceiling.mul_f64(dice.roll()).max(BACKOFF_FLOOR)
}

/// Milliseconds by which AWS's clock is ahead of ours; 0 below three seconds.
///
/// The `Date` header is the witness. Without one a token that was just issued in our future says as much by its
/// `iat`; one issued in our past says nothing, since it may simply be old.
#[must_use]
pub fn skew_ms(now: UnixTime, date: Option<UnixTime>, issued_at: UnixTime) -> i64 {
    let ahead = match date {
        Some(date) => date.millis_since(now),
        None => issued_at.millis_since(now).max(0),
    };
    if ahead.abs() < SKEW_IGNORED_MS { 0 } else { ahead }
}

/// The end of something on both clocks: past it on either is past it.
///
/// The second clock is what keeps a token mortal when somebody sets the first one back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// On the wall clock of this machine.
    pub wall: UnixTime,
    /// On the clock that counts from boot.
    pub boot: Duration,
}

impl Deadline {
    /// How long from `now` until the nearer of the two.
    #[must_use]
    pub fn remaining(self, now: Now) -> Duration {
        self.wall.since(now.wall).min(self.boot.saturating_sub(now.boot))
    }

    /// The same deadline, later by `duration`.
    #[must_use]
    pub fn later(self, duration: Duration) -> Self {
        Self { wall: self.wall + duration, boot: self.boot.saturating_add(duration) }
    }

    /// The same deadline, earlier by `duration`.
    #[must_use]
    pub fn earlier(self, duration: Duration) -> Self {
        Self { wall: self.wall - duration, boot: self.boot.saturating_sub(duration) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        super::super::state::fixtures::settings()
    }

    #[test]
    fn lead_and_min_ttl_are_capped_by_the_lifetime() {
        let hour = Duration::from_secs(3600);
        assert_eq!(lead(&settings(), hour), Duration::from_secs(300));
        assert_eq!(min_ttl(&settings(), hour), Duration::from_secs(60));
        let ten = Duration::from_secs(10);
        assert_eq!(lead(&settings(), ten), Duration::from_secs(2));
        assert_eq!(min_ttl(&settings(), ten), Duration::from_secs(1));
    }

    #[test]
    fn jitter_makes_a_refresh_earlier_and_never_later() {
        let mut dice = Dice::new(7);
        for _ in 0..10_000 {
            let jittered = jittered_lead(Duration::from_secs(300), &mut dice);
            assert!((300.0..=330.0).contains(&jittered.as_secs_f64()), "{jittered:?}");
        }
    }

    #[test]
    fn backoff_grows_to_a_minute_and_never_spins() {
        let mut dice = Dice::new(1);
        for failures in 1..100 {
            let wait = backoff(failures, &mut dice);
            assert!(wait >= BACKOFF_FLOOR && wait <= BACKOFF_CAP, "{failures}: {wait:?}");
        }
        assert_eq!(throttled(1, Some(Duration::from_secs(900)), &mut dice), BACKOFF_CAP);
        assert_eq!(throttled(1, Some(Duration::from_secs(7)), &mut dice), Duration::from_secs(7));
        assert_eq!(throttled(1, Some(Duration::ZERO), &mut dice), BACKOFF_FLOOR);
    }

    #[test]
    fn pauses_are_spread_over_an_interval_that_doubles_to_a_minute() {
        type Pause = fn(u32, &mut Dice) -> Duration;
        let slowed: Pause = |failures, dice| throttled(failures, None, dice);
        for (pause, ceilings) in
            [(backoff as Pause, [1, 2, 4, 8, 16, 32, 60, 60, 60]), (slowed, [5, 10, 20, 40, 60, 60, 60, 60, 60])]
        {
            for (failures, ceiling) in (1..).zip(ceilings) {
                let mut dice = Dice::new(u64::from(failures));
                let mut pauses: Vec<_> = (0..1000).map(|_| pause(failures, &mut dice).as_secs_f64()).collect();
                pauses.sort_by(f64::total_cmp);
                let ceiling = f64::from(ceiling);
                let (least, most) = (pauses[0], pauses[999]);
                assert!(most <= ceiling && most > 0.95 * ceiling, "{failures}: up to {most} of {ceiling} s");
                assert!(least >= 0.5 && least < 0.5 + 0.05 * ceiling, "{failures}: from {least} s");
                // Full jitter: as much below the middle as above it.
                let middle = pauses[500];
                assert!(ceiling < 2.0 || (middle / ceiling - 0.5).abs() < 0.1, "{failures}: {middle} of {ceiling} s");
            }
        }
    }

    #[test]
    fn skew_trusts_the_date_and_believes_iat_only_ahead() {
        let now = UnixTime::from_secs(10_000);
        let at = UnixTime::from_secs;
        for (date, issued_at, expected) in [
            (Some(at(10_002)), at(10_002), 0),
            (Some(at(17_200)), at(17_200), 7_200_000),
            (Some(at(2_800)), at(2_800), -7_200_000),
            (Some(at(10_000)), at(2_800), 0),
            (None, at(17_200), 7_200_000),
            (None, at(2_800), 0),
        ] {
            assert_eq!(skew_ms(now, date, issued_at), expected, "{date:?} {issued_at:?}");
        }
    }

    #[test]
    fn five_hundred_proxies_that_start_together_do_not_refresh_together() {
        let mut seconds = [0_u32; 31];
        for seed in 0..500_u64 {
            let mut dice = Dice::new(seed.wrapping_mul(0x1234_5678_9ABC_DEF1));
            let lead = jittered_lead(Duration::from_secs(300), &mut dice).as_secs();
            seconds[usize::try_from(lead - 300).expect("a small number")] += 1;
        }
        let peak = seconds.iter().max().copied().unwrap_or_default();
        assert!(f64::from(peak) / (500.0 / 30.0) <= 3.0, "{seconds:?}");
    }
}
