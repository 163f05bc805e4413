//! `import`: takes over the tokens that somebody has, proves them by one refresh, and stores the session.

use std::{
    fs, io,
    io::{IsTerminal, Read},
    path::PathBuf,
    sync::Arc,
};

use clap::Args;
use tokio::runtime;

use super::{Exit, Global, clocks, output, running, verdict};
use crate::{
    admin::client::{Client, ClientError},
    app,
    clock::{Clock, SystemClock},
    cognito::{CognitoIssuer, Issuer, RefreshRequest, Transport},
    config::Config,
    refresher,
    secret::Secret,
    session::{Failure, Grant, LastRefresh, Origin, Outcome, Session, state::State, status::Report},
    signin::{self, import::Imported},
    store::{self, LoadError, Lock, LockError, RunningError, SaveError, TokenStore},
    tls,
};

/// Nobody pastes more: an Amplify dump with several users is a few dozen kilobytes.
const MAX_INPUT: u64 = 4 * 1024 * 1024;

/// `import`'s own options.
#[derive(Clone, Debug, Args)]
pub(super) struct ImportArgs {
    /// JSON with the tokens; `-`, or nothing, is standard input
    #[arg(value_name = "FILE|-")]
    file: Option<PathBuf>,
}

impl ImportArgs {
    /// The file to read; `None` for standard input.
    fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref().filter(|path| path.as_os_str() != "-")
    }
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{input} cannot be read: {source}")]
    Read { input: String, source: io::Error },
    #[error("{input}: it is no UTF-8 text, or longer than 4 MiB")]
    NoText { input: String },
    #[error("{input}: {source}")]
    Input { input: String, source: signin::import::Error },
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("Cognito refuses the token: {0}")]
    Refused(Failure),
    #[error("the token could not be proved, and nothing was stored: {0}")]
    Unproved(Failure),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Save(#[from] SaveError),
    #[error(transparent)]
    Running(#[from] RunningError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the session cannot be written as a record: {0}")]
    Record(#[from] serde_json::Error),
    #[error("the store holds a live session of client {client_id} of pool {user_pool_id}")]
    OtherSession { client_id: String, user_pool_id: String },
    #[error("the system refuses a runtime: {0}")]
    Runtime(#[source] io::Error),
}

/// Imports.
pub(super) fn run(global: &Global, args: &ImportArgs) -> Exit {
    let config = match global.load(Vec::new()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let _logging = global.start_logging(config.log);
    match import(&config, args) {
        Ok(report) => match output::to_stdout(&clocks::describe(&report, SystemClock.now().wall)) {
            Exit::Ok => verdict::of(&report, None),
            exit => exit,
        },
        Err(error) => {
            output::error(global.is_styled(), &error.to_string(), fix_of(&error).as_deref());
            exit_of(&error)
        }
    }
}

fn import(config: &Config, args: &ImportArgs) -> Result<Report, Error> {
    let (input, text) = read(args)?;
    let imported = signin::import::parse(text.expose(), &config.cognito.client_id)
        .map_err(|source| Error::Input { input, source })?;
    if imported.is_shared_with_browser {
        tracing::warn!("this token is shared with a browser: where it rotates, whoever refreshes second is signed out");
    }
    // Before a token is spent that rotates: what it brings must have a place.
    let place = Place::take(config)?;
    not_over_another(config)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let grant = runtime.block_on(prove(config, &imported))?;
    let origin = Origin::Import;
    let mut session = Session::begun(grant, imported.refresh_token, origin, imported.device, &config.session);
    session.notes.last_refresh = Some(LastRefresh { at: SystemClock.now().wall, outcome: Outcome::Ok, error: None });
    place.keep(config, &session, &runtime)?;
    let state = State::new(config.session.clone(), app::login_command(&config.profile), 0);
    let now = SystemClock.now();
    Ok(state.at_rest(Ok(Some(Box::new(session)))).snapshot(now).facts.report(now, 0))
}

/// The input's name and its text, which is a secret.
fn read(args: &ImportArgs) -> Result<(String, Secret), Error> {
    let input = args.file().map_or_else(|| "standard input".into(), |path| path.display().to_string());
    let mut text = String::new();
    let took = if let Some(path) = args.file() {
        fs::File::open(path).and_then(|file| file.take(MAX_INPUT + 1).read_to_string(&mut text))
    } else {
        if io::stdin().is_terminal() {
            output::to_stderr("paste the JSON with the tokens, then press Ctrl-D");
        }
        io::stdin().lock().take(MAX_INPUT + 1).read_to_string(&mut text)
    };
    let text = Secret::new(text);
    match took {
        Ok(length) if length as u64 <= MAX_INPUT => Ok((input, text)),
        Ok(_) => Err(Error::NoText { input }),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Error::NoText { input }),
        Err(source) => Err(Error::Read { input, source }),
    }
}

/// One refresh, whose answer is final.
pub(super) async fn prove(config: &Config, imported: &Imported) -> Result<Grant, Error> {
    let transport = Transport::new(tls::client_config(None, None)?);
    let issuer = CognitoIssuer::new(config.cognito.clone(), transport, Arc::new(SystemClock));
    let request = |refresh_token: Secret| RefreshRequest {
        refresh_token,
        username: imported.username.clone(),
        subject: None,
        device: imported.device.clone(),
        jwks: None,
    };
    let proved = match issuer.refresh(request(imported.refresh_token.clone())).await {
        // The token that was given is spent, and only its successor can still bring tokens: once more, with that.
        Err(Failure::Rotated { rotated, .. }) => issuer.refresh(request(rotated.clone())).await.map(|mut grant| {
            grant.refresh_token.get_or_insert(rotated);
            grant
        }),
        proved => proved,
    };
    proved.map_err(|failure| match failure {
        Failure::Terminal { .. } | Failure::Ambiguous { .. } => Error::Refused(failure),
        failure => Error::Unproved(failure),
    })
}

/// Who writes the session.
enum Place {
    /// The running proxy, which alone writes its store.
    Proxy,
    /// This command, under the store's lock.
    Store(Box<dyn TokenStore>, Lock),
}

impl Place {
    fn take(config: &Config) -> Result<Self, Error> {
        if store::running_pid(config.store.path())?.is_some() {
            return Ok(Self::Proxy);
        }
        let store = config.store.open();
        let lock = store.lock(refresher::LOCK_WAIT)?;
        Ok(Self::Store(store, lock))
    }

    fn keep(self, config: &Config, session: &Session, runtime: &runtime::Runtime) -> Result<(), Error> {
        let now_runs = store::running_pid(config.store.path())?.is_some();
        match self {
            Self::Store(store, lock) if !now_runs => write(store.as_ref(), session.clone(), &lock),
            // A proxy that has started meanwhile wants the lock, which this has given back here.
            Self::Store(..) | Self::Proxy => {
                let client = Client::new(app::socket_path(config));
                runtime.block_on(client.adopt(&store::to_record(session)?))?;
                output::to_stderr("the running proxy has adopted the session");
                Ok(())
            }
        }
    }
}

fn write(store: &dyn TokenStore, mut session: Session, lock: &Lock) -> Result<(), Error> {
    // A damaged record is moved aside by the write.
    if let Ok(Some(stored)) = store.load(SystemClock.now()) {
        session.generation = stored.generation + 1;
        session.notes.observed = stored.notes.observed.carried();
        // A credential that has been taken once is not taken again in place of this sign-in.
        session.notes.seed = stored.notes.seed;
    }
    store.save(&session, lock)?;
    Ok(())
}

/// A live session of another pool or client is not written over.
fn not_over_another(config: &Config) -> Result<(), Error> {
    match config.store.open().load(SystemClock.now()) {
        Ok(Some(stored))
            if stored.notes.ended.is_none()
                && (stored.client_id != config.cognito.client_id
                    || stored.user_pool_id != config.cognito.user_pool_id) =>
        {
            Err(Error::OtherSession { client_id: stored.client_id, user_pool_id: stored.user_pool_id })
        }
        Ok(_) | Err(LoadError::Corrupt { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn fix_of(error: &Error) -> Option<String> {
    match error {
        Error::Refused(_) => Some("sign in again, and import the new tokens".into()),
        Error::Unproved(Failure::Setting { setting, .. }) => Some(setting.fix().into()),
        Error::Load(LoadError::Denied { .. }) | Error::Client(ClientError::Denied { .. }) => Some(running::with_sudo()),
        Error::OtherSession { .. } => Some("use -p NAME, or logout first".into()),
        _ => None,
    }
}

fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Input { .. } | Error::NoText { .. } => Exit::Usage,
        Error::Refused(_) => Exit::SignInNeeded,
        Error::Unproved(Failure::Setting { .. }) | Error::OtherSession { .. } | Error::Tls(_) => Exit::Config,
        Error::Unproved(Failure::Throttled { .. }) | Error::Lock(LockError::Held { .. }) => Exit::TryLater,
        Error::Unproved(Failure::Transient { .. } | Failure::Rotated { .. }) => Exit::Unreachable,
        Error::Load(LoadError::Untrusted(_) | LoadError::Denied { .. })
        | Error::Lock(LockError::Untrusted(_))
        | Error::Save(SaveError::Untrusted(_)) => Exit::Refused,
        // Where not even a lock can be made, no record can.
        Error::Save(_) | Error::Lock(LockError::Io { .. }) => Exit::StoreUnwritable,
        Error::Client(error) => running::exit_of(error),
        Error::Running(error) => running::exit_of_unknown(error),
        Error::Read { .. } | Error::Unproved(_) | Error::Load(_) | Error::Record(_) | Error::Runtime(_) => Exit::Other,
    }
}
