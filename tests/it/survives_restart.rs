//! A restart costs nothing: what was stored is injected by the first request, whether or not Cognito can be reached,
//! and what was under way when the proxy was told to stop is finished first.

use std::time::Duration;

use cognito_proxy::devpool::{AppClient, Settings};
use rustix::process::Signal;

use crate::support::{
    http as wire,
    stage::{Stage, problem, validity},
    wait,
};

const HOUR: &str = "cognito.refresh_token_validity = \"1h\"";

/// How often a proxy is started anew: the first request hits another moment of each start.
const STARTS: usize = 8;

#[tokio::test]
async fn a_stored_token_is_injected_at_once_while_cognito_is_unreachable() {
    let stage = Stage::new().await;
    stage.configure("");
    stage.signed_in().await;
    stage.pool.go_offline().await;
    let calls = stage.pool.calls().total();
    for start in 0..STARTS {
        let proxy = stage.home.serve_with(&[]).await;
        let answer = wire::get(proxy.address(), "/").await;
        assert_eq!(answer.status(), 200, "start {start}: {answer:?}");
        assert_eq!(wire::get(proxy.admin(), "/readyz").await.status(), 200);
        assert_eq!(proxy.stop().await.code(), 0);
    }
    let log = stage.upstream.log();
    assert_eq!((log.total(), log.distinct_tokens().len(), log.invalid()), (STARTS as u64, 1, 0));
    assert_eq!(stage.pool.calls().total(), calls);
}

#[tokio::test]
async fn an_expired_token_is_waited_for_and_then_refused() {
    let stage = Stage::lasting(60).await;
    stage.configure(&format!("{HOUR}\nrefresh.wait = \"400ms\""));
    stage.signed_in_with(60, 2).await;
    let status = async || stage.home.run(&["status", "--json"]).await.stdout.contains("\"expires_in_s\": 0");
    wait::until("the token's end", async || status().await.then_some(())).await;

    let held = stage.pool.hold_answers();
    let proxy = stage.home.serve_with(&[]).await;
    let began = std::time::Instant::now();
    problem(&wire::get(proxy.address(), "/").await, 503, "refresh_failing");
    assert!(began.elapsed() >= Duration::from_millis(400), "it did wait");
    assert_eq!(stage.upstream.log().total(), 0, "a dead token is never sent");
    let waiting = tokio::spawn({
        let address = proxy.address();
        async move { wire::get(address, "/").await.status().as_u16() }
    });
    drop(held);
    proxy.status_that("the refresh's end", |status| (status["state"] == "fresh").then_some(())).await;
    assert_eq!(wire::get(proxy.address(), "/").await.status(), 200);
    // Whether this one came before the end of its own wait is the machine's affair; it was answered.
    assert!([200, 503].contains(&waiting.await.expect("no panic")));
    assert_eq!(stage.upstream.log().expired_on_arrival(), 0);
    proxy.stop().await;
}

#[tokio::test]
async fn sigterm_lets_a_request_in_flight_finish() {
    let stage = Stage::new().await;
    let mut proxy = stage.serve(HOUR).await;
    let (address, admin) = (proxy.address(), proxy.admin());
    let held = stage.upstream.hold_replies();
    let in_flight = tokio::spawn(async move { wire::get(address, "/slow").await });
    stage.arrived(|log| log.total() == 1).await;
    proxy.signal(Signal::TERM);
    proxy.logged("stopping").await;
    // Drained means: nothing new, and the old one to its end.
    wait::until("the listener to close", async || tokio::net::TcpStream::connect(address).await.is_err().then_some(()))
        .await;
    assert!(!in_flight.is_finished(), "its reply is still held back");
    drop(held);
    let answer = in_flight.await.expect("no panic");
    assert_eq!(answer.status(), 200);
    let finished = proxy.stop().await;
    assert_eq!(finished.code(), 0);
    assert!(tokio::net::TcpStream::connect(admin).await.is_err());
}

#[tokio::test]
async fn a_drain_ends_at_its_timeout() {
    let stage = Stage::new().await;
    let proxy = stage.serve("runtime.drain_timeout = \"300ms\"").await;
    let address = proxy.address();
    let _held = stage.upstream.hold_replies();
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    stage.arrived(|log| log.total() == 1).await;
    let finished = proxy.stop().await;
    assert_eq!(finished.code(), 0, "{address}");
    assert!(finished.stderr.contains("cut off"), "{}", finished.stderr);
    assert!(client.receive_to_close().await.is_empty(), "no answer was made up");
}

#[tokio::test]
async fn a_second_sigterm_does_not_wait_for_the_drain() {
    let stage = Stage::new().await;
    let mut proxy = stage.serve("runtime.drain_timeout = \"10m\"").await;
    let _held = stage.upstream.hold_replies();
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    stage.arrived(|log| log.total() == 1).await;
    proxy.signal(Signal::TERM);
    proxy.logged("stopping").await;
    let finished = proxy.stop().await;
    assert_eq!(finished.code(), 0);
    assert!(finished.stderr.contains("cut off"), "{}", finished.stderr);
}

#[tokio::test]
async fn sigterm_during_a_refresh_stores_the_rotated_token_first() {
    let client = AppClient::public(Settings::CLIENT).with_validity(validity(60, 3600)).rotating(Duration::ZERO);
    let stage = Stage::of(client).await;
    stage.configure(HOUR);
    // With less than a fifth of its life left the token is refreshed at the start.
    stage.signed_in_with(60, 9).await;
    let before = stage.stored_refresh_token();
    let refreshes = stage.refreshes();
    let held = stage.pool.hold_answers();
    let mut proxy = stage.home.serve_with(&[]).await;
    stage.called(|calls| calls.refreshes() > refreshes).await;
    proxy.signal(Signal::TERM);
    proxy.logged("stopping").await;
    // Cognito has exchanged the refresh token already: without a grace period the old one is worth nothing.
    assert_eq!(stage.stored_refresh_token(), before);
    drop(held);
    assert_eq!(proxy.stop().await.code(), 0);
    assert_ne!(stage.stored_refresh_token(), before, "the new one is on the disk");

    let proxy = stage.home.serve_with(&[]).await;
    assert_eq!(wire::get(proxy.address(), "/").await.status(), 200);
    let status = proxy.status().await;
    assert_eq!((&status["state"], &status["consecutive_failures"]), (&"fresh".into(), &0.into()), "{status}");
    assert_eq!(stage.pool.calls().count(|call| call.is_refused("RefreshTokenReuseException")), 0);
    proxy.stop().await;
}
