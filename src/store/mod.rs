//! Where a session is kept between runs.
//!
//! Owns the record's form on disk and the rules of writing it: atomic, durable, 0600, under a lock. Blocking: callers
//! on a runtime use `spawn_blocking`.

use std::{path::PathBuf, time::Duration};

use crate::{clock::Now, session::Session};

/// `[store]`, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// `kind = "file"`, with the record's path.
    File {
        /// The record, `PROFILE.json`.
        path: PathBuf,
    },
}

/// One place in which one session is kept.
pub trait TokenStore: Send + Sync {
    /// The stored session, or `None` where there is none. Its tokens count as received at `now`.
    ///
    /// # Errors
    /// Where the record cannot be trusted or understood; it stays as it is.
    fn load(&self, now: Now) -> Result<Option<Session>, LoadError>;

    /// Writes `session` durably, under `lock`.
    ///
    /// # Errors
    /// Where the disk refuses; the old record is intact then.
    fn save(&self, session: &Session, lock: &Lock) -> Result<(), SaveError>;

    /// Removes the record, under `lock`. Nothing stored is fine.
    ///
    /// # Errors
    /// Where the disk refuses.
    fn clear(&self, lock: &Lock) -> Result<(), SaveError>;

    /// Takes the lock that goes around {re-read, refresh, persist}, waiting up to `wait` for another process.
    ///
    /// # Errors
    /// Where it cannot be had in that time, or at all.
    fn lock(&self, wait: Duration) -> Result<Lock, LockError>;

    /// What a person calls this place: the path, or the keyring's name.
    fn location(&self) -> String;
}

/// The store's lock, given back when it is dropped (and by the kernel when the process dies).
#[derive(Debug)]
pub struct Lock {
    _file: std::fs::File,
}

/// Why a record could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {}
/// Why a record could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {}
/// Why the lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {}
