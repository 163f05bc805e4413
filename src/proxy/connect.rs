//! Opening connections to an upstream.

use std::{
    future::Future,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    task::unconstrained,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use zeroize::Zeroize;

use super::{
    HttpVersion,
    failure::Failure,
    plan::{Target, Tunnel},
};
use crate::listen::{Stream, unpace};

/// After this long without an answer the next address is tried beside the first (RFC 8305 §5, "Connection Attempt
/// Delay").
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// The longest answer of a proxy to CONNECT.
const TUNNEL_ANSWER: usize = 16 * 1024;

/// A connection to an upstream.
#[derive(Debug)]
pub(super) enum Wire {
    /// TCP as it is.
    Plain(Stream),
    /// TLS over it.
    Tls(Box<TlsStream<Stream>>),
}

/// What is wanted of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Whatever the settings and the upstream agree on.
    Any,
    /// HTTP/1.1, which can be upgraded.
    H1,
}

/// What is spoken on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}

/// Opens a connection within `connect_timeout`, TLS included.
pub(super) async fn connect(target: &Target, wanted: Wanted) -> Result<(Wire, Protocol), Failure> {
    timeout(target.settings.connect_timeout, open(target, wanted)).await.map_err(|_| Failure::ConnectTimeout)?
}

async fn open(target: &Target, wanted: Wanted) -> Result<(Wire, Protocol), Failure> {
    let stream = match &target.tunnel {
        Some(proxy) => tunnel(proxy, target).await?,
        None => Stream::from(dial(&target.host, target.port).await?),
    };
    let by_configuration = match target.settings.http {
        HttpVersion::H2 => Protocol::H2,
        HttpVersion::H1 | HttpVersion::Auto => Protocol::H1,
    };
    let Some(tls) = &target.tls else { return Ok((Wire::Plain(stream), by_configuration)) };
    let config = if wanted == Wanted::H1 { &tls.h1 } else { &tls.any };
    let connector = TlsConnector::from(Arc::clone(config));
    let stream = connector.connect(tls.name.clone(), stream).await.map_err(Failure::Tls)?;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::H2,
        Some(_) => Protocol::H1,
        // Without ALPN the other side cannot have agreed to HTTP/2; who insists on it knows better.
        None => by_configuration,
    };
    Ok((Wire::Tls(Box::new(stream)), protocol))
}

/// A tunnel through a proxy that the environment names (RFC 9110 §9.3.6).
async fn tunnel(proxy: &Tunnel, target: &Target) -> Result<Stream, Failure> {
    let mut stream = Stream::from(dial(&proxy.host, proxy.port).await?);
    let mut request = proxy.request(&target.host, target.port);
    stream.write_all(&request).await.map_err(Failure::Connect)?;
    request.zeroize();
    let mut answer = Vec::with_capacity(512);
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        // A proxy that says more than this before the tunnel is open is none.
        if answer.len() > TUNNEL_ANSWER || stream.read_buf(&mut answer).await.map_err(Failure::Connect)? == 0 {
            return Err(Failure::Tunnel(None));
        }
    }
    let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
    match status {
        // Whoever is behind the tunnel does not speak first in TLS: what follows the head would be the proxy's own.
        Some(200..300) if answer.ends_with(b"\r\n\r\n") => Ok(stream),
        status => Err(Failure::Tunnel(status)),
    }
}

/// The first of the name's addresses that answers.
async fn dial(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await.map_err(Failure::Dns)?.collect();
    let mut addresses = alternate(addresses).into_iter();
    let Some(first) = addresses.next() else {
        return Err(Failure::Dns(io::Error::from(io::ErrorKind::NotFound)));
    };
    let mut attempts = FuturesUnordered::from_iter([attempt(first)]);
    let mut last = None;
    loop {
        tokio::select! {
            Some(outcome) = attempts.next() => match outcome {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            },
            () = sleep(NEXT_ADDRESS), if addresses.len() > 0 => {}
            else => return Err(Failure::Connect(last.unwrap_or_else(|| io::ErrorKind::NotConnected.into()))),
        }
        if let Some(next) = addresses.next() {
            attempts.push(attempt(next));
        }
    }
}

async fn attempt(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    tune(&stream)?;
    unpace(&SockRef::from(&stream), address.ip());
    Ok(stream)
}

/// Families take turns, the resolver's favourite first (RFC 8305 §4).
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(favourite) = addresses.first().map(SocketAddr::is_ipv6) else { return addresses };
    let (first, second): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == favourite);
    let longest = first.len().max(second.len());
    (0..longest).flat_map(|turn| [first.get(turn).copied(), second.get(turn).copied()]).flatten().collect()
}

/// No delay, and probes that find the dead: after 15 s of silence, three of them 5 s apart. No `TCP_USER_TIMEOUT`: it
/// would cut off an upload that the upstream holds back.
fn tune(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)).with_retries(3),
    )
}

impl Wire {
    /// Whether there is nothing to read and the other side has not closed, as far as that is known. Looks without asking
    /// to be woken, and reads what there is: a wire that is not silent is of no more use.
    pub(super) fn is_silent(&mut self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_silent(),
            Self::Tls(stream) => {
                let mut byte = [0; 1];
                let mut cx = Context::from_waker(Waker::noop());
                // A task whose turn is over would be told that there is nothing, whatever there is.
                pin!(unconstrained(stream.read(&mut byte))).poll(&mut cx).is_pending()
            }
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let [a, b, c]: [SocketAddr; 3] =
            ["[::1]:1", "[::2]:1", "127.0.0.1:1"].map(|text| text.parse().expect("an address"));
        assert_eq!(alternate(vec![a, b, c]), [a, c, b]);
    }

    /// Fails where the system paces by default, should the connection not be asked to let that be.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_goes_to_this_machine_is_sent_without_pauses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let stream = attempt(listener.local_addr().expect("an address")).await.expect("a connection");
        let name = SockRef::from(&stream).tcp_congestion().expect("a name");
        assert!(!name.starts_with(b"bbr"), "{}", name.escape_ascii());
    }
}
