//! `check`: the configuration as `run` would read it, judged without the network.

use clap::Args;

use super::{Exit, Global, explain, output};
use crate::config::{Config, Environment};

/// `check`'s own options.
#[derive(Clone, Debug, Args)]
pub(super) struct CheckArgs {
    /// Show every key, its effective value, and where that came from
    #[arg(long)]
    pub(super) explain: bool,
    /// Show it as JSON, mistakes too
    #[arg(long)]
    json: bool,
}

/// Exits 0 where all is well, 78 where not, 77 where permissions alone are at fault.
pub(super) fn run(global: &Global, args: &CheckArgs) -> Exit {
    let loaded = Config::load(&global.request(Vec::new()), &Environment::current())
        .and_then(|config| config.check_here().map(|()| config));
    if args.json {
        let printed = output::to_stdout(&format!("{:#}\n", explain::json(loaded.as_ref())));
        return match loaded {
            Ok(_) => printed,
            Err(error) if error.is_refusal() => Exit::Refused,
            Err(_) => Exit::Config,
        };
    }
    match loaded {
        Ok(config) => {
            for notice in &config.notices {
                output::to_stderr(&format!("warning: {notice}"));
            }
            output::to_stdout(&if args.explain { explain::text(&config) } else { explain::summary(&config) })
        }
        Err(error) => global.reject(&error),
    }
}
