//! A request for which there is no token is answered by the proxy itself: with a 503 that says why and what to run, in
//! the form that its sender understands, and never with a 401, which a client would take for its upstream's. As long as
//! a token is good, nothing of this happens, whatever Cognito says.

use cognito_proxy::devpool::{Fault, Scope, Settings};
use http::Version;
use serde_json::Value;

use crate::support::{
    http as wire,
    proxy::Proxy,
    stage::{Stage, get_with, header, problem},
    wait,
};

#[tokio::test]
async fn signed_out_it_is_login_required_with_the_command_to_run() {
    let stage = Stage::new().await;
    stage.configure("");
    let proxy = stage.home.serve_with(&[]).await;
    let answer = wire::get(proxy.address(), "/orders").await;
    let document = problem(&answer, 503, "login_required");
    assert_eq!(document["fix"], "cognito-proxy login");
    assert_eq!(header(&answer, "proxy-status"), Some(PROXY_STATUS));
    assert_eq!(header(&answer, "cache-control"), Some("no-store"), "a sign-in mends it at once");
    not_ready(&proxy, "login_required").await;

    assert_eq!(proxy.status().await["state"], "signed_out");
    assert_eq!(stage.upstream.log().total(), 0, "nothing goes upstream");
    assert_eq!(stage.pool.calls().total(), 0, "and nobody is asked");
}

const PROXY_STATUS: &str = "cognito-proxy; error=proxy_internal_response; details=\"login_required\"";

#[tokio::test]
async fn another_profile_names_its_own_command() {
    let stage = Stage::new().await;
    stage.home.write("config/cognito-proxy/work.toml", &stage.toml(""));
    let proxy = stage.home.serve_with(&["-p", "work"]).await;
    let document = problem(&wire::get(proxy.address(), "/").await, 503, "login_required");
    assert_eq!(document["fix"], "cognito-proxy login -p work");
}

#[tokio::test]
async fn a_configuration_that_no_search_finds_is_named_so_that_the_command_can_be_pasted() {
    let stage = Stage::new().await;
    let toml = stage.toml("").replace(&stage.upstream.url(), "http://127.0.0.1:1");
    std::fs::create_dir(stage.home.path("it's here")).expect("a directory of our own");
    let file = stage.home.write("it's here/proxy.toml", &toml);
    let named = stage.home.serve_with(&["-c", "it's here/proxy.toml"]).await;
    let document = problem(&wire::get(named.address(), "/").await, 503, "login_required");
    let quoted = file.display().to_string().replace('\'', r"'\''");
    assert_eq!(document["fix"], format!("cognito-proxy login -c '{quoted}'"));
    assert_eq!(named.status().await["warning"]["fix"], document["fix"]);

    // As a shell takes it, far from here: it finds the file, the store and the running proxy.
    let pasted = stage.home.paste(&said(&document).replacen("login", "reload", 1)).await;
    assert_eq!((pasted.code(), pasted.stderr.as_str()), (0, ""));
    drop(named);

    // Another name for the profile is kept too, and other replies name other commands in the same way.
    let renamed = stage.home.serve_with(&["-c", file.to_str().expect("UTF-8"), "-p", "work"]).await;
    let document = problem(&wire::get(renamed.address(), "/").await, 503, "login_required");
    assert_eq!(document["fix"], format!("cognito-proxy login -p work -c '{quoted}'"));
    let pasted = stage.home.paste(&said(&document).replacen("login", "reload", 1)).await;
    assert_eq!((pasted.code(), pasted.stderr.as_str()), (0, ""));

    // The usual name as well, where the file would give it another.
    let other = stage.home.write("it's here/other.toml", &toml);
    let usual = stage.home.serve_with(&["-c", other.to_str().expect("UTF-8"), "-p", "proxy"]).await;
    let document = problem(&wire::get(usual.address(), "/").await, 503, "login_required");
    let other = other.display().to_string().replace('\'', r"'\''");
    assert_eq!(document["fix"], format!("cognito-proxy login -p proxy -c '{other}'"));
    drop(usual);

    let tokens = stage.sign_in().to_import_json();
    let import = ["import", "-c", "it's here/proxy.toml", "-p", "work"];
    assert_eq!(stage.home.run_with_input(&import, &tokens).await.code(), 0);
    let document = problem(&wire::get(renamed.address(), "/").await, 502, "upstream_unreachable");
    let doctor = format!(": cognito-proxy doctor -p work -c '{quoted}'");
    assert!(said(&document).ends_with(&doctor), "{document}");
}

fn said(document: &Value) -> &str {
    document["fix"].as_str().expect("text")
}

#[tokio::test]
async fn an_upstream_that_is_down_does_not_fill_the_log() {
    const ASKED: usize = 60;
    let stage = Stage::new().await;
    let proxy = stage.serve_before("http://127.0.0.1:1", "runtime.workers = 1").await;
    for _ in 0..ASKED {
        problem(&wire::get(proxy.address(), "/").await, 502, "upstream_unreachable");
    }
    let log = proxy.stop().await.stderr;
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let told: Vec<_> = lines.iter().filter(|line| line["message"] == "not forwarded").collect();
    // A line a second, and what was left out is counted.
    assert!((1..ASKED).contains(&told.len()), "{log}");
    assert_eq!(told[0]["suppressed"], 0, "{log}");
}

