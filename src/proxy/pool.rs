//! One worker's connections to one upstream.
//!
//! A connection is driven by the request that uses it: hyper's connection is polled by [`Lease::drive`], in the task of
//! whoever waits for it. An idle one is no task at all; one poll before use notices that it died.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::Future,
    pin::Pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::Request;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, Sleep, sleep_until, timeout},
};

use super::{
    body::RequestBody,
    connect::{Wire, connect},
    failure::Failure,
    plan::Target,
};
use crate::metrics::Shard;

/// The connections of one worker to one upstream.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) target: Arc<Target>,
    /// The last one used is the first one reused, so that the rest can grow old and go.
    idle: RefCell<Vec<Idle>>,
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

/// HTTP/1.1 to an upstream: both halves of hyper's client, and a timer that is moved as seldom as can be.
struct Connection {
    http: http1::Connection<TokioIo<Wire>, RequestBody>,
    sender: http1::SendRequest<RequestBody>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether `http` has completed, and must not be polled again.
    is_over: bool,
}

/// What a request that waits is handed.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is moved once, where there is no room at all")]
enum Handed {
    Connection(Lease),
    Place(Place),
}

/// The right to have one connection open, given back when it is dropped.
#[derive(Debug)]
struct Place(Option<Rc<Pool>>);

/// A connection in use. Dropped, it goes back to its pool if it is whole, and is closed if it is not.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Option<Connection>,
    place: Place,
    is_reused: bool,
}

impl Pool {
    pub(super) fn new(target: Arc<Target>, figures: Arc<Shard>) -> Rc<Self> {
        Rc::new(Self {
            target,
            idle: RefCell::default(),
            open: Cell::new(0),
            waiting: RefCell::default(),
            reaper: RefCell::default(),
            figures,
        })
    }

    /// A connection: an idle one that is alive, else a new one, else the next that comes free within
    /// `connect_timeout`.
    pub(super) async fn lease(self: &Rc<Self>) -> Result<Lease, Failure> {
        if let Some(lease) = self.reuse() {
            return Ok(lease);
        }
        self.fresh().await
    }

    /// A connection that has carried nothing yet, or has just come free.
    pub(super) async fn fresh(self: &Rc<Self>) -> Result<Lease, Failure> {
        let place = match self.place().await? {
            Handed::Connection(lease) => return Ok(lease),
            Handed::Place(place) => place,
        };
        let (wire, _protocol) = connect(&self.target).await?;
        let (sender, http) = http1::handshake(TokioIo::new(wire)).await.map_err(Failure::of)?;
        self.figures.upstream_connections(1, 0);
        let connection = Connection { http, sender, timer: None, is_over: false };
        Ok(Lease { connection: Some(connection), place, is_reused: false })
    }

    fn reuse(self: &Rc<Self>) -> Option<Lease> {
        loop {
            let Idle { mut connection, since } = self.idle.borrow_mut().pop()?;
            let place = Place(Some(Rc::clone(self)));
            self.figures.upstream_connections(0, -1);
            if since.elapsed() < self.target.settings.idle_timeout && connection.is_idle() {
                self.figures.upstream_connections(1, 0);
                return Some(Lease { connection: Some(connection), place, is_reused: true });
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
        let mut lease = Lease { connection: Some(connection), place, is_reused: true };
        loop {
            let Some(waiter) = self.waiting.borrow_mut().pop_front() else { break };
            match waiter.send(Handed::Connection(lease)) {
                Err(Handed::Connection(unclaimed)) => lease = unclaimed,
                Ok(()) | Err(Handed::Place(_)) => return,
            }
        }
        let Some(connection) = lease.connection.take() else { return };
        // The place stays taken as long as the connection is idle, and a pool that holds itself would never go.
        drop(lease.place.0.take());
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
        self.idle.borrow().first().map(|idle| idle.since + timeout)
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
        self.figures.upstream_connections(0, -idle);
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

impl Connection {
    /// Whether it is alive and has nothing to do. Looks without asking to be woken: nobody waits for an idle one.
    fn is_idle(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.drive(&mut cx).is_pending() && self.sender.is_ready()
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_over && Pin::new(&mut self.http).poll(cx).is_ready() {
            // What went wrong, if anything did, the response or its body tells.
            self.is_over = true;
        }
        if self.is_over { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

/// What becomes of a request that was sent.
pub(super) type Sent = Result<http::Response<hyper::body::Incoming>, TrySendError<Request<RequestBody>>>;

impl Lease {
    /// Whether it has carried a request before.
    pub(super) const fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Hands a request to the connection. It goes out when the connection is driven.
    pub(super) fn send(&mut self, request: Request<RequestBody>) -> Option<impl Future<Output = Sent> + use<>> {
        Some(self.connection.as_mut()?.sender.try_send_request(request))
    }

    /// Lets the connection read and write what it can; ready when it is over.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.connection {
            Some(connection) => connection.drive(cx),
            None => Poll::Ready(()),
        }
    }

    /// Whether `due` has passed; the task is woken then.
    pub(super) fn is_due(&mut self, due: Option<Instant>, cx: &mut Context<'_>) -> bool {
        let (Some(due), Some(connection)) = (due, &mut self.connection) else { return false };
        let timer = connection.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if due < timer.deadline() {
            timer.as_mut().reset(due);
        }
        // A timer that was armed for an earlier request fires too early, which is cheaper than to move it each time.
        while timer.as_mut().poll(cx).is_ready() {
            if due <= Instant::now() {
                return true;
            }
            timer.as_mut().reset(due);
        }
        false
    }

    /// The connection's bytes, once it has stopped being HTTP: what was read and is none, and the stream.
    pub(super) async fn into_stream(mut self) -> Option<(Bytes, Wire)> {
        std::future::poll_fn(|cx| self.drive(cx)).await;
        let connection = self.connection.take()?;
        if let Some(pool) = &self.place.0 {
            pool.figures.upstream_connections(-1, 0);
        }
        let parts = connection.http.into_parts();
        Some((parts.read_buf, parts.io.into_inner()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let Some(pool) = self.place.0.take() else { return };
        let place = Place(Some(Rc::clone(&pool)));
        if connection.is_idle() {
            pool.put(connection, place);
        } else {
            pool.figures.upstream_connections(-1, 0);
            drop(connection);
            drop(place);
        }
    }
}
