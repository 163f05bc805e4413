//! Refreshes against servers that follow a script.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{
    super::fixtures::{self, Act, POOL, STRANGER, Scripted, access_claims, body, changed, id_claims, plain, settings},
    *,
};
use crate::{
    clock::{ManualClock, UnixTime},
    session::{Device, EndReason, SettingAtFault},
};

fn clock() -> ManualClock {
    ManualClock::at(UnixTime::from_secs(1_003_600))
}

fn issuer(settings: Settings) -> CognitoIssuer {
    CognitoIssuer::new(settings, plain(), Arc::new(clock()))
}

fn request() -> RefreshRequest {
    RefreshRequest {
        refresh_token: "eyJ-refresh-0".into(),
        username: Some("alice".into()),
        subject: Some("4f1c".into()),
        device: None,
        jwks: None,
    }
}

fn with_keys() -> RefreshRequest {
    RefreshRequest { jwks: Some(POOL.jwks()), ..request() }
}

fn keys() -> Act {
    body(200, "application/json", &POOL.jwks())
}

/// An answer with these tokens, dated as Cognito dates it.
fn tokens(id: &str, access: Option<&str>, rotated: Option<&str>) -> Act {
    let result = json!({ "IdToken": id, "AccessToken": access, "RefreshToken": rotated, "ExpiresIn": 300 });
    let Value::Object(mut result) = result else { unreachable!() };
    result.retain(|_, value| !value.is_null());
    let text = json!({ "AuthenticationResult": result, "ChallengeParameters": {} }).to_string();
    let headers = "content-type: application/x-amz-json-1.1\r\ndate: Mon, 12 Jan 1970 14:46:41 GMT\r\n";
    fixtures::with_headers(200, headers, &text)
}

fn good(rotated: Option<&str>) -> Act {
    tokens(&POOL.sign(&id_claims()), Some(&POOL.sign(&access_claims())), rotated)
}

fn refusal(status: u16, exception: &str, message: &str) -> Act {
    fixtures::json(status, &json!({ "__type": exception, "message": message }).to_string())
}

/// The body of a request and the operation that it names.
fn operation(request: &str) -> (String, Value) {
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    let target = head.lines().find_map(|line| line.strip_prefix("x-amz-target: ")).expect("a target");
    let name = target.rsplit('.').next().expect("a name");
    (name.to_owned(), serde_json::from_str(body).expect("JSON"))
}

#[tokio::test]
async fn a_refresh_fetches_the_keys_first_and_verifies_what_comes() {
    let server = Scripted::start([keys(), good(Some("refresh-1"))]).await;
    let grant = issuer(settings(&server.url())).refresh(request()).await.expect("tokens");
    assert_eq!(grant.id_token.claims.username, "alice");
    assert_eq!(grant.id_token.received, crate::clock::Clock::now(&clock()));
    assert_eq!(grant.access_token.expect("one came").claims.kind, TokenKind::Access);
    assert_eq!(grant.refresh_token, Some("refresh-1".into()));
    assert_eq!(grant.date, Some(UnixTime::from_secs(1_003_601)));
    assert!(grant.jwks.expect("keys").contains("pool+/="));

    let requests = server.requests().await;
    assert!(requests[0].starts_with("GET /jwks.json "), "{}", requests[0]);
    assert!(!requests[0].contains("refresh-0") && !requests[1].to_lowercase().contains("\r\nauthorization:"));
    let (name, body) = operation(&requests[1]);
    assert_eq!(name, "GetTokensFromRefreshToken");
    assert_eq!(body, json!({ "RefreshToken": "eyJ-refresh-0", "ClientId": "client" }));
}

#[tokio::test]
async fn stored_keys_spare_the_fetch_and_the_secret_and_device_go_along() {
    let server = Scripted::start([tokens(&POOL.sign(&id_claims()), None, None)]).await;
    let settings = Settings { client_secret: Some("s3cret".into()), ..settings(&server.url()) };
    let device = Some(Device { key: "device-1".into(), group_key: None, password: None });
    let grant = issuer(settings).refresh(RefreshRequest { device, ..with_keys() }).await.expect("tokens");
    assert_eq!((grant.access_token, grant.refresh_token), (None, None));
    let (_, body) = operation(&server.requests().await[0]);
    assert_eq!((&body["ClientSecret"], &body["DeviceKey"]), (&json!("s3cret"), &json!("device-1")));
}

