//! A relay between the program and a pool, which spoils connections on demand, and a TLS server with a certificate of
//! one's choice. Both count what came through.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// Nothing.
    Clear,
    /// It is held this long, and then nothing.
    Delayed(Duration),
    /// It is taken, and nothing is ever read or said.
    BlackHole,
    /// The request is read and the connection reset; the pool has not seen it.
    ResetBefore,
    /// The pool has answered, and the connection is reset.
    ResetAfter,
    /// The first bytes of the answer come, and then the end.
    Truncated(usize),
    /// The answer comes at this pace, one byte at a time.
    Dripping(Duration),
    /// Somebody else answers with this status and a page.
    Page(u16),
}

/// A relay that runs until it is dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    path: watch::Sender<Path>,
    accepted: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn to(upstream: SocketAddr, path: Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("bound");
        let path = watch::Sender::new(path);
        let accepted = Arc::new(AtomicU64::new(0));
        let (chosen, count) = (path.subscribe(), Arc::clone(&accepted));
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                connections.spawn(carry(client, upstream, *chosen.borrow()));
            }
        });
        Self { address, path, accepted, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What happens to connections from now on.
    pub(crate) fn set(&self, path: Path) {
        self.path.send_replace(path);
    }

    /// How many connections came.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, upstream: SocketAddr, path: Path) {
    match path {
        Path::BlackHole => std::future::pending().await,
        Path::Page(status) => {
            request(&mut client).await;
            let page = "<html><body>Please accept the terms.</body></html>";
            let location = if status == 302 { "Location: http://127.0.0.1:9/portal\r\n" } else { "" };
            let head = format!(
                "HTTP/1.1 {status} Portal\r\n{location}Content-Type: text/html\r\nContent-Length: {}\r\n\r\n",
                page.len()
            );
            let _ = client.write_all(format!("{head}{page}").as_bytes()).await;
        }
        Path::ResetBefore => {
            request(&mut client).await;
            reset(client);
        }
        Path::Clear => pass(client, upstream).await,
        Path::Delayed(delay) => {
            tokio::time::sleep(delay).await;
            pass(client, upstream).await;
        }
        Path::ResetAfter => {
            answered(&mut client, upstream).await;
            reset(client);
        }
        Path::Truncated(length) => {
            let answer = answered(&mut client, upstream).await;
            let _ = client.write_all(&answer[..length.min(answer.len())]).await;
        }
        Path::Dripping(pace) => {
            for byte in answered(&mut client, upstream).await {
                if client.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(pace).await;
            }
        }
    }
}

async fn pass(mut client: TcpStream, upstream: SocketAddr) {
    if let Ok(mut server) = TcpStream::connect(upstream).await {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

/// Lets the pool answer, and keeps the answer.
async fn answered(client: &mut TcpStream, upstream: SocketAddr) -> Vec<u8> {
    let asked = request(client).await;
    let mut server = TcpStream::connect(upstream).await.expect("the pool");
    server.write_all(&asked).await.expect("the pool reads");
    message(&mut server).await
}

async fn request(client: &mut TcpStream) -> Vec<u8> {
    message(client).await
}

/// One HTTP message with a `Content-Length`, or as much of it as comes.
async fn message(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |length| length.trim().parse().expect("a length"));
            if bytes.len() >= end + length {
                return bytes;
            }
        }
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return bytes,
            Ok(length) => bytes.extend_from_slice(&piece[..length]),
        }
    }
}

/// Closes with a reset instead of an end.
fn reset(stream: TcpStream) {
    let stream = stream.into_std().expect("a socket");
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket option");
    drop(stream);
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// Nothing.
    None,
    /// It ran out in 2001.
    Expired,
    /// It is for another name.
    WrongName,
    /// Nobody knows who signed it.
    UnknownAuthority,
}

/// A TLS server before a pool. It passes on what clients say once they trust it.
pub(crate) struct TlsFront {
    address: SocketAddr,
    /// The authority to trust, as PEM.
    pub(crate) authority: String,
    clear_bytes: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl TlsFront {
    pub(crate) async fn of(upstream: SocketAddr, flaw: Flaw) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("bound");
        let (authority, config) = identity(flaw);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (clear_bytes, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (read, came) = (Arc::clone(&clear_bytes), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                came.fetch_add(1, Ordering::SeqCst);
                let Ok(mut client) = acceptor.accept(client).await else { continue };
                let mut server = TcpStream::connect(upstream).await.expect("the pool");
                if let Ok((said, _)) = copy_bidirectional(&mut client, &mut server).await {
                    read.fetch_add(said, Ordering::SeqCst);
                }
            }
        });
        Self { address, authority, clear_bytes, connections, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// How many bytes clients said under TLS.
    pub(crate) fn clear_bytes(&self) -> u64 {
        self.clear_bytes.load(Ordering::SeqCst)
    }

    /// How many connections came, whether or not they got through TLS.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The authority that clients are told to trust, and a server's side of TLS.
fn identity(flaw: Flaw) -> (String, rustls::ServerConfig) {
    let trusted = authority();
    let stranger = authority();
    let name = if flaw == Flaw::WrongName { "elsewhere.example" } else { "localhost" };
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    if flaw == Flaw::Expired {
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
    }
    let key = KeyPair::generate().expect("a key");
    let signer = if flaw == Flaw::UnknownAuthority { &stranger.1 } else { &trusted.1 };
    let certificate = params.signed_by(&key, signer).expect("signed");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .expect("an identity");
    (trusted.0, config)
}

/// The certificate of an authority, and the authority.
pub(crate) fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("signed");
    (certificate.pem(), Issuer::new(params, key))
}
