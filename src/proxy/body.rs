//! A response's body on its way to the client, and the connection that it comes on. It streams; nothing is buffered.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{duplex::Duplex, h1, h2::Download, hop, pool::Lease};
use crate::reply;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of every response.
#[derive(Debug)]
pub struct Body(Content);

#[derive(Debug)]
enum Content {
    /// Of the proxy's own.
    Own(reply::Body),
    /// On a connection of HTTP/1.1, which nobody else drives.
    H1 { lease: Lease, with_trailers: bool, broken: Option<BoxError> },
    /// On such a connection that still takes the request's body: a task drives both.
    Duplex { duplex: Duplex, with_trailers: bool, broken: Option<BoxError> },
    /// On a stream of HTTP/2, which its connection's task fills.
    H2 { body: Download, _lease: Lease, with_trailers: bool, broken: Option<BoxError> },
}

impl Body {
    /// What comes on `lease`. Trailers are passed on only to a client that takes them (RFC 9110 §6.5.1).
    pub(super) fn upstream(body: Option<Download>, lease: Lease, with_trailers: bool) -> Self {
        Self(match body {
            Some(body) => Content::H2 { body, _lease: lease, with_trailers, broken: None },
            None if lease.as_h1().is_some_and(h1::Connection::is_sending) => {
                Content::Duplex { duplex: Duplex::new(lease), with_trailers, broken: None }
            }
            None => Content::H1 { lease, with_trailers, broken: None },
        })
    }
}

impl From<reply::Body> for Body {
    fn from(body: reply::Body) -> Self {
        Self(Content::Own(body))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Content::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Content::H1 { lease, with_trailers, broken } => {
                let Some(connection) = lease.h1() else { return Poll::Ready(None) };
                pass_on(|cx| connection.poll_frame(cx).map_err(Into::into), *with_trailers, broken, cx)
            }
            Content::Duplex { duplex, with_trailers, broken } => {
                pass_on(|cx| duplex.poll_frame(cx).map_err(Into::into), *with_trailers, broken, cx)
            }
            Content::H2 { body, with_trailers, broken, .. } => {
                pass_on(|cx| body.poll_frame(cx).map_err(Into::into), *with_trailers, broken, cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Own(body) => body.is_end_stream(),
            Content::H1 { lease, .. } => lease.as_h1().is_none_or(h1::Connection::is_end_stream),
            Content::Duplex { duplex, .. } => duplex.is_end_stream(),
            Content::H2 { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Own(body) => body.size_hint(),
            Content::H1 { lease, .. } => lease.as_h1().map_or_else(SizeHint::default, h1::Connection::size_hint),
            Content::Duplex { duplex, .. } => duplex.size_hint(),
            Content::H2 { body, .. } => body.size_hint(),
        }
    }
}

/// The next frame for the client. What came before a break is sent before the connection is broken off in turn.
fn pass_on(
    poll: impl FnOnce(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>,
    with_trailers: bool,
    broken: &mut Option<BoxError>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
    if let Some(error) = broken.take() {
        return Poll::Ready(Some(Err(error)));
    }
    match poll(cx) {
        Poll::Ready(Some(Err(error))) => {
            *broken = Some(error);
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        // Trailers are the last there is.
        Poll::Ready(Some(Ok(frame))) if frame.is_trailers() && !with_trailers => Poll::Ready(None),
        Poll::Ready(Some(Ok(mut frame))) => {
            if let Some(trailers) = frame.trailers_mut() {
                hop::strip_response_trailers(trailers);
            }
            Poll::Ready(Some(Ok(frame)))
        }
        frame => frame,
    }
}
