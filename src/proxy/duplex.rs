//! A response that begins before its request is out: both go on, whoever of the two is held back.
//!
//! Most exchanges are driven by the client's own polls for the response's body. Those stop while the client does not
//! read, and a client may well not read before it has sent all: then a task has to drive the request.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{h1::Fault, pool::Lease};

/// A frame, or the end. Without one, the driver's own end is a break.
type Next = Option<Result<Frame<Bytes>, Fault>>;

/// The response's body, out of an exchange that a task drives. Dropped, it ends the exchange.
#[derive(Debug)]
pub(super) struct Duplex {
    frames: mpsc::Receiver<Next>,
    /// Whether the end has come.
    is_over: bool,
    /// What is still to come, where that is known.
    left: Option<u64>,
    driver: JoinHandle<()>,
}

impl Duplex {
    /// Goes on with an exchange of HTTP/1.1 whose response's head has come.
    pub(super) fn new(lease: Lease) -> Self {
        let left = lease.as_h1().and_then(|connection| connection.size_hint().exact());
        // One frame, so that the upstream is held back as the client is.
        let (sender, frames) = mpsc::channel(1);
        Self { frames, is_over: false, left, driver: tokio::task::spawn_local(drive(lease, sender)) }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let next = ready!(self.frames.poll_recv(cx)).unwrap_or(Some(Err(Fault::Truncated)));
        self.is_over = !matches!(next, Some(Ok(_)));
        if let (Some(Ok(frame)), Some(left)) = (&next, &mut self.left) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        Poll::Ready(next)
    }

    /// Whether all of the body has been taken.
    pub(super) fn is_end_stream(&self) -> bool {
        self.left == Some(0) || self.is_over
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Duplex {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Sends the request, and passes on the response as fast as it is taken.
async fn drive(mut lease: Lease, frames: mpsc::Sender<Next>) {
    loop {
        let permit = {
            let mut reserving = pin!(frames.reserve());
            std::future::poll_fn(|cx| {
                if let Some(connection) = lease.h1() {
                    // A failure comes again with the next frame.
                    let _: Poll<Result<(), Fault>> = connection.poll_upload(cx);
                }
                reserving.as_mut().poll(cx)
            })
            .await
        };
        let Ok(permit) = permit else { return };
        let frame = std::future::poll_fn(|cx| match lease.h1() {
            Some(connection) => connection.poll_frame(cx),
            None => Poll::Ready(None),
        });
        let next = frame.await;
        let goes_on = matches!(next, Some(Ok(_)));
        permit.send(next);
        if !goes_on {
            return;
        }
    }
}
