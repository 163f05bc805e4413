//! `unlock`: opens the idle lock, in the running proxy or, where none runs, in the store.

use super::{Exit, Global, offline, output, running};
use crate::config::Config;

/// Exits 0 once it is open. Nothing to open is fine.
pub(super) fn run(global: &Global) -> Exit {
    let config = match global.load(Vec::new()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match running::client(&config) {
        Ok(Some(client)) => match running::runtime() {
            Ok(runtime) => match runtime.block_on(client.unlock()) {
                Ok(()) => Exit::Ok,
                Err(error) => running::report(global.is_styled(), &error),
            },
            Err(error) => {
                output::error(global.is_styled(), &format!("the system refuses a runtime: {error}"), None);
                Exit::Other
            }
        },
        Ok(None) => open_stored(global, &config),
        Err(error) => running::report_unknown(global.is_styled(), &error),
    }
}

/// The lock survives a restart in the store, and so can be opened there.
fn open_stored(global: &Global, config: &Config) -> Exit {
    match offline::unlock(config) {
        Ok(()) => Exit::Ok,
        Err(error) => offline::report(global, &error),
    }
}
