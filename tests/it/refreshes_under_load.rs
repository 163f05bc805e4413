//! A thousand refreshes with rotation under steady load: no request fails, and nothing arrives upstream but tokens that
//! the pool has issued and that are still good.

use std::{
    env,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use cognito_proxy::{
    admin::client::Client,
    devpool::{AppClient, Settings},
    session::TokenKind,
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::support::{http::Connection, stage::Stage};

/// Clients with a connection each, which they keep.
const CLIENTS: usize = 10;

/// How often each of them asks: 500 requests a second in all.
const PACE: Duration = Duration::from_millis(20);

fn refreshes() -> usize {
    if env::var_os("COGNITO_PROXY_LONG").is_some() { 1_000 } else { 40 }
}

/// One client's requests until `over`: how many there were, and what else came than 200.
async fn client(address: SocketAddr, over: &'static AtomicBool) -> (usize, Vec<String>) {
    let mut connection = Connection::to(address).await;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut sent, mut failures) = (0, Vec::new());
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        connection
            .send("GET /orders HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the-clients-own\r\n\r\n")
            .await;
        let answer = connection.receive().await;
        sent += 1;
        if answer.status != 200 {
            failures.push(answer.text());
        }
    }
    (sent, failures)
}

#[tokio::test]
async fn no_request_fails_and_no_token_is_expired_or_foreign() {
    static OVER: AtomicBool = AtomicBool::new(false);
    let stage = Stage::of(AppClient::public(Settings::CLIENT).rotating(Duration::ZERO)).await;
    let mut proxy = stage.serve("cognito.refresh_token_validity = \"30d\"").await;
    proxy.ready().await;
    let (address, before) = (proxy.address(), stage.refreshes());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(client(address, &OVER));
    }
    let control = Client::new(stage.home.control_socket());
    let began = Instant::now();
    for refresh in 0..refreshes() {
        // More than a token has left a moment after it was issued: each of these costs a refresh.
        let token = control.token(TokenKind::Id, Some(Duration::from_secs(7200))).await;
        token.unwrap_or_else(|error| panic!("refresh {refresh}: {error}"));
    }
    let took = began.elapsed();
    OVER.store(true, Ordering::Relaxed);
    let (mut sent, mut failures) = (0, Vec::new());
    for (count, failed) in clients.join_all().await {
        sent += count;
        failures.extend(failed);
    }
    let rate = sent as u64 * 1000 / u64::try_from(took.as_millis()).expect("a test's length").max(1);
    println!(
        "{} refreshes in {took:?} under {rate} requests/s: {sent} requests, {} failed",
        refreshes(),
        failures.len()
    );
    assert!(failures.is_empty(), "{} of {sent}: {}", failures.len(), failures[0]);
    assert_eq!(stage.refreshes() - before, refreshes() as u64, "each was one call");
    let log = stage.upstream.log();
    assert_eq!((log.total(), log.invalid(), log.without_token(), log.expired_on_arrival()), (sent as u64, 0, 0, 0));
    assert!(log.distinct_tokens().len() > refreshes() / 4, "{} tokens were seen", log.distinct_tokens().len());
    assert_eq!(stage.pool.calls().count(|call| call.is_refused("RefreshTokenReuseException")), 0);
    proxy.stop().await;
}
