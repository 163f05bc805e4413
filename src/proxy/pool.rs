//! One worker's connections to one upstream.
//!
//! A connection of HTTP/1.1 is driven by the request that uses it. An idle one is no task at all; one look before use
//! notices that it died.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::{Rc, Weak},
    sync::Arc,
    task::Context,
};

use bytes::Bytes;
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{
    HttpVersion,
    connect::{Protocol, Wanted, Wire, connect},
    failure::Failure,
    h1,
    h2::{Multiplexed, Stream},
    plan::Target,
};
use crate::{listen::Alarm, metrics::Shard};

/// The connections of one worker to one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) target: Arc<Target>,
    /// The last one used is the first one reused, so that the rest can grow old and go.
    idle: RefCell<Vec<Idle>>,
    /// Connections that carry many requests at a time. Each has its place, counted in `open`.
    multiplexed: RefCell<Vec<Multiplexed>>,
    /// Whether the last connection spoke HTTP/2: then one is opened at a time, since the next request may share it.
    is_h2: Cell<bool>,
    opening: Semaphore,
    /// How many are idle, in use or being opened.
    open: Cell<usize>,
    waiting: RefCell<VecDeque<oneshot::Sender<Handed>>>,
    reaper: RefCell<Option<JoinHandle<()>>>,
    figures: Arc<Shard>,
}

/// A connection that nobody uses. Its place is counted in `open`.
#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// HTTP/1.1 to an upstream, and its timer. Boxed as long as it lives: it is handed from
/// pool to request to response and back.
type Connection = Box<Timed>;

#[derive(Debug)]
pub(super) struct Timed {
    pub(super) http: h1::Connection,
    alarm: Alarm,
}

/// What a request that waits is handed.
#[derive(Debug)]
enum Handed {
    Connection(Lease),
    Place(Place),
}

/// The right to have one connection open, given back when it is dropped.
#[derive(Debug)]
struct Place(Option<Rc<Pool>>);

/// A connection in use, or one stream of it. Dropped, it goes back to its pool if it is whole, and is closed if it is
/// not.
#[derive(Debug)]
pub(super) struct Lease(Kind);

#[derive(Debug)]
enum Kind {
    /// All of an HTTP/1.1 connection.
    Whole { connection: Option<Connection>, place: Place, is_reused: bool },
    /// A stream of an HTTP/2 connection.
    Stream { stream: Stream },
}

impl Pool {
    pub(super) fn new(target: Arc<Target>, figures: Arc<Shard>) -> Rc<Self> {
        let is_h2 = target.settings.http == HttpVersion::H2;
        Rc::new(Self {
            target,
            idle: RefCell::default(),
            multiplexed: RefCell::default(),
            is_h2: Cell::new(is_h2),
            opening: Semaphore::new(1),
            open: Cell::new(0),
            waiting: RefCell::default(),
            reaper: RefCell::default(),
            figures,
        })
    }

    /// A connection that is open and has room: one more stream of it, or an idle one that is alive.
    pub(super) fn lease(self: &Rc<Self>) -> Option<Lease> {
        self.stream().or_else(|| self.reuse())
    }

    /// A connection that has carried nothing yet, or the next that comes free within `connect_timeout`.
    pub(super) async fn fresh(self: &Rc<Self>, wanted: Wanted) -> Result<Lease, Failure> {
        // Dropped at the end, whatever that is: the next one then finds the new connection, or tries its own luck.
        let _turn = if self.is_h2.get() && wanted == Wanted::Any {
            let turn = timeout(self.target.settings.connect_timeout, self.opening.acquire());
            let turn = turn.await.map_err(|_| Failure::ConnectTimeout)?;
            if let Some(lease) = self.stream() {
                return Ok(lease);
            }
            turn.ok()
        } else {
            None
        };
        let place = loop {
            match self.place().await? {
                Handed::Connection(mut lease) => {
                    // It has been on its way here since it was looked at. One that is not quiet gives its place up.
                    if lease.h1().is_some_and(h1::Connection::is_quiet) {
                        return Ok(lease);
                    }
                }
                Handed::Place(place) => break place,
            }
        };
        let (wire, protocol) = connect(&self.target, wanted).await?;
        match protocol {
            Protocol::H1 => Ok(self.whole(wire, place)),
            Protocol::H2 => self.multiplex(wire, place).await,
        }
    }

    fn whole(self: &Rc<Self>, wire: Wire, place: Place) -> Lease {
        self.figures.upstream_connections(1, 0);
        let connection = Box::new(Timed { http: h1::Connection::new(wire), alarm: Alarm::new() });
        Lease(Kind::Whole { connection: Some(connection), place, is_reused: false })
    }

