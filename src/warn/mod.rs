//! Telling a person that a session ends: each moment once, in every way that was asked for.

use crate::secret::Secret;

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
