//! The built binary as a user runs it: a home of its own, `proxy.toml` in it, free ports, and its outputs watched for
//! tokens.
//!
//! The binary says in its log line `listening` which ports it got; that line, not a guess, is where a test connects.
#![allow(dead_code, reason = "what a test may ask of the program, whether or not one asks yet")]

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{Seek as _, Write as _},
    net::{SocketAddr, TcpListener},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::{
    http::{self, Connection},
    process::{Finished, Process},
    wait::{self, BOUND},
};

/// The section that lets the system choose the ports.
pub(crate) const FREE_PORTS: &str = "[listen]\nproxy = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n";

/// How every JWT and JWE of Cognito begins: `{"` in base64url. Nothing that the program logs may hold it.
const TOKEN_MARK: &str = "eyJ";

/// The command line writes at most this long; `run` is asked to end by a signal.
const COMMAND_BOUND: Duration = BOUND;

/// One user's files, and nobody else's.
pub(crate) struct Home {
    directory: TempDir,
    /// What more the binary finds in its environment.
    environment: Vec<(String, String)>,
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self { directory: tempfile::tempdir().expect("a directory"), environment: Vec::new() };
        for name in ["config/cognito-proxy", "state", "run"] {
            DirBuilder::new().recursive(true).mode(0o700).create(home.path(name)).expect("a directory of our own");
        }
        home
    }

    /// Sets a variable in the environment of whatever is run from now on.
    pub(crate) fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// A path below this home.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file that only its owner may read.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).expect("a file");
        file.write_all(content.as_bytes()).expect("room for a file");
        path
    }

    /// Writes the user's `proxy.toml`, which every command reads without being told.
    pub(crate) fn configure(&self, toml: &str) -> PathBuf {
        self.write("config/cognito-proxy/proxy.toml", toml)
    }

    /// The control socket of the default profile.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.path("run/cognito-proxy/proxy.sock")
    }

    /// The store of the default profile.
    pub(crate) fn store(&self) -> PathBuf {
        self.path("state/cognito-proxy/proxy.json")
    }

    /// The binary with these arguments, in this home, and with nothing of the test's own environment but `PATH`.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cognito-proxy"));
        command
            .args(arguments)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| name == "PATH"))
            .env("HOME", self.directory.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.directory.path());
        command
    }

    /// Runs one command to its end, with nothing on standard input.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with_input(arguments, "").await
    }

    /// Runs one command to its end. Its standard error must hold no token; its standard output may, since `token`
    /// prints one there.
    pub(crate) async fn run_with_input(&self, arguments: &[&str], input: &str) -> Finished {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(input.as_bytes()).and_then(|()| file.rewind()).expect("room for the input");
        let mut command = self.command(arguments);
        command.stdin(Stdio::from(file));
        let finished = Process::spawn("cognito-proxy", &mut command).expect("built").finish(COMMAND_BOUND).await;
        holds_no_token(&finished.stderr);
        finished
    }

    /// Runs what somebody was told to run, as a shell of another directory takes it.
    pub(crate) async fn paste(&self, line: &str) -> Finished {
        let program = Path::new(env!("CARGO_BIN_EXE_cognito-proxy"));
        let ours = self.command(&[]);
        let mut path = program.parent().expect("a directory").as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).env_clear().envs(ours.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.env("PATH", path).current_dir("/").stdin(Stdio::null());
        Process::spawn("sh", &mut shell).expect("a shell").finish(COMMAND_BOUND).await
    }

    /// Writes `proxy.toml` and starts `run`; returns once it listens.
    pub(crate) async fn serve(&self, toml: &str) -> Proxy {
        self.configure(toml);
        self.serve_with(&[]).await
    }

    /// Starts `run` with further arguments; returns once it listens.
    pub(crate) async fn serve_with(&self, arguments: &[&str]) -> Proxy {
        let mut command = self.command(&[&["run"], arguments].concat());
        command.stdin(Stdio::null());
        Proxy::listening(Process::spawn("cognito-proxy run", &mut command).expect("built")).await
    }

    /// `run` after these commands of a shell, such as `ulimit`; its outputs are the test's to choose.
    pub(crate) fn command_after(&self, script: &str) -> Command {
        let inner = self.command(&["run"]);
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{script}; exec \"$0\" \"$@\"")).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().current_dir(self.directory.path()).stdin(Stdio::null());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    /// Starts `run` with this socket passed to it as a service manager does (`sd_listen_fds(3)`), under the name that
    /// the shipped socket units give it; returns once it listens.
    pub(crate) async fn serve_on(&self, listener: &TcpListener) -> Proxy {
        let mut command = self.command_after("exec 3<&0 </dev/null; export LISTEN_PID=$$");
        command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "proxy");
        command.stdin(OwnedFd::from(listener.try_clone().expect("a descriptor")));
        Proxy::listening(Process::spawn("cognito-proxy run", &mut command).expect("a shell")).await
    }

    /// Starts `run` after these commands of a shell; returns once it listens.
    pub(crate) async fn serve_after(&self, script: &str) -> Proxy {
        Proxy::listening(Process::spawn("cognito-proxy run", &mut self.command_after(script)).expect("a shell")).await
    }
}

