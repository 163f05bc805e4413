//! Whether a proxy of this profile runs: a lock beside its store, with its process id in it.
//!
//! The lock says so, and not the socket: a process that was killed has given it back.

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{
    lock::is_still_there,
    place::{self, Untrusted},
    sibling,
};

/// Whoever asks holds the lock for a moment, and whoever starts writes its number a moment later: both pass.
const PATIENCE: Duration = Duration::from_millis(500);

const PAUSE: Duration = Duration::from_millis(5);

/// Why it cannot be said, or held.
#[derive(Debug, thiserror::Error)]
pub enum RunningError {
    /// A proxy of this profile runs already.
    #[error("a proxy of this profile already runs (process id {pid}); stop it, or use -p NAME for another profile")]
    Already {
        /// Its process id.
        pid: u32,
    },
    /// Somebody holds the lock without having said who.
    #[error("{path} is held by a process that did not write its id")]
    Unknown {
        /// The lock file.
        path: PathBuf,
    },
    /// The place is not safe.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The operating system refuses.
    #[error("{path} cannot be used: {source}")]
    Io {
        /// The lock file, or its directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Held by a running proxy for as long as it runs.
#[derive(Debug)]
pub struct RunningLock {
    _file: File,
}

impl RunningLock {
    /// Says that this process is the proxy of the store whose record is `record`.
    ///
    /// # Errors
    /// Where another one is, or where the lock cannot be made.
    pub fn acquire(record: &Path) -> Result<Self, RunningError> {
        let path = sibling(record, "running");
        let directory = place::directory(record);
        let failed = |source| RunningError::Io { path: directory.to_owned(), source };
        place::make_directory(directory).map_err(failed)?;
        let owner = place::checked_directory(directory).map_err(failed)??;
        let failed = |source: io::Error| refused(&path, source);
        let began = Instant::now();
        loop {
            let mut file = place::open_beside(&path, owner).map_err(failed)?;
            match file.try_lock() {
                Ok(()) if is_still_there(&file, &path) => {
                    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
                    return Ok(Self { _file: file });
                }
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let pid = written_pid(&mut file).map_err(failed)?;
                    return Err(match pid {
                        Some(pid) => RunningError::Already { pid },
                        None => RunningError::Unknown { path },
                    });
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
    }
}

/// The process id of the proxy that runs on the store whose record is `record`, or `None` where none does.
///
/// # Errors
/// Where it cannot be told: most often since the store is somebody else's.
pub fn running_pid(record: &Path) -> Result<Option<u32>, RunningError> {
    let path = sibling(record, "running");
    let mut file = match place::open_to_read(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(&path, error)),
    };
    let began = Instant::now();
    loop {
        match file.try_lock_shared() {
            Ok(()) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(refused(&path, source)),
            Err(TryLockError::WouldBlock) => {}
        }
        match written_pid(&mut file).map_err(|source| refused(&path, source))? {
            Some(pid) => return Ok(Some(pid)),
            None if began.elapsed() < PATIENCE => thread::sleep(PAUSE),
            None => return Err(RunningError::Unknown { path }),
        }
    }
}

fn written_pid(file: &mut File) -> io::Result<Option<u32>> {
    let mut text = String::new();
    file.rewind()?;
    // A process id has ten digits at most.
    file.take(16).read_to_string(&mut text)?;
    Ok(text.strip_suffix('\n').and_then(|text| text.parse().ok()))
}

fn refused(path: &Path, source: io::Error) -> RunningError {
    let path = path.to_owned();
    if place::is_link(&source) { Untrusted::Link { path }.into() } else { RunningError::Io { path, source } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_names_who_runs_and_only_while_it_runs() {
        let dir = tempfile::tempdir().expect("a directory");
        let record = dir.path().join("state/proxy.json");
        assert_eq!(running_pid(&record).expect("told"), None);
        let lock = RunningLock::acquire(&record).expect("nobody runs");
        assert!(dir.path().join("state/proxy.running").exists());
        assert_eq!(running_pid(&record).expect("told"), Some(std::process::id()));
        let error = RunningLock::acquire(&record).expect_err("refused");
        assert!(matches!(error, RunningError::Already { pid } if pid == std::process::id()), "{error}");
        drop(lock);
        until_nobody_runs(&record);
        RunningLock::acquire(&record).expect("free again");
    }

    /// A process that another test has just forked holds every lock of this one until it runs a program.
    fn until_nobody_runs(record: &Path) {
        let began = Instant::now();
        while running_pid(record).expect("told").is_some() {
            assert!(began.elapsed() < Duration::from_secs(60), "the lock is never given back");
            thread::sleep(PAUSE);
        }
    }

    #[test]
    fn whoever_asks_does_not_keep_the_proxy_from_starting() {
        let dir = tempfile::tempdir().expect("a directory");
        let record = dir.path().join("proxy.json");
        drop(RunningLock::acquire(&record).expect("nobody runs"));
        let asking = File::open(dir.path().join("proxy.running")).expect("there");
        asking.lock_shared().expect("locked");
        thread::scope(|scope| {
            let starting = scope.spawn(|| RunningLock::acquire(&record));
            thread::sleep(PAUSE * 4);
            drop(asking);
            starting.join().expect("no panic").expect("started");
        });
    }

    #[test]
    fn a_link_in_its_place_is_not_followed() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = dir.path().join("target");
        std::fs::write(&target, "precious").expect("written");
        std::os::unix::fs::symlink(&target, dir.path().join("proxy.running")).expect("a link");
        let error = RunningLock::acquire(&dir.path().join("proxy.json")).expect_err("refused");
        assert!(matches!(error, RunningError::Untrusted(Untrusted::Link { .. })), "{error}");
        assert_eq!(std::fs::read_to_string(&target).expect("there"), "precious");
    }
}
