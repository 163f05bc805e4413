//! The grammar `HOST:PORT | unix:PATH | systemd:NAME`.

use std::{fmt, path::PathBuf, str::FromStr};

/// One address of the grammar `HOST:PORT | unix:PATH | systemd:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `HOST:PORT`.
    Tcp {
        /// A name or an address, without brackets.
        host: String,
        /// 0 lets the system choose.
        port: u16,
    },
    /// `unix:PATH`.
    Unix(PathBuf),
    /// `systemd:NAME`: every socket passed under that `FileDescriptorName`.
    Systemd(String),
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no port.
    #[error("{0:?} has no port; write HOST:PORT, unix:PATH or systemd:NAME")]
    NoPort(String),
    /// What stands after the last colon is no port.
    #[error("{port:?} is no port; write a number from 0 to 65535, 0 for any free one")]
    Port {
        /// What stands there.
        port: String,
    },
    /// Nothing, or something impossible, stands where a host should.
    #[error("{0:?} is no host; write a name, an IPv4 address, or an IPv6 address in brackets as [::1]")]
    Host(String),
    /// Nothing stands after `unix:` or `systemd:`.
    #[error("{0:?} names nothing after the colon")]
    Empty(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix://PATH` and `unix:/PATH` are both written; the path is what follows.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(AddressError::Empty(text.into())) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return if name.is_empty() {
                Err(AddressError::Empty(text.into()))
            } else {
                Ok(Self::Systemd(name.into()))
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| AddressError::NoPort(text.into()))?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(inner)) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
            Some(_) => return Err(AddressError::Host(host.into())),
            None => host,
        };
        let is_name =
            |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
        if host.is_empty() || !(is_name(host) || text.starts_with('[')) {
            return Err(AddressError::Host(host.into()));
        }
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| port.parse().ok()).flatten();
        let port = number.ok_or_else(|| AddressError::Port { port: port.into() })?;
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[test]
    fn what_is_an_address() {
        for (text, address) in [
            ("127.0.0.1:8900", tcp("127.0.0.1", 8900)),
            ("[::1]:8900", tcp("::1", 8900)),
            ("localhost:0", tcp("localhost", 0)),
            ("my-host.example:65535", tcp("my-host.example", 65535)),
            ("unix:/run/p.sock", Address::Unix("/run/p.sock".into())),
            ("unix:///run/p.sock", Address::Unix("/run/p.sock".into())),
            ("unix:p.sock", Address::Unix("p.sock".into())),
            ("systemd:proxy", Address::Systemd("proxy".into())),
        ] {
            assert_eq!(text.parse(), Ok(address), "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "8900",
            ":8900",
            "localhost",
            "localhost:",
            "localhost:x",
            "localhost:65536",
            "localhost:+1",
            "::1:8900",
            "[::1]",
            "[::1]8900",
            "[localhost]:1",
            "[::1:8900",
            "a b:1",
            "http://localhost:8900",
            "unix:",
            "systemd:",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(host in "[a-z0-9.-]{1,20}|::1|fe80::1", port: u16) {
            let address = tcp(&host, port);
            prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
        }
    }
}
