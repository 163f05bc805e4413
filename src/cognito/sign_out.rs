//! The end of a session at Cognito: of one, and of all that a user has.
//!
//! Tokens that were issued before stay valid to whoever verifies them offline, until their `exp`.

use aws_sdk_cognitoidentityprovider::operation::revoke_token::RevokeTokenError;

use super::{
    Settings,
    sdk::{self, Refused},
    transport::Transport,
};
use crate::{secret::Secret, session::Failure};

/// The scope that an access token needs to end every session of its user (`GlobalSignOut`).
pub const SIGN_OUT_SCOPE: &str = "aws.cognito.signin.user.admin";

/// Why a session goes on at Cognito.
#[derive(Debug, thiserror::Error)]
pub enum SignOutError {
    /// The app client does not allow it (`EnableTokenRevocation`).
    #[error("the app client does not allow refresh tokens to be revoked: {detail}")]
    RevocationDisabled {
        /// Cognito's words.
        detail: String,
    },
    /// Everything else.
    #[error("{0}")]
    Failed(Failure),
}

/// Ends the sign-in that `refresh_token` belongs to, with every access token of it (`RevokeToken`). One that is revoked
/// already, or expired, is no error.
///
/// # Errors
/// Where Cognito refuses, or does not answer.
pub async fn revoke(settings: &Settings, transport: Transport, refresh_token: &Secret) -> Result<(), SignOutError> {
    let secret = settings.client_secret.as_ref().map(Secret::expose);
    let call = sdk::client(settings, transport)
        .revoke_token()
        .token(refresh_token.expose())
        .client_id(&settings.client_id)
        .set_client_secret(secret.map(str::to_owned));
    match call.send().await {
        Ok(_) => Ok(()),
        Err(error) => {
            let secrets: Vec<&str> = std::iter::once(refresh_token.expose()).chain(secret).collect();
            let is_disabled =
                error.as_service_error().is_some_and(RevokeTokenError::is_unsupported_operation_exception);
            Err(match Refused::from_sdk(&error, &secrets).failure {
                Failure::Setting { detail, .. } if is_disabled => SignOutError::RevocationDisabled { detail },
                failure => SignOutError::Failed(failure),
            })
        }
    }
}

/// Ends every session of the user whom `access_token` names (`GlobalSignOut`). It must have [`SIGN_OUT_SCOPE`].
///
/// # Errors
/// Where Cognito refuses, or does not answer.
pub async fn sign_out_everywhere(
    settings: &Settings,
    transport: Transport,
    access_token: &Secret,
) -> Result<(), SignOutError> {
    let call = sdk::client(settings, transport).global_sign_out().access_token(access_token.expose());
    match call.send().await {
        Ok(_) => Ok(()),
        Err(error) => Err(SignOutError::Failed(Refused::from_sdk(&error, &[access_token.expose()]).failure)),
    }
}
