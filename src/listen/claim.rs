//! Claiming a TCP address, so that no second instance can share it unnoticed.
//!
//! `SO_REUSEPORT`, which the workers need, would let another process of the same user join in silence. So before any
//! such socket is made, a lock is taken and a bind without that option must succeed.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Owner, holder};

/// How far above a taken port a free one is looked for.
const SEARCH: u16 = 50;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else has it.
    #[error("{key}: {address} is taken{}; {}", by(holder.as_ref()), next(*next_free))]
    Taken {
        /// The configuration key.
        key: &'static str,
        /// The address.
        address: String,
        /// Who has it, where that can be known.
        holder: Option<Holder>,
        /// A port near it that is free now.
        next_free: Option<u16>,
    },
    /// The name leads nowhere.
    #[error("{key}: {address} cannot be resolved: {source}")]
    Resolve {
        /// The configuration key.
        key: &'static str,
        /// The address.
        address: String,
        /// What the resolver says.
        source: io::Error,
    },
    /// This machine has no such address, or lacks its family.
    #[error("{key}: {address} is none of this machine's addresses; leave it out or write another")]
    Unavailable {
        /// The configuration key.
        key: &'static str,
        /// The address.
        address: String,
    },
    /// An address beyond loopback, without leave.
    #[error("{key}: {address} can be reached from other machines; set listen.allow_remote and guard.client_key_file")]
    Remote {
        /// The configuration key.
        key: &'static str,
        /// The address.
        address: String,
    },
    /// systemd passed no socket of that name.
    #[error("{key}: systemd passed no socket named {name:?}; set FileDescriptorName={name} in the socket unit")]
    NotPassed {
        /// The configuration key.
        key: &'static str,
        /// The name.
        name: String,
    },
    /// Something that is no socket lies at the path of a Unix socket.
    #[error("{key}: {} is no socket; remove it or write another path", path.display())]
    NoSocket {
        /// The configuration key.
        key: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// The lock, or the directory that it is in.
    #[error("the lock {} cannot be taken: {source}", path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Anything else that the system refuses.
    #[error("{key}: cannot listen on {address}: {source}")]
    Socket {
        /// The configuration key.
        key: &'static str,
        /// The address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Who has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Another cognito-proxy.
    Profile {
        /// Its profile.
        profile: String,
        /// Its process id.
        process: u32,
    },
    /// Any other process.
    Process {
        /// Its name.
        name: String,
        /// Its process id.
        process: u32,
    },
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Profile { profile, process } => {
                write!(f, "the cognito-proxy of profile {profile:?} (process {process})")
            }
            Self::Process { name, process } => write!(f, "{name} (process {process})"),
        }
    }
}

fn by(holder: Option<&Holder>) -> String {
    holder.map(|holder| format!(" by {holder}")).unwrap_or_default()
}

fn next(port: Option<u16>) -> String {
    match port {
        Some(port) => format!("port {port} is free"),
        None => "write another address".into(),
    }
}

/// An address that is ours: the lock is held until this is dropped, or the process ends.
#[derive(Debug)]
pub(super) struct Claim {
    _lock: File,
}

/// Claims `address`. Returns the socket that proves it, bound and not listening, which keeps the port until the
/// workers' sockets have it; with port 0 it has the port that the system chose.
pub(super) fn claim(key: &'static str, address: SocketAddr, owner: Owner<'_>) -> Result<(Claim, Socket), Error> {
    if address.port() == 0 {
        let socket = probe(address).map_err(|source| refused(key, address, source))?;
        let address = local(&socket).map_err(|source| refused(key, address, source))?;
        return Ok((Claim { _lock: lock(key, address, owner)? }, socket));
    }
    let lock = lock(key, address, owner)?;
    let socket = probe(address).map_err(|source| refused(key, address, source))?;
    Ok((Claim { _lock: lock }, socket))
}

/// The address that a socket is bound to.
pub(super) fn local(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

/// A bind with `SO_REUSEADDR` alone: it fails where anybody listens, with whatever options.
fn probe(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

/// What a failed bind means.
pub(super) fn refused(key: &'static str, address: SocketAddr, source: io::Error) -> Error {
    let shown = address.to_string();
    match source.kind() {
        io::ErrorKind::AddrInUse => taken(key, address, None),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported => Error::Unavailable { key, address: shown },
        // A machine without IPv6 refuses to make the socket at all.
        _ if source.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => {
            Error::Unavailable { key, address: shown }
        }
        _ => Error::Socket { key, address: shown, source },
    }
}

fn taken(key: &'static str, address: SocketAddr, holder: Option<Holder>) -> Error {
    let holder = holder.or_else(|| holder::of(address).map(|(process, name)| Holder::Process { name, process }));
    let next_free = (1..=SEARCH)
        .filter_map(|step| address.port().checked_add(step))
        .find(|port| probe(SocketAddr::new(address.ip(), *port)).is_ok());
    Error::Taken { key, address: address.to_string(), holder, next_free }
}

fn lock(key: &'static str, address: SocketAddr, owner: Owner<'_>) -> Result<File, Error> {
    let path = owner.runtime_dir.join(format!("{address}.lock"));
    let failed = |source| Error::Lock { path: path.clone(), source };
    let mut file = open(owner.runtime_dir, &path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(taken(key, address, read_holder(&mut file))),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    // Who holds it, for the message that the next one gets. The lock itself is the kernel's.
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{} {}", std::process::id(), owner.profile).map_err(failed)?;
    Ok(file)
}

fn open(directory: &Path, path: &Path) -> io::Result<File> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // Never truncated here: the line in it belongs to whoever holds the lock.
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut line = String::new();
    file.read_to_string(&mut line).ok()?;
    let (process, profile) = line.trim_end().split_once(' ')?;
    Some(Holder::Profile { profile: profile.to_owned(), process: process.parse().ok()? })
}
