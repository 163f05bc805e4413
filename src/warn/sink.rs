//! What the channels have in common: a queue that never makes anybody wait, and failures that do not flood the log.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::SharedClock;

/// Warnings that wait for a slow channel: there are a handful in a session's life.
pub(super) const QUEUE: usize = 16;

/// A channel that fails says so at most this often.
const PAUSE: Duration = Duration::from_secs(10);

/// Puts `work` into a channel's queue, or loses it where the channel is that far behind.
pub(super) fn offer<T>(queue: &mpsc::Sender<T>, sink: &'static str, work: T) {
    if queue.try_send(work).is_err() {
        tracing::error!(sink, "a warning was not passed on: the channel hangs");
    }
}

/// One channel's failures.
#[derive(Debug)]
pub(super) struct Failures {
    sink: &'static str,
    clock: SharedClock,
    /// When the last one was told, on the clock since boot.
    told_at: Option<Duration>,
    untold: u64,
}

impl Failures {
    pub(super) fn new(sink: &'static str, clock: SharedClock) -> Self {
        Self { sink, clock, told_at: None, untold: 0 }
    }

    /// One line about a warning that did not get through, unless there was one just now.
    pub(super) fn tell(&mut self, problem: &str) {
        if let Some(untold) = self.due(self.clock.now().boot) {
            tracing::warn!(sink = self.sink, error = problem, untold, "a warning did not get through");
        }
    }

    /// How many were kept back before this one; `None` where this one is, too.
    fn due(&mut self, now: Duration) -> Option<u64> {
        if self.told_at.is_some_and(|told| now.saturating_sub(told) < PAUSE) {
            self.untold += 1;
            return None;
        }
        self.told_at = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn failures_in_a_row_are_told_once_and_counted() {
        let mut failures = Failures::new("webhook", Arc::new(SystemClock));
        let told: Vec<_> = [0, 1, 9, 10, 11, 25].map(|at| failures.due(Duration::from_secs(at))).into();
        assert_eq!(told, [Some(0), None, None, Some(2), None, Some(1)]);
    }

    #[test]
    fn a_channel_that_hangs_loses_warnings_and_makes_nobody_wait() {
        let (queue, mut heard) = mpsc::channel(1);
        offer(&queue, "command", 1);
        offer(&queue, "command", 2);
        assert_eq!((heard.try_recv(), heard.try_recv().is_err()), (Ok(1), true));
    }
}
