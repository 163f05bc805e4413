//! `RespondToAuthChallenge`: the answers to every challenge that is modelled.

use serde_json::{Value, json};

use super::{
    answer::Answer,
    fields::{required, text},
    initiate_auth::{Stated, missing, verifier_challenge},
};
use crate::{
    clock::UnixTime,
    cognito::srp::{Ephemeral, Server, device_name, user_name},
    devpool::{
        exception::Exception,
        settings::Factor,
        state::challenges::{Open, Outcome, Stage, challenge},
        state::{self, Pool, Proof},
    },
    secret::Secret,
};

/// Shorter ones break the policy of a pool with AWS's defaults.
const SHORTEST_PASSWORD: usize = 8;

pub(super) fn call(pool: &mut Pool, now: UnixTime, name: &str, request: &Value) -> Result<Answer, Exception> {
    let client_id = required(request, "ClientId")?;
    let responses = request.get("ChallengeResponses").unwrap_or(&Value::Null);
    let session = match text(request, "Session") {
        Some(session) => session,
        None => text(responses, "PASSWORD_CLAIM_SECRET_BLOCK").ok_or_else(|| missing("Session"))?,
    };
    let username = text(responses, "USERNAME").ok_or_else(|| missing("USERNAME"))?;
    let open = pool.challenges.take(session, now)?;
    let client = pool.client(client_id)?;
    // The hash is over the username itself once a challenge has said it; an alias will not do then.
    let hashed = match &open.stage {
        Stage::SelectFirst => username,
        _ => open.username.as_deref().unwrap_or(username),
    };
    state::check_secret(client, hashed, Proof::Hash(text(responses, "SECRET_HASH")))?;
    if open.client_id != client_id {
        return Err(Exception::not_authorized("Invalid session for the user."));
    }
    let said = Said { name, session, client_id, responses };
    said.answer(pool, now, open).map(Answer::from)
}

/// What the client said.
struct Said<'a> {
    name: &'a str,
    session: &'a str,
    client_id: &'a str,
    responses: &'a Value,
}

