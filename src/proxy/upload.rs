//! A request's body on its way to the upstream. It streams; nothing is buffered, save that a short one is kept by
//! reference until the response begins, so that it can be sent again: all of it, or what was read of it and then the
//! rest as it comes.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body as _, Frame, SizeHint};
use tokio::{sync::Notify, time::Instant};

use super::hop;
use crate::message::{BoxError, ClientBody};

/// A request body up to this long is kept, for the replay that a 401 or an upstream that goes away may bring.
const KEPT: usize = 64 * 1024;

/// A request's body on its way to the upstream.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// What comes first: what was read of it before.
    again: VecDeque<Bytes>,
    /// What the client sends.
    source: Option<ClientBody>,
    progress: Option<Rc<Progress>>,
}

/// How far a request's body has come: written by the body, read by whoever waits for the response.
#[derive(Debug)]
pub(super) struct Progress {
    stage: Cell<Stage>,
    kept: RefCell<Kept>,
    /// What the client has yet to send, once a connection has given the body up.
    rest: RefCell<Option<ClientBody>>,
    given_up: Notify,
    /// What carries our token, and so may not come in a trailer.
    injected: Option<HeaderName>,
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
    /// Nothing so far, and nothing will be: it is long.
    Unread,
    /// It cannot be sent again.
    Not,
}

impl RequestBody {
    /// The client's body, with its progress; kept in case it must be sent again. `injected` is the token's header.
    pub(super) fn new(body: ClientBody, injected: Option<&HeaderName>) -> (Self, Option<Rc<Progress>>) {
        if body.is_end_stream() {
            return (Self::empty(), None);
        }
        let too_long = body.size_hint().lower() > KEPT as u64;
        let kept = if too_long { Kept::Unread } else { Kept::Growing(Vec::new(), 0) };
        let progress = Rc::new(Progress {
            stage: Cell::new(Stage::Client(Instant::now())),
            kept: RefCell::new(kept),
            rest: RefCell::default(),
            given_up: Notify::new(),
            injected: injected.cloned(),
        });
        let again = VecDeque::new();
        (Self { again, source: Some(body), progress: Some(Rc::clone(&progress)) }, Some(progress))
    }

    /// No body.
    pub(super) const fn empty() -> Self {
        Self { again: VecDeque::new(), source: None, progress: None }
    }

    /// Takes back the piece that was read last, and has not been sent.
    pub(super) fn put_back(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.again.push_front(piece);
        }
    }

    fn kept(chunks: &[Bytes]) -> Self {
        Self { again: chunks.iter().cloned().collect(), source: None, progress: None }
    }
}

impl Progress {
    pub(super) const fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// The body once more, if all of it is at hand.
    pub(super) fn again(&self) -> Option<RequestBody> {
        match &*self.kept.borrow() {
            Kept::Whole(chunks) => Some(RequestBody::kept(chunks)),
            Kept::Growing(..) | Kept::Unread | Kept::Not => None,
        }
    }

    /// The body once more, after a connection that took the request has given it up: what was read, and then the rest
    /// from the client. Waits until the connection has let go of it. `None` where too much was read to be kept.
    pub(super) async fn resumed(self: &Rc<Self>) -> Option<RequestBody> {
        let mut body = loop {
            match &*self.kept.borrow() {
                Kept::Whole(chunks) => return Some(RequestBody::kept(chunks)),
                Kept::Not => return None,
                Kept::Growing(chunks, _) if self.rest.borrow().is_some() => break RequestBody::kept(chunks),
                Kept::Unread if self.rest.borrow().is_some() => break RequestBody::empty(),
                Kept::Growing(..) | Kept::Unread => {}
            }
            // Where it was given up before anybody asked, a permit has been left.
            self.given_up.notified().await;
        };
        self.stage.set(Stage::Client(Instant::now()));
        body.source = self.rest.take();
        body.progress = Some(Rc::clone(self));
        Some(body)
    }

    /// The response has begun, and is no 401: nothing need be kept any more.
    pub(super) fn forget(&self) {
        self.kept.replace(Kept::Not);
        self.rest.take();
    }

    fn keep(&self, chunk: &Bytes) {
        let mut kept = self.kept.borrow_mut();
        match &mut *kept {
            Kept::Growing(chunks, length) if *length + chunk.len() <= KEPT => {
                *length += chunk.len();
                chunks.push(chunk.clone());
            }
            Kept::Growing(..) | Kept::Unread => *kept = Kept::Not,
            Kept::Whole(_) | Kept::Not => {}
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
        if let Some(chunk) = this.again.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        let Some(body) = &mut this.source else { return Poll::Ready(None) };
        let mut polled = Pin::new(&mut *body).poll_frame(cx);
        let Some(progress) = &this.progress else { return polled };
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            hop::strip_request_trailers(trailers, progress.injected.as_ref());
        }
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
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.again.is_empty() && self.source.as_ref().is_none_or(ClientBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let again: u64 = self.again.iter().map(|chunk| chunk.len() as u64).sum();
        let rest = self.source.as_ref().map_or_else(|| SizeHint::with_exact(0), ClientBody::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(again + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(again + upper);
        }
        hint
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let (Some(rest), Some(progress)) = (self.source.take(), &self.progress) else { return };
        if !matches!(*progress.kept.borrow(), Kept::Not) {
            progress.rest.replace(Some(rest));
        }
        progress.given_up.notify_one();
    }
}
