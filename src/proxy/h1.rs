//! HTTP/1.1 to an upstream, in the task of the request that uses the connection.
//!
//! There is no task and no channel: whoever polls the exchange writes the request's head and body and reads the response,
//! so that nothing has to be woken for either. The request's body goes on while the response is read, and neither is read
//! further than the other side takes it.

use std::{
    fmt, io,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};

use super::{connect::Wire, upload::RequestBody};
use crate::message::{
    Inbox, RequestHead, ResponseHead, SendFault, Transmission,
    framing::{Decoder, Malformed, Next, Outgoing},
    request, response,
};

/// Why an exchange came to no end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
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
pub(super) struct Connection {
    wire: Wire,
    inbox: Inbox,
    upload: Transmission<RequestBody>,
    download: Download,
    method: Method,
    keeps_alive: bool,
    /// Whether any of an answer has come: an interim response, at least.
    has_heard: bool,
    /// Why nothing more can be written. An answer may have come all the same.
    write_fault: Option<io::Error>,
}

/// How far the response is.
enum Download {
    /// None is awaited.
    Idle,
    Head,
    Body(Decoder),
}

impl Connection {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            inbox: Inbox::new(),
            upload: Transmission::new(),
            download: Download::Idle,
            method: Method::GET,
            keeps_alive: true,
            has_heard: false,
            write_fault: None,
        }
    }

    /// Begins an exchange: the head is written here, and goes out with the first poll. `head` has its last form.
    pub(super) fn begin(&mut self, head: &RequestHead, body: RequestBody) {
        let framing = if body.is_end_stream() {
            Outgoing::Nothing
        } else {
            body.size_hint().exact().map_or_else(|| Outgoing::chunked(&head.fields), Outgoing::Length)
        };
        request::write(head, &framing, self.upload.begin(body, framing.clone()));
        self.download = Download::Head;
        self.has_heard = false;
        self.method.clone_from(&head.method);
    }

    /// The request's body, where nothing of the request has gone out.
    pub(super) fn unsent(&mut self) -> Option<RequestBody> {
        let (body, piece) = self.upload.unsent()?;
        // A body whose only piece was to go out with the head has been taken whole.
        let mut body = body.unwrap_or_else(RequestBody::empty);
        body.put_back(piece);
        Some(body)
    }

    /// The response's head. Those that come before it, and say that it will come (RFC 9110 §15.2), are passed over.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Box<ResponseHead>, Fault>> {
        if let Poll::Ready(Err(fault)) = self.poll_upload(cx) {
            return Poll::Ready(Err(fault));
        }
        loop {
            let taken = self.inbox.head(response::LONGEST, |bytes| response::take(bytes, &self.method));
            match taken {
                Ok(Some(taken)) => match self.begun(taken) {
                    Some(head) => return Poll::Ready(Ok(head)),
                    None => continue,
                },
                Ok(None) => {}
                Err(malformed) => return Poll::Ready(Err(malformed.into())),
            }
            if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(Err(self.ended()));
            }
        }
    }

    /// The head of the response that begins with it; `None` where that is yet to come.
    fn begun(&mut self, taken: response::Taken) -> Option<Box<ResponseHead>> {
        self.has_heard = true;
        let status = taken.head.status;
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            return None;
        }
        self.keeps_alive &= taken.keeps_alive;
        self.download = Download::Body(Decoder::new(taken.body));
        Some(taken.head)
    }

    /// The next frame of the response's body. The request's own goes on meanwhile.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Poll::Ready(Err(fault)) = self.poll_upload(cx) {
            return Poll::Ready(Some(Err(fault)));
        }
        loop {
            let Download::Body(decoder) = &mut self.download else { return Poll::Ready(None) };
            match decoder.next(self.inbox.bytes()) {
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
    pub(super) const fn is_end_stream(&self) -> bool {
        matches!(&self.download, Download::Body(decoder) if decoder.is_at_end())
    }

    /// What is known of the length of the body that is still to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        match &self.download {
            Download::Body(decoder) => decoder.remaining().map_or_else(SizeHint::default, SizeHint::with_exact),
            Download::Idle | Download::Head => SizeHint::default(),
        }
    }

    /// Ends the exchange, and says whether the connection is whole: both messages were passed on to their ends, the
    /// upstream keeps it open and has said nothing that was not asked for.
    pub(super) fn finish(&mut self) -> bool {
        let is_over = match &self.download {
            Download::Idle => true,
            Download::Head => false,
            Download::Body(decoder) => decoder.is_at_end(),
        };
        let is_sent = !self.is_sending() && self.upload.is_flushed();
        if !(is_over && is_sent && self.keeps_alive && self.inbox.is_empty()) {
            return false;
        }
        self.download = Download::Idle;
        self.inbox.rest();
        self.is_quiet()
    }

    /// Whether the idle connection is alive and silent, as far as that is known. Looks without asking to be woken.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.inbox.is_empty() && self.wire.is_silent()
    }

    /// The bytes that followed the response's head, and the wire, where the connection stops being HTTP. `None` where the
    /// request is not out.
    pub(super) fn into_parts(self) -> Option<(Bytes, Wire)> {
        (!self.is_sending()).then(|| (self.inbox.into_bytes(), self.wire))
    }

    /// Whether some of the request has yet to go out.
    pub(super) fn is_sending(&self) -> bool {
        self.upload.is_sending()
    }

    /// Sends what can be sent. Ready when all is out, or nothing more can be.
    ///
    /// # Errors
    /// Where the client's body fails, again and again.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.write_fault.is_some() {
            return Poll::Ready(Ok(()));
        }
        match ready!(self.upload.poll(&mut self.wire, cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(SendFault::Body) => Poll::Ready(Err(Fault::Body)),
            Err(SendFault::Io(error)) => Poll::Ready(self.stop_writing(error)),
        }
    }

    /// Nothing more can be sent. Where some of the request is out, the upstream may have answered before it stopped to
    /// read; where none is, the connection was gone already, and whatever it says is no answer.
    fn stop_writing(&mut self, error: io::Error) -> Result<(), Fault> {
        self.keeps_alive = false;
        if !self.upload.has_begun() {
            return Err(Fault::Io(error));
        }
        self.write_fault = Some(error);
        self.upload.stop();
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Fault>> {
        self.inbox.poll_read(&mut self.wire, cx).map_err(|error| self.failed(error))
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
