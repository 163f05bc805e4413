//! `RevokeToken`.

use serde_json::{Value, json};

use super::{
    answer::Answer,
    fields::{required, text},
};
use crate::devpool::{exception::Exception, state::Pool};

pub(super) fn call(pool: &mut Pool, request: &Value) -> Result<Answer, Exception> {
    pool.revoke(required(request, "Token")?, required(request, "ClientId")?, text(request, "ClientSecret"))?;
    Ok(Answer::Json(json!({})))
}
