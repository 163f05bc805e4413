//! Hop-by-hop fields, and others that must not pass: found in one pass over the header, by the length of their names.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH,
        CONTENT_LOCATION, CONTENT_TYPE, COOKIE, FORWARDED, HOST, LOCATION, ORIGIN, PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION, REFERER, SET_COOKIE, TE, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
    },
};

use crate::{guard::CLIENT_KEY, message::Fields};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What of the removed fields still matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    /// `TE` had `trailers` in it.
    pub(super) wants_trailers: bool,
    /// `Upgrade`, where `Connection` had `upgrade` in it.
    pub(super) upgrade: Option<HeaderValue>,
    /// How many fields spelt one of ours with an underscore.
    pub(super) disguised: usize,
}

/// Removes from a request what is for this hop (RFC 9110 §7.6.1), what only a proxy may say of a client (`Forwarded`
/// and its forerunners), our own client key, and every field that would read as one of those, or as `injected`, once
/// somebody turns `_` into `-` (as CGI does).
pub(super) fn strip_request(fields: &mut Fields, injected: Option<&HeaderName>) -> Removed {
    let mut removed = Removed::default();
    let (mut upgrades, mut nominated) = (false, Vec::new());
    // With one in it, anything may be its double.
    let has_joint = injected.is_some_and(|injected| injected.as_str().contains('_'));
    fields.retain(|name, value| {
        if is_plain(name) && !has_joint {
            return true;
        }
        match *name {
            CONNECTION => {
                upgrades |= members(value).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
                nominate(value, &mut nominated);
            }
            TE => removed.wants_trailers |= members(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers")),
            UPGRADE if removed.upgrade.is_none() => removed.upgrade = HeaderValue::from_bytes(value).ok(),
            _ => {}
        }
        let text = name.as_str();
        if is_for_us(text) && injected != Some(name) {
            return false;
        }
        let is_disguised = is_disguised(text, injected);
        removed.disguised += usize::from(is_disguised);
        !is_disguised
    });
    if !upgrades {
        removed.upgrade = None;
    }
    strip_nominated(fields, nominated);
    removed
}

/// What else a response has that may have to be rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// `Location` or `Content-Location`.
    pub(super) location: bool,
    /// `Set-Cookie`.
    pub(super) cookies: bool,
}

/// Removes from a request's trailers what may not stand there: what would not pass in the header either, and what says
/// who asks, for whom, or how long the message is (RFC 9110 §6.5.1). An upstream that merges trailers into the header
/// would find it there beside ours.
pub(super) fn strip_request_trailers(trailers: &mut HeaderMap, injected: Option<&HeaderName>) {
    let mut fields = Fields::from(std::mem::take(trailers));
    strip_request(&mut fields, injected);
    fields.retain(|name, _| {
        ![AUTHORIZATION, COOKIE, HOST, CONTENT_LENGTH].contains(name)
            && injected.is_none_or(|injected| injected != name)
    });
    *trailers = fields.to_map();
}

/// Removes from a response's trailers what [`strip_response`] removes from its header, and cookies, which the settings
/// would have rewritten there.
pub(super) fn strip_response_trailers(trailers: &mut HeaderMap) {
    let may_not_stand = |name: &HeaderName| matches!(*name, AUTHORIZATION | SET_COOKIE) || is_hop_by_hop(name.as_str());
    // Those of every gRPC response are only looked at.
    if trailers.keys().any(may_not_stand) {
        let mut fields = Fields::from(std::mem::take(trailers));
        strip_response(&mut fields);
        fields.remove(SET_COOKIE);
        *trailers = fields.to_map();
    }
}

/// Removes from a response what is for this hop, and credentials, which have no business there.
pub(super) fn strip_response(fields: &mut Fields) -> Found {
    let mut found = Found::default();
    let mut nominated = Vec::new();
    fields.retain(|name, value| {
        match *name {
            CONNECTION => nominate(value, &mut nominated),
            LOCATION | CONTENT_LOCATION => found.location = true,
            SET_COOKIE => found.cookies = true,
            AUTHORIZATION => return false,
            _ => {}
        }
        !is_hop_by_hop(name.as_str())
    });
    strip_nominated(fields, nominated);
    found
}

