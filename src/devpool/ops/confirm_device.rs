//! `ConfirmDevice`: from then on the device's key counts in a refresh, and where a verifier came with it the device can
//! prove itself in a sign-in.

use serde_json::{Value, json};

use super::{
    answer::Answer,
    fields::{required, text},
};
use crate::{
    clock::UnixTime,
    cognito::srp::Verifier,
    devpool::{exception::Exception, state::Pool},
};

pub(super) fn call(pool: &mut Pool, now: UnixTime, request: &Value) -> Result<Answer, Exception> {
    let (username, origin_jti) = pool.access_token_owner(now, required(request, "AccessToken")?)?;
    let device = pool.confirm_device(&origin_jti, required(request, "DeviceKey")?)?;
    if let Some(config) = request.get("DeviceSecretVerifierConfig") {
        let (salt, verifier) = (text(config, "Salt"), text(config, "PasswordVerifier"));
        let verifier = salt.zip(verifier).and_then(|(salt, verifier)| Verifier::from_base64(salt, verifier));
        let verifier = verifier.ok_or_else(|| Exception::invalid_parameter("Invalid device secret verifier"))?;
        pool.challenges.remember(username, device, verifier);
    }
    Ok(Answer::Json(json!({"UserConfirmationNecessary": false})))
}
