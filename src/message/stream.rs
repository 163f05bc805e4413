//! Bodies on a stream of HTTP/2, coming and going, within its flow control (RFC 9113 §5.2).

use std::{
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};

use super::{BoxError, Fields, GivenUp, visible};

/// So much is taken of a body before the room for it is given back, which is work each time. Far less than any window,
/// so that nobody waits for it.
pub(crate) const RETURNED: u32 = 4 * 1024;

/// So much may be given to a stream beyond what there is room for. Small pieces, of which many bodies and most messages
/// are one, need not ask each time; and the first goes with the head, before which a stream has no room.
const UNASKED: usize = 16 * 1024;

/// A body as it comes. What has been taken of it makes room for as much again.
#[derive(Debug)]
pub(crate) struct Received {
    stream: RecvStream,
    /// What was taken, and has not made room yet.
    taken: u32,
    /// What is still to come, where `Content-Length` said it. That it comes true is looked after by the stream itself
    /// (RFC 9113 §8.1.1).
    left: Option<u64>,
    has_all_data: bool,
    is_over: bool,
}

/// Why no more of a body can be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Halt {
    /// The other side takes no more, or is gone.
    #[error("the stream is closed")]
    Closed(#[source] Option<h2::Error>),
    /// The body broke off.
    #[error("the body broke off")]
    Body(#[source] BoxError),
}

/// A body as it goes.
#[derive(Debug)]
pub(crate) struct Sending<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// What waits until there is room for all that was given before.
    waiting: Option<Waiting>,
    /// How much was given to it since there was room at last.
    unasked: usize,
    /// Whether the stream may wake the task that polls this, should it be reset.
    is_watched: bool,
}

#[derive(Debug)]
enum Waiting {
    /// Data, and whether it is the last.
    Data(Bytes, bool),
    /// The body broke off. A reset would take what was given before along.
    Break(BoxError),
}

impl Received {
    /// What comes on `stream` after a head with `fields`.
    pub(crate) fn new(stream: RecvStream, fields: &Fields) -> Self {
        let is_over = stream.is_end_stream();
        let left = fields.get(CONTENT_LENGTH).and_then(|length| visible(length)?.parse().ok());
        Self { stream, taken: 0, left, has_all_data: is_over, is_over }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        let data = ready!(self.stream.poll_data(cx));
        match &data {
            Some(Ok(data)) => {
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                self.is_over = self.stream.is_end_stream();
                self.has_all_data = self.is_over;
                // No longer than a frame.
                self.taken += u32::try_from(data.len()).unwrap_or(0);
                // The room that is left at the end goes back with the stream.
                if self.taken >= RETURNED && !self.is_over {
                    // Fails only where more is given back than was taken.
                    let taken = std::mem::take(&mut self.taken) as usize;
                    drop(self.stream.flow_control().release_capacity(taken));
                }
            }
            Some(Err(_)) => (self.has_all_data, self.is_over) = (true, true),
            None => self.has_all_data = true,
        }
        Poll::Ready(data)
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if !self.has_all_data
            && let Some(data) = ready!(self.poll_data(cx))
        {
            return Poll::Ready(Some(data.map(Frame::data)));
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        self.is_over = true;
        Poll::Ready(trailers.transpose().map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_over {
            return SizeHint::with_exact(0);
        }
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl<B> Sending<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    pub(crate) const fn new(body: B, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, waiting: None, unasked: 0, is_watched: true }
    }

    /// Takes from the body and gives to the stream, as much as there is and as there is room for. Ready once all of it
    /// is given, or none can be any more: a body that broke off has then broken off its stream.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Halt>> {
        loop {
            match ready!(self.poll_room(cx))? {
                Some(Waiting::Data(data, is_last)) => {
                    let is_over = self.give(data, is_last)?;
                    if is_over {
                        return Poll::Ready(Ok(()));
                    }
                }
                Some(Waiting::Break(error)) => return Poll::Ready(Err(self.break_off(error))),
                None => {}
            }
            let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(cx) else {
                // Whoever resets the stream does not wait for the body.
                self.is_watched = true;
                return self
                    .stream
                    .poll_reset(cx)
                    .map(|reset| Err(reset.map_or_else(Halt::from, |reason| h2::Error::from(reason).into())));
            };
            match next.transpose().map_err(Into::into) {
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let is_last = self.body.is_end_stream();
                        if !data.is_empty() && self.unasked + data.len() > UNASKED {
                            self.reserve();
                            self.waiting = Some(Waiting::Data(data, is_last));
                        } else if self.give(data, is_last)? {
                            return Poll::Ready(Ok(()));
                        }
                    }
                    Err(frame) => {
                        let Ok(trailers) = frame.into_trailers() else { continue };
                        return Poll::Ready(self.stream.send_trailers(trailers).map_err(Halt::from));
                    }
                },
                Ok(None) => return Poll::Ready(self.stream.send_data(Bytes::new(), true).map_err(Halt::from)),
                Err(error) if self.unasked > 0 => {
                    self.reserve();
                    self.waiting = Some(Waiting::Break(error));
                }
                Err(error) => return Poll::Ready(Err(self.break_off(error))),
            }
        }
    }

    /// Asks for no more room than shows that there is some: what a stream reserves its neighbours lack, and what the data
    /// needs is asked for when it is given to the stream.
    fn reserve(&mut self) {
        if std::mem::take(&mut self.is_watched) {
            // Room wakes whoever waits for a reset, and that is this very task, which is about to look.
            let _: Poll<Result<Reason, h2::Error>> = self.stream.poll_reset(&mut Context::from_waker(Waker::noop()));
        }
        self.stream.reserve_capacity(1);
    }

    fn break_off(&mut self, error: BoxError) -> Halt {
        self.stream.send_reset(reason(&*error));
        Halt::Body(error)
    }

    /// What waits, once there is room for it and so for all that was given before. Where nothing waits, at once.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Waiting>, Halt>> {
        if self.waiting.is_none() {
            return Poll::Ready(Ok(None));
        }
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None => return Poll::Ready(Err(Halt::Closed(None))),
            }
        }
        self.unasked = 0;
        Poll::Ready(Ok(self.waiting.take()))
    }

    /// Gives data to the stream; says whether that was the last.
    fn give(&mut self, data: Bytes, is_last: bool) -> Result<bool, Halt> {
        self.unasked += data.len();
        self.stream.send_data(data, is_last)?;
        Ok(is_last)
    }
}

impl From<h2::Error> for Halt {
    fn from(error: h2::Error) -> Self {
        Self::Closed(Some(error))
    }
}

/// The reason to give for a stream that breaks off with `error`: that of another stream, if it comes from there.
fn reason(error: &(dyn std::error::Error + 'static)) -> Reason {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.reason().unwrap_or(Reason::INTERNAL_ERROR);
        }
        if error.is::<GivenUp>() {
            return Reason::CANCEL;
        }
        cause = error.source();
    }
    Reason::INTERNAL_ERROR
}
