//! What Cognito's refusals mean: a pure function from an exception to a [`Failure`].
//!
//! Messages differ between Cognito, its own documentation and its emulators, so they are searched for words, without
//! regard to case; the exception's name comes first.

use std::time::Duration;

use crate::session::{EndReason, Failure, SettingAtFault, TransientKind};

/// No message that is worth reading is longer, and a log line must stay one.
const MESSAGE_LIMIT: usize = 300;

/// A refusal as it came.
#[derive(Clone, Copy, Debug)]
pub struct Refusal<'a> {
    /// The exception's name, from `__type` or `x-amzn-errortype`, as it came; empty where there was none.
    pub exception: &'a str,
    /// Its message, already [redacted](redact).
    pub message: &'a str,
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, where it was given.
    pub retry_after: Option<Duration>,
}

/// Sorts a refusal by what has to be done about it.
#[must_use]
pub fn classify(refusal: &Refusal<'_>) -> Failure {
    let exception = bare_name(refusal.exception);
    let detail = detail(exception, refusal);
    let setting = |setting| Failure::Setting { setting, detail: detail.clone() };
    let words = refusal.message.to_ascii_lowercase();
    match exception {
        "NotAuthorizedException" => not_authorized(&words, detail),
        "UserNotFoundException" => Failure::Terminal { reason: EndReason::UserDeleted },
        "PasswordResetRequiredException" => Failure::Terminal { reason: EndReason::PasswordResetRequired },
        "UserNotConfirmedException" => Failure::Terminal { reason: EndReason::UserNotConfirmed },
        "RefreshTokenReuseException" => Failure::Terminal { reason: EndReason::RotatedTokenLost },
        "InvalidParameterException" => setting(parameter_at_fault(&words)),
        "ResourceNotFoundException" if words.contains("client") => setting(SettingAtFault::ClientId),
        "ResourceNotFoundException" => setting(SettingAtFault::UserPool),
        "OperationNotEnabledException" | "UnsupportedOperationException" | "FeatureUnavailableInTierException" => {
            setting(SettingAtFault::RefreshApi)
        }
        _ if is_unknown_operation(exception) => setting(SettingAtFault::RefreshApi),
        "ForbiddenException" => setting(SettingAtFault::Firewall),
        "InvalidUserPoolConfigurationException"
        | "InvalidSmsRoleAccessPolicyException"
        | "InvalidSmsRoleTrustRelationshipException"
        | "InvalidEmailRoleAccessPolicyException" => setting(SettingAtFault::Parameter),
        "TooManyRequestsException" | "LimitExceededException" | "ThrottlingException" | "Throttling" => {
            Failure::Throttled { retry_after: refusal.retry_after, detail }
        }
        "InternalErrorException"
        | "UnexpectedLambdaException"
        | "InvalidLambdaResponseException"
        | "UserLambdaValidationException" => transient(TransientKind::Server, detail),
        _ => by_status(exception, refusal, detail),
    }
}

/// What an exception without a row of its own is: it never ends a session.
fn by_status(exception: &str, refusal: &Refusal<'_>, detail: String) -> Failure {
    match refusal.status {
        429 => Failure::Throttled { retry_after: refusal.retry_after, detail },
        500.. => transient(TransientKind::Server, detail),
        403 => Failure::Setting { setting: SettingAtFault::Firewall, detail },
        400..500 if !exception.is_empty() => Failure::Setting { setting: SettingAtFault::Parameter, detail },
        _ => transient(TransientKind::Malformed, detail),
    }
}

fn not_authorized(words: &str, detail: String) -> Failure {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    let terminal = |reason| Failure::Terminal { reason };
    if says(&["secret hash", "secrethash", "secret_hash", "client secret", "clientsecret", "configured with secret"]) {
        Failure::Setting { setting: SettingAtFault::ClientSecret, detail }
    } else if says(&["different client"]) {
        Failure::Setting { setting: SettingAtFault::ClientId, detail }
    } else if says(&["flow", "not enabled", "rotation"]) {
        Failure::Setting { setting: SettingAtFault::RefreshApi, detail }
    } else if says(&["revoked"]) {
        terminal(EndReason::Revoked)
    } else if says(&["expired"]) {
        terminal(EndReason::Expired)
    } else if says(&["disabled"]) {
        terminal(EndReason::UserDisabled)
    } else if says(&["deleted"]) {
        terminal(EndReason::UserDeleted)
    } else {
        Failure::Ambiguous { detail }
    }
}

fn parameter_at_fault(words: &str) -> SettingAtFault {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| words.contains(phrase));
    if says(&["flow", "not enabled", "rotation"]) {
        SettingAtFault::RefreshApi
    } else if says(&["secret"]) {
        SettingAtFault::ClientSecret
    } else if says(&["clientid", "client id"]) {
        SettingAtFault::ClientId
    } else {
        SettingAtFault::Parameter
    }
}

