//! `AssociateSoftwareToken`, in answer to `MFA_SETUP`: a secret for an authenticator application.

use serde_json::{Value, json};

use super::{answer::Answer, fields::required};
use crate::{
    clock::UnixTime,
    devpool::{exception::Exception, state::Pool, state::challenges::Stage, totp},
};

pub(super) fn call(pool: &mut Pool, now: UnixTime, request: &Value) -> Result<Answer, Exception> {
    let open = pool.challenges.take(required(request, "Session")?, now)?;
    let Stage::Setup { .. } = open.stage else {
        return Err(Exception::not_authorized("Invalid session for the user."));
    };
    let secret = totp::new_secret();
    let answer = json!({"SecretCode": secret.expose()});
    let stage = Stage::Setup { secret: Some(secret), is_verified: false };
    let session = pool.open(now, &open.client_id, open.username.as_deref(), None, stage);
    Ok(Answer::Json(with_session(answer, &session)))
}

pub(super) fn with_session(mut answer: Value, session: &str) -> Value {
    answer["Session"] = json!(session);
    answer
}
