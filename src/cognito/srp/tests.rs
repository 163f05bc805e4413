//! The dialect against an independent client, against answers that were computed elsewhere, and at its edges.

use aws_cognito_srp::{SrpClient, TrackedDevice, UntrackedDevice, User, VerificationParameters};
use proptest::prelude::*;

use super::*;

const POOL: &str = "eu-west-1_AbCdEfGhI";
const BLOCK: &str = "c2VjcmV0IGJsb2Nr";

/// 2025-02-10T18:30:12Z.
const NOW: UnixTime = UnixTime::from_secs(1_739_212_212);

fn identity(password: &str) -> Identity {
    Identity::user(POOL, "alice", &Secret::from(password))
}

fn exponent(byte: u8) -> Ephemeral {
    Ephemeral::from_bytes(&[byte; EXPONENT_BYTES])
}

fn claim(identity: &Identity, own: &Ephemeral, server: &Server) -> Claim {
    let (salt, public) = (server.salt_hex(), server.public_hex());
    let challenge = Challenge { salt: &salt, public: &public, secret_block: BLOCK };
    identity.claim(own, &challenge, NOW).expect("a challenge")
}

/// `B` and the proof, for exponents of repeated 1 and 2 on the two sides.
fn exchange(salt: &str, now: UnixTime) -> (String, Claim) {
    let identity = identity("Passw0rd!");
    let verifier = identity.verifier(&from_hex(salt, "SALT").expect("hex"));
    let server = Server::new(verifier, &exponent(1).public_hex(), exponent(2)).expect("a public value");
    let public = server.public_hex();
    let challenge = Challenge { salt, public: &public, secret_block: BLOCK };
    let claim = identity.claim(&exponent(1), &challenge, now).expect("a challenge");
    assert!(server.accepts("AbCdEfGhIalice", BLOCK, &claim.timestamp, &claim.signature));
    (public, claim)
}

/// Computed with Python's integers, hashlib and hmac.
#[test]
fn answers_are_those_that_were_computed_elsewhere() {
    assert_eq!(format!("{:x}", GROUP.multiplier), "538282c4354742d7cbbde2359fcf67f9f5b3a6b08791e5011b43b8a5b66d9ee6");
    let march = UnixTime::from_secs(1_740_873_607);
    for (salt, now, timestamp, signature) in [
        (
            "36ef01c6dde9fe503da333b1acc758ba",
            NOW,
            "Mon Feb 10 18:30:12 UTC 2025",
            "9LkVZGUyd8U3getCe0GSEnciU9NIjcpm0u7nqq3phOM=",
        ),
        // A leading zero byte, which the number does not have, and a highest bit, which costs it one.
        (
            "00ef01c6dde9fe503da333b1acc758ba",
            march,
            "Sun Mar 2 00:00:07 UTC 2025",
            "37pcWEIaAy24YsYMXCP7pVG3U3Ztp68PXkRJc3egdS8=",
        ),
        (
            "f6ef01c6dde9fe503da333b1acc758ba",
            march,
            "Sun Mar 2 00:00:07 UTC 2025",
            "hRCZsm3Q0VeqGNmP4AF+dKI60vIh/939TMMNbFLoKSc=",
        ),
    ] {
        let (public, claim) = exchange(salt, now);
        assert_eq!(claim, Claim { signature: signature.into(), timestamp: timestamp.into() }, "{salt}");
        if now == NOW {
            assert!(public.starts_with("d31fa3faf63cc5df74ea93739cb08ebc780a41b3"), "{public}");
        }
    }
}

