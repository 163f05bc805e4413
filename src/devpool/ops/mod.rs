//! The operations of the user pools API, one file each: they read the request, ask the pool, and say what to answer.

mod confirm_device;
mod describe_client;
mod get_tokens;
mod global_sign_out;
mod initiate_auth;
mod revoke_token;

use serde_json::{Value, json};

use super::{exception::Exception, keys::KeySet, lie::Lie, state::Pool, tokens::Grant};
use crate::clock::UnixTime;

/// Every call that a pool can receive, for the log and for the match below.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// `InitiateAuth`, with its `AuthFlow`.
    InitiateAuth(String),
    /// `GetTokensFromRefreshToken`.
    GetTokensFromRefreshToken,
    /// `RevokeToken`.
    RevokeToken,
    /// `GlobalSignOut`.
    GlobalSignOut,
    /// `ConfirmDevice`.
    ConfirmDevice,
    /// `DescribeUserPoolClient`.
    DescribeUserPoolClient,
    /// `GET /POOL/.well-known/jwks.json`.
    Jwks,
    /// `GET /POOL/.well-known/openid-configuration`.
    Discovery,
    /// Whatever else was asked for.
    Unknown(String),
}

impl Operation {
    /// What `X-Amz-Target` names after the dot.
    pub(super) fn of_target(name: &str, request: &Value) -> Self {
        match name {
            "InitiateAuth" => Self::InitiateAuth(text(request, "AuthFlow").unwrap_or_default().to_owned()),
            "GetTokensFromRefreshToken" => Self::GetTokensFromRefreshToken,
            "RevokeToken" => Self::RevokeToken,
            "GlobalSignOut" => Self::GlobalSignOut,
            "ConfirmDevice" => Self::ConfirmDevice,
            "DescribeUserPoolClient" => Self::DescribeUserPoolClient,
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// Whether it spends a refresh token.
    #[must_use]
    pub fn is_refresh(&self) -> bool {
        match self {
            Self::GetTokensFromRefreshToken => true,
            Self::InitiateAuth(flow) => matches!(flow.as_str(), "REFRESH_TOKEN_AUTH" | "REFRESH_TOKEN"),
            _ => false,
        }
    }

    /// Whether it goes to the API, and not to the public documents beside it.
    #[must_use]
    pub fn is_api(&self) -> bool {
        !matches!(self, Self::Jwks | Self::Discovery)
    }
}

/// What an operation answers with.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// This.
    Json(Value),
    /// Tokens, which are written as late as possible so that a lie can bend them.
    Tokens {
        /// The tokens.
        grant: Box<Grant>,
        /// `ChallengeParameters` beside them, as `InitiateAuth` has it.
        challenge_parameters: bool,
    },
}

impl Answer {
    /// The body.
    pub(super) fn render(&self, keys: &KeySet, lie: Option<&Lie>) -> Result<Value, Exception> {
        match self {
            Self::Json(value) => Ok(value.clone()),
            Self::Tokens { grant, challenge_parameters } => {
                let mut body = json!({});
                if lie != Some(&Lie::NoResult) {
                    body["AuthenticationResult"] = grant.authentication_result(keys, lie)?;
                }
                if *challenge_parameters {
                    body["ChallengeParameters"] = json!({});
                }
                Ok(body)
            }
        }
    }
}

/// Whether the call carries AWS credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signed {
    /// `Authorization: AWS4-HMAC-SHA256 …`. The signature itself is not checked.
    Yes,
    /// No.
    No,
}

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
        Operation::GetTokensFromRefreshToken => get_tokens::call(pool, now, request),
        Operation::RevokeToken => revoke_token::call(pool, request),
        Operation::GlobalSignOut => global_sign_out::call(pool, now, request),
        Operation::ConfirmDevice => confirm_device::call(pool, now, request),
        Operation::DescribeUserPoolClient => describe_client::call(pool, request, signed),
        Operation::Jwks | Operation::Discovery | Operation::Unknown(_) => {
            Err(Exception::new("UnknownOperationException", ""))
        }
    }
}

/// A field that is a string.
fn text<'a>(request: &'a Value, field: &str) -> Option<&'a str> {
    request.get(field).and_then(Value::as_str)
}

/// A field that must be a string, refused in AWS's words.
fn required<'a>(request: &'a Value, field: &str) -> Result<&'a str, Exception> {
    text(request, field).ok_or_else(|| {
        let mut name = field.to_owned();
        name[..1].make_ascii_lowercase();
        Exception::invalid_parameter(format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        ))
    })
}
