//! The token's part of the story: waiting for it, replacing it, and what a 401 brings.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::stage::{Backend, Stage, header, inject, limits, local, message, settings, signed_in, signed_out, upstream};
use crate::{
    current::Nudge,
    proxy::ClientValue,
    session::snapshot::{Gate, Snapshot},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const CLOSE: &str = "Host: localhost\r\nConnection: close\r\n";

/// Answers 401 to anything but `good`.
async fn strict(good: &'static str) -> Backend {
    Backend::scripted(move |mut stream, _, seen| async move {
        while let Some(request) = message(&mut stream).await {
            let is_good = header(&request, "authorization") == [format!("Bearer {good}")];
            seen.borrow_mut().push(request);
            let reply = if is_good { OK } else { "HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nno!" };
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[test]
fn without_a_session_the_reply_names_the_command() {
    local(async {
        let backend = Backend::replying(OK).await;
        let stage = Stage::before(&backend.url);
        stage.publisher.publish(signed_out());
        let answer = stage.ask(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("login_required"), "{answer}");
        assert!(answer.contains("\"fix\":\"cognito-proxy login\""), "{answer}");
        assert_eq!(header(&answer, "retry-after"), ["5"]);
        let page = stage.ask(&format!("GET / HTTP/1.1\r\n{CLOSE}Accept: text/html\r\n\r\n")).await;
        assert!(header(&page, "content-type")[0].starts_with("text/html"), "{page}");
        let grpc = stage.ask(&format!("POST / HTTP/1.1\r\n{CLOSE}Content-Type: application/grpc\r\n\r\n")).await;
        assert!(grpc.starts_with("HTTP/1.1 200 ") && header(&grpc, "grpc-status") == ["14"], "{grpc}");
        assert_eq!(backend.connections.get(), 0);
        assert_eq!(stage.figure("cognito_proxy_refused_total{reason=\"login_required\"}"), "3");
    });
}

#[test]
fn a_request_waits_for_a_refresh_with_its_body_unread() {
    local(async {
        let backend = Backend::replying(OK).await;
        let mut stage = Stage::before(&backend.url);
        stage.publisher.publish(Snapshot { gate: Gate::Open, ..signed_out() });
        let request = format!("POST / HTTP/1.1\r\n{CLOSE}Content-Length: 5\r\n\r\nhello");
        let (answer, ()) = tokio::join!(stage_ask(stage.address, &request), async {
            assert!(matches!(stage.nudges.recv().await, Some(Nudge::Wanted)));
            assert_eq!(backend.connections.get(), 0);
            stage.publisher.publish(signed_in("eyJ.second", 2, &stage.clock));
        });
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(header(&backend.only(), "authorization"), ["Bearer eyJ.second"]);
    });
}

async fn stage_ask(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request.as_bytes()).await.expect("written");
    super::stage::rest(&mut stream).await
}

#[test]
fn a_401_brings_one_newer_token_and_one_replay() {
    local(async {
        for body in ["", "small"] {
            let backend = strict("eyJ.second").await;
            let mut stage = Stage::before(&backend.url);
            let request = format!("POST /x HTTP/1.1\r\n{CLOSE}Content-Length: {}\r\n\r\n{body}", body.len());
            let (answer, ()) = tokio::join!(stage_ask(stage.address, &request), async {
                let Some(Nudge::Unauthorized { generation: 1, under_way, .. }) = stage.nudges.recv().await else {
                    panic!("it must say which generation was refused")
                };
                let refreshing = signed_in("eyJ.first", 1, &stage.clock);
                stage.publisher.publish(Snapshot { gate: Gate::Refreshing, ..refreshing });
                under_way.send(true).expect("somebody asked");
                stage.publisher.publish(signed_in("eyJ.second", 2, &stage.clock));
            });
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hi"), "{answer}");
            let seen = backend.seen.borrow();
            assert_eq!(seen.len(), 2);
            assert!(seen[1].starts_with("POST /x ") && seen[1].ends_with(&format!("\r\n\r\n{body}")), "{}", seen[1]);
            assert_eq!(header(&seen[1], "content-length"), [body.len().to_string()]);
        }
    });
}

#[test]
fn a_401_passes_where_no_refresh_is_made_for_it() {
    local(async {
        let backend = strict("never").await;
        let mut stage = Stage::before(&backend.url);
        let request = format!("GET /x HTTP/1.1\r\n{CLOSE}\r\n");
        let (answer, ()) = tokio::join!(stage_ask(stage.address, &request), async {
            let Some(Nudge::Unauthorized { under_way, .. }) = stage.nudges.recv().await else { panic!("a 401") };
            under_way.send(false).expect("somebody asked");
        });
        assert!(answer.starts_with("HTTP/1.1 401") && answer.ends_with("no!"), "{answer}");
        assert_eq!(backend.seen.borrow().len(), 1);
    });
}

#[test]
fn a_401_to_a_body_that_is_no_longer_at_hand_passes_at_once() {
    local(async {
        let backend = strict("never").await;
        let mut stage = Stage::before(&backend.url);
        let long = "x".repeat(70_000);
        let answer = stage.ask(&format!("POST /x HTTP/1.1\r\n{CLOSE}Content-Length: 70000\r\n\r\n{long}")).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(stage.nudges.try_recv().is_err(), "nobody is asked for a token that could not be used");
    });
}

#[test]
fn a_client_may_bring_its_own_where_it_is_let() {
    local(async {
        for (policy, status, sent) in [
            (ClientValue::Replace, "200", Some("Bearer eyJ.first")),
            (ClientValue::Keep, "200", Some("mine")),
            (ClientValue::Reject, "400", None),
        ] {
            let backend = Backend::replying(OK).await;
            let mut settings = settings(upstream(&backend.url));
            let mut own = inject();
            own.client_value = policy;
            settings.default_route.inject = Some(own);
            let stage = Stage::with(&settings, limits());
            let answer = stage.ask(&format!("GET / HTTP/1.1\r\n{CLOSE}Authorization: mine\r\n\r\n")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{policy:?}: {answer}");
            let seen = backend.seen.borrow();
            assert_eq!(seen.first().map(|request| header(request, "authorization")[0]), sent, "{policy:?}");
        }
    });
}

#[test]
fn the_session_header_says_how_long_it_lasts() {
    local(async {
        let backend = Backend::replying(OK).await;
        let mut settings = settings(upstream(&backend.url));
        settings.session_header = true;
        let stage = Stage::with(&settings, limits());
        let mut snapshot = signed_in("eyJ.first", 2, &stage.clock);
        snapshot.facts.refresh_token.at = Some(crate::clock::UnixTime::from_secs(1_798_000_000));
        snapshot.facts.level = crate::session::warning::Level::Soon;
        stage.publisher.publish(snapshot);
        let answer = stage.ask(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
        assert_eq!(header(&answer, "cognito-proxy-session"), ["expires=2026-12-23T04:26:40Z; level=soon"]);
    });
}

#[test]
fn draining_finishes_what_is_in_flight_and_takes_nothing_new() {
    local(async {
        let (asked, mut heard) = tokio::sync::mpsc::channel(1);
        let answer = std::rc::Rc::new(tokio::sync::Notify::new());
        let go = std::rc::Rc::clone(&answer);
        let backend = Backend::scripted(move |mut stream, _, _| {
            let (asked, go) = (asked.clone(), std::rc::Rc::clone(&go));
            async move {
                message(&mut stream).await;
                asked.send(()).await.expect("the test waits");
                go.notified().await;
                stream.write_all(OK.as_bytes()).await.expect("written");
            }
        })
        .await;
        let stage = Stage::before(&backend.url);
        let idle = stage.connect().await;
        let mut client = stage.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
        heard.recv().await.expect("it is in flight");
        stage.shutdown.begin();
        let mut idle = idle;
        assert_eq!(super::stage::rest(&mut idle).await, "", "an idle connection ends at once");
        assert!(tokio::net::TcpStream::connect(stage.address).await.is_err(), "nobody listens any more");
        answer.notify_one();
        let reply = super::stage::rest(&mut client).await;
        assert!(reply.starts_with("HTTP/1.1 200") && header(&reply, "connection") == ["close"], "{reply}");
        assert_eq!(stage.serving.await.expect("no panic"), 0);
    });
}

#[test]
fn what_does_not_end_in_time_is_cut_off() {
    local(async {
        let backend = Backend::scripted(|mut stream, _, _| async move {
            message(&mut stream).await;
            drop(super::stage::rest(&mut stream).await);
        })
        .await;
        let mut limits = limits();
        limits.drain_timeout = Duration::from_millis(50);
        let stage = Stage::with(&settings(upstream(&backend.url)), limits);
        let mut client = stage.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
        while backend.connections.get() == 0 {
            tokio::task::yield_now().await;
        }
        stage.shutdown.begin();
        assert_eq!(stage.serving.await.expect("no panic"), 1);
    });
}
