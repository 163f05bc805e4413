//! Exchanges with servers that follow a script, and through proxies.

use std::net::SocketAddr;

use http::StatusCode;
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

use super::{
    super::fixtures::{Act, Scripted, body, json, plain},
    *,
};
use crate::{session::TransientKind, tls};

const HASTY: Limits = Limits { connect: Duration::from_millis(300), total: Duration::from_millis(600) };

async fn post(transport: &Transport, url: &str) -> Result<Response<Bytes>, TransportError> {
    let request = Request::builder().method("POST").uri(url).body(Bytes::from_static(b"spent"));
    transport.call(request.expect("a request")).await
}

fn said(error: &TransportError) -> (TransientKind, bool) {
    (error.kind(), error.sent())
}

#[tokio::test]
async fn an_answer_comes_whole_and_the_request_has_a_host() {
    let server = Scripted::start([json(200, "{}")]).await;
    let response = post(&plain(), &format!("{}/x?y=1", server.url())).await.expect("an answer");
    assert_eq!((response.status(), response.body().as_ref()), (StatusCode::OK, &b"{}"[..]));
    let peer = server.url().trim_start_matches("http://").to_owned();
    let request = server.requests().await.remove(0);
    assert!(request.starts_with("POST /x?y=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: {peer}\r\n")) && request.ends_with("\r\n\r\nspent"), "{request}");
}

#[tokio::test]
async fn what_fails_before_the_request_was_written_was_not_sent() {
    let closed = Scripted::start([]).await.url();
    let tls = |server: &Scripted| server.url().replacen("http", "https", 1);
    let garbage = Scripted::start([Act::Speak(b"220 smtp.example ESMTP\r\n".to_vec())]).await;
    let mute = Scripted::start([Act::Hang]).await;
    let hasty = Scripted::start([Act::CloseAtOnce]).await;
    for (url, kind) in [
        ("https://no-such-name.invalid/".to_owned(), TransientKind::Dns),
        (closed, TransientKind::Connect),
        ("ftp://127.0.0.1/".to_owned(), TransientKind::Connect),
        (tls(&garbage), TransientKind::Tls),
        (tls(&mute), TransientKind::Timeout),
        (tls(&hasty), TransientKind::Disconnected),
    ] {
        // A name that does not exist may take its time; nothing else needs any.
        let patience = if kind == TransientKind::Dns { LIMITS } else { HASTY };
        let error = post(&plain().limited(patience), &url).await.expect_err("no answer");
        assert!(said(&error) == (kind, false) || kind == TransientKind::Dns && !error.sent(), "{url}: {error}");
    }
}

#[tokio::test]
async fn what_fails_after_the_request_was_written_may_have_been_acted_upon() {
    let truncated = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec();
    for (act, kind) in [
        (Act::Hang, TransientKind::Timeout),
        (Act::Drip, TransientKind::Timeout),
        (Act::Reset, TransientKind::Disconnected),
        (Act::Close, TransientKind::Disconnected),
        (Act::Answer(truncated), TransientKind::Disconnected),
    ] {
        let name = format!("{act:?}");
        let server = Scripted::start([act]).await;
        let error = post(&plain().limited(HASTY), &server.url()).await.expect_err("no answer");
        assert_eq!(said(&error), (kind, true), "{name}: {error}");
        assert_eq!(server.requests().await.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn pages_are_refused_and_redirects_not_followed() {
    let html = "text/html; charset=utf-8";
    for (act, refused) in [
        (body(200, html, "<p>Welcome to the airport"), true),
        (body(200, "text/plain", "  <!doctype html>"), true),
        (body(302, "application/json", "{}"), true),
        (body(511, "application/json", "{}"), true),
        (body(403, html, "<p>blocked"), true),
        (body(503, html, "<p>Service unavailable"), false),
        (json(400, "{}"), false),
    ] {
        let server = Scripted::start([act]).await;
        let answer = post(&plain(), &server.url()).await;
        assert_eq!(answer.is_err(), refused, "{answer:?}");
        if let Err(error) = answer {
            assert_eq!(said(&error), (TransientKind::CaptivePortal, false));
        }
        assert_eq!(server.requests().await.len(), 1);
    }
}

#[tokio::test]
async fn what_is_no_http_or_has_no_end_is_malformed() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(BODY_LIMIT + 1)).into_bytes();
    for act in [Act::Answer(b"220 smtp.example ESMTP\r\n\r\n".to_vec()), Act::Answer(endless)] {
        let server = Scripted::start([act]).await;
        let error = post(&plain(), &server.url()).await.expect_err("refused");
        assert_eq!(said(&error), (TransientKind::Malformed, false), "{error}");
    }
}

/// A server for `cognito.test` in TLS, and a transport that trusts it and goes through `proxy`.
async fn server(proxy: &str) -> (SocketAddr, Transport) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["cognito.test".into()]).expect("a name");
    let certificate = params.self_signed(&key).expect("self-signed");
    let ca = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(ca.path(), certificate.pem()).expect("written");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        );
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("a server")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            let mut head = [0; 4096];
            let read = stream.read(&mut head).await.expect("a request");
            assert!(head[..read].starts_with(b"GET /x HTTP/1.1\r\n"));
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.expect("written");
            drop(stream.shutdown().await);
        }
    });
    let trust = tls::client_config(Some(ca.path()), None).expect("a trust store");
    (address, Transport::through(trust, Egress::new(proxy, "")))
}

