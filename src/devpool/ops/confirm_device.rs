//! `ConfirmDevice`: from then on the device's key counts in a refresh. The verifier is not kept, since no flow here
//! asks the device for its password.

use serde_json::{Value, json};

use super::{answer::Answer, fields::required};
use crate::{
    clock::UnixTime,
    devpool::{exception::Exception, state::Pool},
};

pub(super) fn call(pool: &mut Pool, now: UnixTime, request: &Value) -> Result<Answer, Exception> {
    let (_, origin_jti) = pool.access_token_owner(now, required(request, "AccessToken")?)?;
    pool.confirm_device(&origin_jti, required(request, "DeviceKey")?)?;
    Ok(Answer::Json(json!({"UserConfirmationNecessary": false})))
}
