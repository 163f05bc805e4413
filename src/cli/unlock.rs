//! `unlock`: opens the idle lock, in the running proxy or, where none runs, in the store.

use super::{Exit, Global, offline, output, running};
use crate::{
    admin::client::{Client, ClientError},
    config::Config,
};

/// Exits 0 once it is open. Nothing to open is fine, and is said where nobody has signed in.
pub(super) fn run(global: &Global) -> Exit {
    let config = match global.load(Vec::new()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match running::client(&config) {
        Ok(Some(client)) => match running::runtime() {
            Ok(runtime) => match runtime.block_on(open(&client)) {
                Ok(is_there) => told(is_there),
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

/// Opens the lock of the running proxy, and says whether it has a session.
async fn open(client: &Client) -> Result<bool, ClientError> {
    client.unlock().await?;
    Ok(client.status().await?.identity.is_some())
}

/// The lock survives a restart in the store, and so can be opened there.
fn open_stored(global: &Global, config: &Config) -> Exit {
    match offline::unlock(config) {
        Ok(is_there) => told(is_there),
        Err(error) => offline::report(global, &error),
    }
}

fn told(is_there: bool) -> Exit {
    if !is_there {
        output::to_stderr("nothing to unlock: nobody has signed in");
    }
    Exit::Ok
}