#[tokio::test]
async fn a_browser_gets_a_page() {
    let stage = Stage::new().await;
    stage.configure("");
    let proxy = stage.home.serve_with(&[]).await;
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let answer = get_with(proxy.address(), "/orders", &[("accept", accept)]).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(header(&answer, "content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(header(&answer, "proxy-status"), Some(PROXY_STATUS));
    assert!(header(&answer, "retry-after").is_some());
    let page = String::from_utf8_lossy(answer.body());
    assert!(page.contains("<html") && page.contains("cognito-proxy login"), "{page}");
    assert!(!page.contains("<script"), "it works without JavaScript");
}

#[tokio::test]
async fn a_grpc_call_gets_trailers_alone() {
    let stage = Stage::new().await;
    stage.configure("");
    let proxy = stage.home.serve_with(&[]).await;
    let answer = wire::exchange_h2(proxy.address(), "/orders.Orders/List", "application/grpc+proto").await;
    // gRPC over HTTP/2, "Responses": 200, the status where trailers go, and no message.
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    assert_eq!(header(&answer, "content-type"), Some("application/grpc"));
    assert_eq!(header(&answer, "grpc-status"), Some("14"));
    let message = header(&answer, "grpc-message").unwrap_or_default();
    assert!(message.contains("cognito-proxy login"), "{message}");
    assert_eq!(answer.body().len(), 0);
}

#[tokio::test]
async fn an_ended_session_serves_its_token_to_the_last_second() {
    let stage = Stage::lasting(60).await;
    // A fifth of the lifetime is less than what is left: the refresh is due at once.
    stage.configure("cognito.refresh_token_validity = \"1h\"\nsession.hold = \"0s\"");
    stage.signed_in_with(60, 7).await;
    stage.pool.sign_out(Settings::USER);
    let mut proxy = stage.home.serve_with(&[]).await;
    proxy.logged("session ended").await;
    let calls = stage.refreshes();
    let ended = proxy.status().await;
    assert_eq!((&ended["state"], &ended["warning"]["level"]), (&"session_ended".into(), &"ended".into()));
    let last = served_until_refused(&stage, &proxy).await;

    let document = problem(&last, 503, "session_expired");
    assert_eq!(document["fix"], "cognito-proxy login");
    not_ready(&proxy, "session_expired").await;
    assert_eq!(stage.refreshes(), calls, "after its verdict Cognito is not asked again");
    proxy.stop().await;
}

#[tokio::test]
async fn failing_refreshes_show_only_once_the_token_is_dead() {
    let stage = Stage::lasting(60).await;
    stage.configure("cognito.refresh_token_validity = \"1h\"\nrefresh.wait = \"100ms\"");
    stage.signed_in_with(60, 5).await;
    stage.pool.fail_always(Scope::Refresh, Fault::status(500));
    let mut proxy = stage.home.serve_with(&[]).await;
    let failed = proxy.logged("refresh failed (still serving)").await;
    assert_eq!(failed["outcome"], "transient", "{failed}");
    let last = served_until_refused(&stage, &proxy).await;

    problem(&last, 503, "refresh_failing");
    not_ready(&proxy, "refresh_failing").await;
    assert_eq!(proxy.status().await["state"], "backing_off");

    stage.pool.heal();
    proxy.ready().await;
    let answer = wire::get(proxy.address(), "/").await;
    assert_eq!(answer.status(), 200, "and it heals by itself");
    proxy.stop().await;
}

#[tokio::test]
async fn a_setting_at_fault_is_named() {
    let stage = Stage::lasting(60).await;
    stage.configure("cognito.refresh_token_validity = \"1h\"\nrefresh.wait = \"100ms\"");
    stage.signed_in_with(60, 3).await;
    stage.pool.fail_always(Scope::Refresh, refusal_for_the_secret());
    let proxy = stage.home.serve_with(&[]).await;
    let last = served_until_refused(&stage, &proxy).await;
    let document = problem(&last, 503, "refresh_failing");
    assert!(document["fix"].as_str().expect("a fix").contains("client_secret_file"), "{document}");
    let status = proxy.status().await;
    assert_eq!((&status["state"], &status["last_refresh"]["outcome"]), (&"backing_off".into(), &"rejected".into()));
    proxy.stop().await;
}

fn refusal_for_the_secret() -> Fault {
    Fault::exception(
        "NotAuthorizedException",
        "Client 4devpool0public0client0one is configured with secret but SECRET_HASH was not received",
    )
}

/// Asks until something else than 200 comes, and returns that. What was served until then was served by tokens that
/// had not expired, while readiness said so.
async fn served_until_refused(stage: &Stage, proxy: &Proxy) -> http::Response<bytes::Bytes> {
    let before = stage.upstream.log().total();
    let last = wait::until("a refusal", async || {
        let answer = wire::get(proxy.address(), "/orders").await;
        (answer.status() != 200).then_some(answer)
    })
    .await;
    let log = stage.upstream.log();
    assert!(log.total() > before, "the token was served while it was good");
    let latest = log.last().and_then(|request| request.bearer.as_ref().map(|bearer| (request.at, bearer.expires_at)));
    let (at, expires_at) = latest.expect("a token");
    assert!(at < expires_at, "dead when it arrived: {at} {expires_at}");
    assert!(expires_at.millis_since(stage.pool.now()) < 2_000, "refused early: {expires_at}");
    assert_eq!(log.expired_on_arrival(), 0);
    last
}

/// `/readyz` says the same code, and nothing else.
async fn not_ready(proxy: &Proxy, code: &str) {
    let answer = wire::get(proxy.admin(), "/readyz").await;
    assert_eq!(answer.status(), 503);
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let said: Value = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.trim().to_owned()));
    assert_eq!(said.get("code").unwrap_or(&said), code, "{text}");
    assert_eq!(wire::get(proxy.admin(), "/livez").await.status(), 200);
}
