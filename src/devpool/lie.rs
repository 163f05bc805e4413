//! Answers that arrive with 200 and are not what they must be.

use serde_json::{Map, Value, json};

use super::random;
use crate::session::TokenKind;

/// One thing that is wrong with the tokens of an answer, or with the answer around them. Claims and signatures are bent
/// in both tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Another user's `sub`.
    Subject,
    /// Another pool's `iss`.
    Issuer,
    /// Another client in `aud` and `client_id`.
    Audience,
    /// The access token where the ID token belongs, and the other way round, in `token_use` alone.
    TokenUse,
    /// `alg: none`, without a signature.
    AlgorithmNone,
    /// `alg: HS256`, keyed with the public key.
    Hs256,
    /// A signature with one bit turned over.
    BadSignature,
    /// A `kid` that the key set does not have.
    UnknownKid,
    /// Another sign-in's `nonce`.
    Nonce,
    /// `exp` an hour ago, and `iat` a lifetime before that.
    Expired,
    /// `iat` alone moved by so many seconds.
    IssuedAt(i64),
    /// `exp` alone moved by so many seconds.
    ExpiresAt(i64),
    /// `iat` and `exp` moved by so many seconds; the `Date` header stays.
    Times(i64),
    /// The `Date` header moved by so many seconds; the tokens stay.
    Date(i64),
    /// No `IdToken`.
    NoIdToken,
    /// No `AccessToken`.
    NoAccessToken,
    /// No `ExpiresIn`.
    NoExpiresIn,
    /// `ExpiresIn` of so many seconds, whatever the tokens say.
    ExpiresIn(i64),
    /// Custom attributes that make the ID token about so many characters long.
    LongIdToken(usize),
    /// No `AuthenticationResult`.
    NoResult,
    /// A body that is no JSON, under the right content type.
    NotJson,
}

impl Lie {
    /// How far the `Date` header is off, in milliseconds.
    pub(super) fn date_shift_millis(&self) -> i64 {
        match self {
            Self::Date(seconds) => seconds.saturating_mul(1000),
            _ => 0,
        }
    }

    /// Bends the claims of the token of `kind`.
    pub(super) fn bend_claims(&self, kind: TokenKind, claims: &mut Map<String, Value>) {
        let mut shift = |claim: &str, seconds: i64| {
            if let Some(time) = claims.get_mut(claim) {
                *time = json!(time.as_i64().unwrap_or_default().saturating_add(seconds));
            }
        };
        match self {
            Self::Subject => drop(claims.insert("sub".into(), json!(random::uuid()))),
            Self::Issuer => {
                let other = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AnotherOne";
                claims.insert("iss".into(), json!(other));
            }
            Self::Audience => {
                let claim = if kind == TokenKind::Id { "aud" } else { "client_id" };
                claims.insert(claim.into(), json!("another0app0client00000000"));
            }
            Self::Nonce => drop(claims.insert("nonce".into(), json!(random::uuid()))),
            Self::TokenUse => {
                let other = if kind == TokenKind::Id { TokenKind::Access } else { TokenKind::Id };
                claims.insert("token_use".into(), json!(other.as_str()));
            }
            Self::Expired => {
                let time = |claim: &str| claims.get(claim).and_then(Value::as_i64).unwrap_or_default();
                let lifetime = time("exp").saturating_sub(time("iat"));
                let expires_at = time("iat").saturating_sub(3600);
                claims.insert("exp".into(), json!(expires_at));
                claims.insert("iat".into(), json!(expires_at.saturating_sub(lifetime)));
            }
            Self::IssuedAt(seconds) => shift("iat", *seconds),
            Self::ExpiresAt(seconds) => shift("exp", *seconds),
            Self::Times(seconds) => {
                shift("iat", *seconds);
                shift("exp", *seconds);
            }
            Self::LongIdToken(length) if kind == TokenKind::Id => {
                // Three octets become four characters (RFC 4648 §4); the other claims and the signature make 1 kB.
                let octets = length.saturating_sub(1000) / 4 * 3;
                claims.insert("custom:padding".into(), json!("x".repeat(octets)));
            }
            _ => {}
        }
    }

    /// Bends the fields of the `AuthenticationResult`.
    pub(super) fn bend_result(&self, fields: &mut Map<String, Value>) {
        match self {
            Self::NoIdToken => drop(fields.remove("IdToken")),
            Self::NoAccessToken => drop(fields.remove("AccessToken")),
            Self::NoExpiresIn => drop(fields.remove("ExpiresIn")),
            Self::ExpiresIn(seconds) => drop(fields.insert("ExpiresIn".into(), json!(seconds))),
            _ => {}
        }
    }
}
