//! An HTTP/2 upstream that refuses requests before it begins with them.

use std::{cell::Cell, rc::Rc};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::Response;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, sync::mpsc};

use super::stage::{Stage, limits, local, rest, settings, upstream};
use crate::proxy::HttpVersion;

/// Refuses so many requests, each once something of its body has come, and sends back the body of every other.
struct Refusing {
    url: String,
    /// How many requests came.
    requests: Rc<Cell<usize>>,
    /// One for each refusal.
    refusals: mpsc::UnboundedReceiver<()>,
}

impl Refusing {
    async fn first(count: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (refused, refusals) = mpsc::unbounded_channel();
        let requests = Rc::new(Cell::new(0));
        let counted = Rc::clone(&requests);
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (refused, counted) = (refused.clone(), Rc::clone(&counted));
                tokio::task::spawn_local(async move {
                    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        counted.set(counted.get() + 1);
                        let body = request.into_body();
                        if counted.get() <= count {
                            tokio::task::spawn_local(refuse(body, respond, refused.clone()));
                        } else {
                            tokio::task::spawn_local(echo(body, respond));
                        }
                    }
                });
            }
        });
        Self { url, requests, refusals }
    }

    fn stage(&self) -> Stage {
        let mut upstream = upstream(&self.url);
        upstream.http = HttpVersion::H2;
        Stage::with(&settings(upstream), limits())
    }
}

async fn refuse(mut body: RecvStream, mut respond: SendResponse<Bytes>, refused: mpsc::UnboundedSender<()>) {
    if !body.is_end_stream() {
        body.data().await.expect("a piece").expect("a piece");
    }
    respond.send_reset(h2::Reason::REFUSED_STREAM);
    refused.send(()).expect("somebody counts");
}

async fn echo(mut body: RecvStream, mut respond: SendResponse<Bytes>) {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        all.extend_from_slice(&piece.expect("a piece"));
    }
    let mut reply = respond.send_response(Response::new(()), false).expect("sent");
    reply.send_data(all.into(), true).expect("sent");
}

#[test]
fn a_refused_upload_goes_on_where_it_was() {
    local(async {
        let mut backend = Refusing::first(2).await;
        let stage = backend.stage();
        let mut client = stage.connect().await;
        let head = "POST /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 9\r\n\r\nabc";
        client.write_all(head.as_bytes()).await.expect("written");
        // Both refusals come before the rest of the body exists.
        for _ in 0..2 {
            backend.refusals.recv().await.expect("a refusal");
        }
        client.write_all(b"defghi").await.expect("written");
        let reply = rest(&mut client).await;
        assert!(reply.starts_with("HTTP/1.1 200 OK") && reply.contains("abcdefghi"), "{reply}");
        assert_eq!(backend.requests.get(), 3);
    });
}

#[test]
fn an_upstream_that_refuses_for_ever_is_a_502() {
    local(async {
        let backend = Refusing::first(usize::MAX).await;
        let stage = backend.stage();
        for method in ["GET", "DELETE"] {
            let request = format!("{method} /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let reply = stage.ask(&request).await;
            assert!(reply.starts_with("HTTP/1.1 502") && reply.contains("upstream_bad_response"), "{reply}");
        }
        assert_eq!(backend.requests.get(), 10, "five attempts each");
    });
}
