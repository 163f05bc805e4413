//! SRP-6a in Cognito's own dialect: the client's half for a sign-in, the server's half for `devpool`, and the verifier
//! that a remembered device is confirmed with.
//!
//! Owns the arithmetic and the forms in which its numbers go over the wire. Pure but for [`Ephemeral::random`]; sends
//! nothing. The password goes in and never comes out: what is sent proves that it is known.
//!
//! # The dialect
//!
//! The protocol is RFC 2945 and RFC 5054 over the 3072-bit group of RFC 3526 §4 with generator 2, and SHA-256. What
//! differs is not documented, and is what Amazon's own clients do (`AuthenticationHelper` of
//! amazon-cognito-identity-js):
//! - A number that is hashed is written as Java's `BigInteger.toByteArray` writes it: without leading zero bytes, but
//!   for one where the highest bit is set.
//! - The user is `pool name ‖ user id`, where the pool's name is its id without the region; a device is
//!   `group key ‖ device key`.
//! - The session key is 16 bytes of HKDF (RFC 5869) over the shared secret, salted with the scrambling parameter, and
//!   the proof is an HMAC with it over user, secret block and time.

use std::sync::LazyLock;

use aws_lc_rs::{constant_time, digest, hmac, rand};
use base64::{Engine, engine::general_purpose::STANDARD};
use crypto_bigint::{
    Odd, U256, U512, U1024, U3072, Uint,
    modular::{FixedMontyForm, FixedMontyParams},
};
use jiff::Timestamp;
use zeroize::{Zeroize, Zeroizing};

use crate::{clock::UnixTime, secret::Secret};

/// The prime of the 3072-bit MODP group (RFC 3526 §4).
const PRIME: &str = concat!(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD",
    "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F",
    "83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510",
    "15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7",
    "ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C",
    "BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF"
);

/// RFC 3526 §4; the RFC 5054 group of this size has 5.
const GENERATOR: u32 = 2;

/// The length of the prime, in bytes.
const GROUP_BYTES: usize = 384;

/// What Cognito's clients give HKDF as `info`.
const KEY_INFO: &[u8] = b"Caldera Derived Key";

/// How much of HKDF's first block is the key, in bytes.
const KEY_BYTES: usize = 16;

/// The length of a private exponent, in bytes, as Amazon's clients choose it. RFC 5054 §3.1 asks for at least 32.
const EXPONENT_BYTES: usize = 128;

/// Room for `a + u·x` with its carry.
const SUM_LIMBS: usize = U1024::LIMBS + 1;

type Element = FixedMontyForm<{ U3072::LIMBS }>;

static GROUP: LazyLock<Group> = LazyLock::new(Group::new);

/// The group, and the multiplier that depends on it alone.
struct Group {
    prime: U3072,
    params: FixedMontyParams<{ U3072::LIMBS }>,
    /// `k = H(N ‖ g)` (RFC 5054 §2.5.3, with Cognito's padding).
    multiplier: U256,
}

impl Group {
    fn new() -> Self {
        let prime = U3072::from_be_hex(PRIME);
        let odd: Odd<U3072> = Odd::<U3072>::from_be_hex(PRIME);
        let generator = padded(&GENERATOR.to_be_bytes());
        let multiplier = number(&sha256(&[&padded(&bytes(&prime)), &generator]));
        Self { prime, params: FixedMontyParams::new_vartime(odd), multiplier }
    }

    fn element(&self, number: &U3072) -> Element {
        Element::new(number, &self.params)
    }

    /// `g^exponent`, in constant time.
    fn power<const LIMBS: usize>(&self, exponent: &Uint<LIMBS>) -> Element {
        self.element(&U3072::from_u32(GENERATOR)).pow(exponent)
    }
}

