//! The record's form on disk: a private mirror of [`Session`] in JSON, with a schema number and a checksum.
//!
//! Times are milliseconds since the epoch and ages are milliseconds. Every change of a field raises [`SCHEMA`]: the
//! checksum covers exactly the fields that are known, so that a record that lost a bit is told from one that is whole.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    clock::{Now, UnixTime},
    secret::Secret,
    session::{
        Claims, Device, EndReason, LastRefresh, Notes, Observed, Origin, Outcome, Session, Token, TokenKind,
        warning::Raised,
    },
};

/// The schema that this version writes, and the newest that it reads.
pub(super) const SCHEMA: u32 = 1;

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// They are damaged, or never were one.
    Corrupt(&'static str),
    /// A newer version wrote them.
    Newer(u32),
}

#[derive(Deserialize)]
struct Versioned {
    schema: u32,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    schema: u32,
    /// SHA-256 of `session` as compact JSON, in base64.
    sha256: String,
    session: Record,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    generation: u64,
    user_pool_id: String,
    client_id: String,
    subject: String,
    username: String,
    refresh_token: Hidden,
    id_token: TokenRecord,
    access_token: Option<TokenRecord>,
    auth_time_ms: Option<i64>,
    origin: OriginName,
    device: Option<DeviceRecord>,
    notes: NotesRecord,
    jwks: Option<String>,
}

/// A secret on its way to and from the disk, and nowhere else.
struct Hidden(Secret);

