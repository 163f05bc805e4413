//! What holds for the rewriting of heads, whatever bytes come: looked for by the fuzzer, and run on the seeds by a test.
//! Only in those builds.
//!
//! The rules are written anew here, in another way than where they are kept: both would have to be wrong alike.
#![allow(clippy::missing_panics_doc, clippy::panic, reason = "a property that does not hold fails loudly")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Uri, Version,
    header::{CONNECTION, TE, UPGRADE, VIA},
    uri::PathAndQuery,
};

use super::{
    ClientValue, Cookies, Format, HttpVersion, Inject, Plan, Route, Settings, Upstream,
    check::Rare,
    hop,
    inject::{self, Hop, Mark},
    plan::Rule,
    respond, route,
};
use crate::{
    cognito::egress::Egress,
    guard::HostPattern,
    listen::{Connection, Local, Peer},
    message::{Fields, RequestHead, visible},
    session::TokenKind,
};

/// A property by its name, with inputs to begin from.
pub type Target = (&'static str, fn(&[u8]), &'static [&'static str]);

/// Every property of this room.
pub const TARGETS: [Target; 3] =
    [("request_head", request_head, REQUESTS), ("response_head", response_head, RESPONSES), ("path", path, PATHS)];

/// The first byte says how the route is configured, see [`Case`]; then come the lines.
const REQUESTS: &[&str] = &[
    "\0GET /x\nhost: localhost:8900\nauthorization: Bearer mine\nauthorization: Basic b",
    "\0GET /x\nhost: localhost\nconnection: close, X-Secret, Authorization, Host\nx-secret: a\nkeep-alive: b\nte: trailers",
    "\x01GET /x\nhost: localhost\nx-api-token: a\nx_api_token: b\nX_API-TOKEN: c\ncognito_proxy_key: d\nproxy_foo: e",
    "\x02GET /x\nhost: localhost\nx-api-token: a\nx_api_token: b",
    "\x04GET /a\nhost: [::1]:8900\nx-forwarded-for: 1\nforwarded: for=1\nx_real_ip: 1",
    "\x08GET /a\nhost: localhost:8900\norigin: http://localhost:8900\nreferer: http://localhost:8900/a?b",
    "\x10GET /a?b\nhost: localhost\nupgrade: websocket\nconnection: upgrade",
    "\x60GET /mcp/a\nhost: localhost\nexpect: 100-continue\nvia: 1.1 other",
    "\u{1}GET /x\nhost: localhost\ncookie: a=1\ncookie: b=2",
];

const RESPONSES: &[&str] = &[
    "\0location: http://api.example.com/x",
    "\x20location: http://api.example.com/prod/x?y#z\ncontent-location: /prod/x",
    "\x20location: /prod//evil.example/x",
    "\x20location: /prod/\\evil.example",
    "\x60location: http://api.example.com:80/prod",
    "\0location: //evil.example/x",
    "\0location: https://evil.example/\nconnection: x-a\nx-a: 1\nauthorization: b",
    "\x20set-cookie: sid=1; Domain=.corp.example; Secure; SameSite=None; Path=/prod/a; HttpOnly",
    "\0set-cookie: __Host-sid=1; Secure; Path=/",
    "\0set-cookie: a=b;secure ; DOMAIN = x;path=",
];

const PATHS: &[&str] =
    &["\0/x", "\x20/a//b/../c;d?e=%2f", "\x40/mcp", "\x60/mcp/a?b", "\x60/mcp?b", "\x20//evil.example/x", "\x20/"];

const BASE: &str = "/prod";
const PREFIX: &str = "/mcp";
const ORIGIN: &str = "http://api.example.com";
const LOCAL: &str = "http://localhost:8900";
const TOKEN: &str = "Bearer token";
const US: &str = "cognito-proxy-fuzz";

/// How a route is configured, in the bits of a byte.
#[derive(Clone, Copy)]
struct Case(u8);

impl Case {
    fn injected(self) -> HeaderName {
        HeaderName::from_static(match self.0 & 3 {
            0 => "authorization",
            1 => "x-api-token",
            2 => "x_api_token",
            _ => "proxy-token",
        })
    }

    const fn is_forwarded(self) -> bool {
        self.0 & 4 != 0
    }

    const fn keeps_host(self) -> bool {
        self.0 & 8 != 0
    }

    const fn is_h2(self) -> bool {
        self.0 & 16 != 0
    }

    const fn base(self) -> &'static str {
        if self.0 & 32 == 0 { "" } else { BASE }
    }

    const fn prefix(self) -> &'static str {
        if self.0 & 64 == 0 { "" } else { PREFIX }
    }

    /// The route, which is always the first: no other prefix is longer.
    fn rule(self) -> Option<Arc<Rule>> {
        let upstream = Upstream {
            url: format!("{ORIGIN}{}", self.base()).parse().ok()?,
            http: HttpVersion::Auto,
            preserve_host: self.keeps_host(),
            forwarded: self.is_forwarded(),
            ca_file: None,
            client_certificate: None,
            connect_timeout: Duration::from_secs(5),
            response_header_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(90),
            max_connections: 1,
            cookies: Cookies::Rewrite,
            rewrite_location: true,
        };
        let inject = Inject {
            token: TokenKind::Id,
            header: self.injected(),
            format: Format { prefix: String::new(), suffix: String::new() },
            client_value: ClientValue::Replace,
        };
        let path = if self.prefix().is_empty() { "/" } else { self.prefix() };
        let route =
            Route { path: path.into(), upstream, inject: Some(inject), strip_prefix: !self.prefix().is_empty() };
        let settings = Settings { routes: Vec::new(), default_route: route, session_header: false };
        let plan = Plan::new(&settings, Duration::from_secs(60), &Egress::new("", "")).ok()?;
        plan.rules.into_iter().next()
    }

    /// `METHOD TARGET`, then a field a line, as the guard lets it through.
    fn head(self, lines: &[u8]) -> Option<RequestHead> {
        let mut lines = lines.split(|byte| *byte == b'\n');
        let mut words = lines.next()?.split(|byte| *byte == b' ');
        let request = Request::builder().method(words.next()?).uri(words.next()?).version(if self.is_h2() {
            Version::HTTP_2
        } else {
            Version::HTTP_11
        });
        let mut head = RequestHead::from(request.body(()).ok()?.into_parts().0);
        head.fields = fields(lines)?;
        let hosts: Vec<&[u8]> = head.fields.get_all("host").collect();
        let [host] = hosts[..] else { return None };
        let host = visible(host)?;
        let is_admitted = HostPattern::parse(host).is_ok() && head.target.authority().is_none();
        (is_admitted && route::matches(self.prefix(), head.target.path()) && head.target.path().starts_with('/'))
            .then_some(head)
    }
}