/// Why a proof cannot be made. Nothing of a secret is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A number is not hexadecimal, or is longer than the group.
    #[error("{0} is no number of the group")]
    NoNumber(&'static str),
    /// The other side's public value is a multiple of the prime, so that anybody would know the secret (RFC 5054
    /// §2.5.4), or the scrambling parameter is zero.
    #[error("{0} gives the secret away; whoever sent it is not Cognito")]
    Unsafe(&'static str),
    /// The secret block is not base64.
    #[error("SECRET_BLOCK is not base64")]
    NoSecretBlock,
}

/// One side's private exponent, for one exchange. Wiped when dropped.
pub struct Ephemeral(U1024);

impl Ephemeral {
    /// A fresh one.
    #[must_use]
    pub fn random() -> Self {
        Self::from_bytes(&random_bytes())
    }

    /// This one, big-endian. For a known answer; an exponent that is used twice is a secret no more.
    #[must_use]
    pub fn from_bytes(exponent: &[u8; EXPONENT_BYTES]) -> Self {
        Self(U1024::from_be_slice(exponent))
    }

    /// `A`, as `SRP_A` is sent.
    #[must_use]
    pub fn public_hex(&self) -> String {
        hex(&self.public())
    }

    fn public(&self) -> U3072 {
        GROUP.power(&self.0).retrieve()
    }
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ephemeral([redacted])")
    }
}

/// Who proves a password, and the password as a hash.
pub struct Identity {
    name: String,
    hash: Zeroizing<[u8; 32]>,
}

impl Identity {
    /// A user of a pool: `user_id` is the challenge's `USER_ID_FOR_SRP`, never the alias that was typed.
    #[must_use]
    pub fn user(pool_id: &str, user_id: &str, password: &Secret) -> Self {
        Self::new(user_name(pool_id, user_id), password)
    }

    /// A device that the pool remembers, or is about to.
    #[must_use]
    pub fn device(group_key: &str, key: &str, password: &Secret) -> Self {
        Self::new(device_name(group_key, key), password)
    }

    fn new(name: String, password: &Secret) -> Self {
        let hash = Zeroizing::new(sha256(&[name.as_bytes(), b":", password.expose().as_bytes()]));
        Self { name, hash }
    }

    /// `v = g^x`, which is all that the other side is told of the password.
    #[must_use]
    pub fn verifier(&self, salt: &[u8]) -> Verifier {
        let salt = padded(salt);
        let value = GROUP.power(&self.exponent(&salt)).retrieve();
        Verifier { salt, value }
    }

    /// `x = H(salt ‖ H(name ":" password))`.
    fn exponent(&self, padded_salt: &[u8]) -> U256 {
        number(&sha256(&[padded_salt, self.hash.as_slice()]))
    }
}

/// What a user is called in an exchange: the pool's name, which is its id after the underscore, and the user's id.
#[must_use]
pub fn user_name(pool_id: &str, user_id: &str) -> String {
    let pool_name = pool_id.split_once('_').map_or(pool_id, |(_, name)| name);
    format!("{pool_name}{user_id}")
}

/// What a device is called in an exchange.
#[must_use]
pub fn device_name(group_key: &str, key: &str) -> String {
    format!("{group_key}{key}")
}

/// A challenge's numbers, as they came.
#[derive(Clone, Copy, Debug)]
pub struct Challenge<'a> {
    /// `SALT`, in hex.
    pub salt: &'a str,
    /// `SRP_B`, in hex.
    pub public: &'a str,
    /// `SECRET_BLOCK`, in base64.
    pub secret_block: &'a str,
}

/// A proof that the password is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// `PASSWORD_CLAIM_SIGNATURE`.
    pub signature: String,
    /// `TIMESTAMP`.
    pub timestamp: String,
}

