//! `POST /oauth2/token`: an authorization code, or a refresh token, for tokens.
//!
//! The client is known before anything is spent; a code is used up even where its verifier is wrong.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{BASIC, Refusal, refusal, text};
use crate::{
    clock::UnixTime,
    devpool::{
        lie::Lie,
        random,
        settings::AppClient,
        state::{DeviceUsed, Pool, Proof, Spend},
        tokens::{Grant, RotationStep},
        wire::Body,
    },
    secret::Secret,
};

pub(super) fn call(
    pool: &mut Pool,
    now: UnixTime,
    request: &Value,
    lie: Option<&Lie>,
) -> Result<(Response<Body>, RotationStep), Refusal> {
    let client = client(pool, request)?.clone();
    let grant = match text(request, "grant_type") {
        Some("authorization_code") => with_code(pool, now, &client, request),
        Some("refresh_token") => with_refresh_token(pool, now, &client, request),
        Some(_) => Err(Refusal::new("unsupported_grant_type")),
        None => Err(Refusal::new("invalid_request")),
    }?;
    let broken = |_| Refusal::new("server_error");
    let written = grant.write(&pool.keys().clone(), lie).map_err(broken)?;
    let mut body = json!({
        "id_token": written.id_token,
        "access_token": written.access_token,
        "expires_in": client.validity.access.as_secs(),
        "token_type": "Bearer",
    });
    if let Some(refresh_token) = &grant.refresh_token {
        body["refresh_token"] = json!(refresh_token);
    }
    if let (Some(Lie::NoIdToken), Some(fields)) = (lie, body.as_object_mut()) {
        fields.remove("id_token");
    }
    Ok((refusal::document(StatusCode::OK, &body), grant.rotation))
}

/// The app client, once it has proved itself as it must: a public one not at all, another one by Basic or in the form.
pub(super) fn client<'a>(pool: &'a Pool, request: &Value) -> Result<&'a AppClient, Refusal> {
    let invalid = || Refusal::new("invalid_client");
    // With both, the header wins.
    let basic = match text(request, BASIC) {
        Some(credentials) => Some(decoded(credentials).ok_or_else(invalid)?),
        None => None,
    };
    let (id, given) = match &basic {
        Some((id, secret)) => (id.as_str(), Some(secret.as_str())),
        None => (text(request, "client_id").ok_or_else(invalid)?, text(request, "client_secret")),
    };
    let client = pool.client(id).map_err(|_| invalid())?;
    match (client.secret.as_ref().map(Secret::expose), given) {
        (None, None) => Ok(client),
        (None, Some(_)) => Err(invalid()),
        (Some(secret), Some(given)) if secret == given => Ok(client),
        (Some(_), _) => Err(invalid().described("invalid_client_secret")),
    }
}

fn decoded(credentials: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

fn with_code(pool: &mut Pool, now: UnixTime, client: &AppClient, request: &Value) -> Result<Grant, Refusal> {
    let invalid = || Refusal::new("invalid_grant");
    let code = text(request, "code").ok_or_else(|| Refusal::new("invalid_request"))?;
    let issued = pool.codes.take(now, code).ok_or_else(invalid)?;
    if issued.client_id != client.id || text(request, "redirect_uri") != Some(&issued.redirect_uri) {
        return Err(invalid());
    }
    // RFC 7636 §4.6.
    let challenge =
        text(request, "code_verifier").map(|verifier| URL_SAFE_NO_PAD.encode(random::sha256(verifier.as_bytes())));
    if challenge != issued.challenge {
        return Err(invalid());
    }
    let grant = pool.sign_in(now, &issued.username, &client.id, &issued.scope, DeviceUsed::NewAndConfirmed);
    let mut grant = grant.map_err(|exception| invalid().described(&exception.message))?;
    grant.nonce = issued.nonce;
    Ok(grant)
}

fn with_refresh_token(pool: &mut Pool, now: UnixTime, client: &AppClient, request: &Value) -> Result<Grant, Refusal> {
    let missing = || Refusal::new("invalid_request").described("invalid_refresh_token");
    let token = text(request, "refresh_token").ok_or_else(missing)?;
    let proof = Proof::Plain(client.secret.as_ref().map(Secret::expose));
    let spend = Spend { token, client_id: &client.id, proof, device_key: None };
    // Expired, revoked, altered, another client's: AWS does not tell which.
    pool.refresh(now, spend).map_err(|_| Refusal::new("invalid_grant"))
}
