//! A client's stream, as hyper sees it: it puts back what was read to learn the protocol, and keeps the pulse.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pulse::Pulse;
use crate::listen::{Rewind, Stream};

#[derive(Debug)]
pub(super) struct Wire {
    stream: Shared,
    pulse: Rc<Pulse>,
}

/// The stream, which the connection's timer may look at while hyper has it. Never borrowed for longer than a call.
pub(super) type Shared = Rc<RefCell<Rewind<Stream>>>;

impl Wire {
    pub(super) fn new(first: Bytes, stream: Stream, pulse: Rc<Pulse>) -> Self {
        Self { stream: Rc::new(RefCell::new(Rewind::new(first, stream))), pulse }
    }

    /// The same stream, for its owner.
    pub(super) fn shared(&self) -> Shared {
        Rc::clone(&self.stream)
    }
}

/// The stream alone, once hyper has let go of it. What was put back has been read by then.
pub(super) fn into_stream(shared: Shared) -> Option<Stream> {
    Some(Rc::into_inner(shared)?.into_inner().into_parts().1)
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let room = buffer.remaining() > 0;
        let read = Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buffer);
        if let Poll::Ready(Ok(())) = read {
            if buffer.filled().len() > before {
                self.pulse.read();
            } else if room {
                self.pulse.is_closed.set(true);
            }
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.pulse.is_flushed.set(false);
        Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pulse.is_flushed.set(false);
        Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx);
        self.pulse.is_flushed.set(flushed.is_ready());
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's owner closes it next, which says the same; where the client may still be sending, it lingers.
        Poll::Ready(Ok(()))
    }
}
