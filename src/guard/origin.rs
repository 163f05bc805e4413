//! Browser origins (RFC 6454 §6.2): the entries of `guard.origins`, and whether a request's is the proxy's own.

use std::fmt;

use http::HeaderValue;

use super::authority::{Authority, AuthorityError, Host};

/// An entry of `guard.origins`, in the form in which browsers send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// Why a text is no entry of `guard.origins`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// `null`: what sandboxed frames, files and redirect chains send, that is anybody.
    #[error("\"null\" is the origin of anybody's sandboxed page or file, and cannot be admitted")]
    Null,
    /// A `*`.
    #[error("{0:?}: origins are exact; list each one, without \"*\"")]
    Wildcard(String),
    /// There is no `SCHEME://`.
    #[error("{0:?} is no origin; write SCHEME://HOST or SCHEME://HOST:PORT, as in \"http://localhost:3000\"")]
    Scheme(String),
    /// A path, a query or a fragment.
    #[error("{text:?} is more than an origin; write {origin:?}")]
    Path {
        /// The entry.
        text: String,
        /// What of it is the origin.
        origin: String,
    },
    /// What follows the scheme is no host and port.
    #[error("{text:?} is no origin: {source}")]
    Authority {
        /// The entry.
        text: String,
        /// What is wrong with it.
        source: AuthorityError,
    },
}

impl Origin {
    /// Reads an entry of `guard.origins`.
    ///
    /// Any scheme will do: extensions and desktop shells have origins of their own (`chrome-extension://…`,
    /// `tauri://localhost`).
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        if text.eq_ignore_ascii_case("null") {
            return Err(OriginError::Null);
        }
        if text.contains('*') {
            return Err(OriginError::Wildcard(text.to_owned()));
        }
        let no_scheme = || OriginError::Scheme(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(no_scheme)?;
        let scheme = scheme.to_ascii_lowercase();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if !scheme.starts_with(|first: char| first.is_ascii_lowercase()) || !scheme.bytes().all(legal) {
            return Err(no_scheme());
        }
        if let Some(end) = rest.find(['/', '?', '#']) {
            let origin = format!("{scheme}://{}", &rest[..end]);
            return Err(OriginError::Path { text: text.to_owned(), origin });
        }
        let authority =
            Authority::parse(rest).map_err(|source| OriginError::Authority { text: text.to_owned(), source })?;
        let serialised = serialise(&scheme, &authority);
        // Everything in it has been found to be plain ASCII.
        HeaderValue::try_from(serialised).map(Self).map_err(|_| no_scheme())
    }

    /// As a browser writes it: lower case, without the scheme's own port.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The value of `Access-Control-Allow-Origin` for it.
    pub(super) const fn value(&self) -> &HeaderValue {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn serialise(scheme: &str, authority: &Authority<'_>) -> String {
    let host = match authority.host {
        Host::Name(name) => name.to_ascii_lowercase(),
        Host::Ip(std::net::IpAddr::V4(address)) => address.to_string(),
        Host::Ip(std::net::IpAddr::V6(address)) => format!("[{address}]"),
    };
    let own_port = match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    };
    match authority.port {
        Some(port) if Some(port) != own_port => format!("{scheme}://{host}:{port}"),
        Some(_) | None => format!("{scheme}://{host}"),
    }
}

/// Whether `origin`, from a request, is `http://` and the `accepted` Host of that same request: a page that was itself
/// served through the proxy.
pub(super) fn is_own(origin: &str, accepted: &Authority<'_>) -> bool {
    origin
        .strip_prefix("http://")
        .and_then(|authority| Authority::parse(authority).ok())
        .is_some_and(|authority| authority == *accepted)
}

/// The origin of a `Referer`: everything before the path.
pub(super) fn of_referer(referer: &str) -> &str {
    let Some(authority) = referer.find("://").map(|colon| colon + 3) else {
        return "";
    };
    let end = referer[authority..].find(['/', '?', '#']).map_or(referer.len(), |end| authority + end);
    &referer[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_kept_as_browsers_send_them() {
        for (text, serialised) in [
            ("http://localhost:3000", "http://localhost:3000"),
            ("HTTP://LocalHost:80", "http://localhost"),
            ("https://app.example:443", "https://app.example"),
            ("http://[0:0::1]:3000", "http://[::1]:3000"),
            ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
            ("tauri://localhost", "tauri://localhost"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().as_str(), serialised);
        }
    }

    #[test]
    fn what_admits_anybody_or_nobody_is_an_error() {
        for (text, words) in [
            ("null", "cannot be admitted"),
            ("NULL", "cannot be admitted"),
            ("*", "without \"*\""),
            ("http://*.example", "without \"*\""),
            ("localhost:3000", "SCHEME://HOST"),
            ("://x", "SCHEME://HOST"),
            ("http://localhost:3000/", "write \"http://localhost:3000\""),
            ("http://user@localhost", "'@'"),
            ("http://", "no host"),
            ("http://bücher.example", "'ü'"),
        ] {
            let error = Origin::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_origin_of_a_referer_ends_where_the_path_begins() {
        for (referer, origin) in [
            ("http://localhost:3000/a?b#c", "http://localhost:3000"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://localhost:3000?x", "http://localhost:3000"),
            ("about:blank", ""),
            ("http://localhost:3000.evil.example/http://localhost:3000/", "http://localhost:3000.evil.example"),
            ("http://localhost:3000@evil.example/", "http://localhost:3000@evil.example"),
        ] {
            assert_eq!(of_referer(referer), origin);
        }
    }
}
