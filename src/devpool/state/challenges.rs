//! Sign-ins that are not finished: which challenge is open, for whom, until when, and what answers it. Pure.
//!
//! What is modelled is what a client can see: the order of challenges, sessions that end, codes that are wrong, spent or
//! sent to the wrong place, devices that prove themselves in place of a second factor.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{
    super::{
        exception::Exception,
        random,
        settings::{DeviceRule, Factor, SecondFactor, User},
        tokens::{Device, Grant},
        totp,
    },
    ADMIN_SCOPE, DeviceUsed, Pool, no_such_device, no_such_user, standing_refusal,
};
use crate::{
    clock::UnixTime,
    cognito::srp::{Server, Verifier},
    secret::Secret,
};

/// What is remembered between the calls of a sign-in.
#[derive(Debug, Default)]
pub(in crate::devpool) struct Challenges {
    /// By `Session`, or by `SECRET_BLOCK` where AWS gives no session.
    open: HashMap<String, Open>,
    /// The latest code sent, by username.
    sent: HashMap<String, String>,
    /// The latest step of an authenticator application that was used, by username.
    used: HashMap<String, u64>,
    /// By `DeviceKey`.
    devices: HashMap<String, Remembered>,
}

/// An open challenge.
#[derive(Debug)]
pub(in crate::devpool) struct Open {
    pub(in crate::devpool) client_id: String,
    /// `None` for a user that there is not: the challenge is a pretence.
    pub(in crate::devpool) username: Option<String>,
    pub(in crate::devpool) stage: Stage,
    /// The device that the client named.
    pub(in crate::devpool) device_key: Option<String>,
    until: UnixTime,
    wrong_codes: u32,
}

/// What an open challenge waits for.
#[derive(Debug)]
pub(in crate::devpool) enum Stage {
    /// A proof of the password.
    Verifier(Server),
    /// A choice among the ways to begin.
    SelectFirst,
    /// A code that was sent in place of a password.
    FirstCode(Factor),
    /// A choice among second factors.
    SelectFactor,
    /// A second factor's code.
    Code(Factor),
    /// A new password.
    NewPassword,
    /// An authenticator application: its secret once it was given, and whether its first code was right.
    Setup { secret: Option<Secret>, is_verified: bool },
    /// `SRP_A` of the device.
    Device,
    /// A proof of the device's password.
    DeviceVerifier(Server),
}

/// A device that a user confirmed.
#[derive(Clone, Debug)]
struct Remembered {
    username: String,
    device: Device,
    verifier: Verifier,
}

/// What a step of a sign-in brings.
#[derive(Debug)]
pub(in crate::devpool) enum Outcome {
    /// Another challenge.
    Challenge(Value),
    /// Tokens.
    Tokens(Box<Grant>),
}

impl Challenges {
    pub(in crate::devpool) fn sent_code(&self, username: &str) -> Option<String> {
        self.sent.get(username).cloned()
    }

    pub(in crate::devpool) fn used_step(&self, username: &str) -> Option<u64> {
        self.used.get(username).copied()
    }

    pub(in crate::devpool) fn close(&mut self) {
        self.open.clear();
    }

    pub(in crate::devpool) fn forget_devices(&mut self) {
        self.devices.clear();
    }

    pub(in crate::devpool) fn remember(&mut self, username: String, device: Device, verifier: Verifier) {
        self.devices.insert(device.key.clone(), Remembered { username, device, verifier });
    }

    /// The open challenge of that session, which an answer closes unless it is [put back](Self::put_back).
    pub(in crate::devpool) fn take(&mut self, session: &str, now: UnixTime) -> Result<Open, Exception> {
        let open = self.open.remove(session).ok_or_else(|| invalid_session("."))?;
        if now >= open.until { Err(invalid_session(", session is expired.")) } else { Ok(open) }
    }

    /// A wrong code: the challenge stays open until there were too many.
    pub(in crate::devpool) fn put_back(&mut self, session: &str, mut open: Open, limit: u32) {
        open.wrong_codes += 1;
        if open.wrong_codes < limit {
            self.open.insert(session.to_owned(), open);
        }
    }
}

