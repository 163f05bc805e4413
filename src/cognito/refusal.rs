//! What Cognito's refusals of a sign-in mean to the person who signs in: a pure function, as [`classify`] is for
//! refreshes. One exception says different things in the two places.
//!
//! [`classify`]: super::classify

use crate::session::Failure;

/// A sign-in call that was refused, or not answered. Messages hold nothing of what was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// "Incorrect username or password."
    #[error("incorrect username or password")]
    WrongPassword,
    /// "Password attempts exceeded".
    #[error("too many wrong passwords: Cognito takes none from this user for a while")]
    TooManyPasswords,
    /// `CodeMismatchException`.
    #[error("wrong code")]
    WrongCode,
    /// `ExpiredCodeException`: too old, or used before.
    #[error("that code has expired, or was used before")]
    SpentCode,
    /// "Invalid session for the user, session is expired."
    #[error("the sign-in took too long, or saw too many wrong codes, and Cognito has closed it")]
    SessionOver,
    /// `TooManyRequestsException`, `LimitExceededException`.
    #[error("Cognito is asked too often just now ({detail})")]
    Throttled {
        /// Cognito's words.
        detail: String,
    },
    /// `UserNotConfirmedException`.
    #[error("the user is not confirmed yet")]
    NotConfirmed,
    /// `PasswordResetRequiredException`.
    #[error("the password has to be reset first")]
    PasswordResetRequired,
    /// "Temporary password has expired and must be reset by an administrator."
    #[error("the temporary password has expired")]
    TemporaryPasswordExpired,
    /// "User is disabled."
    #[error("the user is disabled")]
    UserDisabled,
    /// `UserNotFoundException`, in pools that tell.
    #[error("there is no such user")]
    NoSuchUser,
    /// `InvalidPasswordException`, `PasswordHistoryPolicyViolationException`.
    #[error("the pool does not take that password: {detail}")]
    NewPasswordRefused {
        /// Which rule it breaks, in Cognito's words.
        detail: String,
    },
    /// The app client, or the endpoint, does not know this flow.
    #[error("the app client does not allow this way to sign in ({detail})")]
    FlowNotAllowed {
        /// Cognito's words.
        detail: String,
    },
    /// "Device does not exist."
    #[error("Cognito does not know this device any more")]
    UnknownDevice,
    /// Anything that is no matter of signing in.
    #[error("{0}")]
    Other(Failure),
}

impl Refusal {
    /// What a person does about it.
    #[must_use]
    pub const fn fix(&self) -> Option<&'static str> {
        match self {
            Self::TooManyPasswords => Some("wait some minutes before you try again"),
            Self::Throttled { .. } => Some("try again in a minute"),
            Self::SessionOver => Some("run the command again, and answer sooner"),
            Self::NotConfirmed => {
                Some("enter the code that Cognito sent when the user was made, or ask an administrator")
            }
            Self::PasswordResetRequired => {
                Some("use \"forgot password\" in your application, or ask an administrator for a new one")
            }
            Self::TemporaryPasswordExpired => Some("ask an administrator to set a new one"),
            Self::UserDisabled => Some("ask an administrator to enable it"),
            Self::NoSuchUser => Some("name the user as the pool knows it: --user NAME"),
            Self::FlowNotAllowed { .. } => Some(
                "allow ALLOW_USER_SRP_AUTH on the app client, or sign in with a browser: cognito-proxy login --method \
                 browser",
            ),
            Self::Other(Failure::Setting { setting, .. }) => Some(setting.fix()),
            Self::WrongPassword => Some(
                "run the command again; where the password is forgotten, use \"forgot password\" in your application",
            ),
            Self::WrongCode
            | Self::SpentCode
            | Self::NewPasswordRefused { .. }
            | Self::UnknownDevice
            | Self::Other(_) => None,
        }
    }
}

