//! A connection's one timer.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A connection's one timer, moved as seldom as can be: an armed one that fires too early is looked at then, which is
/// cheaper than to move it with every request. A connection that never waits has none.
#[derive(Debug, Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// One that has yet to be armed.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether `due` has passed; the task is woken then.
    pub fn has_passed(&mut self, due: Instant, cx: &mut Context<'_>) -> bool {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if due < timer.deadline() {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if due <= Instant::now() {
                return true;
            }
            timer.as_mut().reset(due);
        }
        false
    }

    /// Runs `poll` until it is ready, or until `due`: then `None`.
    pub async fn before<T>(&mut self, due: Instant, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
        std::future::poll_fn(|cx| match poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if self.has_passed(due, cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}
