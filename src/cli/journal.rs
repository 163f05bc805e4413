//! The journal's native protocol: the line that a person reads, and each of its fields to search by.
//!
//! Written here because the line has to hold the fields too: `journalctl` shows MESSAGE alone.

use std::{io, os::unix::net::UnixDatagram};

use tracing::Level;

use super::fields::Fields;

/// Where journald listens (systemd.journal-fields(7), "Native Journal Protocol").
const SOCKET: &str = "/run/systemd/journal/socket";

/// Names of our fields begin so, that they cannot be taken for the journal's own.
const PREFIX: &str = "COGNITO_PROXY_";

/// A connection to journald.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
}

impl Journal {
    /// Connects.
    ///
    /// # Errors
    /// Where there is no journald.
    pub(super) fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        // A journal that does not keep up must not hold up a request.
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// Sends one event; what the journal does not take is lost.
    pub(super) fn send(&self, level: Level, target: &str, fields: &Fields) {
        drop(self.socket.send(&datagram(level, target, fields)));
    }
}

/// The event as `NAME=value` lines, or as name, length and value where the value has line ends.
fn datagram(level: Level, target: &str, fields: &Fields) -> Vec<u8> {
    // syslog(3): err 3, warning 4, info 6, debug 7.
    let priority = match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    };
    let mut out = Vec::with_capacity(256);
    put(&mut out, "MESSAGE", &fields.line("", ""));
    put(&mut out, "PRIORITY", priority);
    put(&mut out, "SYSLOG_IDENTIFIER", "cognito-proxy");
    put(&mut out, "TARGET", target);
    for (name, value) in &fields.values {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        put(
            &mut out,
            &format!("{PREFIX}{}", name.to_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_")),
            &text,
        );
    }
    out
}

fn put(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_holds_the_fields_and_each_stands_alone_too() {
        let fields = Fields {
            message: "session ends soon".into(),
            values: vec![("fix", "cognito-proxy login".into()), ("attempt", 2.into()), ("error", "a\nb".into())],
        };
        let sent = datagram(Level::WARN, "cognito_proxy::warn", &fields);
        let text = String::from_utf8_lossy(&sent);
        assert!(text.starts_with("MESSAGE=session ends soon fix=\"cognito-proxy login\" attempt=2 error=\"a\\nb\"\n"));
        assert!(text.contains("\nPRIORITY=4\n"));
        assert!(text.contains("\nCOGNITO_PROXY_FIX=cognito-proxy login\nCOGNITO_PROXY_ATTEMPT=2\n"));
        assert!(text.ends_with("COGNITO_PROXY_ERROR\n\u{3}\0\0\0\0\0\0\0a\nb\n"));
    }
}
