//! Serving a connection of HTTP/2.

mod streams;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;

use self::streams::{Open, Streams};
use super::{
    Gate,
    alarm::Alarm,
    drain::{Phase, Ticket},
    exchange::Exchanges,
};
use crate::{
    listen::{Connection, Rewind, Stream},
    message::ClientBody,
    reply,
};

/// As many streams at once, and so much of each may lie here unread.
const STREAMS: u32 = 100;
const STREAM_WINDOW: u32 = 64 * 1024;

/// How long a connection that is told to go has for that.
const FAREWELL: std::time::Duration = std::time::Duration::from_secs(1);

/// Serves a connection that begins with `first` to its end.
pub(super) async fn serve<G, S, F, B>(
    first: Bytes,
    stream: Stream,
    exchanges: Rc<Exchanges<G, S>>,
    ticket: &Ticket,
    alarm: &mut Alarm,
) where
    G: Gate,
    S: Fn(Request<ClientBody>, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes> + From<reply::Body> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let streams = Streams::none();
    let settings = std::sync::Arc::clone(&exchanges.settings);
    let counted = Rc::clone(&streams);
    let service = service_fn(move |request: Request<Incoming>| {
        let (exchanges, open) = (Rc::clone(&exchanges), Open::one_of(&counted));
        async move {
            let response = exchanges.answer(request.map(ClientBody::h2), Instant::now(), None).await;
            Ok::<_, Infallible>(response.map(|body| Counted { body, _open: open }))
        }
    });
    let mut http = http2::Builder::new(Local)
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        // One stream that is not read must not stall the others.
        .initial_connection_window_size(STREAMS * STREAM_WINDOW)
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(Rewind::new(first, stream)), service);
    let mut leaves_by: Option<Instant> = None;
    std::future::poll_fn(|cx| {
        let phase = ticket.phase(cx);
        if phase == Phase::Closing {
            return Poll::Ready(());
        }
        // hyper cuts off slow heads by itself.
        let due = leaves_by.or_else(|| Some(streams.idle_since()? + settings.idle_timeout));
        let is_quiet = due.is_some_and(|due| alarm.has_passed(due, cx));
        if is_quiet && leaves_by.is_some() && streams.idle_since().is_some() {
            return Poll::Ready(());
        }
        if (is_quiet || phase == Phase::Draining) && leaves_by.is_none() {
            Pin::new(&mut http).graceful_shutdown();
            let by = Instant::now() + FAREWELL;
            leaves_by = Some(by);
            alarm.has_passed(by, cx);
        }
        Pin::new(&mut http).poll(cx).map(drop)
    })
    .await;
}

pin_project_lite::pin_project! {
    /// A response's body, whose stream is over when it is dropped.
    #[derive(Debug)]
    struct Counted<B> {
        #[pin]
        body: B,
        _open: Open,
    }
}

impl<B: Body> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs hyper's stream tasks on this worker's own thread. They end with their connection.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
