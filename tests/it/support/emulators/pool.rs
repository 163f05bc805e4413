//! Cognito's API by hand, as far as a test must arrange things: a pool, its app clients, a user, a sign-in.

use std::net::SocketAddr;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde_json::{Value, json};

use super::Clients;
use crate::support::http as wire;

pub(super) const USERNAME: &str = "alice";
pub(super) const PASSWORD: &str = "Passw0rd!x";

/// An app client of the pool.
#[derive(Debug)]
pub(crate) struct AppClient {
    pub(crate) id: String,
    pub(crate) secret: Option<String>,
}

impl AppClient {
    /// `SECRET_HASH` as the API reference defines it: Base64(HMAC-SHA256(secret, username + client id)).
    pub(crate) fn secret_hash(&self, username: &str) -> Option<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.as_deref()?.as_bytes());
        Some(STANDARD.encode(hmac::sign(&key, format!("{username}{}", self.id).as_bytes())))
    }
}

/// An answer other than 200.
#[derive(Debug)]
#[expect(dead_code, reason = "read through Debug, by whoever must find out why a test failed")]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// One call in the `application/x-amz-json-1.1` form. The signature is empty, which no emulator minds; its credential
/// scope is what one of them finds the service by.
pub(super) async fn call(address: SocketAddr, operation: &str, body: &Value) -> Result<Value, Refusal> {
    let request = Request::post("/")
        .header(header::CONTENT_TYPE, "application/x-amz-json-1.1")
        .header("x-amz-target", format!("AWSCognitoIdentityProviderService.{operation}"))
        .header(
            header::AUTHORIZATION,
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/cognito-idp/aws4_request, SignedHeaders=host, Signature=0",
        )
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("a request");
    let response = wire::exchange(address, request).await;
    let status = response.status().as_u16();
    let body = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
    if status == 200 { Ok(body) } else { Err(Refusal { status, body }) }
}

pub(super) async fn sign_in(
    address: SocketAddr,
    client: &AppClient,
    username: &str,
    password: &str,
) -> Result<Value, Refusal> {
    let mut parameters = json!({"USERNAME": username, "PASSWORD": password});
    if let Some(hash) = client.secret_hash(username) {
        parameters["SECRET_HASH"] = hash.into();
    }
    let body = json!({"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": client.id, "AuthParameters": parameters});
    call(address, "InitiateAuth", &body).await
}

/// Creates the pool, its four clients and its one confirmed user.
pub(super) async fn seed(address: SocketAddr) -> (String, Clients) {
    let pool = arranged(address, "CreateUserPool", json!({"PoolName": "it", "MfaConfiguration": "OFF"})).await;
    let pool_id = text(&pool["UserPool"]["Id"]);
    let client = |name, settings| app_client(address, &pool_id, name, settings);
    let seconds = json!({"IdToken": "seconds", "AccessToken": "seconds", "RefreshToken": "seconds"});
    let clients = Clients {
        public: client("public", json!({})).await,
        secret: client("secret", json!({"GenerateSecret": true})).await,
        short: client(
            "short",
            json!({"IdTokenValidity": 10, "AccessTokenValidity": 10, "RefreshTokenValidity": 60, "TokenValidityUnits": seconds}),
        )
        .await,
        rotating: client(
            "rotating",
            json!({
                "RefreshTokenRotation": {"Feature": "ENABLED", "RetryGracePeriodSeconds": 5},
                "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH", "ALLOW_USER_SRP_AUTH"],
            }),
        )
        .await,
    };
    user(address, &pool_id).await;
    (pool_id, clients)
}

/// One app client: what every one has, overridden by `settings`.
async fn app_client(address: SocketAddr, pool_id: &str, name: &str, settings: Value) -> AppClient {
    let mut body = json!({
        "UserPoolId": pool_id,
        "ClientName": name,
        "ExplicitAuthFlows": ["ALLOW_USER_PASSWORD_AUTH", "ALLOW_USER_SRP_AUTH", "ALLOW_REFRESH_TOKEN_AUTH"],
        "CallbackURLs": ["http://localhost:8976/callback", "http://127.0.0.1:8976/callback"],
        "AllowedOAuthFlows": ["code"],
        "AllowedOAuthFlowsUserPoolClient": true,
        "AllowedOAuthScopes": ["openid", "email", "profile", "aws.cognito.signin.user.admin"],
        "SupportedIdentityProviders": ["COGNITO"],
        "EnableTokenRevocation": true,
        // Said outright, since emulators differ in their defaults and in the default's unit.
        "IdTokenValidity": 60,
        "AccessTokenValidity": 60,
        "RefreshTokenValidity": 30,
        "TokenValidityUnits": {"IdToken": "minutes", "AccessToken": "minutes", "RefreshToken": "days"},
    });
    let Value::Object(settings) = settings else { panic!("settings are an object: {settings}") };
    body.as_object_mut().expect("an object").extend(settings);
    let created = arranged(address, "CreateUserPoolClient", body).await;
    let client = &created["UserPoolClient"];
    AppClient { id: text(&client["ClientId"]), secret: client["ClientSecret"].as_str().map(str::to_owned) }
}

async fn user(address: SocketAddr, pool_id: &str) {
    let body = json!({
        "UserPoolId": pool_id,
        "Username": USERNAME,
        "MessageAction": "SUPPRESS",
        "TemporaryPassword": PASSWORD,
        "UserAttributes": [
            {"Name": "email", "Value": "alice@example.com"},
            {"Name": "email_verified", "Value": "true"},
        ],
    });
    arranged(address, "AdminCreateUser", body).await;
    let body = json!({"UserPoolId": pool_id, "Username": USERNAME, "Password": PASSWORD, "Permanent": true});
    arranged(address, "AdminSetUserPassword", body).await;
}

async fn arranged(address: SocketAddr, operation: &str, body: Value) -> Value {
    call(address, operation, &body).await.unwrap_or_else(|refusal| panic!("{operation} refused: {refusal:?}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

#[test]
fn the_secret_hash_is_the_one_that_openssl_computes() {
    // printf 'alice1example23456789' | openssl dgst -sha256 -hmac 'shh' -binary | base64
    let client = AppClient { id: "1example23456789".to_owned(), secret: Some("shh".to_owned()) };
    assert_eq!(client.secret_hash("alice").as_deref(), Some("3Fd1KZg3Neoy0L9ZKoMPzyd0XZ/vcVOS6THLOHESZ90="));
}
