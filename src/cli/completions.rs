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
    generate(args.shell, &mut command, name.clone(), &mut script);
    let script = String::from_utf8_lossy(&script);
    output::to_stdout(&if args.shell == Shell::Bash { consistent(&script, &name) } else { script.into_owned() })
}

/// The script for bash with one name for each state. The generator (`clap_complete` 4.6) writes the hyphens of a
/// program's name in two ways, so that the word after a subcommand would never be completed.
fn consistent(script: &str, name: &str) -> String {
    script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"))
}
