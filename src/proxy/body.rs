//! A response's body on its way to the client, and the connection that it comes on. It streams; nothing is buffered.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use super::{connect::Protocol, hop, pool::Lease};
use crate::reply;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of every response.
#[derive(Debug)]
pub struct Body(Content);

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every body is the large one, and a box would cost each an allocation"
)]
enum Content {
    /// Of the proxy's own.
    Own(reply::Body),
    /// The upstream's, with the connection that it comes on, which nobody else drives.
    Upstream { body: Incoming, lease: Lease, with_trailers: bool, broken: Option<hyper::Error> },
}

impl Body {
    /// What comes on `lease`. Trailers are passed on only to a client that takes them (RFC 9110 §6.5.1).
    pub(super) const fn upstream(body: Incoming, lease: Lease, with_trailers: bool) -> Self {
        Self(Content::Upstream { body, lease, with_trailers, broken: None })
    }
}

/// The next frame of a body whose connection is driven here. Nobody else fills it, so it needs to wake nobody.
fn poll_driven(
    body: &mut Incoming,
    lease: &mut Lease,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    let mut quiet = Context::from_waker(Waker::noop());
    let frame = lease.before_driving(|| Pin::new(&mut *body).poll_frame(&mut quiet));
    if frame.is_ready() {
        return frame;
    }
    // That look has told the connection that somebody wants more. Now it reads, and fills the body.
    let _ = lease.drive(cx);
    Pin::new(body).poll_frame(&mut quiet)
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
            Content::Upstream { body, lease, with_trailers, broken } => {
                if let Some(error) = broken.take() {
                    return Poll::Ready(Some(Err(error.into())));
                }
                let frame = match lease.protocol() {
                    Protocol::H1 => poll_driven(body, lease, cx),
                    Protocol::H2 => Pin::new(&mut *body).poll_frame(cx),
                };
                match frame {
                    // What came before the break is sent before the connection is broken off in turn.
                    Poll::Ready(Some(Err(error))) => {
                        *broken = Some(error);
                        cx.waker().wake_by_ref();
                        Poll::Pending
                    }
                    // Trailers are the last there is.
                    Poll::Ready(Some(Ok(frame))) if frame.is_trailers() && !*with_trailers => Poll::Ready(None),
                    Poll::Ready(Some(Ok(mut frame))) => {
                        if let Some(trailers) = frame.trailers_mut() {
                            hop::strip_response_trailers(trailers);
                        }
                        Poll::Ready(Some(Ok(frame)))
                    }
                    frame => frame.map_err(Into::into),
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Content::Own(body) => body.is_end_stream(),
            Content::Upstream { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Own(body) => body.size_hint(),
            Content::Upstream { body, .. } => body.size_hint(),
        }
    }
}
