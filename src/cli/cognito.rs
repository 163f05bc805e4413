//! Cognito, as a command reaches it.

use std::sync::Arc;

use super::keeping;
use crate::{
    clock::SystemClock,
    cognito::{CognitoIssuer, Transport},
    config::Config,
    tls,
};

/// The way to the pool and to what stands beside it: over the system's trust store, by the environment's way out.
pub(super) fn transport() -> Result<Transport, keeping::Error> {
    Ok(Transport::new(tls::client_config(None, None)?))
}

/// Who verifies what the configured pool sends.
pub(super) fn issuer(config: &Config) -> Result<CognitoIssuer, keeping::Error> {
    Ok(CognitoIssuer::new(config.cognito.clone(), transport()?, Arc::new(SystemClock)))
}
