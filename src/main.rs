//! The binary: a match on what the library says.

use std::process::ExitCode;

fn main() -> ExitCode {
    cognito_proxy::cli::run(std::env::args_os()).into()
}
