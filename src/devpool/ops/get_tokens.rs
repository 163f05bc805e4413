//! `GetTokensFromRefreshToken`: works with rotation and without.

use serde_json::Value;

use super::{
    answer::Answer,
    fields::{required, text},
};
use crate::{
    clock::UnixTime,
    devpool::{
        exception::Exception,
        state::{Pool, Proof, Spend},
    },
};

pub(super) fn call(pool: &mut Pool, now: UnixTime, request: &Value) -> Result<Answer, Exception> {
    let spend = Spend {
        token: required(request, "RefreshToken")?,
        client_id: required(request, "ClientId")?,
        proof: Proof::Plain(text(request, "ClientSecret")),
        device_key: text(request, "DeviceKey"),
    };
    let grant = pool.refresh(now, spend)?;
    Ok(Answer::Tokens { grant: Box::new(grant), challenge_parameters: false })
}
