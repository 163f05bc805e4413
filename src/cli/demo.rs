//! `demo`: everything at work against a pool in this process, without an AWS account.

use std::time::Duration;

use clap::Args;

use super::{Exit, Global, output};

/// `demo`'s own options.
#[derive(Clone, Debug, Args)]
pub(super) struct DemoArgs {
    /// Listen here; may be given more than once. Without it the next free port is taken
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// How long an ID token lives
    #[arg(long, value_name = "DURATION", value_parser = super::duration, default_value = "20s")]
    id_token_validity: Duration,
    /// How long the session lives
    #[arg(long, value_name = "DURATION", value_parser = super::duration, default_value = "10m")]
    refresh_token_validity: Duration,
    /// Go through a whole session in less than a minute, then stop
    #[arg(long)]
    once: bool,
}

/// Shows it. Reads no configuration.
pub(super) fn run(global: &Global, args: &DemoArgs) -> Exit {
    let _ = (&args.listen, args.id_token_validity, args.refresh_token_validity, args.once);
    output::error(global.is_styled(), "`demo` is not available yet", None);
    Exit::Other
}
