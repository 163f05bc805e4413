//! Requests that a client breaks off.

use std::{collections::BTreeMap, net::SocketAddr};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use h2::Reason;
use http::Request;
use tokio::io::AsyncWriteExt as _;

use super::{AT_ONCE, Case, Client, Framing, cases, dechunked};
use crate::support::{
    h2c::Session,
    http as wire,
    raw::{self, Seen, Step, Upstream},
    stage::Stage,
    wait,
};

fn case(number: u64) -> Case {
    let start = format!("POST /{number} HTTP/1.1\r\nHost: localhost\r\n");
    Case::new(number, &start, &[Framing::Counted, Framing::Chunked], &[Client::Http11, Client::H2c])
}

/// Sends as much as the case says, and leaves: as soon as the upstream has seen the head, or all that was sent.
async fn upload(address: SocketAddr, upstream: &Upstream, case: &Case) {
    match case.client {
        Client::H2c => upload_h2c(address, upstream, case).await,
        Client::Http11 | Client::Http10 => {
            let mut client = raw::Client::to(address).await;
            // Who is refused at once may find that nobody reads on.
            drop(client.stream.write_all(&case.written()).await);
            if case.cut >= case.head.len() {
                arrived(upstream, case).await;
            }
            if case.is_reset {
                client.reset();
            }
        }
    }
}

async fn arrived(upstream: &Upstream, case: &Case) {
    let start = format!("POST /{} ", case.number);
    let length = if case.number.is_multiple_of(2) { 0 } else { case.content_written().len() };
    let is_there = |seen: &Seen| {
        seen.bytes.starts_with(start.as_bytes()) && content(&seen.bytes).is_some_and(|found| found.len() >= length)
    };
    upstream.sees("an upload", |all| all.iter().any(is_there)).await;
}

/// What there is of a request's content, once its head is whole.
fn content(bytes: &[u8]) -> Option<Vec<u8>> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = (raw::latin(&bytes[..end]), &bytes[end + 4..]);
    Some(if head.contains("transfer-encoding: chunked") { dechunked(body) } else { body.to_vec() })
}

async fn upload_h2c(address: SocketAddr, upstream: &Upstream, case: &Case) {
    let session = Session::to(address).await;
    let mut request = Request::post(format!("http://localhost/{}", case.number));
    if case.framing == Framing::Counted {
        request = request.header("content-length", case.content.len());
    }
    let mut sender = session.sender.clone().ready().await.expect("room for a stream");
    let (_response, mut stream) = sender.send_request(request.body(()).expect("a request"), false).expect("a stream");
    let content = case.content_written();
    stream.reserve_capacity(content.len().max(1));
    let mut rest = Bytes::from(content);
    while !rest.is_empty() {
        let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
        let part = rest.split_to(room.min(rest.len()));
        let is_last = rest.is_empty() && case.is_whole();
        if stream.send_data(part, is_last).is_err() {
            return;
        }
    }
    if case.is_whole() && case.content.is_empty() {
        drop(stream.send_data(Bytes::new(), true));
    }
    arrived(upstream, case).await;
    if case.is_reset {
        stream.send_reset(Reason::CANCEL);
        // It goes out while others are played; then the connection ends too.
        tokio::task::yield_now().await;
    }
}

/// Judges what the upstream has seen of a case; in one word, what it was.
fn judge(seen: &Seen) -> &'static str {
    let content = content(&seen.bytes).unwrap_or_else(|| panic!("half a head: {:?}", raw::latin(&seen.bytes)));
    let path = raw::latin(&seen.bytes).split(' ').nth(1).expect("a path").to_owned();
    let case = case(path[1..].parse().expect("a number"));
    let number = case.number;
    assert!(case.cut >= case.head.len() || case.client == Client::H2c, "case {number}: the client sent no whole head");
    assert!(case.content.starts_with(&content), "case {number}: bytes that were never sent");
    match seen.message() {
        Some(message) => {
            // In HTTP/2 a body that says it is none needs no end to be whole.
            let is_none = case.client == Client::H2c && case.framing == Framing::Counted && case.content.is_empty();
            assert!(case.is_whole() || is_none, "case {number}: half a request passes for a whole one");
            assert!(message.body == case.content, "case {number}: not what was sent");
            "whole"
        }
        None => "broken",
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_is_never_a_whole_one() {
    let upstream = Upstream::doing(|_| vec![Step::Drain]).await;
    let stage = Stage::new().await;
    let proxy = stage.serve_before(&upstream.url(), "").await;
    let (count, address) = (cases(400), proxy.address());
    let mut outcomes = BTreeMap::<_, u64>::new();
    for first in (0..count).step_by(200) {
        let batch = stream::iter(first..count.min(first + 200))
            .map(async |number| upload(address, &upstream, &case(number)).await);
        batch.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        // Nobody answers, so that a request ends when the proxy sees that its client has left.
        wait::until("the end of every request", async || {
            let metrics = wire::get(proxy.admin(), "/metrics").await;
            let is_quiet =
                raw::latin(metrics.body()).contains("cognito_proxy_upstream_connections{state=\"active\"} 0");
            is_quiet.then_some(())
        })
        .await;
        upstream.sees("the end of every connection", |all| all.iter().all(|seen| seen.is_over)).await;
        for seen in upstream.take() {
            *outcomes.entry(judge(&seen)).or_default() += 1;
        }
    }
    println!("{count} uploads cut off; the upstream saw {outcomes:?}; lost or invented: 0");
    assert!(outcomes.get("broken") > Some(&(count / 2)), "enough of them arrived to be judged: {outcomes:?}");
}
