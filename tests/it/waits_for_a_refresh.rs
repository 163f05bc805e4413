//! While a refresh is under way, requests wait for it, at most `refresh.wait`: however many they are, there is one
//! refresh, and its result serves them all. A client that leaves takes nothing from the others.

use std::time::Duration;

use cognito_proxy::devpool::{Fault, Scope, Settings};

use crate::support::{
    http::{self as wire, Connection},
    proxy::Proxy,
    stage::{Stage, problem, validity},
};

/// What a clients' pool of a busy service may send at once.
const CROWD: usize = 1_000;

const ON_DEMAND: &str = "cognito.refresh_token_validity = \"1h\"\nrefresh.mode = \"on-demand\"";

/// A proxy that refreshes on demand, with a token that has just died. The tokens to come live an hour.
async fn with_a_dead_token(stage: &Stage, more: &str) -> Proxy {
    stage.configure(&format!("{ON_DEMAND}\n{more}"));
    stage.signed_in_with(60, 2).await;
    stage.pool.set_validity(Settings::CLIENT, validity(3600, 3600));
    let proxy = stage.home.serve_with(&[]).await;
    proxy.status_that("an expired token", |status| (status["state"] == "expired").then_some(())).await;
    proxy
}

const REQUEST: &str = "GET /orders HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn a_thousand_requests_at_an_expiry_make_one_refresh() {
    let stage = Stage::lasting(60).await;
    let proxy = with_a_dead_token(&stage, "refresh.wait = \"60s\"").await;
    let before = stage.refreshes();
    let held = stage.pool.hold_answers();
    let mut crowd = Vec::with_capacity(CROWD);
    for _ in 0..CROWD {
        let mut client = proxy.connect().await;
        client.send(REQUEST).await;
        crowd.push(client);
    }
    // The refresh is under way and cannot end; whoever started it leaves.
    stage.called(|calls| calls.refreshes() > before).await;
    drop(crowd.swap_remove(0));
    assert_eq!(stage.upstream.log().total(), 0, "nobody was served before it");
    drop(held);
    for client in &mut crowd {
        let answer = client.receive().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(stage.refreshes(), before + 1);
    let log = stage.upstream.log();
    assert_eq!((log.distinct_tokens().len(), log.invalid(), log.without_token()), (1, 0, 0));
    proxy.stop().await;
}

#[tokio::test]
async fn a_wait_that_runs_out_is_a_503_when_the_token_is_dead() {
    let stage = Stage::lasting(60).await;
    let proxy = with_a_dead_token(&stage, "refresh.wait = \"200ms\"").await;
    let held = stage.pool.hold_answers();
    problem(&wire::get(proxy.address(), "/").await, 503, "refresh_failing");
    assert_eq!(stage.upstream.log().total(), 0);
    drop(held);
    // The refresh went on without its request.
    proxy.status_that("the refresh's end", |status| (status["state"] == "fresh").then_some(())).await;
    assert_eq!(wire::get(proxy.address(), "/").await.status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn a_wait_that_runs_out_is_served_by_a_token_that_is_still_good() {
    let stage = Stage::lasting(600).await;
    stage.configure(&format!("{ON_DEMAND}\nrefresh.wait = \"200ms\""));
    // `min_ttl` is a tenth of the lifetime, and so a minute: with half of that left a request waits.
    stage.signed_in_with(600, 30).await;
    let proxy = stage.home.serve_with(&[]).await;
    let before = stage.refreshes();
    let held = stage.pool.hold_answers();
    assert_eq!(wire::get(proxy.address(), "/").await.status(), 200);
    assert_eq!(stage.refreshes(), before + 1, "it did ask for a refresh");
    drop(held);
    proxy.status_that("the refresh's end", |status| (status["state"] == "fresh").then_some(())).await;
    assert_eq!(wire::get(proxy.address(), "/").await.status(), 200);
    assert_eq!(stage.upstream.log().distinct_tokens().len(), 2);
    proxy.stop().await;
}

#[tokio::test]
async fn a_request_waits_through_a_failure_whose_next_attempt_is_near() {
    let stage = Stage::lasting(60).await;
    let proxy = with_a_dead_token(&stage, "refresh.wait = \"60s\"").await;
    stage.pool.fail_next(1, Scope::Refresh, Fault::status(503));
    let first = stage.refreshes();
    // The next attempt is due by itself, within a second, and the request's patience reaches beyond that.
    assert_eq!(wire::get(proxy.address(), "/").await.status(), 200);
    assert_eq!(stage.refreshes(), first + 2);
    proxy.stop().await;
}

#[tokio::test]
async fn a_request_that_waits_has_not_had_its_body_read() {
    let stage = Stage::lasting(60).await;
    let proxy = with_a_dead_token(&stage, "refresh.wait = \"60s\"").await;
    let held = stage.pool.hold_answers();
    let before = stage.refreshes();
    let mut upload: Connection = proxy.connect().await;
    let length = 64 * 1024 * 1024;
    upload.send(format!("POST /sink HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n")).await;
    stage.called(|calls| calls.refreshes() > before).await;
    let mut sent = 0;
    let piece = vec![0; 64 * 1024];
    // Backpressure: what fits into the kernel's buffers is taken, and no more, long before the whole.
    while tokio::time::timeout(Duration::from_millis(500), upload.send(&piece)).await.is_ok() {
        sent += piece.len();
        assert!(sent < length, "the whole body was taken in");
    }
    assert_eq!(stage.upstream.log().total(), 0);
    drop(held);
    proxy.status_that("the refresh's end", |status| (status["state"] == "fresh").then_some(())).await;
    drop(upload);
    proxy.stop().await;
}