/// Whether the endpoint does not know the call at all. A plain 500 says no such thing.
#[must_use]
pub fn is_unknown_operation(exception: &str) -> bool {
    // cognito-local says `CognitoLocal#Unsupported`, with a status of 500.
    matches!(bare_name(exception), "UnknownOperationException" | "UnknownOperation" | "Unsupported" | "InvalidAction")
}

const fn transient(kind: TransientKind, detail: String) -> Failure {
    // There was an answer, so nothing was lost on the way; backoff, not haste.
    Failure::Transient { kind, sent: false, detail }
}

/// The name without its namespace before `#` and without what follows `:` (AWS JSON 1.1 protocol, "Operation error
/// serialization").
pub(super) fn bare_name(exception: &str) -> &str {
    let name = exception.split_once(':').map_or(exception, |(name, _)| name);
    name.rsplit_once('#').map_or(name, |(_, name)| name).trim()
}

fn detail(exception: &str, refusal: &Refusal<'_>) -> String {
    let message = refusal.message.trim();
    match (exception, message) {
        ("", "") => format!("status {}", refusal.status),
        ("", message) => format!("status {}: {message}", refusal.status),
        (exception, "") => exception.to_owned(),
        // The message is what a person searches for.
        ("NotAuthorizedException", message) => message.to_owned(),
        (exception, message) => format!("{exception}: {message}"),
    }
}

