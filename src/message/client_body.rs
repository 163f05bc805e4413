//! A request's body as the client sends it.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{BoxError, Received};

/// The client gave its request up.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client gave its request up")]
pub struct GivenUp;

/// A request's body as the client sends it, by whichever version of HTTP. Nothing of it is read before it is asked for.
pub struct ClientBody(Source);

enum Source {
    /// There is none.
    Nothing,
    /// On a connection of HTTP/1.
    H1(Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>),
    /// On a stream of HTTP/2.
    H2(Received),
}

impl ClientBody {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Source::Nothing)
    }

    /// What `body` reads from its connection.
    pub fn h1(body: impl Body<Data = Bytes, Error = BoxError> + 'static) -> Self {
        Self(Source::H1(Box::pin(body)))
    }

    /// What comes on a stream of HTTP/2.
    pub(crate) fn h2(body: Received) -> Self {
        Self(if body.is_end_stream() { Source::Nothing } else { Source::H2(body) })
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Source::Nothing => Poll::Ready(None),
            Source::H1(body) => body.as_mut().poll_frame(cx),
            Source::H2(body) => match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(Some(Err(error))) if is_no_fault(&error) => Poll::Ready(Some(Err(GivenUp.into()))),
                polled => polled.map_err(Into::into),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Nothing => true,
            Source::H1(body) => body.is_end_stream(),
            Source::H2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Nothing => SizeHint::with_exact(0),
            Source::H1(body) => body.size_hint(),
            Source::H2(body) => body.size_hint(),
        }
    }
}

/// Whether a stream was reset without a fault of anybody's (RFC 9113 §7).
fn is_no_fault(error: &h2::Error) -> bool {
    matches!(error.reason(), Some(h2::Reason::NO_ERROR | h2::Reason::CANCEL))
}

impl fmt::Debug for ClientBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.0 {
            Source::Nothing => "Nothing",
            Source::H1(_) => "H1",
            Source::H2(_) => "H2",
        };
        f.debug_tuple("ClientBody").field(&source).finish()
    }
}