#[tokio::test]
async fn an_endpoint_that_does_not_know_the_call_is_asked_by_the_older_one_from_then_on() {
    let unknown = refusal(500, "CognitoLocal#Unsupported", "Cognito Local unsupported feature");
    let server = Scripted::start([unknown, good(None), good(None)]).await;
    let settings = Settings { client_secret: Some("s3cret".into()), ..settings(&server.url()) };
    let issuer = issuer(settings);
    for _ in 0..2 {
        issuer.refresh(with_keys()).await.expect("tokens");
    }
    let operations: Vec<_> = server.requests().await.iter().map(|request| operation(request)).collect();
    let names: Vec<_> = operations.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["GetTokensFromRefreshToken", "InitiateAuth", "InitiateAuth"]);
    // echo -n aliceclient | openssl dgst -sha256 -hmac s3cret -binary | base64
    let parameters = json!({
        "REFRESH_TOKEN": "eyJ-refresh-0", "SECRET_HASH": "zIm1iOpDWkme0iQzPHrgGNVuF8AjB5f8u4LHtREhz4c=",
    });
    assert_eq!(operations[1].1["AuthParameters"], parameters);
    assert_eq!(operations[1].1["AuthFlow"], "REFRESH_TOKEN_AUTH");
}

#[tokio::test]
async fn the_older_call_takes_the_device_along_and_is_a_witness_of_the_clock_too() {
    let server = Scripted::start([good(None)]).await;
    let settings = Settings { refresh_api: RefreshApi::InitiateAuth, ..settings(&server.url()) };
    let device = Some(Device { key: "device-1".into(), group_key: None, password: None });
    let grant = issuer(settings).refresh(RefreshRequest { device, ..with_keys() }).await.expect("tokens");
    assert_eq!(grant.date, Some(UnixTime::from_secs(1_003_601)));
    let (name, body) = operation(&server.requests().await[0]);
    let parameters = json!({ "REFRESH_TOKEN": "eyJ-refresh-0", "DEVICE_KEY": "device-1" });
    assert_eq!((name.as_str(), &body["AuthParameters"]), ("InitiateAuth", &parameters));
}

/// Each of them is the pool's own, and together they are two people's: whoever's they are, whether or not it is known.
#[tokio::test]
async fn an_access_token_of_another_subject_than_the_id_token_is_refused() {
    for subject in [Some("4f1c".to_owned()), None] {
        let mut other = access_claims();
        other["sub"] = json!("mallory");
        let act = tokens(&POOL.sign(&id_claims()), Some(&POOL.sign(&other)), Some("refresh-1"));
        let server = Scripted::start([act]).await;
        let request = RefreshRequest { subject, ..with_keys() };
        let failure = issuer(settings(&server.url())).refresh(request).await.expect_err("refused");
        let Failure::Unacceptable { detail } = failure else { panic!("{failure:?}") };
        assert!(detail.contains("`sub` is \"mallory\""), "{detail}");
    }
}

#[tokio::test]
async fn a_plain_500_is_no_reason_to_change_the_call() {
    for act in [refusal(500, "InternalErrorException", "oops"), body(500, "text/plain", "oops")] {
        let server = Scripted::start([act]).await;
        let failure = issuer(settings(&server.url())).refresh(with_keys()).await.expect_err("refused");
        let Failure::Transient { kind: TransientKind::Server, sent: false, .. } = failure else {
            panic!("{failure:?}")
        };
        assert_eq!(server.requests().await.len(), 1, "one attempt, no retries inside");
    }
}

