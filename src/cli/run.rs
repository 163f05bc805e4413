//! `run`: serves until SIGTERM.

use clap::Args;

use super::{Exit, Global, output};
use crate::config::Override;

/// `run`'s own options, each of which sets a key.
#[derive(Clone, Debug, Args)]
pub(super) struct RunArgs {
    /// Listen here instead of at `listen.proxy`; may be given more than once
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// Send requests here instead of to `upstream.url`
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// How many worker threads; 0 for one per core, at most 4
    #[arg(long, value_name = "N")]
    workers: Option<String>,
}

impl RunArgs {
    /// The keys that these options set.
    fn overrides(&self) -> Vec<Override> {
        let mut overrides = Vec::new();
        if !self.listen.is_empty() {
            overrides.push(Override::list("--listen", "listen.proxy", self.listen.iter().cloned()));
        }
        if let Some(url) = &self.upstream {
            overrides.push(Override::text("--upstream", "upstream.url", url));
        }
        if let Some(workers) = &self.workers {
            overrides.push(Override::text("--workers", "runtime.workers", workers));
        }
        overrides
    }
}

/// Loads the configuration and serves.
pub(super) fn run(global: &Global, args: &RunArgs) -> Exit {
    let config = match global.load(args.overrides()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let _logging = global.start_logging(config.log);
    for notice in &config.notices {
        tracing::warn!("{notice}");
    }
    output::error(global.is_styled(), "`run` is not available yet", None);
    Exit::Other
}
