//! The random numbers of one step.

use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::{cognito::srp::Ephemeral, secret::Secret};

/// As long as Amazon's clients make a device's password, in bytes.
const DEVICE_PASSWORD: usize = 40;

/// What one step of a dialogue may use up. Cheap to draw: nothing is computed from it before it is used.
#[derive(Debug)]
pub struct Chance {
    /// For one proof.
    pub exponent: Ephemeral,
    /// For the verifier of a device.
    pub salt: [u8; 16],
    /// For a device.
    pub password: Secret,
}

impl Chance {
    /// A fresh one.
    #[must_use]
    pub fn draw() -> Self {
        let mut salt = bytes::<16>();
        // A leading zero byte would be one that the two sides may count differently.
        salt[0] |= 1;
        let password = Zeroizing::new(bytes::<DEVICE_PASSWORD>());
        Self { exponent: Ephemeral::random(), salt, password: Secret::new(STANDARD.encode(password.as_slice())) }
    }
}

#[expect(clippy::expect_used, reason = "AWS-LC's generator aborts the process rather than report a failure")]
fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the generator never fails");
    bytes
}
