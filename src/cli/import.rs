//! `import`: takes over the tokens that somebody has, proves them by one refresh, and stores the session.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Global, output};

/// `import`'s own options.
#[derive(Clone, Debug, Args)]
pub(super) struct ImportArgs {
    /// JSON with the tokens; `-`, or nothing, is standard input
    #[arg(value_name = "FILE|-")]
    file: Option<PathBuf>,
}

impl ImportArgs {
    /// The file to read; `None` for standard input.
    fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref().filter(|path| path.as_os_str() != "-")
    }
}

/// Imports.
pub(super) fn run(global: &Global, args: &ImportArgs) -> Exit {
    let _ = args.file();
    if let Err(exit) = global.load(Vec::new()) {
        return exit;
    }
    output::error(global.is_styled(), "`import` is not available yet", None);
    Exit::Other
}
