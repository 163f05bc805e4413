//! A waker that can be told not to.
//!
//! A connection and the body that comes on it are polled by one task, one after the other. Looking at the body wakes the
//! connection, which is to say the very task that looks, and which is about to poll the connection anyway: without this
//! each response would cost one more turn of the task.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use futures_util::task::AtomicWaker;

/// Wakes the task that drives a connection, unless that is looking at the connection's body just now.
pub(super) struct Quiet {
    shared: Arc<Shared>,
    waker: Waker,
}

#[derive(Default)]
struct Shared {
    task: AtomicWaker,
    is_muted: AtomicBool,
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_muted.load(Ordering::Relaxed) {
            self.task.wake();
        }
    }
}

impl Quiet {
    pub(super) fn new() -> Self {
        let shared = Arc::new(Shared::default());
        Self { waker: Waker::from(Arc::clone(&shared)), shared }
    }

    /// The waker to poll the connection with, on behalf of `task`.
    pub(super) fn waker(&self, task: &Waker) -> &Waker {
        self.shared.task.register(task);
        &self.waker
    }

    /// Runs `look`, which must be followed by a poll of the connection, and wakes nobody meanwhile.
    pub(super) fn mute<T>(&self, look: impl FnOnce() -> T) -> T {
        // One thread sets and reads it; the atomic is there because wakers may be sent.
        self.shared.is_muted.store(true, Ordering::Relaxed);
        let seen = look();
        self.shared.is_muted.store(false, Ordering::Relaxed);
        seen
    }
}

impl fmt::Debug for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Quiet")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_task_is_woken_unless_it_is_looking() {
        let count = Arc::new(Count::default());
        let quiet = Quiet::new();
        let waker = quiet.waker(&Waker::from(Arc::clone(&count))).clone();
        quiet.mute(|| waker.wake_by_ref());
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
        waker.wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
