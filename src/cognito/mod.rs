//! Cognito itself: the calls, the sorting of its errors, the verification of what it sends.
//!
//! The only room that knows the AWS SDK. [`issuer`] is the one implementation of [`Issuer`] that dials; everything that
//! it decides is decided by pure functions beside it: [`classify`] for refusals, [`verify`] for tokens.
//!
//! # No token is lost for want of keys
//!
//! On a rotating app client a refresh spends the refresh token, so what comes back must be verifiable: the key set is
//! made sure of *before* the token is spent. Where a token then names a key that the set lacks and the newer set cannot
//! be had, the failure carries the new refresh token ([`Failure::Rotated`]).

mod aws_credentials;
mod describe;
mod dial;
#[cfg(test)]
mod fixtures;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod sdk;
mod transport_error;

pub mod challenge;
pub mod classify;
pub mod egress;
pub mod issuer;
pub mod jwks;
pub mod refusal;
pub mod sign_out;
pub mod srp;
pub mod token_endpoint;
pub mod transport;
pub mod verify;

use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use http::Uri;

pub use aws_credentials::AwsCredentials;
pub use describe::AppClient;
pub use issuer::{CognitoIssuer, Unverified};
pub use sdk::http_date;
pub use transport::Transport;
pub use verify::{read_claims, verify_stored};

use crate::{
    clock::Now,
    secret::Secret,
    session::{Device, Failure, Grant, Session},
};

/// `[cognito]` and `[verify]`, resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `user_pool_id`.
    pub user_pool_id: String,
    /// `client_id`.
    pub client_id: String,
    /// The content of `client_secret_file`.
    pub client_secret: Option<Secret>,
    /// The region, from the pool id or as configured.
    pub region: String,
    /// `endpoint`: an emulator, a VPC endpoint, FIPS.
    pub endpoint: Option<Uri>,
    /// What `iss` must be. Never built from `endpoint`.
    pub issuer: String,
    /// Where the key set is.
    pub jwks_url: Uri,
    /// `refresh_api`.
    pub refresh_api: RefreshApi,
    /// `verify.jwks`: false skips the signature, and nothing else.
    pub verify_signature: bool,
}

/// Which call refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshApi {
    /// `GetTokensFromRefreshToken`, and `InitiateAuth` where the endpoint does not know that.
    Auto,
    /// `GetTokensFromRefreshToken` alone.
    GetTokensFromRefreshToken,
    /// `InitiateAuth` with `REFRESH_TOKEN_AUTH` alone.
    InitiateAuth,
}

/// What a refresh spends.
#[derive(Clone, Debug)]
pub struct RefreshRequest {
    /// The refresh token.
    pub refresh_token: Secret,
    /// `cognito:username`, for `SECRET_HASH`; not known yet at an import.
    pub username: Option<String>,
    /// The `sub` that the new tokens must name; not known yet at an import.
    pub subject: Option<String>,
    /// The remembered device.
    pub device: Option<Device>,
    /// The key set that verified the last tokens, so that no call is needed where it still holds.
    pub jwks: Option<String>,
}

/// Whoever turns a refresh token into new tokens.
pub trait Issuer: Send + Sync {
    /// One attempt, with a deadline of its own and no retries inside: the session machine is the one retry authority.
    fn refresh(&self, request: RefreshRequest) -> BoxFuture<'_, Result<Grant, Failure>>;

    /// A session from the store, its tokens verified again with the key set beside them and without a call to anybody.
    /// Where they are not what they must be they count as spent, and only the refresh token may be used.
    fn reverify(&self, session: Session, now: Now) -> Session;

    /// How long the app client's refresh tokens live, where the pool may be asked. One call, and a failure is nobody's
    /// concern.
    fn refresh_validity(&self) -> BoxFuture<'_, Option<Duration>> {
        Box::pin(ready(None))
    }
}
