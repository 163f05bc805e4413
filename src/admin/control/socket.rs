//! The control socket itself: bound so that it is never open to others, and the loop that accepts on it.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::{
    fs::{Mode, fchmod},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

use super::Service;

/// Connections that may wait to be accepted, and that are served at a time: one person's commands and a watcher or two.
const MAX_CONNECTIONS: usize = 32;

/// How long a command may take to state its request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long commands under way have to finish once the proxy goes down.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The pause after a failed accept, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something else lies there.
    #[error("{path}: is no socket; move it away")]
    NoSocket {
        /// The socket's path.
        path: PathBuf,
    },
    /// Another process listens there.
    #[error("{path}: another process listens on this socket")]
    Taken {
        /// The socket's path.
        path: PathBuf,
    },
    /// `sun_path` of `unix(7)` has 108 bytes.
    #[error("{path}: longer than a socket's path may be (107 bytes); set XDG_RUNTIME_DIR to a shorter directory")]
    TooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{path}: {source}")]
    System {
        /// The socket's path.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
}

/// A control socket that is listening. Its path goes away with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Socket {
    /// Listens at `path`, in the runtime that this is called in. Makes the directory (0700) where there is none, and
    /// takes the place of a socket that nobody listens on any more.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let system = |source: io::Error| BindError::System { path: path.into(), source };
        let address = SocketAddrUnix::new(path).map_err(|_| BindError::TooLong { path: path.into() })?;
        if let Some(directory) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(system)?;
        }
        make_room(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(|error| system(error.into()))?;
        // On Linux the path gets the mode of the descriptor, so that it is never open to others, not for a moment.
        // Elsewhere the system refuses this, and the credentials of each peer decide all the same.
        let _ = fchmod(&socket, Mode::RUSR | Mode::WUSR);
        bind(&socket, &address).map_err(|error| system(error.into()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(system)?;
        let backlog = i32::try_from(MAX_CONNECTIONS).unwrap_or(i32::MAX);
        listen(&socket, backlog).map_err(|error| system(error.into()))?;
        let inode = fs::symlink_metadata(path).map_err(system)?.ino();
        let listener = UnixListener::from_std(socket.into()).map_err(system)?;
        Ok(Self { listener, path: path.into(), inode })
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Serves until `stop` completes, then lets commands under way finish.
    pub async fn serve(self, service: Arc<Service>, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(converse(stream, Arc::clone(&service)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, path = %self.path.display(), "control socket: accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        // Those that take longer are cut off with the set.
        let _ = tokio::time::timeout(LAST_WORDS, async { while connections.join_next().await.is_some() {} }).await;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // A socket that stays behind is taken over by the next proxy to bind there.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// One request, one reply: a command has nothing more to say.
async fn converse(stream: UnixStream, service: Arc<Service>) {
    let peer = stream.peer_cred().ok().map(|credentials| credentials.uid());
    let answer = service_fn(|request| {
        let service = &service;
        async move { Ok::<_, Infallible>(service.answer(peer, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "control socket: a command went away");
    }
}

fn make_room(path: &Path) -> Result<(), BindError> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(BindError::NoSocket { path: path.into() });
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(BindError::Taken { path: path.into() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|source| BindError::System { path: path.into(), source })
        }
        Err(source) => Err(BindError::System { path: path.into(), source }),
    }
}
