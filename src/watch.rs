//! Changes of a file, as they happen.
//!
//! The directory is watched and not the file: a write puts a new file in the old one's place, and Kubernetes exchanges
//! the directory that a link leads through. A hint is all that is given; whoever hears it reads the file again.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// What Kubernetes renames when the content of a mounted `ConfigMap` or `Secret` changes.
const MOUNTED: &str = "..data";

/// Why a file cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("changes of {path} cannot be watched: {source}")]
pub struct WatchError {
    /// The directory.
    path: PathBuf,
    /// What the operating system said.
    source: notify::Error,
}

/// Tells of changes for as long as it is kept.
#[derive(Debug)]
pub struct Changes {
    _watcher: RecommendedWatcher,
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
    /// Watches `file`, which need not exist yet. Its directory must.
    pub fn of(file: &Path) -> Result<Self, WatchError> {
        let directory = file.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |source| WatchError { path: directory.to_owned(), source };
        let name = file.file_name().map(ToOwned::to_owned);
        // One unread hint says all that ten would.
        let (hint, hints) = mpsc::channel(1);
        let hint = Hint(hint);
        let given = hint.clone();
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
                given.give();
            }
        };
        let mut watcher = notify::recommended_watcher(told).map_err(failed)?;
        watcher.watch(directory, RecursiveMode::NonRecursive).map_err(failed)?;
        Ok(Self { _watcher: watcher, hint, hints })
    }

    /// Another giver of hints.
    #[must_use]
    pub fn hint(&self) -> Hint {
        self.hint.clone()
    }

    /// Completes when the file may have changed since the last time; several changes may be told as one. `None` when
    /// nothing more will be told.
    pub async fn changed(&mut self) -> Option<()> {
        self.hints.recv().await
    }
}

fn is_of(changed: Option<&OsStr>, name: Option<&OsStr>) -> bool {
    changed == name || changed == Some(OsStr::new(MOUNTED))
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
