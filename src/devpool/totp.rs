//! What an authenticator application shows (RFC 6238, with SHA-1, 30 seconds and 6 digits, as Cognito has it).

use aws_lc_rs::hmac;

use super::random;
use crate::{clock::UnixTime, secret::Secret};

/// RFC 4648 §6.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// How long a code is shown, in seconds.
const STEP: i64 = 30;

/// A secret as `AssociateSoftwareToken` gives one: base32 of 20 bytes, without padding.
pub(super) fn new_secret() -> Secret {
    let bytes: [u8; 20] = random::bytes();
    let bits = |index: usize| (0..5).fold(0_usize, |bits, bit| bits << 1 | bit_of(&bytes, index * 5 + bit));
    Secret::new((0..32).map(|index| char::from(ALPHABET[bits(index)])).collect())
}

fn bit_of(bytes: &[u8], bit: usize) -> usize {
    usize::from(bytes[bit / 8] >> (7 - bit % 8) & 1)
}

/// What an authenticator application shows at that time for a secret in base32.
#[must_use]
pub fn application_code(secret: &Secret, at: UnixTime) -> String {
    code(secret, step(at))
}

/// The time step that a code belongs to.
pub(super) fn step(now: UnixTime) -> u64 {
    u64::try_from(now.as_secs().div_euclid(STEP)).unwrap_or(0)
}

/// The step around `now` whose code this is: its own, or a neighbour's, since clocks differ.
pub(super) fn step_of(secret: &Secret, code: &str, now: UnixTime) -> Option<u64> {
    let now = step(now);
    (now.saturating_sub(1)..=now + 1).find(|step| self::code(secret, *step) == code)
}

/// The code of a step (RFC 4226 §5.3).
pub(super) fn code(secret: &Secret, step: u64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &decoded(secret));
    let mac = hmac::sign(&key, &step.to_be_bytes());
    let mac = mac.as_ref();
    let offset = usize::from(mac[mac.len() - 1] & 0xf);
    let word = mac[offset..offset + 4].iter().fold(0_u32, |word, octet| word << 8 | u32::from(*octet));
    format!("{:06}", (word & 0x7fff_ffff) % 1_000_000)
}

/// Base32 without padding; what is no digit counts for nothing, as applications have it.
fn decoded(secret: &Secret) -> Vec<u8> {
    let digit = |letter: u8| ALPHABET.iter().position(|known| *known == letter.to_ascii_uppercase());
    let (mut bytes, mut bits, mut length) = (Vec::new(), 0_u32, 0);
    for digit in secret.expose().bytes().filter_map(digit) {
        bits = bits << 5 | u32::try_from(digit).unwrap_or(0);
        length += 5;
        if length >= 8 {
            length -= 8;
            bytes.push(u8::try_from(bits >> length & 0xff).unwrap_or(0));
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, the last six of its eight digits.
    #[test]
    fn codes_are_those_of_the_rfc() {
        let secret = Secret::from("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        for (seconds, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
        ] {
            assert_eq!(code(&secret, step(UnixTime::from_secs(seconds))), expected, "{seconds}");
        }
    }

    #[test]
    fn a_code_is_good_for_its_step_and_the_neighbours() {
        let secret = new_secret();
        assert_eq!((secret.expose().len(), decoded(&secret).len()), (32, 20));
        let now = UnixTime::from_secs(3_000_000_015);
        let shown = code(&secret, step(now));
        for (later, is_good) in [(-31, true), (0, true), (31, true), (-91, false), (91, false)] {
            let found = step_of(&secret, &shown, now.shifted(later * 1000));
            // Two steps could share a code by chance, one time in a million.
            assert_eq!(found == Some(step(now)), is_good, "{later}");
        }
    }
}
