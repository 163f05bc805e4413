//! Telling the person: every warning that the machine raises, through every channel that is set.
//!
//! The machine has decided already that a warning is due, and that it was not raised before.

mod log;

use tokio::sync::mpsc;

use crate::session::state::Warning;

/// Takes warnings until nobody can raise one any more.
pub async fn run(mut warnings: mpsc::Receiver<Warning>, clock: crate::clock::SharedClock) {
    while let Some(warning) = warnings.recv().await {
        log::tell(&warning, clock.now());
    }
}
