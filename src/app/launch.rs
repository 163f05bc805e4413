//! `login` at a click: on a notification, or on the status page.
//!
//! Owns the child that signs in: this very program, for the profile that runs, one at a time. What it brings comes back
//! over the control socket, as from a terminal. No secret is in its arguments or its environment.
//!
//! A service that is confined as our units are cannot start a browser: the browser would be confined with it. There the
//! user's own service manager is asked to start it (`systemd-run --user`), and then it outlives a restart of this
//! program. Otherwise it is a child like any other, and ends with us.

use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{self, Command},
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    child::{self, Child, End},
    config::Config,
    refresher,
    warn::Answer,
};

/// Clicks that wait for an answer; each gets one at once.
const ASKS: usize = 8;

/// Where this process's program is, however often its file is replaced while it runs.
const DELETED: &str = " (deleted)";

/// Variables beside [`child::is_kept`] by which `login` finds the same configuration, pool and browser as this process.
const NEEDED: [&str; 9] = [
    "BROWSER",
    "CREDENTIALS_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// How variables of the configuration begin.
const CONFIGURATION: &str = "COGNITO_PROXY_";

/// Why no sign-in could be begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The program did not start.
    #[error("{} cannot be started: {source}", .program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The proxy is about to end.
    #[error("the proxy is going down")]
    Stopping,
}

/// What became of a wish to sign in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// A sign-in was started: a browser opens.
    Started,
    /// One is under way already.
    UnderWay,
}

/// Where sign-ins are asked for.
#[derive(Clone, Debug)]
pub(super) struct SignIn {
    asks: mpsc::Sender<Ask>,
}

type Ask = oneshot::Sender<Result<Begun, Error>>;

impl SignIn {
    /// Begins a sign-in in a browser, unless one is under way. Returns at once; what comes of it is in the log.
    ///
    /// # Errors
    /// Where the program cannot be started.
    pub(super) async fn begin(&self) -> Result<Begun, Error> {
        let (told, answer) = oneshot::channel();
        self.asks.send(told).await.map_err(|_| Error::Stopping)?;
        answer.await.map_err(|_| Error::Stopping)?
    }
}

/// The owner of the child that signs in.
#[derive(Debug)]
pub(super) struct Launcher {
    recipe: Recipe,
    place: Place,
    asks: mpsc::Receiver<Ask>,
}

impl Launcher {
    /// For the profile and the file of `config`, which no reload changes; and where to ask.
    pub(super) fn new(config: &Config) -> (SignIn, Self) {
        // Where the system does not say what program this is, the one of that name is looked for in `PATH`.
        let program = env::current_exe().map_or_else(|_| PathBuf::from("cognito-proxy"), undeleted);
        let recipe = Recipe { program, file: config.file.clone(), profile: config.profile.clone() };
        Self::of(recipe, Place::of_this_process())
    }

    fn of(recipe: Recipe, place: Place) -> (SignIn, Self) {
        let (asks, heard) = mpsc::channel(ASKS);
        (SignIn { asks }, Self { recipe, place, asks: heard })
    }

    /// Starts what is asked for until `stop`; then ends the child that is left.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let told = tokio::select! {
                () = stop.cancelled() => return,
                ask = self.asks.recv() => match ask {
                    Some(told) => told,
                    None => return,
                },
            };
            let command = self.recipe.command(&self.place, env::vars_os());
            let program = PathBuf::from(command.get_program());
            // Whoever asked may have gone.
            match Child::spawn(command) {
                Ok(child) => {
                    tracing::info!("sign-in started");
                    let _ = told.send(Ok(Begun::Started));
                    self.attend(child, &stop).await;
                }
                Err(source) => {
                    let error = Error::Spawn { program, source };
                    tracing::error!(%error, "no sign-in was started");
                    let _ = told.send(Err(error));
                }
            }
        }
    }

    async fn attend(&mut self, child: Child, stop: &CancellationToken) {
        let attending = child.attend(stop.cancelled(), |line| tracing::info!(line, "sign-in says"));
        tokio::pin!(attending);
        let end = loop {
            tokio::select! {
                end = &mut attending => break end,
                Some(told) = self.asks.recv() => drop(told.send(Ok(Begun::UnderWay))),
            }
        };
        match end {
            End::Exited(status) if status.success() => tracing::info!("sign-in ended"),
            End::Exited(status) => tracing::warn!(%status, "sign-in failed"),
            End::Cut => tracing::info!("sign-in given up, since this program ends"),
        }
    }
}

