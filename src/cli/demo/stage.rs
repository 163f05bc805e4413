//! The pool, the API and the proxy, in one process.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{self, App},
    cli::import,
    clock::{SharedClock, SystemClock},
    config::{self, Config, Environment, Override, Request},
    current::CurrentToken,
    devpool::{
        AppClient, DevPool, Settings, StartError, Validity,
        echo::{Echo, EchoSettings},
    },
    listen,
    refresher::Command,
    session::{Origin, Session},
    shell, signin,
};

/// Ports from here on are tried, as many as this.
const PORTS: std::ops::Range<u16> = 8900..8950;

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the system refuses a runtime: {0}")]
    Runtime(#[source] io::Error),
    #[error("the demo's directory cannot be made: {0}")]
    Directory(#[source] io::Error),
    #[error("the pool or its API cannot start: {0}")]
    Pool(#[from] StartError),
    #[error("{}", .0.render(false, 120))]
    Config(#[from] config::Error),
    #[error(transparent)]
    App(#[from] app::Error),
    #[error("no port from {} to {} is free; name one with --listen", PORTS.start, PORTS.end - 1)]
    NoPort,
    #[error("the sign-in failed: {0}")]
    SignIn(String),
}

/// How long things live.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetimes {
    pub(super) id_token: Duration,
    pub(super) refresh_token: Duration,
    /// `session.hold`.
    pub(super) hold: Duration,
}

/// Everything at work.
pub(super) struct Stage {
    pool: DevPool,
    echo: Echo,
    config: Config,
    current: CurrentToken,
    commands: mpsc::Sender<Command>,
    /// Told where somebody clicks "Sign in" on the status page.
    wishes: Mutex<mpsc::Receiver<()>>,
    address: String,
    admin: String,
    lifetimes: Lifetimes,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), app::Error>>,
    /// Removed last.
    _directory: tempfile::TempDir,
}

impl Stage {
    /// Starts everything, and signs in.
    pub(super) async fn set(listen: &[String], lifetimes: Lifetimes) -> Result<Self, Error> {
        let clock: SharedClock = Arc::new(SystemClock);
        let directory = tempfile::Builder::new().prefix("cognito-proxy-demo-").tempdir().map_err(Error::Directory)?;
        let validity =
            Validity { id: lifetimes.id_token, access: lifetimes.id_token, refresh: lifetimes.refresh_token };
        let client = AppClient::public(Settings::CLIENT).with_validity(validity);
        let pool = DevPool::start(Settings::default().with_client(client), Arc::clone(&clock)).await?;
        let echo = Echo::start(EchoSettings::default(), &pool).await?;
        let (config, mut app) = build(directory.path(), &pool, &echo, listen, lifetimes, &clock)?;
        let (current, commands) = (app.current(), app.commands());
        let wishes = Mutex::new(app.signs_in_by_itself());
        let address = name_of(&app.bound().proxy);
        let admin = name_of(&app.bound().admin);
        let shutdown = CancellationToken::new();
        let reload = Box::new(|| Err("the demo has no configuration to reload".to_owned()));
        let serving = tokio::task::spawn_local(app.run(reload, shutdown.clone(), CancellationToken::new()));
        let stage = Self {
            pool,
            echo,
            config,
            current,
            commands,
            wishes,
            address,
            admin,
            lifetimes,
            shutdown,
            serving,
            _directory: directory,
        };
        stage.sign_in().await?;
        Ok(stage)
    }

    /// Ends everything in order.
    pub(super) async fn strike(self) -> Result<(), Error> {
        self.shutdown.cancel();
        match self.serving.await {
            Ok(served) => served?,
            Err(error) => tracing::error!(%error, "the proxy ended unexpectedly"),
        }
        self.echo.stop().await;
        Ok(())
    }

    /// Does what a sign-in does: obtains a refresh token, proves it, and hands the session to the proxy.
    pub(super) async fn sign_in(&self) -> Result<(), Error> {
        let failed = |error: &dyn std::fmt::Display| Error::SignIn(error.to_string());
        let tokens = self.pool.sign_in(Settings::USER, Settings::CLIENT).map_err(|error| failed(&error))?;
        let imported =
            signin::import::parse(&tokens.to_import_json(), Settings::CLIENT).map_err(|error| failed(&error))?;
        let grant = import::prove(&self.config, &imported).await.map_err(|error| failed(&error))?;
        let session = Session::begun(grant, imported.refresh_token, Origin::Login, None, &self.config.session);
        let (done, told) = oneshot::channel();
        let command = Command::Adopt { session: Box::new(session), done };
        self.commands.send(command).await.map_err(|error| failed(&error))?;
        told.await.map_err(|error| failed(&error))?;
        Ok(())
    }

    /// Completes when somebody wishes to sign in, on the status page.
    pub(super) async fn wished(&self) {
        if self.wishes.lock().await.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) const fn pool(&self) -> &DevPool {
        &self.pool
    }

    pub(super) const fn echo(&self) -> &Echo {
        &self.echo
    }

    pub(super) const fn current(&self) -> &CurrentToken {
        &self.current
    }

    pub(super) const fn lifetimes(&self) -> Lifetimes {
        self.lifetimes
    }

    /// HOST:PORT of the proxy.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address.replace("127.0.0.1", "localhost"))
    }

    /// The command that asks for `path`.
    pub(super) fn curl(&self, path: &str) -> String {
        match self.address.strip_prefix("unix:") {
            Some(socket) => format!("curl --unix-socket {} http://localhost{path}", shell::quoted(socket)),
            None => format!("curl {}{path}", self.url()),
        }
    }

    pub(super) fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }
}

