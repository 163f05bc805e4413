//! Why a refresh failed, sorted by what has to be done about it.

use std::{fmt, time::Duration};

use super::Outcome;
use crate::secret::Secret;

/// A refresh that brought no token. Messages hold no secret: Cognito's own words are in them, never a request's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody's verdict: it is tried again, with backoff.
    #[error("{kind}: {detail}")]
    Transient {
        /// What went wrong.
        kind: TransientKind,
        /// Whether the request may have reached Cognito. If so a rotation may have been committed, and it is sent
        /// again at once.
        sent: bool,
        /// What the library said.
        detail: String,
    },
    /// Cognito asked for patience (`TooManyRequestsException`, `LimitExceededException`).
    #[error("throttled: {detail}")]
    Throttled {
        /// `Retry-After`, where it was given.
        retry_after: Option<Duration>,
        /// Cognito's words.
        detail: String,
    },
    /// A definite verdict on the session. It counts once a second refusal confirms it.
    #[error("{reason}")]
    Terminal {
        /// The verdict.
        reason: EndReason,
    },
    /// A refusal that may be mistaken ("Invalid Refresh Token"). It is tried again twice, then it is a verdict.
    #[error("{detail}")]
    Ambiguous {
        /// Cognito's words.
        detail: String,
    },
    /// A refusal that a setting causes. It ends nothing.
    #[error("{detail}")]
    Setting {
        /// The setting to mend.
        setting: SettingAtFault,
        /// Cognito's words.
        detail: String,
    },
    /// Tokens came, and were not what they must be (wrong subject, issuer, audience, signature, use or times).
    #[error("unacceptable token: {detail}")]
    Unacceptable {
        /// Which rule they broke.
        detail: String,
    },
    /// The refresh failed after Cognito had exchanged the refresh token: the old one is spent, and only this one can
    /// still bring tokens. It is stored before anything else is tried.
    #[error("{failure}")]
    Rotated {
        /// The refresh token that took the place of the one that was spent.
        rotated: Secret,
        /// Why there are no tokens all the same.
        failure: Box<Failure>,
    },
}

impl Failure {
    /// The refresh token that came with this failure, and the failure itself.
    #[must_use]
    pub fn split(self) -> (Option<Secret>, Self) {
        match self {
            Self::Rotated { rotated, failure } => (Some(rotated), failure.split().1),
            failure => (None, failure),
        }
    }

    /// The word of the interface for this failure.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Rotated { failure, .. } => failure.outcome(),
            Self::Transient { .. } => Outcome::Transient,
            Self::Throttled { .. } => Outcome::Throttled,
            Self::Terminal { .. } | Self::Ambiguous { .. } | Self::Setting { .. } | Self::Unacceptable { .. } => {
                Outcome::Rejected
            }
        }
    }
}

/// What stood between us and an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransientKind {
    /// The name could not be resolved.
    Dns,
    /// No connection.
    Connect,
    /// The certificate, or the protocol, of whoever answered.
    Tls,
    /// No whole answer in time.
    Timeout,
    /// The connection broke.
    Disconnected,
    /// A page where an API answer should be: a captive portal, or a proxy's own error.
    CaptivePortal,
    /// 5xx, or an exception that says so.
    Server,
    /// An answer that is no Cognito answer.
    Malformed,
    /// The key set could not be fetched, so nothing can be verified.
    Jwks,
    /// The store's lock could not be had.
    StoreLock,
}

impl fmt::Display for TransientKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dns => "dns_error",
            Self::Connect => "connection_refused",
            Self::Tls => "tls_certificate_error",
            Self::Timeout => "timeout",
            Self::Disconnected => "connection_terminated",
            Self::CaptivePortal => "captive portal?",
            Self::Server => "server_error",
            Self::Malformed => "malformed_answer",
            Self::Jwks => "jwks_unavailable",
            Self::StoreLock => "store_locked",
        })
    }
}

/// Why a session ended, in Cognito's verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// "Refresh Token has expired".
    Expired,
    /// "Refresh Token has been revoked".
    Revoked,
    /// The user is disabled.
    UserDisabled,
    /// The user is deleted, or not found.
    UserDeleted,
    /// `PasswordResetRequiredException`.
    PasswordResetRequired,
    /// `UserNotConfirmedException`.
    UserNotConfirmed,
    /// `RefreshTokenReuseException`, and the store holds nothing newer: a rotated token was lost.
    RotatedTokenLost,
    /// An ambiguous refusal that stayed.
    Refused(String),
}

impl EndReason {
    /// The word that the store keeps.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::UserDisabled => "user_disabled",
            Self::UserDeleted => "user_deleted",
            Self::PasswordResetRequired => "password_reset_required",
            Self::UserNotConfirmed => "user_not_confirmed",
            Self::RotatedTokenLost => "rotated_token_lost",
            Self::Refused(_) => "refused",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str("Refresh Token has expired"),
            Self::Revoked => f.write_str("Refresh Token has been revoked"),
            Self::UserDisabled => f.write_str("the user is disabled"),
            Self::UserDeleted => f.write_str("the user has been deleted"),
            Self::PasswordResetRequired => f.write_str("a password reset is required"),
            Self::UserNotConfirmed => f.write_str("the user is not confirmed"),
            Self::RotatedTokenLost => f.write_str("rotated token lost: the refresh token was already used up"),
            Self::Refused(message) => write!(f, "{message}"),
        }
    }
}

/// The setting that a refusal points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingAtFault {
    /// `cognito.client_secret_file`: missing, wrong, or not wanted.
    ClientSecret,
    /// `cognito.client_id`: unknown, or the token is another client's.
    ClientId,
    /// `cognito.user_pool_id`, or the region that it names.
    UserPool,
    /// The app client does not allow this flow: `cognito.refresh_api`, or `ALLOW_REFRESH_TOKEN_AUTH` on the client.
    RefreshApi,
    /// A web application firewall, or another rule before Cognito, refused the call.
    Firewall,
    /// Cognito refused a parameter that it did not name.
    Parameter,
}

impl SettingAtFault {
    /// What a person does about it.
    #[must_use]
    pub const fn fix(self) -> &'static str {
        match self {
            Self::ClientSecret => "set cognito.client_secret_file to the app client's secret",
            Self::ClientId => "set cognito.client_id to the app client that the session was signed in with",
            Self::UserPool => "set cognito.user_pool_id to the pool that the session was signed in with",
            Self::RefreshApi => "set cognito.refresh_api, or allow ALLOW_REFRESH_TOKEN_AUTH on the app client",
            Self::Firewall => "ask who runs the user pool's AWS WAF rules to admit this machine",
            Self::Parameter => "compare the cognito section with the app client's settings",
        }
    }
}
