//! What the handle and the connections share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{calls::CallLog, fault::Faults, state::Pool};
use crate::clock::SharedClock;

/// The pool behind a lock, since its handle is used from synchronous code: tests, and the demonstration. The lock is
/// never held across an await, and nothing here is on the way of a request through the proxy.
#[derive(Debug)]
pub(super) struct Shared {
    /// The pool's id, which never changes.
    pub(super) pool_id: String,
    /// What time it is.
    pub(super) clock: SharedClock,
    /// Every call.
    pub(super) calls: CallLog,
    /// How many hold the answers back.
    pub(super) gate: watch::Sender<usize>,
    inner: Mutex<Inner>,
}

/// What changes.
#[derive(Debug)]
pub(super) struct Inner {
    /// The pool.
    pub(super) pool: Pool,
    /// What goes wrong next.
    pub(super) faults: Faults,
}

impl Shared {
    /// A pool that nobody serves yet.
    pub(super) fn new(pool: Pool, clock: SharedClock) -> Self {
        Self {
            pool_id: pool.settings.id.clone(),
            clock,
            calls: CallLog::new(pool.settings.remembered_calls),
            gate: watch::Sender::new(0),
            inner: Mutex::new(Inner { pool, faults: Faults::default() }),
        }
    }

    /// The pool, and what goes wrong next. A test that panicked while it held the lock left nothing half-done that
    /// matters to its neighbours.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// AWS's time: our clock and the pool's skew.
    pub(super) fn aws_now(&self) -> crate::clock::UnixTime {
        let skew = self.lock().pool.skew_millis;
        self.clock.now().wall.shifted(skew)
    }
}
