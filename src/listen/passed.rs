//! Sockets that systemd passed (`sd_listen_fds(3)`).

use std::{env, io, net::TcpListener, os::unix::net::UnixListener};

use listenfd::ListenFd;

/// The sockets that were passed and not taken yet, with their names.
#[derive(Debug, Default)]
pub struct Passed {
    sockets: Vec<(String, Socket)>,
}

/// One of them.
#[derive(Debug)]
pub(super) enum Socket {
    /// TCP, of either family.
    Tcp(TcpListener),
    /// A Unix stream socket.
    Unix(UnixListener),
}

impl Passed {
    /// What the environment says was passed to this process. To be called once: the descriptors are owned from then on.
    ///
    /// # Errors
    /// Where a descriptor is neither a TCP nor a Unix stream socket.
    pub fn from_environment() -> io::Result<Self> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut listenfd = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..listenfd.len() {
            // Without names systemd's own word for them is "unknown" (sd_listen_fds_with_names(3)).
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
            let socket = match listenfd.take_unix_listener(index) {
                Ok(Some(socket)) => Socket::Unix(socket),
                Ok(None) => continue,
                Err(_) => match listenfd.take_tcp_listener(index)? {
                    Some(socket) => Socket::Tcp(socket),
                    None => continue,
                },
            };
            sockets.push((name, socket));
        }
        Ok(Self { sockets })
    }

    /// Nothing was passed.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether any socket of that name is left.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.sockets.iter().any(|(passed, _)| passed == name)
    }

    /// The names of those that are left.
    pub(super) fn names(&self) -> Vec<String> {
        self.sockets.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Takes every socket of that name.
    pub(super) fn take(&mut self, name: &str) -> Vec<Socket> {
        self.sockets.extract_if(.., |(passed, _)| passed == name).map(|(_, socket)| socket).collect()
    }

    #[cfg(test)]
    pub(super) fn of(sockets: Vec<(&str, Socket)>) -> Self {
        Self { sockets: sockets.into_iter().map(|(name, socket)| (name.to_owned(), socket)).collect() }
    }
}
