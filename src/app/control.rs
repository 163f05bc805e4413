//! What the owner of a running proxy tells it, carried out.

use std::{fmt, io, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::{
    signal::unix::Signal,
    sync::{Mutex, mpsc, oneshot, watch},
};

use super::{
    App, Reload,
    descriptors::Budget,
    follow::Followed,
    gate, issuer,
    launch::{Begun, SignIn},
    readiness,
};
use crate::{
    admin::{
        Admin, IssuedToken, Reloaded,
        control::{Control, Fault},
    },
    clock::{self, Now, SharedClock, Span},
    cognito::{Transport, egress::Egress},
    config::Config,
    current::CurrentToken,
    guard::Guard,
    proxy::{Plan, Routing},
    refresher::Command,
    reply::{Code, Refusal},
    secret::Secret,
    server,
    session::{
        TokenKind,
        schedule::LAST_SECOND,
        snapshot::{Decision, Gate, Injectable},
    },
    store::{self, TokenStore},
    systemd::Notifier,
    warn,
};

/// How long a refresh that a command asks for may take: longer than an attempt and the wait for the store's lock.
const RENEWAL: Duration = Duration::from_secs(25);

/// Everything that a command may have to change.
pub(super) struct Controls {
    commands: mpsc::Sender<Command>,
    current: CurrentToken,
    clock: SharedClock,
    store: Arc<dyn TokenStore>,
    admin: Arc<Admin>,
    routing: Arc<Routing>,
    proxy_guard: Arc<ArcSwap<Guard>>,
    admin_guard: Arc<ArcSwap<Guard>>,
    limits: Arc<ArcSwap<server::Settings>>,
    budget: Budget,
    warn: watch::Sender<warn::Settings>,
    own: gate::Names,
    reload: Reload,
    sign_ins: SignIns,
    notifier: Arc<Notifier>,
    /// The configuration in force. Held while it is replaced, so that two reloads follow each other.
    config: Mutex<Config>,
}

impl fmt::Debug for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Controls")
    }
}

/// How a sign-in is begun where somebody clicks instead of typing.
pub(super) enum SignIns {
    /// By this program's own `login`.
    Launched(SignIn),
    /// By whoever is told.
    Told(mpsc::Sender<()>),
}

impl Controls {
    pub(super) fn new(
        app: &App,
        admin: Arc<Admin>,
        reload: Reload,
        sign_ins: SignIns,
        notifier: Arc<Notifier>,
    ) -> Self {
        Self {
            commands: app.commands.0.clone(),
            current: app.current.clone(),
            clock: Arc::clone(&app.clock),
            store: Arc::clone(&app.store),
            admin,
            routing: Arc::clone(&app.routing),
            proxy_guard: Arc::clone(&app.proxy_guard),
            admin_guard: Arc::clone(&app.admin_guard),
            limits: Arc::clone(&app.limits),
            budget: app.budget.clone(),
            warn: watch::Sender::new(app.config.warn.clone()),
            own: gate::Names::of(&app.bound),
            reload,
            sign_ins,
            notifier,
            config: Mutex::new(app.config.clone()),
        }
    }

    /// Through what warnings are told, now and after each reload.
    pub(super) fn warnings(&self) -> watch::Receiver<warn::Settings> {
        self.warn.subscribe()
    }

    /// Reads the configuration again at each of these and whenever its file changes. Never completes.
    pub(super) async fn reloads(&self, hangups: io::Result<Signal>) {
        let (file, reload) = {
            let config = self.config.lock().await;
            (config.file.clone(), config.command("reload"))
        };
        let mut hangups =
            hangups.inspect_err(|error| tracing::warn!(%error, fix = reload, "SIGHUP cannot be listened for")).ok();
        let mut followed = file.and_then(|file| {
            Followed::of(&file)
                .inspect_err(|error| tracing::warn!(%error, "the configuration's file is not watched; use SIGHUP"))
                .ok()
        });
        loop {
            tokio::select! {
                () = hung_up(&mut hangups) => {}
                () = changed(&mut followed) => {}
            }
            // What went wrong is in the log already.
            drop(self.replace().await);
        }
    }

