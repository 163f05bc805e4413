//! The pool's public keys (RFC 7517), and when they may be fetched again.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use jsonwebtoken::DecodingKey;
use serde::{Deserialize, Serialize};

/// A key that the set does not hold makes it be fetched again at most this often: an attacker who can send tokens must
/// not be able to make us call.
const REFETCH_PAUSE: Duration = Duration::from_secs(300);

/// What was read is no key set, or holds no RSA key for signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no key set with an RSA key for signatures in it")]
pub struct NoKeySet;

/// The RSA keys of a key set, by their `kid`.
#[derive(Clone)]
pub struct KeySet {
    keys: BTreeMap<String, (Jwk, DecodingKey)>,
}

/// What of a key is used, and kept.
#[derive(Clone, Serialize, Deserialize)]
struct Jwk {
    #[serde(default)]
    kid: String,
    kty: String,
    #[serde(rename = "use", default, skip_serializing_if = "Option::is_none")]
    usage: Option<String>,
    n: String,
    e: String,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a JWK set; keys of other kinds are passed over, whatever they look like (RFC 7517 §5).
    ///
    /// # Errors
    /// Where nothing usable is in it.
    pub fn parse(json: &[u8]) -> Result<Self, NoKeySet> {
        let document: Document = serde_json::from_slice(json).map_err(|_| NoKeySet)?;
        let mut keys = BTreeMap::new();
        for value in document.keys {
            let Ok(jwk) = serde_json::from_value::<Jwk>(value) else { continue };
            if jwk.kty != "RSA" || jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
                continue;
            }
            if let Ok(key) = DecodingKey::from_rsa_components(&jwk.n, &jwk.e) {
                keys.insert(jwk.kid.clone(), (jwk, key));
            }
        }
        if keys.is_empty() { Err(NoKeySet) } else { Ok(Self { keys }) }
    }

    /// The same as JSON, for the store.
    #[must_use]
    pub fn to_json(&self) -> String {
        let keys: Vec<_> = self.keys.values().map(|(jwk, _)| jwk).collect();
        serde_json::json!({ "keys": keys }).to_string()
    }

    /// The key that a token names.
    pub(super) fn key(&self, key_id: &str) -> Option<&DecodingKey> {
        self.keys.get(key_id).map(|(_, key)| key)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

/// The key set in use, and what is known about its age.
#[derive(Debug, Default)]
pub(super) struct Keys {
    current: Option<Arc<KeySet>>,
    /// When it was fetched, on the clock since boot; `None` where it came from the store.
    fetched: Option<Duration>,
    /// Whether a token named a key that it lacks.
    outdated: bool,
}

impl Keys {
    /// The key set to verify the next answer with, or `None` where one has to be fetched first. `stored` serves where
    /// there is no other.
    pub(super) fn ready(&mut self, stored: Option<&str>) -> Option<Arc<KeySet>> {
        if self.outdated {
            return None;
        }
        if self.current.is_none() {
            self.current = stored.and_then(|json| KeySet::parse(json.as_bytes()).ok()).map(Arc::new);
        }
        self.current.clone()
    }

    /// Notes that the set lacks a key, and says whether it may be fetched again for that at `now`.
    pub(super) fn lacks_a_key(&mut self, now: Duration) -> bool {
        let again = self.fetched.is_none_or(|fetched| now.saturating_sub(fetched) >= REFETCH_PAUSE);
        self.outdated |= again;
        again
    }

    /// Takes a set that was just fetched.
    pub(super) fn fetched(&mut self, set: KeySet, now: Duration) -> Arc<KeySet> {
        let set = Arc::new(set);
        *self = Self { current: Some(Arc::clone(&set)), fetched: Some(now), outdated: false };
        set
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::fixtures::{POOL, STRANGER},
        *,
    };

    #[test]
    fn only_rsa_keys_for_signatures_are_taken_and_the_rest_is_passed_over() {
        let mut encryption = POOL.jwk("encryption");
        encryption["use"] = json!("enc");
        let document = json!({ "keys": [
            { "kty": "EC", "kid": "ec", "crv": "P-256", "x": "AA", "y": "AA" },
            { "kty": "something new", "kid": "new" },
            "nonsense",
            encryption,
            POOL.jwk("a+/="),
            STRANGER.jwk("b"),
        ]});
        let set = KeySet::parse(document.to_string().as_bytes()).expect("two keys");
        assert_eq!(format!("{set:?}"), r#"{"a+/=", "b"}"#);
        let again = KeySet::parse(set.to_json().as_bytes()).expect("the same");
        assert_eq!(again.to_json(), set.to_json());
        assert!(again.key("a+/=").is_some() && again.key("encryption").is_none() && again.key("").is_none());
    }

    #[test]
    fn what_is_no_key_set_is_refused() {
        for json in ["", "<html>", "{}", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"RSA"}]}"#, r#"{"keys":{}}"#] {
            assert_eq!(KeySet::parse(json.as_bytes()).err(), Some(NoKeySet), "{json}");
        }
    }

    #[test]
    fn a_missing_key_makes_the_set_be_fetched_at_most_once_in_five_minutes() {
        let at = Duration::from_secs;
        let mut keys = Keys::default();
        assert!(keys.ready(None).is_none(), "nothing to begin with");
        assert!(keys.ready(Some("nonsense")).is_none());
        assert!(keys.ready(Some(&POOL.jwks())).is_some(), "the stored one serves");
        assert!(keys.lacks_a_key(at(1000)), "a stored one may be old");
        assert!(keys.ready(Some(&POOL.jwks())).is_none(), "and is not used again");

        let set = KeySet::parse(STRANGER.jwks().as_bytes()).expect("a set");
        keys.fetched(set.clone(), at(1000));
        assert!(keys.ready(Some(&POOL.jwks())).expect("the fetched one").key("stranger").is_some());
        assert!(!keys.lacks_a_key(at(1299)));
        assert!(keys.ready(None).is_some(), "what may not be fetched again stays in use");
        assert!(keys.lacks_a_key(at(1300)));
        assert!(keys.ready(None).is_none());
    }
}
