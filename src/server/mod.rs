//! Accepting connections and serving requests on them, within limits.
//!
//! A [`Server`] cannot be made without a [`Gate`], so nothing is mounted unguarded. It knows HTTP's connections, their
//! timers and their end; what a request is answered with is the service's.

mod access;
mod connection;
mod date;
mod drain;
mod exchange;
mod h1;
mod h2;
mod spare;

use std::{
    cell::RefCell,
    future::Future,
    io,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use arc_swap::{ArcSwap, Cache};
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::{
    listen::{Connection, Listener},
    message::{Fields, Request, RequestHead, Response},
    metrics::Shard,
    reply::{self, Refusal},
};

pub use self::drain::{Drain, Room, STANDING, Shutdown, shutdown};
use self::{
    connection::{Accepted, serve_connections},
    drain::{Live, Phase},
    spare::{Hand, Spares},
};

/// How long accepting pauses at first when the process is out of descriptors, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// `[limits]` and `[runtime]`, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `limits.header_timeout`.
    pub header_timeout: Duration,
    /// `limits.first_byte_timeout`.
    pub first_byte_timeout: Duration,
    /// `limits.idle_timeout`.
    pub idle_timeout: Duration,
    /// `limits.body_idle_timeout`.
    pub body_idle_timeout: Duration,
    /// `limits.max_header_bytes`.
    pub max_header_bytes: usize,
    /// `limits.max_connections`.
    pub max_connections: usize,
    /// `runtime.drain_timeout`.
    pub drain_timeout: Duration,
    /// `log.access`.
    pub access_log: bool,
}

/// Who may come in. A gate counts and logs what it denies: it alone knows who asked.
pub trait Gate: 'static {
    /// What was found out about a peer, once for each connection.
    type Peer: 'static;
    /// What an admitted request may have, beyond being served (the CORS headers of its origin).
    type Grant: 'static;

    /// Looks at whoever connected; called when the first byte has come.
    fn peer(&self, connection: &Connection) -> Self::Peer;

    /// Looks at a request's head.
    ///
    /// # Errors
    /// What to answer instead.
    fn check(
        &self,
        head: &RequestHead,
        connection: &Connection,
        peer: &Self::Peer,
    ) -> Result<Self::Grant, Box<Denied<Self::Grant>>>;

    /// Adds to a response what the grant says; also to the replies of the proxy itself.
    fn decorate(&self, grant: &Self::Grant, fields: &mut Fields);
}

/// What a request that does not come in is answered with.
#[derive(Debug)]
pub enum Denied<G> {
    /// No, and why.
    Refused {
        /// Why.
        refusal: Refusal,
        /// What a listed origin may still read of it.
        grant: Option<G>,
    },
    /// The gate knows the answer itself: a preflight's, say.
    Answered(http::Response<reply::Body>),
}

/// One worker's share of serving.
#[derive(Debug)]
pub struct Server<G, S> {
    /// Who may come in.
    pub gate: Rc<G>,
    /// What answers.
    pub service: Rc<S>,
    /// The limits; read anew for each connection.
    pub settings: Arc<ArcSwap<Settings>>,
    /// How many connections all workers have together.
    pub room: Room,
    /// Where responses are counted.
    pub figures: Arc<Shard>,
    /// When to stop.
    pub drain: Drain,
}

impl<G, S, F, B> Server<G, S>
where
    G: Gate,
    S: Fn(Request, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: http_body::Body<Data = Bytes> + From<reply::Body> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Serves until told to stop, then finishes what is in flight within `drain_timeout`. Returns how many
    /// connections were cut off.
    ///
    /// To be called in a `LocalRuntime` or a `LocalSet`. Dropping the future ends every connection at once.
    pub async fn serve(self, listeners: Vec<Listener>) -> usize {
        let mut drain = self.drain.clone();
        let settings = Arc::clone(&self.settings);
        let live = Rc::new(Live::default());
        let spares = Spares::none();
        let tasks = Rc::new(RefCell::new(JoinSet::new()));
        let mut doors = JoinSet::new();
        let server = Rc::new(self);
        for listener in listeners {
            let door = Door {
                listener,
                server: Rc::clone(&server),
                live: Rc::clone(&live),
                spares: Rc::clone(&spares),
                tasks: Rc::downgrade(&tasks),
            };
            doors.spawn_local(door.accept());
        }
        tokio::select! {
            () = drain.begun() => doors.shutdown().await,
            () = all_closed(&mut doors) => {}
        }
        live.advance(Phase::Draining);
        spares.dismiss();
        let mut tasks = tasks.take();
        let patience = settings.load().drain_timeout;
        tokio::select! {
            () = join_all(&mut tasks) => return 0,
            () = tokio::time::sleep(patience) => {}
            () = drain.closed() => {}
        }
        let cut_off = live.count();
        live.advance(Phase::Closing);
        tasks.shutdown().await;
        cut_off
    }
}

async fn join_all(tasks: &mut JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        report(ended);
    }
}

/// Accepting never ends by itself: where it has failed, so has the server.
async fn all_closed(doors: &mut JoinSet<()>) {
    while let Some(ended) = doors.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// A connection's task ends by itself; a panic in one is reported and ends no other.
fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection was lost to a fault of ours");
    }
}

/// A listener, and what becomes of those who come in.
struct Door<G, S> {
    listener: Listener,
    server: Rc<Server<G, S>>,
    live: Rc<Live>,
    spares: Rc<Spares<Accepted>>,
    /// The connections' tasks, which end with whoever serves.
    tasks: Weak<RefCell<JoinSet<()>>>,
}

impl<G, S, F, B> Door<G, S>
where
    G: Gate,
    S: Fn(Request, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: http_body::Body<Data = Bytes> + From<reply::Body> + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Accepts for ever: there is no error that a pause does not outlast.
    async fn accept(self) {
        let mut pause = PAUSE.0;
        let mut settings = Cache::new(Arc::clone(&self.server.settings));
        loop {
            match self.listener.accept().await {
                Ok((stream, connection)) => {
                    pause = PAUSE.0;
                    let settings = settings.load();
                    let Some(place) = self.server.room.enter(settings.max_connections) else { continue };
                    let ticket = self.live.enter();
                    self.serve(Accepted::new(stream, connection, Arc::clone(settings), place, ticket));
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    let listener = self.listener.local();
                    tracing::warn!(%error, %listener, retry_in = ?pause, "cannot accept");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    /// Has a connection served, by a task that waits or by a new one.
    fn serve(&self, accepted: Accepted) {
        let Some(tasks) = self.tasks.upgrade() else { return };
        let mut tasks = tasks.borrow_mut();
        while let Some(ended) = tasks.try_join_next() {
            report(ended);
        }
        if let Err(accepted) = self.spares.give(accepted) {
            let (server, spares) = (Rc::clone(&self.server), Rc::clone(&self.spares));
            tasks.spawn_local(serve_connections(Hand::holding(accepted), spares, server));
        }
    }
}

/// Whether an error of accept(2) is about the connection, which is gone, and not about this process.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;
