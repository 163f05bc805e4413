//! The OAuth endpoints through real sockets: AWS's error bodies, codes that serve once, and PKCE.

use super::*;
use crate::devpool::{HostedPages, Operation};

const REDIRECT: &str = "http://localhost:8976/callback";

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A pool that signs its user in without a page.
async fn signing_in(client: AppClient) -> (DevPool, ManualClock) {
    let hosted_pages = HostedPages::SignIn(USER.into());
    start(Settings { hosted_pages, ..Settings::default().with_client(client) }).await
}

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

async fn authorize(pool: &DevPool, fields: &[(&str, &str)]) -> Answer {
    get(&format!("{}/oauth2/authorize?{}", pool.endpoint(), form(fields))).await
}

/// A code, for a request with these fields beside the usual ones.
async fn code(pool: &DevPool, more: &[(&str, &str)]) -> String {
    let usual = [("response_type", "code"), ("client_id", CLIENT), ("redirect_uri", REDIRECT), ("state", "s1")];
    let answer = authorize(pool, &[&usual, more].concat()).await;
    let location = answer.header("location").to_owned();
    let (uri, query) = location.split_once('?').expect("a query");
    assert_eq!((answer.status, uri), (StatusCode::FOUND, REDIRECT));
    let fields: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    assert_eq!(fields[1], ("state".to_owned(), "s1".to_owned()));
    fields[0].1.clone()
}

async fn post(pool: &DevPool, path: &str, basic: Option<&str>, fields: &[(&str, &str)]) -> Answer {
    let mut request = Request::post(format!("{}{path}", pool.endpoint()));
    if let Some(basic) = basic {
        request = request.header("authorization", format!("Basic {basic}"));
    }
    send(request.body(Full::from(form(fields))).expect("a request")).await.expect("an answer")
}

async fn redeem(pool: &DevPool, code: &str, more: &[(&str, &str)]) -> Answer {
    let fields = [("grant_type", "authorization_code"), ("client_id", CLIENT), ("code", code)];
    post(pool, "/oauth2/token", None, &[&fields, more].concat()).await
}

