//! `wait`: until the running proxy is ready.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Exit, Global, output, running};
use crate::{
    admin::{
        Problem,
        client::{Client, ClientError},
    },
    app,
    config::Config,
};

/// Between looks. A probe over the control socket costs the proxy some ten microseconds.
const PAUSE: Duration = Duration::from_millis(100);

/// `wait`'s own options.
#[derive(Clone, Debug, Args)]
pub(super) struct WaitArgs {
    /// Give up after this long
    #[arg(long, value_name = "DURATION", value_parser = super::duration, default_value = "30s")]
    timeout: Duration,
}

/// Why it is not ready.
#[derive(Debug)]
enum Unready {
    /// It says so itself.
    Problem(Problem),
    /// It cannot be asked.
    Unreached(ClientError),
}

/// Waits. Exits 0 once it is ready, 75 when the time runs out.
pub(super) fn run(global: &Global, args: &WaitArgs) -> Exit {
    let config = match global.load(Vec::new()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let runtime = match running::runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(global.is_styled(), &format!("the system refuses a runtime: {error}"), None);
            return Exit::Other;
        }
    };
    match runtime.block_on(until_ready(&config, args.timeout)) {
        Ok(()) => Exit::Ok,
        // Time mends no permissions.
        Err(Unready::Unreached(error @ ClientError::Denied { .. })) => running::report(global.is_styled(), &error),
        Err(unready) => {
            let (why, fix) = match &unready {
                Unready::Problem(problem) => (problem.to_string(), fix_of(problem, &config)),
                Unready::Unreached(ClientError::NotRunning { .. }) => {
                    ("no proxy is running".into(), Some(running::start(global)))
                }
                Unready::Unreached(error) => (error.to_string(), None),
            };
            let left = crate::clock::Span(args.timeout);
            output::error(global.is_styled(), &format!("not ready within {left}: {why}"), fix.as_deref());
            Exit::TryLater
        }
    }
}

/// Asks until the answer is yes, or the time runs out; asks once where there is none.
async fn until_ready(config: &Config, patience: Duration) -> Result<(), Unready> {
    let deadline = Instant::now() + patience;
    let client = Client::new(app::socket_path(config)).within(patience.max(PAUSE));
    loop {
        let unready = match client.unready().await {
            Ok(None) => return Ok(()),
            Ok(Some(problem)) => Unready::Problem(problem),
            Err(error @ ClientError::Denied { .. }) => return Err(Unready::Unreached(error)),
            Err(error) => Unready::Unreached(error),
        };
        if timeout_at(deadline, sleep(PAUSE)).await.is_err() {
            return Err(unready);
        }
    }
}

/// `/readyz` says the code alone, so the command that mends it is named here.
fn fix_of(problem: &Problem, config: &Config) -> Option<String> {
    match problem.code.as_str() {
        "login_required" | "session_expired" => Some(config.command("login")),
        "locked" => Some(config.command("unlock")),
        "refresh_failing" => Some(config.command("status")),
        _ => None,
    }
}
