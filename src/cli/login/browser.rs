//! `login --method browser`: not there yet.

use tokio::runtime::Runtime;

use super::{
    super::{Exit, keeping},
    LoginArgs,
};
use crate::{config::Config, signin::Obtained};

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The store, or the proxy that runs.
    #[error(transparent)]
    Keeping(#[from] keeping::Error),
    /// To be replaced.
    #[error("signing in by browser is not available yet")]
    Unavailable,
}

impl Error {
    /// What mends it, where that can be said.
    pub(super) fn fix(&self) -> Option<String> {
        match self {
            Self::Keeping(error) => error.fix(),
            Self::Unavailable => {
                Some("sign in with the AWS CLI, and hand the answer over to cognito-proxy import".into())
            }
        }
    }

    /// The code to exit with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Keeping(error) => error.exit(),
            Self::Unavailable => Exit::Other,
        }
    }
}

/// Signs in in a browser.
pub(super) fn sign_in(_config: &Config, args: &LoginArgs, _runtime: &Runtime) -> Result<Obtained, Error> {
    let _ = (&args.no_browser, &args.user, &args.timeout, &args.qr);
    Err(Error::Unavailable)
}
