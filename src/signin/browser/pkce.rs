//! What one attempt pledges: a verifier that only its redemption shows (RFC 7636), a `state` that its callback must
//! carry (RFC 6749 §10.12), a `nonce` that its ID token must name (`OpenID` Connect Core §3.1.2.1).

use std::fmt;

use aws_lc_rs::{digest, rand};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::secret::Secret;

/// The secrets of one attempt, each of 256 random bits.
pub(super) struct Pledge {
    /// `code_verifier`.
    pub(super) verifier: Secret,
    /// `state`.
    pub(super) state: String,
    /// `nonce`.
    pub(super) nonce: String,
}

impl Pledge {
    pub(super) fn new() -> Self {
        Self { verifier: Secret::new(random()), state: random(), nonce: random() }
    }

    /// `code_challenge` by the method S256 (RFC 7636 §4.2).
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, self.verifier.expose().as_bytes()))
    }
}

impl fmt::Debug for Pledge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pledge")
    }
}

/// 43 characters that a URL takes as they are.
#[expect(clippy::expect_used, reason = "AWS-LC's generator aborts the process rather than report a failure")]
fn random() -> String {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).expect("the generator never fails");
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        // RFC 7636, appendix B.
        let verifier = Secret::from("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        let pledge = Pledge { verifier, state: String::new(), nonce: String::new() };
        assert_eq!(pledge.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn nothing_is_pledged_twice() {
        let (one, other) = (Pledge::new(), Pledge::new());
        let all = [&one.state, &one.nonce, one.verifier.expose(), &other.state, &other.nonce, other.verifier.expose()];
        for (index, text) in all.iter().enumerate() {
            assert_eq!(text.len(), 43);
            assert!(!all[index + 1..].contains(text));
        }
        assert_eq!(format!("{one:?}"), "Pledge");
    }
}
