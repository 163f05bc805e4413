//! Where a session that a command holds is kept: by the running proxy, which alone writes its store, or without one in
//! the store itself; and everything that can stand in the way of that.

use std::io;

use tokio::runtime::Runtime;

use super::{Exit, output, running};
use crate::{
    admin::client::{Client, ClientError},
    app,
    clock::{Clock, SystemClock},
    config::Config,
    refresher,
    session::{Session, state::State, status::Report},
    store::{self, LoadError, Lock, LockError, RunningError, SaveError, TokenStore},
    tls,
};

/// What keeps a command from its store, or from the proxy that runs.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
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
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("the system refuses a runtime: {0}")]
    Runtime(#[source] io::Error),
}

impl Error {
    /// What mends it, where that can be said.
    pub(super) fn fix(&self) -> Option<String> {
        match self {
            Self::Load(LoadError::Denied { .. }) | Self::Client(ClientError::Denied { .. }) => {
                Some(running::with_sudo())
            }
            Self::Client(ClientError::Refused(problem)) => Some(problem.fix.clone()).filter(|fix| !fix.is_empty()),
            Self::Running(error) => running::fix_of_unknown(error),
            Self::OtherSession { .. } => Some("use -p NAME, or logout first".into()),
            _ => None,
        }
    }

    /// The code to exit with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Load(LoadError::Untrusted(_) | LoadError::Denied { .. })
            | Self::Lock(LockError::Untrusted(_))
            | Self::Save(SaveError::Untrusted(_)) => Exit::Refused,
            Self::Lock(LockError::Held { .. }) => Exit::TryLater,
            Self::Load(LoadError::Keyring(error)) | Self::Save(SaveError::Keyring(error)) if error.is_passing() => {
                Exit::TryLater
            }
            // Where not even a lock can be made, no record can; nor in a keyring that cannot be asked.
            Self::Save(_) | Self::Load(LoadError::Keyring(_)) | Self::Lock(LockError::Io { .. }) => {
                Exit::StoreUnwritable
            }
            Self::OtherSession { .. } | Self::Tls(_) => Exit::Config,
            Self::Client(error) => running::exit_of(error),
            Self::Running(error) => match running::exit_of_unknown(error) {
                Exit::Other if matches!(error, RunningError::Io { .. }) => Exit::StoreUnwritable,
                exit => exit,
            },
            // A sign-in moves a damaged record aside.
            Self::Load(LoadError::Corrupt { .. }) => Exit::SignInNeeded,
            Self::Load(_) | Self::Record(_) | Self::Runtime(_) => Exit::Other,
        }
    }
}

/// A runtime for one command.
pub(super) fn runtime() -> Result<Runtime, Error> {
    running::runtime().map_err(Error::Runtime)
}

/// The process id of the proxy that runs with this profile, where one does.
pub(super) fn running(config: &Config) -> Result<Option<u32>, Error> {
    Ok(store::running_pid(config.store.path())?)
}

/// Makes sure, before anything is spent or anybody is asked, that a session of this configuration would have a place.
pub(super) fn has_place(config: &Config) -> Result<(), Error> {
    Place::take(config)?;
    not_over_another(config)
}

/// Where a session went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// The running proxy has it, and has stored it.
    Adopted,
    /// The store has it, for whichever proxy starts next.
    Stored,
}

impl Kept {
    /// What there is to say of it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Adopted => "the running proxy has adopted the session",
            Self::Stored => "no proxy is running; the next one begins with this session",
        }
    }
}

/// Who writes the session.
pub(super) enum Place {
    /// The running proxy, which alone writes its store.
    Proxy,
    /// This command, under the store's lock.
    Store(Box<dyn TokenStore>, Lock),
}

impl Place {
    /// Takes it: the store's lock is held until the session is kept, or this is dropped.
    pub(super) fn take(config: &Config) -> Result<Self, Error> {
        if store::running_pid(config.store.path())?.is_some() {
            return Ok(Self::Proxy);
        }
        let store = config.store.open();
        let lock = store.lock(refresher::LOCK_WAIT)?;
        Ok(Self::Store(store, lock))
    }

    /// Stores the session, or hands it to the running proxy; says on standard error which.
    pub(super) fn keep(self, config: &Config, session: &Session, runtime: &Runtime) -> Result<Kept, Error> {
        let now_runs = store::running_pid(config.store.path())?.is_some();
        let kept = match self {
            Self::Store(store, lock) if !now_runs => {
                write(store.as_ref(), session.clone(), &lock)?;
                Kept::Stored
            }
            // A proxy that has started meanwhile wants the lock, which this has given back here.
            Self::Store(..) | Self::Proxy => {
                let client = Client::new(app::socket_path(config));
                runtime.block_on(client.adopt(&store::to_record(session)?))?;
                Kept::Adopted
            }
        };
        output::to_stderr(kept.as_str());
        Ok(kept)
    }
}

/// A live session of another pool or client is not written over.
pub(super) fn not_over_another(config: &Config) -> Result<(), Error> {
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

/// The clocks of a session that has just begun, as `status` would report them.
pub(super) fn report(config: &Config, session: Session) -> Report {
    let state = State::new(config.session.clone(), config.command("login"), 0);
    let now = SystemClock.now();
    state.at_rest(Ok(Some(Box::new(session)))).snapshot(now).facts.report(now, 0)
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
