//! `status`: the session, and how long it lasts.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Exit, Global, output};

/// `status`'s own options.
#[derive(Clone, Debug, Args)]
pub(super) struct StatusArgs {
    /// Show it as JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Show one line, as for a prompt
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Show it again whenever it changes
    #[arg(long)]
    watch: bool,
    /// Exit 3 for a session that ends within this time, as "1d"
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    warn_within: Option<Duration>,
}

/// How a status looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One line.
    Short,
}

/// Shows the status.
pub(super) fn run(global: &Global, args: &StatusArgs) -> Exit {
    let _ = (args.json, args.format, args.watch, args.warn_within);
    if let Err(exit) = global.load(Vec::new()) {
        return exit;
    }
    output::error(global.is_styled(), "`status` is not available yet", None);
    Exit::Other
}