impl Serialize for Hidden {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text)))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRecord {
    jwt: Hidden,
    kind: KindName,
    subject: String,
    username: String,
    issuer: String,
    client_id: String,
    issued_at_ms: i64,
    expires_at_ms: i64,
    auth_time_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindName {
    Id,
    Access,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OriginName {
    Login,
    Import,
    Credential,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceRecord {
    key: String,
    group_key: Option<String>,
    password: Option<Hidden>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NotesRecord {
    ended: Option<ReasonRecord>,
    locked: bool,
    warned: Option<RaisedRecord>,
    accepted_at_ms: Option<u64>,
    refused_at_ms: Option<u64>,
    learnt_ms: Option<u64>,
    disproved: bool,
    last_refresh: Option<LastRefreshRecord>,
    seed: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ReasonRecord {
    Expired,
    Revoked,
    UserDisabled,
    UserDeleted,
    PasswordResetRequired,
    UserNotConfirmed,
    RotatedTokenLost,
    Refused(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RaisedRecord {
    threshold_ms: u64,
    expiry_ms: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LastRefreshRecord {
    at_ms: i64,
    outcome: OutcomeName,
    error: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutcomeName {
    Ok,
    Transient,
    Throttled,
    Rejected,
}

/// The record of `session`, ready to be written.
pub(super) fn encode(session: &Session) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let session = Record::from(session);
    let envelope = Envelope { schema: SCHEMA, sha256: checksum(&session)?, session };
    let mut bytes = Zeroizing::new(serde_json::to_vec_pretty(&envelope)?);
    bytes.push(b'\n');
    Ok(bytes)
}

/// The session in a record. Its tokens count as received `now`: the time since boot of another boot means nothing.
pub(super) fn decode(bytes: &[u8], now: Now) -> Result<Session, Unreadable> {
    read(bytes).map(|record| record.session(now))
}

/// Whether a record is whole.
pub(super) fn check(bytes: &[u8]) -> Result<(), Unreadable> {
    read(bytes).map(|_| ())
}

/// The session of a record that lacks its envelope, for whoever cannot make a checksum.
#[cfg(any(test, fuzzing))]
pub(super) fn unsealed(bytes: &[u8], now: Now) -> Option<Session> {
    serde_json::from_slice(bytes).ok().map(|record: Record| record.session(now))
}

fn read(bytes: &[u8]) -> Result<Record, Unreadable> {
    let Versioned { schema } =
        serde_json::from_slice(bytes).map_err(|_| Unreadable::Corrupt("it is no JSON with a schema number"))?;
    if schema > SCHEMA {
        return Err(Unreadable::Newer(schema));
    }
    let envelope: Envelope =
        serde_json::from_slice(bytes).map_err(|_| Unreadable::Corrupt("it lacks a field, or has a wrong one"))?;
    if checksum(&envelope.session).ok().as_ref() != Some(&envelope.sha256) || schema != SCHEMA {
        return Err(Unreadable::Corrupt("its checksum is wrong"));
    }
    Ok(envelope.session)
}

fn checksum(record: &Record) -> Result<String, serde_json::Error> {
    let bytes = Zeroizing::new(serde_json::to_vec(record)?);
    let digest = digest::digest(&digest::SHA256, &bytes);
    Ok(STANDARD.encode(digest))
}

impl From<&Session> for Record {
    fn from(session: &Session) -> Self {
        Self {
            generation: session.generation,
            user_pool_id: session.user_pool_id.clone(),
            client_id: session.client_id.clone(),
            subject: session.subject.clone(),
            username: session.username.clone(),
            refresh_token: Hidden(session.refresh_token.clone()),
            id_token: TokenRecord::from(&session.id_token),
            access_token: session.access_token.as_ref().map(TokenRecord::from),
            auth_time_ms: session.auth_time.map(UnixTime::as_millis),
            origin: match session.origin {
                Origin::Login => OriginName::Login,
                Origin::Import => OriginName::Import,
                Origin::Credential => OriginName::Credential,
            },
            device: session.device.as_ref().map(|device| DeviceRecord {
                key: device.key.clone(),
                group_key: device.group_key.clone(),
                password: device.password.clone().map(Hidden),
            }),
            notes: NotesRecord::from(&session.notes),
            jwks: session.jwks.clone(),
        }
    }
}

impl Record {
    fn session(self, now: Now) -> Session {
        Session {
            user_pool_id: self.user_pool_id,
            client_id: self.client_id,
            subject: self.subject,
            username: self.username,
            refresh_token: self.refresh_token.0,
            id_token: self.id_token.token(now),
            access_token: self.access_token.map(|token| token.token(now)),
            auth_time: self.auth_time_ms.map(UnixTime::from_millis),
            origin: match self.origin {
                OriginName::Login => Origin::Login,
                OriginName::Import => Origin::Import,
                OriginName::Credential => Origin::Credential,
            },
            device: self.device.map(|device| Device {
                key: device.key,
                group_key: device.group_key,
                password: device.password.map(|Hidden(password)| password),
            }),
            generation: self.generation,
            notes: self.notes.notes(),
            jwks: self.jwks,
        }
    }
}

impl From<&Token> for TokenRecord {
    fn from(token: &Token) -> Self {
        Self {
            jwt: Hidden(token.jwt.clone()),
            kind: match token.claims.kind {
                TokenKind::Id => KindName::Id,
                TokenKind::Access => KindName::Access,
            },
            subject: token.claims.subject.clone(),
            username: token.claims.username.clone(),
            issuer: token.claims.issuer.clone(),
            client_id: token.claims.client_id.clone(),
            issued_at_ms: token.claims.issued_at.as_millis(),
            expires_at_ms: token.claims.expires_at.as_millis(),
            auth_time_ms: token.claims.auth_time.map(UnixTime::as_millis),
        }
    }
}

impl TokenRecord {
    fn token(self, now: Now) -> Token {
        let claims = Claims {
            kind: match self.kind {
                KindName::Id => TokenKind::Id,
                KindName::Access => TokenKind::Access,
            },
            subject: self.subject,
            username: self.username,
            issuer: self.issuer,
            client_id: self.client_id,
            issued_at: UnixTime::from_millis(self.issued_at_ms),
            expires_at: UnixTime::from_millis(self.expires_at_ms),
            auth_time: self.auth_time_ms.map(UnixTime::from_millis),
        };
        Token { jwt: self.jwt.0, claims, received: now }
    }
}

impl From<&Notes> for NotesRecord {
    fn from(notes: &Notes) -> Self {
        let Observed { accepted_at, refused_at, learnt, disproved } = notes.observed;
        Self {
            ended: notes.ended.as_ref().map(|reason| match reason {
                EndReason::Expired => ReasonRecord::Expired,
                EndReason::Revoked => ReasonRecord::Revoked,
                EndReason::UserDisabled => ReasonRecord::UserDisabled,
                EndReason::UserDeleted => ReasonRecord::UserDeleted,
                EndReason::PasswordResetRequired => ReasonRecord::PasswordResetRequired,
                EndReason::UserNotConfirmed => ReasonRecord::UserNotConfirmed,
                EndReason::RotatedTokenLost => ReasonRecord::RotatedTokenLost,
                EndReason::Refused(message) => ReasonRecord::Refused(message.clone()),
            }),
            locked: notes.locked,
            warned: notes.warned.map(|raised| RaisedRecord {
                threshold_ms: millis(raised.threshold),
                expiry_ms: raised.expiry.as_millis(),
            }),
            accepted_at_ms: accepted_at.map(millis),
            refused_at_ms: refused_at.map(millis),
            learnt_ms: learnt.map(millis),
            disproved,
            last_refresh: notes.last_refresh.as_ref().map(|last| LastRefreshRecord {
                at_ms: last.at.as_millis(),
                outcome: match last.outcome {
                    Outcome::Ok => OutcomeName::Ok,
                    Outcome::Transient => OutcomeName::Transient,
                    Outcome::Throttled => OutcomeName::Throttled,
                    Outcome::Rejected => OutcomeName::Rejected,
                },
                error: last.error.clone(),
            }),
            seed: notes.seed.clone(),
        }
    }
}

impl NotesRecord {
    fn notes(self) -> Notes {
        Notes {
            ended: self.ended.map(|reason| match reason {
                ReasonRecord::Expired => EndReason::Expired,
                ReasonRecord::Revoked => EndReason::Revoked,
                ReasonRecord::UserDisabled => EndReason::UserDisabled,
                ReasonRecord::UserDeleted => EndReason::UserDeleted,
                ReasonRecord::PasswordResetRequired => EndReason::PasswordResetRequired,
                ReasonRecord::UserNotConfirmed => EndReason::UserNotConfirmed,
                ReasonRecord::RotatedTokenLost => EndReason::RotatedTokenLost,
                ReasonRecord::Refused(message) => EndReason::Refused(message),
            }),
            locked: self.locked,
            warned: self.warned.map(|raised| Raised {
                threshold: Duration::from_millis(raised.threshold_ms),
                expiry: UnixTime::from_millis(raised.expiry_ms),
            }),
            observed: Observed {
                accepted_at: self.accepted_at_ms.map(Duration::from_millis),
                refused_at: self.refused_at_ms.map(Duration::from_millis),
                learnt: self.learnt_ms.map(Duration::from_millis),
                disproved: self.disproved,
            },
            last_refresh: self.last_refresh.map(|last| LastRefresh {
                at: UnixTime::from_millis(last.at_ms),
                outcome: match last.outcome {
                    OutcomeName::Ok => Outcome::Ok,
                    OutcomeName::Transient => Outcome::Transient,
                    OutcomeName::Throttled => Outcome::Throttled,
                    OutcomeName::Rejected => Outcome::Rejected,
                },
                error: last.error,
            }),
            seed: self.seed,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