/// What goes upstream is what the client said and what is ours, and of ours there is one.
pub fn request_head(data: &[u8]) {
    let Some((&flags, lines)) = data.split_first() else { return };
    let case = Case(flags);
    let (Some(mut head), Some(rule)) = (case.head(lines), case.rule()) else { return };
    let before = head.clone();
    let connection = Connection {
        local: Local::Tcp(SocketAddr::from(([127, 0, 0, 1], 8900))),
        peer: Peer::Tcp(SocketAddr::from(([127, 0, 0, 1], 50_000))),
    };
    let rare = Rare::among(&head.fields);
    if inject::head(&mut head, rare, &rule, &connection, &Mark::new(US)).is_err() {
        return;
    }
    head.fields.insert(case.injected(), HeaderValue::from_static(TOKEN));

    let plain = |name: &HeaderName| name.as_str().replace('_', "-");
    let injected = plain(&case.injected());
    let tokens: Vec<_> = head.fields.iter().filter(|(name, _)| plain(name) == injected).collect();
    assert!(tokens.len() == 1 && tokens[0].1 == TOKEN.as_bytes(), "{before:?}: {tokens:?}");
    assert_eq!(head.fields.get_all("host").count(), 1, "{before:?}");
    let us = format!("{} {US}", if case.is_h2() { "2.0" } else { "1.1" });
    let us = Some(us.as_bytes());
    assert_eq!(head.fields.get_all(VIA).last(), us);
    for (name, value) in head.fields.iter() {
        let plain = plain(name);
        let ours: Option<&[&str]> = match plain.as_str() {
            "te" => Some(&["trailers"]),
            "connection" => Some(&["te", "upgrade"]),
            "host" | "upgrade" => Some(&[]),
            "keep-alive" | "transfer-encoding" | "http2-settings" | "expect" | "cognito-proxy-key" | "x-real-ip" => {
                panic!("{before:?}: {name} went upstream")
            }
            _ => None,
        };
        assert!(
            ours.is_none_or(|allowed| allowed.is_empty() || allowed.iter().any(|allowed| value == allowed.as_bytes()))
        );
        if plain == injected || ours.is_some() || (name == VIA && Some(value) == us) {
            continue;
        }
        assert!(!plain.starts_with("proxy-"), "{before:?}: {name} went upstream");
        if plain.starts_with("x-forwarded-") || plain == "forwarded" {
            let text = visible(value).unwrap_or("\n");
            assert!(case.is_forwarded() && !plain.contains("for") || !text.contains(['\r', '\n']), "{before:?}");
            assert!(case.is_forwarded() && name.as_str() == plain, "{before:?}: {name} went upstream");
            continue;
        }
        let is_the_clients = before.fields.get_all(name).any(|sent| sent == value);
        let is_joined = name == "cookie" && case.is_h2();
        let is_counted = name == "max-forwards" && visible(value).is_some_and(|left| left.parse::<u64>().is_ok());
        let is_rewritten = (name == "origin" || name == "referer") && value.starts_with(ORIGIN.as_bytes());
        assert!(is_the_clients || is_joined || is_counted || is_rewritten, "{before:?}: {name}: {value:?} was made up");
    }
    let mut again = head.fields.clone();
    for name in [CONNECTION, TE, UPGRADE] {
        again.remove(name);
    }
    if !case.is_forwarded() {
        let once = again.clone();
        hop::strip_request(&mut again, Some(&case.injected()));
        assert_eq!(again, once, "{before:?}: not all was stripped at once");
    }
}