/// A running proxy. However the test ends it, its outputs must hold no token.
pub(crate) struct Proxy {
    /// Where it proxies, in the order of its log line; sockets other than TCP are left out.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Where the admin pages are, unless they are off.
    pub(crate) admin: Option<SocketAddr>,
    /// None once it was stopped.
    process: Option<Process>,
}

impl Proxy {
    /// Waits until the process says where it listens.
    async fn listening(mut process: Process) -> Self {
        let (addresses, admin) = process.error_line("`listening` log line", listening).await;
        Self { addresses, admin, process: Some(process) }
    }

    /// Starts this command, which runs the proxy; returns once it listens.
    pub(crate) async fn started(command: &mut Command) -> Self {
        command.stdin(Stdio::null());
        Self::listening(Process::spawn("cognito-proxy run", command).expect("built")).await
    }

    /// The same for one that may be refused: then what it said.
    pub(crate) async fn listening_or_not(command: &mut Command) -> Result<Self, Finished> {
        let mut process = Process::spawn("cognito-proxy run", command.stdin(Stdio::null())).expect("built");
        match process.error_line_or_end(listening).await {
            Some((addresses, admin)) => Ok(Self { addresses, admin, process: Some(process) }),
            None => Err(process.finish(BOUND).await),
        }
    }

    /// Its process id.
    pub(crate) fn process_id(&self) -> u32 {
        self.process.as_ref().expect("not stopped yet").id()
    }

    /// Waits until it has ended, however that came.
    pub(crate) async fn gone(&mut self) {
        let process = self.running();
        wait::until("its end", async || process.ended()).await;
    }

    /// Its first TCP address.
    pub(crate) fn address(&self) -> SocketAddr {
        *self.addresses.first().expect("it listens on TCP")
    }

    /// Its admin address.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin.expect("the admin pages are on")
    }

    /// A connection on which the test writes what it likes.
    pub(crate) async fn connect(&self) -> Connection {
        Connection::to(self.address()).await
    }

    /// Waits until `/readyz` answers 200: a token is held that may be injected.
    pub(crate) async fn ready(&mut self) {
        let admin = self.admin();
        wait::until("/readyz to answer 200", async || {
            if let Some(status) = self.running().ended() {
                panic!("the proxy ended, {status}:\n{}", self.running().printed());
            }
            (http::get(admin, "/readyz").await.status() == 200).then_some(())
        })
        .await;
    }

    /// `/status.json`.
    pub(crate) async fn status(&self) -> Value {
        serde_json::from_slice(http::get(self.admin(), "/status.json").await.body()).expect("JSON")
    }

    /// Waits until `/status.json` satisfies `reads`.
    pub(crate) async fn status_that<T>(&self, what: &str, reads: impl Fn(&Value) -> Option<T>) -> T {
        wait::until(what, async || reads(&self.status().await)).await
    }

    /// The first log line that has this message, as JSON.
    pub(crate) async fn logged(&mut self, message: &str) -> Value {
        let of = |line: &str| serde_json::from_str(line).ok().filter(|event| field(event, "message") == Some(message));
        self.running().error_line(message, of).await
    }

    /// Waits for a line of its log, in whichever format, that holds this text.
    pub(crate) async fn printed_line(&mut self, text: &str) -> String {
        self.running().error_line(text, |line| line.contains(text).then(|| line.to_owned())).await
    }

    /// Sends a signal, such as HUP.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.running().signal(signal);
    }

    /// Its process id.
    pub(crate) fn pid(&mut self) -> rustix::process::Pid {
        self.running().pid()
    }

    /// Asks it to end (SIGTERM) and waits for that.
    pub(crate) async fn stop(mut self) -> Finished {
        let mut process = self.process.take().expect("stopped once");
        process.signal(Signal::TERM);
        let finished = process.finish(BOUND).await;
        holds_no_token(&finished.stdout);
        holds_no_token(&finished.stderr);
        finished
    }

    fn running(&mut self) -> &mut Process {
        self.process.as_mut().expect("not stopped yet")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let (Some(process), false) = (&self.process, std::thread::panicking()) {
            holds_no_token(&process.printed());
        }
    }
}

