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
fn bare_name(exception: &str) -> &str {
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