/// A response loses what is for this hop, and a redirect within the upstream leads nowhere else.
pub fn response_head(data: &[u8]) {
    let Some((&flags, lines)) = data.split_first() else { return };
    let case = Case(flags);
    let (Some(mut headers), Some(rule)) = (fields(lines.split(|byte| *byte == b'\n')), case.rule()) else { return };
    let before = headers.clone();
    let hop = Hop {
        wants_trailers: false,
        upgrade: None,
        host: Some(Bytes::from_static(LOCAL.trim_start_matches("http://").as_bytes())),
    };
    respond::fields(&mut headers, &rule, &hop);
    for name in
        ["connection", "keep-alive", "transfer-encoding", "upgrade", "te", "authorization", "proxy-authenticate"]
    {
        assert!(!headers.contains(name), "{before:?}: {name}");
    }
    for name in ["location", "content-location"] {
        let (Some(was), Some(is)) = (before.get(name), headers.get(name)) else { continue };
        let (Some(was), Some(is)) = (visible(was), visible(is)) else { continue };
        let (led, leads) = (destination(was, ORIGIN), destination(is, LOCAL));
        if led == ORIGIN {
            assert!([ORIGIN, LOCAL].contains(&leads.as_str()), "{was:?} became {is:?}");
        } else {
            assert_eq!(was, is);
        }
    }
    let cookies = |headers: &Fields| -> Vec<Vec<u8>> { headers.get_all("set-cookie").map(<[u8]>::to_vec).collect() };
    let (were, are) = (cookies(&before), cookies(&headers));
    assert_eq!(were.len(), are.len(), "{before:?}");
    for (was, is) in were.iter().zip(&are).filter_map(|(was, is)| visible(was).zip(visible(is))) {
        assert_eq!(was.split(';').next(), is.split(';').next());
        let start = is.trim_start().to_ascii_lowercase();
        if start.starts_with("__host-") || start.starts_with("__secure-") {
            assert_eq!(was, is);
            continue;
        }
        for attribute in is.split(';').skip(1) {
            let key = attribute.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
            assert!(key != "domain" && key != "secure", "{was:?} became {is:?}");
        }
        assert!(is.split(';').count() <= was.split(';').count(), "{was:?} became {is:?}");
    }
}

