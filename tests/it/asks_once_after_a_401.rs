//! An upstream that says 401 to our token is asked once more, with a new one: one refresh for however many requests, one
//! replay for each of them, and what the replay is told passes through.

use cognito_proxy::devpool::echo::Behaviour;
use futures_util::future::join_all;
use http::StatusCode;

use crate::support::{http as wire, proxy::Proxy, stage::Stage};

/// How many requests come at once, or one after another.
const REQUESTS: u64 = 20;

/// A token of an hour that is ten minutes old, so that it may be doubted.
async fn doubtful() -> (Stage, Proxy) {
    let stage = Stage::new().await;
    stage.configure("");
    stage.signed_in_with(3600, 3000).await;
    let mut proxy = stage.home.serve_with(&[]).await;
    proxy.ready().await;
    (stage, proxy)
}

async fn at_once(proxy: &Proxy) -> Vec<u16> {
    let asking = (0..REQUESTS).map(async |_| wire::get(proxy.address(), "/").await.status().as_u16());
    join_all(asking).await
}

#[tokio::test]
async fn a_token_that_was_revoked_is_replaced_by_one_refresh_and_nobody_notices() {
    let (stage, proxy) = doubtful().await;
    assert_eq!(wire::get(proxy.address(), "/").await.status(), 200);
    stage.upstream.refuse_seen_tokens();
    let before = stage.refreshes();
    assert!(at_once(&proxy).await.iter().all(|status| *status == 200));
    assert_eq!(stage.refreshes() - before, 1);
    proxy.stop().await;
}

#[tokio::test]
async fn an_upstream_that_always_refuses_costs_one_refresh_and_is_passed_through() {
    let (stage, proxy) = doubtful().await;
    stage.upstream.behave_always(Behaviour::Status(StatusCode::UNAUTHORIZED));
    let (refreshes, arrived) = (stage.refreshes(), stage.upstream.log().total());
    for _ in 0..REQUESTS {
        assert_eq!(wire::get(proxy.address(), "/").await.status(), 401);
    }
    assert_eq!(stage.refreshes() - refreshes, 1);
    assert_eq!(stage.upstream.log().total() - arrived, REQUESTS + 1, "one replay, of the first");
    assert!(at_once(&proxy).await.iter().all(|status| *status == 401));
    assert_eq!(stage.refreshes() - refreshes, 1, "a token that was itself forced is not doubted");
    assert_eq!(stage.upstream.log().total() - arrived, 2 * REQUESTS + 1);
    proxy.stop().await;
}
