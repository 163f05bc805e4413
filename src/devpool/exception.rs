//! Cognito's refusals, by the names and the words that AWS uses.

use http::StatusCode;

/// An error answer of the AWS JSON protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message}")]
pub struct Exception {
    /// The shape's name, such as `NotAuthorizedException`.
    pub name: String,
    /// AWS's words. Never a secret.
    pub message: String,
    /// 400 for all but the server's own faults.
    pub status: StatusCode,
}

impl Exception {
    /// The exception `name`, answered with 400.
    #[must_use]
    pub fn new(name: &str, message: impl Into<String>) -> Self {
        Self { name: name.to_owned(), message: message.into(), status: StatusCode::BAD_REQUEST }
    }

    /// The same with another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// `NotAuthorizedException`, Cognito's word for nearly every refusal.
    #[must_use]
    pub fn not_authorized(message: impl Into<String>) -> Self {
        Self::new("NotAuthorizedException", message)
    }

    /// `InvalidParameterException`.
    #[must_use]
    pub fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterException", message)
    }

    /// `TooManyRequestsException`, which Cognito answers with 400 and not with 429.
    #[must_use]
    pub fn too_many_requests() -> Self {
        Self::new("TooManyRequestsException", "Rate exceeded")
    }

    /// `ResourceNotFoundException` for an app client.
    #[must_use]
    pub fn no_such_client(id: &str) -> Self {
        Self::new("ResourceNotFoundException", format!("User pool client {id} does not exist."))
    }

    /// "Invalid Refresh Token.": garbage, or a token whose device key is missing.
    #[must_use]
    pub fn invalid_refresh_token() -> Self {
        Self::not_authorized("Invalid Refresh Token.")
    }

    /// `RefreshTokenReuseException`. AWS's words are not documented.
    #[must_use]
    pub fn refresh_token_reuse() -> Self {
        Self::new("RefreshTokenReuseException", "Refresh token was invalidated by rotation")
    }

    /// `InternalErrorException`, answered with 500.
    #[must_use]
    pub fn internal() -> Self {
        Self::new("InternalErrorException", "Something went wrong").with_status(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
