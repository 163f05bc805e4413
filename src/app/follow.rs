//! Changes of the configuration's file, as they happen.
//!
//! The directory is watched and not the file, since editors put a new file in the old one's place, and Kubernetes swaps
//! a directory beside it. What counts is that the content became another one.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{sync::mpsc, time::timeout};

/// A file that is written in several steps is read after the last of them.
const QUIET: Duration = Duration::from_millis(300);

/// A file whose changes are told for as long as this is kept.
pub(super) struct Followed {
    path: PathBuf,
    /// What was read last.
    content: Option<Vec<u8>>,
    hints: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Followed {
    /// Follows `path` from its present content on.
    ///
    /// # Errors
    /// Where its directory cannot be watched.
    pub(super) fn of(path: &Path) -> notify::Result<Self> {
        // One unread hint says all that ten would.
        let (hint, hints) = mpsc::channel(1);
        let told = move |event: notify::Result<Event>| {
            if !matches!(event, Ok(Event { kind: EventKind::Access(_), .. })) {
                // Full: a hint is unread. Closed: nobody listens any more.
                let _unread = hint.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(told)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(Self { content: fs::read(path).ok(), path: path.to_owned(), hints, _watcher: watcher })
    }

    /// Completes when the file has another content than it had the last time. One that is not there has none, and is
    /// waited for.
    pub(super) async fn changed(&mut self) {
        while self.hints.recv().await.is_some() {
            while let Ok(Some(())) = timeout(QUIET, self.hints.recv()).await {}
            let content = fs::read(&self.path).ok();
            if content.is_some() && content != self.content {
                self.content = content;
                return;
            }
        }
        // Nothing more will be told.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far longer than a notification takes; only a failure waits for it.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn another_content_is_told_however_it_came_and_the_same_one_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("proxy.toml");
        fs::write(&path, "one").expect("written");
        let mut followed = Followed::of(&path).expect("watched");
        fs::write(&path, "two").expect("written in place");
        timeout(PATIENCE, followed.changed()).await.expect("told");
        fs::write(dir.path().join("new"), "three").expect("written");
        fs::rename(dir.path().join("new"), &path).expect("put in place");
        timeout(PATIENCE, followed.changed()).await.expect("told");

        fs::write(dir.path().join("other"), "x").expect("a neighbour");
        fs::write(&path, "three").expect("written again");
        assert!(timeout(QUIET * 3, followed.changed()).await.is_err(), "nothing is new");
    }

    #[tokio::test]
    async fn a_link_that_leads_to_another_file_is_another_content() {
        let dir = tempfile::tempdir().expect("a directory");
        for (version, content) in [("v1", "one"), ("v2", "two")] {
            fs::create_dir(dir.path().join(version)).expect("a directory");
            fs::write(dir.path().join(version).join("proxy.toml"), content).expect("written");
        }
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, dir.path().join(name)).expect("a link");
        link("v1", "..data");
        link("..data/proxy.toml", "proxy.toml");
        let mut followed = Followed::of(&dir.path().join("proxy.toml")).expect("watched");
        link("v2", "..new");
        fs::rename(dir.path().join("..new"), dir.path().join("..data")).expect("swapped");
        timeout(PATIENCE, followed.changed()).await.expect("told");
    }
}