/// The members of a comma-separated field (RFC 9110 §5.6.1), which need not be text to the last.
pub(super) fn list(fields: &Fields, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    fields.get_all(name).flat_map(members)
}

/// Those of one line of it.
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Whether a field is one of those that nearly every request has. None of them is for us, nor like anything that is.
const fn is_plain(name: &HeaderName) -> bool {
    matches!(
        *name,
        ACCEPT
            | ACCEPT_ENCODING
            | ACCEPT_LANGUAGE
            | AUTHORIZATION
            | CACHE_CONTROL
            | CONTENT_LENGTH
            | CONTENT_TYPE
            | COOKIE
            | HOST
            | ORIGIN
            | REFERER
            | USER_AGENT
    )
}

fn is_hop_by_hop(name: &str) -> bool {
    match name.len() {
        2 => name == TE.as_str(),
        7 => name == UPGRADE.as_str(),
        10 => name == CONNECTION.as_str() || name == KEEP_ALIVE.as_str(),
        14 => name == HTTP2_SETTINGS.as_str(),
        16 => name == PROXY_CONNECTION.as_str(),
        17 => name == TRANSFER_ENCODING.as_str(),
        18 => name == PROXY_AUTHENTICATE.as_str(),
        19 => name == PROXY_AUTHORIZATION.as_str(),
        _ => false,
    }
}

fn speaks_of_the_client(name: &str) -> bool {
    match name.len() {
        9 => name == FORWARDED.as_str() || name == "x-real-ip",
        12.. => name.starts_with("x-forwarded-") || name == CLIENT_KEY.as_str(),
        _ => false,
    }
}

/// What is for this hop, or only a proxy may say. What begins with `proxy-` is said to a proxy (RFC 9110 §7.6.1), and we
/// are the last one that may hear it.
fn is_for_us(name: &str) -> bool {
    is_hop_by_hop(name) || speaks_of_the_client(name) || name.starts_with("proxy-")
}

/// Whether a field reads as one of ours, or as the injected one, once `_` and `-` are the same.
fn is_disguised(name: &str, injected: Option<&HeaderName>) -> bool {
    if injected.is_some_and(|injected| is_double(name.as_bytes(), injected.as_str().as_bytes())) {
        return true;
    }
    name.as_bytes().contains(&b'_') && {
        let plain = name.replace('_', "-");
        is_for_us(&plain) || plain == CONTENT_LENGTH.as_str()
    }
}

/// Whether two names differ, and only in `_` and `-`.
fn is_double(name: &[u8], of: &[u8]) -> bool {
    let is_joint = |octet: u8| octet == b'_' || octet == b'-';
    name.len() == of.len() && name != of && name.iter().zip(of).all(|(a, b)| a == b || (is_joint(*a) && is_joint(*b)))
}

/// Adds what a line of `Connection` nominates, save for what no client may have removed.
fn nominate(connection: &[u8], nominated: &mut Vec<HeaderName>) {
    for option in members(connection) {
        // What nearly every `Connection` says: of the connection itself, or fields that do not pass anyway.
        if [&b"keep-alive"[..], b"close", b"upgrade", b"te"].iter().any(|known| option.eq_ignore_ascii_case(known)) {
            continue;
        }
        if let Ok(name) = HeaderName::from_bytes(option)
            && ![HOST, CONTENT_LENGTH, AUTHORIZATION, COOKIE, SET_COOKIE].contains(&name)
        {
            nominated.push(name);
        }
    }
}

