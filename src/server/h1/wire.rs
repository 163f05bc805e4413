//! What a connection of HTTP/1 shares with the body of the request that is under way on it.
//!
//! Both live in one thread, and mostly in one task. Nothing here is borrowed while foreign code runs: a response's body
//! may well be what reads the request's.

use std::{
    cell::{RefCell, RefMut},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{
    listen::Stream,
    message::{
        self, BoxError, ClientBody, GivenUp, Inbox,
        framing::{Decoder, Next},
        request::{self, Taken},
    },
};

/// So much that follows a request is taken in before the response is out. What is more stays with the kernel.
const MOST_AHEAD: usize = 64 * 1024;

/// What a client is told that waits to send its body (RFC 9110 §15.2.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A connection's stream, and how far it has been read.
#[derive(Debug)]
pub(in crate::server) struct Wire(RefCell<Reading>);

#[derive(Debug)]
struct Reading {
    stream: Stream,
    inbox: Inbox,
    /// Of the body of the request under way.
    body: Decoder,
    /// Which request is under way: a body that is kept for longer reads nothing of the next.
    turn: u64,
    /// What of [`CONTINUE`] the client has yet to be told, once it has been asked to be told.
    untold: &'static [u8],
    /// Whether the client waits to be told.
    expects_continue: bool,
    /// Whether the client has left: it has closed its half, or the connection has failed.
    is_gone: bool,
    /// The task of the connection, while another one may read the body.
    connection: Option<Waker>,
    /// The task that reads the body.
    reader: Option<Waker>,
}

impl Wire {
    pub(in crate::server) fn new(stream: Stream) -> Rc<Self> {
        Rc::new(Self(RefCell::new(Reading {
            stream,
            inbox: Inbox::new(),
            body: Decoder::new(message::framing::Body::Nothing),
            turn: 0,
            untold: b"",
            expects_continue: false,
            is_gone: false,
            connection: None,
            reader: None,
        })))
    }

    /// Reads the first bytes of what comes next: whether there are any, or the client has left. Holds no buffer while
    /// nothing comes.
    pub(in crate::server) fn poll_first(&self, cx: &mut Context<'_>) -> Poll<bool> {
        let reading = &mut *self.0.borrow_mut();
        loop {
            if ready!(reading.stream.poll_readable(cx)).is_err() {
                return Poll::Ready(false);
            }
            if let Poll::Ready(read) = reading.inbox.poll_read(&mut reading.stream, cx) {
                return Poll::Ready(matches!(read, Ok(1..)));
            }
            // Readiness is a hint.
            reading.inbox.rest();
        }
    }

    /// Reads once. 0 is the end.
    pub(in crate::server) fn poll_read(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let reading = &mut *self.0.borrow_mut();
        reading.inbox.poll_read(&mut reading.stream, cx)
    }

    /// What has come.
    pub(in crate::server) fn inbox(&self) -> RefMut<'_, Inbox> {
        RefMut::map(self.0.borrow_mut(), |reading| &mut reading.inbox)
    }

    /// The head of the next request, once it has come whole.
    ///
    /// # Errors
    /// The status to answer with, where it never will.
    pub(super) fn head(&self) -> Result<Option<Taken>, StatusCode> {
        let mut inbox = self.inbox();
        // Lines before a request are nothing (RFC 9112 §2.2).
        let bytes = inbox.bytes();
        while let [b'\n', ..] | [b'\r', b'\n', ..] = bytes[..] {
            let length = if bytes[0] == b'\n' { 1 } else { 2 };
            bytes::Buf::advance(bytes, length);
        }
        inbox.head(request::LONGEST, request::take)
    }

    /// Begins a request whose body is framed so.
    pub(super) fn begin(self: &Rc<Self>, framing: message::framing::Body, expects_continue: bool) -> ClientBody {
        let reading = &mut *self.0.borrow_mut();
        reading.body = Decoder::new(framing);
        reading.expects_continue = expects_continue;
        reading.untold = b"";
        if reading.body.is_at_end() {
            return ClientBody::empty();
        }
        ClientBody::h1(RequestBody { wire: Rc::clone(self), turn: reading.turn })
    }

    /// The response is out: whoever still reads the request's body reads no further. Says whether the body has been read
    /// to its end, what is at hand of it included.
    pub(super) fn finish(&self, most: usize, cx: &mut Context<'_>) -> bool {
        let reading = &mut *self.0.borrow_mut();
        reading.turn += 1;
        if let Some(reader) = reading.reader.take() {
            reader.wake();
        }
        let mut passed = 0;
        // Whoever waits to be told has sent none.
        while !reading.expects_continue && !reading.body.is_at_end() && passed < most {
            match reading.body.next(reading.inbox.bytes()) {
                Ok(Next::Data(data)) => passed += data.len(),
                Ok(Next::Trailers(_) | Next::End) => {}
                Ok(Next::More) => match reading.inbox.poll_read(&mut reading.stream, cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) | Poll::Pending => break,
                },
                Err(_) => break,
            }
        }
        reading.body.is_at_end()
    }

    /// Whether the client waits for a word that it will not get.
    pub(super) fn is_waiting(&self) -> bool {
        self.0.borrow().expects_continue
    }

    /// Tells the client to go on, where that is due. Pending while some of that is not out.
    pub(super) fn poll_continue(&self, cx: &mut Context<'_>) -> Poll<()> {
        let reading = &mut *self.0.borrow_mut();
        while !reading.untold.is_empty() {
            match ready!(Pin::new(&mut reading.stream).poll_write(cx, reading.untold)) {
                Ok(length @ 1..) => reading.untold = &reading.untold[length..],
                // Whatever is written next fails too.
                Ok(0) | Err(_) => reading.untold = b"",
            }
        }
        Poll::Ready(())
    }

    /// Whether the client has left. While the body is being read, its reader finds out; after that whatever comes is
    /// read ahead, up to a limit.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> bool {
        let reading = &mut *self.0.borrow_mut();
        if reading.is_gone {
            return true;
        }
        if !reading.body.is_at_end() {
            // Its reader may be another task, and tells this one.
            match &mut reading.connection {
                Some(waker) => waker.clone_from(cx.waker()),
                empty @ None => *empty = Some(cx.waker().clone()),
            }
            return false;
        }
        while reading.stream.poll_readable(cx).is_ready() {
            if reading.inbox.len() >= MOST_AHEAD {
                return reading.stream.is_read_closed();
            }
            match reading.inbox.poll_read(&mut reading.stream, cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => {
                    reading.is_gone = true;
                    return true;
                }
                Poll::Pending => break,
            }
        }
        false
    }

    /// Whether some of what the client sends is left unread for now, so that its leaving is not noticed by itself.
    pub(super) fn is_held_back(&self) -> bool {
        let reading = self.0.borrow();
        !reading.body.is_at_end() || reading.inbox.len() >= MOST_AHEAD
    }

    /// Whether the client has closed its half, even where bytes that it sent are still unread.
    pub(super) fn is_read_closed(&self) -> bool {
        self.0.borrow().stream.is_read_closed()
    }

    /// The stream, and what was read of it.
    pub(in crate::server) fn into_parts(self) -> (Stream, Inbox) {
        let reading = self.0.into_inner();
        (reading.stream, reading.inbox)
    }

    /// Lets the connection end in a reset.
    pub(super) fn reset_when_dropped(&self) {
        self.0.borrow().stream.reset_when_dropped();
    }
}