impl Pool {
    /// Opens a challenge, and returns its `Session`.
    pub(in crate::devpool) fn open(
        &mut self,
        now: UnixTime,
        client_id: &str,
        username: Option<&str>,
        device_key: Option<&str>,
        stage: Stage,
    ) -> String {
        let session = random::kid();
        let open = Open {
            client_id: client_id.to_owned(),
            username: username.map(str::to_owned),
            stage,
            device_key: device_key.map(str::to_owned),
            until: now + self.settings.challenge_validity,
            wrong_codes: 0,
        };
        self.challenges.open.insert(session.clone(), open);
        session
    }

    /// What follows a password that was proved, or a code in its place.
    pub(in crate::devpool) fn proven(
        &mut self,
        now: UnixTime,
        username: &str,
        client_id: &str,
        device_key: Option<&str>,
    ) -> Result<Outcome, Exception> {
        let user = self.users.get(username).cloned().ok_or_else(no_such_user)?;
        if let Some(refusal) = standing_refusal(user.standing) {
            return Err(refusal);
        }
        if user.is_password_temporary {
            return Ok(self.new_password_challenge(now, &user, client_id));
        }
        if let Some(key) = device_key {
            let known = self.challenges.devices.get(key).filter(|known| known.username == username);
            known.ok_or_else(no_such_device)?;
            let session = self.open(now, client_id, Some(username), device_key, Stage::Device);
            return Ok(challenge("DEVICE_SRP_AUTH", Some(&session), &json!({"USER_ID_FOR_SRP": username})));
        }
        match (user.factors.as_slice(), self.settings.second_factor) {
            ([], SecondFactor::Optional) => self.tokens(now, username, client_id, None),
            ([], SecondFactor::Required) => {
                let stage = Stage::Setup { secret: None, is_verified: false };
                let session = self.open(now, client_id, Some(username), None, stage);
                let parameters = json!({"MFAS_CAN_SETUP": "[\"SOFTWARE_TOKEN_MFA\"]", "USER_ID_FOR_SRP": username});
                Ok(challenge("MFA_SETUP", Some(&session), &parameters))
            }
            ([only], _) => Ok(self.code_challenge(now, &user, client_id, *only)),
            (several, _) => {
                let names: Vec<&str> = several.iter().map(|factor| factor.challenge()).collect();
                let session = self.open(now, client_id, Some(username), None, Stage::SelectFactor);
                let parameters = json!({"MFAS_CAN_CHOOSE": json!(names).to_string(), "USER_ID_FOR_SRP": username});
                Ok(challenge("SELECT_MFA_TYPE", Some(&session), &parameters))
            }
        }
    }

    fn new_password_challenge(&mut self, now: UnixTime, user: &User, client_id: &str) -> Outcome {
        let session = self.open(now, client_id, Some(&user.username), None, Stage::NewPassword);
        let required: Vec<String> =
            user.missing_attributes.iter().map(|name| format!("userAttributes.{name}")).collect();
        let parameters = json!({
            "USER_ID_FOR_SRP": user.username,
            "requiredAttributes": json!(required).to_string(),
            "userAttributes": json!({"email": user.email, "email_verified": "true"}).to_string(),
        });
        challenge("NEW_PASSWORD_REQUIRED", Some(&session), &parameters)
    }

    /// Asks for a code, and sends it where it has to be sent.
    pub(in crate::devpool) fn code_challenge(
        &mut self,
        now: UnixTime,
        user: &User,
        client_id: &str,
        factor: Factor,
    ) -> Outcome {
        let username = Some(user.username.as_str());
        let session = self.open(now, client_id, username, None, Stage::Code(factor));
        let parameters = match factor {
            Factor::Application => {
                json!({"USER_ID_FOR_SRP": user.username, "FRIENDLY_DEVICE_NAME": "authenticator"})
            }
            Factor::TextMessage | Factor::Email => self.send_code(user, factor),
        };
        challenge(factor.challenge(), Some(&session), &parameters)
    }

