//! Responses that an upstream breaks off.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use futures_util::{StreamExt as _, stream};
use http::Request;

use super::{AT_ONCE, Case, Client, Framing, cases, dechunked};
use crate::support::{
    h2c::Session,
    raw::{self, Message, Role, Step, Upstream},
    stage::Stage,
};

fn case(number: u64) -> Case {
    let framings = [Framing::Counted, Framing::Chunked, Framing::Chunked, Framing::ToTheEnd];
    let clients = [Client::Http11, Client::Http11, Client::Http10, Client::H2c];
    Case::new(number, "HTTP/1.1 200 OK\r\n", &framings, &clients)
}

/// What the upstream does for a request to `/NUMBER`.
fn script(head: &[u8]) -> Vec<Step> {
    let path = raw::latin(head).split(' ').nth(1).map(|path| path.trim_start_matches('/').to_owned());
    let case = case(path.expect("a path").parse().expect("a number"));
    let last = if case.is_reset { Step::Reset } else { Step::Close };
    let keeps = case.is_whole() && case.framing != Framing::ToTheEnd;
    let mut steps = vec![Step::Whole, Step::Say(case.written())];
    steps.extend((!keeps).then_some(last));
    steps
}

/// What a client got.
#[derive(Debug)]
enum Got {
    /// A message without a flaw.
    Whole { status: u16, content: Vec<u8> },
    /// One that is seen to be broken off.
    Broken { has_head: bool, content: Vec<u8> },
}

async fn ask(address: SocketAddr, session: &Session, case: &Case) -> Got {
    let number = case.number;
    let version = match case.client {
        Client::H2c => {
            let request = Request::get(format!("http://localhost/{number}")).body(()).expect("a request");
            return match session.ask(request, b"", None).await {
                Ok(whole) => Got::Whole { status: whole.head.status.as_u16(), content: whole.body },
                Err(broken) => Got::Broken { has_head: broken.head.is_some(), content: broken.body },
            };
        }
        Client::Http11 => "1.1",
        Client::Http10 => "1.0",
    };
    let mut client = raw::Client::to(address).await;
    client.send(format!("GET /{number} HTTP/{version}\r\nHost: localhost\r\n\r\n")).await;
    match client.receive(Role::Response).await {
        Ok(message) => Got::Whole { status: message.status(), content: message.body },
        Err(cut) => broken(&cut.received),
    }
}

fn broken(received: &[u8]) -> Got {
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Got::Broken { has_head: false, content: Vec::new() };
    };
    let (head, body) = (raw::latin(&received[..end]), &received[end + 4..]);
    let is_chunked = head.contains("transfer-encoding: chunked");
    Got::Broken { has_head: true, content: if is_chunked { dechunked(body) } else { body.to_vec() } }
}

/// Judges a case; in one word, what it was.
fn judge(case: &Case, got: &Got) -> &'static str {
    let in_head = case.cut < case.head.len();
    let written = case.content_written();
    let short = |text: &str| {
        format!(
            "case {}, {text}: {:?} {:?} cut at {} of {}+{}, reset: {}; got {}",
            case.number,
            case.client,
            case.framing,
            case.cut,
            case.head.len(),
            case.body.len(),
            case.is_reset,
            summary(got)
        )
    };
    match got {
        // A reset may destroy what was sent before it, on its way to the proxy.
        Got::Whole { status: 502, .. } if in_head || (case.is_reset && !case.is_whole()) => "502",
        Got::Whole { status: 200, content } => {
            let is_end = case.framing == Framing::ToTheEnd && !case.is_reset && !in_head;
            assert!(case.is_whole() || is_end, "{}", short("half a response passes for a whole one"));
            assert!(*content == written, "{}", short("not what was sent"));
            "whole"
        }
        Got::Broken { has_head: true, content } => {
            assert!(!in_head, "{}", short("a response without its head"));
            let is_cut = !case.is_whole() || (case.framing == Framing::ToTheEnd && case.is_reset);
            assert!(is_cut, "{}", short("a whole response passes for half of one"));
            assert!(written.starts_with(content), "{}", short("bytes that were never sent"));
            // A reset takes along what it overtakes, on this side as on that one: HTTP/1.0 and HTTP/2 hear of it so.
            let may_lose = case.is_reset || case.client != Client::Http11;
            assert!(may_lose || *content == written, "{}", short("bytes that were sent are lost"));
            "broken"
        }
        Got::Whole { .. } | Got::Broken { .. } => panic!("{}", short("neither a response nor a 502")),
    }
}

fn summary(got: &Got) -> String {
    match got {
        Got::Whole { status, content } => format!("a whole {status} of {} bytes", content.len()),
        Got::Broken { has_head, content } => format!("half a response, head: {has_head}, {} bytes", content.len()),
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_how_it_began_and_seen_to_be_broken() {
    let upstream = Upstream::doing(script).await;
    let stage = Stage::new().await;
    let proxy = stage.serve_before(&upstream.url(), "").await;
    let session = Arc::new(Session::to(proxy.address()).await);
    let (count, address) = (cases(600), proxy.address());
    let mut played = stream::iter(0..count)
        .map(|number| {
            let session = Arc::clone(&session);
            async move {
                let case = case(number);
                let got = ask(address, &session, &case).await;
                (case, got)
            }
        })
        .buffer_unordered(AT_ONCE);
    let mut outcomes = BTreeMap::<_, u64>::new();
    let mut bytes = 0;
    while let Some((case, got)) = played.next().await {
        let outcome = judge(&case, &got);
        *outcomes.entry((format!("{:?}", case.client), outcome)).or_default() += 1;
        bytes += case.content_written().len();
        upstream.take();
    }
    println!("{count} responses cut off, {bytes} bytes: {outcomes:?}; lost or invented: 0");
    assert_eq!(outcomes.len(), 9, "each client has seen each outcome: {outcomes:?}");
    // After all that, the proxy answers as before.
    let mut client = raw::Client::to(address).await;
    let whole = (0..1_000).find(|number| case(*number).is_whole() && case(*number).framing == Framing::Counted);
    client.send(format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", whole.expect("one of them"))).await;
    let response: Message = client.receive(Role::Response).await.expect("a response");
    assert_eq!(response.status(), 200);
}
