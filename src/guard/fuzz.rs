//! What holds for the guard's parsers and for its check, whatever bytes come: looked for by the fuzzer, and run on the
//! seeds by a test. Only in those builds.
//!
//! The rules are written anew here, in another way than where they are kept: both would have to be wrong alike.
#![allow(clippy::missing_panics_doc, clippy::panic, reason = "a property that does not hold fails loudly")]

use std::net::{Ipv6Addr, SocketAddr};

use http::{HeaderName, HeaderValue, Method, Request, Version};

use super::{
    ClientKey, Connection, Guard, HostPattern, Local, Origin, Peer, Post, Settings, UserSpec, Users, Verdict,
    authority::Authority, origin,
};
use crate::{message::RequestHead, secret::Secret};

/// A property by its name, with inputs to begin from.
pub type Target = (&'static str, fn(&[u8]), &'static [&'static str]);

/// Every property of this room.
pub const TARGETS: [Target; 3] =
    [("authority", authority, AUTHORITIES), ("origin", origin, ORIGINS), ("guard", check, REQUESTS)];

const AUTHORITIES: &[&str] = &[
    "localhost:8900",
    "LOCALHOST.:80",
    "127.0.0.1",
    "127.1:08900",
    "[::1]:8900",
    "localhost..",
    "[::ffff:127.0.0.1]",
    "[fe80::1%25eth0]:1",
    "user@localhost:8900",
    "a,b",
    "0.0.0.0",
    "xn--bcher-kva.example:65535",
];

const ORIGINS: &[&str] = &[
    "http://localhost:3000",
    "HTTP://LocalHost:80",
    "https://app.example:443/path?query#fragment",
    "http://[0:0::1]:3000",
    "tauri://localhost",
    "http://localhost:8900",
    "http://localhost.:08900",
    "http://localhost:3000@evil.example/",
    "null",
    "http://*.example",
    "http://a..",
];

/// The first byte says what the guard is configured for and who asks, see [`Case`]; then come the lines.
const REQUESTS: &[&str] = &[
    "\0GET /x\nhost: localhost:8900",
    "\0GET /x\nhost: api.test:1\norigin: http://localhost:3000",
    "\0OPTIONS /x\nhost: [::1]:8900\norigin: http://localhost:3000\naccess-control-request-method: PUT",
    "\0GET http://localhost:8900/x\nhost: LOCALHOST.:8900\nsec-fetch-site: same-site\nreferer: http://localhost:3000/",
    "\x01GET http://localhost:8900/x\nsec-fetch-site: none",
    "\x02GET /status\nhost: 127.0.0.1:8900\nreferer: http://127.0.0.1:8900/status",
    "\x04GET /x\nhost: localhost\ncognito-proxy-key: s3cret",
    "\x08GET /x\nhost: localhost\nx-requested-by: me",
    "\x10GET /x\nhost: localhost:8900",
    "\x26GET /metrics\nhost: localhost:8900\ncognito-proxy-key: s3cret",
    "\x02GET /livez\nhost: evil.example",
    "\0CONNECT localhost:8900\nhost: localhost:8900",
];

/// Whatever is taken for HOST[:PORT] is nothing but that, is the same in either case, and can be written and read back.
pub fn authority(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let Ok(parsed) = Authority::parse(text) else { return };
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte)), "{text:?}");
    for other in [text.to_ascii_uppercase(), text.to_ascii_lowercase()] {
        assert_eq!(Authority::parse(&other).as_ref(), Ok(&parsed), "{text:?}");
    }
    let Ok(pattern) = HostPattern::parse(text) else { return };
    assert!(pattern.admits(&parsed), "{text:?}");
    let written = pattern.to_string();
    assert_eq!(HostPattern::parse(&written), Ok(pattern), "{text:?}");
    assert_eq!(Authority::parse(&written), Ok(parsed), "{text:?}");
}

