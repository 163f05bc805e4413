//! A request's body as the client sends it.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::BoxError;

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
    H2(Incoming),
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
    #[must_use]
    pub fn h2(body: Incoming) -> Self {
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
                // hyper takes a reset that names no error for an end.
                Poll::Ready(None) if !body.is_end_stream() => Poll::Ready(Some(Err(GivenUp.into()))),
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
