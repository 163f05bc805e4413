//! What the access log says of a request's path.
//!
//! A log is read by more people than may act as the user, so what may be a secret is left out: the query as a whole,
//! which holds codes and keys; path parameters, where old servers put their session's id (RFC 3986 §3.3); and segments
//! that are a JWT or longer than any name that a person gives. What else a path says stands in the log.

use std::borrow::Cow;

/// A longer segment is no name: a UUID has 36 characters, a SHA-256 in hexadecimal digits 64.
const LONGEST_SEGMENT: usize = 64;

/// How every JWT begins: `{"` in base64url.
const JWT: &str = "eyJ";

/// What stands for what is left out.
const LEFT_OUT: &str = "…";

/// `path`, without its query, as it may be logged.
pub(super) fn loggable(path: &str) -> Cow<'_, str> {
    if path.split('/').all(is_plain) {
        return Cow::Borrowed(path);
    }
    let mut shown = String::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            shown.push('/');
        }
        let (name, parameters) = segment.split_once(';').map_or((segment, None), |(name, rest)| (name, Some(rest)));
        shown.push_str(if is_plain(name) { name } else { LEFT_OUT });
        if parameters.is_some() {
            shown.push(';');
            shown.push_str(LEFT_OUT);
        }
    }
    Cow::Owned(shown)
}

fn is_plain(segment: &str) -> bool {
    segment.len() <= LONGEST_SEGMENT && !segment.contains(';') && !segment.contains(JWT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_and_what_may_be_a_secret_is_not() {
        let (digest, key) = ("0".repeat(64), "k".repeat(65));
        for (path, shown) in [
            ("/", "/".to_owned()),
            ("*", "*".into()),
            (
                "/orders/6a4f9b1e-0c10-4721-890f-42d1dbff29b5/lines",
                "/orders/6a4f9b1e-0c10-4721-890f-42d1dbff29b5/lines".into(),
            ),
            (&format!("/objects/{digest}"), format!("/objects/{digest}")),
            (&format!("/reset/{key}/now"), "/reset/…/now".into()),
            ("/verify/eyJhbGciOiJSUzI1NiJ9.e30.x", "/verify/…".into()),
            ("/verify/token=eyJhbGciOiJSUzI1NiJ9", "/verify/…".into()),
            ("/shop;jsessionid=1A2B/cart;v=1", "/shop;…/cart;…".into()),
            ("//a///b", "//a///b".into()),
        ] {
            assert_eq!(loggable(path), shown);
        }
    }
}
