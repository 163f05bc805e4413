//! The same against somebody else's idea of Cognito: MiniStack checks proofs and codes by itself, cognito-local knows no
//! proofs.

use cognito_proxy::{
    clock::{Clock as _, SystemClock},
    devpool::application_code,
    secret::Secret,
};
use serde_json::json;

use crate::support::{
    emulators::{AppClient, CognitoLocal, Emulator, MiniStack},
    proxy::{FREE_PORTS, Home},
    terminal::AtTerminal,
};

fn login(emulator: &Emulator, client: &AppClient, home: &Home) -> AtTerminal {
    let section = emulator.section(client, home);
    home.configure(&format!("{section}{FREE_PORTS}[upstream]\nurl = \"http://127.0.0.1:9\"\n"));
    AtTerminal::start(home, &["login", "--method", "password", "--user", &emulator.username, "--color", "never"])
}

#[tokio::test]
async fn ministack_takes_our_proof_and_refuses_a_wrong_one() {
    let emulator = MiniStack::start().await;
    for client in [&emulator.clients.public, &emulator.clients.secret] {
        let home = Home::new();
        let mut terminal = login(&emulator, client, &home);
        terminal.answers("Password for alice: ", "not-the-password").await;
        terminal.reads("incorrect username or password; try again").await;
        terminal.answers("Password for alice: ", &emulator.password).await;
        let (code, screen) = terminal.finish().await;
        assert_eq!(code, 0, "{screen}");
        assert!(!screen.contains("is sent to Cognito"), "proved, not sent: {screen}");
        let token = home.run(&["token", "--min-ttl", "2h"]).await;
        assert_eq!(token.code(), 0, "it can be refreshed: {}", token.stderr);
    }
}

#[tokio::test]
async fn ministack_takes_an_applications_code_and_refuses_a_wrong_one() {
    let emulator = MiniStack::start().await;
    let client = &emulator.clients.public;
    let signed_in = emulator.sign_in(client).await;
    let access_token = &signed_in["AuthenticationResult"]["AccessToken"];
    let associated = emulator.call("AssociateSoftwareToken", &json!({"AccessToken": access_token})).await;
    let secret = associated.expect("a secret")["SecretCode"].as_str().expect("a text").to_owned();
    let secret = Secret::new(secret);
    let code = || application_code(&secret, SystemClock.now().wall);
    let verified = json!({"AccessToken": access_token, "UserCode": code()});
    emulator.call("VerifySoftwareToken", &verified).await.expect("the right code");
    let rule = json!({
        "UserPoolId": emulator.pool_id,
        "MfaConfiguration": "OPTIONAL",
        "SoftwareTokenMfaConfiguration": {"Enabled": true},
    });
    emulator.call("SetUserPoolMfaConfig", &rule).await.expect("a second factor");

    let home = Home::new();
    let mut terminal = login(&emulator, client, &home);
    terminal.answers("Password for alice: ", &emulator.password).await;
    terminal.answers("Code from your authenticator application: ", "000000").await;
    terminal.reads("wrong code; try again").await;
    terminal.answers("Code from your authenticator application: ", &code()).await;
    let (exit, screen) = terminal.finish().await;
    assert_eq!(exit, 0, "{screen}");
}

#[tokio::test]
async fn cognito_local_knows_no_proof_and_the_person_is_told() {
    let emulator = CognitoLocal::start().await;
    let home = Home::new();
    let mut terminal = login(&emulator, &emulator.clients.public, &home);
    terminal.reads("the password itself is sent to Cognito, in plain HTTP on this machine").await;
    terminal.answers("Password for alice: ", "not-the-password").await;
    terminal.reads("incorrect username or password; try again").await;
    terminal.answers("Password for alice: ", &emulator.password).await;
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 0, "{screen}");
}
