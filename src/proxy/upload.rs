//! A request's body on its way to the upstream. It streams; nothing is buffered, save that a short one is kept by
//! reference until the response begins, so that it can be sent again.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

/// A request body up to this long is kept, for the one replay that a 401 may bring.
const KEPT: usize = 64 * 1024;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A request's body on its way to the upstream.
#[derive(Debug)]
pub(super) struct RequestBody {
    source: Source,
    progress: Option<Rc<Progress>>,
}

#[derive(Debug)]
enum Source {
    Empty,
    Client(Incoming),
    Kept(VecDeque<Bytes>),
}

/// How far a request's body has come: written by the body, read by whoever waits for the response.
#[derive(Debug)]
pub(super) struct Progress {
    stage: Cell<Stage>,
    kept: RefCell<Kept>,
}

/// Who is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The client, since then.
    Client(Instant),
    /// The upstream, to take more of the body. It may hold an upload back as long as it likes.
    Upstream,
    /// The upstream, to answer: the whole body is out since then.
    Sent(Instant),
    /// Nobody: what the client sent is no body.
    Malformed,
}

/// What is kept of a body.
#[derive(Debug)]
enum Kept {
    /// All so far.
    Growing(Vec<Bytes>, usize),
    /// All there is.
    Whole(Vec<Bytes>),
    /// It cannot be sent again.
    Not,
}

impl RequestBody {
    /// The client's body, with its progress; kept in case it must be sent again, where `keep` says so.
    pub(super) fn new(body: Incoming, keep: bool) -> (Self, Option<Rc<Progress>>) {
        if body.is_end_stream() {
            return (Self::empty(), None);
        }
        let too_long = body.size_hint().lower() > KEPT as u64;
        let kept = if keep && !too_long { Kept::Growing(Vec::new(), 0) } else { Kept::Not };
        let progress = Rc::new(Progress { stage: Cell::new(Stage::Client(Instant::now())), kept: RefCell::new(kept) });
        (Self { source: Source::Client(body), progress: Some(Rc::clone(&progress)) }, Some(progress))
    }

    /// No body.
    pub(super) const fn empty() -> Self {
        Self { source: Source::Empty, progress: None }
    }
}

impl Progress {
    pub(super) const fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// The body once more, if all of it is at hand.
    pub(super) fn again(&self) -> Option<RequestBody> {
        match &*self.kept.borrow() {
            Kept::Whole(chunks) => {
                Some(RequestBody { source: Source::Kept(chunks.iter().cloned().collect()), progress: None })
            }
            Kept::Growing(..) | Kept::Not => None,
        }
    }

    /// The response has begun, and is no 401: nothing need be kept any more.
    pub(super) fn forget(&self) {
        self.kept.replace(Kept::Not);
    }

    fn keep(&self, chunk: &Bytes) {
        let mut kept = self.kept.borrow_mut();
        if let Kept::Growing(chunks, length) = &mut *kept {
            *length += chunk.len();
            if *length > KEPT {
                *kept = Kept::Not;
            } else {
                chunks.push(chunk.clone());
            }
        }
    }

    fn ended(&self) {
        self.stage.set(Stage::Sent(Instant::now()));
        let mut kept = self.kept.borrow_mut();
        if let Kept::Growing(chunks, _) = &mut *kept {
            *kept = Kept::Whole(std::mem::take(chunks));
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let body = match &mut this.source {
            Source::Empty => return Poll::Ready(None),
            Source::Kept(chunks) => return Poll::Ready(chunks.pop_front().map(|chunk| Ok(Frame::data(chunk)))),
            Source::Client(body) => body,
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let Some(progress) = &this.progress else { return polled.map_err(Into::into) };
        match &polled {
            Poll::Pending if matches!(progress.stage(), Stage::Client(_)) => {}
            Poll::Pending => progress.stage.set(Stage::Client(Instant::now())),
            Poll::Ready(Some(Ok(frame))) => {
                progress.stage.set(Stage::Upstream);
                match frame.data_ref() {
                    Some(chunk) => progress.keep(chunk),
                    // Trailers are not worth remembering: such a request is not sent again.
                    None => drop(progress.kept.replace(Kept::Not)),
                }
                if body.is_end_stream() {
                    progress.ended();
                }
            }
            Poll::Ready(Some(Err(_))) => progress.stage.set(Stage::Malformed),
            Poll::Ready(None) => progress.ended(),
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Kept(chunks) => chunks.is_empty(),
            Source::Client(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Kept(chunks) => SizeHint::with_exact(chunks.iter().map(|chunk| chunk.len() as u64).sum()),
            Source::Client(body) => body.size_hint(),
        }
    }
}
