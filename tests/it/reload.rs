//! A reload takes effect between two requests and drops none; a configuration with a mistake changes nothing, and says
//! so to whoever asked.

use cognito_proxy::devpool::{Fault, Scope, echo::Echo};
use http::Version;
use rustix::process::Signal;
use serde_json::Value;
use tokio::sync::watch;

use crate::support::{
    http::{self as wire, Connection, RawResponse},
    load::steadily,
    stage::{Stage, get_with, problem},
    wait,
};

/// `POST /reload` on the control socket.
async fn reload(stage: &Stage) -> RawResponse {
    let mut control = Connection::to_socket(&stage.home.control_socket()).await;
    control.send("POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
    control.receive().await
}

/// The configuration with another upstream.
fn leading_to(stage: &Stage, upstream: &Echo, more: &str) -> String {
    stage.toml(more).replace(&stage.upstream.url(), &upstream.url())
}

#[tokio::test]
async fn a_new_upstream_takes_over_without_a_lost_request() {
    let stage = Stage::new().await;
    let other = Stage::new().await;
    let mut proxy = stage.serve("").await;
    let address = proxy.address();
    let (done, is_done) = watch::channel(false);
    let changing = async {
        for (turn, upstream) in [&other.upstream, &stage.upstream, &other.upstream].into_iter().enumerate() {
            stage.home.configure(&leading_to(&stage, upstream, ""));
            if turn % 2 == 0 {
                proxy.signal(Signal::HUP);
            } else {
                assert_eq!(reload(&stage).await.status, 200);
            }
            let before = upstream.log().total();
            wait::bounded("the new upstream's requests", upstream.wait_for(|log| log.total() > before + 10)).await;
        }
        // In force for every connection, the old ones too.
        done.send_replace(true);
    };
    let ((), (sent, failures)) = tokio::join!(changing, steadily(address, || *is_done.borrow()));
    assert!(failures.is_empty(), "{} of {sent}: {:?}", failures.len(), failures[0]);
    let arrived = stage.upstream.log().total() + other.upstream.log().total();
    assert_eq!(arrived, sent as u64, "each arrived once, at one of them");
    proxy.stop().await;
}

#[tokio::test]
async fn a_request_in_flight_ends_where_it_began() {
    let stage = Stage::new().await;
    let other = Stage::new().await;
    let proxy = stage.serve("").await;
    let address = proxy.address();
    let held = stage.upstream.hold_replies();
    let in_flight = tokio::spawn(async move { wire::get(address, "/old").await });
    stage.arrived(|log| log.total() == 1).await;
    stage.home.configure(&leading_to(&stage, &other.upstream, ""));
    assert_eq!(reload(&stage).await.status, 200);
    assert_eq!(wire::get(address, "/new").await.status(), 200);
    assert_eq!(other.upstream.log().total(), 1);
    drop(held);
    assert_eq!(in_flight.await.expect("no panic").status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn a_mistake_keeps_the_old_configuration_and_is_told() {
    let stage = Stage::new().await;
    let mut proxy = stage.serve("").await;
    stage.home.configure(&stage.toml("refresh.laed = \"5m\""));
    let refused = reload(&stage).await;
    let document = refused.json();
    assert_eq!((refused.status, &document["code"]), (422, &"configuration".into()), "{document}");
    let detail = document["detail"].as_str().expect("a detail");
    assert!(detail.contains("proxy.toml:7:9") && detail.contains("lead"), "{detail}");
    proxy.signal(Signal::HUP);
    let logged = proxy.logged("configuration not reloaded, the old one stays").await;
    assert_eq!(logged["level"], "error");
    assert!(logged["error"].as_str().is_some_and(|error| error.contains("proxy.toml:7:9")), "{logged}");
    assert_eq!(wire::get(proxy.address(), "/").await.status(), 200);

    std::fs::remove_file(stage.home.path("config/cognito-proxy/proxy.toml")).expect("a file");
    assert_eq!(reload(&stage).await.status, 422, "a file that has gone is a mistake, too");
    assert_eq!(wire::get(proxy.address(), "/").await.status(), 200);

    stage.configure("");
    assert_eq!(reload(&stage).await.json()["needs_restart"], Value::Array(Vec::new()));
    proxy.stop().await;
}

#[tokio::test]
async fn routes_the_guard_and_the_log_follow_at_once() {
    let stage = Stage::new().await;
    let mut proxy = stage.serve("").await;
    let address = proxy.address();
    let origin = [("origin", "http://localhost:3000")];
    problem(&get_with(address, "/", &origin).await, 403, "origin_not_allowed");
    let more = "guard.origins = [\"http://localhost:3000\"]\nlog.level = \"warn\"\n\
                [[route]]\npath = \"/access\"\ntoken = \"access\"\nheader = \"x-token\"\nformat = \"{token}\"\n";
    stage.configure(more);
    proxy.signal(Signal::HUP);
    // The level is warn already when it is done, so the line to wait for is another: the new rule itself.
    wait::until("the new guard", async || (get_with(address, "/", &origin).await.status() == 200).then_some(())).await;
    assert_eq!(wire::get(address, "/access/1").await.status(), 200);
    let log = stage.upstream.log();
    let last = log.last().expect("a request");
    let bearer = last.bearer.as_ref().expect("a token");
    assert_eq!((bearer.header.as_str(), bearer.token_use.as_str(), &bearer.scheme), ("x-token", "access", &None));
    assert!(last.header_values("authorization").is_empty());
    assert_eq!(last.version, Version::HTTP_11);
    let finished = proxy.stop().await;
    assert!(!finished.stderr.contains("\"stopping\""), "info is not logged any more: {}", finished.stderr);
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_stays() {
    let stage = Stage::new().await;
    let mut proxy = stage.serve("").await;
    let address = proxy.address();
    stage.configure("runtime.workers = 3\nstore.path = \"elsewhere.json\"");
    let needs = reload(&stage).await.json()["needs_restart"].clone();
    assert_eq!(needs, serde_json::json!(["runtime", "store"]));
    let logged = proxy.logged("changed, and needs a restart").await;
    assert_eq!(logged["keys"], "runtime,store");
    assert_eq!(wire::get(address, "/").await.status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn a_reload_is_worth_one_attempt_of_a_session_that_has_ended() {
    let stage = Stage::lasting(60).await;
    stage.configure("cognito.refresh_token_validity = \"1h\"");
    stage.signed_in_with(60, 9).await;
    let revoked = Fault::exception("NotAuthorizedException", "Refresh Token has been revoked");
    stage.pool.fail_always(Scope::Refresh, revoked);
    let mut proxy = stage.home.serve_with(&[]).await;
    proxy.logged("session ended").await;
    let calls = stage.refreshes();
    assert_eq!(reload(&stage).await.status, 200);
    stage.called(|log| log.refreshes() == calls + 1).await;
    // Cognito has changed its mind: a verdict may be mistaken.
    stage.pool.heal();
    proxy.status_that("the end again", |status| (status["state"] == "session_ended").then_some(())).await;
    assert_eq!(reload(&stage).await.status, 200);
    proxy.status_that("a session", |status| (status["state"] == "fresh").then_some(())).await;
    assert_eq!(stage.refreshes(), calls + 2);
    proxy.stop().await;
}