/// `text` fit to be shown: without `secrets`, without anything that looks like a JWT or JWE (they begin with the
/// base64 of `{"`), without control characters, and not too long.
#[must_use]
pub fn redact<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    const REDACTED: &str = "[redacted]";
    let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, REDACTED);
    }
    let mut shown = String::new();
    let mut rest = text.as_str();
    while let Some(start) = rest.find("eyJ") {
        shown.push_str(&rest[..start]);
        shown.push_str(REDACTED);
        let token = |c: char| c.is_ascii_alphanumeric() || "-_.=+/".contains(c);
        rest = rest[start..].trim_start_matches(token);
    }
    shown.push_str(rest);
    match shown.char_indices().nth(MESSAGE_LIMIT) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Class {
        Ends(EndReason),
        Sets(SettingAtFault),
        Doubts,
        Throttles,
        Retries(TransientKind),
    }

    fn class(failure: &Failure) -> Class {
        match failure.clone() {
            Failure::Terminal { reason } => Class::Ends(reason),
            Failure::Setting { setting, .. } => Class::Sets(setting),
            Failure::Ambiguous { .. } => Class::Doubts,
            Failure::Throttled { .. } => Class::Throttles,
            Failure::Transient { kind, sent, .. } => {
                assert!(!sent, "an answer came, so nothing was lost: {failure}");
                Class::Retries(kind)
            }
            Failure::Unacceptable { .. } | Failure::Rotated { .. } => panic!("no refusal: {failure}"),
        }
    }

    fn refused(exception: &str, message: &str, status: u16) -> Failure {
        classify(&Refusal { exception, message, status, retry_after: None })
    }

    /// Every exception of `GetTokensFromRefreshToken` and `InitiateAuth` in the SDK, and those that others have seen.
    #[test]
    fn every_exception_has_its_class() {
        use Class::{Doubts, Ends, Retries, Sets, Throttles};
        use EndReason::{
            Expired, PasswordResetRequired, Revoked, RotatedTokenLost, UserDeleted, UserDisabled, UserNotConfirmed,
        };
        use SettingAtFault::{ClientId, ClientSecret, Firewall, Parameter, RefreshApi, UserPool};
        use TransientKind::{Malformed, Server};
        for (exception, message, status, expected) in [
            ("NotAuthorizedException", "Refresh Token has expired", 400, Ends(Expired)),
            ("NotAuthorizedException", "Refresh Token has been revoked.", 400, Ends(Revoked)),
            ("NotAuthorizedException", "User is disabled.", 400, Ends(UserDisabled)),
            (
                "NotAuthorizedException",
                "The user has been deleted for the associated refresh token",
                400,
                Ends(UserDeleted),
            ),
            ("NotAuthorizedException", "Invalid Refresh Token.", 400, Doubts),
            ("NotAuthorizedException", "User not authorized", 400, Doubts),
            ("NotAuthorizedException", "", 400, Doubts),
            ("NotAuthorizedException", "Unable to verify secret hash for client x", 400, Sets(ClientSecret)),
            ("NotAuthorizedException", "SecretHash does not match for the client: x", 400, Sets(ClientSecret)),
            (
                "NotAuthorizedException",
                "Client x is configured with secret but SECRET_HASH was not received",
                400,
                Sets(ClientSecret),
            ),
            ("NotAuthorizedException", "Refresh Token has different Client", 400, Sets(ClientId)),
            ("NotAuthorizedException", "Auth flow not enabled for this client", 400, Sets(RefreshApi)),
            ("UserNotFoundException", "User does not exist.", 400, Ends(UserDeleted)),
            ("PasswordResetRequiredException", "", 400, Ends(PasswordResetRequired)),
            ("UserNotConfirmedException", "", 400, Ends(UserNotConfirmed)),
            ("RefreshTokenReuseException", "", 400, Ends(RotatedTokenLost)),
            ("InvalidParameterException", "Missing required parameter", 400, Sets(Parameter)),
            ("InvalidParameterException", "REFRESH_TOKEN_AUTH flow not enabled", 400, Sets(RefreshApi)),
            ("ResourceNotFoundException", "User pool client x does not exist.", 400, Sets(ClientId)),
            ("ResourceNotFoundException", "User pool x does not exist.", 400, Sets(UserPool)),
            ("OperationNotEnabledException", "", 400, Sets(RefreshApi)),
            ("UnsupportedOperationException", "", 400, Sets(RefreshApi)),
            ("FeatureUnavailableInTierException", "", 400, Sets(RefreshApi)),
            ("UnknownOperationException", "", 400, Sets(RefreshApi)),
            ("CognitoLocal#Unsupported", "", 500, Sets(RefreshApi)),
            ("ForbiddenException", "Request not allowed due to WAF block.", 400, Sets(Firewall)),
            ("AccessDeniedException", "", 403, Sets(Firewall)),
            ("InvalidUserPoolConfigurationException", "", 400, Sets(Parameter)),
            ("InvalidSmsRoleAccessPolicyException", "", 400, Sets(Parameter)),
            ("InvalidSmsRoleTrustRelationshipException", "", 400, Sets(Parameter)),
            ("InvalidEmailRoleAccessPolicyException", "", 400, Sets(Parameter)),
            ("SerializationException", "", 400, Sets(Parameter)),
            ("TooManyRequestsException", "Rate exceeded", 400, Throttles),
            ("LimitExceededException", "", 400, Throttles),
            ("", "slow down", 429, Throttles),
            ("InternalErrorException", "", 500, Retries(Server)),
            ("UnexpectedLambdaException", "", 400, Retries(Server)),
            ("UserLambdaValidationException", "", 400, Retries(Server)),
            ("InvalidLambdaResponseException", "", 400, Retries(Server)),
            ("", "", 500, Retries(Server)),
            ("", "", 503, Retries(Server)),
            ("", "", 400, Retries(Malformed)),
        ] {
            assert_eq!(class(&refused(exception, message, status)), expected, "{exception} {message}");
            // The same, as namespaces, headers and letter cases vary.
            for name in [format!("com.amazonaws.cognito#{exception}"), format!("{exception}:http://internal")] {
                if !exception.is_empty() && !exception.contains('#') {
                    let again = refused(&name, &message.to_uppercase(), status);
                    assert_eq!(class(&again), expected, "{name} {message}");
                }
            }
        }
    }

    #[test]
    fn throttling_keeps_the_time_it_was_told() {
        let refusal = Refusal {
            exception: "TooManyRequestsException",
            message: "Rate exceeded",
            status: 400,
            retry_after: Some(Duration::from_secs(7)),
        };
        let detail = "TooManyRequestsException: Rate exceeded".to_owned();
        let retry_after = Some(Duration::from_secs(7));
        assert_eq!(classify(&refusal), Failure::Throttled { retry_after, detail });
    }

    #[test]
    fn messages_are_shown_without_what_was_sent() {
        for (message, secrets, shown) in [
            ("Invalid Refresh Token.", &[][..], "Invalid Refresh Token."),
            ("bad eyJjdHkiOiJKV1QifQ.abc-_1.2 token", &[], "bad [redacted] token"),
            ("value 'hunter2' at 'clientSecret'", &["hunter2", ""], "value '[redacted]' at 'clientSecret'"),
            ("a\r\nb\u{1b}[31m", &[], "a  b [31m"),
        ] {
            assert_eq!(redact(message, secrets.iter().copied()), shown);
        }
        assert_eq!(redact(&"ü".repeat(1000), []).chars().count(), MESSAGE_LIMIT + 1);
    }

    proptest! {
        #[test]
        fn no_message_shows_a_token(before in ".*", token in "eyJ[A-Za-z0-9_-]{5,40}", after in ".*") {
            let shown = redact(&format!("{before} {token} {after}"), []);
            prop_assert!(!shown.contains("eyJ"), "{shown}");
        }

        #[test]
        fn classifying_never_panics(exception in ".*", message in ".*", status in 100_u16..600) {
            let _failure = refused(&exception, &message, status);
        }
    }
}
