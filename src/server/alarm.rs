//! A connection's one timer.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A connection's one timer, moved as seldom as can be: an armed one that fires too early is looked at then, which is
/// cheaper than to move it with every request.
#[derive(Debug)]
pub(super) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    pub(super) fn at(due: Instant) -> Self {
        Self(Box::pin(sleep_until(due)))
    }

    /// Whether `due` has passed; the task is woken then.
    pub(super) fn has_passed(&mut self, due: Instant, cx: &mut Context<'_>) -> bool {
        if due < self.0.deadline() {
            self.0.as_mut().reset(due);
        }
        while self.0.as_mut().poll(cx).is_ready() {
            if due <= Instant::now() {
                return true;
            }
            self.0.as_mut().reset(due);
        }
        false
    }

    /// Runs `poll` until it is ready, or until `due`: then `None`.
    pub(super) async fn before<T>(
        &mut self,
        due: Instant,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        std::future::poll_fn(|cx| match poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if self.has_passed(due, cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}
