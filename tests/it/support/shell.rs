//! The shell of the refresh path in the test's own process: a pool, a store in a directory of its own, a clock that
//! stands still, and refreshers over them.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cognito_proxy::{
    clock::{Clock as _, ManualClock, Now, SharedClock, SystemClock, UnixTime},
    cognito::{self, CognitoIssuer, Issuer, RefreshApi, RefreshRequest, Transport, egress::Egress},
    current::{self, CurrentToken},
    devpool::{AppClient, DevPool, Settings as Pool, Tokens},
    metrics::Metrics,
    refresher::{Command, Parts, Refresher, Seed},
    session::{
        Grant, Mode, Origin, Session, Settings, TokenKind,
        snapshot::Snapshot,
        state::{State, Warning},
    },
    store::{FileStore, LoadError, Lock, LockError, SaveError, TokenStore},
    tls,
    watch::{Changes, WatchError},
};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::wait::BOUND;

/// What a refresher works with.
pub(crate) struct Shell {
    pub(crate) pool: DevPool,
    /// The refresher's clock, and the pool's.
    pub(crate) clock: ManualClock,
    pub(crate) settings: Settings,
    directory: TempDir,
    client: String,
}

impl Shell {
    /// Over a pool with this app client.
    pub(crate) async fn of(client: AppClient) -> Self {
        let clock = ManualClock::at(UnixTime::from_secs(SystemClock.now().wall.as_secs()));
        let id = client.id.clone();
        let pool = DevPool::start(Pool::default().with_client(client), Arc::new(clock.clone())).await.expect("a pool");
        Self {
            settings: settings(pool.id(), &id),
            pool,
            clock,
            directory: tempfile::tempdir().expect("a directory"),
            client: id,
        }
    }

    /// Over a pool whose app client rotates.
    pub(crate) async fn rotating(grace: u64) -> Self {
        Self::of(AppClient::public(Pool::CLIENT).rotating(Duration::from_secs(grace))).await
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.directory.path().join("state/proxy.json")
    }

    pub(crate) fn store(&self) -> Arc<dyn TokenStore> {
        Arc::new(FileStore::new(self.record()))
    }

    pub(crate) fn stored(&self) -> Option<Session> {
        self.store().load(self.clock.now()).expect("a record that can be read")
    }

    /// Cognito, as it is.
    pub(crate) fn issuer(&self) -> Arc<dyn Issuer> {
        self.issuer_at(&self.pool.endpoint())
    }

    /// Cognito at another address.
    pub(crate) fn issuer_at(&self, endpoint: &str) -> Arc<dyn Issuer> {
        Arc::new(self.cognito_at(endpoint, tls::client_config(None, None).expect("a trust store")))
    }

    pub(crate) fn cognito_at(&self, endpoint: &str, trust: rustls::ClientConfig) -> CognitoIssuer {
        self.cognito_over(endpoint, Transport::through(trust, Egress::new("", "")))
    }

    /// The same over a transport of the test's own.
    pub(crate) fn cognito_over(&self, endpoint: &str, transport: Transport) -> CognitoIssuer {
        let clock: SharedClock = Arc::new(self.clock.clone());
        let settings = cognito_settings(&self.pool, &self.client, endpoint);
        CognitoIssuer::new(settings, transport, clock)
    }

    pub(crate) fn sign_in(&self) -> Tokens {
        self.pool.sign_in(Pool::USER, &self.client).expect("a sign-in")
    }

    /// A session that somebody has just signed in to; nothing is stored.
    pub(crate) async fn session(&self) -> Session {
        let tokens = self.sign_in();
        let grant = self.refresh(&tokens.refresh_token).await;
        Session::begun(grant, tokens.refresh_token, Origin::Login, None, &self.settings)
    }

    /// One refresh that goes well.
    pub(crate) async fn refresh(&self, refresh_token: &cognito_proxy::secret::Secret) -> Grant {
        let request = RefreshRequest {
            refresh_token: refresh_token.clone(),
            username: None,
            subject: None,
            device: None,
            jwks: None,
        };
        self.issuer().refresh(request).await.expect("tokens")
    }

    /// A session in the store.
    pub(crate) async fn signed_in(&self) -> Session {
        let session = self.session().await;
        self.keep(&session);
        session
    }

    pub(crate) fn keep(&self, session: &Session) {
        let store = self.store();
        let lock = store.lock(BOUND).expect("the lock");
        store.save(session, &lock).expect("room");
    }

