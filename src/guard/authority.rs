//! Names of hosts: what a request says it is for, and the patterns that it is held against.
//!
//! Owns the grammar (stricter than RFC 3986 §3.2.2: what no real host is called is refused) and the normal form: case
//! and one trailing dot do not count. Parsing borrows; nothing is allocated for a request.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// The longest name that DNS can carry, as text (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 253;

/// What an `http` URL without a port means (RFC 9110 §4.2.1).
pub(super) const HTTP_PORT: u16 = 80;

/// Host and port of a request, as it states them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Authority<'a> {
    pub(super) host: Host<'a>,
    pub(super) port: Option<u16>,
}

/// A host, by name or by address.
#[derive(Clone, Copy, Debug)]
pub(super) enum Host<'a> {
    /// Without its trailing dot, in the case in which it was written.
    Name(&'a str),
    Ip(IpAddr),
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(a), Self::Name(b)) => a.eq_ignore_ascii_case(b),
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Name(_), Self::Ip(_)) | (Self::Ip(_), Self::Name(_)) => false,
        }
    }
}

impl PartialEq for Authority<'_> {
    /// A missing port is that of `http`: every listener speaks plain HTTP.
    fn eq(&self, other: &Self) -> bool {
        self.host == other.host && self.port.unwrap_or(HTTP_PORT) == other.port.unwrap_or(HTTP_PORT)
    }
}

/// Why a text is no `HOST[:PORT]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// There is no host in it.
    #[error("no host")]
    Empty,
    /// A character that no host's name has.
    #[error("{0:?} cannot stand in a host name")]
    Character(char),
    /// `[` without `]`, or something else than an IPv6 address between them.
    #[error("no IPv6 address between [ and ]")]
    Address,
    /// The port is none.
    #[error("the port is no number from 0 to 65535")]
    Port,
    /// Longer than any name can be.
    #[error("longer than {LONGEST_NAME} characters")]
    TooLong,
}

impl<'a> Authority<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, AuthorityError> {
        if let Some(bracketed) = text.strip_prefix('[') {
            let (address, rest) = bracketed.split_once(']').ok_or(AuthorityError::Address)?;
            let address: Ipv6Addr = address.parse().map_err(|_| AuthorityError::Address)?;
            let port = match rest.strip_prefix(':') {
                Some(port) => parse_port(port)?,
                None if rest.is_empty() => None,
                None => return Err(AuthorityError::Address),
            };
            return Ok(Self { host: Host::Ip(address.into()), port });
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, parse_port(port)?),
            None => (text, None),
        };
        Ok(Self { host: parse_name(name)?, port })
    }
}

/// `uri-host ":" [ port ]`: an empty port is no port (RFC 3986 §3.2.3).
fn parse_port(digits: &str) -> Result<Option<u16>, AuthorityError> {
    if digits.is_empty() {
        return Ok(None);
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AuthorityError::Port);
    }
    digits.parse().map(Some).map_err(|_| AuthorityError::Port)
}

fn parse_name(text: &str) -> Result<Host<'_>, AuthorityError> {
    // Of two dots neither is left out: what is written back must be read as the same.
    let name = text.strip_suffix('.').filter(|name| !name.ends_with('.')).unwrap_or(text);
    if name.is_empty() {
        return Err(AuthorityError::Empty);
    }
    if name.len() > LONGEST_NAME {
        return Err(AuthorityError::TooLong);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if let Some(odd) = name.bytes().position(|byte| !plain(byte)) {
        // What stands before it is ASCII, so that a character begins there.
        return Err(AuthorityError::Character(name[odd..].chars().next().unwrap_or_default()));
    }
    // Only the dotted form is an address. "127.1" and "2130706433" stay names, which nobody has listed.
    Ok(name.parse::<Ipv4Addr>().map_or(Host::Name(name), |address| Host::Ip(address.into())))
}

/// An entry of `guard.hosts`: HOST for any port, or HOST:PORT for that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    host: OwnedHost,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum OwnedHost {
    /// In lower case, without a trailing dot.
    Name(String),
    Ip(IpAddr),
}

/// Why a text is no entry of `guard.hosts`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// A `*`, which would let a name of the attacker's choice in.
    #[error("{0:?}: hosts are exact; list each name, without \"*\"")]
    Wildcard(String),
    /// A URL.
    #[error("{0:?} is a URL; write the host alone, or HOST:PORT")]
    Url(String),
    /// An IPv6 address without brackets.
    #[error("{0:?}: write an IPv6 address in brackets, as in \"[{0}]:8900\"")]
    Brackets(String),
    /// `0.0.0.0` or `[::]`. Browsers lead them to this machine, tell of no site that asks, and so any page could ask.
    #[error("{0:?} is an address to listen on, and no name of a host; write what clients call it")]
    Unspecified(String),
    /// No host and port.
    #[error("{text:?} is no HOST or HOST:PORT: {source}")]
    Authority {
        /// The entry.
        text: String,
        /// What is wrong with it.
        source: AuthorityError,
    },
}