#[tokio::test]
async fn the_secret_hash_is_over_the_username_else_the_subject_else_the_secret_itself() {
    let server = Scripted::start([]).await;
    let settings = Settings { client_secret: Some("s3cret".into()), ..settings(&server.url()) };
    let issuer = issuer(settings);
    let secret = Secret::from("s3cret");
    let hash = |username: Option<&str>, subject: Option<&str>| {
        let (username, subject) = (username.map(Into::into), subject.map(Into::into));
        issuer.secret_hash(&secret, &RefreshRequest { username, subject, ..request() })
    };
    let by_name = hash(Some("alice"), Some("4f1c"));
    assert_eq!(by_name.expose(), "zIm1iOpDWkme0iQzPHrgGNVuF8AjB5f8u4LHtREhz4c=");
    assert_eq!(hash(Some("4f1c"), None), hash(None, Some("4f1c")));
    assert_ne!(by_name, hash(None, Some("4f1c")));
    assert_eq!(hash(None, None), secret);
}

#[tokio::test]
async fn refusals_are_sorted_and_hold_nothing_that_was_sent() {
    let echo = "Value 'eyJ-refresh-0' of client s3cret is bad";
    for (act, expected) in [
        (
            refusal(400, "NotAuthorizedException", "Refresh Token has expired"),
            Failure::Terminal { reason: EndReason::Expired },
        ),
        (
            fixtures::with_headers(
                400,
                "content-type: application/x-amz-json-1.1\r\nretry-after: 9\r\nx-amzn-errortype: TooManyRequestsException:\r\n",
                r#"{"message":"Rate exceeded"}"#,
            ),
            Failure::Throttled {
                retry_after: Some(Duration::from_secs(9)),
                detail: "TooManyRequestsException: Rate exceeded".into(),
            },
        ),
        (
            refusal(400, "InvalidParameterException", echo),
            Failure::Setting {
                setting: SettingAtFault::Parameter,
                detail: "InvalidParameterException: Value '[redacted]' of client [redacted] is bad".into(),
            },
        ),
        (
            refusal(400, "com.amazon#NotAuthorizedException", "Invalid Refresh Token."),
            Failure::Ambiguous {
                detail: "Invalid Refresh Token (if the pool remembers devices, the token's device key is needed too)"
                    .into(),
            },
        ),
    ] {
        let server = Scripted::start([act]).await;
        let settings = Settings { client_secret: Some("s3cret".into()), ..settings(&server.url()) };
        assert_eq!(issuer(settings).refresh(with_keys()).await, Err(expected));
    }
}

#[tokio::test]
async fn answers_that_are_none_are_transient() {
    for (act, kind, sent) in [
        (body(200, "text/html", "<p>Welcome"), TransientKind::CaptivePortal, false),
        (fixtures::json(200, "{"), TransientKind::Malformed, false),
        (fixtures::json(200, "{}"), TransientKind::Malformed, false),
        (Act::Reset, TransientKind::Disconnected, true),
        (Act::Close, TransientKind::Disconnected, true),
        (body(503, "text/html", "<p>Unavailable"), TransientKind::Server, false),
    ] {
        let name = format!("{act:?}");
        let server = Scripted::start([act]).await;
        let failure = issuer(settings(&server.url())).refresh(with_keys()).await.expect_err("no tokens");
        let Failure::Transient { kind: found, sent: was_sent, .. } = &failure else { panic!("{name}: {failure:?}") };
        assert_eq!((*found, *was_sent), (kind, sent), "{name}: {failure}");
    }
}

#[tokio::test]
async fn nothing_is_spent_while_there_are_no_keys() {
    for (act, kind) in [
        (fixtures::json(404, "{}"), TransientKind::Jwks),
        (fixtures::json(200, "{}"), TransientKind::Jwks),
        (Act::Reset, TransientKind::Disconnected),
        (body(302, "text/html", ""), TransientKind::CaptivePortal),
    ] {
        let server = Scripted::start([act, keys(), good(None)]).await;
        let issuer = issuer(settings(&server.url()));
        let failure = issuer.refresh(request()).await.expect_err("no keys");
        let Failure::Transient { kind: found, sent: false, .. } = failure else { panic!("{failure:?}") };
        assert_eq!(found, kind);
        issuer.refresh(request()).await.expect("the next attempt fetches them again");
        let requests = server.requests().await;
        assert!(requests[0].starts_with("GET ") && requests[1].starts_with("GET "), "{requests:?}");
    }
}

