//! Who connected: the user that a local peer's process belongs to.
//!
//! A Unix socket says so itself (`SO_PEERCRED`, `unix(7)`). Of a TCP connection on this machine the kernel holds both
//! ends, and the client's end names its user; it is asked for by its exact addresses, with `sock_diag(7)`, or where a
//! sandbox forbids that by reading `/proc/self/net/tcp`. Once the client has closed, its end belongs to nobody: the
//! row is gone, or reads uid 0 with inode 0, or a listener answers in its stead. All of that is [`Peer::Unknown`].
//!
//! [`Resolver::tcp`] is meant to be called once for each connection; its verdict stays with the connection.

#[cfg(target_os = "linux")]
mod proc_net;
#[cfg(target_os = "linux")]
mod sock_diag;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

/// Who made a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of this user, on this machine.
    Uid(u32),
    /// A process on this machine whose user cannot be told: it has gone, or the kernel does not say.
    Unknown,
    /// Somebody on another machine.
    Remote,
    /// A process on this machine; the operating system names nobody's.
    Unnamed,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::Unknown => f.write_str("unknown user"),
            Self::Remote => f.write_str("another machine"),
            Self::Unnamed => f.write_str("this machine"),
        }
    }
}

/// The process at the other end of a Unix socket, as it was when it connected.
#[must_use]
pub fn of_unix(stream: &tokio::net::UnixStream) -> Peer {
    stream.peer_cred().map_or(Peer::Unknown, |credentials| Peer::Uid(credentials.uid()))
}

/// Tells who is at the other end of TCP connections. Each accept loop has its own.
#[derive(Debug)]
pub struct Resolver {
    #[cfg(target_os = "linux")]
    diag: Option<sock_diag::Socket>,
}

impl Resolver {
    /// A resolver that asks the kernel in the quickest way that this process is allowed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            diag: sock_diag::Socket::open()
                .inspect_err(|error| tracing::debug!(%error, "no sock_diag, reading /proc/self/net/tcp"))
                .ok(),
        }
    }

    /// A resolver that does without `sock_diag`, as in a sandbox that forbids it: each look-up reads `/proc/self/net`.
    #[must_use]
    pub const fn without_netlink() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            diag: None,
        }
    }

    /// Who made the connection from `peer` to `local`. Two system calls for a local peer; never waits.
    #[must_use]
    pub fn tcp(&self, local: SocketAddr, peer: SocketAddr) -> Peer {
        let (local, peer) = (canonical(local), canonical(peer));
        if is_own(local.ip(), peer) { self.local(local, peer) } else { Peer::Remote }
    }

    #[cfg(target_os = "linux")]
    fn local(&self, local: SocketAddr, peer: SocketAddr) -> Peer {
        let ends = Ends { client: peer, server: local };
        let found = match self.diag.as_ref().map(|diag| diag.owner(ends)) {
            Some(Ok(found)) => found,
            // A full socket buffer, or a filter that was put up later.
            Some(Err(_)) | None => proc_net::owner(ends),
        };
        found.map_or(Peer::Unknown, Peer::Uid)
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, reason = "other systems have nothing to ask")]
    fn local(&self, _local: SocketAddr, _peer: SocketAddr) -> Peer {
        Peer::Unnamed
    }
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new()
    }
}

/// The two ends of a connection.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    client: SocketAddr,
    server: SocketAddr,
}

/// What the kernel says of one socket.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    /// The socket's own end, and the one that it is connected to.
    local: SocketAddr,
    remote: SocketAddr,
    uid: u32,
    /// 0 once no process holds the socket any more.
    inode: u64,
}

#[cfg(target_os = "linux")]
impl Row {
    /// The user who holds the client's end of `ends`, if this row is that end and somebody still does.
    fn owner(&self, ends: Ends) -> Option<u32> {
        let is_it = same(self.local, ends.client) && same(self.remote, ends.server);
        (is_it && self.inode != 0).then_some(self.uid)
    }
}

/// Whether two addresses are one, without flow labels and scopes, which the kernel's tables do not hold.
#[cfg(target_os = "linux")]
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.ip().to_canonical() == b.ip().to_canonical() && a.port() == b.port()
}

/// An IPv4 address as one, also where a socket of both families took the connection.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        // Kept whole: a link-local address means nothing without its scope.
        IpAddr::V6(_) => address,
    }
}

/// Whether `peer` is an address of this machine, which `local` is.
///
/// The routing table is asked by connecting a datagram socket, which sends nothing: the source address that it picks
/// for one of the machine's own is that address itself. Binding to it would answer wrongly under
/// `net.ipv4.ip_nonlocal_bind`, and a list of interfaces would be out of date.
fn is_own(local: IpAddr, peer: SocketAddr) -> bool {
    if peer.ip().is_loopback() || peer.ip() == local {
        return true;
    }
    let any: IpAddr = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(peer)?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == peer.ip())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