/// Fails the test where a text holds what may be a token.
pub(crate) fn holds_no_token(text: &str) {
    let leak = text.lines().find(|line| line.contains(TOKEN_MARK));
    assert!(leak.is_none(), "a token in the output: {}", leak.unwrap_or_default());
}

/// The addresses in the log line `listening`, written as JSON or for people.
fn listening(line: &str) -> Option<(Vec<SocketAddr>, Option<SocketAddr>)> {
    let (proxy, admin) = match serde_json::from_str::<Value>(line) {
        Ok(event) if field(&event, "message") == Some("listening") => {
            (field(&event, "proxy")?.to_owned(), field(&event, "admin").map(str::to_owned))
        }
        Ok(_) => return None,
        Err(_) => {
            let fields = line.split_once("INFO  listening ")?.1;
            let value = |name: &str| {
                fields.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
            };
            (value("proxy")?, value("admin"))
        }
    };
    let addresses = proxy.split([',', ' ']).filter_map(|address| address.parse().ok()).collect();
    Some((addresses, admin.and_then(|address| address.parse().ok())))
}

/// A field of a log event: beside the message, or in an object of fields.
fn field<'a>(event: &'a Value, name: &str) -> Option<&'a str> {
    event.get(name).or_else(|| event.get("fields")?.get(name))?.as_str()
}

/// What a home holds when a test wonders; file names only, since contents are secret.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::spawn("sh", Command::new("sh").args(["-c", script])).expect("a shell")
    }

    const LISTENING: &str = r#"{"level":"INFO","fields":{"message":"listening","proxy":"127.0.0.1:1","admin":"off"}}"#;

    #[test]
    fn the_log_line_is_read_flat_and_nested() {
        let flat =
            r#"{"message":"listening","proxy":"127.0.0.1:8900, [::1]:8900, unix:/run/p","admin":"127.0.0.1:8901"}"#;
        let (addresses, admin) = listening(flat).expect("flat");
        assert_eq!(addresses, ["127.0.0.1:8900", "[::1]:8900"].map(|address| address.parse().expect("an address")));
        assert_eq!(admin, "127.0.0.1:8901".parse().ok());
        assert_eq!(listening(LISTENING), Some((vec![SocketAddr::from(([127, 0, 0, 1], 1))], None)));
        assert_eq!(listening(r#"{"message":"refreshed","proxy":"127.0.0.1:1"}"#), None);
        let pretty = listening("INFO  listening proxy=127.0.0.1:1 admin=127.0.0.1:2 upstream=http://x token=id");
        assert_eq!(pretty, Some((vec![SocketAddr::from(([127, 0, 0, 1], 1))], "127.0.0.1:2".parse().ok())));
        assert_eq!(listening("INFO  refreshed proxy=127.0.0.1:1"), None);
    }

    #[tokio::test]
    async fn a_proxy_is_known_by_its_log_line_and_stopped_by_sigterm() {
        let script = format!("trap 'exit 0' TERM; echo '{LISTENING}' >&2; while :; do sleep 0.05; done");
        let proxy = Proxy::listening(shell(&script)).await;
        assert_eq!(proxy.address(), SocketAddr::from(([127, 0, 0, 1], 1)));
        assert_eq!(proxy.stop().await.code(), 0);
    }

    #[tokio::test]
    #[should_panic(expected = "a token in the output")]
    async fn a_token_in_the_log_fails_the_test() {
        let script = format!(
            "trap 'exit 0' TERM; echo '{LISTENING}' >&2; echo 'jwt=eyJhbGci' >&2; while :; do sleep 0.05; done"
        );
        let mut process = shell(&script);
        process.error_line("the leak", |line| line.contains("jwt").then_some(())).await;
        drop(Proxy::listening(process).await);
    }

    #[tokio::test]
    #[should_panic(expected = "ended without `listening` log line")]
    async fn a_proxy_that_ends_at_once_fails_the_test_with_what_it_said() {
        Proxy::listening(shell("echo 'error: no pool' >&2; exit 78")).await;
    }

    #[tokio::test]
    async fn a_home_is_its_own() {
        let home = Home::new();
        home.configure(FREE_PORTS);
        assert_eq!(files_below(&home.path("")), [home.path("config/cognito-proxy/proxy.toml")]);
        let command = home.command(&["status"]);
        let inherited: Vec<_> = command.get_envs().map(|(name, _)| name.to_str().expect("plain")).collect();
        assert_eq!(inherited, ["HOME", "PATH", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"]);
    }
}
