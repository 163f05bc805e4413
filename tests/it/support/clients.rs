//! Clients and servers that other people wrote, installed by `tests/run`. One that is not there fails the test and
//! says so. What Python and Node.js run lies in `tests/clients`.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::process::{Finished, Process};

/// How long a client may take for all that it does.
const CLIENT_BOUND: Duration = Duration::from_secs(60);

/// A script for Python, with the packages of `tests/clients/requirements.txt`.
pub(crate) fn python(script: &str, arguments: &[&str]) -> Client {
    let interpreter = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients/python/bin/python");
    Client::new(interpreter, &[&[path_of(script).as_str()], arguments].concat())
}

/// A script for Node.js.
pub(crate) fn node(script: &str, arguments: &[&str]) -> Client {
    Client::new("node", &[&[path_of(script).as_str()], arguments].concat())
}

/// curl, silent but for errors; standard output holds the body alone.
pub(crate) fn curl(arguments: &[&str]) -> Client {
    Client::new("curl", &[&["--disable", "--silent", "--show-error"], arguments].concat())
}

fn path_of(script: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    path.to_str().expect("a path in UTF-8").to_owned()
}

/// Debian puts nginx where only root's own `PATH` leads.
fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin");
    path
}

/// A program to be started, without the environment of the test, which would decide about proxies and user files.
pub(crate) struct Client {
    name: String,
    command: Command,
    directory: TempDir,
}

impl Client {
    /// A program and its arguments, in an empty directory that is also its home.
    pub(crate) fn new(program: impl Into<PathBuf>, arguments: &[&str]) -> Self {
        let program = program.into();
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", search_path())
            .env("HOME", directory.path())
            .env("PYTHONUTF8", "1")
            .current_dir(directory.path())
            .stdin(Stdio::null());
        let name = [program.to_string_lossy().as_ref()].iter().chain(arguments).copied().collect::<Vec<_>>().join(" ");
        Self { name, command, directory }
    }

    /// With this file as standard input.
    pub(crate) fn reading(mut self, path: &Path) -> Self {
        self.command.stdin(std::fs::File::open(path).expect("a file"));
        self
    }

    /// Starts it; the test goes on beside it.
    pub(crate) fn start(mut self) -> Running {
        let process = Process::spawn(&self.name, &mut self.command)
            .unwrap_or_else(|| panic!("{} is not installed: run tests/run", self.command.get_program().display()));
        Running { name: self.name, process, _directory: self.directory }
    }

    /// Runs it to its end, which must be a success.
    pub(crate) async fn succeeds(self) -> Finished {
        self.start().succeeds().await
    }

    /// Starts a server, and waits until it says on standard error where it listens.
    pub(crate) async fn listens(self) -> Server {
        let mut running = self.start();
        let address = running.says("address", |line| line.strip_prefix("listening ")?.parse().ok()).await;
        Server { address, running }
    }
}

/// A program that runs, and is killed when this is dropped.
pub(crate) struct Running {
    name: String,
    process: Process,
    // Dropped last: the process ends before its directory goes.
    _directory: TempDir,
}

impl Running {
    /// What `reads` makes of the first line on standard error that it accepts.
    pub(crate) async fn says<T>(&mut self, what: &str, reads: impl Fn(&str) -> Option<T>) -> T {
        self.process.error_line(what, reads).await
    }

    /// Waits for this line on standard error.
    pub(crate) async fn says_line(&mut self, text: &str) {
        self.says(text, |line| (line == text).then_some(())).await;
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// What it printed so far.
    pub(crate) fn printed(&self) -> String {
        self.process.printed()
    }

    /// Waits for its end, which must be a success.
    pub(crate) async fn succeeds(self) -> Finished {
        let finished = self.process.finish(CLIENT_BOUND).await;
        assert!(finished.status.success(), "{}: {finished:?}", self.name);
        finished
    }
}

/// A server that runs.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) running: Running,
}

impl Server {
    /// `http://HOST:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

#[test]
#[should_panic(expected = "no-such-client is not installed: run tests/run")]
fn a_client_that_is_not_installed_fails_the_test() {
    Client::new("no-such-client", &[]).start();
}

#[tokio::test]
#[should_panic(expected = "no such order")]
async fn a_client_that_fails_fails_the_test_with_what_it_said() {
    Client::new("sh", &["-c", "echo no such order >&2; exit 1"]).succeeds().await;
}