    /// Takes a new configuration, or keeps the old one and says why.
    async fn replace(&self) -> Result<Reloaded, Fault> {
        let mut config = self.config.lock().await;
        self.notifier.reloading(clock::monotonic());
        let applied = self.apply(&config).await;
        self.notifier.reloaded();
        match applied {
            Ok((new, reloaded)) => {
                *config = new;
                if !reloaded.needs_restart.is_empty() {
                    tracing::warn!(keys = reloaded.needs_restart.join(","), "changed, and needs a restart");
                }
                tracing::info!("configuration reloaded");
                Ok(reloaded)
            }
            Err(fault) => {
                tracing::error!(error = %fault, "configuration not reloaded, the old one stays");
                Err(fault)
            }
        }
    }

    /// Everything that may fail first, then everything that changes.
    async fn apply(&self, old: &Config) -> Result<(Config, Reloaded), Fault> {
        let wrong = |error: &dyn fmt::Display| Fault::Configuration(error.to_string());
        let new = (self.reload)().map_err(Fault::Configuration)?;
        let upstreams = self.budget.upstreams(&new.proxy);
        let plan =
            Plan::new(&upstreams, new.server.body_idle_timeout, &Egress::from_env()).map_err(|error| wrong(&error))?;
        let guards = self.own.guards(&new).map_err(|error| wrong(&error))?;
        let issuer = Arc::new(issuer(&new, Transport::of_system(), &self.clock));
        let needs_restart = old.restart_needed(&new).into_iter().map(str::to_owned).collect();
        // Before the thresholds: one that has just been passed is told through what is set now.
        self.warn.send_replace(new.warn.clone());
        self.send(Command::Reconfigure { settings: Box::new(new.session.clone()), current: new.current, issuer })
            .await?;
        self.routing.replace(plan);
        self.proxy_guard.store(Arc::new(guards.proxy));
        self.admin_guard.store(Arc::new(guards.admin));
        self.limits.store(Arc::new(self.budget.limits(&new.server)));
        self.admin.reconfigure(readiness(&new));
        Ok((new, Reloaded { needs_restart }))
    }