fn refused(answer: &Answer, body: &Value) {
    assert_eq!((answer.status, &answer.json()), (StatusCode::BAD_REQUEST, body));
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_code_brings_tokens_once_to_whoever_knows_its_verifier() {
    let (pool, clock) = signing_in(client(300, 300, 3600)).await;
    let pkce = [("code_challenge", CHALLENGE), ("code_challenge_method", "S256"), ("nonce", "n1")];
    let (redirect, verifier) = (("redirect_uri", REDIRECT), ("code_verifier", VERIFIER));
    let issued = code(&pool, &pkce).await;
    let answer = redeem(&pool, &issued, &[redirect, verifier]).await;
    let tokens = answer.json();
    let id = claims(tokens["id_token"].as_str().expect("a token"));
    assert_eq!((&id["nonce"], &id["cognito:username"]), (&json!("n1"), &json!(USER)));
    assert_eq!(tokens["expires_in"], 300);
    let refresh_token = Secret::from(tokens["refresh_token"].as_str().expect("a token"));
    assert_eq!(refresh(&pool, &refresh_token).await.claims("IdToken")["nonce"], Value::Null, "of the sign-in alone");

    let invalid = json!({"error": "invalid_grant"});
    refused(&redeem(&pool, &issued, &[redirect, verifier]).await, &invalid);
    for wrong in [&[redirect][..], &[verifier], &[redirect, ("code_verifier", "x")], &[("redirect_uri", "y"), verifier]]
    {
        let issued = code(&pool, &pkce).await;
        refused(&redeem(&pool, &issued, wrong).await, &invalid);
        refused(&redeem(&pool, &issued, &[redirect, verifier]).await, &invalid);
    }
    let old = code(&pool, &[]).await;
    clock.advance(Duration::from_secs(301));
    refused(&redeem(&pool, &old, &[redirect]).await, &invalid);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_goes_to_the_client_only_where_that_is_known() {
    let (pool, _) = signing_in(AppClient::public(CLIENT)).await;
    let sound = [("response_type", "code"), ("client_id", CLIENT), ("redirect_uri", REDIRECT), ("state", "s1")];
    let with = |name: &str, value: &'static str| {
        let changed = |&(key, old): &(&'static str, &'static str)| (key, if key == name { value } else { old });
        sound.iter().map(changed).collect::<Vec<_>>()
    };
    for (fields, error) in [
        (with("client_id", "x"), "invalid_client"),
        (with("redirect_uri", "http://localhost:8976/callback/"), "redirect_mismatch"),
        (with("redirect_uri", "http://127.0.0.1:8976/callback"), "redirect_mismatch"),
    ] {
        let answer = authorize(&pool, &fields).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{error}");
        assert!(String::from_utf8_lossy(&answer.body).contains(error), "{error}");
    }
    for (fields, query) in [
        (with("response_type", "token"), "error=unsupported_response_type&state=s1"),
        ([&sound[..], &[("scope", "openid other")]].concat(), "error=invalid_scope&state=s1"),
    ] {
        let answer = authorize(&pool, &fields).await;
        assert_eq!(answer.header("location"), format!("{REDIRECT}?{query}"));
    }
    let plain = [&sound[..], &[("code_challenge", "x"), ("code_challenge_method", "plain")]].concat();
    assert!(authorize(&pool, &plain).await.header("location").contains("error=invalid_request"));
}

#[tokio::test]
async fn clients_prove_themselves_as_they_must() {
    let (pool, _) = signing_in(AppClient::public(CLIENT)).await;
    let secret = "c:shh";
    pool.put_client(AppClient::public("c").with_secret("shh"));
    let token =
        |client: &'static str| vec![("grant_type", "refresh_token"), ("client_id", client), ("refresh_token", "x")];
    let basic = |text: &str| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, text);
    let invalid = json!({"error": "invalid_client"});
    let wrong_secret = json!({"error": "invalid_client", "error_description": "invalid_client_secret"});
    let invalid_grant = json!({"error": "invalid_grant"});
    for (credentials, fields, body) in [
        (None, token("nobody"), &invalid),
        (None, vec![("grant_type", "refresh_token")], &invalid),
        (Some(basic(&format!("{CLIENT}:x"))), token(CLIENT), &invalid),
        (None, token("c"), &wrong_secret),
        (Some(basic("c:other")), token("c"), &wrong_secret),
        (Some(basic(secret)), token("nobody"), &invalid_grant),
        (None, token(CLIENT), &invalid_grant),
        (None, vec![("grant_type", "password"), ("client_id", CLIENT)], &json!({"error": "unsupported_grant_type"})),
        (
            None,
            vec![("grant_type", "refresh_token"), ("client_id", CLIENT)],
            &json!({"error": "invalid_request", "error_description": "invalid_refresh_token"}),
        ),
    ] {
        refused(&post(&pool, "/oauth2/token", credentials.as_deref(), &fields).await, body);
    }
}

#[tokio::test]
async fn refresh_tokens_serve_here_too_until_they_are_revoked() {
    let (pool, _) = signing_in(AppClient::public(CLIENT).rotating(Duration::ZERO)).await;
    let tokens = pool.sign_in(USER, CLIENT).expect("a sign-in");
    let spend = async |token: &str| {
        let fields = [("grant_type", "refresh_token"), ("client_id", CLIENT), ("refresh_token", token)];
        post(&pool, "/oauth2/token", None, &fields).await
    };
    let rotated = spend(tokens.refresh_token.expose()).await.json()["refresh_token"].as_str().expect("one").to_owned();
    let revoke =
        async |token: &str| post(&pool, "/oauth2/revoke", None, &[("client_id", CLIENT), ("token", token)]).await;
    for token in [rotated.as_str(), rotated.as_str(), "garbage"] {
        let answer = revoke(token).await;
        assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0), "{token}");
    }
    refused(&spend(&rotated).await, &json!({"error": "invalid_grant"}));
    refused(&revoke(tokens.access_token.expose()).await, &json!({"error": "unsupported_token_type"}));
    assert_eq!(pool.calls().count(|call| call.operation == Operation::OauthRevoke), 4);
}
