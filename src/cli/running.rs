//! The running proxy of a profile, as a command reaches it, and what its answers are worth as exit codes.

use std::io;

use tokio::runtime::{Builder, Runtime};

use super::{Exit, Global, output};
use crate::{
    admin::client::{Client, ClientError},
    app,
    config::Config,
    shell,
    store::{self, RunningError},
};

/// The control socket of the proxy that runs with this profile, or `None` where none runs.
///
/// # Errors
/// Where it cannot be told: most often since the store is somebody else's.
pub(super) fn client(config: &Config) -> Result<Option<Client>, RunningError> {
    Ok(store::running_pid(config.store.path())?.map(|_| Client::new(app::socket_path(config))))
}

/// A runtime for one command.
///
/// # Errors
/// Where the system refuses one.
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Tells the running proxy something that needs one.
///
/// # Errors
/// The code to exit with; what went wrong has been said.
pub(super) fn tell<T>(global: &Global, deed: impl AsyncFnOnce(Client) -> Result<T, ClientError>) -> Result<T, Exit> {
    let config = global.load(Vec::new())?;
    let said = |title: &str, fix: Option<&str>| {
        output::error(global.is_styled(), title, fix);
        Exit::Other
    };
    let client = match client(&config) {
        Ok(Some(client)) => client,
        Ok(None) => {
            let title = format!("no proxy of profile {} is running", config.profile);
            return Err(said(&title, Some(&start(global))));
        }
        Err(error) => return Err(report_unknown(global.is_styled(), &error)),
    };
    let runtime = runtime().map_err(|error| said(&format!("the system refuses a runtime: {error}"), None))?;
    runtime.block_on(deed(client)).map_err(|error| report(global.is_styled(), &error))
}

/// The command that starts the proxy which was not there.
pub(super) fn start(global: &Global) -> String {
    format!("start it: cognito-proxy {}run", global.selection())
}

/// Says what went wrong, with the fix that the proxy names.
pub(super) fn report(styled: bool, error: &ClientError) -> Exit {
    output::error(styled, &error.to_string(), fix_of(error).as_deref());
    exit_of(error)
}

/// What mends it, where that can be said.
pub(super) fn fix_of(error: &ClientError) -> Option<String> {
    match error {
        ClientError::Refused(problem) => Some(problem.fix.clone()).filter(|fix| !fix.is_empty()),
        ClientError::Denied { .. } => Some(with_sudo()),
        _ => None,
    }
}

/// The exit code of a call that brought nothing.
pub(super) fn exit_of(error: &ClientError) -> Exit {
    match error {
        ClientError::Denied { .. } => Exit::Refused,
        ClientError::Timeout { .. } => Exit::TryLater,
        ClientError::Refused(problem) => exit_of_code(&problem.code),
        ClientError::NotRunning { .. }
        | ClientError::Connection { .. }
        | ClientError::Protocol { .. }
        | ClientError::Malformed { .. } => Exit::Other,
    }
}

/// The exit code for the stable word of a refusal.
pub(super) fn exit_of_code(code: &str) -> Exit {
    match code {
        "login_required" | "session_expired" | "locked" => Exit::SignInNeeded,
        "refresh_failing" | "overloaded" | "stopping" => Exit::TryLater,
        "peer_not_allowed" | "cross_site" => Exit::Refused,
        "configuration" | "other_session" => Exit::Config,
        "store_failed" => Exit::StoreUnwritable,
        _ => Exit::Other,
    }
}

/// Says why it cannot be told whether a proxy runs, and which command could.
pub(super) fn report_unknown(styled: bool, error: &RunningError) -> Exit {
    output::error(styled, &error.to_string(), fix_of_unknown(error).as_deref());
    exit_of_unknown(error)
}

/// What mends it that it cannot be told whether a proxy runs.
pub(super) fn fix_of_unknown(error: &RunningError) -> Option<String> {
    let is_denied = matches!(error, RunningError::Io { .. }) && exit_of_unknown(error) == Exit::Refused;
    is_denied.then(with_sudo)
}

/// The exit code where it cannot be told whether a proxy runs.
pub(super) fn exit_of_unknown(error: &RunningError) -> Exit {
    match error {
        RunningError::Untrusted(_) => Exit::Refused,
        RunningError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Exit::Refused,
        // Where not even a lock can be made, no record can.
        RunningError::Io { .. } => Exit::StoreUnwritable,
        RunningError::Unknown { .. } | RunningError::Already { .. } => Exit::Other,
    }
}

/// This very command, as root would run it: the store of a service belongs to the service's user.
pub(super) fn with_sudo() -> String {
    sudo(std::env::args().skip(1))
}

fn sudo(arguments: impl Iterator<Item = String>) -> String {
    arguments.fold("sudo cognito-proxy".to_owned(), |line, argument| format!("{line} {}", shell::quoted(&argument)))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::admin::Problem;

    #[test]
    fn the_command_for_root_is_the_one_that_was_typed() {
        let line = |words: &[&str]| sudo(words.iter().map(|word| (*word).to_owned()));
        assert_eq!(
            line(&["status", "--json", "-c", "/etc/a b.toml"]),
            "sudo cognito-proxy status --json -c '/etc/a b.toml'"
        );
        assert_eq!(line(&["-p", "it's"]), "sudo cognito-proxy -p 'it'\\''s'");
        assert_eq!(line(&["token", ""]), "sudo cognito-proxy token ''");
    }

    #[test]
    fn every_refusal_has_its_code() {
        for (code, exit) in [
            ("login_required", Exit::SignInNeeded),
            ("session_expired", Exit::SignInNeeded),
            ("locked", Exit::SignInNeeded),
            ("refresh_failing", Exit::TryLater),
            ("stopping", Exit::TryLater),
            ("peer_not_allowed", Exit::Refused),
            ("configuration", Exit::Config),
            ("other_session", Exit::Config),
            ("store_failed", Exit::StoreUnwritable),
            ("bad_request", Exit::Other),
        ] {
            let problem = Problem::new(StatusCode::BAD_REQUEST, code, "", "");
            assert_eq!(exit_of(&ClientError::Refused(problem)), exit, "{code}");
        }
        let path = std::path::PathBuf::from("/run/proxy.sock");
        assert_eq!(exit_of(&ClientError::NotRunning { path: path.clone() }), Exit::Other);
        assert_eq!(exit_of(&ClientError::Denied { path }), Exit::Refused);
    }
}
