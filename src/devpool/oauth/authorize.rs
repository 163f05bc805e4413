//! `GET /oauth2/authorize`: judges the request and shows the sign-in page, or signs somebody in without one.
//!
//! The redirect URI is compared letter by letter, as AWS does, before anything is sent to it.

use http::Response;
use serde_json::Value;

use super::{Refusal, refusal::redirect, text};
use crate::{
    clock::UnixTime,
    devpool::{codes::Issued, settings::HostedPages, state::Pool, wire::Body},
};

/// The fields of a request that the sign-in page must hand on.
pub(super) const HANDED_ON: [&str; 8] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
];

pub(super) fn call(pool: &mut Pool, now: UnixTime, request: &Value) -> Result<Response<Body>, Refusal> {
    checked(pool, request)?;
    match pool.settings.hosted_pages.clone() {
        HostedPages::SignIn(username) => issue(pool, now, request, &username),
        HostedPages::Form => {
            let fields: Vec<_> =
                HANDED_ON.iter().copied().chain(["login_hint"]).map(|name| (name, text(request, name))).collect();
            Ok(redirect("/login", &fields))
        }
    }
}

/// What a sound request asks for.
pub(super) struct Asked<'a> {
    client_id: &'a str,
    redirect_uri: &'a str,
    scope: String,
    challenge: Option<&'a str>,
}

/// Judges a request. Whatever is wrong with client or redirect URI is told on a page, the rest to the client.
pub(super) fn checked<'a>(pool: &Pool, request: &'a Value) -> Result<Asked<'a>, Refusal> {
    let on_a_page = |error: &str| Refusal::new(error).on_a_page();
    let client_id = text(request, "client_id").ok_or_else(|| on_a_page("invalid_request"))?;
    let client = pool.client(client_id).map_err(|_| on_a_page("invalid_client"))?;
    let redirect_uri = text(request, "redirect_uri").ok_or_else(|| on_a_page("invalid_request"))?;
    if !client.callback_urls.iter().any(|known| known == redirect_uri) {
        return Err(on_a_page("redirect_mismatch"));
    }
    let refused = |error: &str| Refusal::new(error).sent_to(redirect_uri, text(request, "state"));
    if text(request, "response_type") != Some("code") {
        return Err(refused("unsupported_response_type"));
    }
    let challenge = text(request, "code_challenge");
    let method = text(request, "code_challenge_method");
    if (challenge.is_some() || method.is_some()) && (challenge.is_none() || method != Some("S256")) {
        return Err(refused("invalid_request").described("code_challenge_method must be S256"));
    }
    let scope = text(request, "scope").map_or_else(|| client.scopes.join(" "), str::to_owned);
    if !scope.split(' ').all(|one| client.scopes.iter().any(|known| known == one)) {
        return Err(refused("invalid_scope"));
    }
    Ok(Asked { client_id, redirect_uri, scope, challenge })
}

/// Sends `username` back to the client with a code.
pub(super) fn issue(
    pool: &mut Pool,
    now: UnixTime,
    request: &Value,
    username: &str,
) -> Result<Response<Body>, Refusal> {
    let asked = checked(pool, request)?;
    let issued = Issued {
        client_id: asked.client_id.to_owned(),
        redirect_uri: asked.redirect_uri.to_owned(),
        username: username.to_owned(),
        scope: asked.scope,
        nonce: text(request, "nonce").map(str::to_owned),
        challenge: asked.challenge.map(str::to_owned),
        at: now,
    };
    let code = pool.codes.issue(issued);
    Ok(redirect(asked.redirect_uri, &[("code", Some(&code)), ("state", text(request, "state"))]))
}
