//! The documents of the control socket, as both of its ends write and read them.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::{clock::UnixTime, secret::Secret, session::TokenKind};

/// A reply that is no success (RFC 9457), as both ends know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{}", if detail.is_empty() { code } else { detail })]
pub struct Problem {
    /// What a person reads first.
    pub title: String,
    status: u16,
    /// The stable word: a [`crate::reply::Code`], or one of the control socket's own.
    pub code: String,
    /// One sentence on what happened.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// The command to run, or the key to set.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

impl Problem {
    /// A problem with this status and code.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, detail: &str, fix: &str) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or("Refused").to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.to_owned(),
            fix: fix.to_owned(),
        }
    }

    /// The status of the reply.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// A token that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedToken {
    /// Which of the two.
    pub kind: TokenKind,
    /// The JWT.
    pub jwt: Secret,
    /// Its `exp`.
    pub expires_at: UnixTime,
    /// How long it is good on this machine's clocks, in whole seconds.
    pub expires_in: Duration,
    /// What the caller should be told beside it: that less than `min_ttl` is left, and why.
    pub warning: Option<String>,
}

/// The body of `POST /token`. Without it the ID token is meant, with `inject.min_ttl` left.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenRequest {
    #[serde(default = "id")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_ttl_ms: Option<u64>,
}

fn id() -> String {
    TokenKind::Id.as_str().to_owned()
}

fn kind_of(word: &str) -> Option<TokenKind> {
    [TokenKind::Id, TokenKind::Access].into_iter().find(|kind| kind.as_str() == word)
}

impl TokenRequest {
    pub(super) fn new(kind: TokenKind, min_ttl: Option<Duration>) -> Self {
        let millis = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self { kind: kind.as_str().to_owned(), min_ttl_ms: min_ttl.map(millis) }
    }

    pub(super) fn parse(body: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(if body.trim().is_empty() { "{}" } else { body })
    }

    pub(super) fn kind(&self) -> Option<TokenKind> {
        kind_of(&self.kind)
    }

    pub(super) fn min_ttl(&self) -> Option<Duration> {
        self.min_ttl_ms.map(Duration::from_millis)
    }
}

/// The answer to `POST /token`. It is written and read in one place each, and holds the token only in between.
#[derive(Serialize, Deserialize)]
pub(super) struct TokenReply {
    kind: String,
    token: String,
    /// RFC 3339, in whole seconds, which is how a JWT states its `exp`.
    expires_at: String,
    expires_in_s: u64,
    #[serde(default)]
    warning: Option<String>,
}

impl From<IssuedToken> for TokenReply {
    fn from(issued: IssuedToken) -> Self {
        Self {
            kind: issued.kind.as_str().to_owned(),
            token: issued.jwt.expose().to_owned(),
            expires_at: issued.expires_at.to_string(),
            expires_in_s: issued.expires_in.as_secs(),
            warning: issued.warning,
        }
    }
}

impl TokenReply {
    /// `None` where it says something that this version does not know.
    pub(super) fn into_issued(mut self) -> Option<IssuedToken> {
        let expires_at: jiff::Timestamp = self.expires_at.parse().ok()?;
        Some(IssuedToken {
            kind: kind_of(&self.kind)?,
            jwt: Secret::new(std::mem::take(&mut self.token)),
            expires_at: UnixTime::from_secs(expires_at.as_second()),
            expires_in: Duration::from_secs(self.expires_in_s),
            warning: self.warning.take(),
        })
    }
}

impl Drop for TokenReply {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.token);
    }
}

/// The answer to `POST /reload`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The keys whose change takes effect at the next start only.
    pub needs_restart: Vec<String>,
}
