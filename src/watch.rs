//! Changes of a file, as they happen.
//!
//! The directory is watched and not the file: a write puts a new file in the old one's place, and Kubernetes exchanges
//! the directory that a link leads through. A hint is all that is given; whoever hears it reads the file again.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use tokio::sync::mpsc;

#[cfg(not(target_os = "linux"))]
use self::elsewhere::Watched;
#[cfg(target_os = "linux")]
use self::inotify::Watched;

/// What Kubernetes renames when the content of a mounted `ConfigMap` or `Secret` changes.
const MOUNTED: &str = "..data";

/// Why a file cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("changes of {path} cannot be watched: {source}")]
pub struct WatchError {
    /// The directory.
    path: PathBuf,
    /// What the operating system said.
    source: io::Error,
}

/// Tells of changes for as long as it is kept.
#[derive(Debug)]
pub struct Changes {
    watched: Watched,
    hint: Hint,
    hints: mpsc::Receiver<()>,
}

/// Tells whoever listens to [`Changes`] that something changed, for a reason of one's own.
#[derive(Clone, Debug)]
pub struct Hint(mpsc::Sender<()>);

impl Hint {
    /// Gives it. Where one is unread, that one says it all.
    pub fn give(&self) {
        // Full: a hint is unread. Closed: nobody listens any more.
        let _unread = self.0.try_send(());
    }

    /// Completes when nobody listens any more.
    pub async fn unwanted(&self) {
        self.0.closed().await;
    }
}

impl Changes {
    /// Watches `file`, which need not exist yet. Its directory must. To be called in the runtime that will listen.
    pub fn of(file: &Path) -> Result<Self, WatchError> {
        let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // One unread hint says all that ten would.
        let (hint, hints) = mpsc::channel(1);
        let hint = Hint(hint);
        let watched = Watched::of(directory, file.file_name(), &hint);
        let watched = watched.map_err(|source| WatchError { path: directory.to_owned(), source })?;
        Ok(Self { watched, hint, hints })
    }

    /// Another giver of hints.
    #[must_use]
    pub fn hint(&self) -> Hint {
        self.hint.clone()
    }

    /// Completes when the file may have changed since the last time; several changes may be told as one. `None` when
    /// nothing more will be told. Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Option<()> {
        tokio::select! {
            hint = self.hints.recv() => hint,
            () = self.watched.changed() => Some(()),
        }
    }
}

/// Whether the entry of a directory that changed is the one that is called `name`, or leads to it.
fn is_of(changed: Option<&OsStr>, name: Option<&OsStr>) -> bool {
    changed == name || changed == Some(OsStr::new(MOUNTED))
}

/// `inotify(7)`: one descriptor, and no thread.
#[cfg(target_os = "linux")]
mod inotify {
    use std::{
        ffi::{OsStr, OsString},
        io,
        mem::MaybeUninit,
        os::unix::ffi::OsStrExt,
        path::Path,
    };

    use rustix::{
        fd::OwnedFd,
        fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init},
        io::Errno,
    };
    use tokio::io::{Interest, unix::AsyncFd};

    use super::{Hint, is_of};

    /// Several events at a time; one is at most 272 bytes long (`NAME_MAX` and its header).
    const BUFFER: usize = 4096;

    /// A directory, of whose entries one counts.
    #[derive(Debug)]
    pub(super) struct Watched {
        events: AsyncFd<OwnedFd>,
        name: Option<OsString>,
    }

    impl Watched {
        pub(super) fn of(directory: &Path, name: Option<&OsStr>, _: &Hint) -> io::Result<Self> {
            // Whatever makes the file another one: content, permissions, or another file in its place.
            let kinds = WatchFlags::ATTRIB
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MODIFY
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::ONLYDIR;
            let events = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
            add_watch(&events, directory, kinds)?;
            #[expect(deprecated, reason = "its replacement is unsafe code, and an `OwnedFd` keeps what that asks for")]
            let events = AsyncFd::with_interest(events, Interest::READABLE)?;
            Ok(Self { events, name: name.map(ToOwned::to_owned) })
        }

        /// Completes when the entry may have changed. Dropping the future loses nothing: what was read is told at once.
        pub(super) async fn changed(&self) {
            loop {
                let Ok(mut ready) = self.events.readable().await else { return std::future::pending().await };
                let concerns = self.read();
                ready.clear_ready();
                if concerns {
                    return;
                }
            }
        }

        /// Reads all that is there. Whether any of it concerns the entry.
        fn read(&self) -> bool {
            let mut buffer = [MaybeUninit::uninit(); BUFFER];
            let mut reader = Reader::new(self.events.get_ref(), &mut buffer);
            let mut concerns = false;
            loop {
                match reader.next() {
                    Ok(event) => {
                        let entry = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                        // Some were lost, or the directory itself is gone: better to look once too often.
                        let is_lost = event.events().intersects(ReadFlags::QUEUE_OVERFLOW | ReadFlags::IGNORED);
                        concerns |= is_lost || (entry.is_some() && is_of(entry, self.name.as_deref()));
                    }
                    Err(Errno::INTR) => {}
                    Err(_) => return concerns,
                }
            }
        }
    }
}

/// By what the `notify` crate knows of the system.
#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::{ffi::OsStr, io, path::Path};

    use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

    use super::{Hint, is_of};

    /// A directory, of whose entries one counts.
    #[derive(Debug)]
    pub(super) struct Watched {
        _watcher: RecommendedWatcher,
    }

    impl Watched {
        pub(super) fn of(directory: &Path, name: Option<&OsStr>, hint: &Hint) -> io::Result<Self> {
            let (name, hint) = (name.map(ToOwned::to_owned), hint.clone());
            let told = move |event: notify::Result<Event>| {
                let concerns = match &event {
                    Ok(event) if matches!(event.kind, EventKind::Access(_)) => false,
                    Ok(event) => {
                        event.need_rescan() || event.paths.iter().any(|path| is_of(path.file_name(), name.as_deref()))
                    }
                    // Something was missed: better to look once too often.
                    Err(_) => true,
                };
                if concerns {
                    hint.give();
                }
            };
            let mut watcher = notify::recommended_watcher(told).map_err(io::Error::other)?;
            watcher.watch(directory, RecursiveMode::NonRecursive).map_err(io::Error::other)?;
            Ok(Self { _watcher: watcher })
        }

        /// Never: hints tell.
        pub(super) async fn changed(&self) {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use tokio::time::timeout;

    use super::*;

    /// Far longer than a notification takes; only a failure waits for it.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_file_that_is_replaced_or_removed_is_noticed_and_its_neighbours_are_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let record = dir.path().join("proxy.json");
        let mut changes = Changes::of(&record).expect("watched");
        let mut next = async || timeout(PATIENCE, changes.changed()).await.expect("noticed").expect("still told");
        for content in ["one", "two"] {
            fs::write(record.with_extension("new"), content).expect("written");
            fs::rename(record.with_extension("new"), &record).expect("put in place");
            next().await;
        }
        fs::remove_file(&record).expect("removed");
        next().await;
        // Whatever else is told from here on would be about the neighbour.
        while let Ok(Some(())) = timeout(Duration::from_millis(50), changes.changed()).await {}
        fs::write(record.with_extension("lock"), "").expect("written");
        assert!(timeout(Duration::from_millis(200), changes.changed()).await.is_err());
    }
}
