//! Sockets: the accept loop, and a handle on each connection's socket with which it can be reset.

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::{TcpListener, TcpStream};

use super::tasks::Tasks;

/// How long the accept loop rests after an error such as "too many open files" (`accept(2)`).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens on `address` and tells the address that it got.
pub(super) async fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Accepts until its task ends, and runs `serve` for each connection as a task of its own.
pub(super) async fn accept<F>(listener: TcpListener, tasks: Tasks, serve: impl Fn(TcpStream, ResetSwitch) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                drop(stream.set_nodelay(true));
                if let Ok(switch) = ResetSwitch::of(&stream) {
                    tasks.spawn(serve(stream, switch));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A second handle on a connection's socket. While it exists the socket is open, so it goes down with the connection.
#[derive(Debug)]
pub(super) struct ResetSwitch(socket2::Socket);

impl ResetSwitch {
    fn of(stream: &TcpStream) -> io::Result<Self> {
        socket2::SockRef::from(stream).try_clone().map(Self)
    }

    /// Makes the close that follows a reset (`socket(7)`, `SO_LINGER` of zero), and returns the error with which to
    /// leave the connection.
    pub(super) fn reset(&self) -> io::Error {
        if let Err(error) = self.0.set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "the connection is closed instead of being reset");
        }
        io::Error::from(io::ErrorKind::ConnectionReset)
    }
}