/// Sorts a refusal: `exception` is the exception's name, without its namespace, `message` its words, and `otherwise`
/// what it would mean to a refresh.
#[must_use]
pub fn refusal(exception: &str, message: &str, otherwise: Failure) -> Refusal {
    let words = message.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    let detail = || message.trim().trim_end_matches('.').to_owned();
    match exception {
        "CodeMismatchException" | "EnableSoftwareTokenMFAException" => Refusal::WrongCode,
        "ExpiredCodeException" => Refusal::SpentCode,
        "UserNotConfirmedException" => Refusal::NotConfirmed,
        "PasswordResetRequiredException" => Refusal::PasswordResetRequired,
        "UserNotFoundException" => Refusal::NoSuchUser,
        // cognito-local's word for a wrong one.
        "InvalidPasswordException" if words.trim_end_matches('.') == "invalid password" => Refusal::WrongPassword,
        "InvalidPasswordException" | "PasswordHistoryPolicyViolationException" => {
            Refusal::NewPasswordRefused { detail: detail() }
        }
        "ResourceNotFoundException" if says(&["device"]) => Refusal::UnknownDevice,
        "NotAuthorizedException" if says(&["temporary password"]) => Refusal::TemporaryPasswordExpired,
        "NotAuthorizedException" if says(&["attempts exceeded"]) => Refusal::TooManyPasswords,
        "NotAuthorizedException" if says(&["invalid session", "session is expired", "session can only"]) => {
            Refusal::SessionOver
        }
        "NotAuthorizedException" if says(&["disabled"]) => Refusal::UserDisabled,
        "NotAuthorizedException" if says(&["incorrect username or password", "user not authorized"]) => {
            Refusal::WrongPassword
        }
        "NotAuthorizedException" | "InvalidParameterException"
            if says(&["not enabled", "not supported", "flow not"]) =>
        {
            Refusal::FlowNotAllowed { detail: detail() }
        }
        "UnknownOperationException"
        | "UnsupportedOperationException"
        | "OperationNotEnabledException"
        | "FeatureUnavailableInTierException"
        | "Unsupported" => {
            Refusal::FlowNotAllowed { detail: if message.is_empty() { exception.to_owned() } else { detail() } }
        }
        _ => match otherwise {
            Failure::Throttled { detail, .. } => Refusal::Throttled { detail },
            otherwise => Refusal::Other(otherwise),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_meaning() {
        let setting = crate::session::SettingAtFault::ClientSecret;
        let other = || Failure::Setting { setting, detail: "as a refresh has it".into() };
        let flow = |detail: &str| Refusal::FlowNotAllowed { detail: detail.into() };
        let policy = |detail: &str| Refusal::NewPasswordRefused { detail: detail.into() };
        for (exception, message, expected) in [
            ("NotAuthorizedException", "Incorrect username or password.", Refusal::WrongPassword),
            ("NotAuthorizedException", "User not authorized", Refusal::WrongPassword),
            ("InvalidPasswordException", "Invalid password", Refusal::WrongPassword),
            ("NotAuthorizedException", "Password attempts exceeded", Refusal::TooManyPasswords),
            ("CodeMismatchException", "Invalid code received for user", Refusal::WrongCode),
            ("CodeMismatchException", "Invalid code or auth state for the user.", Refusal::WrongCode),
            ("EnableSoftwareTokenMFAException", "Code mismatch", Refusal::WrongCode),
            ("ExpiredCodeException", "Your software token has already been used once.", Refusal::SpentCode),
            ("NotAuthorizedException", "Invalid session for the user.", Refusal::SessionOver),
            ("NotAuthorizedException", "Invalid session for the user, session is expired.", Refusal::SessionOver),
            (
                "NotAuthorizedException",
                "Invalid session for the user, session can only be used once.",
                Refusal::SessionOver,
            ),
            ("UserNotConfirmedException", "User is not confirmed.", Refusal::NotConfirmed),
            ("PasswordResetRequiredException", "Password reset required for the user", Refusal::PasswordResetRequired),
            (
                "NotAuthorizedException",
                "Temporary password has expired and must be reset by an administrator.",
                Refusal::TemporaryPasswordExpired,
            ),
            ("NotAuthorizedException", "User is disabled.", Refusal::UserDisabled),
            ("UserNotFoundException", "User does not exist.", Refusal::NoSuchUser),
            ("ResourceNotFoundException", "Device does not exist.", Refusal::UnknownDevice),
            (
                "InvalidPasswordException",
                "Password did not conform with policy: Password not long enough",
                policy("Password did not conform with policy: Password not long enough"),
            ),
            (
                "PasswordHistoryPolicyViolationException",
                "Password has previously been used.",
                policy("Password has previously been used"),
            ),
            (
                "InvalidParameterException",
                "USER_SRP_AUTH is not enabled for the client.",
                flow("USER_SRP_AUTH is not enabled for the client"),
            ),
            (
                "InvalidParameterException",
                "USER_PASSWORD_AUTH flow not enabled for this client",
                flow("USER_PASSWORD_AUTH flow not enabled for this client"),
            ),
            (
                "InvalidParameterException",
                "Initiate Auth method not supported.",
                flow("Initiate Auth method not supported"),
            ),
            ("Unsupported", "Cognito Local unsupported feature", flow("Cognito Local unsupported feature")),
            ("FeatureUnavailableInTierException", "", flow("FeatureUnavailableInTierException")),
            ("NotAuthorizedException", "Unable to verify secret hash for client x", Refusal::Other(other())),
            ("InvalidParameterException", "Missing required parameter USERNAME", Refusal::Other(other())),
            ("", "", Refusal::Other(other())),
        ] {
            assert_eq!(refusal(exception, message, other()), expected, "{exception} {message}");
        }
        let throttled = Failure::Throttled { retry_after: None, detail: "Rate exceeded".into() };
        let expected = Refusal::Throttled { detail: "Rate exceeded".into() };
        assert_eq!(refusal("TooManyRequestsException", "Rate exceeded", throttled), expected);
    }
}
