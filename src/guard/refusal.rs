//! What the guard says when it refuses, and the key that would have admitted the request.
//!
//! The words may quote what the client itself sent, cut short and without control characters; never a key.

use std::fmt::Write as _;

use http::HeaderName;

use super::authority::{Authority, AuthorityError, Host};
use crate::reply::{Code, Refusal};

/// How much of a client's own words is quoted.
const QUOTED: usize = 100;

fn quoted(value: &[u8]) -> String {
    String::from_utf8_lossy(value)
        .chars()
        .take(QUOTED)
        .map(|character| if character.is_control() { '?' } else { character })
        .collect()
}

fn written(authority: &Authority<'_>) -> String {
    let mut text = match authority.host {
        Host::Name(name) => name.chars().take(QUOTED).collect(),
        Host::Ip(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        Host::Ip(address) => address.to_string(),
    };
    if let Some(port) = authority.port {
        // Writing to a String cannot fail.
        let _ = write!(text, ":{port}");
    }
    text
}

pub(super) fn connect() -> Refusal {
    Refusal::new(
        Code::MethodRefused,
        "this is no forward proxy: CONNECT is refused",
        "use the proxy's own address as the base URL, not as a proxy setting",
    )
}

pub(super) fn no_host() -> Refusal {
    Refusal::new(
        Code::BadRequest,
        "the request has no Host header",
        "send one Host header with the proxy's own address",
    )
}

pub(super) fn many_hosts() -> Refusal {
    Refusal::new(Code::BadRequest, "the request has more than one Host header", "send one Host header")
}

pub(super) fn odd_host() -> Refusal {
    Refusal::new(
        Code::BadRequest,
        "the Host header is not ASCII text",
        "send one Host header with the proxy's own address",
    )
}

pub(super) fn bad_host(error: AuthorityError) -> Refusal {
    Refusal::new(
        Code::BadRequest,
        format!("the request's host is none: {error}"),
        "send one Host header with the proxy's own address",
    )
}

pub(super) fn authority_differs() -> Refusal {
    Refusal::new(Code::BadRequest, ":authority and Host differ", "send :authority alone")
}

pub(super) fn target_differs() -> Refusal {
    Refusal::new(
        Code::HostNotAllowed,
        "the request's target names another host than its Host header",
        "use the proxy's own address as the base URL, not as a proxy setting",
    )
}

pub(super) fn host(authority: &Authority<'_>) -> Refusal {
    let host = written(authority);
    Refusal::new(
        Code::HostNotAllowed,
        format!("{host} is no name of this proxy"),
        format!("use localhost with the proxy's port, or if this name is yours add \"{host}\" to guard.hosts"),
    )
}

pub(super) fn user(uid: u32) -> Refusal {
    Refusal::new(
        Code::PeerNotAllowed,
        format!("the connecting process belongs to uid {uid}, who is not in guard.users"),
        format!("add \"{uid}\" to guard.users, or run the client as a user who is there"),
    )
}

pub(super) fn unknown_user() -> Refusal {
    Refusal::new(
        Code::PeerNotAllowed,
        "it cannot be told which user the connecting process belongs to",
        "connect from a process of a user in guard.users on this machine, and keep the connection open for the reply",
    )
}

pub(super) fn remote() -> Refusal {
    Refusal::new(
        Code::PeerNotAllowed,
        "the client is on another machine, and no client key is set",
        "set guard.client_key_file, and send the key as Cognito-Proxy-Key",
    )
}

pub(super) fn origin(value: &[u8]) -> Refusal {
    let origin = quoted(value);
    let fix = if origin.eq_ignore_ascii_case("null") {
        "serve the page from an http:// or https:// origin and add that to guard.origins; \"null\" is never admitted"
            .into()
    } else {
        format!("if this page may use your session, add \"{origin}\" to guard.origins")
    };
    Refusal::new(Code::OriginNotAllowed, format!("the origin {origin} is not in guard.origins"), fix)
}

pub(super) fn cross_site() -> Refusal {
    Refusal::new(
        Code::CrossSite,
        "a browser says that a page of another origin makes this request",
        "open the address itself, or add the page's origin to guard.origins",
    )
}

pub(super) fn admin_origin(value: &[u8]) -> Refusal {
    Refusal::new(
        Code::OriginNotAllowed,
        format!("a page of {} may not use the admin listener", quoted(value)),
        "open the status page itself; guard.origins does not apply to the admin listener",
    )
}

pub(super) fn admin_site() -> Refusal {
    Refusal::new(
        Code::CrossSite,
        "a browser says that a page of another origin leads here",
        "type or paste the address; guard.origins does not apply to the admin listener",
    )
}

pub(super) fn client_key(is_wrong: bool) -> Refusal {
    Refusal::new(
        Code::ClientKeyRequired,
        if is_wrong { "the client key is wrong" } else { "the client key is missing" },
        "send the content of guard.client_key_file as Cognito-Proxy-Key",
    )
}

pub(super) fn header(name: &HeaderName) -> Refusal {
    Refusal::new(
        Code::HeaderRequired,
        format!("the header {name} is missing"),
        format!("send {name} with any value; guard.require_header asks for it"),
    )
}
