//! `logout`: forgets the session, here and in the running proxy.

use std::io::{self, BufRead as _, IsTerminal as _};

use clap::Args;

use super::{Exit, Global, offline, output, running};
use crate::config::Config;

/// `logout`'s own options.
#[derive(Clone, Debug, Args)]
pub(super) struct LogoutArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Exits 0 once nothing is stored any more. Nothing to forget is fine.
pub(super) fn run(global: &Global, args: &LogoutArgs) -> Exit {
    let config = match global.load(Vec::new()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if !args.yes && !is_meant(&config) {
        output::to_stderr("nothing was forgotten");
        return Exit::Other;
    }
    match running::client(&config) {
        Ok(Some(client)) => match running::runtime() {
            Ok(runtime) => match runtime.block_on(client.clear()) {
                Ok(()) => Exit::Ok,
                Err(error) => running::report(global.is_styled(), &error),
            },
            Err(error) => {
                output::error(global.is_styled(), &format!("the system refuses a runtime: {error}"), None);
                Exit::Other
            }
        },
        Ok(None) => match offline::forget(&config) {
            Ok(()) => Exit::Ok,
            Err(error) => offline::report(global, &error),
        },
        Err(error) => running::report_unknown(global.is_styled(), &error),
    }
}

/// Asks whoever sits at a terminal. A script that runs `logout` means it.
fn is_meant(config: &Config) -> bool {
    if !io::stdin().is_terminal() {
        return true;
    }
    output::to_stderr(&format!("forget the session of profile {}? [y/N]", config.profile));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
