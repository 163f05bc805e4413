//! `VerifySoftwareToken`: the first code of an authenticator application, which makes it a second factor.

use serde_json::{Value, json};

use super::{answer::Answer, associate_software_token::with_session, fields::required};
use crate::{
    clock::UnixTime,
    devpool::{exception::Exception, settings::Factor, state::Pool, state::challenges::Stage},
};

pub(super) fn call(pool: &mut Pool, now: UnixTime, request: &Value) -> Result<Answer, Exception> {
    let (session, code) = (required(request, "Session")?, required(request, "UserCode")?);
    let open = pool.challenges.take(session, now)?;
    let (Stage::Setup { secret: Some(secret), .. }, Some(username)) = (&open.stage, open.username.clone()) else {
        return Err(Exception::not_authorized("Invalid session for the user."));
    };
    let secret = secret.clone();
    match pool.check_application(now, &username, &secret, code) {
        Some(Ok(())) => {}
        wrong => {
            let mismatch = Exception::new("EnableSoftwareTokenMFAException", "Code mismatch");
            pool.challenges.put_back(session, open, pool.settings.wrong_codes);
            return Err(wrong.and_then(Result::err).unwrap_or(mismatch));
        }
    }
    if let Some(user) = pool.users.get_mut(&username) {
        user.application = Some(secret);
        user.factors.push(Factor::Application);
    }
    let stage = Stage::Setup { secret: None, is_verified: true };
    let session = pool.open(now, &open.client_id, Some(&username), None, stage);
    Ok(Answer::Json(with_session(json!({"Status": "SUCCESS"}), &session)))
}
