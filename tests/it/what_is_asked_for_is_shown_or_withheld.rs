//! What a person asked to see of each request: an access log without secrets, the session's end in a header; and what
//! an idle lock and a minimum at the start withhold.

use std::time::Duration;

use cognito_proxy::devpool::Settings;

use super::support::{
    http as wire,
    stage::{Stage, problem},
};

#[tokio::test]
async fn the_access_log_has_the_path_and_never_the_query() {
    let stage = Stage::new().await;
    let mut proxy = stage.serve("log.access = \"on\"").await;
    assert_eq!(wire::get(proxy.address(), "/orders?code=canary-in-the-query").await.status(), 200);
    let line = proxy.logged("request").await;
    assert_eq!((&line["path"], &line["status"]), (&"/orders".into(), &200.into()), "{line}");
    // As a proxy is asked, with a user and a password; with cookies and keys; and where servers hide a secret in the path.
    let (user, key) = ("canary-user:canary-password", "canary".repeat(11));
    let host = proxy.address();
    for target in [&format!("http://{user}@{host}/absolute"), "/reset;id=canary/x", &format!("/keys/{key}")] {
        let mut client = proxy.connect().await;
        let head =
            format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nCookie: a=canary\r\nAuthorization: canary\r\n\r\n");
        client.send(head).await;
        client.receive().await;
    }
    proxy.printed_line("/keys/…").await;
    let all = proxy.stop().await.stderr;
    assert_eq!(all.matches("\"message\":\"request\"").count(), 4, "{all}");
    assert!(all.contains("/reset;…/x"), "{all}");
    assert!(!all.contains("canary"), "{all}");
}

#[tokio::test]
async fn responses_tell_the_end_of_the_session_where_that_is_wanted() {
    let stage = Stage::new().await;
    let proxy = stage.serve("warn.response_header = \"on\"").await;
    let answer = wire::get(proxy.address(), "/orders").await;
    let header = answer.headers().get("cognito-proxy-session").expect("the header").to_str().expect("text");
    assert!(header.starts_with("expires=") && header.contains("level="), "{header}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_session_with_too_little_left_needs_a_sign_in_at_the_start() {
    let stage = Stage::new().await;
    let (day, more) = (86_400, "session.min_remaining_at_start = \"1d\"\ncognito.refresh_token_validity = \"1d\"");
    stage.configure(more);
    let tokens = stage.sign_in();
    stage.pool.age(Settings::USER, Duration::from_secs(day * 23 / 24));
    assert_eq!(stage.import(&tokens).await.code(), 3, "it ends within the hour");
    let proxy = stage.home.serve_with(&[]).await;
    problem(&wire::get(proxy.address(), "/orders").await, 503, "login_required");
    stage.signed_in().await;
    assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200, "after a sign-in, without a restart");
    proxy.stop().await;
}

#[tokio::test]
async fn an_idle_session_is_locked_until_somebody_unlocks_it() {
    let stage = Stage::new().await;
    let proxy = stage.serve("session.idle_lock = \"1s\"").await;
    assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200);
    proxy.status_that("the lock", |status| (status["state"] == "locked").then_some(())).await;
    problem(&wire::get(proxy.address(), "/orders").await, 503, "locked");
    assert_eq!(stage.home.run(&["unlock"]).await.code(), 0);
    assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200);
    proxy.stop().await;
}
