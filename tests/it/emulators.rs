//! The emulators themselves do what the journeys through the proxy will rely on: a sign-in, and a refresh that yields
//! another ID token of the same user, signed by a key of the published set.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::{
    emulators::{AppClient, CognitoLocal, Emulator, MiniStack},
    http,
    proxy::Home,
};

#[tokio::test]
async fn cognito_local_signs_in_and_refreshes() {
    let emulator = CognitoLocal::start().await;
    for client in [&emulator.clients.public, &emulator.clients.secret, &emulator.clients.short] {
        refreshes_to_another_id_token(&emulator, client).await;
    }
}

#[tokio::test]
async fn ministack_signs_in_and_refreshes() {
    let emulator = MiniStack::start().await;
    for client in [&emulator.clients.public, &emulator.clients.secret, &emulator.clients.short] {
        refreshes_to_another_id_token(&emulator, client).await;
    }
}

#[tokio::test]
async fn ministack_refreshes_a_rotating_client_by_get_tokens_from_refresh_token() {
    let emulator = MiniStack::start().await;
    let client = &emulator.clients.rotating;
    let signed_in = emulator.sign_in(client).await;
    let before = id_claims(&signed_in);
    let body = json!({"ClientId": client.id, "RefreshToken": signed_in["AuthenticationResult"]["RefreshToken"]});
    let refreshed = emulator.call("GetTokensFromRefreshToken", &body).await.expect("a refresh");
    assert_ne!(before["jti"], id_claims(&refreshed)["jti"]);
}

#[tokio::test]
async fn ministack_wants_the_secret_of_a_client_that_has_one() {
    let emulator = MiniStack::start().await;
    let without = AppClient { id: emulator.clients.secret.id.clone(), secret: None };
    let parameters = json!({"USERNAME": emulator.username, "PASSWORD": emulator.password});
    let body = json!({"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": without.id, "AuthParameters": parameters});
    let refusal = emulator.call("InitiateAuth", &body).await.expect_err("no SECRET_HASH");
    assert!(format!("{refusal:?}").contains("NotAuthorizedException"), "{refusal:?}");
}

#[tokio::test]
async fn an_emulator_writes_its_own_section_of_the_configuration() {
    let (emulator, home) = (CognitoLocal::start().await, Home::new());
    let section = emulator.section(&emulator.clients.secret, &home);
    let document: toml_edit::DocumentMut = section.parse().expect("TOML");
    let value = |key: &str| document["cognito"][key].as_str().unwrap_or_else(|| panic!("{key} in {section}"));
    assert_eq!(value("endpoint"), emulator.endpoint);
    assert_eq!(value("user_pool_id"), emulator.pool_id);
    let secret = std::fs::read_to_string(value("client_secret_file")).expect("a file");
    assert_eq!(Some(secret), emulator.clients.secret.secret);
    assert!(!emulator.section(&emulator.clients.public, &home).contains("client_secret_file"));
}

async fn refreshes_to_another_id_token(emulator: &Emulator, client: &AppClient) {
    let signed_in = emulator.sign_in(client).await;
    let before = id_claims(&signed_in);
    assert_eq!(before["iss"], emulator.issuer.as_str());
    assert_eq!(before["aud"], client.id.as_str());

    let refreshed = refresh(emulator, client, &signed_in["AuthenticationResult"]["RefreshToken"]).await;
    let after = id_claims(&refreshed);
    assert_ne!(before["jti"], after["jti"], "a token of its own");
    assert_eq!(before["sub"], after["sub"], "of the same user");
    if client.id == emulator.clients.short.id {
        assert_eq!(after["exp"].as_i64().expect("exp") - after["iat"].as_i64().expect("iat"), 10);
    }

    let address = emulator.endpoint.strip_prefix("http://").expect("plain HTTP").parse().expect("an address");
    let path = emulator.jwks_url.strip_prefix(&emulator.endpoint).expect("below the endpoint");
    let keys: Value = serde_json::from_slice(http::get(address, path).await.body()).expect("a key set");
    let key_id = &segment(&refreshed, 0)["kid"];
    assert!(keys["keys"].as_array().expect("keys").iter().any(|key| key["kid"] == *key_id), "{key_id} in {keys}");
}

async fn refresh(emulator: &Emulator, client: &AppClient, refresh_token: &Value) -> Value {
    let mut parameters = json!({"REFRESH_TOKEN": refresh_token});
    if let Some(hash) = client.secret_hash(&emulator.username) {
        parameters["SECRET_HASH"] = hash.into();
    }
    let body = json!({"AuthFlow": "REFRESH_TOKEN_AUTH", "ClientId": client.id, "AuthParameters": parameters});
    emulator.call("InitiateAuth", &body).await.expect("a refresh")
}

fn id_claims(answer: &Value) -> Value {
    segment(answer, 1)
}

/// A part of the ID token in an answer: 0 is its header, 1 its claims (RFC 7515 §3.1).
fn segment(answer: &Value, index: usize) -> Value {
    let token = answer["AuthenticationResult"]["IdToken"].as_str().unwrap_or_else(|| panic!("no ID token: {answer}"));
    let part = token.split('.').nth(index).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}
