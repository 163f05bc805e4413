//! From a URL to a stream that speaks to whoever it names: name, connection, tunnel, TLS.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{BoxFuture, Either, select},
    stream::FuturesUnordered,
};
use http::{HeaderValue, Method, Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::Empty;
use hyper::{client::conn::http1, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, lookup_host},
    sync::OnceCell,
    time::sleep,
};
use tokio_rustls::TlsConnector;

use super::{
    egress::{Egress, Proxy},
    transport_error::{TransportError, chain, peer},
};
use crate::tls;

/// The next address is tried beside the last when that has not answered by then (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A byte stream in both directions, whatever it is made of.
///
/// A type of its own and no bare box: inside a future the compiler forgets that the box's content is `'static`, and
/// then cannot prove that a connection over it is `Send`.
pub(super) struct Stream(Box<dyn Duplex>);

impl Stream {
    fn new(stream: impl Duplex + 'static) -> Self {
        Self(Box::new(stream))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Whoever knows the addresses of names. Asked anew for each connection: what it said before is not remembered here.
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses of `peer`, which is `HOST:PORT`.
    ///
    /// # Errors
    /// Where it has none, or nobody can be asked.
    fn addresses(&self, peer: String) -> BoxFuture<'_, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver.
#[derive(Clone, Copy, Debug)]
pub(super) struct System;

impl Resolve for System {
    fn addresses(&self, peer: String) -> BoxFuture<'_, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { lookup_host(peer).await.map(Iterator::collect) })
    }
}

/// Dials by the way out and with the trust that it was made with.
#[derive(Debug)]
pub(super) struct Dialler {
    tls: OnceCell<Arc<rustls::ClientConfig>>,
    egress: Egress,
    names: Arc<dyn Resolve>,
}

impl Dialler {
    /// The protocol is HTTP/1.1, and TLS says so.
    pub(super) fn new(tls: rustls::ClientConfig, egress: Egress, names: Arc<dyn Resolve>) -> Self {
        Self { tls: OnceCell::new_with(Some(for_http1(tls))), egress, names }
    }

    /// Trusts whom the system trusts, whose certificates are read when they are first needed.
    pub(super) fn of_system(egress: Egress, names: Arc<dyn Resolve>) -> Self {
        Self { tls: OnceCell::new(), egress, names }
    }

    /// The settings of TLS, read where they have not been. Reading takes milliseconds, and blocks.
    pub(super) async fn tls(&self) -> Result<Arc<rustls::ClientConfig>, tls::Error> {
        let read = || async {
            let read = tokio::task::spawn_blocking(|| tls::client_config(None, None)).await;
            let unread = |_| tls::Error::TrustStore(rustls::Error::General("they were not read to the end".into()));
            read.map_err(unread)?.map(for_http1)
        };
        self.tls.get_or_try_init(read).await.cloned()
    }

    /// A stream to the host of `uri`, in TLS where its scheme is `https`.
    pub(super) async fn connect(&self, uri: &Uri) -> Result<Stream, TransportError> {
        let stream = match self.egress.proxy(uri) {
            Some(proxy) => self.tunnel(&proxy, &peer(uri)?).await?,
            None => Stream::new(self.dial(uri).await?),
        };
        if uri.scheme() == Some(&Scheme::HTTPS) { self.secure(uri, stream).await } else { Ok(stream) }
    }

    /// A connection to the host of `uri`, whichever of its addresses answers first.
    async fn dial(&self, uri: &Uri) -> Result<TcpStream, TransportError> {
        let peer = peer(uri)?;
        let addresses = self.names.addresses(peer.clone()).await;
        let addresses = addresses.map_err(|source| TransportError::Dns { host: bare_host(uri).to_owned(), source })?;
        let stream = race(addresses).await.map_err(|source| TransportError::Connect { peer, source })?;
        // A request is one write; waiting for more would only delay it. Where the option is refused nothing is lost.
        drop(stream.set_nodelay(true));
        Ok(stream)
    }