#[tokio::test]
async fn an_unknown_key_is_looked_up_once_and_a_stranger_stays_one() {
    let foreign = || tokens(&STRANGER.sign(&id_claims()), None, Some("refresh-1"));
    let server = Scripted::start([foreign(), keys(), foreign()]).await;
    let issuer = issuer(settings(&server.url()));
    for _ in 0..2 {
        // The rotated token came with a token that the pool never signed: it is not kept.
        let failure = issuer.refresh(with_keys()).await.expect_err("refused");
        assert!(matches!(failure, Failure::Unacceptable { .. }), "{failure:?}");
    }
    let methods: Vec<_> = server.requests().await.iter().map(|request| request[..4].to_owned()).collect();
    assert_eq!(methods, ["POST", "GET ", "POST"], "the key set was fetched once");
}

#[tokio::test]
async fn a_new_key_of_the_pool_is_found() {
    let both = json!({ "keys": [POOL.jwk("pool+/="), STRANGER.jwk("stranger")] }).to_string();
    let server = Scripted::start([
        tokens(&STRANGER.sign(&id_claims()), None, Some("refresh-1")),
        body(200, "application/json", &both),
    ])
    .await;
    let grant = issuer(settings(&server.url())).refresh(with_keys()).await.expect("tokens");
    assert!(grant.jwks.expect("keys").contains("stranger"));
}

#[tokio::test]
async fn a_rotated_token_survives_a_missing_key_set() {
    let server = Scripted::start([
        tokens(&STRANGER.sign(&id_claims()), None, Some("refresh-1")),
        body(503, "text/plain", ""),
        Act::Close,
    ])
    .await;
    let issuer = issuer(settings(&server.url()));
    let failure = issuer.refresh(with_keys()).await.expect_err("no keys");
    let Failure::Rotated { rotated, failure } = failure else { panic!("{failure:?}") };
    assert_eq!(rotated.expose(), "refresh-1");
    assert!(matches!(*failure, Failure::Transient { kind: TransientKind::Jwks, sent: false, .. }), "{failure:?}");
    // And the next attempt spends nothing before it has keys.
    let failure = issuer.refresh(with_keys()).await.expect_err("still none");
    assert!(matches!(failure, Failure::Transient { sent: false, .. }), "{failure:?}");
    assert!(server.requests().await[2].starts_with("GET "));
}

#[tokio::test]
async fn a_rotated_token_is_kept_where_only_a_setting_is_wrong_and_not_where_the_user_is() {
    for (name, value, kept) in [
        ("iss", json!("https://cognito-idp.eu-west-1.amazonaws.com/other"), true),
        ("aud", json!("other"), true),
        ("sub", json!("other"), false),
    ] {
        let jwt = POOL.sign(&changed(id_claims(), name, value));
        let server = Scripted::start([tokens(&jwt, None, Some("refresh-1"))]).await;
        let failure = issuer(settings(&server.url())).refresh(with_keys()).await.expect_err("refused");
        let failure = match failure {
            Failure::Rotated { failure, .. } if kept => *failure,
            failure => {
                assert!(!kept, "{name}: {failure:?}");
                failure
            }
        };
        assert!(matches!(failure, Failure::Unacceptable { .. }), "{failure:?}");
    }
}

#[tokio::test]
async fn without_verification_of_signatures_no_keys_are_fetched() {
    let server = Scripted::start([tokens(&STRANGER.sign(&id_claims()), None, None)]).await;
    let settings = Settings { verify_signature: false, ..settings(&server.url()) };
    let grant = issuer(settings).refresh(request()).await.expect("tokens");
    assert_eq!(grant.jwks, None);
    assert_eq!(server.requests().await.len(), 1);
}

#[tokio::test]
async fn an_answer_without_an_id_token_keeps_the_rotated_one() {
    let text = json!({ "AuthenticationResult": { "AccessToken": "a", "RefreshToken": "refresh-1" } }).to_string();
    let server = Scripted::start([fixtures::json(200, &text)]).await;
    let failure = issuer(settings(&server.url())).refresh(with_keys()).await.expect_err("no ID token");
    assert!(matches!(failure, Failure::Rotated { .. }), "{failure:?}");
    assert_eq!(failure.outcome(), crate::session::Outcome::Transient);
}
