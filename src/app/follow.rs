//! Changes of the configuration's file, as they happen. What counts is that its content became another one.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::timeout;

use crate::watch::{Changes, WatchError};

/// A file that is written in several steps is read after the last of them.
const QUIET: Duration = Duration::from_millis(300);

/// A file whose changes are told for as long as this is kept.
pub(super) struct Followed {
    path: PathBuf,
    /// What was read last.
    content: Option<Vec<u8>>,
    changes: Changes,
}

impl Followed {
    /// Follows `path` from its present content on.
    ///
    /// # Errors
    /// Where its directory cannot be watched.
    pub(super) fn of(path: &Path) -> Result<Self, WatchError> {
        Ok(Self { changes: Changes::of(path)?, content: fs::read(path).ok(), path: path.to_owned() })
    }

    /// Completes when the file has another content than it had the last time. One that is not there has none, and is
    /// waited for.
    pub(super) async fn changed(&mut self) {
        while self.changes.changed().await.is_some() {
            while let Ok(Some(())) = timeout(QUIET, self.changes.changed()).await {}
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
