//! A response that begins before its request is out: both go on, whoever of the two is held back.
//!
//! Most exchanges are driven by the client's own polls for the response's body. Those stop while the client does not
//! read, and a client may well not read before it has sent all: then a task has to drive the request.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::{sync::mpsc, task::JoinHandle};

use super::{h1::Fault, pool::Lease};

/// The response's body, out of an exchange that a task drives. Dropped, it ends the exchange.
#[derive(Debug)]
pub(super) struct Duplex {
    frames: mpsc::Receiver<Result<Frame<Bytes>, Fault>>,
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
        Self { frames, left, driver: tokio::task::spawn_local(drive(lease, sender)) }
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let polled = self.frames.poll_recv(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(left)) = (&polled, &mut self.left) {
            *left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        polled
    }

    /// Whether all of the body has been taken.
    pub(super) fn is_end_stream(&self) -> bool {
        self.left == Some(0) || (self.frames.is_closed() && self.frames.is_empty())
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
async fn drive(mut lease: Lease, frames: mpsc::Sender<Result<Frame<Bytes>, Fault>>) {
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
        let Some(frame) = frame.await else { return };
        let is_broken = frame.is_err();
        permit.send(frame);
        if is_broken {
            return;
        }
    }
}