/// Does what is answered on notifications, until nobody can answer any more.
pub(super) async fn obey(
    mut answers: mpsc::Receiver<Answer>,
    sign_in: SignIn,
    commands: mpsc::Sender<refresher::Command>,
) {
    while let Some(answer) = answers.recv().await {
        match answer {
            // What goes wrong is in the log already.
            Answer::SignIn => drop(sign_in.begin().await),
            Answer::StaySignedIn => {
                let (done, _told) = oneshot::channel();
                // Where the refresher is gone there is no lock to keep open.
                drop(commands.send(refresher::Command::Unlock { done }).await);
            }
        }
    }
}

/// What is started.
#[derive(Clone, Debug)]
struct Recipe {
    program: PathBuf,
    file: Option<PathBuf>,
    profile: String,
}

impl Recipe {
    /// The command, as it is started from `place` with these variables at hand.
    fn command(&self, place: &Place, variables: impl Iterator<Item = (OsString, OsString)>) -> Command {
        match &place.systemd_run {
            Some(systemd_run) => self.by_manager(systemd_run, variables),
            None => self.direct(variables),
        }
    }

    fn direct(&self, variables: impl Iterator<Item = (OsString, OsString)>) -> Command {
        let mut command = Command::new(&self.program);
        let is_passed = |name: &str| child::is_kept(name) || is_needed(name);
        command.env_clear().envs(variables.filter(|(name, _)| name.to_str().is_some_and(is_passed)));
        command.args(self.arguments());
        command
    }

    /// Started by the user's manager, in whose environment the desktop is known; the configuration in ours goes along.
    fn by_manager(&self, systemd_run: &Path, variables: impl Iterator<Item = (OsString, OsString)>) -> Command {
        let mut command = Command::new(systemd_run);
        // Its output comes here through the pipe, and the unit's name keeps it single over a restart of ours.
        command.args(["--user", "--collect", "--quiet", "--wait", "--pipe", "--same-dir"]);
        command.arg(format!("--unit=cognito-proxy-login-{}", self.profile));
        command.env_clear();
        for (name, value) in variables {
            let Some(text) = name.to_str() else { continue };
            // The manager shows them to whoever asks, so a proxy's password does not go along.
            if is_needed(text) && !value.to_string_lossy().contains('@') {
                command.arg(format!("--setenv={text}")).env(&name, &value);
            } else if child::is_kept(text) {
                command.env(&name, &value);
            }
        }
        command.arg("--").arg(&self.program).args(self.arguments());
        command
    }

    /// In a browser, since nobody sits at a terminal of ours.
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["login".into(), "--method".into(), "browser".into()];
        if let Some(file) = &self.file {
            arguments.extend(["--config".into(), file.into()]);
        }
        arguments.extend(["--profile".into(), OsString::from(&self.profile)]);
        arguments
    }
}

/// Where this process runs.
#[derive(Clone, Debug, Default)]
struct Place {
    /// `systemd-run`, where this is a service whose user has a manager and a bus.
    systemd_run: Option<PathBuf>,
}

impl Place {
    fn of_this_process() -> Self {
        let is_unit = is_unit(
            env::var("SYSTEMD_EXEC_PID").ok().as_deref(),
            env::var_os("INVOCATION_ID").is_some(),
            process::id(),
        );
        let has_bus = env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some()
            || env::var_os("XDG_RUNTIME_DIR").is_some_and(|directory| Path::new(&directory).join("bus").exists());
        let path = env::var_os("PATH").unwrap_or_default();
        let found =
            || env::split_paths(&path).map(|directory| directory.join("systemd-run")).find(|file| file.is_file());
        Self { systemd_run: if is_unit && has_bus { found() } else { None } }
    }
}

/// Whether this process is the main one of a unit. A terminal, and all that it starts, inherits `INVOCATION_ID` from the
/// unit that it belongs to; `SYSTEMD_EXEC_PID` (systemd 248, systemd.exec(5)) says who is meant.
fn is_unit(exec_pid: Option<&str>, is_invoked: bool, own_pid: u32) -> bool {
    exec_pid.map_or(is_invoked, |pid| pid.parse() == Ok(own_pid))
}

fn is_needed(variable: &str) -> bool {
    NEEDED.contains(&variable) || variable.starts_with(CONFIGURATION)
}

