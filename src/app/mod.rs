//! The composition root: everything is made here once, and knows nothing of how it was made.
//!
//! [`App::build`] takes whatever may be refused (certificates, the store, addresses, the locks of this profile), so
//! that [`App::run`] serves or has never begun. One control thread runs the refresher, the warnings, the admin listener
//! and the control socket; each worker is a thread of its own where there are descriptors for it (see `workers`).

mod control;
mod descriptors;
mod follow;
mod gate;
mod launch;
mod manager;
mod memory;
pub mod process;
mod seed;
mod vitals;
mod workers;

use std::{io, path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use self::{
    control::{Controls, SignIns},
    descriptors::Budget,
    gate::Names,
    launch::Launcher,
    vitals::Health,
    workers::Workers,
};
use crate::{
    admin::{self, Admin, Readiness, Site},
    clock::{Now, SharedClock},
    cognito::{AwsCredentials, CognitoIssuer, Transport, egress::Egress},
    config::Config,
    current::{self, CurrentToken, Nudge, Publisher},
    guard,
    listen::{self, Bound},
    metrics::Metrics,
    proxy::{Plan, PlanError, Routing},
    refresher::{self, Command, Refresher, Seed},
    server::{self, Room},
    session::{
        Mode, Session,
        snapshot::Snapshot,
        state::{Event, State},
    },
    store::{LoadError, RunningError, RunningLock, TokenStore},
    systemd::Notifier,
    warn,
};

/// Commands that wait to be obeyed: each is answered within moments.
const COMMANDS: usize = 64;

/// A start is over after this long: what the first requests do not need is made ready then.
const SETTLED: Duration = Duration::from_secs(1);

/// Warnings that wait to be told: there are a handful in a session's life.
const WARNINGS: usize = 64;

/// Presses on notifications that wait to be obeyed: a person has pressed each of them.
const ANSWERS: usize = 8;

/// Sign-ins that are asked for and not begun yet: one is enough.
const SIGN_INS: usize = 1;

/// Why the proxy cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another one runs with this profile, or that cannot be told.
    #[error(transparent)]
    Running(#[from] RunningError),
    /// The stored session may not be used: its place is not safe, or somebody else's.
    #[error(transparent)]
    Store(#[from] LoadError),
    /// An address cannot be had.
    #[error(transparent)]
    Listen(#[from] listen::Error),
    /// A socket that systemd passed is none that can be served on.
    #[error("a socket that was passed by the service manager cannot be used: {0}")]
    Passed(#[source] io::Error),
    /// An upstream cannot be used.
    #[error(transparent)]
    Upstream(#[from] PlanError),
    /// `guard.users` names somebody whom this machine does not know.
    #[error(transparent)]
    Users(#[from] guard::UsersError),
    /// The control socket cannot be made.
    #[error("the control socket cannot be made: {0}")]
    Control(#[from] admin::control::BindError),
    /// The system refuses a thread, a runtime or a socket.
    #[error("the system refuses {what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it says.
        source: io::Error,
    },
}

/// How the configuration is read again. An error is the whole message.
pub type Reload = Box<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// A proxy that is about to serve.
pub struct App {
    config: Config,
    clock: SharedClock,
    store: Arc<dyn TokenStore>,
    bound: Bound,
    routing: Arc<Routing>,
    proxy_guard: Arc<ArcSwap<guard::Guard>>,
    admin_guard: Arc<ArcSwap<guard::Guard>>,
    /// How often what the guards refuse is logged, by all workers together.
    refusals: Arc<guard::Limiter>,
    limits: Arc<ArcSwap<server::Settings>>,
    metrics: Arc<Metrics>,
    issuer: Arc<CognitoIssuer>,
    /// The issuer's own, to be made ready.
    transport: Transport,
    publisher: Publisher,
    current: CurrentToken,
    nudges: mpsc::Receiver<Nudge>,
    commands: (mpsc::Sender<Command>, mpsc::Receiver<Command>),
    login: String,
    /// The systemd credential, where one was passed.
    seed: Option<Seed>,
    /// Who begins a sign-in instead of a program of ours.
    sign_ins: Option<mpsc::Sender<()>>,
    /// What a person should know at every start.
    notices: Vec<String>,
    running: RunningLock,
    /// Who may have how many descriptors.
    budget: Budget,
}

/// What others see of a proxy that runs: its addresses with their locks, and the lock of its profile.
struct Held {
    _bound: Bound,
    _running: RunningLock,
}

impl App {
    /// Takes everything that `config` asks for. Blocking.
    ///
    /// # Errors
    /// The first thing that cannot be had.
    pub fn build(config: Config, clock: SharedClock) -> Result<Self, Error> {
        let running = RunningLock::acquire(config.store.path())?;
        let store: Arc<dyn TokenStore> = Arc::from(config.store.open_unattended());
        // A damaged or newer record stays as it is, and requests are told.
        if let Err(error @ (LoadError::Untrusted(_) | LoadError::Denied { .. })) = store.load(clock.now()) {
            return Err(error.into());
        }
        let transport = Transport::of_system();
        let issuer = Arc::new(issuer(&config, transport.clone(), &clock));
        let (seed, unusable) = seed::passed(&config.cognito);
        let passed = listen::Passed::from_environment().map_err(Error::Passed)?;
        let owner = listen::Owner { runtime_dir: &config.runtime_dir, profile: &config.profile };
        let bound = listen::bind(&config.listen, owner, passed)?;
        for name in &bound.unused {
            let fix = format!("add \"systemd:{name}\" to listen.proxy, or stop the socket unit");
            tracing::warn!(
                name,
                fix,
                "systemd passed a socket that no key asks for: who connects to it waits for ever"
            );
        }
        // From here on whoever connects waits in the queue of a listener.
        let budget = Budget::new(&config, &bound);
        let upstreams = budget.upstreams(&config.proxy);
        let plan = Plan::new(&upstreams, config.server.body_idle_timeout, &Egress::from_env())?;
        let login = config.command("login");
        let now = clock.now();
        let stored = refresher::stored(&*store, &*issuer, seed.as_ref(), now).map_err(|error| error.to_string());
        let first = first_snapshot(&config, &login, stored, now);
        let (publisher, current, nudges) = current::cell(first, config.current, Arc::clone(&clock));
        let guards = Names::of(&bound).guards(&config)?;
        let notices = config.notices.iter().cloned().chain(guards.announcements).chain(unusable).collect();
        Ok(Self {
            store,
            routing: Routing::new(plan),
            proxy_guard: Arc::new(ArcSwap::from_pointee(guards.proxy)),
            admin_guard: Arc::new(ArcSwap::from_pointee(guards.admin)),
            refusals: Arc::default(),
            limits: Arc::new(ArcSwap::from_pointee(budget.limits(&config.server))),
            metrics: Arc::new(Metrics::default()),
            issuer,
            transport,
            publisher,
            current,
            nudges,
            commands: mpsc::channel(COMMANDS),
            login,
            seed,
            sign_ins: None,
            notices,
            bound,
            clock,
            config,
            running,
            budget,
        })
    }

    /// Everything that is listened on, with the ports that the system chose where 0 was asked for.
    #[must_use]
    pub const fn bound(&self) -> &Bound {
        &self.bound
    }

    /// The cell of the current token, to watch.
    #[must_use]
    pub fn current(&self) -> CurrentToken {
        self.current.clone()
    }

    /// Where commands to the refresher go.
    #[must_use]
    pub fn commands(&self) -> mpsc::Sender<Command> {
        self.commands.0.clone()
    }

    /// Makes a sign-in that is asked for on the status page the caller's: it is told of each, and no program is started.
    pub fn signs_in_by_itself(&mut self) -> mpsc::Receiver<()> {
        let (tell, told) = mpsc::channel(SIGN_INS);
        self.sign_ins = Some(tell);
        told
    }

    /// Serves until `shutdown`, then lets what is in flight finish, unless there is a `hurry`, and a refresh under way be
    /// stored. To be called in a `LocalRuntime`.
    ///
    /// # Errors
    /// Where the system refuses a thread or a socket at the start; never once requests are served.
    pub async fn run(
        mut self,
        reload: Reload,
        shutdown: CancellationToken,
        hurry: CancellationToken,
    ) -> Result<(), Error> {
        let notifier = Arc::new(Notifier::from_env().unwrap_or_else(|error| {
            tracing::warn!(%error, "the service manager cannot be told anything");
            Notifier::silent()
        }));
        let (end, drain) = server::shutdown();
        let room = Room::default();
        let health = Arc::new(Health::new(Arc::clone(&self.metrics)));
        let workers = Workers::start(&mut self, &room, &drain, &health)?;
        let admin = Arc::new(Admin::new(self.current.clone(), readiness(&self.config), health.clone()));
        let (sign_in, launcher) = Launcher::new(&self.config);
        let sign_ins = self.sign_ins.take().map_or_else(|| SignIns::Launched(sign_in.clone()), SignIns::Told);
        let controls = Arc::new(Controls::new(&self, Arc::clone(&admin), reload, sign_ins, Arc::clone(&notifier)));
        let socket = admin::control::Socket::bind(&socket_path(&self.config))?;
        let service = Arc::new(admin::control::Service::new(
            Arc::clone(&admin),
            controls.clone(),
            rustix::process::geteuid().as_raw(),
        ));
        // Before anybody is told that this serves: until it is listened for, a hangup ends the process.
        let hangups = signal(SignalKind::hangup());
        self.announce();

        let (warnings, heard) = mpsc::channel(WARNINGS);
        let (answers, pressed) = mpsc::channel(ANSWERS);
        let heralds = tokio::spawn(warn::run(heard, self.heralds(controls.warnings(), answers)));
        let refreshing = CancellationToken::new();
        let changes = tokio::spawn(follow_store(Arc::clone(&self.store), self.commands.0.clone(), refreshing.clone()));
        let prepared = tokio::spawn(prepare(self.transport.clone(), has_tls(&self.config)));
        let (current, commands) = (self.current.clone(), self.commands.0.clone());
        let served = serve_admin(&mut self, Site::new(admin, controls.clone()), &drain)?;
        let (refresher, held) = self.refresher(warnings);
        let refresher = tokio::spawn(refresher.run(refreshing.clone()));
        let launching = tokio::spawn(launcher.run(refreshing.clone()));
        let obeying = tokio::spawn(launch::obey(pressed, sign_in, commands.clone()));
        let socket = tokio::spawn(socket.serve(service, refreshing.clone().cancelled_owned()));
        notifier.ready("serving");

        tokio::select! {
            () = shutdown.cancelled() => tracing::info!("stopping"),
            () = controls.reloads(hangups) => {}
            () = manager::keep_told(&notifier, &current, &commands, &health) => {}
        }
        notifier.stopping("draining");
        prepared.abort();
        health.stop();
        current.stop();
        end.begin();
        let drained = workers.join();
        tokio::pin!(drained);
        tokio::select! {
            () = &mut drained => {}
            () = hurry.cancelled() => {
                end.close();
                drained.await;
            }
        }
        refreshing.cancel();
        let tasks =
            [("refresher", refresher), ("control socket", socket), ("store watch", changes), ("sign-in", launching)];
        for (what, task) in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, what, "ended unexpectedly");
            }
        }
        end.close();
        drop(served.await);
        drop(heralds.await);
        drop(obeying.await);
        drop(held);
        Ok(())
    }

    /// What warnings are told through.
    fn heralds(&self, settings: watch::Receiver<warn::Settings>, answers: mpsc::Sender<warn::Answer>) -> warn::Parts {
        warn::Parts {
            profile: self.config.profile.clone(),
            clock: Arc::clone(&self.clock),
            current: self.current.clone(),
            transport: self.transport.clone(),
            settings,
            answers,
        }
    }

    /// The refresher, and what is held for as long as the proxy runs.
    fn refresher(self, warnings: mpsc::Sender<crate::session::state::Warning>) -> (Refresher, Held) {
        let held = Held { _bound: self.bound, _running: self.running };
        let refresher = Refresher::new(refresher::Parts {
            state: State::new(self.config.session, self.login, fastrand::u64(..)),
            store: self.store,
            issuer: self.issuer,
            seed: self.seed,
            clock: self.clock,
            publisher: self.publisher,
            metrics: self.metrics,
            warnings,
            nudges: self.nudges,
            commands: self.commands.1,
        });
        (refresher, held)
    }

    /// One line about what is served, and one about each thing that a person should know at every start.
    fn announce(&self) {
        let list = |endpoints: &[listen::Endpoint]| {
            let names: Vec<String> = endpoints.iter().map(|endpoint| endpoint.local().to_string()).collect();
            if names.is_empty() { "off".to_owned() } else { names.join(",") }
        };
        let route = &self.config.proxy.default_route;
        tracing::info!(
            proxy = list(&self.bound.proxy),
            admin = list(&self.bound.admin),
            upstream = %route.upstream.url,
            token = route.inject.as_ref().map_or("none", |inject| inject.token.as_str()),
            "listening"
        );
        for notice in &self.notices {
            tracing::warn!("{notice}");
        }
    }
}

/// Makes `transport` ready once the first requests have been served, so that a machine without a trust store is told so
/// at the start and not an hour later.
async fn prepare(transport: Transport, is_needed: bool) {
    if !is_needed {
        return;
    }
    tokio::time::sleep(SETTLED).await;
    if let Err(error) = transport.prepare().await {
        tracing::error!(%error, "the session cannot be refreshed");
    }
}

/// Whether the pool is spoken to over TLS.
fn has_tls(config: &Config) -> bool {
    config.cognito.endpoint.as_ref().is_none_or(|endpoint| endpoint.scheme() != Some(&http::uri::Scheme::HTTP))
}

/// The issuer that `config` describes. It asks the pool for a validity only where none is configured.
fn issuer(config: &Config, transport: Transport, clock: &SharedClock) -> CognitoIssuer {
    let credentials = if config.session.validity.is_none() { AwsCredentials::of_this_process() } else { None };
    let issuer = CognitoIssuer::new(config.cognito.clone(), transport, Arc::clone(clock));
    issuer.with_aws_credentials(credentials)
}

/// What requests see that come before the refresher has begun: what it will begin with.
fn first_snapshot(config: &Config, login: &str, stored: Result<Option<Box<Session>>, String>, now: Now) -> Snapshot {
    let state = State::new(config.session.clone(), login.to_owned(), 0);
    let (state, _) = state.step(now, Event::Loaded(stored));
    state.snapshot(now)
}

fn readiness(config: &Config) -> Readiness {
    Readiness { kinds: config.session.kinds.clone(), on_demand: config.session.mode == Mode::OnDemand }
}

/// Where the control socket of `config`'s profile lies.
#[must_use]
pub fn socket_path(config: &Config) -> PathBuf {
    config.runtime_dir.join(format!("{}.sock", config.profile))
}

/// Tells the refresher when somebody else writes to the store.
async fn follow_store(store: Arc<dyn TokenStore>, commands: mpsc::Sender<Command>, stop: CancellationToken) {
    let mut changes = match store.watch() {
        Ok(changes) => changes,
        Err(error) => {
            tracing::warn!(%error, "a sign-in by another program will be noticed at the next refresh only");
            return;
        }
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            hint = changes.changed() => {
                if hint.is_none() || commands.send(Command::StoreChanged).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Serves the admin pages in the control thread.
fn serve_admin(app: &mut App, site: Site, drain: &server::Drain) -> Result<tokio::task::JoinHandle<()>, Error> {
    let mut listeners = Vec::new();
    for endpoint in &mut app.bound.admin {
        let bound = endpoint.listeners(1).map_err(|source| Error::System { what: "a listener", source })?;
        for listener in bound {
            listeners.push(
                listener
                    .within(&app.budget.pages)
                    .start()
                    .map_err(|source| Error::System { what: "a listener", source })?,
            );
        }
    }
    let server = workers::pages(app, Rc::new(site), drain);
    Ok(tokio::task::spawn_local(async move {
        server.serve(listeners).await;
    }))
}
