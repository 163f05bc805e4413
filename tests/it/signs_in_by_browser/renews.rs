//! Signing in again while the proxy runs: before the old session's end nobody notices, and after it whoever was held is
//! served.

use std::sync::Arc;

use cognito_proxy::devpool::{AppClient, Settings};
use tokio::{sync::Notify, time::Instant};

use super::Scene;
use crate::support::{
    http as wire,
    load::steadily,
    stage::{problem, validity},
};

#[tokio::test]
async fn signing_in_again_under_load_fails_no_request() {
    let scene = Scene::new().await;
    scene.stage.signed_in().await;
    let mut proxy = scene.stage.home.serve_with(&[]).await;
    proxy.ready().await;
    let before = scene.stage.stored_refresh_token();

    let over = Arc::new(Notify::new());
    let (address, ends) = (proxy.address(), Arc::clone(&over));
    let load = tokio::spawn(async move {
        let mut is_over = false;
        let mut ended = std::pin::pin!(ends.notified());
        steadily(address, move || {
            is_over |= futures_util::FutureExt::now_or_never(ended.as_mut()).is_some();
            is_over
        })
        .await
    });
    let login = scene.login(&["--no-browser"]).await;
    assert_eq!(scene.agent().signs_in(&login.address).await.status, 200);
    let done = login.finish().await;
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(done.stderr.contains("the running proxy has adopted the session"), "{}", done.stderr);
    let adopted = proxy.logged("session adopted").await;
    assert_eq!(adopted["from"], "login", "{adopted}");
    let so_far = scene.stage.upstream.log().total();
    scene.stage.arrived(|log| log.total() >= so_far + 20).await;
    over.notify_one();
    let (begun, failed) = load.await.expect("no panic");
    assert!(failed.is_empty(), "{} of {begun} failed: {:?}", failed.len(), failed.first());
    assert_ne!(scene.stage.stored_refresh_token(), before, "the new session is stored");
    proxy.stop().await;
}

#[tokio::test]
async fn requests_held_after_the_end_are_served_by_a_sign_in() {
    let client = AppClient::public(Settings::CLIENT).with_validity(validity(3, 60));
    let scene = Scene::of(client, "session.hold = \"30s\"\nrefresh.wait = \"5s\"").await;
    scene.stage.signed_in().await;
    let mut proxy = scene.stage.home.serve_with(&[]).await;
    scene.stage.pool.expire_session(Settings::USER);
    proxy.logged("session ended").await;
    proxy.status_that("nothing to inject", |status| (status["id_token"]["expires_in_s"] == 0).then_some(())).await;

    let address = proxy.address();
    let held: Vec<_> =
        (0..5).map(|index| tokio::spawn(async move { wire::get(address, &format!("/held/{index}")).await })).collect();
    proxy.status_that("held requests", |status| (status["held_requests"] == 5).then_some(())).await;
    let login = scene.login(&["--no-browser"]).await;
    assert_eq!(scene.agent().signs_in(&login.address).await.status, 200);
    let stored = Instant::now();
    for held in held {
        assert_eq!(held.await.expect("no panic").status(), 200);
    }
    println!("held requests were served {:?} after the sign-in", stored.elapsed());
    assert_eq!(login.finish().await.code(), 0);
    proxy.stop().await;
}

#[tokio::test]
async fn without_a_sign_in_the_held_are_told_what_to_do() {
    let client = AppClient::public(Settings::CLIENT).with_validity(validity(3, 60));
    let scene = Scene::of(client, "session.hold = \"1s\"\nrefresh.wait = \"1s\"").await;
    scene.stage.signed_in().await;
    let mut proxy = scene.stage.home.serve_with(&[]).await;
    scene.stage.pool.expire_session(Settings::USER);
    proxy.logged("session ended").await;
    proxy.status_that("nothing to inject", |status| (status["id_token"]["expires_in_s"] == 0).then_some(())).await;
    let refused = wire::get(proxy.address(), "/orders").await;
    assert_eq!(problem(&refused, 503, "session_expired")["fix"], "cognito-proxy login");
    proxy.stop().await;
}