    async fn secure(&self, uri: &Uri, stream: Stream) -> Result<Stream, TransportError> {
        let host = bare_host(uri).to_owned();
        let name = ServerName::try_from(host.clone());
        let name = name.map_err(|_| TransportError::Address { uri: uri.to_string() })?;
        let tls = match self.tls().await {
            Ok(tls) => tls,
            Err(error) => return Err(TransportError::Tls { host, source: rustls::Error::General(error.to_string()) }),
        };
        match TlsConnector::from(tls).connect(name, stream).await {
            Ok(stream) => Ok(Stream::new(stream)),
            Err(error) => match error.downcast::<rustls::Error>() {
                Ok(source) => Err(TransportError::Tls { host, source }),
                Err(error) => Err(TransportError::Disconnected {
                    peer: peer(uri)?,
                    problem: format!("during the TLS handshake: {error}"),
                    sent: false,
                }),
            },
        }
    }

    /// A tunnel to `to`, opened by `proxy` (RFC 9110 §9.3.6).
    async fn tunnel(&self, proxy: &Proxy, to: &str) -> Result<Stream, TransportError> {
        if !matches!(proxy.uri.scheme_str(), Some("http" | "https")) {
            return Err(no_tunnel(proxy, to, "only http:// and https:// proxies can be used".into()));
        }
        let tcp = Stream::new(self.dial(&proxy.uri).await?);
        let secure = proxy.uri.scheme() == Some(&Scheme::HTTPS);
        let stream = if secure { self.secure(&proxy.uri, tcp).await? } else { tcp };
        match open_tunnel(stream, to, proxy.authorization.clone()).await {
            Ok(upgraded) => Ok(Stream::new(TokioIo::new(upgraded))),
            Err(problem) => Err(no_tunnel(proxy, to, problem)),
        }
    }
}

fn for_http1(mut tls: rustls::ClientConfig) -> Arc<rustls::ClientConfig> {
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(tls)
}

fn no_tunnel(proxy: &Proxy, to: &str, problem: String) -> TransportError {
    let proxy = proxy.uri.authority().map(ToString::to_string).unwrap_or_default();
    TransportError::Proxy { proxy, peer: to.to_owned(), problem }
}

/// Asks for the tunnel; an error says what came instead.
async fn open_tunnel(stream: Stream, to: &str, authorization: Option<HeaderValue>) -> Result<Upgraded, String> {
    let mut request = Request::builder().method(Method::CONNECT).uri(to).header(header::HOST, to);
    if let Some(authorization) = authorization {
        request = request.header(header::PROXY_AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let said = |error: hyper::Error| chain(&error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let opening = async move {
        let response = sender.send_request(request).await.map_err(said)?;
        match response.status() {
            status if status.is_success() => hyper::upgrade::on(response).await.map_err(said),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Err("it wants a user name and password in HTTPS_PROXY (407)".into())
            }
            status => Err(format!("it answered {status}")),
        }
    };
    driven(opening, connection.with_upgrades()).await
}

/// Polls a connection for as long as what happens over it takes, so that no task of its own is needed for it.
pub(super) async fn driven<T>(work: impl Future<Output = T>, connection: impl Future) -> T {
    match select(pin!(work), pin!(connection)).await {
        Either::Left((value, _)) => value,
        Either::Right((_, work)) => work.await,
    }
}

/// The host of `uri` as TLS and the resolver want it: an IPv6 address without its brackets.
fn bare_host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut untried = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    loop {
        match untried.next() {
            Some(address) => attempts.push(TcpStream::connect(address)),
            None if attempts.is_empty() => return Err(last),
            None => {}
        }
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            },
            () = sleep(STAGGER), if untried.len() > 0 => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_address_that_answers_first_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let good = listener.local_addr().expect("bound");
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
        let stream = race(vec![closed, good]).await.expect("a connection");
        assert_eq!(stream.peer_addr().expect("connected"), good);
        assert!(race(vec![closed]).await.is_err());
        assert!(race(Vec::new()).await.is_err());
    }
}
