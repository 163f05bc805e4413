//! What is said in a sign-in at the user pools API: the calls, and what Cognito answers to them. Values alone.

use std::collections::BTreeMap;

use crate::{secret::Secret, session::Grant};

/// `AuthFlow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// `USER_SRP_AUTH`: the password is proved and never sent.
    Srp,
    /// `USER_AUTH`: Cognito says which ways there are, and one is chosen.
    Choice,
    /// `USER_PASSWORD_AUTH`: the password is sent, inside TLS.
    Password,
}

impl Flow {
    /// The word of the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Srp => "USER_SRP_AUTH",
            Self::Choice => "USER_AUTH",
            Self::Password => "USER_PASSWORD_AUTH",
        }
    }
}

/// `AuthParameters` and `ChallengeResponses`, by their names.
pub type Parameters = BTreeMap<String, Secret>;

/// A call of a sign-in. `SECRET_HASH` is not among its parameters: whoever makes the call knows the client secret, and
/// adds the hash over the call's own `USERNAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `InitiateAuth`.
    Begin {
        /// `AuthFlow`.
        flow: Flow,
        /// `AuthParameters`.
        parameters: Parameters,
    },
    /// `RespondToAuthChallenge`.
    Respond {
        /// `ChallengeName`.
        challenge: String,
        /// `Session`, where the challenge had one.
        session: Option<Secret>,
        /// `ChallengeResponses`.
        responses: Parameters,
    },
    /// `AssociateSoftwareToken`: a new secret for an authenticator application.
    AssociateSoftwareToken {
        /// `Session`.
        session: Secret,
    },
    /// `VerifySoftwareToken`: the first code that the application shows.
    VerifySoftwareToken {
        /// `Session`.
        session: Secret,
        /// `UserCode`.
        code: Secret,
    },
    /// `ConfirmDevice`.
    ConfirmDevice {
        /// `AccessToken`.
        access_token: Secret,
        /// `DeviceKey`.
        key: String,
        /// `DeviceSecretVerifierConfig.Salt`, in base64.
        salt: String,
        /// `DeviceSecretVerifierConfig.PasswordVerifier`, in base64.
        verifier: String,
        /// `DeviceName`, which the pool's administrator sees.
        name: String,
    },
}

/// What Cognito answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It wants more.
    Challenge(Challenge),
    /// It is satisfied.
    Tokens(Box<SignedIn>),
    /// `SecretCode` and `Session` of `AssociateSoftwareToken`.
    SoftwareToken {
        /// In base32, for an authenticator application.
        secret: Secret,
        /// For the calls that follow.
        session: Secret,
    },
    /// The first code was right.
    SoftwareTokenVerified {
        /// For the calls that follow.
        session: Option<Secret>,
    },
    /// The device is known from now on.
    DeviceConfirmed,
}

/// A challenge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// `ChallengeName`.
    pub name: String,
    /// `Session`.
    pub session: Option<Secret>,
    /// `ChallengeParameters`.
    pub parameters: BTreeMap<String, String>,
    /// `AvailableChallenges`, of `SELECT_CHALLENGE`.
    pub available: Vec<String>,
}

impl Challenge {
    /// A parameter that is there and not empty.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Tokens that have been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// The tokens.
    pub grant: Grant,
    /// The refresh token.
    pub refresh_token: Secret,
    /// `NewDeviceMetadata`: what the pool would remember this device by.
    pub new_device: Option<NewDevice>,
}

/// `NewDeviceMetadata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDevice {
    /// `DeviceKey`.
    pub key: String,
    /// `DeviceGroupKey`.
    pub group_key: String,
}
