//! Ways to begin a session: in a browser, with a password, and by importing tokens that another program obtained.

pub mod browser;
pub mod import;
pub mod password;

use http::Uri;

use crate::{
    secret::Secret,
    session::{Device, Grant},
};

/// What a sign-in brings, whichever way it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obtained {
    /// The tokens, verified.
    pub grant: Grant,
    /// The refresh token that came with them.
    pub refresh_token: Secret,
    /// The device that the pool remembers from now on, where it does.
    pub device: Option<Device>,
}

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
