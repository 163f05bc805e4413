//! An HTTP/2 upstream that breaks off what it had begun.

use bytes::Bytes;
use h2::Reason;
use http::Response;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::stage::{Stage, limits, local, rest, settings, upstream};
use crate::proxy::HttpVersion;

/// Answers with half a response, and resets its stream when told to. `Ok` once the other side has reset it.
async fn backend(reason: Option<Reason>) -> (Stage, mpsc::Sender<()>, mpsc::Receiver<Reason>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut upstream = upstream(&format!("http://{}", listener.local_addr().expect("bound")));
    upstream.http = HttpVersion::H2;
    let (go, mut told) = mpsc::channel::<()>(1);
    let (reset, resets) = mpsc::channel(1);
    tokio::task::spawn_local(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let (_request, mut respond) = connection.accept().await.expect("a request").expect("a request");
        tokio::task::spawn_local(async move {
            let mut reply = respond.send_response(Response::new(()), false).expect("sent");
            reply.send_data(Bytes::from_static(b"half"), false).expect("sent");
            if let Some(reason) = reason {
                told.recv().await.expect("the test says when");
                reply.send_reset(reason);
            } else {
                let reason = std::future::poll_fn(|cx| reply.poll_reset(cx)).await.expect("a reset");
                reset.send(reason).await.expect("the test waits");
            }
        });
        while connection.accept().await.is_some() {}
    });
    (Stage::with(&settings(upstream), limits()), go, resets)
}

/// A client that has sent `request` and has got the half.
async fn halfway(stage: &Stage, request: &str) -> TcpStream {
    let mut client = stage.connect().await;
    client.write_all(request.as_bytes()).await.expect("written");
    let mut read = Vec::new();
    while !read.windows(4).any(|bytes| bytes == b"half") {
        assert!(client.read_buf(&mut read).await.expect("read") > 0, "{}", String::from_utf8_lossy(&read));
    }
    client
}

#[test]
fn a_response_that_is_broken_off_without_a_fault_is_no_whole_one() {
    local(async {
        for reason in [Reason::CANCEL, Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
            let (stage, go, _resets) = backend(Some(reason)).await;
            let request = "GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let mut client = halfway(&stage, request).await;
            go.send(()).await.expect("it waits");
            let end = rest(&mut client).await;
            assert!(!end.ends_with("0\r\n\r\n"), "{reason:?}: {end:?}");
        }
    });
}

#[test]
fn a_client_that_goes_in_the_middle_of_both_ends_both() {
    local(async {
        let (stage, _go, mut resets) = backend(None).await;
        let request = "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc";
        let client = halfway(&stage, request).await;
        drop(client);
        resets.recv().await.expect("a reset");
    });
}