/// The path of a program that was replaced by a newer version since it started: that one is meant.
fn undeleted(program: PathBuf) -> PathBuf {
    let replaced = program.to_str().and_then(|path| path.strip_suffix(DELETED)).map(PathBuf::from);
    match replaced {
        Some(path) if !program.exists() => path,
        _ => program,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn recipe(program: &Path) -> Recipe {
        Recipe {
            program: program.to_owned(),
            file: Some("/etc/cognito-proxy/work.toml".into()),
            profile: "work".into(),
        }
    }

    fn line(command: &Command) -> String {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_str().expect("text")).collect::<Vec<_>>().join(" ")
    }

    fn variables() -> impl Iterator<Item = (OsString, OsString)> {
        [
            ("PATH", "/usr/bin"),
            ("COGNITO_PROXY_COGNITO__CLIENT_ID", "client"),
            ("HTTPS_PROXY", "http://me:pw@proxy.example"),
            ("NO_PROXY", "example"),
            ("NOTIFY_SOCKET", "/run/notify"),
            ("AWS_SECRET_ACCESS_KEY", "key"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .into_iter()
    }

    fn passed(command: &Command) -> Vec<&str> {
        command.get_envs().filter(|(_, value)| value.is_some()).filter_map(|(name, _)| name.to_str()).collect()
    }

    #[test]
    fn a_child_gets_profile_file_and_configuration_and_no_secret() {
        let command = recipe(Path::new("/usr/bin/cognito-proxy")).command(&Place::default(), variables());
        assert_eq!(
            line(&command),
            "/usr/bin/cognito-proxy login --method browser --config /etc/cognito-proxy/work.toml --profile work"
        );
        assert_eq!(passed(&command), ["COGNITO_PROXY_COGNITO__CLIENT_ID", "HTTPS_PROXY", "NO_PROXY", "PATH"]);
    }

    #[test]
    fn a_confined_service_has_it_started_by_the_users_manager() {
        let place = Place { systemd_run: Some("/usr/bin/systemd-run".into()) };
        let command = recipe(Path::new("/usr/bin/cognito-proxy")).command(&place, variables());
        assert_eq!(
            line(&command),
            "/usr/bin/systemd-run --user --collect --quiet --wait --pipe --same-dir --unit=cognito-proxy-login-work \
             --setenv=COGNITO_PROXY_COGNITO__CLIENT_ID --setenv=NO_PROXY \
             -- /usr/bin/cognito-proxy login --method browser --config /etc/cognito-proxy/work.toml --profile work"
        );
        assert_eq!(passed(&command), ["COGNITO_PROXY_COGNITO__CLIENT_ID", "NO_PROXY", "PATH"]);
    }

    #[test]
    fn a_terminal_within_a_unit_is_no_unit() {
        for (exec_pid, is_invoked, expected) in [
            (Some("42"), true, true),
            (Some("41"), true, false),
            (Some("x"), true, false),
            (None, true, true),
            (None, false, false),
        ] {
            assert_eq!(is_unit(exec_pid, is_invoked, 42), expected, "{exec_pid:?} {is_invoked}");
        }
    }

    #[test]
    fn a_replaced_program_is_found_where_the_new_one_lies() {
        assert_eq!(undeleted("/nowhere/cognito-proxy (deleted)".into()), Path::new("/nowhere/cognito-proxy"));
        assert_eq!(undeleted("/nowhere/cognito-proxy".into()), Path::new("/nowhere/cognito-proxy"));
    }

    /// A program that says how it was called, and ends when a file is there.
    fn pretender(directory: &Path) -> PathBuf {
        let (program, text) = (directory.join("cognito-proxy"), directory.join("text"));
        let script = "#!/bin/sh\necho \"$@\" >> \"$0.calls\"\nwhile ! [ -e \"$0.end\" ]; do sleep 0.05; done\n";
        fs::write(&text, script).expect("a file");
        // By a process of its own: what this one writes may be held open for a moment by a child of another thread.
        assert!(Command::new("cp").args([&text, &program]).status().expect("cp").success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("a mode");
        program
    }

    #[tokio::test]
    async fn one_at_a_time_and_the_next_after_its_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let program = pretender(directory.path());
        let (sign_in, launcher) = Launcher::of(recipe(&program), Place::default());
        let stop = CancellationToken::new();
        let launching = tokio::spawn(launcher.run(stop.clone()));

        assert_eq!(sign_in.begin().await.expect("started"), Begun::Started);
        assert_eq!(sign_in.begin().await.expect("there"), Begun::UnderWay);
        fs::write(directory.path().join("cognito-proxy.end"), "").expect("a file");
        let again = async {
            while sign_in.begin().await.expect("a launcher") != Begun::Started {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), again).await.expect("the first one ended");

        stop.cancel();
        launching.await.expect("no panic");
        assert!(matches!(sign_in.begin().await, Err(Error::Stopping)));
        let calls = fs::read_to_string(directory.path().join("cognito-proxy.calls")).expect("it was called");
        assert!(calls.starts_with("login --method browser"), "{calls}");
    }

    #[tokio::test]
    async fn what_cannot_be_started_is_said() {
        let (sign_in, launcher) = Launcher::of(recipe(Path::new("/nowhere/cognito-proxy")), Place::default());
        let stop = CancellationToken::new();
        let launching = tokio::spawn(launcher.run(stop.clone()));
        let error = sign_in.begin().await.expect_err("no such program");
        assert!(error.to_string().contains("/nowhere/cognito-proxy"), "{error}");
        stop.cancel();
        launching.await.expect("no panic");
    }
}