    async fn send(&self, command: Command) -> Result<(), Fault> {
        self.commands.send(command).await.map_err(|_| Fault::Store("the proxy is going down".into()))
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Fault> {
        let (done, told) = oneshot::channel();
        self.send(command(done)).await?;
        told.await.map_err(|_| Fault::Store("the proxy is going down".into()))
    }

    async fn take(&self, record: Secret) -> Result<(), Fault> {
        let session =
            store::from_record(record.expose(), self.clock.now()).map_err(|error| Fault::Invalid(error.to_string()))?;
        let ours = self.config.lock().await.session.clone();
        if session.user_pool_id != ours.user_pool_id || session.client_id != ours.client_id {
            return Err(Fault::OtherSession(format!(
                "this proxy serves client {} of pool {}",
                ours.client_id, ours.user_pool_id
            )));
        }
        let durable = self.ask(|done| Command::Adopt { session: Box::new(session), done }).await?;
        if durable { Ok(()) } else { Err(Fault::Store(format!("{} cannot be written", self.store.location()))) }
    }

    async fn issue(&self, kind: TokenKind, min_ttl: Option<Duration>) -> Result<IssuedToken, Fault> {
        let snapshot = self.current.snapshot();
        // A command is not parked until a sign-in, as a request is: whoever typed it can sign in.
        if let Decision::Hold(refusal) = snapshot.decide(kind, self.clock.now()) {
            return Err(Fault::Refused(refusal));
        }
        if snapshot.id_token.is_some() && snapshot.token(kind).is_none() {
            return Err(Fault::Invalid(format!("the session has no {} token", kind.as_str())));
        }
        let mut snapshot = self.current.ready(kind).await.map_err(Fault::Refused)?;
        let mut warning = None;
        if let Some(min_ttl) = min_ttl
            && let Some(token) = snapshot.token(kind)
            && lasts(token, self.clock.now()) < min_ttl
        {
            self.renew(kind, token.generation).await?;
            snapshot = self.current.ready(kind).await.map_err(Fault::Refused)?;
            warning = snapshot.token(kind).and_then(|token| shortfall(lasts(token, self.clock.now()), min_ttl));
        }
        let token = snapshot
            .token(kind)
            .ok_or_else(|| Fault::Invalid(format!("the session has no {} token", kind.as_str())))?;
        let times = match kind {
            TokenKind::Id => snapshot.facts.id_token,
            TokenKind::Access => snapshot.facts.access_token,
        };
        Ok(IssuedToken {
            kind,
            jwt: token.jwt.clone(),
            expires_at: times.map(|times| times.expires_at).unwrap_or_default(),
            expires_in: token.until.remaining(self.clock.now()),
            warning,
        })
    }

    /// Begins a sign-in, or does nothing more where one is under way.
    async fn begin_sign_in(&self) -> Result<(), Fault> {
        let impossible = |detail: String| {
            let fix = self.current.snapshot().login.clone();
            Fault::Refused(Refusal { code: Code::LoginRequired, detail, fix, retry_after: None })
        };
        match &self.sign_ins {
            SignIns::Launched(sign_in) => match sign_in.begin().await {
                Ok(Begun::Started | Begun::UnderWay) => Ok(()),
                Err(error) => Err(impossible(error.to_string())),
            },
            // A wish that is not taken up yet is the same wish.
            SignIns::Told(tell) => {
                let _ = tell.try_send(());
                Ok(())
            }
        }
    }

    /// One refresh: returns once it brought a token newer than `generation`, or has failed.
    async fn renew(&self, kind: TokenKind, generation: u64) -> Result<(), Fault> {
        let mut changes = self.current.subscribe();
        if !self.ask(|done| Command::Renew { done }).await? {
            return Ok(());
        }
        let deadline = tokio::time::Instant::now() + RENEWAL;
        loop {
            changes.borrow_and_update();
            let snapshot = self.current.snapshot();
            let is_newer = snapshot.token(kind).is_some_and(|token| token.generation > generation);
            if is_newer || snapshot.gate != Gate::Refreshing {
                return Ok(());
            }
            if !matches!(tokio::time::timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return Ok(());
            }
        }
    }
}

/// Completes at the next SIGHUP, where those can be heard.
async fn hung_up(hangups: &mut Option<Signal>) {
    if let Some(hangups) = hangups
        && hangups.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Completes when the file has changed, where there is one that is followed.
async fn changed(followed: &mut Option<Followed>) {
    match followed {
        Some(followed) => followed.changed().await,
        None => std::future::pending().await,
    }
}

/// How long a token is good, to the second in which it ends.
fn lasts(token: &Injectable, now: Now) -> Duration {
    token.until.remaining(now) + LAST_SECOND
}

/// What to say where `left` is less than `min_ttl` after the one refresh that may be spent on it.
fn shortfall(left: Duration, min_ttl: Duration) -> Option<String> {
    let (left, wanted) = (Span(left), Span(min_ttl));
    (left.0 < min_ttl).then(|| format!("this token ends in {left}, and one that lasts {wanted} could not be had"))
}

impl Control for Controls {
    fn token(&self, kind: TokenKind, min_ttl: Option<Duration>) -> BoxFuture<'_, Result<IssuedToken, Fault>> {
        Box::pin(self.issue(kind, min_ttl))
    }

    fn sign_in(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self.begin_sign_in())
    }

    fn unlock(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self.ask(|done| Command::Unlock { done }))
    }

    fn reload(&self) -> BoxFuture<'_, Result<Reloaded, Fault>> {
        Box::pin(self.replace())
    }

    fn adopt(&self, record: Secret) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(self.take(record))
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async { self.ask(|done| Command::Clear { done }).await?.map_err(Fault::Store) })
    }
}
