//! The story of one request: checked, routed, given its token, sent on, and its response given back.
//!
//! Owns everything between the server and the upstream. Never decides who may ask (`guard`), nor when a token is
//! refreshed: its only words backwards are [`renewed`](crate::current::CurrentToken::renewed) and
//! [`accepted`](crate::current::CurrentToken::accepted).

mod body;
mod check;
mod connect;
mod duplex;
mod failure;
mod forward;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod h1;
mod h2;
mod hop;
mod inject;
mod plan;
mod pool;
mod rehearsal;
mod respond;
mod route;
mod upgrade;
mod upload;
mod worker;

use std::{path::PathBuf, time::Duration};

use http::{HeaderName, Uri};

use crate::session::TokenKind;

pub use self::{
    body::Body,
    plan::{Plan, PlanError, Routing},
    rehearsal::Rehearsal,
    worker::{Proxy, pseudonym},
};

/// `[upstream]`, `[inject]` and `[[route]]`, resolved: every route states all that it needs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[[route]]`, in the order of the file.
    pub routes: Vec<Route>,
    /// Where what matches no route goes: `[upstream]` and `[inject]` as they are.
    pub default_route: Route,
    /// `warn.response_header`.
    pub session_header: bool,
}

/// One route, with what it does not set taken from `[upstream]` and `[inject]`.
#[derive(Clone, Debug)]
pub struct Route {
    /// The path prefix that it matches on segment boundaries; `/` for the default route.
    pub path: String,
    /// Where it leads.
    pub upstream: Upstream,
    /// What is injected; `None` for `inject = false`.
    pub inject: Option<Inject>,
    /// Whether `path` is removed before the request is sent on.
    pub strip_prefix: bool,
}

/// `[inject]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inject {
    /// Which token.
    pub token: TokenKind,
    /// Into which header.
    pub header: HeaderName,
    /// The header's value around the token.
    pub format: Format,
    /// What happens to the client's own header of that name.
    pub client_value: ClientValue,
}

/// A header value with one place for the token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    /// What stands before `{token}`.
    pub prefix: String,
    /// What stands after it.
    pub suffix: String,
}

/// `inject.client_value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientValue {
    /// Ours replaces it.
    Replace,
    /// The client's stays, and ours is not added.
    Keep,
    /// The request is refused.
    Reject,
}

/// `[upstream]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// `url`: scheme, authority and base path.
    pub url: Uri,
    /// `http`.
    pub http: HttpVersion,
    /// `preserve_host`.
    pub preserve_host: bool,
    /// `forwarded`.
    pub forwarded: bool,
    /// `ca_file`.
    pub ca_file: Option<PathBuf>,
    /// `client_cert_file` and `client_key_file`.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// `connect_timeout`.
    pub connect_timeout: Duration,
    /// `response_header_timeout`.
    pub response_header_timeout: Duration,
    /// `idle_timeout` of pooled connections.
    pub idle_timeout: Duration,
    /// `max_connections`, of each worker.
    pub max_connections: usize,
    /// `cookies`.
    pub cookies: Cookies,
    /// `rewrite_location`.
    pub rewrite_location: bool,
}

/// `upstream.http`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// By ALPN on `https`, HTTP/1.1 on `http`.
    Auto,
    /// HTTP/1.1.
    H1,
    /// HTTP/2; on `http` by prior knowledge (RFC 9113 §3.3).
    H2,
}

/// `upstream.cookies`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookies {
    /// Without `Domain`, and without `Secure` where the listener is plain HTTP.
    Rewrite,
    /// As they are.
    Pass,
    /// Not at all.
    Drop,
}

#[cfg(test)]
mod tests;