    /// A refresher over the pool and the store.
    pub(crate) fn start(&self) -> Running {
        self.start_with(self.issuer(), self.store(), None)
    }

    pub(crate) fn start_with(
        &self,
        issuer: Arc<dyn Issuer>,
        store: Arc<dyn TokenStore>,
        seed: Option<Seed>,
    ) -> Running {
        start(&self.settings, &self.clock, issuer, store, seed)
    }

    /// Lets the current token grow so old that a refresh is due, and a little more.
    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// A refresher that runs.
pub(crate) struct Running {
    pub(crate) current: CurrentToken,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) warnings: mpsc::Receiver<Warning>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Waits until what is published is like that.
    pub(crate) async fn until(&self, what: &str, is_met: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut changes = self.current.subscribe();
        let waiting = async {
            loop {
                changes.borrow_and_update();
                let snapshot = self.current.snapshot();
                if is_met(&snapshot) {
                    return snapshot;
                }
                changes.changed().await.expect("the refresher lives");
            }
        };
        let in_time = timeout(BOUND, waiting).await;
        in_time.unwrap_or_else(|_| panic!("waited in vain for {what}: {:?}", self.current.snapshot().facts))
    }

    /// The generation whose token is injected once it is at least `generation`.
    pub(crate) async fn generation(&self, generation: u64) -> u64 {
        let at_least =
            |snapshot: &Snapshot| snapshot.token(TokenKind::Id).is_some_and(|token| token.generation >= generation);
        let snapshot = self.until(&format!("generation {generation}"), at_least).await;
        snapshot.token(TokenKind::Id).expect("just seen").generation
    }

    /// Whether a token may be injected now.
    pub(crate) fn is_injecting(&self) -> bool {
        self.current.snapshot().token(TokenKind::Id).is_some_and(|token| token.is_usable(self.current.now()))
    }

    /// Hands a session over, as a sign-in does. Says whether it is durable.
    pub(crate) async fn adopt(&self, session: Session) -> bool {
        let (done, told) = oneshot::channel();
        let session = Box::new(session);
        self.commands.send(Command::Adopt { session, done }).await.expect("it listens");
        timeout(BOUND, told).await.expect("in time").expect("an answer")
    }

    /// Has it take the same configuration again.
    pub(crate) async fn reload(&self, shell: &Shell) {
        self.reload_with(shell, shell.issuer(), Duration::ZERO).await;
    }

    /// Has it take a configuration with this issuer and this `session.hold`.
    pub(crate) async fn reload_with(&self, shell: &Shell, issuer: Arc<dyn Issuer>, hold: Duration) {
        let settings = Box::new(shell.settings.clone());
        let current = current::Settings { wait: Duration::from_secs(10), hold, max_held: 16 };
        let reload = Command::Reconfigure { settings, current, issuer };
        self.commands.send(reload).await.expect("it listens");
    }

    /// Tells it to end; [`ended`](Self::ended) waits for that.
    pub(crate) fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// The process is gone at once, as far as what is kept in memory goes.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.expect_err("it did not end by itself").is_cancelled());
    }

    pub(crate) async fn ended(self) {
        timeout(BOUND, self.task).await.expect("it ends").expect("no panic");
    }

    pub(crate) async fn stop(self) {
        self.shut_down();
        self.ended().await;
    }
}

/// A refresher over what is given.
pub(crate) fn start(
    settings: &Settings,
    clock: &ManualClock,
    issuer: Arc<dyn Issuer>,
    store: Arc<dyn TokenStore>,
    seed: Option<Seed>,
) -> Running {
    let shared: SharedClock = Arc::new(clock.clone());
    let waits = current::Settings { wait: Duration::from_secs(10), hold: Duration::ZERO, max_held: 16 };
    let state = || State::new(settings.clone(), "cognito-proxy login".into(), 7);
    let first = state().at_rest(Ok(None)).snapshot(clock.now());
    let (publisher, current, nudges) = current::cell(first, waits, Arc::clone(&shared));
    let (commands, heard) = mpsc::channel(16);
    let (warn, warnings) = mpsc::channel(16);
    let parts = Parts {
        state: state(),
        store,
        issuer,
        seed,
        clock: shared,
        publisher,
        metrics: Arc::new(Metrics::default()),
        warnings: warn,
        nudges,
        commands: heard,
    };
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(Refresher::new(parts).run(shutdown.clone()));
    Running { current, commands, warnings, shutdown, task }
}

