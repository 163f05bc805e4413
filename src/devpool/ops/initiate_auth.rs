//! `InitiateAuth`: with a password, and with a refresh token.

use serde_json::Value;

use super::{
    answer::Answer,
    fields::{required, text},
};
use crate::{
    clock::UnixTime,
    devpool::{
        exception::Exception,
        settings::Flow,
        state::{self, NewDevice, Pool, Proof, Spend},
        tokens::Grant,
    },
};

pub(super) fn call(pool: &mut Pool, now: UnixTime, flow: &str, request: &Value) -> Result<Answer, Exception> {
    let client_id = required(request, "ClientId")?;
    let parameters = request.get("AuthParameters").unwrap_or(&Value::Null);
    let grant = match flow {
        "USER_PASSWORD_AUTH" => with_password(pool, now, client_id, parameters),
        "REFRESH_TOKEN_AUTH" | "REFRESH_TOKEN" => with_refresh_token(pool, now, client_id, parameters),
        _ => {
            return Err(Exception::invalid_parameter("Initiate Auth method not supported."));
        }
    }?;
    Ok(Answer::Tokens { grant: Box::new(grant), challenge_parameters: true })
}

fn with_password(pool: &mut Pool, now: UnixTime, client_id: &str, parameters: &Value) -> Result<Grant, Exception> {
    let client = pool.client(client_id)?;
    if client.flows.password == Flow::Refused {
        return Err(Exception::invalid_parameter("USER_PASSWORD_AUTH flow not enabled for this client"));
    }
    let missing = |name: &str| Exception::invalid_parameter(format!("Missing required parameter {name}"));
    let username = text(parameters, "USERNAME").ok_or_else(|| missing("USERNAME"))?;
    let password = text(parameters, "PASSWORD").ok_or_else(|| missing("PASSWORD"))?;
    // Here the hash is over the name as it was typed, which may be an alias.
    state::check_secret(client, username, Proof::Hash(text(parameters, "SECRET_HASH")))?;
    let user = pool.user(username).ok_or_else(state::no_such_user)?;
    if let Some(refusal) = state::standing_refusal(user.standing) {
        return Err(refusal);
    }
    if user.password.expose() != password {
        return Err(state::no_such_user());
    }
    let username = user.username.clone();
    pool.sign_in(now, &username, client_id, state::ADMIN_SCOPE, NewDevice::Unconfirmed)
}

fn with_refresh_token(pool: &mut Pool, now: UnixTime, client_id: &str, parameters: &Value) -> Result<Grant, Exception> {
    if pool.client(client_id)?.flows.refresh == Flow::Refused {
        return Err(pool.settings.refresh_flow_refusal.clone());
    }
    let token = text(parameters, "REFRESH_TOKEN")
        .ok_or_else(|| Exception::invalid_parameter("Missing required parameter REFRESH_TOKEN"))?;
    let spend = Spend {
        token,
        client_id,
        proof: Proof::Hash(text(parameters, "SECRET_HASH")),
        device_key: text(parameters, "DEVICE_KEY"),
    };
    pool.refresh(now, spend)
}