/// Removes what was nominated. However much that is, each field is looked up in it once.
fn strip_nominated(fields: &mut Fields, mut nominated: Vec<HeaderName>) {
    if nominated.is_empty() {
        return;
    }
    nominated.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    fields.retain(|name, _| nominated.binary_search_by(|known| known.as_str().cmp(name.as_str())).is_err());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<F: FromIterator<(HeaderName, HeaderValue)>>(lines: &[(&'static str, &'static str)]) -> F {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn names(fields: &Fields) -> Vec<&str> {
        let mut names: Vec<_> = fields.names().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_is_for_this_hop_ends_here() {
        let mut request = headers(&[
            ("host", "a"),
            ("authorization", "b"),
            ("content-length", "0"),
            ("x-secret", "c"),
            ("accept", "d"),
            ("connection", "close, X-Secret , Authorization, Host, content-length"),
            ("keep-alive", "e"),
            ("proxy-foo", "f"),
            ("te", "gzip, trailers"),
            ("upgrade", "websocket"),
            ("http2-settings", "f"),
            ("proxy-authorization", "g"),
            ("proxy-authenticate", "h"),
            ("proxy-connection", "i"),
            ("transfer-encoding", "chunked"),
        ]);
        let removed = strip_request(&mut request, None);
        assert_eq!(names(&request), ["accept", "authorization", "content-length", "host"]);
        assert_eq!(removed, Removed { wants_trailers: true, upgrade: None, disguised: 0 });
    }

    #[test]
    fn an_upgrade_counts_where_connection_says_so() {
        let mut request = headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(strip_request(&mut request, None).upgrade, Some(HeaderValue::from_static("websocket")));
        assert!(request.is_empty());
    }

    #[test]
    fn what_a_client_says_of_itself_is_dropped_in_every_spelling() {
        let mut request = headers(&[
            ("forwarded", "for=a"),
            ("x-forwarded-for", "a"),
            ("x-forwarded-proto", "a"),
            ("x-forwarded-anything", "a"),
            ("x-real-ip", "a"),
            ("cognito-proxy-key", "a"),
            ("x_forwarded_for", "a"),
            ("proxy_authorization", "a"),
            ("x_api_token", "a"),
            ("transfer_encoding", "a"),
            ("proxy_anything", "a"),
            ("content_length", "a"),
            ("my_header", "stays"),
            ("x-forward", "stays"),
        ]);
        let removed = strip_request(&mut request, Some(&HeaderName::from_static("x-api-token")));
        assert_eq!(names(&request), ["my_header", "x-forward"]);
        assert_eq!(removed.disguised, 6);
    }

    #[test]
    fn the_injected_header_has_no_double() {
        for (injected, doubles, others) in [
            ("x-api-token", &["x_api_token", "x-api_token"][..], &["x-api-token", "x-api-tokens", "xxapi-token"][..]),
            ("x_api_token", &["x-api-token", "x_api-token"], &["x_api_token"]),
            ("proxy-token", &["proxy_token"], &["proxy-token"]),
        ] {
            let lines: Vec<_> = doubles.iter().chain(others).map(|name| (*name, "a")).collect();
            let mut request = headers(&lines);
            let removed = strip_request(&mut request, Some(&HeaderName::from_static(injected)));
            let mut expected = others.to_vec();
            expected.sort_unstable();
            assert_eq!((names(&request), removed.disguised), (expected, doubles.len()), "{injected}");
        }
    }

    #[test]
    fn trailers_carry_no_credentials_and_nothing_that_the_header_may_not() {
        let lines = [
            ("authorization", "a"),
            ("x-api-token", "b"),
            ("x_api_token", "c"),
            ("cognito-proxy-key", "d"),
            ("x-forwarded-for", "e"),
            ("cookie", "f"),
            ("host", "g"),
            ("content-length", "0"),
            ("set-cookie", "h"),
            ("checksum", "i"),
        ];
        let mut request = headers(&lines);
        strip_request_trailers(&mut request, Some(&HeaderName::from_static("x-api-token")));
        assert_eq!(names(&request.into()), ["checksum", "set-cookie"]);
        let mut response = headers(&[("authorization", "a"), ("set-cookie", "b"), ("grpc-status", "0")]);
        strip_response_trailers(&mut response);
        assert_eq!(names(&response.into()), ["grpc-status"]);
    }

    #[test]
    fn responses_carry_no_credentials_and_nothing_of_their_hop() {
        let mut response = headers(&[
            ("authorization", "a"),
            ("connection", "x-internal"),
            ("x-internal", "b"),
            ("proxy-authenticate", "c"),
            ("set-cookie", "d"),
            ("proxy-status", "e"),
        ]);
        strip_response(&mut response);
        assert_eq!(names(&response), ["proxy-status", "set-cookie"]);
    }
}
