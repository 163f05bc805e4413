//! How serving ends, and how much of it there may be.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Waker},
};

use tokio::sync::watch;

/// Connections beyond `max_connections` that are still answered with `overloaded`, before more are closed unanswered.
pub const STANDING: usize = 64;

/// The end that says when.
#[derive(Debug)]
pub struct Shutdown(watch::Sender<Phase>);

/// The end that every server watches.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<Phase>);

/// How far the end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Not at all.
    #[default]
    Serving,
    /// Nothing new; what is in flight may finish.
    Draining,
    /// Time is up.
    Closing,
}

/// Both ends.
#[must_use]
pub fn shutdown() -> (Shutdown, Drain) {
    let (sender, receiver) = watch::channel(Phase::Serving);
    (Shutdown(sender), Drain(receiver))
}

impl Shutdown {
    /// Stops accepting; what is in flight may finish within `drain_timeout`.
    pub fn begin(&self) {
        self.raise(Phase::Draining);
    }

    /// Waits no longer.
    pub fn close(&self) {
        self.raise(Phase::Closing);
    }

    fn raise(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let raised = *phase < to;
            *phase = (*phase).max(to);
            raised
        });
    }
}

impl Drain {
    /// Completes when draining begins, or nobody is left who could say so.
    pub async fn begun(&mut self) {
        drop(self.0.wait_for(|phase| *phase >= Phase::Draining).await);
    }

    /// Completes when time is up. Never, where nobody is left who could say so: `drain_timeout` decides then.
    pub async fn closed(&mut self) {
        if self.0.wait_for(|phase| *phase >= Phase::Closing).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// How many connections there are, over all workers.
#[derive(Clone, Debug, Default)]
pub struct Room(Arc<AtomicUsize>);

/// A connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Room,
    /// Whether it is beyond the limit, and to be told so.
    pub(super) is_standing: bool,
}

impl Room {
    /// How many connections there are.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, max: usize) -> Option<Place> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let place = Place { room: self.clone(), is_standing: before >= max };
        (before < max.saturating_add(STANDING)).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.room.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections of one worker, to be told of the end. A look at it costs a load, which is why it is no channel.
#[derive(Debug, Default)]
pub(super) struct Live {
    phase: Cell<Phase>,
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Live {
    /// Tells every connection.
    pub(super) fn advance(&self, phase: Phase) {
        self.phase.set(phase);
        for waker in self.wakers.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }

    /// How many connections there are.
    pub(super) fn count(&self) -> usize {
        self.wakers.borrow().len() - self.free.borrow().len()
    }

    /// A ticket for one connection.
    pub(super) fn enter(self: &Rc<Self>) -> Ticket {
        let free = self.free.borrow_mut().pop();
        let slot = free.unwrap_or_else(|| {
            let mut wakers = self.wakers.borrow_mut();
            wakers.push(None);
            wakers.len() - 1
        });
        Ticket { live: Rc::clone(self), slot }
    }
}

/// One connection among the living.
#[derive(Debug)]
pub(super) struct Ticket {
    live: Rc<Live>,
    slot: usize,
}

impl Ticket {
    /// How far the end has come; the task is woken when that changes.
    pub(super) fn phase(&self, cx: &mut Context<'_>) -> Phase {
        let mut wakers = self.live.wakers.borrow_mut();
        match &mut wakers[self.slot] {
            Some(waker) => waker.clone_from(cx.waker()),
            empty @ None => *empty = Some(cx.waker().clone()),
        }
        self.live.phase.get()
    }

    /// Whether there is no end in sight.
    pub(super) fn is_serving(&self) -> bool {
        self.live.phase.get() == Phase::Serving
    }

    /// Runs `future` until time is up.
    pub(super) async fn until_closing<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            if self.phase(cx) == Phase::Closing {
                return std::task::Poll::Ready(None);
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.live.wakers.borrow_mut()[self.slot] = None;
        self.live.free.borrow_mut().push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_beyond_the_limit_are_told_and_the_rest_is_not_let_in() {
        let room = Room::default();
        let seated = room.enter(1).expect("a place");
        assert!(!seated.is_standing);
        let standing: Vec<_> = (0..STANDING).map_while(|_| room.enter(1)).collect();
        assert!(standing.len() == STANDING && standing.iter().all(|place| place.is_standing));
        assert!(room.enter(1).is_none());
        drop((seated, standing));
        assert_eq!(room.taken(), 0, "refused connections give their place back too");
    }

    #[tokio::test]
    async fn the_end_only_comes_nearer() {
        let (shutdown, mut drain) = shutdown();
        shutdown.close();
        shutdown.begin();
        drain.begun().await;
        drain.closed().await;
    }
}