/// A store with something in its way, as a disk has it: what these say comes before what the store does, or after it.
pub(crate) struct Hooked {
    inner: Arc<dyn TokenStore>,
    pub(crate) before_load: Box<dyn Fn() -> io::Result<()> + Send + Sync>,
    pub(crate) before_save: Box<dyn Fn() -> io::Result<()> + Send + Sync>,
    pub(crate) after_save: Box<dyn Fn() + Send + Sync>,
    pub(crate) before_clear: Box<dyn Fn() -> io::Result<()> + Send + Sync>,
    pub(crate) caveat: Option<&'static str>,
}

impl Hooked {
    /// Nothing is in its way yet.
    pub(crate) fn over(inner: Arc<dyn TokenStore>) -> Self {
        Self {
            inner,
            before_load: Box::new(|| Ok(())),
            before_save: Box::new(|| Ok(())),
            after_save: Box::new(|| ()),
            before_clear: Box::new(|| Ok(())),
            caveat: None,
        }
    }

    fn refused(&self, deed: &'static str, source: io::Error) -> SaveError {
        SaveError::Io { path: self.location().into(), deed, source }
    }
}

impl TokenStore for Hooked {
    fn load(&self, now: Now) -> Result<Option<Session>, LoadError> {
        (self.before_load)().map_err(|source| LoadError::Io { path: self.location().into(), source })?;
        self.inner.load(now)
    }

    fn save(&self, session: &Session, lock: &Lock) -> Result<(), SaveError> {
        (self.before_save)().map_err(|source| self.refused("written", source))?;
        self.inner.save(session, lock)?;
        (self.after_save)();
        Ok(())
    }

    fn clear(&self, lock: &Lock) -> Result<(), SaveError> {
        (self.before_clear)().map_err(|source| self.refused("removed", source))?;
        self.inner.clear(lock)
    }

    fn lock(&self, wait: Duration) -> Result<Lock, LockError> {
        self.inner.lock(wait)
    }

    fn watch(&self) -> Result<Changes, WatchError> {
        self.inner.watch()
    }

    fn location(&self) -> String {
        self.inner.location()
    }

    fn caveat(&self) -> Option<&'static str> {
        self.caveat.or_else(|| self.inner.caveat())
    }
}

/// Something that holds up whoever comes [past](Self::past) it, while somebody wants that.
#[derive(Default)]
pub(crate) struct Barrier {
    is_closed: Mutex<bool>,
    waiting: AtomicU64,
    opened: Condvar,
}

impl Barrier {
    /// Closed while the returned value exists.
    pub(crate) fn close(self: &Arc<Self>) -> Closed {
        *self.is_closed.lock().expect("whole") = true;
        Closed(Arc::clone(self))
    }

    /// Waits until it is open. Blocking, as a disk is.
    pub(crate) fn past(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        drop(self.opened.wait_while(self.is_closed.lock().expect("whole"), |is_closed| *is_closed).expect("whole"));
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether somebody is held up.
    pub(crate) fn is_reached(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }
}

pub(crate) struct Closed(Arc<Barrier>);

impl Drop for Closed {
    fn drop(&mut self) {
        *self.0.is_closed.lock().expect("whole") = false;
        self.0.opened.notify_all();
    }
}

/// The defaults of `proxy.toml`.
pub(crate) fn settings(user_pool_id: &str, client_id: &str) -> Settings {
    Settings {
        lead: Duration::from_secs(300),
        min_ttl: Duration::from_secs(60),
        mode: Mode::Ahead,
        last_chance: true,
        kinds: vec![TokenKind::Id],
        validity: None,
        warn_before: [7 * 86_400, 86_400, 4 * 3600, 3600, 600].map(Duration::from_secs).to_vec(),
        idle_lock: None,
        min_remaining_at_start: None,
        user_pool_id: user_pool_id.into(),
        client_id: client_id.into(),
    }
}

/// `[cognito]` for `pool`, dialled at `endpoint`.
pub(crate) fn cognito_settings(pool: &DevPool, client_id: &str, endpoint: &str) -> cognito::Settings {
    cognito::Settings {
        user_pool_id: pool.id().into(),
        client_id: client_id.into(),
        client_secret: None,
        region: "eu-west-1".into(),
        endpoint: Some(endpoint.parse().expect("a URL")),
        issuer: pool.issuer(),
        jwks_url: pool.jwks_url().parse().expect("a URL"),
        refresh_api: RefreshApi::Auto,
        verify_signature: true,
    }
}
