//! The listener that a browser comes back to: on exactly one redirect URI, for exactly one callback.
//!
//! Answers the path of the URI alone, under the name of the URI alone; everything else is not found. It is gone with the
//! callback. The browser that brought it waits for its page until there is something to tell.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::select_all;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::{self, JoinSet},
    time::timeout,
};

use super::{
    callback::{Answer, Expected, Verdict},
    page::{self, Page},
};

/// A browser opens a handful; whoever opens more waits for those to end.
const MAX_CONNECTIONS: usize = 32;

/// How long the head of a request may take: browsers open connections to have them at hand, and those need not be kept.
const HEAD: Duration = Duration::from_secs(10);

/// No redirect is longer: Cognito's codes are UUIDs, and others' a few hundred octets.
const MAX_HEAD: usize = 32 * 1024;

/// How long a browser gets to take its page.
const FAREWELL: Duration = Duration::from_secs(2);

/// The sockets of one redirect URI.
#[derive(Debug)]
pub(super) struct Listener {
    sockets: Vec<TcpListener>,
    door: Arc<Door>,
    callbacks: mpsc::Receiver<Callback>,
    connections: JoinSet<()>,
}

/// What every connection is measured by.
#[derive(Debug)]
struct Door {
    path: String,
    authority: String,
    expected: Expected,
    callbacks: mpsc::Sender<Callback>,
}

/// A callback, and the connection that it came on.
#[derive(Debug)]
struct Callback {
    answer: Answer,
    page: oneshot::Sender<Page>,
    connection: task::Id,
}

/// A browser that waits to be told how it went.
#[derive(Debug)]
pub struct Visitor {
    waiting: Option<(oneshot::Sender<Page>, task::Id)>,
    connections: JoinSet<()>,
}

impl Listener {
    /// Listens where `redirect_uri` says. `localhost` is both loopback addresses, as a browser may take either; a
    /// family that this machine lacks is left out.
    pub(super) async fn bind(redirect_uri: &str, expected: Expected) -> io::Result<Self> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "no loopback address with a port");
        let uri: Uri = redirect_uri.parse().map_err(|_| invalid())?;
        let (host, port) = uri.host().zip(uri.port_u16()).ok_or_else(invalid)?;
        let addresses: &[SocketAddr] = match host {
            "127.0.0.1" => &[(Ipv4Addr::LOCALHOST, port).into()],
            "[::1]" => &[(Ipv6Addr::LOCALHOST, port).into()],
            name if name.eq_ignore_ascii_case("localhost") => {
                &[(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
            }
            _ => return Err(invalid()),
        };
        let mut sockets = Vec::new();
        let mut missing = None;
        for address in addresses {
            match TcpListener::bind(address).await {
                Ok(socket) => sockets.push(socket),
                Err(error) if is_family_missing(&error) => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let (true, Some(error)) = (sockets.is_empty(), missing) {
            return Err(error);
        }
        let (tell, callbacks) = mpsc::channel(1);
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let door = Door { path: uri.path().to_owned(), authority, expected, callbacks: tell };
        Ok(Self { sockets, door: Arc::new(door), callbacks, connections: JoinSet::new() })
    }

    /// The callback of this attempt, and the browser that brought it. Cancel safe.
    pub(super) async fn callback(&mut self) -> io::Result<(Answer, Visitor)> {
        loop {
            let may_accept = self.connections.len() < MAX_CONNECTIONS;
            let accept = select_all(self.sockets.iter().map(|socket| Box::pin(socket.accept())));
            tokio::select! {
                // Never closed, since `door` holds the other end.
                Some(Callback { answer, page, connection }) = self.callbacks.recv() => {
                    let connections = std::mem::take(&mut self.connections);
                    return Ok((answer, Visitor { waiting: Some((page, connection)), connections }));
                }
                Some(_) = self.connections.join_next() => {}
                (accepted, ..) = accept, if may_accept => match accepted {
                    Ok((stream, _)) => drop(self.connections.spawn(serve(stream, Arc::clone(&self.door)))),
                    Err(error) if is_passing(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

impl Visitor {
    /// Where the address was pasted nobody waits.
    pub(super) fn nobody() -> Self {
        Self { waiting: None, connections: JoinSet::new() }
    }

    /// Shows the page, and waits a moment until it has been taken.
    pub async fn tell(mut self, page: Page) {
        let Some((waiting, connection)) = self.waiting.take() else { return };
        // A browser that has left misses nothing that the terminal does not say.
        drop(waiting.send(page));
        let taken = async {
            while let Some(ended) = self.connections.join_next_with_id().await {
                // Others are kept open by the browser in case it needs them.
                if ended.map_or_else(|error| error.id(), |(id, ())| id) == connection {
                    break;
                }
            }
        };
        drop(timeout(FAREWELL, taken).await);
    }
}

async fn serve(stream: TcpStream, door: Arc<Door>) {
    let service = service_fn(move |request| {
        let door = Arc::clone(&door);
        async move { Ok::<_, io::Error>(door.answer(&request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the callback's listener ended");
    }
}

impl Door {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET || request.uri().path() != self.path || !self.is_named_in(request) {
            return page::respond(StatusCode::NOT_FOUND, &Page::NotFound);
        }
        let query = request.uri().query().unwrap_or_default();
        let Verdict::Ours(answer) = self.expected.judge(query) else {
            tracing::warn!("a callback of another sign-in came and was not taken");
            return page::respond(StatusCode::BAD_REQUEST, &Page::Foreign);
        };
        let (page, told) = oneshot::channel();
        if self.callbacks.try_send(Callback { answer, page, connection: task::id() }).is_err() {
            return page::respond(StatusCode::CONFLICT, &Page::Repeated);
        }
        match told.await {
            Ok(page) => page::respond(page.status(), &page),
            Err(_) => page::respond(StatusCode::SERVICE_UNAVAILABLE, &Page::Abandoned),
        }
    }

    /// Whether it is asked for under the redirect URI's own name: another one leads here only by a trick (DNS
    /// rebinding).
    fn is_named_in(&self, request: &Request<Incoming>) -> bool {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        host.is_some_and(|host| host.eq_ignore_ascii_case(&self.authority))
    }
}

/// Whether this machine lacks the address's family.
fn is_family_missing(error: &io::Error) -> bool {
    let missing =
        [rustix::io::Errno::AFNOSUPPORT, rustix::io::Errno::ADDRNOTAVAIL].map(rustix::io::Errno::raw_os_error);
    error.raw_os_error().is_some_and(|errno| missing.contains(&errno))
}

/// Whether the next `accept` may succeed (`accept(2)`): the peer had left.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionReset
    )
}
