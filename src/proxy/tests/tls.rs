//! Upstreams that speak TLS, and the way to them through a proxy.

use std::{cell::RefCell, path::PathBuf, rc::Rc, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::stage::{Backend, Stage, header, limits, local, message, settings, upstream};
use crate::{cognito::egress::Egress, proxy::Plan};

const GET: &str = "GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// What was read, connection by connection, with the protocol that was agreed on.
type Seen = Rc<RefCell<Vec<(Option<String>, String)>>>;

/// A TLS server for `localhost` and `upstream.example` whose certificate is its own authority.
struct Server {
    port: u16,
    authority: PathBuf,
    seen: Seen,
    _directory: tempfile::TempDir,
}

/// How the server says goodbye.
#[derive(Clone, Copy, PartialEq)]
enum Goodbye {
    Notify,
    Cut,
}

impl Server {
    /// Answers one request a connection with `reply` and closes.
    async fn new(alpn: &[&str], reply: &'static str, goodbye: Goodbye) -> Self {
        let names = vec!["localhost".to_owned(), "upstream.example".to_owned()];
        let certified = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        let authority = directory.path().join("ca.pem");
        std::fs::write(&authority, certified.cert.pem()).expect("written");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .expect("a key that fits");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&seen);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::task::spawn_local(answer(stream, reply, goodbye, Rc::clone(&log)));
                }
            }
        });
        Self { port, authority, seen, _directory: directory }
    }

    fn settings(&self, host: &str) -> crate::proxy::Settings {
        let mut upstream = upstream(&format!("https://{host}:{}", self.port));
        upstream.ca_file = Some(self.authority.clone());
        settings(upstream)
    }
}

async fn answer(mut stream: TlsStream<TcpStream>, reply: &'static str, goodbye: Goodbye, seen: Seen) {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut bytes).await.map_or(0, |length| length) == 0 {
            return;
        }
    }
    let alpn = stream.get_ref().1.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    seen.borrow_mut().push((alpn, String::from_utf8_lossy(&bytes).into_owned()));
    stream.write_all(reply.as_bytes()).await.expect("written");
    stream.flush().await.expect("written");
    match goodbye {
        Goodbye::Notify => drop(stream.shutdown().await),
        Goodbye::Cut => {
            let (mut stream, _) = stream.into_inner();
            drop(stream.shutdown().await);
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn a_trusted_upstream_is_spoken_to_by_its_name() {
    local(async {
        let server = Server::new(&["http/1.1"], OK, Goodbye::Notify).await;
        let stage = Stage::with(&server.settings("localhost"), limits());
        let reply = stage.ask(GET).await;
        assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("hi"), "{reply}");
        let seen = server.seen.borrow();
        assert_eq!(header(&seen[0].1, "host"), [format!("localhost:{}", server.port)]);
        assert_eq!(header(&seen[0].1, "authorization"), ["Bearer eyJ.first"]);
    });
}

#[test]
fn http2_is_agreed_on_and_an_upgrade_asks_for_http1() {
    local(async {
        let switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nbye";
        let server = Server::new(&["h2", "http/1.1"], switching, Goodbye::Notify).await;
        let stage = Stage::with(&server.settings("localhost"), limits());
        // The server is none of HTTP/2, which is enough to see that it was agreed on.
        let reply = stage.ask(GET).await;
        assert!(reply.starts_with("HTTP/1.1 502 "), "{reply}");
        let upgrade = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        let reply = stage.ask(upgrade).await;
        assert!(reply.starts_with("HTTP/1.1 101 ") && reply.ends_with("\r\n\r\nbye"), "{reply}");
        let seen = server.seen.borrow();
        assert_eq!(seen[0].0.as_deref(), Some("h2"));
        assert!(seen[0].1.starts_with("PRI * HTTP/2.0"), "{}", seen[0].1);
        assert_eq!(seen.last().expect("two").0.as_deref(), Some("http/1.1"));
    });
}

#[test]
fn an_upstream_that_nobody_vouches_for_gets_no_byte_of_http() {
    local(async {
        let server = Server::new(&["http/1.1"], OK, Goodbye::Notify).await;
        let mut untrusted = server.settings("localhost");
        untrusted.default_route.upstream.ca_file = None;
        let mut misnamed = server.settings("127.0.0.1");
        misnamed.default_route.upstream.ca_file = Some(server.authority.clone());
        for settings in [untrusted, misnamed] {
            let stage = Stage::with(&settings, limits());
            let reply = stage.ask(GET).await;
            assert!(reply.starts_with("HTTP/1.1 502 ") && reply.contains("upstream_tls"), "{reply}");
            assert!(header(&reply, "proxy-status")[0].contains("error=tls_certificate_error;"), "{reply}");
        }
        assert!(server.seen.borrow().is_empty());
    });
}

#[test]
fn an_upstream_without_tls_is_told_from_one_with_a_bad_certificate() {
    local(async {
        let backend = Backend::scripted(|mut stream, _, _| async move {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await);
            drop(super::stage::rest(&mut stream).await);
        })
        .await;
        let stage = Stage::with(&settings(upstream(&backend.url.replace("http:", "https:"))), limits());
        let reply = stage.ask(GET).await;
        assert!(reply.starts_with("HTTP/1.1 502 ") && reply.contains("upstream_tls"), "{reply}");
        assert!(header(&reply, "proxy-status")[0].contains("error=tls_protocol_error;"), "{reply}");
    });
}

#[test]
fn a_body_that_ends_without_a_goodbye_is_truncated() {
    local(async {
        for (goodbye, is_whole) in [(Goodbye::Notify, true), (Goodbye::Cut, false)] {
            let server = Server::new(&["http/1.1"], "HTTP/1.1 200 OK\r\n\r\nall?", goodbye).await;
            let stage = Stage::with(&server.settings("localhost"), limits());
            let reply = stage.ask(GET).await;
            assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
            assert_eq!(reply.ends_with("0\r\n\r\n"), is_whole, "{reply}");
        }
    });
}

#[test]
fn a_proxy_of_the_environment_is_asked_for_a_tunnel() {
    local(async {
        let server = Server::new(&["http/1.1"], OK, Goodbye::Notify).await;
        let port = server.port;
        let egress = Backend::scripted(move |mut stream, _, seen| async move {
            let request = message(&mut stream).await.expect("a request");
            let is_known = request.contains(" upstream.example:");
            seen.borrow_mut().push(request);
            if !is_known {
                drop(stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await);
                return;
            }
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.expect("written");
            let mut far = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
            drop(copy_bidirectional(&mut stream, &mut far).await);
        })
        .await;
        let named = egress.url.replace("http://", "http://user:pass@");
        let rules = Egress::new(&named, "");
        for (host, status) in [("upstream.example", "200"), ("other.example", "502")] {
            let plan = Plan::new(&server.settings(host), Duration::from_secs(1), &rules).expect("a plan");
            let reply = Stage::following(plan, limits()).ask(GET).await;
            assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {reply}");
        }
        let seen = egress.seen.borrow();
        assert!(seen[0].starts_with(&format!("CONNECT upstream.example:{port} HTTP/1.1\r\n")), "{}", seen[0]);
        assert_eq!(header(&seen[0], "proxy-authorization"), ["Basic dXNlcjpwYXNz"]);
        assert_eq!(server.seen.borrow().len(), 1);
    });
}
