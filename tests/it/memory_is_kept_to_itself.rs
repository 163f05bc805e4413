//! What the proxy has in its memory, tokens among it, leaves it by no way round: not in a core file, and not through
//! `/proc` to other processes of the same user.

use std::{
    fs,
    os::unix::{
        fs::chown,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;

use crate::support::{
    process::{Process, not_shown},
    stage::Stage,
    wait::BOUND,
};

/// `nobody`: as root nothing of this shows, since root may read everything.
const NOBODY: u32 = 65_534;

/// Who runs the proxy here, where that is not whoever runs the test.
fn user() -> Option<u32> {
    rustix::process::geteuid().is_root().then_some(NOBODY)
}

/// A shell of that user.
fn shell(script: &str, directory: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(directory).stdin(Stdio::null());
    if let Some(uid) = user() {
        command.uid(uid).gid(uid);
    }
    command
}

/// Gives everything below `directory` to that user.
fn hand_over(directory: &Path) {
    let Some(uid) = user() else { return };
    chown(directory, Some(uid), Some(uid)).expect("root may");
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { hand_over(&path) } else { chown(&path, Some(uid), Some(uid)).expect("root may") }
    }
}

/// The row of `/proc/PID/limits`: soft and hard.
fn limit(pid: i32, name: &str) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("a table for everybody");
    let row = limits.lines().find_map(|line| line.strip_prefix(name)).expect("a row");
    let mut columns = row.split_whitespace().map(str::to_owned);
    (columns.next().expect("soft"), columns.next().expect("hard"))
}

/// Whether another process of that user can read a process's environment.
fn is_readable(pid: i32, directory: &Path) -> bool {
    let read = shell(&format!("cat /proc/{pid}/environ"), directory).output().expect("cat");
    let refusal = String::from_utf8_lossy(&read.stderr).into_owned();
    assert!(read.status.success() || refusal.contains("Permission denied"), "{refusal}");
    read.status.success()
}

fn core_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("core"))).collect()
}

#[tokio::test]
async fn no_core_file_and_nothing_for_processes_of_the_same_user() {
    let stage = Stage::new().await;
    stage.configure("");
    stage.signed_in().await;
    // The one that was built may lie where only its builder can look.
    let binary = stage.home.path("cognito-proxy");
    fs::copy(env!("CARGO_BIN_EXE_cognito-proxy"), &binary).expect("room for a copy");
    let home = stage.home.path("");
    hand_over(&home);

    // The same without the proxy's precautions, so that what is missing below is known to be missing because of them.
    let plain = "ulimit -S -c unlimited; ulimit -S -n 256; exec \"$@\"";
    let mut bystander = Process::spawn("sh", &mut shell("echo up >&2; exec sleep 600", &home)).expect("sh");
    bystander.error_line("up", |line| (line == "up").then_some(())).await;
    assert!(is_readable(bystander.pid().as_raw_pid(), &home), "what anybody's process shows to its own user");
    drop(bystander);
    let abort = shell(plain, &home).args(["sh", "sh", "-c", "kill -ABRT $$"]).output().expect("sh");
    let dumps_here = abort.status.core_dumped();
    for file in core_files(&home) {
        fs::remove_file(file).expect("ours");
    }
    if !dumps_here {
        not_shown("this machine writes no core files for anybody; the limit alone is checked");
    }

    let mut command = stage.home.command(&[]);
    let environment: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    command = shell(plain, &home);
    command.arg("sh").arg(&binary).arg("run").env_clear();
    command.envs(environment.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let mut proxy = Process::spawn("cognito-proxy run", &mut command).expect("sh");
    proxy.error_line("`listening` log line", |line| line.contains("listening").then_some(())).await;
    let pid = proxy.pid().as_raw_pid();

    assert_eq!(limit(pid, "Max core file size"), ("0".into(), "0".into()));
    let (soft, hard) = limit(pid, "Max open files");
    assert_eq!(soft, hard, "256 were allowed, and as many as can be had are taken");
    assert_ne!(soft, "256");
    assert!(!is_readable(pid, &home), "the environment of the proxy");

    proxy.signal(Signal::ABORT);
    let ended = proxy.finish(BOUND).await;
    assert_eq!(ended.status.signal(), Some(Signal::ABORT.as_raw()), "{}", ended.stderr);
    assert!(!ended.status.core_dumped());
    assert_eq!(core_files(&home), Vec::<PathBuf>::new());
    assert!(!ended.stderr.contains("cannot be raised") && !ended.stderr.contains("core file"), "{}", ended.stderr);
}