    async fn multiplex(self: &Rc<Self>, wire: Wire, mut place: Place) -> Result<Lease, Failure> {
        let multiplexed = Multiplexed::new(wire).await?;
        self.is_h2.set(true);
        let stream = multiplexed.stream().ok_or(Failure::NoRoom)?;
        // Counted as long as it is among the multiplexed, which hold no reference back.
        drop(place.0.take());
        self.figures.upstream_connections(1, 0);
        self.multiplexed.borrow_mut().push(multiplexed);
        self.reap();
        Ok(Lease(Kind::Stream { stream }))
    }

    /// A stream of a connection that is open, where one has room. Those that are over are forgotten.
    fn stream(self: &Rc<Self>) -> Option<Lease> {
        if self.multiplexed.borrow().is_empty() {
            return None;
        }
        self.forget(Multiplexed::is_over);
        let multiplexed = self.multiplexed.borrow();
        let stream = multiplexed.iter().find_map(Multiplexed::stream)?;
        Some(Lease(Kind::Stream { stream }))
    }

    /// Gives up multiplexed connections and their places.
    fn forget(self: &Rc<Self>, which: impl Fn(&Multiplexed) -> bool) {
        let gone: Vec<Multiplexed> =
            self.multiplexed.borrow_mut().extract_if(.., |multiplexed| which(multiplexed)).collect();
        for multiplexed in gone {
            drop(multiplexed);
            self.figures.upstream_connections(-1, 0);
            drop(Place(Some(Rc::clone(self))));
        }
    }

    fn reuse(self: &Rc<Self>) -> Option<Lease> {
        loop {
            let Idle { mut connection, since } = self.idle.borrow_mut().pop()?;
            let place = Place(Some(Rc::clone(self)));
            self.figures.upstream_connections(0, -1);
            if since.elapsed() < self.target.settings.idle_timeout && connection.http.is_quiet() {
                self.figures.upstream_connections(1, 0);
                return Some(Lease(Kind::Whole { connection: Some(connection), place, is_reused: true }));
            }
        }
    }

    async fn place(self: &Rc<Self>) -> Result<Handed, Failure> {
        let settings = &self.target.settings;
        if self.open.get() < settings.max_connections {
            self.open.set(self.open.get() + 1);
            return Ok(Handed::Place(Place(Some(Rc::clone(self)))));
        }
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().push_back(sender);
        match timeout(settings.connect_timeout, receiver).await {
            Ok(Ok(handed)) => Ok(handed),
            Ok(Err(_)) | Err(_) => Err(Failure::NoRoom),
        }
    }

    /// Takes a connection back.
    fn put(self: &Rc<Self>, connection: Connection, place: Place) {
        let mut lease = Lease(Kind::Whole { connection: Some(connection), place, is_reused: true });
        loop {
            let Some(waiter) = self.waiting.borrow_mut().pop_front() else { break };
            match waiter.send(Handed::Connection(lease)) {
                Err(Handed::Connection(unclaimed)) => lease = unclaimed,
                Ok(()) | Err(Handed::Place(_)) => return,
            }
        }
        let Kind::Whole { connection, place, .. } = &mut lease.0 else { return };
        let Some(connection) = connection.take() else { return };
        // The place stays taken as long as the connection is idle, and a pool that holds itself would never go.
        drop(place.0.take());
        self.figures.upstream_connections(-1, 1);
        self.idle.borrow_mut().push(Idle { connection, since: Instant::now() });
        self.reap();
    }

    /// Gives free places to whoever waits.
    fn offer(self: &Rc<Self>) {
        while self.open.get() < self.target.settings.max_connections {
            let Some(waiter) = self.waiting.borrow_mut().pop_front() else { return };
            self.open.set(self.open.get() + 1);
            if let Err(Handed::Place(mut unclaimed)) = waiter.send(Handed::Place(Place(Some(Rc::clone(self))))) {
                drop(unclaimed.0.take());
                self.open.set(self.open.get() - 1);
            }
        }
    }

    /// Starts the task that closes what has been idle for too long, unless it runs. It ends when nothing is idle, so a
    /// quiet proxy is not woken.
    fn reap(self: &Rc<Self>) {
        let mut reaper = self.reaper.borrow_mut();
        if reaper.as_ref().is_none_or(JoinHandle::is_finished) {
            *reaper = Some(tokio::task::spawn_local(reap(Rc::downgrade(self))));
        }
    }

