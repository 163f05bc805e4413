//! Tasks that have served their connection and wait for another.
//!
//! To begin a task and to end it costs more than to wake one, and a client that opens a connection for each request would
//! pay that with each.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Poll, Waker},
};

/// So many wait at most, which is as many connections as begin between two looks at the listener when there is much to do.
const KEPT: usize = 64;

/// The tasks of one worker that wait, the last to come the first to go.
pub(super) struct Spares<W> {
    waiting: RefCell<Vec<Rc<Hand<W>>>>,
    is_over: Cell<bool>,
}

/// Where one task is given its work.
pub(super) struct Hand<W> {
    work: Cell<Option<W>>,
    waker: Cell<Option<Waker>>,
}

impl<W> Spares<W> {
    pub(super) fn none() -> Rc<Self> {
        Rc::new(Self { waiting: RefCell::default(), is_over: Cell::new(false) })
    }

    /// Gives `work` to a task that waits, or back where none does.
    pub(super) fn give(&self, work: W) -> Result<(), W> {
        let Some(hand) = self.waiting.borrow_mut().pop() else { return Err(work) };
        hand.give(work);
        Ok(())
    }

    /// The next work for the task that `hand` is of. `None` where it is no longer needed.
    pub(super) async fn next(&self, hand: &Rc<Hand<W>>) -> Option<W> {
        let mut waits = false;
        std::future::poll_fn(|cx| {
            if let Some(work) = hand.work.take() {
                return Poll::Ready(Some(work));
            }
            if self.is_over.get() {
                return Poll::Ready(None);
            }
            hand.waker.set(Some(cx.waker().clone()));
            if !waits {
                let mut waiting = self.waiting.borrow_mut();
                if waiting.len() == KEPT {
                    return Poll::Ready(None);
                }
                waiting.push(Rc::clone(hand));
                waits = true;
            }
            Poll::Pending
        })
        .await
    }

    /// Lets the tasks that wait end, and those that would wait.
    pub(super) fn dismiss(&self) {
        self.is_over.set(true);
        for hand in self.waiting.take() {
            hand.wake();
        }
    }
}

impl<W> Hand<W> {
    /// The hand of a new task, with its first work.
    pub(super) fn holding(work: W) -> Rc<Self> {
        Rc::new(Self { work: Cell::new(Some(work)), waker: Cell::new(None) })
    }

    fn give(&self, work: W) {
        self.work.set(Some(work));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use tokio::task::{JoinSet, yield_now};

    use super::*;

    fn local(test: impl Future<Output = ()>) {
        tokio::runtime::LocalRuntime::new().expect("a runtime").block_on(test);
    }

    /// Does what `hand` is given until it is dismissed; says how much that was.
    async fn work(spares: Rc<Spares<u8>>, hand: Rc<Hand<u8>>, done: Rc<RefCell<Vec<u8>>>) -> usize {
        let mut count = 0;
        while let Some(work) = spares.next(&hand).await {
            done.borrow_mut().push(work);
            count += 1;
        }
        count
    }

    #[test]
    fn a_task_that_waits_is_given_what_comes_next() {
        local(async {
            let (spares, done) = (Spares::none(), Rc::default());
            assert_eq!(spares.give(1), Err(1), "nobody waits");
            let task = tokio::task::spawn_local(work(Rc::clone(&spares), Hand::holding(1), Rc::clone(&done)));
            for next in 2..10 {
                while spares.give(next).is_err() {
                    yield_now().await;
                }
                assert_eq!(spares.give(0), Err(0), "it has work");
            }
            yield_now().await;
            spares.dismiss();
            assert_eq!((task.await.expect("no panic"), &**done.borrow()), (9, &[1, 2, 3, 4, 5, 6, 7, 8, 9][..]));
        });
    }

    #[test]
    fn more_than_are_kept_end() {
        local(async {
            let (spares, done, mut tasks) = (Spares::none(), Rc::default(), JoinSet::new());
            for _ in 0..KEPT + 3 {
                tasks.spawn_local(work(Rc::clone(&spares), Hand::holding(1), Rc::clone(&done)));
            }
            for _ in 0..3 {
                assert_eq!(tasks.join_next().await.expect("it ends").expect("no panic"), 1);
            }
            yield_now().await;
            assert!(tasks.try_join_next().is_none() && spares.waiting.borrow().len() == KEPT);
            spares.dismiss();
            assert_eq!(tasks.join_all().await.len(), KEPT);
        });
    }

    #[test]
    fn what_is_given_is_done_though_the_end_has_come() {
        local(async {
            let (spares, done) = (Spares::none(), Rc::default());
            spares.dismiss();
            assert_eq!(work(Rc::clone(&spares), Hand::holding(7), Rc::clone(&done)).await, 1);
            assert_eq!(*done.borrow(), [7]);
        });
    }
}