fn name_of(endpoints: &[listen::Endpoint]) -> String {
    endpoints.first().map(|endpoint| endpoint.local().to_string()).unwrap_or_default()
}

/// The proxy, at the addresses in `listen` or the first free port.
fn build(
    directory: &Path,
    pool: &DevPool,
    echo: &Echo,
    listen: &[String],
    lifetimes: Lifetimes,
    clock: &SharedClock,
) -> Result<(Config, App), Error> {
    let at = |listen: &[String]| -> Result<(Config, App), Error> {
        let config = configure(directory, pool, echo, listen, lifetimes)?;
        let app = App::build(config.clone(), Arc::clone(clock))?;
        Ok((config, app))
    };
    if !listen.is_empty() {
        return at(listen);
    }
    for port in PORTS {
        match at(&[format!("127.0.0.1:{port}")]) {
            Err(Error::App(app::Error::Listen(error))) => tracing::debug!(%error, "next port"),
            built => return built,
        }
    }
    Err(Error::NoPort)
}

/// The demo's configuration, by the way that every configuration goes.
fn configure(
    directory: &Path,
    pool: &DevPool,
    echo: &Echo,
    listen: &[String],
    lifetimes: Lifetimes,
) -> Result<Config, Error> {
    let path = directory.join("demo.toml");
    let seconds = |duration: Duration| format!("{}s", duration.as_secs().max(1));
    // Thresholds that suit a session of minutes: half of it, a fifth, a tenth.
    let warn_before: Vec<String> = [2, 5, 10].map(|part| seconds(lifetimes.refresh_token / part)).to_vec();
    let text = format!(
        "[cognito]\nuser_pool_id = {:?}\nclient_id = {:?}\nendpoint = {:?}\nissuer = {:?}\n\
         refresh_token_validity = {:?}\n\
         [listen]\nadmin = \"127.0.0.1:0\"\n\
         [upstream]\nurl = {:?}\n\
         [session]\nhold = {:?}\n\
         [warn]\nbefore = {warn_before:?}\ndesktop = false\n",
        pool.id(),
        Settings::CLIENT,
        pool.endpoint(),
        pool.issuer(),
        seconds(lifetimes.refresh_token),
        echo.url(),
        seconds(lifetimes.hold),
    );
    fs::write(&path, text).map_err(Error::Directory)?;
    let variable = |name: &str| (name.into(), directory.as_os_str().to_owned());
    let environment = Environment {
        variables: ["HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"].map(variable).into(),
        directory: directory.to_owned(),
        ..Environment::current()
    };
    let listen = Override::list("--listen", "listen.proxy", listen.iter().cloned());
    Ok(Config::load(&Request { config: Some(path), profile: None, overrides: vec![listen] }, &environment)?)
}
