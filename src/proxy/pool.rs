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
use futures_util::future::Either;
use http::Request;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinHandle,
    time::{Instant, Sleep, sleep_until, timeout},
};

use super::{
    HttpVersion,
    connect::{Protocol, Wanted, Wire, connect},
    failure::Failure,
    h2::{Multiplexed, Stream},
    plan::Target,
    quiet::Quiet,
    upload::RequestBody,
};
use crate::metrics::Shard;

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

type Http = http1::Connection<TokioIo<Wire>, RequestBody>;

/// HTTP/1.1 to an upstream: both halves of hyper's client, and a timer that is moved as seldom as can be.
struct Connection {
    http: Http,
    sender: http1::SendRequest<RequestBody>,
    timer: Option<Pin<Box<Sleep>>>,
    quiet: Quiet,
    /// Whether `http` has completed, and must not be polled again.
    is_over: bool,
    /// Whether it is to carry nothing more.
    is_retired: bool,
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

/// A connection in use, or one stream of it. Dropped, it goes back to its pool if it is whole, and is closed if it is
/// not.
#[derive(Debug)]
pub(super) struct Lease(Kind);

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every lease is the large one, and a box would cost an allocation"
)]
enum Kind {
    /// All of an HTTP/1.1 connection.
    Whole { connection: Option<Connection>, place: Place, is_reused: bool },
    /// A stream of an HTTP/2 connection.
    Stream { stream: Stream, timer: Option<Pin<Box<Sleep>>> },
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

    /// A connection: an idle one that is alive, else a new one, else the next that comes free within
    /// `connect_timeout`.
    pub(super) async fn lease(self: &Rc<Self>) -> Result<Lease, Failure> {
        if let Some(lease) = self.stream().or_else(|| self.reuse()) {
            return Ok(lease);
        }
        self.fresh(Wanted::Any).await
    }

    /// A connection that has carried nothing yet, or has just come free.
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
        let place = match self.place().await? {
            Handed::Connection(lease) => return Ok(lease),
            Handed::Place(place) => place,
        };
        let (wire, protocol) = connect(&self.target, wanted).await?;
        match protocol {
            Protocol::H1 => self.whole(wire, place).await,
            Protocol::H2 => self.multiplex(wire, place).await,
        }
    }

    async fn whole(self: &Rc<Self>, wire: Wire, place: Place) -> Result<Lease, Failure> {
        let mut builder = http1::Builder::new();
        // What stands there is removed, not passed on (RFC 9112 §5.1).
        builder.allow_spaces_after_header_name_in_responses(true);
        let (sender, http) = builder.handshake(TokioIo::new(wire)).await.map_err(Failure::of)?;
        self.figures.upstream_connections(1, 0);
        let connection =
            Connection { http, sender, timer: None, quiet: Quiet::new(), is_over: false, is_retired: false };
        Ok(Lease(Kind::Whole { connection: Some(connection), place, is_reused: false }))
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
        Ok(Lease(Kind::Stream { stream, timer: None }))
    }

    /// A stream of a connection that is open, where one has room. Those that are over are forgotten.
    fn stream(self: &Rc<Self>) -> Option<Lease> {
        if self.multiplexed.borrow().is_empty() {
            return None;
        }
        self.forget(Multiplexed::is_over);
        let multiplexed = self.multiplexed.borrow();
        let stream = multiplexed.iter().find_map(Multiplexed::stream)?;
        Some(Lease(Kind::Stream { stream, timer: None }))
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
            if since.elapsed() < self.target.settings.idle_timeout && connection.is_idle() {
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

impl Connection {
    /// Whether it is alive and has nothing to do. Looks without asking to be woken: nobody waits for an idle one.
    fn is_idle(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        !self.is_retired && drive(&mut self.http, &mut self.is_over, &mut cx).is_pending() && self.sender.is_ready()
    }

    /// Drives it on behalf of a task.
    fn drive_for(&mut self, task: &Waker) -> Poll<()> {
        let Self { http, quiet, is_over, .. } = self;
        drive(http, is_over, &mut Context::from_waker(quiet.waker(task)))
    }
}

fn drive(http: &mut Http, is_over: &mut bool, cx: &mut Context<'_>) -> Poll<()> {
    if !*is_over && Pin::new(http).poll(cx).is_ready() {
        // What went wrong, if anything did, the response or its body tells.
        *is_over = true;
    }
    if *is_over { Poll::Ready(()) } else { Poll::Pending }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("is_over", &self.is_over).finish_non_exhaustive()
    }
}

/// What becomes of a request that was sent.
type Sent = Result<http::Response<hyper::body::Incoming>, TrySendError<Request<RequestBody>>>;

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

    /// Hands a request to the connection. It goes out when the connection is driven.
    pub(super) fn send(&mut self, request: Request<RequestBody>) -> Option<impl Future<Output = Sent> + use<>> {
        Some(match &mut self.0 {
            Kind::Whole { connection, .. } => Either::Left(connection.as_mut()?.sender.try_send_request(request)),
            Kind::Stream { stream, .. } => Either::Right(stream.sender.try_send_request(request)),
        })
    }

    /// The upstream takes no more requests on this connection; what is under way on it goes on. So it is with HTTP/1.0
    /// too: on a connection that has heard it, hyper speaks it in turn, and has no way to send chunks.
    pub(super) fn retire(&mut self) {
        match &mut self.0 {
            Kind::Whole { connection: Some(connection), .. } => connection.is_retired = true,
            Kind::Whole { connection: None, .. } => {}
            Kind::Stream { stream, .. } => stream.retire(),
        }
    }

    /// Ends a connection that gave no response; whether some of one had come.
    pub(super) fn abandon(mut self) -> bool {
        let Kind::Whole { connection, place, .. } = &mut self.0 else { return false };
        let (Some(connection), Some(pool)) = (connection.take(), &place.0) else { return false };
        pool.figures.upstream_connections(-1, 0);
        !connection.http.into_parts().read_buf.is_empty()
    }

    /// Lets the connection read and write what it can; ready when it is over. One of HTTP/2 has a task for that.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Kind::Whole { connection: Some(connection), .. } => connection.drive_for(cx.waker()),
            Kind::Whole { connection: None, .. } => Poll::Ready(()),
            Kind::Stream { .. } => Poll::Pending,
        }
    }

    /// Runs `look` at something that the connection fills, before it is driven, without a wake-up for that.
    pub(super) fn before_driving<T>(&self, look: impl FnOnce() -> T) -> T {
        match &self.0 {
            Kind::Whole { connection: Some(connection), .. } => connection.quiet.mute(look),
            Kind::Whole { connection: None, .. } | Kind::Stream { .. } => look(),
        }
    }

    /// Whether `due` has passed; the task is woken then.
    pub(super) fn is_due(&mut self, due: Option<Instant>, cx: &mut Context<'_>) -> bool {
        let Some(due) = due else { return false };
        let timer = match &mut self.0 {
            Kind::Whole { connection: Some(connection), .. } => &mut connection.timer,
            Kind::Whole { connection: None, .. } => return false,
            Kind::Stream { timer, .. } => timer,
        };
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
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
        let Kind::Whole { connection, place, .. } = &mut self.0 else { return None };
        let connection = connection.take()?;
        if let Some(pool) = &place.0 {
            pool.figures.upstream_connections(-1, 0);
        }
        let parts = connection.http.into_parts();
        Some((parts.read_buf, parts.io.into_inner()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Kind::Whole { connection, place, .. } = &mut self.0 else { return };
        let Some(mut connection) = connection.take() else { return };
        let Some(pool) = place.0.take() else { return };
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
