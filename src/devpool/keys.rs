//! The pool's signing keys: one for ID tokens, another for access tokens, as AWS has it.
//!
//! Keys are made once in a process and shared by all its pools: a 2048-bit key takes a good part of a second in a debug
//! build.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{self, KeyPair as _, UnparsedPublicKey},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::random;
use crate::session::TokenKind;

/// Every key set of this process, by generation.
static MADE: Mutex<Vec<Arc<KeySet>>> = Mutex::new(Vec::new());

/// AWS-LC could not make or use a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the crypto library could not make or use a 2048-bit RSA key")]
pub struct KeyError;

/// The two keys of one generation.
#[derive(Debug)]
pub(super) struct KeySet {
    id: SigningKey,
    access: SigningKey,
}

impl KeySet {
    /// The key set of `generation`, 0 being the first; made now where nobody asked for it before.
    ///
    /// Blocks for up to a second when it makes keys.
    pub(super) fn of_generation(generation: usize) -> Result<Arc<Self>, KeyError> {
        let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        while made.len() <= generation {
            let set = Self { id: SigningKey::generate()?, access: SigningKey::generate()? };
            made.push(Arc::new(set));
        }
        made.get(generation).cloned().ok_or(KeyError)
    }

    /// The key that signs tokens of `kind`.
    pub(super) fn signing(&self, kind: TokenKind) -> &SigningKey {
        match kind {
            TokenKind::Id => &self.id,
            TokenKind::Access => &self.access,
        }
    }

    /// The key of that id, if it is one of these.
    pub(super) fn by_kid(&self, kid: &str) -> Option<&SigningKey> {
        [&self.id, &self.access].into_iter().find(|key| key.kid == kid)
    }

    /// Both keys as a key set lists them (RFC 7517 §5).
    pub(super) fn jwks(&self) -> [Value; 2] {
        [self.id.jwk(), self.access.jwk()]
    }
}

/// One RSA key and its id.
pub(super) struct SigningKey {
    kid: String,
    pair: KeyPair,
    modulus: String,
    exponent: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl SigningKey {
    fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError)?;
        let (modulus, exponent) = integers(pair.public_key().as_ref()).ok_or(KeyError)?;
        let (modulus, exponent) = (URL_SAFE_NO_PAD.encode(modulus), URL_SAFE_NO_PAD.encode(exponent));
        Ok(Self { kid: random::kid(), pair, modulus, exponent })
    }

    /// The `kid` header of what it signs.
    pub(super) fn kid(&self) -> &str {
        &self.kid
    }

    /// `RSASSA-PKCS1-v1_5` with SHA-256: the `RS256` of RFC 7518 §3.3.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut made = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut made).map_err(|_| KeyError)?;
        Ok(made)
    }

    /// Whether this key made that signature.
    pub(super) fn is_signature(&self, message: &[u8], made: &[u8]) -> bool {
        UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, self.public_der()).verify(message, made).is_ok()
    }

    /// The public half, `RSAPublicKey` of RFC 8017 appendix A.1.1.
    pub(super) fn public_der(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn jwk(&self) -> Value {
        json!({
            "alg": "RS256", "e": self.exponent, "kid": self.kid, "kty": "RSA", "n": self.modulus, "use": "sig",
        })
    }
}

/// Modulus and exponent of an `RSAPublicKey`, without leading zeros, as a JWK wants them (RFC 7518 §6.3.1).
fn integers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let (inside, _) = element(SEQUENCE, der)?;
    let (modulus, rest) = element(INTEGER, inside)?;
    let (exponent, _) = element(INTEGER, rest)?;
    Some((without_zeros(modulus), without_zeros(exponent)))
}

/// The content of the first DER element, which must have that tag, and what follows it (X.690 §8.1).
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if first & 0x80 == 0 {
        (usize::from(*first), rest)
    } else {
        let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (octets.iter().try_fold(0_usize, |length, octet| length.checked_mul(256)?.checked_add((*octet).into()))?, rest)
    };
    (*found == tag).then(|| rest.split_at_checked(length))?
}

fn without_zeros(mut integer: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = integer {
        integer = rest;
    }
    integer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_keys_of_a_set_are_distinct_and_their_ids_are_plain_base64() {
        let keys = KeySet::of_generation(0).expect("keys");
        let [id, access] = keys.jwks();
        assert_ne!(id["n"], access["n"]);
        assert_ne!(id["kid"], access["kid"]);
        assert_eq!(id["e"], "AQAB");
        for kid in [id["kid"].as_str(), access["kid"].as_str()] {
            let kid = kid.expect("a string");
            assert!(kid.contains('+') && kid.contains('/') && kid.ends_with('='), "{kid}");
        }
    }

    #[test]
    fn a_key_knows_its_own_signature_alone() {
        let keys = KeySet::of_generation(0).expect("keys");
        let made = keys.signing(TokenKind::Id).sign(b"message").expect("signature");
        assert!(keys.signing(TokenKind::Id).is_signature(b"message", &made));
        assert!(!keys.signing(TokenKind::Id).is_signature(b"massage", &made));
        assert!(!keys.signing(TokenKind::Access).is_signature(b"message", &made));
    }

    #[test]
    fn truncated_der_is_no_key() {
        assert_eq!(integers(&[0x30, 0x82, 0x01]), None);
        assert_eq!(integers(&[0x30, 0x03, 0x02, 0x05, 0x01]), None);
        assert_eq!(integers(&[]), None);
    }
}
