//! Ways to begin a session: today, importing tokens that another program obtained.

pub mod import;

use http::Uri;

/// `[cognito]`, as far as a sign-in goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `domain`: scheme and authority of managed login.
    pub domain: Option<Uri>,
    /// `redirect_uris`, to the letter, in the order in which their ports are tried; never empty.
    pub redirect_uris: Vec<String>,
    /// `scopes`; `openid` is among them.
    pub scopes: Vec<String>,
}
