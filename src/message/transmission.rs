//! A message on its way out: its head, and then its body as it comes.

use std::{
    io, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::{framing::Outgoing, outbox::Outbox};

/// Why a message does not go out to its end.
#[derive(Debug)]
pub(crate) enum SendFault {
    /// Its body fails, or is not as long as was announced. It fails again and again: were it polled, its end would be
    /// taken for the end of what was to come.
    Body,
    /// The connection takes nothing more.
    Io(io::Error),
}

/// A message on its way out, one after another.
pub(crate) struct Transmission<B> {
    outbox: Outbox,
    /// What has yet to be asked for.
    body: Option<(B, Outgoing)>,
    /// Whether the body has failed.
    is_cut: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Transmission<B> {
    /// Nothing to send.
    pub(crate) fn new() -> Self {
        Self { outbox: Outbox::new(), body: None, is_cut: false }
    }

    /// Begins a message, and says where its head is to be written. It goes out when it is polled.
    pub(crate) fn begin(&mut self, body: B, framing: Outgoing) -> &mut Vec<u8> {
        self.body = (framing != Outgoing::Nothing).then_some((body, framing));
        self.outbox.begin()
    }

    /// Whether some of the message has yet to go out.
    pub(crate) fn is_sending(&self) -> bool {
        self.body.is_some() || !self.outbox.is_empty()
    }

    /// Whether all that went out has left.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outbox.is_flushed
    }

    /// Whether any of the message has gone out.
    pub(crate) fn has_begun(&self) -> bool {
        self.outbox.has_begun
    }

    /// Sends nothing more.
    pub(crate) fn stop(&mut self) {
        self.body = None;
        self.outbox.clear();
    }

    /// The body and the piece that was taken of it last, where nothing of the message has gone out. The message is
    /// given up.
    pub(crate) fn unsent(&mut self) -> Option<(Option<B>, Bytes)> {
        if self.outbox.has_begun {
            return None;
        }
        let piece = mem::take(&mut self.outbox.piece);
        self.outbox.clear();
        Some((self.body.take().map(|(body, _)| body), piece))
    }

    /// Sends what can be sent. Ready when all is out.
    ///
    /// # Errors
    /// Where it does not go out to its end.
    pub(crate) fn poll(
        &mut self,
        wire: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendFault>> {
        if self.is_cut {
            return Poll::Ready(Err(SendFault::Body));
        }
        loop {
            let is_waiting = self.outbox.takes_more()
                && match self.poll_body(cx) {
                    Poll::Ready(None) => {
                        self.is_cut = true;
                        return Poll::Ready(Err(SendFault::Body));
                    }
                    polled => polled.is_pending(),
                };
            if !self.outbox.is_empty() {
                ready!(self.outbox.poll_write(wire, cx)).map_err(SendFault::Io)?;
            } else if !self.outbox.is_flushed {
                ready!(Pin::new(&mut *wire).poll_flush(cx)).map_err(SendFault::Io)?;
                self.outbox.is_flushed = true;
            } else if is_waiting {
                return Poll::Pending;
            } else if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Takes the next piece of the body into the outbox. Ready where there was one, or there is no body; `None` where
    /// the body fails.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<()>> {
        let Some((body, framing)) = &mut self.body else { return Poll::Ready(Some(())) };
        let frame = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            Some(Ok(frame)) => Some(frame),
            Some(Err(_)) => return Poll::Ready(None),
            None => None,
        };
        let trailers = match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                self.outbox.is_flushed = false;
                if !data.is_empty() {
                    let Some(tail) = framing.around(data.len(), self.outbox.lead()) else { return Poll::Ready(None) };
                    self.outbox.tail = tail;
                    self.outbox.piece = data;
                }
                if !body.is_end_stream() {
                    return Poll::Ready(Some(()));
                }
                // The last piece, and known to be: what ends the body goes out with it.
                let Some(tail) = framing.last(self.outbox.tail) else { return Poll::Ready(None) };
                self.outbox.tail = tail;
                self.body = None;
                return Poll::Ready(Some(()));
            }
            Some(Err(frame)) => frame.into_trailers().ok(),
            None => None,
        };
        if framing.end(trailers.as_ref(), self.outbox.lead()).is_none() {
            return Poll::Ready(None);
        }
        self.outbox.is_flushed = false;
        self.body = None;
        Poll::Ready(Some(()))
    }
}
