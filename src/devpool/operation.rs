//! Which calls there are.

use serde_json::Value;

/// Every call that a pool can receive, for the log, for faults, and for the match in `ops`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// `InitiateAuth`, with its `AuthFlow`.
    InitiateAuth(String),
    /// `RespondToAuthChallenge`, with its `ChallengeName`.
    RespondToAuthChallenge(String),
    /// `AssociateSoftwareToken`.
    AssociateSoftwareToken,
    /// `VerifySoftwareToken`.
    VerifySoftwareToken,
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
    /// `GET /oauth2/authorize`.
    Authorize,
    /// `/login`: the page that asks for user name and password.
    HostedLogin,
    /// `POST /oauth2/token`.
    OauthToken,
    /// `POST /oauth2/revoke`.
    OauthRevoke,
    /// Whatever else was asked for.
    Unknown(String),
}

impl Operation {
    /// What `X-Amz-Target` names after the dot.
    pub(super) fn of_target(name: &str, request: &Value) -> Self {
        match name {
            "InitiateAuth" => Self::InitiateAuth(text(request, "AuthFlow")),
            "RespondToAuthChallenge" => Self::RespondToAuthChallenge(text(request, "ChallengeName")),
            "AssociateSoftwareToken" => Self::AssociateSoftwareToken,
            "VerifySoftwareToken" => Self::VerifySoftwareToken,
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

    /// Whether it goes to the API, and not to the public documents or the pages beside it.
    #[must_use]
    pub fn is_api(&self) -> bool {
        !matches!(self, Self::Jwks | Self::Discovery | Self::Authorize | Self::HostedLogin)
    }

    /// Whether it goes to the endpoints of the pool's domain, which have answers and errors of their own.
    #[must_use]
    pub fn is_oauth(&self) -> bool {
        matches!(self, Self::Authorize | Self::HostedLogin | Self::OauthToken | Self::OauthRevoke)
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

fn text(request: &Value, field: &str) -> String {
    request.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
}