/// The known answers of another implementation, aws-cognito-srp, whose exponent is 128 bytes of 1 in its own tests.
#[test]
fn answers_are_those_of_another_implementation() {
    let a = exponent(1);
    assert!(a.public_hex().starts_with("b1ce118779e27c1c015d7a226ecae2ea1fcd017049e4f5c6f9908c686d496dce12a1c017"));
    let device = Identity::device("mock-device-group-key", "mock-device-key", &Secret::from("password"));
    let block = "9ae77ec7154c14dcc487b47707fee4b4920cb96d8a8c045e4c8df879a7b375524aa736acdec6c9ad4ea606774d00621b";
    for (number, signature) in [
        ("36ef01c6dde9fe503da333b1acc758ba", "O9uSej4H1B4or3Zc7Q4+KxuSvOaEfuq2a7Ye4d16fmo="),
        // An odd number of digits.
        ("36ef01c", "eXYI/hzMa/5YWYSk1NFcDMOOBAOg+juflcjl38+xx4I="),
    ] {
        let challenge = Challenge { salt: number, public: number, secret_block: block };
        let claim = device.claim(&a, &challenge, NOW).expect("a challenge");
        assert_eq!(claim.signature, signature, "{number}");
    }
}

/// The other implementation's client against our server.
#[test]
fn the_server_accepts_another_client_and_only_with_the_password() {
    for (password, accepted) in [("Passw0rd!", true), ("passw0rd!", false), ("", false)] {
        let theirs = SrpClient::new(User::new(POOL, "typed@example.com", password), "client", None);
        let verifier = identity("Passw0rd!").verifier(b"sixteen bytes ab");
        let server = Server::new(verifier, &theirs.get_auth_parameters().a, Ephemeral::random()).expect("A");
        let answer = theirs.verify(BLOCK, "alice", &server.salt_hex(), &server.public_hex()).expect("a proof");
        let VerificationParameters { timestamp, password_claim_signature, .. } = answer;
        let accepts = server.accepts(&user_name(POOL, "alice"), BLOCK, &timestamp, &password_claim_signature);
        assert_eq!(accepts, accepted, "{password}");
    }
}

/// Both device flows, each with one half of the other implementation.
#[test]
fn a_device_is_confirmed_and_proved_as_another_client_does_it() {
    let (group, key) = ("-group", "eu-west-1_device");
    let untracked = SrpClient::new(UntrackedDevice::new(POOL, group, key), "client", None);
    let registered = untracked.get_password_verifier();
    let password = Secret::new(registered.password);
    let ours = Identity::device(group, key, &password);
    let verifier = Verifier::from_base64(&registered.salt, &registered.verifier).expect("base64");
    // Its salt is the hex text of random bytes, so that it never begins with a zero byte.
    assert_eq!(ours.verifier(&STANDARD.decode(&registered.salt).expect("base64")), verifier);
    let a = Ephemeral::random();
    let server = Server::new(verifier.clone(), &a.public_hex(), Ephemeral::random()).expect("A");
    let ours = claim(&ours, &a, &server);
    assert!(server.accepts(&device_name(group, key), BLOCK, &ours.timestamp, &ours.signature));

    let theirs = SrpClient::new(TrackedDevice::new(POOL, group, key, password.expose()), "client", None);
    let server = Server::new(verifier, &theirs.get_auth_parameters().a, Ephemeral::random()).expect("A");
    let theirs = theirs.verify(BLOCK, &server.salt_hex(), &server.public_hex()).expect("a proof");
    assert!(server.accepts(&device_name(group, key), BLOCK, &theirs.timestamp, &theirs.password_claim_signature));
}

#[test]
fn a_public_value_that_gives_the_secret_away_is_refused() {
    let twice = format!("1{}C", "F".repeat(GROUP_BYTES * 2));
    for (text, error) in [
        ("0", Error::Unsafe("SRP_B")),
        ("0000", Error::Unsafe("SRP_B")),
        (PRIME, Error::Unsafe("SRP_B")),
        (twice.as_str(), Error::NoNumber("SRP_B")),
        (&"F".repeat(GROUP_BYTES * 2), Error::NoNumber("SRP_B")),
        ("", Error::NoNumber("SRP_B")),
        ("xyz", Error::NoNumber("SRP_B")),
        ("-1", Error::NoNumber("SRP_B")),
    ] {
        let challenge = Challenge { salt: "ab", public: text, secret_block: BLOCK };
        assert_eq!(identity("p").claim(&exponent(1), &challenge, NOW), Err(error), "{text}");
        if !text.is_empty() {
            assert!(Server::new(identity("p").verifier(b"salt"), text, exponent(2)).is_err(), "{text}");
        }
    }
    let challenge = Challenge { salt: "ab", public: "2", secret_block: "no base64" };
    assert_eq!(identity("p").claim(&exponent(1), &challenge, NOW), Err(Error::NoSecretBlock));
}

