//! The lock around {re-read, refresh, persist}.
//!
//! It lies on a file of its own that is never renamed or removed, and the kernel gives it back when a process dies
//! (flock(2)).

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{
    place::{self, Owner, Untrusted},
    sibling,
};

/// Between looks at a lock that somebody else holds: they hold it for the time of one refresh.
const PAUSE: Duration = Duration::from_millis(20);

/// The store's lock, given back when it is dropped (and by the kernel when the process dies).
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The place is not safe to keep a secret in.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// Another process has it.
    #[error("{path} is held by another process for more than {} s", .waited.as_secs_f32())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The operating system refuses.
    #[error("{path} cannot be locked: {source}")]
    Io {
        /// The lock file, or its directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock beside `record`, waiting up to `wait`. Its directory is made where it is not there.
    pub(super) fn beside(record: &Path, wait: Duration) -> Result<Self, LockError> {
        let directory = place::directory(record);
        let failed = |source| LockError::Io { path: directory.to_owned(), source };
        place::make_directory(directory).map_err(failed)?;
        let owner = place::checked_directory(directory).map_err(failed)??;
        Self::take(&sibling(record, "lock"), owner, wait)
    }

    /// Takes the lock at `path`, waiting up to `wait`.
    fn take(path: &Path, owner: Owner, wait: Duration) -> Result<Self, LockError> {
        let failed = |source: io::Error| {
            let path = path.to_owned();
            if place::is_link(&source) { Untrusted::Link { path }.into() } else { LockError::Io { path, source } }
        };
        let began = Instant::now();
        loop {
            let file = place::open_beside(path, owner).map_err(failed)?;
            match file.try_lock() {
                // Somebody may have removed the file while we waited for it; then others lock another one.
                Ok(()) if is_still_there(&file, path) => return Ok(Self { _file: file }),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if began.elapsed() >= wait => {
                    return Err(LockError::Held { path: path.to_owned(), waited: wait });
                }
                Err(TryLockError::WouldBlock) => thread::sleep(PAUSE.min(wait)),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
    }
}

/// Whether `path` still names `file`.
pub(super) fn is_still_there(file: &File, path: &Path) -> bool {
    let (Ok(held), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    (held.dev(), held.ino()) == (named.dev(), named.ino())
}
