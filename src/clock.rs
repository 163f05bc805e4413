//! Time, and the only place that reads it.
//!
//! Owns the two clocks that the session is reckoned by. Everything else takes a [`Now`] as a parameter.
//!
//! Deadlines that matter (a token's `exp`, the refresh token's end, warnings) are wall-clock times, while tokio's
//! timers stand still when a laptop sleeps. [`SystemClock::wait`] therefore arms a `timerfd` on `CLOCK_REALTIME`
//! which the kernel cancels when the clock is set or the machine resumes (`timerfd_create(2)`,
//! `TFD_TIMER_CANCEL_ON_SET`), and which costs no wake-up in between.

use std::{
    fmt,
    ops::{Add, Sub},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::watch;

/// A point in wall-clock time, in milliseconds since 1970-01-01T00:00:00Z.
///
/// Arithmetic saturates: a token with an absurd `exp` must be refused by a rule, never by a panic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime {
    millis: i64,
}

impl UnixTime {
    /// The time `seconds` after the epoch, which is how JWTs state theirs (RFC 7519 §2, `NumericDate`).
    #[must_use]
    pub const fn from_secs(seconds: i64) -> Self {
        Self { millis: seconds.saturating_mul(1000) }
    }

    /// The time `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self { millis }
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.millis.div_euclid(1000)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.millis
    }

    /// The time from `earlier` to `self`, or zero where `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.millis.saturating_sub(earlier.millis)).unwrap_or(0))
    }

    /// Milliseconds from `other` to `self`; negative where `other` is later.
    #[must_use]
    pub const fn millis_since(self, other: Self) -> i64 {
        self.millis.saturating_sub(other.millis)
    }

    /// This time moved by a signed number of milliseconds.
    #[must_use]
    pub const fn shifted(self, millis: i64) -> Self {
        Self { millis: self.millis.saturating_add(millis) }
    }
}

impl Add<Duration> for UnixTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.shifted(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }
}

impl Sub<Duration> for UnixTime {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        self.shifted(-i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for UnixTime {
    /// RFC 3339 in UTC with whole seconds, which is how every output of this program states a time.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.as_secs()) {
            Ok(timestamp) => write!(f, "{timestamp}"),
            Err(_) => write!(f, "{}s since 1970", self.as_secs()),
        }
    }
}

impl Serialize for UnixTime {
    /// As it is displayed.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixTime {
    /// From RFC 3339.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let timestamp: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Self::from_millis(timestamp.as_millisecond()))
    }
}