/// An origin that can be listed is exact, and stays itself; what is taken for the proxy's own names its host.
pub fn origin(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let of_referer = origin::of_referer(text);
    assert!(text.starts_with(of_referer), "{text:?}");
    assert_eq!(origin::of_referer(of_referer), of_referer, "{text:?}");
    if let Ok(listed) = Origin::parse(text) {
        let written = listed.as_str();
        assert!(written.contains("://") && !written.contains('*'), "{text:?}");
        assert!(written.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{text:?}");
        assert_eq!(Origin::parse(written).as_ref(), Ok(&listed), "{text:?}");
        assert_eq!(origin::of_referer(&format!("{written}/a?b#c")), written, "{text:?}");
    }
    if let Ok(here) = Authority::parse("localhost:8900") {
        let own = text.strip_prefix("http://").is_some_and(|rest| is_local(rest, false));
        assert_eq!(origin::is_own(text, &here), own, "{text:?}");
    }
}

/// What is admitted was allowed to: its Host, its Origin, its site, its key. What is refused is readable by nobody but a
/// listed page, and says so in plain text.
pub fn check(data: &[u8]) {
    let Some((&flags, lines)) = data.split_first() else { return };
    let case = Case(flags);
    let Some(head) = case.head(lines) else { return };
    let Some(guard) = case.guard() else { return };
    let from_listed = case.is_for_proxy() && values(&head, "origin") == [LISTED.as_bytes()];
    match guard.check(&case.connection(), &head) {
        Verdict::Admitted(admitted) => {
            assert_eq!(admitted.cors.is_some(), from_listed, "{head:?}");
            if !case.is_for_proxy() && ["/livez", "/readyz"].contains(&head.target.path()) {
                return;
            }
            case.judge(&head, from_listed);
        }
        Verdict::Preflight(answer) => {
            assert!(from_listed && head.method == Method::OPTIONS, "{head:?}");
            assert_eq!(
                answer.headers().get("access-control-allow-origin").map(HeaderValue::as_bytes),
                Some(LISTED.as_bytes())
            );
        }
        Verdict::Refused(refused) => {
            assert_eq!(refused.cors.is_some(), from_listed, "{head:?}");
            for text in [&refused.refusal.detail, &refused.refusal.fix] {
                assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
            }
        }
    }
}

const LISTED: &str = "http://localhost:3000";
const KEY: &str = "s3cret";

/// How a guard is configured and who asks, in the bits of a byte.
#[derive(Clone, Copy)]
struct Case(u8);

impl Case {
    const fn is_h2(self) -> bool {
        self.0 & 1 != 0
    }

    const fn is_for_proxy(self) -> bool {
        self.0 & 2 == 0
    }

    const fn asks_for_key(self) -> bool {
        self.0 & 4 != 0
    }

    const fn asks_for_header(self) -> bool {
        self.0 & 8 != 0
    }

    const fn peer(self) -> Peer {
        match self.0 >> 4 & 3 {
            0 => Peer::Uid(1000),
            1 => Peer::Uid(1001),
            2 => Peer::Remote,
            _ => Peer::Unknown,
        }
    }

    fn connection(self) -> Connection {
        Connection { local: Local::Tcp(SocketAddr::from(([127, 0, 0, 1], 8900))), peer: self.peer() }
    }

    fn guard(self) -> Option<Guard> {
        let settings = Settings {
            hosts: vec![HostPattern::parse("api.test").ok()?],
            origins: vec![Origin::parse(LISTED).ok()?],
            users: vec![UserSpec::Uid(1000)],
            client_key: if self.asks_for_key() { Some(ClientKey::parse(&Secret::from(KEY)).ok()?) } else { None },
            require_header: self.asks_for_header().then_some(HeaderName::from_static("x-requested-by")),
        };
        let users = Users::resolve(&settings.users).ok()?;
        let own = vec![HostPattern::of_address(SocketAddr::from(([127, 0, 0, 1], 8900)))];
        Some(Guard::new(if self.is_for_proxy() { Post::Proxy } else { Post::Admin }, &settings, users, own))
    }

    /// `METHOD TARGET`, then a field a line.
    fn head(self, lines: &[u8]) -> Option<RequestHead> {
        let mut lines = lines.split(|byte| *byte == b'\n');
        let mut words = lines.next()?.split(|byte| *byte == b' ');
        let mut request = Request::builder().method(words.next()?).uri(words.next()?).version(if self.is_h2() {
            Version::HTTP_2
        } else {
            Version::HTTP_11
        });
        for line in lines {
            let colon = line.iter().position(|byte| *byte == b':')?;
            request = request.header(&line[..colon], line[colon + 1..].trim_ascii());
        }
        Some(request.body(()).ok()?.into_parts().0.into())
    }

    /// The rules of an admitted request.
    fn judge(self, head: &RequestHead, from_listed: bool) {
        let hosts = values(head, "host");
        assert!(hosts.len() <= 1 && (self.is_h2() || hosts.len() == 1), "{head:?}");
        let target = head.target.authority().map(|authority| authority.as_str().as_bytes());
        assert!(target.is_some() || !hosts.is_empty(), "{head:?}");
        for host in target.into_iter().chain(hosts.iter().copied()) {
            assert!(str::from_utf8(host).is_ok_and(|host| is_local(host, true) || is_api(host)), "{head:?}");
        }
        match self.peer() {
            Peer::Uid(uid) => assert_eq!(uid, 1000),
            Peer::Remote => assert!(self.asks_for_key()),
            Peer::Unknown | Peer::Unnamed => panic!("nobody knows who that is"),
        }
        let is_own = |origin: &[u8]| {
            let host = target.or_else(|| hosts.first().copied()).and_then(|host| str::from_utf8(host).ok());
            let own = str::from_utf8(origin).ok().and_then(|origin| origin.strip_prefix("http://"));
            host.zip(own).is_some_and(|(host, own)| normal(host) == normal(own))
        };
        let origins = values(head, "origin");
        let sites = values(head, "sec-fetch-site");
        let referers = values(head, "referer");
        let from_here = sites.iter().all(|site| [&b"same-origin"[..], b"none"].contains(site));
        if self.is_for_proxy() {
            let by_referer = referers.len() == 1
                && (referers[0] == LISTED.as_bytes()
                    || [b"/", b"?", b"#"]
                        .iter()
                        .any(|end| referers[0].starts_with(&[LISTED.as_bytes(), *end].concat())));
            match origins.len() {
                0 => assert!(from_here || by_referer, "{head:?}"),
                _ => assert!(from_listed || (origins.len() == 1 && is_own(origins[0])), "{head:?}"),
            }
        } else {
            assert!(from_here && origins.iter().all(|origin| is_own(origin)), "{head:?}");
            for referer in referers {
                let end =
                    referer.iter().skip(7).position(|byte| b"/?#".contains(byte)).map_or(referer.len(), |end| end + 7);
                assert!(is_own(&referer[..end]), "{head:?}");
            }
        }
        if self.asks_for_key() && (self.is_for_proxy() || self.peer() == Peer::Remote) {
            assert_eq!(values(head, "cognito-proxy-key"), [KEY.as_bytes()]);
        }
        assert!(!self.is_for_proxy() || !self.asks_for_header() || head.fields.contains("x-requested-by"));
    }
}

fn values<'h>(head: &'h RequestHead, name: &str) -> Vec<&'h [u8]> {
    head.fields.get_all(name).collect()
}

/// Host and port in one form, a missing port as 80.
fn normal(authority: &str) -> (String, String) {
    let bracket = authority.rfind(']').unwrap_or(0);
    let (host, port) = match authority[bracket..].find(':') {
        Some(colon) => (&authority[..bracket + colon], &authority[bracket + colon + 1..]),
        None => (authority, ""),
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = inner.and_then(|host| host.parse::<Ipv6Addr>().ok()).map_or(host.clone(), |address| address.to_string());
    let port = port.trim_start_matches('0');
    (host, if port.is_empty() { "80".to_owned() } else { port.to_owned() })
}

/// Whether this is the listener: by loopback's names, on its port. A Host may leave the port out.
fn is_local(authority: &str, may_lack_port: bool) -> bool {
    let (host, port) = normal(authority);
    let is_without_port = !authority[authority.rfind(']').unwrap_or(0)..].contains(':') || authority.ends_with(':');
    let names: &[&str] = if may_lack_port { &["localhost", "127.0.0.1", "::1"] } else { &["localhost"] };
    names.contains(&host.as_str()) && (port == "8900" || (may_lack_port && is_without_port))
}

fn is_api(authority: &str) -> bool {
    normal(authority).0 == "api.test"
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
