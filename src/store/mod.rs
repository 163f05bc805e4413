//! Where a session is kept between runs.
//!
//! Owns the record's form on disk and the rules of writing it: atomic, durable, 0600, under a lock. Blocking: callers
//! on a runtime use `spawn_blocking`.
//!
//! | file beside the record | what for |
//! |---|---|
//! | `PROFILE.lock` | goes around {re-read, refresh, persist}; never the file that is renamed |
//! | `PROFILE.running` | held by a running proxy, with its process id |
//! | `PROFILE.json.corrupt-SECONDS` | a damaged record, moved aside by whoever would have written over it |
//! | `PROFILE.stamp` | written after each change of a record that is no file, so that other processes hear of it |

mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod keyring;
mod lock;
mod place;
mod record;
mod running;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

pub use file::FileStore;
pub use keyring::{KeyringError, KeyringStore};
pub use lock::{Lock, LockError};
pub use place::Untrusted;
pub use running::{RunningError, RunningLock, running_pid};

use crate::{
    clock::Now,
    secret::Secret,
    session::Session,
    watch::{Changes, WatchError},
};

/// `[store]`, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// `kind = "file"`, with the record's path.
    File {
        /// The record, `PROFILE.json`.
        path: PathBuf,
    },
    /// `kind = "keyring"`: an item of the desktop's keyring.
    Keyring {
        /// Where the record would lie if it were a file.
        path: PathBuf,
        /// The profile, which the item is named after.
        profile: String,
    },
}

impl Settings {
    /// The store that they describe, for a command: where it is locked and somebody is there, they are asked to unlock
    /// it. Nothing is read or made yet.
    #[must_use]
    pub fn open(&self) -> Box<dyn TokenStore> {
        match self {
            Self::Keyring { path, profile } if keyring::is_attended() => {
                Box::new(KeyringStore::new(path.clone(), profile.clone()).prompting())
            }
            Self::File { .. } | Self::Keyring { .. } => self.open_unattended(),
        }
    }

    /// The same for a service, and for what a script asks again and again: nobody is asked anything.
    #[must_use]
    pub fn open_unattended(&self) -> Box<dyn TokenStore> {
        match self {
            Self::File { path } => Box::new(FileStore::new(path.clone())),
            Self::Keyring { path, profile } => Box::new(KeyringStore::new(path.clone(), profile.clone())),
        }
    }

    /// `store.path`: the record of a file store. The locks of the profile lie beside it, whatever kind its store is.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::File { path } | Self::Keyring { path, .. } => path,
        }
    }
}

/// One place in which one session is kept.
pub trait TokenStore: Send + Sync {
    /// The stored session, or `None` where there is none. Its tokens count as received `now`: whether they are good is
    /// for `cognito::verify_stored` to say.
    ///
    /// # Errors
    /// Where the record cannot be trusted or understood; it stays as it is.
    fn load(&self, now: Now) -> Result<Option<Session>, LoadError>;

    /// Writes `session` durably, under `lock`. A damaged record that is in the way is moved aside.
    ///
    /// # Errors
    /// Where the disk refuses; the old record is intact then.
    fn save(&self, session: &Session, lock: &Lock) -> Result<(), SaveError>;

    /// Removes the record, under `lock`. Nothing stored is fine; a damaged record is moved aside instead.
    ///
    /// # Errors
    /// Where the disk refuses.
    fn clear(&self, lock: &Lock) -> Result<(), SaveError>;

    /// Takes the lock that goes around {re-read, refresh, persist}, waiting up to `wait` for another process.
    ///
    /// # Errors
    /// Where it cannot be had in that time, or at all.
    fn lock(&self, wait: Duration) -> Result<Lock, LockError>;

    /// Tells of changes by other processes, and of our own: the record's generation tells which.
    ///
    /// # Errors
    /// Where the place cannot be watched.
    fn watch(&self) -> Result<Changes, WatchError>;

    /// What a person calls this place: the path, or the keyring's name.
    fn location(&self) -> String;

    /// What is doubtful about this place although it may be used, where something is.
    fn caveat(&self) -> Option<&'static str> {
        None
    }
}

/// Locks of NFS and SMB depend on servers and mount options (flock(2), "NFS details" and "CIFS details").
const ON_NETWORK: &str = "it lies on a network file system, where locks may not hold between machines: use one machine, \
                          or set store.path to a local disk";

/// `session` in the form of its record, as one process hands it to another.
///
/// # Errors
/// None that a session can cause; the type is `serde_json`'s.
pub fn to_record(session: &Session) -> Result<Secret, serde_json::Error> {
    let bytes = record::encode(session)?;
    Ok(Secret::new(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The session in a record that another process handed over. Its tokens count as received `now`.
///
/// # Errors
/// Where it is no record of this version.
pub fn from_record(record: &str, now: Now) -> Result<Session, RecordError> {
    record::decode(record.as_bytes(), now).map_err(|unreadable| match unreadable {
        record::Unreadable::Corrupt(problem) => RecordError::Corrupt(problem),
        record::Unreadable::Newer(schema) => RecordError::Newer(schema),
    })
}

/// Why a record that was handed over is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is damaged.
    #[error("the record is damaged: {0}")]
    Corrupt(&'static str),
    /// A newer version wrote it.
    #[error("the record was written by a newer version (schema {0}); restart the proxy with that version")]
    Newer(u32),
}

/// Why a record could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The place is not safe to keep a secret in.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// It belongs to somebody else.
    #[error("{path} may not be read by this user{}; run the command as its owner, or with sudo", owned_by(*.owner))]
    Denied {
        /// The record, or its directory.
        path: PathBuf,
        /// Whose it is, where that can be seen.
        owner: Option<u32>,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is damaged. It stays as it is until something new is written.
    #[error("{place} is damaged ({problem}); sign in again, and it is moved aside")]
    Corrupt {
        /// The record, as [`TokenStore::location`] calls it.
        place: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A newer version wrote it.
    #[error("{place} was written by a newer version (schema {schema}); update cognito-proxy, or use another profile")]
    Newer {
        /// The record, as [`TokenStore::location`] calls it.
        place: String,
        /// Its schema.
        schema: u32,
    },
    /// The keyring does not hand it out.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The disk refuses.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The record.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl LoadError {
    /// Whether it may be otherwise in a moment although nobody changes the record: descriptors were short, a disk or a
    /// keyring did not answer.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Keyring(_))
    }
}

/// Why a record could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The place is not safe to keep a secret in.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// A newer version wrote what is there.
    #[error("{place} was written by a newer version (schema {schema}); update cognito-proxy, or use another profile")]
    Newer {
        /// The record, as [`TokenStore::location`] calls it.
        place: String,
        /// Its schema.
        schema: u32,
    },
    /// The keyring does not take it.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The disk refuses, or does not promise to keep it. The old record is intact, or the new one is there whole.
    #[error("{path} cannot be {deed}: {source}")]
    Io {
        /// The record.
        path: PathBuf,
        /// What was being done.
        deed: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

fn owned_by(owner: Option<u32>) -> String {
    owner.map_or_else(String::new, |owner| format!(" (it belongs to user id {owner})"))
}

/// The file beside `record` for `purpose`: `PROFILE.json` has `PROFILE.lock` and `PROFILE.running`, and a record with
/// another ending keeps it.
fn sibling(record: &Path, purpose: &str) -> PathBuf {
    if record.extension().is_some_and(|extension| extension == "json") {
        return record.with_extension(purpose);
    }
    let mut name = record.as_os_str().to_owned();
    name.push(".");
    name.push(purpose);
    PathBuf::from(name)
}
