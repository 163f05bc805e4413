//! `doctor`: what is wrong is found, each thing with its fix and with the code of the gravest; what is sound is said to be.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, time::Instant};

use serde_json::Value;

use crate::support::{process::Finished, stage::Stage};

/// The findings of one check: verdict, message and fix.
fn of<'a>(found: &'a Value, check: &str) -> Vec<(&'a str, &'a str, &'a str)> {
    let text = |finding: &'a Value, name: &str| finding[name].as_str().unwrap_or_default();
    let all = found["findings"].as_array().expect("findings");
    let of = all.iter().filter(|finding| finding["check"] == check);
    of.map(|finding| (text(finding, "verdict"), text(finding, "message"), text(finding, "fix"))).collect()
}

fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
}

#[tokio::test]
async fn a_sound_setup_is_sound_with_a_proxy_and_without() {
    let stage = Stage::new().await;
    stage.configure("cognito.refresh_token_validity = \"30d\"");
    stage.signed_in().await;
    let alone = stage.home.run(&["doctor", "--json"]).await;
    assert_eq!(alone.code(), 0, "{alone:?}");
    let found = json(&alone);
    for check in ["keys", "clock", "app client", "upstream", "session"] {
        assert_eq!(of(&found, check)[0].0, "ok", "{check}: {found:#}");
    }
    assert_eq!(stage.upstream.log().invalid(), 0, "the stored token was sent, as the proxy would send it");
    let stored = fs::read(stage.home.store()).expect("a record");
    let proxy = stage.home.serve_with(&[]).await;
    let beside = stage.home.run(&["doctor"]).await;
    assert_eq!(beside.code(), 0, "{beside:?}");
    assert!(
        beside.stdout.contains("nothing is wrong") && beside.stdout.contains("runs, process id"),
        "{}",
        beside.stdout
    );
    proxy.stop().await;
    assert_eq!(fs::read(stage.home.store()).expect("a record"), stored, "it changes nothing");
}

#[tokio::test]
async fn without_a_session_it_says_how_to_begin_one() {
    let stage = Stage::new().await;
    stage.configure("");
    let found = stage.home.run(&["doctor"]).await;
    assert_eq!(found.code(), 4, "{found:?}");
    assert!(found.stdout.contains("session        signed out\n"), "{}", found.stdout);
    assert!(found.stdout.contains("fix: cognito-proxy login"), "{}", found.stdout);
}

#[tokio::test]
async fn what_cannot_be_reached_is_named_and_it_ends_in_time() {
    let stage = Stage::new().await;
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let toml = stage.toml("").replace(&stage.upstream.url(), &format!("http://{nobody}"));
    stage.home.configure(&toml);
    stage.signed_in().await;
    let found = stage.home.run(&["doctor", "--json"]).await;
    assert_eq!(found.code(), 69, "{found:?}");
    let found = json(&found);
    let (verdict, message, _) = of(&found, "upstream")[0];
    assert!(verdict == "wrong" && message.contains(&nobody.to_string()), "{message}");

    // One that accepts and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound");
    stage.home.configure(&stage.toml("").replace(&stage.upstream.url(), &format!("http://{address}")));
    let began = Instant::now();
    let found = stage.home.run(&["doctor"]).await;
    assert_eq!(found.code(), 69, "{found:?}");
    println!("silence was given up after {:?}", began.elapsed());
}

#[tokio::test]
async fn a_wrong_client_a_wrong_clock_and_a_taken_port_are_found() {
    let stage = Stage::new().await;
    stage.configure("");
    stage.signed_in().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound");
    stage
        .home
        .configure(&stage.toml("").replace("listen.admin = \"127.0.0.1:0\"", &format!("listen.admin = \"{address}\"")));
    stage.pool.set_skew(-7200);
    let found = stage.home.run(&["doctor", "--json"]).await;
    assert_eq!(found.code(), 78, "{found:?}");
    let found = json(&found);
    assert!(of(&found, "clock")[0].1.contains("2h"), "{found:#}");
    assert!(of(&found, "ports")[0].1.contains(&address.to_string()), "{found:#}");

    stage.home.configure(&stage.toml("").replace("cognito.client_id = \"", "cognito.client_id = \"another-"));
    let found = stage.home.run(&["doctor", "--json"]).await;
    assert_eq!(found.code(), 78, "{found:?}");
    assert!(of(&json(&found), "app client")[0].2.contains("cognito.client_id"), "{found:?}");
}

#[tokio::test]
async fn a_loose_store_and_a_broken_configuration_come_first() {
    let stage = Stage::new().await;
    stage.configure("");
    stage.signed_in().await;
    fs::set_permissions(stage.home.store(), fs::Permissions::from_mode(0o644)).expect("ours");
    let found = stage.home.run(&["doctor"]).await;
    assert_eq!(found.code(), 77, "{found:?}");
    assert!(found.stdout.contains("chmod"), "{}", found.stdout);
    stage.home.configure("cognito.user_pool = \"a\"");
    let found = stage.home.run(&["doctor", "--json"]).await;
    assert_eq!(found.code(), 78, "{found:?}");
    assert_eq!(json(&found)["ok"], false);
}
