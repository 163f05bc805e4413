//! A connection's bytes, TCP or Unix, with small writes joined.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::FutureExt;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::{TcpStream, UnixStream},
};

use super::seats::Seat;

/// Several slices that are no longer than this together are copied and sent with one `send`, which is cheaper than
/// `writev` (measured; above it the copy costs more than it saves).
const JOINED: usize = 16 * 1024;

thread_local! {
    /// Where they are joined: one for each worker, since a write needs it only while it lasts.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(JOINED));
}

/// An accepted or opened connection.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    /// The seat of one that was accepted, where seats are counted: given back once the socket is closed.
    _seat: Option<Seat>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// The same connection, with the seat that it was accepted to.
    pub(super) fn seated(self, seat: Option<Seat>) -> Self {
        Self { _seat: seat, ..self }
    }

    /// Ready where there is something to read, or nothing to come. Holds no buffer while it waits.
    ///
    /// # Errors
    /// What the system says.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.socket {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Whether there is nothing to read, no end and no error either. Looks without asking to be woken, and reads a byte
    /// where there is one.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        let mut byte = [0; 1];
        let read = match &self.socket {
            Socket::Tcp(stream) => stream.try_read(&mut byte),
            Socket::Unix(stream) => stream.try_read(&mut byte),
        };
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Lets the connection end in a reset, for a peer that would take an end for the end of what it reads. Unix sockets
    /// know no reset.
    pub fn reset_when_dropped(&self) {
        if let Socket::Tcp(stream) = &self.socket {
            // It fails where the connection is gone already, which the peer knows then.
            drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
        }
    }

    /// Whether the other end has closed its half, or is gone, even where bytes that it sent are still unread.
    #[must_use]
    pub fn is_read_closed(&self) -> bool {
        // One look, without asking to be woken: whoever wants to know looks again.
        let ready = match &self.socket {
            Socket::Tcp(stream) => stream.ready(Interest::READABLE).now_or_never(),
            Socket::Unix(stream) => stream.ready(Interest::READABLE).now_or_never(),
        };
        matches!(ready, Some(Ok(ready)) if ready.is_read_closed())
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self { socket: Socket::Tcp(stream), _seat: None }
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Self { socket: Socket::Unix(stream), _seat: None }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [slice] = slices {
            return self.poll_write(cx, slice);
        }
        if slices.iter().map(|slice| slice.len()).sum::<usize>() <= JOINED {
            return SCRATCH.with_borrow_mut(|scratch| {
                scratch.clear();
                for slice in slices {
                    scratch.extend_from_slice(slice);
                }
                self.as_mut().poll_write(cx, scratch)
            });
        }
        match &mut self.get_mut().socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is held back here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