impl Said<'_> {
    fn answer(&self, pool: &mut Pool, now: UnixTime, open: Open) -> Result<Outcome, Exception> {
        // Only the first factor is asked of somebody who may not be there.
        let username = open.username.clone();
        let of_stranger = || username.clone().ok_or_else(state::no_such_user);
        match (self.name, &open.stage) {
            ("PASSWORD_VERIFIER", Stage::Verifier(server)) => {
                let username = of_stranger()?;
                if !self.proves(server, &user_name(&pool.settings.id, &username)) {
                    return Err(state::no_such_user());
                }
                let device_key = self.device_key(&open);
                pool.proven(now, &username, self.client_id, device_key.as_deref())
            }
            ("SELECT_CHALLENGE", Stage::SelectFirst) => self.first(pool, now, &open),
            ("SMS_OTP" | "EMAIL_OTP", Stage::FirstCode(factor)) => {
                let (username, factor) = (of_stranger()?, *factor);
                self.check_code(pool, now, open, &username, factor)?;
                pool.tokens(now, &username, self.client_id, None)
            }
            ("SELECT_MFA_TYPE", Stage::SelectFactor) => {
                let user = pool.users.get(&of_stranger()?).cloned().ok_or_else(state::no_such_user)?;
                let answer = text(self.responses, "ANSWER").ok_or_else(|| missing("ANSWER"))?;
                let factor = user.factors.iter().find(|factor| factor.challenge() == answer).copied();
                let factor = factor.ok_or_else(|| Exception::invalid_parameter("Invalid MFA type"))?;
                Ok(pool.code_challenge(now, &user, self.client_id, factor))
            }
            (name, Stage::Code(factor)) if name == factor.challenge() => {
                let (username, factor) = (of_stranger()?, *factor);
                self.check_code(pool, now, open, &username, factor)?;
                pool.tokens(now, &username, self.client_id, None)
            }
            ("NEW_PASSWORD_REQUIRED", Stage::NewPassword) => self.new_password(pool, now, open),
            ("MFA_SETUP", Stage::Setup { is_verified: true, .. }) => {
                pool.tokens(now, &of_stranger()?, self.client_id, None)
            }
            ("DEVICE_SRP_AUTH", Stage::Device) => self.device(pool, now, &open),
            ("DEVICE_PASSWORD_VERIFIER", Stage::DeviceVerifier(server)) => {
                let (username, key) = (of_stranger()?, self.device_key(&open).ok_or_else(|| missing("DEVICE_KEY"))?);
                let (device, _) = pool.device_verifier(&username, &key)?;
                if !self.proves(server, &device_name(&device.group_key, &device.key)) {
                    return Err(state::no_such_user());
                }
                pool.tokens(now, &username, self.client_id, Some(device))
            }
            _ => Err(Exception::not_authorized("Invalid session for the user.")),
        }
    }

    fn proves(&self, server: &Server, name: &str) -> bool {
        let field = |name| text(self.responses, name).unwrap_or_default();
        let block = field("PASSWORD_CLAIM_SECRET_BLOCK");
        server.accepts(name, block, field("TIMESTAMP"), field("PASSWORD_CLAIM_SIGNATURE"))
    }

    fn device_key(&self, open: &Open) -> Option<String> {
        text(self.responses, "DEVICE_KEY").map(str::to_owned).or_else(|| open.device_key.clone())
    }

    fn first(&self, pool: &mut Pool, now: UnixTime, open: &Open) -> Result<Outcome, Exception> {
        let answer = text(self.responses, "ANSWER").ok_or_else(|| missing("ANSWER"))?;
        if !pool.settings.first_factors.iter().any(|offered| offered == answer) {
            return Err(Exception::invalid_parameter("Invalid challenge"));
        }
        let username = open.username.clone().unwrap_or_else(|| text(self.responses, "USERNAME").unwrap_or("").into());
        let user = pool.users.get(&username).cloned();
        match answer {
            "PASSWORD_SRP" => {
                verifier_challenge(pool, now, self.client_id, &username, self.responses, Stated::InTheSession)
            }
            "PASSWORD" => {
                let given = text(self.responses, "PASSWORD").ok_or_else(|| missing("PASSWORD"))?;
                let user = user.filter(|user| user.password.expose() == given).ok_or_else(state::no_such_user)?;
                pool.proven(now, &user.username, self.client_id, self.device_key(open).as_deref())
            }
            way => {
                let factor = if way == "SMS_OTP" { Factor::TextMessage } else { Factor::Email };
                let user = user.ok_or_else(state::no_such_user)?;
                Ok(pool.first_code_challenge(now, &user, self.client_id, factor))
            }
        }
    }

    /// A wrong code leaves the session open, as on AWS.
    fn check_code(
        &self,
        pool: &mut Pool,
        now: UnixTime,
        open: Open,
        username: &str,
        factor: Factor,
    ) -> Result<(), Exception> {
        let parameter = match (self.name, factor) {
            ("SMS_OTP", _) => "SMS_OTP_CODE",
            (_, Factor::Application) => "SOFTWARE_TOKEN_MFA_CODE",
            (_, Factor::TextMessage) => "SMS_MFA_CODE",
            (_, Factor::Email) => "EMAIL_OTP_CODE",
        };
        let code = text(self.responses, parameter).ok_or_else(|| missing(parameter))?;
        pool.check_code(now, username, factor, code).inspect_err(|_| {
            pool.challenges.put_back(self.session, open, pool.settings.wrong_codes);
        })
    }

    fn new_password(&self, pool: &mut Pool, now: UnixTime, open: Open) -> Result<Outcome, Exception> {
        let password = text(self.responses, "NEW_PASSWORD").ok_or_else(|| missing("NEW_PASSWORD"))?;
        let username = open.username.clone().ok_or_else(state::no_such_user)?;
        if password.len() < SHORTEST_PASSWORD {
            pool.challenges.put_back(self.session, open, u32::MAX);
            let words = "Password did not conform with policy: Password not long enough";
            return Err(Exception::new("InvalidPasswordException", words));
        }
        let user = pool.users.get_mut(&username).ok_or_else(state::no_such_user)?;
        let is_given = |name: &String| text(self.responses, &format!("userAttributes.{name}")).is_some();
        if !user.missing_attributes.iter().all(is_given) {
            let words = "Invalid attributes given, a required attribute is missing";
            return Err(Exception::invalid_parameter(words));
        }
        user.missing_attributes.clear();
        user.password = Secret::from(password);
        user.is_password_temporary = false;
        pool.proven(now, &username, self.client_id, None)
    }

    fn device(&self, pool: &mut Pool, now: UnixTime, open: &Open) -> Result<Outcome, Exception> {
        let key = self.device_key(open).ok_or_else(|| missing("DEVICE_KEY"))?;
        let public = text(self.responses, "SRP_A").ok_or_else(|| missing("SRP_A"))?;
        let username = open.username.clone().ok_or_else(state::no_such_user)?;
        let (_, verifier) = pool.device_verifier(&username, &key)?;
        let server = Server::new(verifier, public, Ephemeral::random())
            .map_err(|_| Exception::invalid_parameter("SRP_A is not a public value"))?;
        let numbers = (server.salt_hex(), server.public_hex());
        let stage = Stage::DeviceVerifier(server);
        let session = pool.open(now, self.client_id, Some(&username), Some(&key), stage);
        let parameters = json!({
            "SALT": numbers.0,
            "SRP_B": numbers.1,
            "SECRET_BLOCK": session,
            "DEVICE_KEY": key,
            "USERNAME": username,
        });
        Ok(challenge("DEVICE_PASSWORD_VERIFIER", Some(&session), &parameters))
    }
}
