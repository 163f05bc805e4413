//! Who may use this proxy: the pure check of a request's head, and the identity of a local peer.

use http::HeaderName;

use crate::secret::Secret;

/// `[guard]`, resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `hosts`: HOST (any port) or HOST:PORT.
    pub hosts: Vec<String>,
    /// `origins`: exact browser origins.
    pub origins: Vec<String>,
    /// `users`: names, uids, `self`, `any`.
    pub users: Vec<String>,
    /// The content of `client_key_file`.
    pub client_key: Option<Secret>,
    /// `require_header`.
    pub require_header: Option<HeaderName>,
}
