//! The OAuth endpoints of a pool's domain: `/oauth2/authorize`, `/login`, `/oauth2/token`, `/oauth2/revoke`.
//!
//! They have their own error bodies (RFC 6749 §5.2), which are all 400 and say as little as AWS's.

mod authorize;
mod login;
mod refusal;
mod revoke;
mod token;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, header::AUTHORIZATION};
use serde_json::{Map, Value};

pub(super) use self::refusal::Refusal;
use super::{lie::Lie, operation::Operation, state::Pool, tokens::RotationStep, wire::Body};
use crate::clock::UnixTime;

/// Where the `Authorization` header stands among the fields of a request; no form can have such a name.
const BASIC: &str = "Authorization: Basic";

/// Which endpoint a request is for, if it is for one of these.
pub(super) fn operation(method: &Method, path: &str) -> Option<Operation> {
    match (method, path) {
        (&Method::GET, "/oauth2/authorize") => Some(Operation::Authorize),
        (&Method::GET | &Method::POST, "/login") => Some(Operation::HostedLogin),
        (&Method::POST, "/oauth2/token") => Some(Operation::OauthToken),
        (&Method::POST, "/oauth2/revoke") => Some(Operation::OauthRevoke),
        _ => None,
    }
}

/// The fields of the query and of the form, the form's last, with the credentials of the head.
pub(super) fn fields(headers: &HeaderMap, query: Option<&str>, form: &Bytes) -> Value {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).chain(form_urlencoded::parse(form));
    let mut fields: Map<String, Value> =
        pairs.map(|(name, value)| (name.into_owned(), Value::String(value.into_owned()))).collect();
    if let Some(credentials) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        fields.insert(BASIC.into(), credentials.strip_prefix("Basic ").unwrap_or_default().into());
    }
    Value::Object(fields)
}

/// Runs one of these operations. What it did to a refresh token comes with the answer.
pub(super) fn call(
    pool: &mut Pool,
    now: UnixTime,
    operation: &Operation,
    request: &Value,
    lie: Option<&Lie>,
) -> Result<(Response<Body>, RotationStep), Refusal> {
    let answered = |response| (response, RotationStep::Off);
    match operation {
        Operation::Authorize => authorize::call(pool, now, request).map(answered),
        Operation::HostedLogin => login::call(pool, now, request).map(answered),
        Operation::OauthToken => token::call(pool, now, request, lie),
        _ => revoke::call(pool, request).map(answered),
    }
}

/// A field that is there and not empty.
fn text<'a>(request: &'a Value, field: &str) -> Option<&'a str> {
    request.get(field).and_then(Value::as_str).filter(|text| !text.is_empty())
}