    /// Closes what has been idle for too long; says when to look again.
    fn prune(self: &Rc<Self>) -> Option<Instant> {
        let timeout = self.target.settings.idle_timeout;
        let expired: Vec<Idle> = {
            let mut idle = self.idle.borrow_mut();
            let count = idle.iter().take_while(|idle| idle.since.elapsed() >= timeout).count();
            idle.drain(..count).collect()
        };
        for idle in expired {
            drop(idle);
            self.figures.upstream_connections(0, -1);
            drop(Place(Some(Rc::clone(self))));
        }
        self.forget(|multiplexed| {
            multiplexed.is_over() || multiplexed.idle_since().is_some_and(|since| since.elapsed() >= timeout)
        });
        let next_idle = self.idle.borrow().first().map(|idle| idle.since + timeout);
        let multiplexed = self.multiplexed.borrow();
        // A busy one is looked at again when it could have been idle for long enough at the earliest.
        let next_multiplexed =
            multiplexed.iter().map(|multiplexed| multiplexed.idle_since().unwrap_or_else(Instant::now) + timeout).min();
        [next_idle, next_multiplexed].into_iter().flatten().min()
    }
}

async fn reap(pool: Weak<Pool>) {
    while let Some(due) = pool.upgrade().and_then(|pool| pool.prune()) {
        sleep_until(due).await;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let idle = i64::try_from(self.idle.borrow().len()).unwrap_or(0);
        let multiplexed = i64::try_from(self.multiplexed.borrow().len()).unwrap_or(0);
        self.figures.upstream_connections(-multiplexed, -idle);
        if let Some(reaper) = self.reaper.borrow_mut().take() {
            reaper.abort();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(pool) = self.0.take() {
            pool.open.set(pool.open.get() - 1);
            pool.offer();
        }
    }
}

impl Lease {
    /// Whether the connection has carried a request before.
    pub(super) const fn is_reused(&self) -> bool {
        match &self.0 {
            Kind::Whole { is_reused, .. } => *is_reused,
            Kind::Stream { stream, .. } => stream.is_reused,
        }
    }

    /// What is spoken on it.
    pub(super) const fn protocol(&self) -> Protocol {
        match &self.0 {
            Kind::Whole { .. } => Protocol::H1,
            Kind::Stream { .. } => Protocol::H2,
        }
    }

    /// The connection, where it carries one exchange at a time.
    pub(super) fn h1(&mut self) -> Option<&mut h1::Connection> {
        match &mut self.0 {
            Kind::Whole { connection, .. } => connection.as_mut().map(|connection| &mut connection.http),
            Kind::Stream { .. } => None,
        }
    }

    /// The same, to look at.
    pub(super) fn as_h1(&self) -> Option<&h1::Connection> {
        match &self.0 {
            Kind::Whole { connection, .. } => connection.as_ref().map(|connection| &connection.http),
            Kind::Stream { .. } => None,
        }
    }

    /// The stream, where the connection carries many.
    pub(super) const fn h2(&self) -> Option<&Stream> {
        match &self.0 {
            Kind::Stream { stream, .. } => Some(stream),
            Kind::Whole { .. } => None,
        }
    }

    /// The upstream takes no more requests on this connection; what is under way on it goes on.
    pub(super) fn retire(&self) {
        if let Kind::Stream { stream, .. } = &self.0 {
            stream.retire();
        }
    }

    /// Whether `due` has passed; the task is woken then.
    pub(super) fn is_due(&mut self, due: Option<Instant>, cx: &mut Context<'_>) -> bool {
        let Some(due) = due else { return false };
        let alarm = match &mut self.0 {
            Kind::Whole { connection: Some(connection), .. } => &mut connection.alarm,
            Kind::Whole { connection: None, .. } => return false,
            Kind::Stream { stream } => &mut stream.alarm,
        };
        alarm.has_passed(due, cx)
    }

    /// The connection's bytes, where it stops being HTTP: what was read and is none, and the stream.
    pub(super) fn into_stream(mut self) -> Option<(Bytes, Wire)> {
        let Kind::Whole { connection, place, .. } = &mut self.0 else { return None };
        let connection = connection.take()?;
        if let Some(pool) = &place.0 {
            pool.figures.upstream_connections(-1, 0);
        }
        connection.http.into_parts()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Kind::Whole { connection, place, .. } = &mut self.0 else { return };
        let Some(mut connection) = connection.take() else { return };
        let Some(pool) = place.0.take() else { return };
        let place = Place(Some(Rc::clone(&pool)));
        if connection.http.finish() {
            pool.put(connection, place);
        } else {
            pool.figures.upstream_connections(-1, 0);
            drop(connection);
            drop(place);
        }
    }
}
