//! `GlobalSignOut`: ends every sign-in of the access token's owner.

use serde_json::{Value, json};

use super::{answer::Answer, fields::required};
use crate::{
    clock::UnixTime,
    devpool::{exception::Exception, state::Pool},
};

pub(super) fn call(pool: &mut Pool, now: UnixTime, request: &Value) -> Result<Answer, Exception> {
    let (username, _) = pool.access_token_owner(now, required(request, "AccessToken")?)?;
    pool.sign_out(&username);
    Ok(Answer::Json(json!({})))
}
