//! The threads that serve: each with a runtime, sockets, figures and an upstream pool of its own. Where there are no
//! descriptors for a second runtime, the thread that this is called in serves as well.
//!
//! A request never crosses threads. What workers share is the plan, the guard, the limits (each read with one load) and
//! the cell of the token.

use std::{io, rc::Rc, sync::Arc, thread};

use futures_util::future::LocalBoxFuture;
use tokio::{runtime::LocalRuntime, sync::oneshot, task};

use super::{App, Error, gate::GuardGate, vitals::Health};
use crate::{
    admin::{self, Site},
    listen::{BoundListener, Connection},
    message::{Request, Response},
    proxy::{Proxy, pseudonym},
    server::{Drain, Room, Server},
};

/// The workers that run.
pub(super) struct Workers(Vec<Running>);

/// One of them. What it says at its end is how many connections it cut off.
enum Running {
    Thread { thread: thread::JoinHandle<()>, ended: oneshot::Receiver<usize> },
    Here(task::JoinHandle<io::Result<usize>>),
}

impl Workers {
    /// Starts as many as there are to be. Every listener is open when this returns.
    pub(super) fn start(app: &mut App, room: &Room, drain: &Drain, health: &Arc<Health>) -> Result<Self, Error> {
        let threads = app.budget.threads;
        let mut shares: Vec<Vec<BoundListener>> = (0..threads.max(1)).map(|_| Vec::new()).collect();
        for endpoint in &mut app.bound.proxy {
            let listeners = endpoint.listeners(shares.len());
            let listeners = listeners.map_err(|source| Error::System { what: "a listener", source })?;
            for (share, listener) in shares.iter_mut().zip(listeners) {
                share.push(listener.within(&app.budget.clients));
            }
        }
        let name = pseudonym();
        let running = shares.into_iter().enumerate().map(|(index, listeners)| {
            let worker = Worker::new(app, listeners, room, drain, &name);
            if threads == 0 { Ok(worker.here(health)) } else { worker.in_thread(index, health) }
        });
        Ok(Self(running.collect::<Result<_, Error>>()?))
    }

    /// Waits until all have drained.
    pub(super) async fn join(self) {
        let mut cut_off = 0;
        let mut lost = 0;
        for running in self.0 {
            match running {
                Running::Thread { thread, ended } => {
                    cut_off += ended.await.unwrap_or(0);
                    lost += usize::from(thread.join().is_err());
                }
                Running::Here(task) => match task.await {
                    Ok(ended) => cut_off += ended.unwrap_or(0),
                    Err(_) => lost += 1,
                },
            }
        }
        if cut_off > 0 {
            tracing::warn!(connections = cut_off, "cut off: runtime.drain_timeout is over");
        }
        if lost > 0 {
            tracing::error!(workers = lost, "lost to a fault of ours");
        }
    }
}

/// What one worker takes into its thread.
struct Worker {
    listeners: Vec<BoundListener>,
    routing: Arc<crate::proxy::Routing>,
    guard: Arc<arc_swap::ArcSwap<crate::guard::Guard>>,
    refusals: Arc<crate::guard::Limiter>,
    limits: Arc<arc_swap::ArcSwap<crate::server::Settings>>,
    current: crate::current::CurrentToken,
    clock: crate::clock::SharedClock,
    figures: Arc<crate::metrics::Shard>,
    room: Room,
    drain: Drain,
    pseudonym: String,
}

impl Worker {
    fn new(app: &App, listeners: Vec<BoundListener>, room: &Room, drain: &Drain, pseudonym: &str) -> Self {
        Self {
            listeners,
            routing: Arc::clone(&app.routing),
            guard: Arc::clone(&app.proxy_guard),
            refusals: Arc::clone(&app.refusals),
            limits: Arc::clone(&app.limits),
            current: app.current.clone(),
            clock: Arc::clone(&app.clock),
            figures: app.metrics.shard(),
            room: room.clone(),
            drain: drain.clone(),
            pseudonym: pseudonym.to_owned(),
        }
    }

    /// Serves in a thread of its own.
    fn in_thread(self, index: usize, health: &Arc<Health>) -> Result<Running, Error> {
        let (done, ended) = oneshot::channel();
        let health = Arc::clone(health);
        let work = move || {
            let _working = health.enter();
            match LocalRuntime::new().and_then(|runtime| runtime.block_on(self.serve())) {
                // Nobody asks any more where the program has ended before.
                Ok(cut_off) => drop(done.send(cut_off)),
                Err(error) => tracing::error!(%error, worker = index, "worker cannot serve"),
            }
        };
        let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(work);
        let thread = thread.map_err(|source| Error::System { what: "a thread", source })?;
        Ok(Running::Thread { thread, ended })
    }

    /// Serves in the runtime that this is called in.
    fn here(self, health: &Arc<Health>) -> Running {
        let working = health.enter();
        Running::Here(task::spawn_local(async move {
            let _working = working;
            let served = self.serve().await;
            served.inspect_err(|error| tracing::error!(%error, "the control thread cannot serve"))
        }))
    }

    /// Serves until it is told to stop. Returns how many connections were cut off.
    async fn serve(self) -> io::Result<usize> {
        let listeners = self.listeners.into_iter().map(BoundListener::start).collect::<io::Result<Vec<_>>>()?;
        let proxy = Proxy::new(self.routing, self.current, Arc::clone(&self.figures), self.pseudonym);
        let server = Server {
            gate: Rc::new(GuardGate::new(self.guard, self.clock, Arc::clone(&self.figures), self.refusals)),
            service: Rc::new(move |request, connection| Rc::clone(&proxy).handle(request, connection)),
            settings: self.limits,
            room: self.room,
            figures: self.figures,
            drain: self.drain,
        };
        Ok(server.serve(listeners).await)
    }
}

/// The answer of a page, which waits for nothing, or of a deed.
type Page = LocalBoxFuture<'static, Response<admin::Body>>;

/// Serves the admin pages in the thread that this is called in.
pub(super) fn pages(
    app: &App,
    site: Rc<Site>,
    drain: &Drain,
) -> Server<GuardGate, impl Fn(Request, Rc<Connection>) -> Page + use<>> {
    // Its requests are counted apart from the proxy's, and its connections do not take the place of a request's.
    let figures = Arc::new(crate::metrics::Shard::default());
    Server {
        gate: Rc::new(GuardGate::new(
            Arc::clone(&app.admin_guard),
            Arc::clone(&app.clock),
            app.metrics.shard(),
            Arc::clone(&app.refusals),
        )),
        service: Rc::new(move |request: Request, _| {
            let site = Rc::clone(&site);
            let page: Page = Box::pin(async move { site.answer(request.into()).await.into() });
            page
        }),
        settings: Arc::clone(&app.limits),
        room: Room::default(),
        figures,
        drain: drain.clone(),
    }
}
