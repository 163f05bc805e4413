//! HTTP/2 to an upstream: a connection that many requests share, and that therefore is a task of its own.

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    pin::Pin,
    rc::Rc,
    time::Duration,
};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{task::JoinHandle, time::Instant};

use super::{connect::Wire, failure::Failure, upload::RequestBody};

/// How much of a response may lie here unread, for each stream and for all: what a client does not read must not
/// stall its neighbours.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// A connection that carries streams is asked for a sign of life when it has been silent this long, and given up when
/// none comes in that time again: TCP's own probes do not see a process that hangs.
const PING: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(15));

type Connection = http2::Connection<TokioIo<Wire>, RequestBody, Local>;

/// One HTTP/2 connection of a pool.
pub(super) struct Multiplexed {
    sender: http2::SendRequest<RequestBody>,
    /// Polled by `driver`, and asked here how many streams the upstream takes at a time. Never borrowed for longer.
    connection: Rc<RefCell<Connection>>,
    load: Rc<Load>,
    driver: JoinHandle<()>,
}

/// What a connection carries.
#[derive(Debug)]
struct Load {
    streams: Cell<usize>,
    /// Since when it carries nothing.
    idle_since: Cell<Instant>,
    is_used: Cell<bool>,
    /// Whether the upstream takes no more streams on it.
    is_retired: Cell<bool>,
}

/// One stream of it.
pub(super) struct Stream {
    pub(super) sender: http2::SendRequest<RequestBody>,
    load: Rc<Load>,
    /// Whether the connection has carried other streams before.
    pub(super) is_reused: bool,
}

impl Multiplexed {
    /// Speaks HTTP/2 on `wire` (RFC 9113 §3.4).
    pub(super) async fn new(wire: Wire) -> Result<Self, Failure> {
        let (sender, connection) = http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(Failure::of)?;
        let load = Rc::new(Load {
            streams: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            is_used: Cell::new(false),
            is_retired: Cell::new(false),
        });
        let connection = Rc::new(RefCell::new(connection));
        let driven = Rc::clone(&connection);
        let task = tokio::task::spawn_local(async move {
            let ended = std::future::poll_fn(|cx| Pin::new(&mut *driven.borrow_mut()).poll(cx)).await;
            if let Err(error) = ended {
                tracing::debug!(%error, "an HTTP/2 connection to the upstream has ended");
            }
        });
        Ok(Self { sender, connection, load, driver: task })
    }

    /// Whether it can carry nothing more, ever.
    pub(super) fn is_over(&self) -> bool {
        self.load.is_retired.get() || self.sender.is_closed() || self.driver.is_finished()
    }

    /// One more stream, unless the upstream's `SETTINGS_MAX_CONCURRENT_STREAMS` are all in use.
    pub(super) fn stream(&self) -> Option<Stream> {
        if self.is_over() || self.load.streams.get() >= self.connection.borrow().current_max_send_streams() {
            return None;
        }
        self.load.streams.set(self.load.streams.get() + 1);
        let is_reused = self.load.is_used.replace(true);
        Some(Stream { sender: self.sender.clone(), load: Rc::clone(&self.load), is_reused })
    }

    /// Since when it carries nothing; `None` while it carries something.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.load.streams.get() == 0).then(|| self.load.idle_since.get())
    }
}

impl Stream {
    /// No stream is to follow on its connection; those that are open go on.
    pub(super) fn retire(&self) {
        self.load.is_retired.set(true);
    }
}

impl Drop for Multiplexed {
    fn drop(&mut self) {
        // Streams that are still open have their own senders and end by themselves; an idle connection ends now.
        if self.load.streams.get() == 0 {
            self.driver.abort();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.load.streams.set(self.load.streams.get() - 1);
        self.load.idle_since.set(Instant::now());
    }
}

impl fmt::Debug for Multiplexed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Multiplexed").field("load", &self.load).finish_non_exhaustive()
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("load", &self.load).finish_non_exhaustive()
    }
}

/// Runs hyper's tasks on this worker's own thread. They end with their connection.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F> hyper::rt::Executor<F> for Local
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
