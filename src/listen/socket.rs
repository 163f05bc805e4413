//! Bound sockets, the listeners that workers make of them, and what is known of a connection.

use std::{
    fmt, fs,
    future::poll_fn,
    io,
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use super::{
    Error, Seats, Stream,
    claim::{Claim, Holder, local},
    passed,
};

/// How many connections may wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Where connections come in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Local {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket; empty where systemd passed one without a path.
    Unix(PathBuf),
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP address, of this machine or of another.
    Tcp(SocketAddr),
    /// The user of a process on this machine (`SO_PEERCRED`, unix(7)).
    Unix {
        /// Its user id.
        uid: u32,
        /// Its process id, where the system tells.
        process: Option<i32>,
    },
}

/// What is known of a connection before it says anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The address that it came in on: the machine's own, also where the listener's is the wildcard.
    pub local: Local,
    /// Who connected.
    pub peer: Peer,
}

/// One address that is ours.
#[derive(Debug)]
pub struct Endpoint {
    local: Local,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// A claimed address; the first worker's socket is made already, so that the port stays ours.
    Claimed { first: Option<Socket>, _claim: Claim },
    /// A Unix socket that is removed with the endpoint, unless another has taken its place.
    Bound { listener: StdUnixListener, inode: u64 },
    /// From systemd, which keeps it.
    PassedTcp(std::net::TcpListener),
    /// From systemd, which keeps it.
    PassedUnix(StdUnixListener),
}

impl Endpoint {
    /// The address, with the port that the system chose where port 0 was asked for.
    #[must_use]
    pub const fn local(&self) -> &Local {
        &self.local
    }

    /// As many listeners as there are workers. TCP connections are spread by the kernel (`SO_REUSEPORT`, socket(7));
    /// of a Unix socket, or one that systemd passed, each worker gets a duplicate.
    ///
    /// # Errors
    /// What the system says.
    pub fn listeners(&mut self, workers: usize) -> io::Result<Vec<BoundListener>> {
        (0..workers).map(|_| self.listener()).collect()
    }

    fn listener(&mut self) -> io::Result<BoundListener> {
        let socket = match (&mut self.source, &self.local) {
            (Source::Claimed { first, .. }, Local::Tcp(address)) => {
                let socket = first.take().map_or_else(|| listening(*address), Ok)?;
                StdListener::Tcp(socket.into())
            }
            (Source::PassedTcp(listener), _) => StdListener::Tcp(listener.try_clone()?),
            (Source::Bound { listener, .. } | Source::PassedUnix(listener), _) => {
                StdListener::Unix(listener.try_clone()?)
            }
            (Source::Claimed { .. }, Local::Unix(_)) => return Err(io::ErrorKind::InvalidInput.into()),
        };
        Ok(BoundListener { socket, local: self.local.clone(), seats: None })
    }

    pub(super) fn tcp(claim: Claim, proof: &Socket) -> io::Result<Self> {
        let address = local(proof)?;
        let first = Some(listening(address)?);
        Ok(Self { local: Local::Tcp(address), source: Source::Claimed { first, _claim: claim } })
    }

