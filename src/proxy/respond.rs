//! What the upstream says, as the client is to hear it.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONNECTION, CONTENT_LOCATION, LOCATION, SET_COOKIE, UPGRADE},
};

use super::{Cookies, hop, inject::Hop, plan::Rule, route};
use crate::session::snapshot::Snapshot;

/// `warn.response_header`.
const SESSION: HeaderName = HeaderName::from_static("cognito-proxy-session");

/// Makes the upstream's header the client's.
pub(super) fn headers(headers: &mut HeaderMap, rule: &Rule, hop: &Hop) {
    let found = hop::strip_response(headers);
    let upstream = &rule.target.settings;
    if found.location
        && upstream.rewrite_location
        && let Some(local) = hop.local_origin()
    {
        for name in [LOCATION, CONTENT_LOCATION] {
            if let Some(value) = headers.get(&name).and_then(|value| location(value, rule, &local)) {
                headers.insert(name, value);
            }
        }
    }
    if !found.cookies {
        return;
    }
    match upstream.cookies {
        Cookies::Drop => drop(headers.remove(SET_COOKIE)),
        Cookies::Rewrite => {
            let cookies: Vec<HeaderValue> = headers
                .get_all(SET_COOKIE)
                .iter()
                .map(|value| cookie(value, rule).unwrap_or_else(|| value.clone()))
                .collect();
            headers.remove(SET_COOKIE);
            for cookie in cookies {
                headers.append(SET_COOKIE, cookie);
            }
        }
        Cookies::Pass => {}
    }
}

/// Says to the client that the protocol changes.
pub(super) fn switching(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Tells the client how long the session lasts.
pub(super) fn session(headers: &mut HeaderMap, snapshot: &Snapshot) {
    let level = snapshot.facts.level.as_str();
    let text = match snapshot.facts.refresh_token.at {
        Some(at) => format!("expires={at}; level={level}"),
        None => format!("level={level}"),
    };
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(SESSION, value);
    }
}

/// A location at the upstream's own origin, as the client can reach it; `None` where it stays as it is.
fn location(value: &HeaderValue, rule: &Rule, local: &str) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    if let Some(path) = at_origin(text, &rule.target.origin) {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        return HeaderValue::from_str(&format!("{local}{}", route::local_path(rule, &path)?)).ok();
    }
    // An absolute path, which is not the `//host` of a network-path reference (RFC 3986 §4.2).
    if text.starts_with('/') && !text.starts_with("//") {
        return HeaderValue::from_str(&route::local_path(rule, text)?).ok();
    }
    None
}

/// What follows `origin` in `text`, where that is what it begins with, its default port written or not.
fn at_origin<'a>(text: &'a str, origin: &str) -> Option<&'a str> {
    let start = text.get(..origin.len())?;
    if !start.eq_ignore_ascii_case(origin) {
        return None;
    }
    let rest = &text[origin.len()..];
    let default_port = if origin.starts_with("https:") { ":443" } else { ":80" };
    let has_port = origin.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let rest = if has_port { rest } else { rest.strip_prefix(default_port).unwrap_or(rest) };
    (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then_some(rest)
}

/// A cookie that a plain HTTP client on localhost keeps and sends back: without `Domain` and `Secure`, with a `Path`
/// that it sees. `__Host-` and `__Secure-` promise what is removed here, so they stay as they are (RFC 6265bis §4.1.3).
fn cookie(value: &HeaderValue, rule: &Rule) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    let mut attributes = text.split(';');
    let pair = attributes.next()?;
    let name = pair.trim_start();
    let is_bound = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if is_bound("__Host-") || is_bound("__Secure-") {
        return None;
    }
    let mut rewritten = pair.to_owned();
    for attribute in attributes {
        let (key, content) = attribute.split_once('=').map_or((attribute, ""), |(key, content)| (key, content.trim()));
        match key.trim().to_ascii_lowercase().as_str() {
            "domain" | "secure" => {}
            "samesite" if content.eq_ignore_ascii_case("none") => rewritten.push_str("; SameSite=Lax"),
            "path" => {
                let path = route::local_path(rule, content).unwrap_or_else(|| content.to_owned());
                rewritten.push_str("; Path=");
                rewritten.push_str(&path);
            }
            _ => {
                rewritten.push(';');
                rewritten.push_str(attribute);
            }
        }
    }
    HeaderValue::from_str(&rewritten).ok()
}
