//! A warning reaches the person through every channel that is set, once each, also across a restart: the desktop, a
//! hook command, a webhook. What is answered on the desktop is done. No channel hears a secret.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use bytes::Bytes;
use cognito_proxy::devpool::{Settings, Tokens};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustix::process::Signal;
use serde_json::Value;
use tokio::{net::TcpListener, sync::mpsc};

use crate::support::{
    notifications::{self, Bus, Dunst, Server},
    process::Finished,
    proxy::{Home, Proxy},
    stage::{Stage, validity},
    wait,
};

/// How long a session is, and how much is left of it when the proxy first sees it, in seconds.
const SESSION: u64 = 3600;
const LEFT: u64 = 20;

/// Sixteen and eight seconds before the end, and one token lifetime, three seconds, before it.
const THRESHOLDS: &str = "cognito.refresh_token_validity = \"1h\"\nwarn.before = [\"16s\", \"8s\", \"3s\"]\n";

/// In the path of the webhook's URL, as chat services have it.
const WEBHOOK_SECRET: &str = "T000-B000-canary";

/// A pool whose tokens live three seconds, and a session that ends soon.
async fn near_its_end(stage: &Stage) -> Tokens {
    stage.pool.set_validity(Settings::CLIENT, validity(3, SESSION));
    let tokens = stage.sign_in();
    stage.pool.age(Settings::USER, Duration::from_secs(SESSION - LEFT));
    assert_eq!(stage.import(&tokens).await.code(), 0, "before its first threshold nothing is wrong");
    tokens
}

/// A program that keeps its whole environment, one run after the other.
fn hook(home: &Home) -> PathBuf {
    let path = home.write("hook", "#!/bin/sh\n{ env; echo ===; } >> \"$0.runs\"\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("a mode");
    path
}

/// The environments in which the hook ran.
fn runs(home: &Home) -> Vec<String> {
    let text = fs::read_to_string(home.path("hook.runs")).unwrap_or_default();
    text.split("===\n").filter(|run| !run.is_empty()).map(ToOwned::to_owned).collect()
}

fn value<'a>(run: &'a str, name: &str) -> &'a str {
    let line = run.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("{name} in\n{run}"))
}

/// A webhook's receiver, and what was posted to it.
async fn receiver() -> (String, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/services/{WEBHOOK_SECRET}", listener.local_addr().expect("bound"));
    let (told, posted) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(async |request: Request<Incoming>| {
                assert!(request.uri().path().ends_with(WEBHOOK_SECRET) && request.method() == "POST");
                let body = request.into_body().collect().await.expect("a body").to_bytes();
                drop(told.send(serde_json::from_slice(&body).expect("JSON")));
                Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from_static(b"ok"))))
            });
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        }
    });
    (url, posted)
}

/// Runs the proxy with this bus, and with a variable of the configuration that is nobody else's business.
async fn run(stage: &Stage) -> Proxy {
    let mut command = stage.home.command(&["run"]);
    command.env("DBUS_SESSION_BUS_ADDRESS", notifications::address(&stage.home));
    command.env("COGNITO_PROXY_LOG__LEVEL", "debug");
    Proxy::started(&mut command).await
}

/// The level of every warning that was logged, in order, with those about refreshes that fail: there may be one before
/// the end, since a token of three seconds does not outlast the second opinion.
fn logged(finished: &Finished) -> Vec<String> {
    let events = finished.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let level = |event: Value| match event["message"].as_str()? {
        "session ends soon" => Some(event["event_level"].as_str()?.to_owned()),
        "session ended" => Some("ended".into()),
        "refreshing fails, and requests are about to" => Some("urgent".into()),
        _ => None,
    };
    events.filter_map(level).collect()
}

