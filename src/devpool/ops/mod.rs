//! The operations of the user pools API, one file each: they read the request, ask the pool, and say what to answer.

mod answer;
mod associate_software_token;
mod confirm_device;
mod describe_client;
mod fields;
mod get_tokens;
mod global_sign_out;
mod initiate_auth;
mod respond_to_challenge;
mod revoke_token;
mod verify_software_token;

use serde_json::Value;

pub(super) use answer::Answer;

use super::{
    exception::Exception,
    operation::{Operation, Signed},
    state::Pool,
};
use crate::clock::UnixTime;

/// Runs `operation`.
pub(super) fn call(
    pool: &mut Pool,
    now: UnixTime,
    operation: &Operation,
    request: &Value,
    signed: Signed,
) -> Result<Answer, Exception> {
    match operation {
        Operation::InitiateAuth(flow) => initiate_auth::call(pool, now, flow, request),
        Operation::RespondToAuthChallenge(challenge) => respond_to_challenge::call(pool, now, challenge, request),
        Operation::AssociateSoftwareToken => associate_software_token::call(pool, now, request),
        Operation::VerifySoftwareToken => verify_software_token::call(pool, now, request),
        Operation::GetTokensFromRefreshToken => get_tokens::call(pool, now, request),
        Operation::RevokeToken => revoke_token::call(pool, request),
        Operation::GlobalSignOut => global_sign_out::call(pool, now, request),
        Operation::ConfirmDevice => confirm_device::call(pool, now, request),
        Operation::DescribeUserPoolClient => describe_client::call(pool, request, signed),
        Operation::Jwks
        | Operation::Discovery
        | Operation::Authorize
        | Operation::HostedLogin
        | Operation::OauthToken
        | Operation::OauthRevoke
        | Operation::Unknown(_) => Err(Exception::new("UnknownOperationException", "")),
    }
}
