//! A person is told that the session ends soon at each threshold, once, whether or not the proxy was restarted in
//! between, and once that it has ended. Every line says when, and the command that mends it.

use std::time::Duration;

use cognito_proxy::devpool::{Fault, Scope, Settings};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    process::Finished,
    stage::{Stage, validity},
};

/// How long a session is, and how much is left of it when the proxy first sees it, in seconds.
const SESSION: u64 = 3600;
const LEFT: u64 = 11;

/// Eight, five and one second before the end: `notice`, `soon`, and, after the urgent moment of one token lifetime, the
/// last.
const THRESHOLDS: &str = "cognito.refresh_token_validity = \"1h\"\nwarn.before = [\"2h\", \"8s\", \"5s\", \"1s\"]";

/// The level of every warning that was logged, in order.
fn levels(finished: &Finished) -> Vec<String> {
    warnings(finished, "session ends soon").iter().map(|event| text(event, "event_level").to_owned()).collect()
}

fn warnings(finished: &Finished, message: &str) -> Vec<Value> {
    let events = finished.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["message"] == message).collect()
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event[field].as_str().unwrap_or_else(|| panic!("{field} in {event}"))
}

/// A pool whose tokens live three seconds, and a session that ends in eleven.
async fn near_its_end() -> Stage {
    let stage = Stage::lasting(3).await;
    stage.pool.set_validity(Settings::CLIENT, validity(3, SESSION));
    stage.configure(THRESHOLDS);
    let tokens = stage.sign_in();
    stage.pool.age(Settings::USER, Duration::from_secs(SESSION - LEFT));
    assert_eq!(stage.import(&tokens).await.code(), 0, "before its first threshold nothing is wrong");
    stage
}

#[tokio::test]
async fn each_threshold_is_announced_once_also_across_restarts() {
    let stage = near_its_end().await;
    let mut first = stage.home.serve_with(&[]).await;
    let notice = first.logged("session ends soon").await;
    assert_eq!((text(&notice, "level"), text(&notice, "event_level")), ("warn", "notice"));
    assert_eq!(text(&notice, "fix"), "cognito-proxy login");
    assert!(text(&notice, "at").ends_with('Z'), "{notice}");
    assert!(text(&notice, "in").ends_with('s'), "{notice}");
    assert_eq!(first.status().await["warning"]["level"], "notice");
    // Nothing that happens meanwhile repeats it.
    first.signal(Signal::HUP);
    first.logged("configuration reloaded").await;
    let first = first.stop().await;
    assert_eq!(levels(&first), ["notice"]);

    let second = stage.home.serve_with(&[]).await;
    second.status_that("level soon", |status| (status["warning"]["level"] == "soon").then_some(())).await;
    let second = second.stop().await;
    assert_eq!(levels(&second), ["soon"], "the notice had been given");

    let mut third = stage.home.serve_with(&[]).await;
    let ended = third.logged("session ended").await;
    assert_eq!(text(&ended, "level"), "error");
    assert_eq!(text(&ended, "fix"), "cognito-proxy login");
    assert!(text(&ended, "reason").contains("expired"), "{ended}");
    assert!(text(&ended, "injecting_until").ends_with('Z'), "{ended}");
    let third = third.stop().await;
    // Two moments lie here; one line does where both had passed before the start.
    let urgent = levels(&third);
    assert!((1..=2).contains(&urgent.len()) && urgent.iter().all(|level| level == "urgent"), "{urgent:?}");
    assert_eq!(warnings(&third, "session ended").len(), 1);

    let mut fourth = stage.home.serve_with(&[]).await;
    fourth
        .status_that("the verdict again", |status| {
            (status["state"] == "session_ended" && !status["last_refresh"].is_null()).then_some(())
        })
        .await;
    fourth.signal(Signal::HUP);
    fourth.logged("configuration reloaded").await;
    let fourth = fourth.stop().await;
    assert_eq!((levels(&fourth).len(), warnings(&fourth, "session ended").len()), (0, 0), "it has been said");
    assert_eq!(stage.home.run(&["status"]).await.code(), 4);
}

#[tokio::test]
async fn a_new_sign_in_ends_the_warnings() {
    let stage = near_its_end().await;
    let mut proxy = stage.home.serve_with(&[]).await;
    proxy.logged("session ends soon").await;
    stage.pool.set_validity(Settings::CLIENT, validity(3600, SESSION));
    stage.signed_in().await;
    let status = proxy.status().await;
    assert_eq!((&status["warning"]["level"], &status["state"]), (&"none".into(), &"fresh".into()), "{status}");
    assert_eq!(status["warning"]["fix"], Value::Null);
    proxy.stop().await;
}

#[tokio::test]
async fn a_failure_that_heals_itself_warns_nobody() {
    let stage = Stage::lasting(60).await;
    stage.configure("cognito.refresh_token_validity = \"1h\"\nwarn.before = [\"10m\"]");
    stage.signed_in_with(60, 10).await;
    stage.pool.fail_next(2, Scope::Refresh, Fault::status(500));
    let mut proxy = stage.home.serve_with(&[]).await;
    proxy.logged("refreshed").await;
    let finished = proxy.stop().await;
    assert_eq!(warnings(&finished, "refresh failed (still serving)").len(), 2);
    assert_eq!((levels(&finished).len(), warnings(&finished, "session ended").len()), (0, 0));
}