impl fmt::Debug for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A length of time for people: the two largest units, `29d23h`, `3m34s`, `4.1s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Seconds in each unit, largest first.
        const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
        if self.0 < Duration::from_secs(10) {
            let tenths = self.0.as_millis().div_ceil(100);
            return match tenths % 10 {
                0 => write!(f, "{}s", tenths / 10),
                rest => write!(f, "{}.{rest}s", tenths / 10),
            };
        }
        // To the nearest second: a token of an hour that is a millisecond old has an hour left.
        let seconds = (self.0 + Duration::from_millis(500)).as_secs();
        let first = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
        let (unit, name) = UNITS[first];
        write!(f, "{}{name}", seconds / unit)?;
        match UNITS.get(first + 1) {
            Some((next, name)) if seconds % unit / next > 0 => write!(f, "{}{name}", seconds % unit / next),
            _ => Ok(()),
        }
    }
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock, which a person or NTP may set.
    pub wall: UnixTime,
    /// Time since boot, sleep included (`CLOCK_BOOTTIME`, `clock_gettime(2)`): nobody can set it back.
    pub boot: Duration,
}

impl Now {
    /// This reading moved forward on both clocks.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self { wall: self.wall + duration, boot: self.boot.saturating_add(duration) }
    }
}

/// Where `now` comes from, and how to wait for a later one.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Both clocks, read together.
    fn now(&self) -> Now;

    /// Completes when the wall clock has advanced by `delay`, or earlier: when the clock was set or the machine
    /// resumed. The caller reads the clock again and decides.
    fn wait(&self, delay: Duration) -> BoxFuture<'static, ()>;
}

/// A clock that threads share.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        Now { wall: wall(), boot: boot_time() }
    }

    fn wait(&self, delay: Duration) -> BoxFuture<'static, ()> {
        Box::pin(realtime::wait(delay))
    }
}

/// `CLOCK_REALTIME`, for what is only shown: `Date` in a response.
#[must_use]
pub fn wall() -> UnixTime {
    let wall = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    UnixTime::from_millis(wall.tv_sec.saturating_mul(1000).saturating_add(wall.tv_nsec / 1_000_000))
}

/// `CLOCK_MONOTONIC`, which stands still in sleep: only for protocols that state it (`MONOTONIC_USEC` of
/// `sd_notify(3)`), never for a deadline.
#[must_use]
pub fn monotonic() -> Duration {
    let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(u64::try_from(monotonic.tv_sec).unwrap_or(0), u32::try_from(monotonic.tv_nsec).unwrap_or(0))
}

#[cfg(target_os = "linux")]
fn boot_time() -> Duration {
    let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(boot.tv_sec).unwrap_or(0), u32::try_from(boot.tv_nsec).unwrap_or(0))
}

/// Elsewhere `CLOCK_MONOTONIC` stands in: macOS counts sleep in it, and a system that does not is covered by `exp`.
#[cfg(not(target_os = "linux"))]
fn boot_time() -> Duration {
    monotonic()
}

#[cfg(target_os = "linux")]
mod realtime {
    use std::{io, time::Duration};

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::io::{Interest, unix::AsyncFd};

    /// Waits on a `timerfd`; where the kernel refuses one (descriptors exhausted), tokio's timer keeps the loop
    /// alive, which is late after a suspend but never silent.
    pub(super) async fn wait(delay: Duration) {
        if delay.is_zero() {
            return tokio::task::yield_now().await;
        }
        match armed(delay) {
            // Readable means "expired" or "cancelled": both are for the caller to look at the clock again.
            Ok(timer) => drop(timer.readable().await),
            Err(error) => {
                tracing::debug!(%error, "no timerfd, waiting on the runtime's timer");
                tokio::time::sleep(delay).await;
            }
        }
    }

    fn armed(delay: Duration) -> io::Result<AsyncFd<rustix::fd::OwnedFd>> {
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let nanoseconds = i64::from(delay.subsec_nanos()).saturating_add(now.tv_nsec);
        let expiry = Timespec {
            tv_sec: now
                .tv_sec
                .saturating_add(i64::try_from(delay.as_secs()).unwrap_or(i64::MAX / 4))
                .saturating_add(nanoseconds / 1_000_000_000),
            tv_nsec: nanoseconds % 1_000_000_000,
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: expiry };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &once)?;
        #[expect(deprecated, reason = "its replacement is unsafe code, and an `OwnedFd` keeps what that asks for")]
        AsyncFd::with_interest(timer, Interest::READABLE)
    }
}

#[cfg(not(target_os = "linux"))]
mod realtime {
    use std::time::Duration;

    /// Without `timerfd` a short tick bounds how late a resume can be noticed.
    const TICK: Duration = Duration::from_secs(30);

    pub(super) async fn wait(delay: Duration) {
        tokio::time::sleep(delay.min(TICK)).await;
    }
}

/// A clock that stands still until it is told to move: for tests, and for a demonstration that ages on command.
///
/// A suspend is one big [`advance`](Self::advance); a person who sets the clock is [`set_wall`](Self::set_wall).
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<watch::Sender<Now>>,
}

impl ManualClock {
    /// A clock that reads `wall`, an hour after boot.
    #[must_use]
    pub fn at(wall: UnixTime) -> Self {
        let now = Now { wall, boot: Duration::from_secs(3600) };
        Self { now: Arc::new(watch::Sender::new(now)) }
    }

    /// Moves both clocks forward, as time and sleep do.
    pub fn advance(&self, duration: Duration) {
        self.now.send_modify(|now| *now = now.after(duration));
    }

    /// Sets the wall clock alone, as a person or NTP does.
    pub fn set_wall(&self, wall: UnixTime) {
        self.now.send_modify(|now| now.wall = wall);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Now {
        *self.now.borrow()
    }

    fn wait(&self, delay: Duration) -> BoxFuture<'static, ()> {
        let mut changes = self.now.subscribe();
        let due = changes.borrow_and_update().wall + delay;
        Box::pin(async move {
            let mut last = changes.borrow_and_update().wall;
            loop {
                if last >= due || changes.changed().await.is_err() {
                    return;
                }
                let wall = changes.borrow_and_update().wall;
                // A clock that was set back wakes the waiter, as `TFD_TIMER_CANCEL_ON_SET` does.
                if wall < last {
                    return;
                }
                last = wall;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_instead_of_panicking() {
        let end = UnixTime::from_secs(i64::MAX);
        assert_eq!(end + Duration::MAX, end);
        assert_eq!(UnixTime::from_secs(5).since(UnixTime::from_secs(9)), Duration::ZERO);
        assert_eq!(UnixTime::from_secs(9).millis_since(UnixTime::from_secs(5)), 4000);
    }

    #[test]
    fn spans_read_as_people_say_them() {
        for (millis, text) in [
            (0, "0s"),
            (4_100, "4.1s"),
            (4_050, "4.1s"),
            (9_999, "10s"),
            (59_600, "1m"),
            (214_000, "3m34s"),
            (3_599_900, "1h"),
            (3_660_000, "1h1m"),
            (2_591_999_000, "29d23h"),
            (86_400_000, "1d"),
        ] {
            assert_eq!(Span(Duration::from_millis(millis)).to_string(), text, "{millis} ms");
        }
    }

    #[test]
    fn times_read_as_rfc3339_beyond_2038() {
        assert_eq!(UnixTime::from_secs(2_147_483_648).to_string(), "2038-01-19T03:14:08Z");
        assert_eq!(UnixTime::from_millis(-1).as_secs(), -1);
    }

    #[tokio::test]
    async fn a_manual_clock_wakes_at_the_deadline_and_when_it_is_set_back() {
        let clock = ManualClock::at(UnixTime::from_secs(1000));
        let wait = tokio::spawn(clock.wait(Duration::from_secs(10)));
        clock.advance(Duration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!wait.is_finished());
        clock.advance(Duration::from_secs(1));
        wait.await.expect("the wait ends");

        let wait = tokio::spawn(clock.wait(Duration::from_secs(10)));
        tokio::task::yield_now().await;
        clock.set_wall(UnixTime::from_secs(0));
        wait.await.expect("a clock set back wakes the waiter");
    }

    #[tokio::test]
    async fn the_system_clock_waits_about_as_long_as_it_was_told() {
        let clock = SystemClock;
        let before = clock.now();
        clock.wait(Duration::from_millis(20)).await;
        assert!(clock.now().wall.since(before.wall) >= Duration::from_millis(19));
    }
}