impl HostPattern {
    /// Reads an entry of `guard.hosts`.
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        if text.contains('*') {
            return Err(HostPatternError::Wildcard(text.to_owned()));
        }
        if text.contains('/') {
            return Err(HostPatternError::Url(text.to_owned()));
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(HostPatternError::Brackets(text.to_owned()));
        }
        match Authority::parse(text) {
            Ok(Authority { host: Host::Ip(address), .. }) if address.to_canonical().is_unspecified() => {
                Err(HostPatternError::Unspecified(text.to_owned()))
            }
            Ok(authority) => Ok(Self { host: authority.host.to_owned(), port: authority.port }),
            Err(source) => Err(HostPatternError::Authority { text: text.to_owned(), source }),
        }
    }

    /// The name by which a TCP listener is reached: what `listen.proxy` calls it, with the port that it really has.
    #[must_use]
    pub fn of_listener(host: &str, port: u16) -> Option<Self> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = match host.parse::<IpAddr>() {
            Ok(address) => OwnedHost::Ip(address.to_canonical()),
            Err(_) => parse_name(host).ok()?.to_owned(),
        };
        Some(Self { host, port: Some(port) })
    }

    /// The name of the TCP listener that is bound to `address`.
    #[must_use]
    pub const fn of_address(address: SocketAddr) -> Self {
        Self { host: OwnedHost::Ip(address.ip().to_canonical()), port: Some(address.port()) }
    }

    pub(super) const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether this is `0.0.0.0` or `::`: where a listener may be bound, never what a client may call it.
    pub(super) const fn is_unspecified(&self) -> bool {
        matches!(self.host, OwnedHost::Ip(address) if address.is_unspecified())
    }

    pub(super) fn host(&self) -> Host<'_> {
        match &self.host {
            OwnedHost::Name(name) => Host::Name(name),
            OwnedHost::Ip(address) => Host::Ip(*address),
        }
    }

    /// Whether `authority` is this host, on this port where one is given.
    pub(super) fn admits(&self, authority: &Authority<'_>) -> bool {
        self.host() == authority.host && self.port.is_none_or(|port| port == authority.port.unwrap_or(HTTP_PORT))
    }
}

impl Host<'_> {
    fn to_owned(self) -> OwnedHost {
        match self {
            Self::Name(name) => OwnedHost::Name(name.to_ascii_lowercase()),
            Self::Ip(address) => OwnedHost::Ip(address),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            OwnedHost::Name(name) => f.write_str(name)?,
            OwnedHost::Ip(IpAddr::V4(address)) => write!(f, "{address}")?,
            OwnedHost::Ip(IpAddr::V6(address)) => write!(f, "[{address}]")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_one_trailing_dot_and_the_port_of_http_do_not_count() {
        for (a, b) in [
            ("localhost:8900", "LOCALHOST.:8900"),
            ("localhost", "localhost:80"),
            ("localhost:", "localhost"),
            ("[::1]:1", "[0:0:0:0:0:0:0:1]:1"),
            ("127.0.0.1.", "127.0.0.1"),
        ] {
            assert_eq!(Authority::parse(a).unwrap(), Authority::parse(b).unwrap(), "{a} {b}");
        }
        for (a, b) in [
            ("localhost", "localhost.."),
            ("localhost", "localhost:8080"),
            ("127.0.0.1", "127.1"),
            ("127.0.0.1", "2130706433"),
            ("127.0.0.1", "0127.0.0.1"),
            ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ] {
            assert_ne!(Authority::parse(a).unwrap(), Authority::parse(b).unwrap(), "{a} {b}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for (text, error) in [
            ("", AuthorityError::Empty),
            (".", AuthorityError::Empty),
            (":80", AuthorityError::Empty),
            ("a b", AuthorityError::Character(' ')),
            ("a/b", AuthorityError::Character('/')),
            ("user@localhost", AuthorityError::Character('@')),
            ("a,b", AuthorityError::Character(',')),
            ("a%62", AuthorityError::Character('%')),
            ("lócalhost", AuthorityError::Character('ó')),
            ("localhost:8900:1", AuthorityError::Port),
            ("localhost:+1", AuthorityError::Port),
            ("localhost:65536", AuthorityError::Port),
            ("localhost: 1", AuthorityError::Port),
            ("[::1", AuthorityError::Address),
            ("[::1]x", AuthorityError::Address),
            ("[fe80::1%25eth0]", AuthorityError::Address),
            ("[127.0.0.1]", AuthorityError::Address),
        ] {
            assert_eq!(Authority::parse(text).unwrap_err(), error, "{text:?}");
        }
        assert_eq!(Authority::parse(&"a".repeat(254)).unwrap_err(), AuthorityError::TooLong);
    }

    #[test]
    fn a_pattern_without_a_port_admits_every_port() {
        let any = HostPattern::parse("Proxy.Example.").unwrap();
        let one = HostPattern::parse("proxy.example:80").unwrap();
        for (authority, by_any, by_one) in [
            ("proxy.example", true, true),
            ("proxy.example:80", true, true),
            ("PROXY.example.:8443", true, false),
            ("x.proxy.example", false, false),
            ("proxy.example.evil", false, false),
        ] {
            let authority = Authority::parse(authority).unwrap();
            assert_eq!((any.admits(&authority), one.admits(&authority)), (by_any, by_one), "{authority:?}");
        }
    }

    #[test]
    fn patterns_say_what_is_wrong_with_them() {
        for (text, words) in [
            ("*.example", "without \"*\""),
            ("http://localhost", "is a URL"),
            ("::1", "in brackets"),
            ("0.0.0.0:8900", "address to listen on"),
            ("[::]", "address to listen on"),
            ("[::ffff:0.0.0.0]", "address to listen on"),
            ("", "no host"),
            ("a b", "' '"),
        ] {
            let error = HostPattern::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text:?}: {error}");
        }
        assert_eq!(HostPattern::parse("Localhost..").unwrap().to_string(), "localhost..");
        assert_eq!(HostPattern::parse("[::1]:8900").unwrap().to_string(), "[::1]:8900");
        assert_eq!(HostPattern::of_listener("::1", 8900), HostPattern::of_listener("[::1]", 8900));
        assert_eq!(HostPattern::of_listener("LocalHost", 1).unwrap().to_string(), "localhost:1");
    }
}
