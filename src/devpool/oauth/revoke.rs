//! `POST /oauth2/revoke` (RFC 7009).

use http::Response;
use serde_json::Value;

use super::{Refusal, refusal, text, token};
use crate::{
    devpool::{state::Pool, wire::Body},
    secret::Secret,
};

pub(super) fn call(pool: &mut Pool, request: &Value) -> Result<Response<Body>, Refusal> {
    let client = token::client(pool, request)?.clone();
    let token = text(request, "token").ok_or_else(|| Refusal::new("invalid_request"))?;
    let revoked = pool.revoke(token, &client.id, client.secret.as_ref().map(Secret::expose));
    revoked.map(|()| refusal::nothing()).map_err(|exception| match exception.name.as_str() {
        "UnsupportedOperationException" => Refusal::new("invalid_request").described("Unsupported operation"),
        "UnsupportedTokenTypeException" => Refusal::new("unsupported_token_type"),
        _ => Refusal::new("invalid_client"),
    })
}