/// A path is joined without a change of a byte, and its way back leads to where it came from.
pub fn path(data: &[u8]) {
    let Some((&flags, text)) = data.split_first() else { return };
    let case = Case(flags);
    let (Ok(uri), Some(rule)) = (Uri::try_from(text), case.rule()) else { return };
    let is_ours = uri.authority().is_none() && uri.path().starts_with('/') && route::matches(case.prefix(), uri.path());
    let Some(given) = uri.path_and_query().filter(|_| is_ours).map(PathAndQuery::as_str) else { return };
    let Some(target) = route::target(&rule, &uri) else { return };
    let target = target.path_and_query().map_or("", |target| target.as_str());
    let rest = &given[case.prefix().len()..];
    let slash = if rest.starts_with('/') { "" } else { "/" };
    assert_eq!(target, [case.base(), slash, rest].concat());
    let back = route::local_path(&rule, target).unwrap_or_default();
    assert_eq!(back, [case.prefix(), slash, rest].concat());
}

/// Where a browser goes that is told `location` by a page at `base`, as far as the origin (WHATWG URL standard §4.4).
fn destination(location: &str, base: &str) -> String {
    let text: String = location
        .trim_matches(|character: char| character <= ' ')
        .chars()
        .filter(|character| !['\t', '\n', '\r'].contains(character))
        .collect();
    let is_slash = |character: char| character == '/' || character == '\\';
    let scheme_end = text.find(|character: char| !(character.is_ascii_alphanumeric() || "+-.".contains(character)));
    let scheme = scheme_end
        .filter(|end| text[*end..].starts_with(':') && text.starts_with(|first: char| first.is_ascii_alphabetic()))
        .map(|end| (text[..end].to_ascii_lowercase(), &text[end + 1..]));
    let (scheme, rest) = match scheme {
        Some((scheme, rest)) if scheme == "http" && !rest.starts_with("//") => ("http".to_owned(), rest),
        Some((scheme, rest)) if scheme == "http" || scheme == "https" => {
            return authority(&scheme, rest.trim_start_matches(is_slash));
        }
        Some((scheme, _)) => return scheme,
        None => ("http".to_owned(), text.as_str()),
    };
    let mut start = rest.chars();
    if start.next().is_some_and(is_slash) && start.next().is_some_and(is_slash) {
        return authority(&scheme, rest.trim_start_matches(is_slash));
    }
    base.to_owned()
}

fn authority(scheme: &str, rest: &str) -> String {
    let end = rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len());
    let host = rest[..end].rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let default = if scheme == "https" { ":443" } else { ":80" };
    let host = host.strip_suffix(default).or_else(|| host.strip_suffix(':')).unwrap_or(&host);
    format!("{scheme}://{host}")
}

fn fields<'l>(lines: impl Iterator<Item = &'l [u8]>) -> Option<Fields> {
    let mut headers = Fields::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        headers.append(name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?);
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_seed_holds() {
        for (_, property, seeds) in super::TARGETS {
            for seed in seeds {
                property(seed.as_bytes());
            }
        }
    }
}
