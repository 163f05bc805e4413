//! A pool that remembers devices: this one becomes known, proves itself the next time in place of a second factor, and is
//! named in every refresh.

use cognito_proxy::devpool::{DeviceRule, Factor};

use super::{PASSWORD, asked, login, stored, with_user};
use crate::support::stage::Stage;

async fn remembering() -> Stage {
    let stage = with_user(|user| user.with_factor(Factor::TextMessage)).await;
    stage.pool.change_rules(|rules| rules.devices = DeviceRule::Remembered);
    stage
}

async fn sign_in_with_code(stage: &Stage) -> String {
    let mut terminal = login(stage, &[]);
    terminal.answers("Password for alice: ", PASSWORD).await;
    terminal.reads("Code from the text message").await;
    terminal.types(&stage.pool.sent_code("alice").expect("a code was sent"));
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 0, "{screen}");
    screen
}

#[tokio::test]
async fn a_device_becomes_known_and_spares_the_second_factor() {
    let stage = remembering().await;
    sign_in_with_code(&stage).await;
    let steps = ["USER_SRP_AUTH", "PASSWORD_VERIFIER", "SMS_MFA", "ConfirmDevice"];
    assert_eq!(asked(&stage.pool), steps);
    let device = stored(&stage)["device"].clone();
    assert!(device["key"].is_string() && device["group_key"].is_string() && device["password"].is_string());

    // A refresh without the device's key would be an "Invalid Refresh Token".
    let token = stage.home.run(&["token", "--min-ttl", "2h"]).await;
    assert_eq!((token.code(), stage.pool.calls().refreshed()), (0, 1), "{}", token.stderr);
    assert_eq!(stored(&stage)["device"], device);

    let mut terminal = login(&stage, &["--log-level", "trace"]);
    terminal.answers("Password for alice: ", PASSWORD).await;
    let (code, screen) = terminal.finish().await;
    assert_eq!(code, 0, "{screen}");
    assert!(!screen.contains(device["password"].as_str().expect("a text")), "{screen}");
    let asked = asked(&stage.pool);
    assert_eq!(asked[asked.len() - 3..], ["PASSWORD_VERIFIER", "DEVICE_SRP_AUTH", "DEVICE_PASSWORD_VERIFIER"]);
    assert_eq!(stored(&stage)["device"], device, "it stays known");
    let token = stage.home.run(&["token", "--min-ttl", "2h"]).await;
    assert_eq!((token.code(), stage.pool.calls().refreshed()), (0, 2), "{}", token.stderr);
}

#[tokio::test]
async fn a_device_that_cognito_forgot_is_made_known_again() {
    let stage = remembering().await;
    sign_in_with_code(&stage).await;
    let before = stored(&stage)["device"]["key"].clone();
    stage.pool.forget_devices();
    let screen = sign_in_with_code(&stage).await;
    assert!(screen.contains("Cognito does not know this device any more; signing in without it"), "{screen}");
    assert_eq!(screen.matches("Password for").count(), 1, "without asking again: {screen}");
    assert_ne!(stored(&stage)["device"]["key"], before);
}
