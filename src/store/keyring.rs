//! The session as one item of the desktop's keyring, over the freedesktop Secret Service.
//!
//! The item holds the very record that a file would. Its locks, and a stamp that tells other processes of a write, are
//! files at the place where that file would lie: the item is found by that place, so that whoever shares the one shares
//! the other.
//!
//! Each deed has a thread, a runtime and a connection of its own: the trait is blocking, its callers may be on a
//! runtime or not, a keyring that hangs is given up with the thread's runtime, and between two refreshes an hour apart
//! nothing is kept open that could break. That costs a millisecond or two.

mod error;
mod service;
mod unlocked;

use std::{
    env,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    thread,
    time::Duration,
};

use tokio::runtime;
use zbus::OwnedObjectPath;
use zeroize::Zeroizing;

pub use self::error::KeyringError;
use self::service::{Attributes, Prompting, Service};
use super::{
    LoadError, Lock, LockError, ON_NETWORK, SaveError, TokenStore,
    place::{self, directory},
    record::{self, Unreadable},
    sibling,
};
use crate::{
    clock::{Clock, Now, SystemClock},
    session::Session,
    watch::{Changes, WatchError},
};

/// The item's first attribute, and the same for all our items.
const APPLICATION: &str = "cognito-proxy";

/// A store of one item, and the files of its profile.
#[derive(Clone, Debug)]
pub struct KeyringStore {
    path: PathBuf,
    profile: String,
    prompting: Prompting,
    bus: Option<String>,
}

/// Whether somebody sits before a terminal, and has a display to be asked on.
pub(super) fn is_attended() -> bool {
    let has_display = ["WAYLAND_DISPLAY", "DISPLAY"].iter().any(|name| env::var_os(name).is_some());
    has_display && io::stderr().is_terminal()
}

/// What came of looking at the item that is to be replaced.
#[derive(Clone, Copy, Debug)]
enum Replaced {
    Done,
    Newer(u32),
}

impl KeyringStore {
    /// The store of `profile`, whose record would be the file at `path`. Its owner is not asked to unlock the keyring.
    #[must_use]
    pub const fn new(path: PathBuf, profile: String) -> Self {
        Self { path, profile, prompting: Prompting::Forbidden, bus: None }
    }

    /// The same, which asks the owner of a locked keyring to unlock it.
    #[must_use]
    pub fn prompting(self) -> Self {
        Self { prompting: Prompting::Allowed, ..self }
    }

    /// The same over the bus at `address` (D-Bus Specification, "Server Addresses"), and not over the session's.
    #[must_use]
    pub fn on_bus(self, address: &str) -> Self {
        Self { bus: Some(address.to_owned()), ..self }
    }

    fn label(&self) -> String {
        format!("{APPLICATION} ({})", self.profile)
    }