    pub(super) fn unix(key: &'static str, path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Socket { key, address: format!("unix:{}", path.display()), source };
        remove_stale(key, path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
        // The mode of the descriptor is the mode that the path gets (Linux), so it is never open to others.
        rustix::fs::fchmod(&socket, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .map_err(|error| failed(error.into()))?;
        socket.bind(&SockAddr::unix(path).map_err(failed)?).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        socket.listen(BACKLOG).map_err(failed)?;
        let inode = fs::symlink_metadata(path).map_err(failed)?.ino();
        Ok(Self { local: Local::Unix(path.into()), source: Source::Bound { listener: socket.into(), inode } })
    }

    pub(super) fn passed(key: &'static str, name: &str, socket: passed::Socket) -> Result<Self, Error> {
        let failed = |source| Error::Socket { key, address: format!("systemd:{name}"), source };
        Ok(match socket {
            passed::Socket::Tcp(listener) => {
                tune(&SockRef::from(&listener)).map_err(failed)?;
                let local = Local::Tcp(listener.local_addr().map_err(failed)?);
                Self { local, source: Source::PassedTcp(listener) }
            }
            passed::Socket::Unix(listener) => {
                let address = listener.local_addr().map_err(failed)?;
                let local = Local::Unix(address.as_pathname().map(Path::to_path_buf).unwrap_or_default());
                Self { local, source: Source::PassedUnix(listener) }
            }
        })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        if let (Source::Bound { inode, .. }, Local::Unix(path)) = (&self.source, &self.local)
            && fs::symlink_metadata(path).is_ok_and(|found| found.ino() == *inode)
        {
            // A socket that stays behind is stale, and removed by the next one to bind there.
            drop(fs::remove_file(path));
        }
    }
}

/// A socket of one worker, before it has a runtime.
#[derive(Debug)]
pub struct BoundListener {
    socket: StdListener,
    local: Local,
    seats: Option<Seats>,
}

#[derive(Debug)]
enum StdListener {
    Tcp(std::net::TcpListener),
    Unix(StdUnixListener),
}

impl BoundListener {
    /// The same, accepting no more connections than there are `seats`.
    #[must_use]
    pub fn within(self, seats: &Seats) -> Self {
        Self { seats: Some(seats.clone()), ..self }
    }

    /// The listener, in the runtime that this is called in.
    ///
    /// # Errors
    /// Where the runtime cannot watch it.
    pub fn start(self) -> io::Result<Listener> {
        let socket = match self.socket {
            StdListener::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                TokioListener::Tcp(TcpListener::from_std(socket)?)
            }
            StdListener::Unix(socket) => {
                socket.set_nonblocking(true)?;
                TokioListener::Unix(UnixListener::from_std(socket)?)
            }
        };
        Ok(Listener { socket, local: self.local, seats: self.seats })
    }
}

/// A socket that accepts.
#[derive(Debug)]
pub struct Listener {
    socket: TokioListener,
    local: Local,
    seats: Option<Seats>,
}

#[derive(Debug)]
enum TokioListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Where it listens.
    #[must_use]
    pub const fn local(&self) -> &Local {
        &self.local
    }

    /// The next connection, once there is a seat for it. One task waits for it at a time: of several the last would be
    /// woken.
    ///
    /// # Errors
    /// What accept(2) says: of the connection, which is gone then, or of the process (`EMFILE`), which the caller
    /// gives time.
    pub async fn accept(&self) -> io::Result<(Stream, Connection)> {
        // Taken before: what is not accepted has no descriptor of ours.
        let seat = match &self.seats {
            Some(seats) => seats.take().await,
            None => None,
        };
        match &self.socket {
            TokioListener::Tcp(listener) => {
                let (stream, peer) = poll_fn(|cx| listener.poll_accept(cx)).await?;
                if cfg!(not(target_os = "linux")) {
                    tune(&SockRef::from(&stream))?;
                }
                let local = match &self.local {
                    Local::Tcp(address) if address.ip().is_unspecified() => Local::Tcp(stream.local_addr()?),
                    local => local.clone(),
                };
                Ok((Stream::from(stream).seated(seat), Connection { local, peer: Peer::Tcp(peer) }))
            }
            TokioListener::Unix(listener) => {
                let (stream, _) = poll_fn(|cx| listener.poll_accept(cx)).await?;
                let credentials = stream.peer_cred()?;
                let peer = Peer::Unix { uid: credentials.uid(), process: credentials.pid() };
                Ok((Stream::from(stream).seated(seat), Connection { local: self.local.clone(), peer }))
            }
        }
    }
}

/// A listening socket that shares its port with its sisters.
fn listening(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    tune(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// No delay for small answers, and probes that find the dead: after 15 s of silence, three of them 5 s apart. On Linux
/// accepted sockets inherit both from the listener (tcp(7)), which saves two system calls a connection.
fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)).with_retries(3),
    )
}

/// Makes room for a Unix socket: a stale one goes, a live one is somebody's.
fn remove_stale(key: &'static str, path: &Path) -> Result<(), Error> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(Error::NoSocket { key, path: path.into() });
    }
    let address = format!("unix:{}", path.display());
    match StdUnixStream::connect(path) {
        Ok(stream) => Err(Error::Taken { key, address, holder: unix_holder(&stream), next_free: None }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|source| Error::Socket { key, address, source })
        }
        Err(source) => Err(Error::Socket { key, address, source }),
    }
}

/// Who listens at the other end of a Unix socket.
#[cfg(target_os = "linux")]
fn unix_holder(stream: &StdUnixStream) -> Option<Holder> {
    let credentials = rustix::net::sockopt::socket_peercred(stream).ok()?;
    let process = u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()?;
    let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    Some(Holder::Process { name: name.trim_end().to_owned(), process })
}

#[cfg(not(target_os = "linux"))]
fn unix_holder(_: &StdUnixStream) -> Option<Holder> {
    None
}
