//! What the upstream says, as the client is to hear it.

use std::borrow::Cow;

use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CONNECTION, CONTENT_LOCATION, LOCATION, SET_COOKIE, UPGRADE},
};

use super::{Cookies, hop, inject::Hop, plan::Rule, route};
use crate::{
    message::{Fields, ResponseHead, visible},
    session::snapshot::Snapshot,
};

/// `warn.response_header`.
const SESSION: HeaderName = HeaderName::from_static("cognito-proxy-session");

/// Makes the upstream's fields the client's.
pub(super) fn fields(fields: &mut Fields, rule: &Rule, hop: &Hop) {
    let found = hop::strip_response(fields);
    let upstream = &rule.target.settings;
    if found.location
        && upstream.rewrite_location
        && let Some(local) = hop.local_origin()
    {
        fields.rewrite(
            |name, value| {
                if matches!(*name, LOCATION | CONTENT_LOCATION) { location(value, rule, &local) } else { None }
            },
        );
    }
    if !found.cookies {
        return;
    }
    match upstream.cookies {
        Cookies::Drop => {
            fields.remove(SET_COOKIE);
        }
        Cookies::Rewrite => {
            fields.rewrite(|name, value| if *name == SET_COOKIE { cookie(value, rule) } else { None });
        }
        Cookies::Pass => {}
    }
}

/// What a 426 asks for, which it must say to the client too (RFC 9110 §15.5.22): such an upgrade passes through here.
pub(super) fn offered(head: &ResponseHead) -> Option<HeaderValue> {
    if head.status == StatusCode::UPGRADE_REQUIRED {
        HeaderValue::from_bytes(head.fields.get(UPGRADE)?).ok()
    } else {
        None
    }
}

/// Says to the client that the protocol changes, or could.
pub(super) fn switching(fields: &mut Fields, protocol: HeaderValue) {
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(UPGRADE, protocol);
}

/// Tells the client how long the session lasts.
pub(super) fn session(fields: &mut Fields, snapshot: &Snapshot) {
    let level = snapshot.facts.level.as_str();
    let text = match snapshot.facts.refresh_token.at {
        Some(at) => format!("expires={at}; level={level}"),
        None => format!("level={level}"),
    };
    if let Ok(value) = HeaderValue::from_str(&text) {
        fields.insert(SESSION, value);
    }
}

/// A location at the upstream's own origin, as the client can reach it; `None` where it stays as it is.
fn location(value: &[u8], rule: &Rule, local: &str) -> Option<HeaderValue> {
    let text = &*text(value);
    if let Some(path) = at_origin(text, &rule.target.origin) {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        return as_value(&format!("{local}{}", route::local_path(rule, &path)?));
    }
    if text.starts_with('/') && !names_a_host(text) {
        let path = route::local_path(rule, text)?;
        // What followed the base path may have begun with a slash of its own.
        let origin = if names_a_host(&path) { local } else { "" };
        return as_value(&[origin, &path].concat());
    }
    None
}

/// Whether a reference that begins with a slash is the `//host` of a network-path reference (RFC 3986 §4.2), or one to
/// browsers, which take `\` for `/` and pass over tabs (WHATWG URL standard, "relative slash state").
fn names_a_host(reference: &str) -> bool {
    reference.get(1..).is_some_and(|rest| rest.trim_start_matches('\t').starts_with(['/', '\\']))
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
fn cookie(value: &[u8], rule: &Rule) -> Option<HeaderValue> {
    let text = text(value);
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
    as_value(&rewritten)
}

/// A value as text, one character a byte: what is not ASCII is nobody's to judge, and comes out as it went in.
fn text(value: &[u8]) -> Cow<'_, str> {
    visible(value).map_or_else(|| value.iter().map(|byte| char::from(*byte)).collect(), Cow::Borrowed)
}

/// Such a text as a value again.
fn as_value(text: &str) -> Option<HeaderValue> {
    let bytes: Option<Vec<u8>> = text.chars().map(|character| u8::try_from(character).ok()).collect();
    HeaderValue::from_bytes(&bytes?).ok()
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        cognito::egress::Egress,
        proxy::{
            Plan,
            tests::stage::{settings, upstream},
        },
    };

    fn rule(url: &str) -> Arc<Rule> {
        let plan = Plan::new(&settings(upstream(url)), Duration::from_secs(60), &Egress::new("", ""));
        Arc::clone(&plan.expect("an upstream").rules[0])
    }

    #[test]
    fn a_redirect_within_the_upstream_never_leads_away_for_want_of_its_base() {
        let local = "http://localhost:8900";
        for (base, given, expected) in [
            ("/prod", "/prod/x", "/x"),
            ("/prod", "/prod//evil.example/x", "http://localhost:8900//evil.example/x"),
            ("/prod", "/prod/\\evil.example", "http://localhost:8900/\\evil.example"),
            ("/prod", "/prod/\t/evil.example", "http://localhost:8900/\t/evil.example"),
            ("/prod", "http://api.test/prod//evil.example", "http://localhost:8900//evil.example"),
            ("", "/x//y", "/x//y"),
            // The upstream's own wish.
            ("/prod", "//evil.example/prod/x", "//evil.example/prod/x"),
            ("", "/\\evil.example", "/\\evil.example"),
        ] {
            let value = HeaderValue::from_str(given).expect("a value");
            let is = location(value.as_bytes(), &rule(&format!("http://api.test{base}")), local).unwrap_or(value);
            assert_eq!(is.to_str().expect("text"), expected, "{base} {given:?}");
        }
    }
}