#[tokio::test]
async fn each_warning_once_in_each_channel_also_across_a_restart_and_no_secret_in_any() {
    if !notifications::is_there() {
        return;
    }
    let stage = Stage::lasting(3).await;
    let (url, mut posted) = receiver().await;
    let (hook, secret) = (hook(&stage.home), stage.home.write("webhook", &format!("{url}\n")));
    stage.configure(&format!("{THRESHOLDS}warn.command = [{hook:?}]\nwarn.webhook_url_file = {secret:?}"));
    let tokens = near_its_end(&stage).await;

    // The desktop is not there yet, which delays nobody.
    let mut first = run(&stage).await;
    first.logged("session ends soon").await;
    let notice = wait::bounded("the first post", posted.recv()).await.expect("a receiver");
    wait::until("the first run", async || (runs(&stage.home).len() == 1).then_some(())).await;
    let first = first.stop().await;
    assert_eq!(logged(&first), ["notice"]);

    let _bus = Bus::start(&stage.home).await;
    let mut desktop = Server::start(&stage.home).await;
    let mut second = run(&stage).await;
    let soon = desktop.shown("the second threshold").await;
    let urgent = desktop.shown("the urgent moment").await;
    second.logged("session ended").await;
    let mut ended = desktop.shown("the end").await;
    if ended.summary == "Session cannot be refreshed" {
        ended = desktop.shown("the end").await;
    }
    assert_eq!((soon.replaces, urgent.replaces), (0, soon.id), "the later takes the place of the earlier");
    assert_eq!((soon.urgency, urgent.urgency), (1, 2));
    assert!(
        soon.summary.starts_with("Session ends in ") && soon.body.ends_with("Run: cognito-proxy login"),
        "{soon:?}"
    );
    assert_eq!(soon.actions, ["default", "Sign in", "sign-in", "Sign in"]);
    assert_eq!((ended.summary.as_str(), ended.urgency, ended.replaces), ("Session has ended", 2, soon.id));
    let second = second.stop().await;
    let levels = [logged(&first), logged(&second)].concat();
    let mut each = levels.clone();
    each.dedup();
    assert_eq!(each, ["notice", "soon", "urgent", "ended"]);

    let mut posts = vec![notice];
    while let Ok(post) = posted.try_recv() {
        posts.push(post);
    }
    let runs = runs(&stage.home);
    assert_eq!(runs.iter().map(|run| value(run, "COGNITO_PROXY_LEVEL")).collect::<Vec<_>>(), levels);
    assert_eq!(posts.iter().filter_map(|post| post["level"].as_str()).collect::<Vec<_>>(), levels);
    for (run, post) in runs.iter().zip(&posts) {
        assert_eq!(value(run, "COGNITO_PROXY_EVENT"), post["event"]);
        assert_eq!(value(run, "COGNITO_PROXY_EXPIRES_AT"), post["expires_at"]);
        assert_eq!(value(run, "COGNITO_PROXY_MESSAGE"), post["message"]);
        assert!(!run.contains("COGNITO_PROXY_LOG__LEVEL"), "the configuration is not the hook's business:\n{run}");
        assert_eq!((&post["username"], &post["profile"]), (&Settings::USER.into(), &"proxy".into()));
    }
    let events: Vec<_> = posts.iter().filter_map(|post| post["event"].as_str()).collect();
    assert!(events.starts_with(&["warning"]) && events.ends_with(&["ended"]), "{events:?}");

    let told = format!("{runs:?}{posts:?}{soon:?}{urgent:?}{ended:?}");
    assert!(!told.contains("eyJ") && !told.contains(tokens.refresh_token.expose()), "{told}");
    for finished in [first, second] {
        assert!(!finished.stderr.contains(WEBHOOK_SECRET), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn a_press_signs_in_and_a_new_sign_in_takes_the_notification_away() {
    if !notifications::is_there() {
        return;
    }
    let stage = Stage::lasting(3).await;
    stage.configure(THRESHOLDS);
    near_its_end(&stage).await;
    let _bus = Bus::start(&stage.home).await;
    let mut desktop = Server::start(&stage.home).await;
    let mut proxy = run(&stage).await;
    let notice = desktop.shown("the first threshold").await;
    assert_eq!(notice.urgency, 0);
    // Somebody else's notification is none of its business.
    desktop.press(&notifications::Shown { id: notice.id + 40, ..notice.clone() }, "default").await;
    desktop.press(&notice, "sign-in").await;
    proxy.logged("sign-in started").await;

    stage.pool.set_validity(Settings::CLIENT, validity(3600, SESSION));
    stage.signed_in().await;
    desktop.closed(notice.id).await;
    let finished = proxy.stop().await;
    assert_eq!(finished.stderr.matches("sign-in started").count(), 1, "{}", finished.stderr);
}

#[tokio::test]
async fn a_notification_server_of_somebody_else_shows_it() {
    if !notifications::is_there() {
        return;
    }
    let stage = Stage::lasting(3).await;
    stage.configure(THRESHOLDS);
    let _bus = Bus::start(&stage.home).await;
    let Some(dunst) = Dunst::start(&stage.home).await else { return };
    near_its_end(&stage).await;
    let proxy = run(&stage).await;
    let displayed = async || (dunst.asked(&["count", "displayed"])? == "1").then_some(());
    wait::until("a notification", displayed).await;

    stage.pool.set_validity(Settings::CLIENT, validity(3600, SESSION));
    stage.signed_in().await;
    let gone = async || (dunst.asked(&["count", "displayed"])? == "0").then_some(());
    wait::until("its end, since somebody signed in", gone).await;
    let history: Value = serde_json::from_str(&dunst.asked(&["history"]).expect("an answer")).expect("JSON");
    let shown = &history["data"][0][0];
    assert_eq!(shown["appname"]["data"], "cognito-proxy", "{history}");
    assert!(shown["summary"]["data"].as_str().is_some_and(|text| text.starts_with("Session ends in ")), "{history}");
    assert!(shown["body"]["data"].as_str().is_some_and(|text| text.ends_with("cognito-proxy login")), "{history}");
    proxy.stop().await;
}

#[tokio::test]
async fn stay_signed_in_keeps_the_idle_lock_open() {
    if !notifications::is_there() {
        return;
    }
    let stage = Stage::lasting(600).await;
    stage.configure("session.idle_lock = \"8s\"\ncognito.refresh_token_validity = \"1h\"");
    stage.signed_in().await;
    let _bus = Bus::start(&stage.home).await;
    let mut desktop = Server::start(&stage.home).await;
    let proxy = run(&stage).await;
    let lock = desktop.shown("the word about the lock").await;
    assert!(lock.summary.starts_with("Proxy locks in "), "{lock:?}");
    assert_eq!(lock.actions, ["default", "Stay signed in", "stay-signed-in", "Stay signed in"]);
    assert!(lock.body.ends_with("Run: cognito-proxy unlock"), "{lock:?}");
    desktop.press(&lock, "default").await;
    // The lock is announced anew, half its time after the press: it did not close.
    let again = desktop.shown("the next word about the lock").await;
    assert_eq!(proxy.status().await["state"], "fresh", "{again:?}");
    let finished = proxy.stop().await;
    assert_eq!(finished.stderr.matches("the notification was answered").count(), 1);
}

#[tokio::test]
async fn a_reload_changes_through_what_is_warned() {
    let stage = Stage::lasting(3).await;
    stage.configure(THRESHOLDS);
    near_its_end(&stage).await;
    let mut proxy = run(&stage).await;
    proxy.logged("session ends soon").await;
    let hook = hook(&stage.home);
    stage.configure(&format!("{THRESHOLDS}warn.command = [{hook:?}]"));
    proxy.signal(Signal::HUP);
    proxy.logged("configuration reloaded").await;
    wait::until("a run", async || (!runs(&stage.home).is_empty()).then_some(())).await;
    assert_ne!(value(&runs(&stage.home)[0], "COGNITO_PROXY_LEVEL"), "notice", "that was told before the reload");
    proxy.stop().await;
}