impl Identity {
    /// The answer to `challenge`, whose exchange began with the public half of `own`.
    ///
    /// # Errors
    /// Where the challenge is none, or one that only an impostor sends.
    pub fn claim(&self, own: &Ephemeral, challenge: &Challenge<'_>, now: UnixTime) -> Result<Claim, Error> {
        let salt = Zeroizing::new(from_hex(challenge.salt, "SALT")?);
        let theirs = public("SRP_B", challenge.public)?;
        let block = STANDARD.decode(challenge.secret_block).map_err(|_| Error::NoSecretBlock)?;
        let scramble = scramble(&own.public(), &theirs).ok_or(Error::Unsafe("SRP_B"))?;
        let exponent = self.exponent(&padded(&salt));
        // S = (B − k·g^x) ^ (a + u·x)
        let multiplier = GROUP.element(&GROUP.multiplier.resize());
        let base = GROUP.element(&theirs) - multiplier * GROUP.power(&exponent);
        let product: U512 = scramble.concatenating_mul(&exponent);
        let sum: Uint<SUM_LIMBS> = own.0.resize::<SUM_LIMBS>().wrapping_add(&product.resize());
        let key = session_key(&scramble, &base.pow(&sum).retrieve());
        let timestamp = timestamp(now);
        let signature = STANDARD.encode(signature(&key, &self.name, &block, &timestamp));
        Ok(Claim { signature, timestamp })
    }
}

/// What the server's side knows of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    /// Padded, as it is hashed.
    salt: Vec<u8>,
    value: U3072,
}

impl Verifier {
    /// `DeviceSecretVerifierConfig`, as `ConfirmDevice` takes it: `Salt` and `PasswordVerifier`, in base64.
    #[must_use]
    pub fn to_base64(&self) -> (String, String) {
        (STANDARD.encode(&self.salt), STANDARD.encode(padded(&bytes(&self.value))))
    }

    /// The same, read. `None` where it is none.
    #[must_use]
    pub fn from_base64(salt: &str, verifier: &str) -> Option<Self> {
        let salt = STANDARD.decode(salt).ok()?;
        let value = fitted(&STANDARD.decode(verifier).ok()?)?;
        Some(Self { salt: padded(&salt), value })
    }

    /// `SALT`, in hex.
    #[must_use]
    pub fn salt_hex(&self) -> String {
        to_hex(&self.salt)
    }
}

/// The server's side of one exchange.
#[derive(Debug)]
pub struct Server {
    own: Ephemeral,
    public: U3072,
    theirs: U3072,
    verifier: Verifier,
}

impl Server {
    /// Begins an exchange with whoever sent this `SRP_A`.
    ///
    /// # Errors
    /// Where that is no public value.
    pub fn new(verifier: Verifier, public_of_client: &str, own: Ephemeral) -> Result<Self, Error> {
        let theirs = public("SRP_A", public_of_client)?;
        // B = k·v + g^b
        let multiplier = GROUP.element(&GROUP.multiplier.resize());
        let public = (multiplier * GROUP.element(&verifier.value) + GROUP.power(&own.0)).retrieve();
        Ok(Self { own, public, theirs, verifier })
    }

    /// `SRP_B`.
    #[must_use]
    pub fn public_hex(&self) -> String {
        hex(&self.public)
    }

    /// `SALT`.
    #[must_use]
    pub fn salt_hex(&self) -> String {
        self.verifier.salt_hex()
    }

    /// Whether a claim proves the password of `name` ([`user_name`] or [`device_name`]).
    #[must_use]
    pub fn accepts(&self, name: &str, secret_block: &str, timestamp: &str, claim: &str) -> bool {
        let (Ok(block), Ok(claim)) = (STANDARD.decode(secret_block), STANDARD.decode(claim)) else { return false };
        let Some(scramble) = scramble(&self.theirs, &self.public) else { return false };
        // S = (A · v^u) ^ b
        let base = GROUP.element(&self.theirs) * GROUP.element(&self.verifier.value).pow(&scramble);
        let key = session_key(&scramble, &base.pow(&self.own.0).retrieve());
        let expected = signature(&key, name, &block, timestamp);
        constant_time::verify_slices_are_equal(expected.as_ref(), &claim).is_ok()
    }
}

#[expect(clippy::expect_used, reason = "AWS-LC's generator aborts the process rather than report a failure")]
fn random_bytes() -> Zeroizing<[u8; EXPONENT_BYTES]> {
    let mut bytes = Zeroizing::new([0; EXPONENT_BYTES]);
    rand::fill(bytes.as_mut_slice()).expect("the generator never fails");
    bytes
}

/// `u = H(A ‖ B)`; `None` where it is zero.
fn scramble(client: &U3072, server: &U3072) -> Option<U256> {
    let scramble = number(&sha256(&[&padded(&bytes(client)), &padded(&bytes(server))]));
    (scramble != U256::ZERO).then_some(scramble)
}

