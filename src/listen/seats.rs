//! How many accepted connections there may be: descriptors are the process's, and clients must leave some of them.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A number of seats, shared by all listeners that are given them. Whoever finds none is not accepted, which costs no
/// descriptor: it waits in the kernel's queue until a connection ends.
#[derive(Clone, Debug)]
pub struct Seats(Arc<Semaphore>);

/// One connection's seat, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat(#[expect(dead_code, reason = "kept for what its drop does")] OwnedSemaphorePermit);

impl Seats {
    /// So many, at least one.
    #[must_use]
    pub fn new(seats: usize) -> Self {
        Self(Arc::new(Semaphore::new(seats.clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// The next that is free. Dropping the future takes none.
    pub(super) async fn take(&self) -> Option<Seat> {
        // Where there are enough, which is nearly always, nobody waits for his turn.
        if let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() {
            return Some(Seat(permit));
        }
        // It is never closed.
        Arc::clone(&self.0).acquire_owned().await.ok().map(Seat)
    }
}