/// The stream alone, without what was read of it already.
pub(in crate::server) struct Bare<'w>(pub(in crate::server) &'w Wire);

impl AsyncRead for Bare<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.0.borrow_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Bare<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.0.borrow_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.0.borrow_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The stream holds nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.0.borrow_mut().stream).poll_shutdown(cx)
    }
}

/// A request's body, read from its connection when it is asked for.
struct RequestBody {
    wire: Rc<Wire>,
    turn: u64,
}

impl RequestBody {
    /// The connection's reading, where this body's request is still under way.
    fn reading(&self) -> Option<RefMut<'_, Reading>> {
        let reading = self.wire.0.borrow_mut();
        (reading.turn == self.turn && !reading.is_gone).then_some(reading)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(mut reading) = self.reading() else { return Poll::Ready(Some(Err(GivenUp.into()))) };
        let reading = &mut *reading;
        if std::mem::take(&mut reading.expects_continue) {
            reading.untold = CONTINUE;
            reading.wake_connection();
        }
        loop {
            let next = reading.body.next(reading.inbox.bytes());
            if reading.body.is_at_end() {
                // From here on the connection's own task looks after the client.
                reading.reader = None;
                reading.wake_connection();
            }
            match next {
                Ok(Next::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Next::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Next::End) => return Poll::Ready(None),
                Ok(Next::More) => {}
                Err(malformed) => return Poll::Ready(Some(Err(malformed.into()))),
            }
            reading.reader = Some(cx.waker().clone());
            let read = ready!(reading.inbox.poll_read(&mut reading.stream, cx));
            if !matches!(read, Ok(1..)) {
                reading.is_gone = true;
                reading.wake_connection();
                return Poll::Ready(Some(Err(read.err().map_or_else(|| GivenUp.into(), Into::into))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.reading().is_some_and(|reading| reading.body.is_at_end())
    }

    fn size_hint(&self) -> SizeHint {
        let remaining = self.reading().and_then(|reading| reading.body.remaining());
        remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Reading {
    fn wake_connection(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.wake();
        }
    }
}
