//! Serving a connection of HTTP/2. Each of its streams is a task of its own, which ends with the connection.

mod respond;
mod streams;

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    RecvStream,
    server::{Builder, Connection as Http, Handshake, SendResponse},
};
use http_body::Body;
use tokio::time::Instant;

use self::{
    respond::respond,
    streams::{Open, Streams},
};
use super::{
    Gate,
    drain::{Phase, Ticket},
    exchange::Exchanges,
};
use crate::{
    listen::{Alarm, Connection, Rewind, Stream},
    message::{BoxError, Request, Response},
    reply,
};

/// As many streams at once, and so much of each may lie here unread.
const STREAMS: u32 = 100;
const STREAM_WINDOW: u32 = 64 * 1024;

/// How much of the responses may lie here unsent, for each stream.
const SEND_BUFFER: usize = 400 * 1024;

/// How long a connection that is told to go has for that.
const FAREWELL: Duration = Duration::from_secs(1);

/// How far a connection is.
enum State {
    /// The client's preface is read.
    Beginning(Handshake<Rewind<Stream>, Bytes>),
    /// It carries streams.
    Serving(Http<Rewind<Stream>, Bytes>),
}

/// A request that came on a stream, and what it is answered by.
type Asked = (http::Request<RecvStream>, SendResponse<Bytes>);

/// Serves a connection that begins with `first` to its end.
pub(super) async fn serve<G, S, F, B>(
    first: Bytes,
    stream: Stream,
    exchanges: Rc<Exchanges<G, S>>,
    ticket: &Ticket,
    alarm: &mut Alarm,
) where
    G: Gate,
    S: Fn(Request, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + From<reply::Body> + Unpin + 'static,
{
    let streams = Streams::none();
    let settings = std::sync::Arc::clone(&exchanges.settings);
    // Streams that are reset by the client before they are taken up, or by us for an error, are bounded by the
    // protocol's own library (CVE-2023-44487, CVE-2025-8671).
    let handshake = Builder::new()
        .max_concurrent_streams(STREAMS)
        .initial_window_size(STREAM_WINDOW)
        // One stream that is not read must not stall the others.
        .initial_connection_window_size(STREAMS * STREAM_WINDOW)
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(Rewind::new(first, stream));
    let mut state = State::Beginning(handshake);
    let mut leaves_by: Option<Instant> = None;
    std::future::poll_fn(|cx| {
        let phase = ticket.phase(cx);
        if phase == Phase::Closing {
            return Poll::Ready(());
        }
        // A head that takes long to come is no stream yet.
        let due = leaves_by.or_else(|| Some(streams.idle_since()? + settings.idle_timeout));
        let is_quiet = due.is_some_and(|due| alarm.has_passed(due, cx));
        if is_quiet && leaves_by.is_some() && streams.idle_since().is_some() {
            return Poll::Ready(());
        }
        if (is_quiet || phase == Phase::Draining) && leaves_by.is_none() {
            state.say_goodbye();
            let by = Instant::now() + FAREWELL;
            leaves_by = Some(by);
            alarm.has_passed(by, cx);
        }
        while let Some((request, reply)) = ready!(state.poll_accept(cx, leaves_by.is_some())) {
            let stream = respond(request, reply, Rc::clone(&exchanges), Open::one_of(&streams));
            tokio::task::spawn_local(stream);
        }
        Poll::Ready(())
    })
    .await;
}

impl State {
    /// The next stream; `None` at the connection's end. One that leaves says so as soon as it can.
    fn poll_accept(&mut self, cx: &mut Context<'_>, is_leaving: bool) -> Poll<Option<Asked>> {
        if let Self::Beginning(handshake) = self {
            match ready!(Pin::new(handshake).poll(cx)) {
                Ok(http) => *self = Self::Serving(http),
                Err(error) => return ended(&error),
            }
            if is_leaving {
                self.say_goodbye();
            }
        }
        let Self::Serving(http) = self else { return Poll::Pending };
        match ready!(http.poll_accept(cx)) {
            Some(Ok(asked)) => Poll::Ready(Some(asked)),
            Some(Err(error)) => ended(&error),
            None => Poll::Ready(None),
        }
    }

    /// Takes no more streams, and says so.
    fn say_goodbye(&mut self) {
        if let Self::Serving(http) = self {
            http.graceful_shutdown();
        }
    }
}

fn ended(error: &h2::Error) -> Poll<Option<Asked>> {
    tracing::debug!(%error, "a connection of HTTP/2 has ended");
    Poll::Ready(None)
}
