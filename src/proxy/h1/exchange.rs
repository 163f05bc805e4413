//! One HTTP/1.1 connection to an upstream and the exchange that is under way on it.
//!
//! The shell of [`head`] and [`framing`](super::framing): it moves bytes between the wire and them, in the
//! task of whoever polls it. The request's body goes on while the response is read, and neither is read further than the
//! other side takes it.

use std::{
    cell::Cell,
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Response, StatusCode, request::Parts};
use http_body::{Body as _, Frame, SizeHint};
use tokio::io::{AsyncReadExt, AsyncWrite};

use super::{
    framing::{Decoder, Malformed, Next, Outgoing},
    head,
    outbox::Outbox,
};
use crate::proxy::{connect::Wire, upload::RequestBody};

/// How much is read at once, at first and at most. It doubles with every read that finds as much.
const READ: (usize, usize) = (8 * 1024, 256 * 1024);

/// A map of fields with room for more than this is not kept.
const MOST_KEPT_FIELDS: usize = 128;

thread_local! {
    /// The map of a head that is over, for the next one.
    static FIELDS: Cell<Option<HeaderMap>> = const { Cell::new(None) };
}

/// Why an exchange came to no end.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Fault {
    /// The upstream closed the connection before it answered.
    #[error("the connection was closed")]
    Closed,
    /// It closed it in the middle of its answer.
    #[error("the connection was closed in the middle of a response")]
    Truncated,
    /// The connection failed, before a byte of an answer came.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The connection failed in the middle of an answer.
    #[error("the connection failed in the middle of a response")]
    Broken(#[source] io::Error),
    /// What came is no response.
    #[error("the response is not HTTP/1.1: {0}")]
    Malformed(#[from] Malformed),
    /// The client's own body is malformed, or not as long as was announced.
    #[error("the request's body is malformed")]
    Body,
}

/// A connection, idle or with one exchange.
pub(in crate::proxy) struct Connection {
    wire: Wire,
    /// What has come and has not been taken.
    inbox: BytesMut,
    /// How much of `inbox` is known to hold no end of a head.
    searched: usize,
    next_read: usize,
    outbox: Outbox,
    upload: Option<Upload>,
    download: Download,
    method: Method,
    keeps_alive: bool,
    /// Whether any of an answer has come: an interim response, at least.
    has_heard: bool,
    /// Why nothing more can be written. An answer may have come all the same.
    write_fault: Option<io::Error>,
    /// Whether the client's body has failed. It is not polled again, or its end would be taken for the end of what was
    /// to come.
    is_cut: bool,
}

/// The request's body.
struct Upload {
    body: RequestBody,
    framing: Outgoing,
}

/// How far the response is.
enum Download {
    /// None is awaited.
    Idle,
    Head,
    Body(Decoder),
}

impl Connection {
    pub(in crate::proxy) fn new(wire: Wire) -> Self {
        Self {
            wire,
            inbox: BytesMut::new(),
            searched: 0,
            next_read: READ.0,
            outbox: Outbox::new(),
            upload: None,
            download: Download::Idle,
            method: Method::GET,
            keeps_alive: true,
            has_heard: false,
            write_fault: None,
            is_cut: false,
        }
    }

    /// Begins an exchange: the head is written here, and goes out with the first poll. `head` has its last form.
    pub(in crate::proxy) fn begin(&mut self, head: &Parts, body: RequestBody) {
        let framing = if body.is_end_stream() {
            Outgoing::Nothing
        } else {
            body.size_hint().exact().map_or_else(|| Outgoing::chunked(&head.headers), Outgoing::Length)
        };
        head::write(head, &framing, self.outbox.begin());
        self.upload = (framing != Outgoing::Nothing).then_some(Upload { body, framing });
        self.download = Download::Head;
        self.has_heard = false;
        self.method.clone_from(&head.method);
    }

    /// The request's body, where nothing of the request has gone out.
    pub(in crate::proxy) fn unsent(&mut self) -> Option<RequestBody> {
        if self.outbox.has_begun {
            return None;
        }
        let piece = std::mem::take(&mut self.outbox.piece);
        self.outbox.clear();
        // A body whose only piece was to go out with the head has been taken whole.
        let mut body = self.upload.take().map_or_else(RequestBody::empty, |upload| upload.body);
        body.put_back(piece);
        Some(body)
    }

    /// The response's head. Those that come before it, and say that it will come (RFC 9110 §15.2), are passed over.
    pub(in crate::proxy) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Fault>> {
        if let Poll::Ready(Err(fault)) = self.poll_upload(cx) {
            return Poll::Ready(Err(fault));
        }
        loop {
            if let Some(end) = head::end(&self.inbox, self.searched) {
                self.searched = 0;
                if let Some(response) = self.read_head(end)? {
                    return Poll::Ready(Ok(response));
                }
                continue;
            }
            self.searched = self.inbox.len();
            if self.searched > head::LONGEST {
                return Poll::Ready(Err(Malformed::LongHead.into()));
            }
            if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(Err(self.ended()));
            }
        }
    }

    fn read_head(&mut self, end: usize) -> Result<Option<Response<()>>, Fault> {
        let bytes = self.inbox.split_to(end).freeze();
        self.has_heard = true;
        let read = head::read(&bytes, &self.method, FIELDS.take().unwrap_or_default())?;
        if read.status.is_informational() && read.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(None);
        }
        self.keeps_alive &= read.keeps_alive;
        self.download = Download::Body(Decoder::new(read.body));
        let mut response = Response::new(());
        *response.status_mut() = read.status;
        if let Some(reason) = read.reason {
            response.extensions_mut().insert(reason);
        }
        *response.headers_mut() = read.fields;
        Ok(Some(response))
    }

    /// The next frame of the response's body. The request's own goes on meanwhile.
    pub(in crate::proxy) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Poll::Ready(Err(fault)) = self.poll_upload(cx) {
            return Poll::Ready(Some(Err(fault)));
        }
        loop {
            let Download::Body(decoder) = &mut self.download else { return Poll::Ready(None) };
            match decoder.next(&mut self.inbox) {
                Ok(Next::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Ok(Next::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Ok(Next::End) => return Poll::Ready(None),
                Ok(Next::More) => {}
                Err(malformed) => return Poll::Ready(Some(Err(malformed.into()))),
            }
            if ready!(self.poll_read(cx))? == 0
                && let Download::Body(decoder) = &mut self.download
            {
                return Poll::Ready((!decoder.ended()).then_some(Err(Fault::Truncated)));
            }
        }
    }

    /// Whether all of the response's body has been taken.
    pub(in crate::proxy) const fn is_end_stream(&self) -> bool {
        matches!(&self.download, Download::Body(decoder) if decoder.is_at_end())
    }

    /// What is known of the length of the body that is still to come.
    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        match &self.download {
            Download::Body(decoder) => decoder.remaining().map_or_else(SizeHint::default, SizeHint::with_exact),
            Download::Idle | Download::Head => SizeHint::default(),
        }
    }

    /// Ends the exchange, and says whether the connection is whole: both messages were passed on to their ends, the
    /// upstream keeps it open and has said nothing that was not asked for.
    pub(in crate::proxy) fn finish(&mut self) -> bool {
        let is_over = match &self.download {
            Download::Idle => true,
            Download::Head => false,
            Download::Body(decoder) => decoder.is_at_end(),
        };
        let is_sent = !self.is_sending() && self.outbox.is_flushed;
        if !(is_over && is_sent && self.keeps_alive && self.inbox.is_empty()) {
            return false;
        }
        self.download = Download::Idle;
        if self.next_read > READ.0 {
            self.next_read = READ.0;
            self.inbox = BytesMut::new();
        }
        self.is_quiet()
    }

    /// Whether the idle connection is alive and silent, as far as that is known. Looks without asking to be woken.
    pub(in crate::proxy) fn is_quiet(&mut self) -> bool {
        self.inbox.is_empty() && self.wire.is_silent()
    }

    /// The bytes that followed the response's head, and the wire, where the connection stops being HTTP. `None` where the
    /// request is not out.
    pub(in crate::proxy) fn into_parts(self) -> Option<(Bytes, Wire)> {
        (!self.is_sending()).then(|| (self.inbox.freeze(), self.wire))
    }

    /// Whether some of the request has yet to go out.
    pub(in crate::proxy) fn is_sending(&self) -> bool {
        self.upload.is_some() || !self.outbox.is_empty()
    }

    /// Sends what can be sent. Ready when all is out, or nothing more can be.
    ///
    /// # Errors
    /// Where the client's body fails, again and again.
    pub(in crate::proxy) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.is_cut {
            return Poll::Ready(Err(Fault::Body));
        }
        while self.write_fault.is_none() {
            let is_waiting = self.outbox.takes_more()
                && match self.poll_body(cx) {
                    Poll::Ready(Err(fault)) => {
                        self.is_cut = true;
                        return Poll::Ready(Err(fault));
                    }
                    polled => polled.is_pending(),
                };
            if !self.outbox.is_empty() {
                if let Err(error) = ready!(self.outbox.poll_write(&mut self.wire, cx)) {
                    self.stop_writing(error)?;
                }
            } else if !self.outbox.is_flushed {
                match ready!(Pin::new(&mut self.wire).poll_flush(cx)) {
                    Ok(()) => self.outbox.is_flushed = true,
                    Err(error) => self.stop_writing(error)?,
                }
            } else if is_waiting {
                return Poll::Pending;
            } else if self.upload.is_none() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next piece of the request's body into the outbox. Ready where there was one, or there is no body.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let Some(upload) = &mut self.upload else { return Poll::Ready(Ok(())) };
        let lead = &mut self.outbox.lead;
        let frame = match ready!(Pin::new(&mut upload.body).poll_frame(cx)) {
            Some(Ok(frame)) => Some(frame),
            Some(Err(_)) => return Poll::Ready(Err(Fault::Body)),
            None => None,
        };
        let trailers = match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                self.outbox.is_flushed = false;
                if !data.is_empty() {
                    self.outbox.tail = upload.framing.around(data.len(), lead).ok_or(Fault::Body)?;
                    self.outbox.piece = data;
                }
                if !upload.body.is_end_stream() {
                    return Poll::Ready(Ok(()));
                }
                // The last piece, and known to be: what ends the body goes out with it.
                self.outbox.tail = upload.framing.last(self.outbox.tail).ok_or(Fault::Body)?;
                self.upload = None;
                return Poll::Ready(Ok(()));
            }
            Some(Err(frame)) => frame.into_trailers().ok(),
            None => None,
        };
        upload.framing.end(trailers.as_ref(), lead).ok_or(Fault::Body)?;
        self.outbox.is_flushed = false;
        self.upload = None;
        Poll::Ready(Ok(()))
    }

    /// Nothing more can be sent. Where some of the request is out, the upstream may have answered before it stopped to
    /// read; where none is, the connection was gone already, and whatever it says is no answer.
    fn stop_writing(&mut self, error: io::Error) -> Result<(), Fault> {
        self.keeps_alive = false;
        if !self.outbox.has_begun {
            return Err(Fault::Io(error));
        }
        self.write_fault = Some(error);
        self.upload = None;
        self.outbox.clear();
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Fault>> {
        self.inbox.reserve(self.next_read);
        let room = self.inbox.capacity() - self.inbox.len();
        let read = ready!(pin!(self.wire.read_buf(&mut self.inbox)).poll(cx));
        let length = read.map_err(|error| self.failed(error))?;
        if length >= room.min(self.next_read) {
            self.next_read = (self.next_read * 2).min(READ.1);
        }
        Poll::Ready(Ok(length))
    }

    /// The connection has ended before the response's head.
    fn ended(&mut self) -> Fault {
        match self.write_fault.take() {
            _ if self.has_heard || !self.inbox.is_empty() => Fault::Truncated,
            Some(error) => Fault::Io(error),
            None => Fault::Closed,
        }
    }

    fn failed(&self, error: io::Error) -> Fault {
        let is_begun = self.has_heard || !self.inbox.is_empty();
        if is_begun { Fault::Broken(error) } else { Fault::Io(error) }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("keeps_alive", &self.keeps_alive).finish_non_exhaustive()
    }
}

/// Keeps the map of a head that is over, for the next one.
pub(in crate::proxy) fn recycle(mut fields: HeaderMap) {
    if fields.capacity() > MOST_KEPT_FIELDS {
        return;
    }
    fields.clear();
    FIELDS.set(Some(fields));
}
