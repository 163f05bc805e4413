//! Randomness in the shapes that Cognito uses.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};

/// `N` random bytes.
#[expect(clippy::expect_used, reason = "AWS-LC's generator aborts the process rather than report a failure")]
pub(super) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the generator never fails");
    bytes
}

/// A random UUID (RFC 9562 §5.4), which is what Cognito's `sub`, `jti` and `origin_jti` are.
pub(super) fn uuid() -> String {
    let mut raw: [u8; 16] = bytes();
    raw[6] = (raw[6] & 0x0f) | 0x40;
    raw[8] = (raw[8] & 0x3f) | 0x80;
    let number = u128::from_be_bytes(raw);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        number >> 96,
        (number >> 80) & 0xffff,
        (number >> 64) & 0xffff,
        (number >> 48) & 0xffff,
        number & 0xffff_ffff_ffff
    )
}

/// A key id as AWS writes them: base64 with padding. Both characters that URLs and file names treat specially are
/// always in it, so that code which mistakes it for `base64url` fails here and not only on some user pools.
pub(super) fn kid() -> String {
    loop {
        let kid = STANDARD.encode(bytes::<32>());
        if kid.contains('+') && kid.contains('/') {
            return kid;
        }
    }
}

/// A refresh token that looks like Cognito's: an encrypted JWE in compact form (RFC 7516 §7.1), about 1 kB, that
/// nobody but its issuer can read.
pub(super) fn refresh_token() -> String {
    let header = URL_SAFE_NO_PAD.encode(r#"{"cty":"JWT","enc":"A256GCM","alg":"RSA-OAEP"}"#);
    let key = URL_SAFE_NO_PAD.encode(bytes::<256>());
    let nonce = URL_SAFE_NO_PAD.encode(bytes::<12>());
    let ciphertext = URL_SAFE_NO_PAD.encode(bytes::<480>());
    let tag = URL_SAFE_NO_PAD.encode(bytes::<16>());
    format!("{header}.{key}.{nonce}.{ciphertext}.{tag}")
}

/// SHA-256 of `bytes`.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    digest
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|octet| [octet >> 4, octet & 0xf])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refresh_tokens_look_like_cognitos() {
        let token = refresh_token();
        assert!(token.starts_with("eyJjdHki"));
        assert_eq!(token.split('.').count(), 5);
        assert!((1000..1800).contains(&token.len()), "{}", token.len());
        assert_ne!(token, refresh_token());
    }

    #[test]
    fn uuids_are_of_version_4() {
        let uuid = uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(matches!(uuid.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
    }
}
