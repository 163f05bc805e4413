//! What holds for tokens and their claims, whatever bytes come: looked for by the fuzzer, and run on the seeds by a test.
//! Only in those builds.
#![allow(clippy::missing_panics_doc, clippy::panic, reason = "a property that does not hold fails loudly")]

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{
    jwks::KeySet,
    verify::{Expectation, Rejection, Signature, read_claims, verify},
};
use crate::session::{Claims, TokenKind};

/// A property by its name, with inputs to begin from.
pub type Target = (&'static str, fn(&[u8]), &'static [&'static str]);

/// Every property of this room.
pub const TARGETS: [Target; 1] = [("jwt", jwt, TOKENS)];

/// A token as it is, or a line of its header and the rest its claims, which are put together here: the fuzzer should
/// not have to learn base64.
const TOKENS: &[&str] = &[
    "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsifQ.eyJzdWIiOiI0ZjFjIn0.c2ln",
    "a.b.c",
    "{\"alg\":\"RS256\",\"kid\":\"k\"}\n{\"sub\":\"4f1c\",\"aud\":\"client\",\"iss\":\"https://issuer\",\"token_use\":\"id\",\
     \"cognito:username\":\"alice\",\"auth_time\":1000000,\"iat\":1003600,\"exp\":1007200}",
    "{\"alg\":\"RS256\",\"kid\":\"k\"}\n{\"sub\":\"4f1c\",\"client_id\":\"client\",\"iss\":\"https://issuer\",\
     \"token_use\":\"access\",\"username\":\"alice\",\"iat\":1003600.5,\"exp\":9e99}",
    "{\"alg\":\"none\"}\n{\"sub\":\"4f1c\",\"aud\":[\"client\"],\"iss\":\"i\",\"token_use\":\"id\",\"iat\":-1,\"exp\":0}",
    "{\"alg\":\"HS256\",\"kid\":\"k\"}\n{\"sub\":\"4f1c\",\"sub\":\"5\",\"aud\":[],\"token_use\":\"refresh\"}",
];

/// A public key whose private half nobody kept (RFC 7515, appendix A.2).
static KEYS: LazyLock<Option<KeySet>> = LazyLock::new(|| {
    let modulus = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-\
                   yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e\
                   -KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco\
                   9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
    KeySet::parse(
        format!(r#"{{"keys":[{{"kid":"k","kty":"RSA","use":"sig","n":"{modulus}","e":"AQAB"}}]}}"#).as_bytes(),
    )
    .ok()
});

/// What a token says of itself is what it is verified to say, nothing else will do, and no token of a stranger's is
/// ever taken for signed.
pub fn jwt(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let token = match text.split_once('\n') {
        Some((header, claims)) => {
            format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
        }
        None => text.to_owned(),
    };
    let expected = Expectation { issuer: "https://issuer", client_id: "client", kind: TokenKind::Id, subject: None };
    if let Some(keys) = &*KEYS {
        assert!(verify(&token, Signature::VerifiedBy(keys), &expected).is_err(), "{token}");
    }
    let read = read_claims(&token);
    let verified = verify(&token, Signature::Skipped, &expected);
    let Ok(claims) = read else {
        assert!(verified.is_err(), "{token}");
        return;
    };
    assert_eq!(token.matches('.').count(), 2, "{token}");
    assert!(claims.expires_at > claims.issued_at, "{token}");
    let its_own = Expectation {
        issuer: &claims.issuer,
        client_id: &claims.client_id,
        kind: claims.kind,
        subject: Some(&claims.subject),
    };
    match verify(&token, Signature::Skipped, &its_own) {
        Ok(again) => assert_eq!(again, claims),
        Err(error) => {
            assert!(matches!(error, Rejection::Algorithm | Rejection::Malformed(_)), "{token}: {error}");
            return;
        }
    }
    assert_eq!(verified.is_ok(), is_as_expected(&claims, &expected), "{token}");
    for other in [
        Expectation { issuer: "https://else", ..its_own },
        Expectation { client_id: "else", ..its_own },
        Expectation { subject: Some("else"), ..its_own },
        Expectation { kind: if claims.kind == TokenKind::Id { TokenKind::Access } else { TokenKind::Id }, ..its_own },
    ] {
        let is_it = is_as_expected(&claims, &other);
        assert_eq!(verify(&token, Signature::Skipped, &other).is_ok(), is_it, "{token}: {other:?}");
    }
}

fn is_as_expected(claims: &Claims, expected: &Expectation<'_>) -> bool {
    claims.issuer == expected.issuer
        && claims.client_id == expected.client_id
        && claims.kind == expected.kind
        && expected.subject.is_none_or(|subject| claims.subject == subject)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_seed_holds() {
        assert!(super::KEYS.is_some(), "the key is one");
        for (_, property, seeds) in super::TARGETS {
            for seed in seeds {
                property(seed.as_bytes());
            }
        }
    }
}
