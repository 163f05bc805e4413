//! What an answer carries: all of it at once, or one thing after another as it happens.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http_body::{Frame, SizeHint};

use crate::reply;

/// The body of an answer of this room.
pub enum Body {
    /// What is at hand as a whole.
    Whole(reply::Body),
    /// What comes piece by piece, until the client leaves or the proxy goes down.
    Stream(BoxStream<'static, Bytes>),
}

impl Body {
    /// What it holds; nothing, where that is still to come.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Whole(body) => body.into_bytes(),
            Self::Stream(_) => Bytes::new(),
        }
    }
}

impl<T: Into<reply::Body>> From<T> for Body {
    fn from(body: T) -> Self {
        Self::Whole(body.into())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(body) => f.debug_tuple("Whole").field(body).finish(),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Stream(pieces) => {
                pieces.as_mut().poll_next(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