/// A proxy that says `reply`, and tunnels to the address that it is told where that is a 200.
async fn proxy(reply: &'static str) -> (String, mpsc::UnboundedReceiver<String>, mpsc::UnboundedSender<SocketAddr>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://user:pass@{}", listener.local_addr().expect("bound"));
    let (seen, heads) = mpsc::unbounded_channel();
    let (tell, mut told) = mpsc::unbounded_channel::<SocketAddr>();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.expect("a head"));
            }
            seen.send(String::from_utf8(head).expect("text")).expect("the test listens");
            client.write_all(format!("HTTP/1.1 {reply}\r\n\r\n").as_bytes()).await.expect("written");
            if reply.starts_with("200") {
                let to = told.recv().await.expect("an address");
                let mut server = TcpStream::connect(to).await.expect("a connection");
                drop(copy_bidirectional(&mut client, &mut server).await);
            }
        }
    });
    (url, heads, tell)
}

async fn get(transport: &Transport, url: &str) -> Result<Response<Bytes>, TransportError> {
    transport.call(Request::get(url).body(Bytes::new()).expect("a request")).await
}

#[tokio::test]
async fn https_goes_through_the_proxy_and_is_verified_end_to_end() {
    let (url, mut heads, tell) = proxy("200 Connection established").await;
    let (address, transport) = server(&url).await;
    tell.send(address).expect("the proxy listens");
    let response = get(&transport, "https://cognito.test/x").await.expect("an answer");
    assert_eq!(response.body().as_ref(), b"{}");
    let head = heads.recv().await.expect("a tunnel");
    assert!(head.starts_with("CONNECT cognito.test:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: Basic dXNlcjpwYXNz\r\n"), "{head}");

    // Whoever answers beyond the tunnel must be who was called, proxy or none.
    tell.send(address).expect("the proxy listens");
    let error = get(&transport, "https://other.test/x").await.expect_err("refused");
    assert_eq!((error.kind(), error.sent()), (TransientKind::Tls, false), "{error}");
}

#[tokio::test]
async fn a_proxy_that_opens_no_tunnel_is_named_without_its_password() {
    for (reply, words) in [("407 Proxy Authentication Required", "HTTPS_PROXY (407)"), ("503 No", "503")] {
        let (url, _heads, _tell) = proxy(reply).await;
        let (_, transport) = server(&url).await;
        let error = get(&transport, "https://cognito.test/x").await.expect_err("refused");
        assert_eq!((error.kind(), error.sent()), (TransientKind::Connect, false));
        assert!(error.to_string().contains(words) && !error.to_string().contains("user:"), "{error}");
    }
}
