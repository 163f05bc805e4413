//! `InitiateAuth`: with a proof of a password, by choice, with a password, and with a refresh token.

use serde_json::{Value, json};

use super::{
    answer::Answer,
    fields::{required, text},
};
use crate::{
    clock::UnixTime,
    cognito::srp::{Ephemeral, Identity, Server},
    devpool::{
        exception::Exception,
        random,
        settings::{AppClient, Flow},
        state::challenges::{Outcome, Stage, challenge},
        state::{self, Pool, Proof, Spend},
    },
    secret::Secret,
};

pub(super) fn call(pool: &mut Pool, now: UnixTime, flow: &str, request: &Value) -> Result<Answer, Exception> {
    let client_id = required(request, "ClientId")?;
    let parameters = request.get("AuthParameters").unwrap_or(&Value::Null);
    match flow {
        "USER_SRP_AUTH" => with_proof(pool, now, client_id, parameters),
        "USER_AUTH" => by_choice(pool, now, client_id, parameters),
        "USER_PASSWORD_AUTH" => with_password(pool, now, client_id, parameters),
        "REFRESH_TOKEN_AUTH" | "REFRESH_TOKEN" => with_refresh_token(pool, now, client_id, parameters),
        _ => Err(Exception::invalid_parameter("Initiate Auth method not supported.")),
    }
    .map(Answer::from)
}

fn with_proof(pool: &mut Pool, now: UnixTime, client_id: &str, parameters: &Value) -> Result<Outcome, Exception> {
    let client = pool.client(client_id)?;
    allowed(client.flows.srp, "USER_SRP_AUTH is not enabled for the client.")?;
    let username = typed_name(client, parameters)?.to_owned();
    verifier_challenge(pool, now, client_id, &username, parameters, Stated::InTheSecretBlock)
}

/// Whether a `PASSWORD_VERIFIER` has a `Session`. That of `USER_SRP_AUTH` has none on AWS: the secret block is all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stated {
    InTheSecretBlock,
    InTheSession,
}

/// Asks for a proof of the password, of a user that there need not be.
pub(super) fn verifier_challenge(
    pool: &mut Pool,
    now: UnixTime,
    client_id: &str,
    username: &str,
    parameters: &Value,
    stated: Stated,
) -> Result<Outcome, Exception> {
    let public = text(parameters, "SRP_A").ok_or_else(|| missing("SRP_A"))?.to_owned();
    let known = pool.user(username).map(|user| (user.username.clone(), user.password.clone()));
    // A stranger gets a challenge that nobody can answer, so that nobody learns who is known.
    let (user_id, password) = match &known {
        Some((username, password)) => (username.clone(), password.clone()),
        None => (username.to_owned(), Secret::new(random::uuid())),
    };
    let salt: [u8; 16] = random::bytes();
    let verifier = Identity::user(&pool.settings.id, &user_id, &password).verifier(&salt);
    let server = Server::new(verifier, &public, Ephemeral::random())
        .map_err(|_| Exception::invalid_parameter("SRP_A is not a public value"))?;
    let numbers = (server.salt_hex(), server.public_hex());
    let username = known.as_ref().map(|(username, _)| username.as_str());
    let device_key = text(parameters, "DEVICE_KEY");
    let session = pool.open(now, client_id, username, device_key, Stage::Verifier(server));
    let parameters = json!({
        "SALT": numbers.0,
        "SRP_B": numbers.1,
        "SECRET_BLOCK": session,
        "USER_ID_FOR_SRP": user_id,
        "USERNAME": user_id,
    });
    let stated = (stated == Stated::InTheSession).then_some(session.as_str());
    Ok(challenge("PASSWORD_VERIFIER", stated, &parameters))
}

fn by_choice(pool: &mut Pool, now: UnixTime, client_id: &str, parameters: &Value) -> Result<Outcome, Exception> {
    let client = pool.client(client_id)?;
    allowed(client.flows.choice, "USER_AUTH is not enabled for the client.")?;
    let name = typed_name(client, parameters)?;
    let username = pool.user(name).map(|user| user.username.clone());
    let offered = pool.settings.first_factors.clone();
    let session = pool.open(now, client_id, username.as_deref(), text(parameters, "DEVICE_KEY"), Stage::SelectFirst);
    let Outcome::Challenge(mut answer) = challenge("SELECT_CHALLENGE", Some(&session), &json!({})) else {
        return Err(Exception::internal());
    };
    answer["AvailableChallenges"] = json!(offered);
    Ok(Outcome::Challenge(answer))
}

fn with_password(pool: &mut Pool, now: UnixTime, client_id: &str, parameters: &Value) -> Result<Outcome, Exception> {
    let client = pool.client(client_id)?;
    allowed(client.flows.password, "USER_PASSWORD_AUTH flow not enabled for this client")?;
    let username = typed_name(client, parameters)?;
    let password = text(parameters, "PASSWORD").ok_or_else(|| missing("PASSWORD"))?;
    let user = pool.user(username).ok_or_else(state::no_such_user)?;
    if let Some(refusal) = state::standing_refusal(user.standing) {
        return Err(refusal);
    }
    if user.password.expose() != password {
        return Err(state::no_such_user());
    }
    let username = user.username.clone();
    pool.proven(now, &username, client_id, text(parameters, "DEVICE_KEY"))
}

fn with_refresh_token(
    pool: &mut Pool,
    now: UnixTime,
    client_id: &str,
    parameters: &Value,
) -> Result<Outcome, Exception> {
    if pool.client(client_id)?.flows.refresh == Flow::Refused {
        return Err(pool.settings.refresh_flow_refusal.clone());
    }
    let token = text(parameters, "REFRESH_TOKEN").ok_or_else(|| missing("REFRESH_TOKEN"))?;
    let spend = Spend {
        token,
        client_id,
        proof: Proof::Hash(text(parameters, "SECRET_HASH")),
        device_key: text(parameters, "DEVICE_KEY"),
    };
    pool.refresh(now, spend).map(|grant| Outcome::Tokens(Box::new(grant)))
}

fn allowed(flow: Flow, refusal: &str) -> Result<(), Exception> {
    if flow == Flow::Allowed { Ok(()) } else { Err(Exception::invalid_parameter(refusal)) }
}

/// The name as it was typed, which may be an alias; the hash is over that here.
fn typed_name<'a>(client: &AppClient, parameters: &'a Value) -> Result<&'a str, Exception> {
    let username = text(parameters, "USERNAME").ok_or_else(|| missing("USERNAME"))?;
    state::check_secret(client, username, Proof::Hash(text(parameters, "SECRET_HASH")))?;
    Ok(username)
}

pub(super) fn missing(name: &str) -> Exception {
    Exception::invalid_parameter(format!("Missing required parameter {name}"))
}