    /// `SMS_OTP` and `EMAIL_OTP` of the choice-based flow.
    pub(in crate::devpool) fn first_code_challenge(
        &mut self,
        now: UnixTime,
        user: &User,
        client_id: &str,
        factor: Factor,
    ) -> Outcome {
        let session = self.open(now, client_id, Some(&user.username), None, Stage::FirstCode(factor));
        let name = if factor == Factor::TextMessage { "SMS_OTP" } else { "EMAIL_OTP" };
        let parameters = self.send_code(user, factor);
        challenge(name, Some(&session), &parameters)
    }

    fn send_code(&mut self, user: &User, factor: Factor) -> Value {
        let code = format!("{:06}", u32::from_be_bytes(random::bytes()) % 1_000_000);
        self.challenges.sent.insert(user.username.clone(), code);
        let (medium, destination) = match factor {
            Factor::TextMessage => ("SMS", "+*******4242".to_owned()),
            _ => ("EMAIL", format!("{}***@e***", user.email.chars().next().unwrap_or('u'))),
        };
        json!({
            "USER_ID_FOR_SRP": user.username,
            "CODE_DELIVERY_DELIVERY_MEDIUM": medium,
            "CODE_DELIVERY_DESTINATION": destination,
        })
    }

    /// Whether a code is right; it is spent by that.
    pub(in crate::devpool) fn check_code(
        &mut self,
        now: UnixTime,
        username: &str,
        factor: Factor,
        code: &str,
    ) -> Result<(), Exception> {
        let mismatch = || Exception::new("CodeMismatchException", "Invalid code received for user");
        if factor != Factor::Application {
            let right = self.challenges.sent.get(username).is_some_and(|sent| sent == code);
            return if right { Ok(()) } else { Err(mismatch()) };
        }
        let secret = self.users.get(username).and_then(|user| user.application.clone()).ok_or_else(mismatch)?;
        self.check_application(now, username, &secret, code).ok_or_else(mismatch)?
    }

    /// The same for a secret of an authenticator application; `None` where the code is wrong.
    pub(in crate::devpool) fn check_application(
        &mut self,
        now: UnixTime,
        username: &str,
        secret: &Secret,
        code: &str,
    ) -> Option<Result<(), Exception>> {
        let step = totp::step_of(secret, code, now)?;
        if self.challenges.used.get(username).is_some_and(|used| step <= *used) {
            let words = "Your software token has already been used once.";
            return Some(Err(Exception::new("ExpiredCodeException", words)));
        }
        self.challenges.used.insert(username.to_owned(), step);
        Some(Ok(()))
    }

    /// The verifier of a user's device.
    pub(in crate::devpool) fn device_verifier(
        &self,
        username: &str,
        key: &str,
    ) -> Result<(Device, Verifier), Exception> {
        let known = self.challenges.devices.get(key).filter(|known| known.username == username);
        known.map(|known| (known.device.clone(), known.verifier.clone())).ok_or_else(no_such_device)
    }

    /// The end of a sign-in.
    pub(in crate::devpool) fn tokens(
        &mut self,
        now: UnixTime,
        username: &str,
        client_id: &str,
        device: Option<Device>,
    ) -> Result<Outcome, Exception> {
        let from = device.filter(|_| self.settings.devices == DeviceRule::Remembered);
        let from = from.map_or(DeviceUsed::New, DeviceUsed::Known);
        let grant = self.sign_in(now, username, client_id, ADMIN_SCOPE, from)?;
        Ok(Outcome::Tokens(Box::new(grant)))
    }
}

impl Factor {
    /// Its `ChallengeName`, which is also its name in lists.
    pub(in crate::devpool) const fn challenge(self) -> &'static str {
        match self {
            Self::Application => "SOFTWARE_TOKEN_MFA",
            Self::TextMessage => "SMS_MFA",
            Self::Email => "EMAIL_OTP",
        }
    }
}

/// A challenge as it is answered.
pub(in crate::devpool) fn challenge(name: &str, session: Option<&str>, parameters: &Value) -> Outcome {
    let mut answer = json!({"ChallengeName": name, "ChallengeParameters": parameters});
    if let Some(session) = session {
        answer["Session"] = json!(session);
    }
    Outcome::Challenge(answer)
}

fn invalid_session(rest: &str) -> Exception {
    Exception::not_authorized(format!("Invalid session for the user{rest}"))
}
