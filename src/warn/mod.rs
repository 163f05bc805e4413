//! Telling the person: every warning that the machine raises, through every channel that is set.
//!
//! The machine has decided already that a warning is due, and that it was not raised before.

mod log;

use tokio::sync::mpsc;

use crate::{clock::SharedClock, secret::Secret, session::state::Warning};

/// `[warn]`, apart from `before`, which the session machine decides by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `desktop`: a notification on the user's desktop, where there is one.
    pub desktop: bool,
    /// `command`: a program and its arguments.
    pub command: Option<Vec<String>>,
    /// The content of `webhook_url_file`: such URLs are secrets.
    pub webhook_url: Option<Secret>,
}

/// Takes warnings until nobody can raise one any more.
pub async fn run(mut warnings: mpsc::Receiver<Warning>, clock: SharedClock) {
    while let Some(warning) = warnings.recv().await {
        log::tell(&warning, clock.now());
    }
}