    /// Has `deed` done by the service.
    fn ask<T: Send>(
        &self,
        deed: impl AsyncFnOnce(&mut Service) -> Result<T, KeyringError> + Send,
    ) -> Result<T, KeyringError> {
        let refused = |source| KeyringError::System { source };
        let asked = || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
            let asked = runtime.block_on(async {
                let mut service = Service::open(self.bus.as_deref(), self.prompting).await?;
                deed(&mut service).await
            });
            runtime.shutdown_background();
            asked
        };
        thread::scope(|scope| {
            let asking = thread::Builder::new().name("keyring".into()).spawn_scoped(scope, asked).map_err(refused)?;
            asking.join().unwrap_or_else(|_| Err(refused(io::Error::other("asking ended unexpectedly"))))
        })
    }

    fn read(&self) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError> {
        let place = self.path.to_string_lossy();
        self.ask(async |service| match service.items(&attributes(&place)).await?.first() {
            Some(item) => service.secret(item).await.map(Some),
            None => Ok(None),
        })
    }

    /// Keeps what a damaged item holds as another item.
    async fn set_aside(&self, service: &mut Service, damaged: &[u8], problem: &str) -> Result<(), KeyringError> {
        let aside = format!("{}.corrupt-{}", self.path.display(), SystemClock.now().wall.as_secs());
        service.create(&format!("{} (damaged)", self.label()), &attributes(&aside), damaged).await?;
        tracing::warn!(item = self.label(), moved_to = aside, problem, "damaged record");
        Ok(())
    }

    /// Makes way for a new record: a damaged one is kept as another item, and one of a newer version stays.
    async fn make_way(&self, service: &mut Service, item: &OwnedObjectPath) -> Result<Replaced, KeyringError> {
        let found = service.secret(item).await?;
        match record::check(&found) {
            Ok(()) => Ok(Replaced::Done),
            Err(Unreadable::Newer(schema)) => Ok(Replaced::Newer(schema)),
            Err(Unreadable::Corrupt(problem)) => {
                self.set_aside(service, &found, problem).await?;
                Ok(Replaced::Done)
            }
        }
    }

    async fn replace(&self, service: &mut Service, bytes: &[u8]) -> Result<Replaced, KeyringError> {
        let place = self.path.to_string_lossy();
        let attributes = attributes(&place);
        let items = service.items(&attributes).await?;
        let Some(item) = items.first() else {
            service.create(&self.label(), &attributes, bytes).await?;
            return Ok(Replaced::Done);
        };
        match self.make_way(service, item).await? {
            Replaced::Newer(schema) => Ok(Replaced::Newer(schema)),
            Replaced::Done => service.set_secret(item, bytes).await.map(|()| Replaced::Done),
        }
    }

    async fn remove(&self, service: &mut Service) -> Result<Replaced, KeyringError> {
        let place = self.path.to_string_lossy();
        for item in service.items(&attributes(&place)).await? {
            if let Replaced::Newer(schema) = self.make_way(service, &item).await? {
                return Ok(Replaced::Newer(schema));
            }
            service.delete(&item).await?;
        }
        Ok(Replaced::Done)
    }

    fn written(&self, replaced: Replaced) -> Result<(), SaveError> {
        match replaced {
            Replaced::Newer(schema) => Err(SaveError::Newer { place: self.location(), schema }),
            Replaced::Done => {
                if let Err(error) = self.stamp() {
                    tracing::warn!(%error, "other processes are not told that the session was stored");
                }
                Ok(())
            }
        }
    }

    /// Tells other processes that something was written: the item itself cannot be watched.
    fn stamp(&self) -> io::Result<()> {
        let owner = place::checked_directory(directory(&self.path))?.map_err(io::Error::other)?;
        let mut stamp = place::open_beside(&sibling(&self.path, STAMP), owner)?;
        stamp.set_len(0)?;
        writeln!(stamp, "{}", std::process::id())
    }
}

/// The file beside the locks that is written after the item was.
const STAMP: &str = "stamp";

fn attributes(place: &str) -> Attributes<'_> {
    Attributes::from([("application", APPLICATION), ("store", place)])
}

impl TokenStore for KeyringStore {
    fn load(&self, now: Now) -> Result<Option<Session>, LoadError> {
        let Some(bytes) = self.read()? else { return Ok(None) };
        record::decode(&bytes, now).map(Some).map_err(|unreadable| match unreadable {
            Unreadable::Corrupt(problem) => LoadError::Corrupt { place: self.location(), problem },
            Unreadable::Newer(schema) => LoadError::Newer { place: self.location(), schema },
        })
    }

    fn save(&self, session: &Session, _lock: &Lock) -> Result<(), SaveError> {
        let failed = |error: serde_json::Error| SaveError::Io {
            path: self.path.clone(),
            deed: "written as a record",
            source: error.into(),
        };
        let bytes = record::encode(session).map_err(failed)?;
        let replaced = self.ask(async |service| self.replace(service, &bytes).await)?;
        self.written(replaced)
    }

    fn clear(&self, _lock: &Lock) -> Result<(), SaveError> {
        let removed = self.ask(async |service| self.remove(service).await)?;
        self.written(removed)
    }

    fn lock(&self, wait: Duration) -> Result<Lock, LockError> {
        Lock::beside(&self.path, wait)
    }

    fn watch(&self) -> Result<Changes, WatchError> {
        // Where the directory cannot be made, watching says so.
        let _made = place::make_directory(directory(&self.path));
        let changes = Changes::of(&sibling(&self.path, STAMP))?;
        if let Err(error) = unlocked::follow(self.bus.clone(), changes.hint()) {
            tracing::warn!(%error, "a keyring that is unlocked later is noticed at the next refresh or reload only");
        }
        Ok(changes)
    }

    fn location(&self) -> String {
        format!("the item \"{}\" of the keyring", self.label())
    }

    /// Its locks lie beside the record that a file store would have.
    fn caveat(&self) -> Option<&'static str> {
        place::is_on_network(directory(&self.path)).then_some(ON_NETWORK)
    }
}
