//! `doctor`: everything that can be wrong, each with its fix. Changes nothing, and ends in time, network or none.

mod finding;
mod machine;
mod network;

use std::time::Duration;

use clap::Args;

use self::finding::Finding;
use super::{Exit, Global, explain, output, running};
use crate::config::{Config, Environment};

/// Everything that is dialled has this long together: the rest of the fifteen seconds is the machine's own.
const PATIENCE: Duration = Duration::from_secs(12);

/// `doctor`'s own options.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct DoctorArgs {
    /// Show it as JSON
    #[arg(long)]
    json: bool,
}

/// Looks, tells, and exits 0 where nothing is wrong, else with the code of the gravest finding.
pub(super) fn run(global: &Global, args: DoctorArgs) -> Exit {
    let config = match Config::load(&global.request(Vec::new()), &Environment::current()) {
        Ok(config) => config,
        Err(error) if args.json => {
            let exit = if error.is_refusal() { Exit::Refused } else { Exit::Config };
            return shown(&format!("{:#}\n", explain::json(Err(&error))), exit);
        }
        Err(error) => return global.reject(&error),
    };
    let mut findings = machine::findings(&config);
    findings.extend(beyond(&config));
    let text = if args.json {
        format!("{:#}\n", finding::json(&findings))
    } else {
        finding::text(&findings, global.is_styled())
    };
    shown(&text, finding::exit_of(&findings))
}

/// What has to be dialled for.
fn beyond(config: &Config) -> Vec<Finding> {
    let failed = |what: String| vec![Finding::wrong("network", Exit::Other, what, "")];
    match running::runtime() {
        Ok(runtime) => {
            output::progress("asking Cognito and the upstream");
            let looked = runtime.block_on(async { tokio::time::timeout(PATIENCE, network::findings(config)).await });
            // A name that is still being looked up must not hold up the end.
            runtime.shutdown_background();
            looked.unwrap_or_else(|_| {
                let fix = "look at the network: nobody answered and nobody refused";
                vec![Finding::wrong("network", Exit::Unreachable, "not all answered within 12 s", fix)]
            })
        }
        Err(error) => failed(format!("the system refuses a runtime: {error}")),
    }
}

fn shown(text: &str, exit: Exit) -> Exit {
    match output::to_stdout(text) {
        Exit::Ok => exit,
        failed => failed,
    }
}
