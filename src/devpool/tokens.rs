//! What a sign-in or a refresh grants, and how it is written: claims as AWS writes them, signed, or bent by a lie.

use serde_json::{Map, Value, json};

use super::{
    exception::Exception,
    jwt,
    keys::{KeySet, SigningKey},
    lie::Lie,
    random,
    settings::Validity,
};
use crate::{clock::UnixTime, session::TokenKind};

/// Tokens that have been granted and are not written yet.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) issuer: String,
    pub(super) client_id: String,
    pub(super) validity: Validity,
    pub(super) sub: String,
    pub(super) username: String,
    pub(super) email: String,
    pub(super) scope: String,
    pub(super) auth_time: UnixTime,
    pub(super) issued_at: UnixTime,
    pub(super) origin_jti: Option<String>,
    /// What the authorization request named; in the ID token of the sign-in alone.
    pub(super) nonce: Option<String>,
    pub(super) refresh_token: Option<String>,
    pub(super) rotation: RotationStep,
    pub(super) device: Option<Device>,
}

/// A device that Cognito remembers, or will once it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Device {
    /// `DeviceKey`.
    pub(super) key: String,
    /// `DeviceGroupKey`.
    pub(super) group_key: String,
    /// Whether `ConfirmDevice` was called for it.
    pub(super) confirmed: bool,
}

/// What a refresh did to its refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotationStep {
    /// Nothing: the client does not rotate.
    Off,
    /// It was used up, and a new one came.
    Rotated,
    /// It had been used up, and another new one came because the grace period was not over.
    RetriedInGrace,
}

/// Granted tokens, written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) id_token: String,
    pub(super) access_token: String,
}

impl Grant {
    /// Both JWTs.
    pub(super) fn write(&self, keys: &KeySet, lie: Option<&Lie>) -> Result<Written, Exception> {
        Ok(Written {
            id_token: self.token(TokenKind::Id, keys, lie)?,
            access_token: self.token(TokenKind::Access, keys, lie)?,
        })
    }

    /// The `AuthenticationResult` of the answer.
    pub(super) fn authentication_result(&self, keys: &KeySet, lie: Option<&Lie>) -> Result<Value, Exception> {
        let written = self.write(keys, lie)?;
        let mut result = json!({
            "AccessToken": written.access_token,
            "ExpiresIn": self.validity.access.as_secs(),
            "IdToken": written.id_token,
            "TokenType": "Bearer",
        });
        if let Some(refresh_token) = &self.refresh_token {
            result["RefreshToken"] = json!(refresh_token);
        }
        if let Some(device) = self.device.as_ref().filter(|device| !device.confirmed) {
            result["NewDeviceMetadata"] = json!({"DeviceKey": device.key, "DeviceGroupKey": device.group_key});
        }
        if let (Some(lie), Some(fields)) = (lie, result.as_object_mut()) {
            lie.bend_result(fields);
        }
        Ok(result)
    }

    fn token(&self, kind: TokenKind, keys: &KeySet, lie: Option<&Lie>) -> Result<String, Exception> {
        let key = keys.signing(kind);
        let mut claims = match kind {
            TokenKind::Id => self.id_claims(),
            TokenKind::Access => self.access_claims(),
        };
        if let Some(lie) = lie {
            lie.bend_claims(kind, &mut claims);
        }
        seal(key, &Value::Object(claims), lie)
    }

    fn common_claims(&self, kind: TokenKind) -> Map<String, Value> {
        let validity = match kind {
            TokenKind::Id => self.validity.id,
            TokenKind::Access => self.validity.access,
        };
        let mut claims = Map::new();
        claims.insert("sub".into(), json!(self.sub));
        claims.insert("iss".into(), json!(self.issuer));
        claims.insert("token_use".into(), json!(kind.as_str()));
        claims.insert("auth_time".into(), json!(self.auth_time.as_secs()));
        claims.insert("iat".into(), json!(self.issued_at.as_secs()));
        claims.insert("exp".into(), json!((self.issued_at + validity).as_secs()));
        claims.insert("jti".into(), json!(random::uuid()));
        if let Some(origin_jti) = &self.origin_jti {
            claims.insert("origin_jti".into(), json!(origin_jti));
        }
        claims
    }

    fn id_claims(&self) -> Map<String, Value> {
        let mut claims = self.common_claims(TokenKind::Id);
        claims.insert("aud".into(), json!(self.client_id));
        claims.insert("cognito:username".into(), json!(self.username));
        claims.insert("email".into(), json!(self.email));
        claims.insert("email_verified".into(), json!(true));
        if let Some(nonce) = &self.nonce {
            claims.insert("nonce".into(), json!(nonce));
        }
        claims
    }

    fn access_claims(&self) -> Map<String, Value> {
        let mut claims = self.common_claims(TokenKind::Access);
        claims.insert("client_id".into(), json!(self.client_id));
        claims.insert("username".into(), json!(self.username));
        claims.insert("scope".into(), json!(self.scope));
        claims
    }
}

/// Signs the claims with the kind's own key, or as the lie has it.
fn seal(key: &SigningKey, claims: &Value, lie: Option<&Lie>) -> Result<String, Exception> {
    let kid = if lie == Some(&Lie::UnknownKid) { random::kid() } else { key.kid().to_owned() };
    let sign = |message: &str| key.sign(message.as_bytes()).map_err(|_| Exception::internal());
    match lie {
        Some(Lie::AlgorithmNone) => {
            let signed = jwt::to_be_signed(&json!({"kid": kid, "alg": "none"}), claims);
            Ok(jwt::sealed(&signed, &[]))
        }
        Some(Lie::Hs256) => {
            // The old attack: the public key, which everybody knows, taken for an HMAC secret (RFC 8725 §2.1).
            let signed = jwt::to_be_signed(&json!({"kid": kid, "alg": "HS256"}), claims);
            let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key.public_der());
            Ok(jwt::sealed(&signed, aws_lc_rs::hmac::sign(&hmac, signed.as_bytes()).as_ref()))
        }
        Some(Lie::BadSignature) => {
            let signed = jwt::to_be_signed(&json!({"kid": kid, "alg": "RS256"}), claims);
            let mut signature = sign(&signed)?;
            for octet in signature.iter_mut().take(1) {
                *octet ^= 1;
            }
            Ok(jwt::sealed(&signed, &signature))
        }
        _ => {
            let signed = jwt::to_be_signed(&json!({"kid": kid, "alg": "RS256"}), claims);
            Ok(jwt::sealed(&signed, &sign(&signed)?))
        }
    }
}