/// HKDF (RFC 5869 §2) of a length that one block of its hash covers.
fn session_key(scramble: &U256, secret: &U3072) -> Zeroizing<[u8; KEY_BYTES]> {
    let secret = Zeroizing::new(padded(&Zeroizing::new(bytes(secret))));
    let extract = hmac::Key::new(hmac::HMAC_SHA256, &padded(scramble.to_be_bytes().as_ref()));
    let pseudorandom = hmac::sign(&extract, &secret);
    let expand = hmac::Key::new(hmac::HMAC_SHA256, pseudorandom.as_ref());
    let block = hmac::sign(&expand, &[KEY_INFO, &[1]].concat());
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    key.copy_from_slice(&block.as_ref()[..KEY_BYTES]);
    key
}

fn signature(key: &[u8; KEY_BYTES], name: &str, secret_block: &[u8], timestamp: &str) -> hmac::Tag {
    let message = [name.as_bytes(), secret_block, timestamp.as_bytes()].concat();
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &message)
}

/// `EEE MMM d HH:mm:ss UTC yyyy` in English, the day without a leading zero; Cognito signs over this very text.
fn timestamp(now: UnixTime) -> String {
    let now = Timestamp::from_second(now.as_secs()).unwrap_or_default();
    now.strftime("%a %b %-d %H:%M:%S UTC %Y").to_string()
}

/// A public value of the other side, which must be one that hides the secret.
fn public(what: &'static str, text: &str) -> Result<U3072, Error> {
    let value = fitted(&from_hex(text, what)?).ok_or(Error::NoNumber(what))?;
    // Below the prime only zero is a multiple of it.
    if value == U3072::ZERO || value == GROUP.prime {
        return Err(Error::Unsafe(what));
    }
    if value > GROUP.prime { Err(Error::NoNumber(what)) } else { Ok(value) }
}

/// A number of the group's size, whatever zeros stand before it.
fn fitted(digits: &[u8]) -> Option<U3072> {
    let digits = significant(digits);
    let mut whole = Zeroizing::new([0; GROUP_BYTES]);
    whole[GROUP_BYTES.checked_sub(digits.len())?..].copy_from_slice(digits);
    Some(U3072::from_be_slice(whole.as_slice()))
}

fn significant(digits: &[u8]) -> &[u8] {
    &digits[digits.iter().take_while(|digit| **digit == 0).count()..]
}

/// As `BigInteger.toByteArray` writes a number that is not negative.
fn padded(digits: &[u8]) -> Vec<u8> {
    let digits = significant(digits);
    let needs_zero = digits.first().is_none_or(|first| first & 0x80 != 0);
    let mut padded = Vec::with_capacity(digits.len() + 1);
    padded.extend(needs_zero.then_some(0));
    padded.extend_from_slice(digits);
    padded
}

fn bytes(number: &U3072) -> Vec<u8> {
    number.to_be_bytes().as_ref().to_vec()
}

fn number(hash: &[u8; 32]) -> U256 {
    U256::from_be_slice(hash)
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// As `BigInteger.toString(16)` writes a number: without leading zeros.
fn hex(number: &U3072) -> String {
    let digits = to_hex(&bytes(number));
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() { "0".into() } else { significant.to_owned() }
}

fn to_hex(digits: &[u8]) -> String {
    let digits = digits.iter().flat_map(|octet| [octet >> 4, octet & 0xf]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// Hexadecimal digits, of which there may be an odd number.
fn from_hex(text: &str, what: &'static str) -> Result<Vec<u8>, Error> {
    let digit = |byte: &u8| (*byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Option<Vec<u8>> = text.as_bytes().iter().map(digit).collect();
    let digits = digits.filter(|digits| !digits.is_empty()).ok_or(Error::NoNumber(what))?;
    let (odd, pairs) = digits.split_at(digits.len() % 2);
    Ok(odd.iter().copied().chain(pairs.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1])).collect())
}

#[cfg(test)]
mod tests;
