//! `completions`: what a shell needs to complete this program's words.

use clap::Args;
use clap_complete::{Shell, generate};

use super::{Exit, output};

/// `completions`' own arguments.
#[derive(Clone, Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell to write for
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script.
pub(super) fn run(args: &CompletionsArgs) -> Exit {
    let mut command = super::definition();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(args.shell, &mut command, name, &mut script);
    output::to_stdout(&String::from_utf8_lossy(&script))
}
