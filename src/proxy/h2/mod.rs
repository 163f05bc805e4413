//! HTTP/2 to an upstream: a connection that many requests share, and that therefore is a task of its own. What goes on on
//! a stream is driven by whoever asked.

mod exchange;
mod life;

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    task::{Context, Waker},
};

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::{task::JoinHandle, time::Instant};

pub(super) use self::exchange::{Download, Exchange, Fault};
use self::life::{Heard, Life};
use super::{connect::Wire, failure::Failure};
use crate::{
    listen::Alarm,
    message::{RETURNED, Received},
};

/// How much of a response may lie here unread, for each stream and for all: what a client does not read must not
/// stall its neighbours.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// So many streams are opened before the upstream has said how many it takes: as many as it should take at least
/// (RFC 9113 §6.5.2).
const UNTOLD_STREAMS: usize = 100;

/// So many streams are opened on one connection, however many its upstream takes. Each may owe it nearly [`RETURNED`] of
/// the window that all share, and together they must not owe all of it.
const MOST_STREAMS: usize = 512;
const _: () = assert!(MOST_STREAMS * RETURNED as usize <= CONNECTION_WINDOW as usize / 2);

/// How much of the requests' bodies may lie here unsent, for each stream.
const SEND_BUFFER: usize = 1024 * 1024;

/// How much of what ended is kept for those that follow: see [`Load::keep`].
const KEPT: usize = 10;

/// The longest header of a response.
const MAX_HEADER: u32 = 16 * 1024;

/// One HTTP/2 connection of a pool.
pub(super) struct Multiplexed {
    load: Rc<Load>,
    life: Life,
    driver: JoinHandle<()>,
}

/// What a connection carries. Once it and all its streams are dropped, the connection says goodbye and ends.
#[derive(Debug)]
struct Load {
    sender: RefCell<SendRequest<Bytes>>,
    streams: Cell<usize>,
    /// Since when it carries nothing.
    idle_since: Cell<Instant>,
    is_used: Cell<bool>,
    /// Whether the upstream takes no more streams on it.
    is_retired: Cell<bool>,
    /// Streams that have ended, and alarms of such.
    ended: RefCell<Vec<Received>>,
    alarms: RefCell<Vec<Alarm>>,
}

/// One stream of it.
pub(super) struct Stream {
    load: Rc<Load>,
    /// For a peer that takes too long.
    pub(super) alarm: Alarm,
    /// Whether the connection has carried other streams before.
    pub(super) is_reused: bool,
}

impl Multiplexed {
    /// Speaks HTTP/2 on `wire` (RFC 9113 §3.4).
    pub(super) async fn new(wire: Wire) -> Result<Self, Failure> {
        let heard = Rc::new(Cell::new(Instant::now()));
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(UNTOLD_STREAMS)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER)
            .max_send_buffer_size(SEND_BUFFER)
            .handshake(Heard::new(wire, Rc::clone(&heard)))
            .await
            .map_err(Failure::of)?;
        let load = Rc::new(Load {
            sender: RefCell::new(sender),
            streams: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            is_used: Cell::new(false),
            is_retired: Cell::new(false),
            ended: RefCell::default(),
            alarms: RefCell::default(),
        });
        let ping = connection.ping_pong();
        let driver = tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 connection to the upstream has ended");
            }
        });
        let life = Life::new(heard, ping, Rc::downgrade(&load), driver.abort_handle());
        Ok(Self { load, life, driver })
    }

    /// Whether it can carry nothing more, ever.
    pub(super) fn is_over(&self) -> bool {
        self.load.is_retired.get() || self.driver.is_finished()
    }

    /// One more stream, unless the upstream's `SETTINGS_MAX_CONCURRENT_STREAMS` are all in use.
    pub(super) fn stream(&self) -> Option<Stream> {
        if self.is_over() {
            return None;
        }
        let mut sender = self.load.sender.borrow_mut();
        // It has no stream of its own that it could wait for: either it says that the connection takes no more, or yes.
        if let std::task::Poll::Ready(Err(_)) = sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
            self.load.is_retired.set(true);
            return None;
        }
        if self.load.streams.get() >= sender.current_max_send_streams().min(MOST_STREAMS) {
            return None;
        }
        self.load.ended.borrow_mut().clear();
        self.load.streams.set(self.load.streams.get() + 1);
        self.life.watch();
        let is_reused = self.load.is_used.replace(true);
        // One that another stream has left is armed for whenever that was due.
        let alarm = self.load.alarms.borrow_mut().pop().unwrap_or_default();
        Some(Stream { load: Rc::clone(&self.load), alarm, is_reused })
    }

    /// Since when it carries nothing; `None` while it carries something.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.load.streams.get() == 0).then(|| self.load.idle_since.get())
    }
}

impl Load {
    /// Keeps a stream that has ended until the next begins. The library wakes the connection's task for each that it is
    /// to forget, and for each that begins: this way it is woken once for both.
    fn keep(&self, ended: Received) {
        let mut kept = self.ended.borrow_mut();
        if kept.len() < KEPT && !self.is_retired.get() {
            kept.push(ended);
        }
    }
}

impl Stream {
    /// No stream is to follow on its connection; those that are open go on.
    pub(super) fn retire(&self) {
        self.load.is_retired.set(true);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.load.streams.set(self.load.streams.get() - 1);
        self.load.idle_since.set(Instant::now());
        let mut alarms = self.load.alarms.borrow_mut();
        if alarms.len() < KEPT {
            alarms.push(std::mem::take(&mut self.alarm));
        }
    }
}

impl Drop for Multiplexed {
    fn drop(&mut self) {
        // What is kept would keep the connection.
        self.load.is_retired.set(true);
        let kept = self.load.ended.take();
        drop(kept);
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
