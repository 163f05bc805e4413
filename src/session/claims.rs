//! What a Cognito token says, as far as this program cares.

use crate::clock::UnixTime;

/// Which of Cognito's two JWTs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenKind {
    /// The ID token: who the user is, for the app client in `aud`.
    Id,
    /// The access token: what the user may do, for the app client in `client_id`.
    Access,
}

impl TokenKind {
    /// The word of the configuration, and of the `token_use` claim.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Access => "access",
        }
    }
}

/// The claims of a verified token (Amazon Cognito developer guide, "Understanding the identity (ID) token").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `token_use`.
    pub kind: TokenKind,
    /// `sub`.
    pub subject: String,
    /// `cognito:username` in an ID token, `username` in an access token.
    pub username: String,
    /// `iss`.
    pub issuer: String,
    /// `aud` of an ID token, `client_id` of an access token.
    pub client_id: String,
    /// `iat`, in AWS's time.
    pub issued_at: UnixTime,
    /// `exp`, in AWS's time.
    pub expires_at: UnixTime,
    /// `auth_time`: when the user signed in; refreshes do not change it.
    pub auth_time: Option<UnixTime>,
}
