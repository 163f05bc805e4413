//! JWTs in compact form (RFC 7519, RFC 7515 §7.1): written, read, and checked against the pool's keys.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// A token taken apart. Nothing of it has been checked.
#[derive(Clone, Debug)]
pub(super) struct Parts<'a> {
    /// The JOSE header.
    pub(super) header: Value,
    /// The claims.
    pub(super) claims: Value,
    /// What the signature is over.
    pub(super) signed: &'a [u8],
    /// The signature; empty where there is none.
    pub(super) signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    /// Takes `token` apart, or says that it is no JWT.
    pub(super) fn of(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some(Self {
            header: json(header)?,
            claims: json(claims)?,
            signed: signed.as_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// A header parameter that is a string.
    pub(super) fn header(&self, name: &str) -> &str {
        self.header.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A claim that is a string.
    pub(super) fn claim(&self, name: &str) -> &str {
        self.claims.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A claim that is a whole number.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.claims.get(name).and_then(Value::as_i64)
    }
}

/// Header and claims, joined as the signature wants them.
pub(super) fn to_be_signed(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// The whole token.
pub(super) fn sealed(signed: &str, signature: &[u8]) -> String {
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn json(part: &str) -> Option<Value> {
    let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()?;
    value.is_object().then_some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let signed = to_be_signed(&json!({"alg": "RS256"}), &json!({"sub": "s", "exp": 7}));
        let token = sealed(&signed, b"signature");
        let parts = Parts::of(&token).expect("a JWT");
        assert_eq!(parts.header("alg"), "RS256");
        assert_eq!((parts.claim("sub"), parts.number("exp")), ("s", Some(7)));
        assert_eq!((parts.signed, parts.signature.as_slice()), (signed.as_bytes(), &b"signature"[..]));
    }

    #[test]
    fn a_jwe_and_garbage_are_no_jwt() {
        for text in ["", "a.b.c", "eyJ.eyJ.", &super::super::random::refresh_token()] {
            assert!(Parts::of(text).is_none(), "{text}");
        }
    }
}
