//! `warn.command`: a program of the user's, run once for each warning.
//!
//! Without a shell, with a small environment in which the warning stands, and never for longer than its limit. What it
//! prints goes to the log at debug.

use std::{ffi::OsString, path::Path, process::Command, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::sleep};

use super::{notice::Notice, sink::Failures};
use crate::{
    child::{self, Child, End},
    clock::SharedClock,
};

/// How long it may take.
pub(super) const LIMIT: Duration = Duration::from_secs(10);

/// One run: the program with its arguments, and what it is told.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) argv: Vec<String>,
    pub(super) notice: Arc<Notice>,
}

/// Runs one after the other, until nobody can ask for more.
pub(super) async fn run(mut jobs: mpsc::Receiver<Job>, limit: Duration, clock: SharedClock) {
    let mut failures = Failures::new("command", clock);
    while let Some(Job { argv, notice }) = jobs.recv().await {
        let Some(program) = argv.first().cloned() else { continue };
        if let Err(problem) = run_one(command(&argv, &notice, std::env::vars_os()), limit).await {
            failures.tell(&format!("{}: {problem}", Path::new(&program).display()));
        }
    }
}

/// One run; an error says why it came to nothing.
async fn run_one(command: Command, limit: Duration) -> Result<(), String> {
    let child = Child::spawn(command).map_err(|error| error.to_string())?;
    match child.attend(sleep(limit), |line| tracing::debug!(line, "the warning command says")).await {
        End::Exited(status) if status.success() => Ok(()),
        End::Exited(status) => Err(status.to_string()),
        End::Cut => Err(format!("did not end within {} s", limit.as_secs_f32())),
    }
}

fn command(argv: &[String], notice: &Notice, variables: impl Iterator<Item = (OsString, OsString)>) -> Command {
    let mut words = argv.iter();
    let mut command = Command::new(words.next().map(String::as_str).unwrap_or_default());
    let expires_at = notice.expires_at.map(|at| at.to_string()).unwrap_or_default();
    command
        .args(words)
        .env_clear()
        .envs(variables.filter(|(name, _)| name.to_str().is_some_and(child::is_kept)))
        .env("COGNITO_PROXY_EVENT", notice.event)
        .env("COGNITO_PROXY_LEVEL", notice.level.as_str())
        .env("COGNITO_PROXY_EXPIRES_AT", expires_at)
        .env("COGNITO_PROXY_MESSAGE", notice.message());
    command
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        clock::{SystemClock, UnixTime},
        session::warning::{Level, WarningKind},
        warn::notice::fixtures::notice,
    };

    /// A script, and how to run it: by a shell that is there already, since a file that was just written may be held open
    /// for a moment by a child that another thread is starting.
    fn script(directory: &Path, body: &str) -> Vec<String> {
        let path = directory.join("hook");
        fs::write(&path, body).expect("a file");
        vec!["/bin/sh".into(), path.display().to_string()]
    }

    async fn told(argv: Vec<String>, kinds: Vec<WarningKind>, limit: Duration) {
        let (jobs, heard) = mpsc::channel(8);
        for kind in kinds {
            jobs.try_send(Job { argv: argv.clone(), notice: Arc::new(notice(kind)) }).expect("room");
        }
        drop(jobs);
        run(heard, limit, Arc::new(SystemClock)).await;
    }

    #[tokio::test]
    async fn it_hears_each_warning_in_its_environment_and_nothing_else_of_ours() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut argv = script(directory.path(), "env >> \"$1\"; cat >> \"$1\"; echo \"argument: $2\" >> \"$1\"");
        let record = directory.path().join("record");
        argv.extend([record.display().to_string(), "a $HOME; b".into()]);
        let lock = WarningKind::IdleLock { closes_at: UnixTime::from_secs(60) };
        told(argv, vec![WarningKind::SessionEnd(Level::Soon), lock], LIMIT).await;
        let record = fs::read_to_string(record).expect("it ran");
        for line in [
            "COGNITO_PROXY_EVENT=warning",
            "COGNITO_PROXY_LEVEL=soon",
            "COGNITO_PROXY_EXPIRES_AT=1970-01-01T01:00:00Z",
            "COGNITO_PROXY_EVENT=idle_lock",
            "COGNITO_PROXY_EXPIRES_AT=1970-01-01T00:01:00Z",
            "argument: a $HOME; b",
        ] {
            assert!(record.lines().any(|written| written == line), "{line} in\n{record}");
        }
        // What cargo tells a test, as a service manager tells a service.
        assert!(std::env::var_os("CARGO_PKG_NAME").is_some() && !record.contains("CARGO_PKG_NAME"), "{record}");
    }

    #[tokio::test]
    async fn one_that_hangs_is_ended_at_its_limit_and_the_next_is_run() {
        let directory = tempfile::tempdir().expect("a directory");
        let hook = script(directory.path(), "echo $COGNITO_PROXY_LEVEL >> \"$0.levels\"; sleep 600 & wait");
        let kinds = vec![WarningKind::SessionEnd(Level::Notice), WarningKind::SessionEnd(Level::Ended)];
        let hurried = told(hook, kinds, Duration::from_millis(300));
        tokio::time::timeout(Duration::from_secs(60), hurried).await.expect("no run outlives its limit");
        let levels = fs::read_to_string(directory.path().join("hook.levels")).expect("it ran");
        assert_eq!(levels, "notice\nended\n");
    }

    #[tokio::test]
    async fn what_comes_to_nothing_says_why() {
        let directory = tempfile::tempdir().expect("a directory");
        let argv = script(directory.path(), "exit 3");
        let failing = command(&argv, &notice(WarningKind::SessionEnd(Level::Soon)), std::env::vars_os());
        let problem = run_one(failing, LIMIT).await.expect_err("3");
        assert!(problem.contains('3'), "{problem}");
        let absent = run_one(Command::new("/nowhere/hook"), LIMIT).await.expect_err("nothing there");
        assert!(absent.contains("No such file"), "{absent}");
    }
}