#[test]
fn a_proof_is_of_one_name_block_and_time_alone() {
    let identity = identity("Passw0rd!");
    let server = Server::new(identity.verifier(b"salt"), &exponent(1).public_hex(), exponent(2)).expect("A");
    let Claim { signature, timestamp } = claim(&identity, &exponent(1), &server);
    for (name, block, time, sent, accepted) in [
        ("AbCdEfGhIalice", BLOCK, timestamp.as_str(), signature.as_str(), true),
        ("AbCdEfGhIbob", BLOCK, &timestamp, &signature, false),
        ("alice", BLOCK, &timestamp, &signature, false),
        ("AbCdEfGhIalice", "b3RoZXI=", &timestamp, &signature, false),
        ("AbCdEfGhIalice", BLOCK, "Mon Feb 10 18:30:13 UTC 2025", &signature, false),
        ("AbCdEfGhIalice", BLOCK, &timestamp, "AAAA", false),
        ("AbCdEfGhIalice", BLOCK, &timestamp, "?", false),
    ] {
        assert_eq!(server.accepts(name, block, time, sent), accepted, "{name} {block} {time} {sent}");
    }
}

#[test]
fn the_pools_name_is_what_follows_the_region() {
    for (pool, name) in [
        ("eu-west-1_AbC", "AbCu"),
        ("local_12ab", "12abu"),
        ("us-east-1_A_b", "A_bu"),
        ("nounderscore", "nounderscoreu"),
    ] {
        assert_eq!(user_name(pool, "u"), name);
    }
}

#[test]
fn times_are_english_and_days_have_no_leading_zero() {
    for (seconds, text) in [
        (0, "Thu Jan 1 00:00:00 UTC 1970"),
        (1_739_212_212, "Mon Feb 10 18:30:12 UTC 2025"),
        (4_102_444_799, "Thu Dec 31 23:59:59 UTC 2099"),
    ] {
        assert_eq!(timestamp(UnixTime::from_secs(seconds)), text);
    }
}

#[test]
fn nothing_of_a_secret_is_in_the_debug_form() {
    let server = Server::new(identity("p").verifier(b"salt"), "2", exponent(7)).expect("A");
    assert!(format!("{server:?}").contains("own: Ephemeral([redacted])"));
}

proptest! {
    /// `BigInteger.toByteArray`: the shortest two's complement form.
    #[test]
    fn padding_is_the_shortest_form_with_a_clear_highest_bit(digits in prop::collection::vec(any::<u8>(), 0..40)) {
        let padded = padded(&digits);
        prop_assert!(padded[0] < 0x80);
        prop_assert!(padded.len() == 1 || padded[0] != 0 || padded[1] >= 0x80);
        prop_assert_eq!(significant(&padded), significant(&digits));
    }

    #[test]
    fn hex_is_read_as_it_is_written(digits in prop::collection::vec(any::<u8>(), 1..40)) {
        let text = to_hex(&digits);
        prop_assert_eq!(from_hex(&text, "x").expect("hex"), digits.clone());
        let odd = text.trim_start_matches('0');
        if !odd.is_empty() {
            let read = from_hex(odd, "x").expect("hex");
            prop_assert_eq!(significant(&read), significant(&digits));
        }
    }

    #[test]
    fn no_challenge_makes_it_panic(salt in "\\PC{0,20}", public in "[0-9a-fA-F]{0,900}|\\PC{0,20}", block in "\\PC{0,20}") {
        prop_assume!(public.len() > 768 || public.chars().any(|c| !c.is_ascii_hexdigit()) || block.len() % 4 == 1);
        let challenge = Challenge { salt: &salt, public: &public, secret_block: &block };
        prop_assert!(identity("p").claim(&exponent(1), &challenge, NOW).is_err());
    }
}
