//! `login --method password` signs a person in at a terminal, whatever the pool asks for, and says what is wrong in words
//! that help.

mod challenges;
mod devices;
mod emulators;
mod refusals;
mod without_a_terminal;

use cognito_proxy::devpool::{AppClient, DevPool, Operation, Settings, User};
use serde_json::Value;

use crate::support::{stage::Stage, terminal::AtTerminal};

const PASSWORD: &str = "Correct-horse-7";

const LOGIN: [&str; 5] = ["login", "--method", "password", "--user", "alice"];

/// A pool in which alice has that password, and nothing else to prove.
async fn stage() -> Stage {
    with_user(|user| user).await
}

/// The same with another alice.
async fn with_user(change: impl FnOnce(User) -> User) -> Stage {
    let stage = Stage::of(AppClient::public(Settings::CLIENT)).await;
    stage.pool.put_user(change(User::new("alice").with_password(PASSWORD)));
    stage.configure("");
    stage
}

/// `login` at a terminal.
fn login(stage: &Stage, more: &[&str]) -> AtTerminal {
    AtTerminal::start(&stage.home, &[&LOGIN[..], more].concat())
}

/// What the pool was asked for, in order, without the key set.
fn asked(pool: &DevPool) -> Vec<String> {
    let name = |operation: &Operation| match operation {
        Operation::InitiateAuth(flow) => flow.clone(),
        Operation::RespondToAuthChallenge(challenge) => challenge.clone(),
        other => format!("{other:?}"),
    };
    pool.calls().iter().filter(|call| call.operation.is_api()).map(|call| name(&call.operation)).collect()
}

fn stored(stage: &Stage) -> Value {
    let record = std::fs::read(stage.home.store()).expect("a record");
    serde_json::from_slice::<Value>(&record).expect("JSON")["session"].clone()
}

#[tokio::test]
async fn a_password_is_proved_and_never_shown_sent_or_logged() {
    let stage = stage().await;
    let mut terminal = login(&stage, &["--log-level", "trace"]);
    terminal.reads("Password for alice: ").await;
    assert!(!terminal.is_echoing());
    terminal.types(PASSWORD);
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("alice"), "who is signed in: {screen}");
    assert!(!screen.contains(PASSWORD) && !screen.contains("Correct-horse"), "{screen}");
    assert_eq!(asked(&stage.pool), ["USER_SRP_AUTH", "PASSWORD_VERIFIER"]);
    let stored = stored(&stage);
    assert_eq!((&stored["origin"], &stored["username"]), (&Value::from("login"), &Value::from("alice")));
    assert!(stored["auth_time_ms"].is_i64() && stored["device"].is_null(), "{stored}");
}

#[tokio::test]
async fn who_signs_in_is_asked_for_and_whoever_did_last_is_the_default() {
    let stage = stage().await;
    for (question, answer) in [("User name: ", "alice@example.com"), ("User name [alice]: ", "")] {
        let mut terminal = AtTerminal::start(&stage.home, &["login", "--method", "password"]);
        terminal.answers(question, answer).await;
        terminal.answers("Password for alice", PASSWORD).await;
        let (code, screen) = terminal.finish().await;
        assert_eq!(code, 0, "{screen}");
    }
    let first = asked(&stage.pool);
    assert_eq!(first, ["USER_SRP_AUTH", "PASSWORD_VERIFIER", "USER_SRP_AUTH", "PASSWORD_VERIFIER"]);
}

#[tokio::test]
async fn a_client_with_a_secret_hashes_the_alias_first_and_the_username_then() {
    let client = AppClient::public(Settings::CLIENT).with_secret("client-secret");
    let stage = Stage::of(client).await;
    stage.pool.put_user(User::known_by_email("bob@example.com").with_password(PASSWORD));
    let secret = stage.home.write("client-secret", "client-secret").display().to_string();
    stage.configure(&format!("cognito.client_secret_file = {secret:?}"));
    let mut terminal = AtTerminal::start(&stage.home, &["login", "--method", "password", "--user", "bob@example.com"]);
    terminal.answers("Password for bob@example.com: ", PASSWORD).await;
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 0, "{screen}");
    assert!(!screen.contains("client-secret\n"), "{screen}");
}

#[tokio::test]
async fn a_running_proxy_takes_the_session_over_and_refreshes_it() {
    let stage = stage().await;
    let mut proxy = stage.home.serve_with(&[]).await;
    let mut terminal = login(&stage, &[]);
    terminal.answers("Password for alice: ", PASSWORD).await;
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 0, "{screen}");
    assert!(screen.contains("the running proxy has adopted the session"), "{screen}");
    proxy.ready().await;
    assert_eq!(proxy.status().await["identity"]["username"], "alice");
    let token = stage.home.run(&["token", "--min-ttl", "2h"]).await;
    assert_eq!(token.code(), 0, "{}", token.stderr);
    proxy.stop().await;
}
