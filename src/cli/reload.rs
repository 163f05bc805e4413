//! `reload`: the running proxy reads its configuration again.

use super::{Exit, Global, output, running};

/// Exits 0 once the new configuration is in force, 78 where it is wrong and the old one stays.
pub(super) fn run(global: &Global) -> Exit {
    let reloaded = match running::tell(global, async |client| client.reload().await) {
        Ok(reloaded) => reloaded,
        Err(exit) => return exit,
    };
    if !reloaded.needs_restart.is_empty() {
        let keys = reloaded.needs_restart.join(", ");
        output::to_stderr(&format!("warning: {keys}: changed, and takes effect at the next start"));
    }
    Exit::Ok
}
