//! Serving a connection of HTTP/2. Its task polls its streams as well, which therefore end with it.

mod respond;
mod set;
mod streams;

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
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
    set::FutureSet,
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

/// How often the connection and its streams are polled in turn before others have theirs: what a stream says is sent
/// by the connection, and what the connection receives is for a stream.
const ROUNDS: usize = 4;

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
    let streams = Rc::new(Streams::default());
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
    // Since when nothing is under way, and nothing that was said has yet to go out.
    let mut quiet_since: Option<Instant> = None;
    let mut answers = FutureSet::none();
    let owner = answers.owner();
    std::future::poll_fn(|cx| {
        answers.rise(cx);
        match ticket.phase(cx) {
            Phase::Closing => return Poll::Ready(()),
            Phase::Draining if leaves_by.is_none() => leaves_by = Some(leave(&mut state, &owner)),
            Phase::Serving | Phase::Draining => {}
        }
        for _ in 0..ROUNDS {
            if answers.take_up_owner() {
                let mut cx = Context::from_waker(&owner);
                while let Poll::Ready(asked) = state.poll_accept(&mut cx, leaves_by.is_some()) {
                    let Some((request, reply)) = asked else { return Poll::Ready(()) };
                    answers.push(respond(request, reply, Rc::clone(&exchanges), Open::one_of(&streams)));
                }
            }
            answers.poll();
            if answers.is_owner_woken() {
                continue;
            }
            // A head that takes long to come is no stream yet.
            if !streams.are_none() || state.is_sending() {
                quiet_since = None;
                break;
            }
            let since = *quiet_since.get_or_insert_with(Instant::now);
            let due = leaves_by.map_or(since + settings.idle_timeout, |by| by.max(since + FAREWELL));
            if !alarm.has_passed(due, cx) {
                break;
            }
            if leaves_by.is_some() {
                return Poll::Ready(());
            }
            leaves_by = Some(leave(&mut state, &owner));
        }
        answers.rest(cx);
        Poll::Pending
    })
    .await;
}

/// Tells the client that the connection goes; says by when it will be gone, if nothing is under way then.
fn leave(state: &mut State, owner: &Waker) -> Instant {
    state.say_goodbye();
    owner.wake_by_ref();
    Instant::now() + FAREWELL
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

    /// Whether some of a response that has ended here has yet to go to the client.
    fn is_sending(&self) -> bool {
        matches!(self, Self::Serving(http) if http.has_streams())
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
