//! What each challenge asks for.

use super::{
    super::{Chance, Failed, Notice, Question, Step, Way},
    Choosing, CodeWanted, Dialogue, Renewal, Stage, Use, send,
};
use crate::{
    clock::UnixTime,
    cognito::{
        challenge::{Call, Challenge, Parameters},
        srp::{self, Identity},
    },
    secret::Secret,
};

impl Dialogue {
    pub(super) fn challenged(&mut self, challenge: Challenge, now: UnixTime, chance: Chance) -> Result<Step, Failed> {
        if let Some(session) = &challenge.session {
            self.session = Some(session.clone());
        }
        if let Some(user_id) = challenge.parameter("USER_ID_FOR_SRP") {
            self.user_id = Some(user_id.to_owned());
        }
        match challenge.name.as_str() {
            "PASSWORD_VERIFIER" => match self.terms.password.clone() {
                None => Ok(self.ask_password(Use::Prove(challenge, now))),
                Some(password) => self.prove(&challenge, &password, now),
            },
            "SOFTWARE_TOKEN_MFA" => Ok(self.want_code(&challenge, Way::Application)),
            "SMS_MFA" | "SMS_OTP" => Ok(self.want_code(&challenge, Way::TextMessage)),
            "EMAIL_OTP" | "EMAIL_MFA" => Ok(self.want_code(&challenge, Way::Email)),
            "SELECT_MFA_TYPE" => self.select_factor(&challenge, chance),
            "SELECT_CHALLENGE" => self.select_first(&challenge, chance),
            "PASSWORD_SRP" => Ok(self.send_public("PASSWORD_SRP", chance)),
            "PASSWORD" => self.send_password("PASSWORD"),
            "NEW_PASSWORD_REQUIRED" => Ok(self.want_new_password(&challenge)),
            "MFA_SETUP" => self.set_up(&challenge),
            "DEVICE_SRP_AUTH" => self.begin_device(chance),
            "DEVICE_PASSWORD_VERIFIER" => self.prove_device(&challenge, now),
            "CUSTOM_CHALLENGE" => Err(Failed::CustomChallenge),
            "WEB_AUTHN" => Err(Failed::PasskeyOnly),
            _ => Err(Failed::UnknownChallenge { challenge: challenge.name }),
        }
    }

    /// The answer to `PASSWORD_VERIFIER`.
    pub(super) fn prove(&mut self, challenge: &Challenge, password: &Secret, now: UnixTime) -> Result<Step, Failed> {
        let identity = Identity::user(&self.terms.user_pool_id, self.user_id(), password);
        let responses = self.claim(&identity, challenge, now)?;
        self.stage = Stage::Proving;
        Ok(self.respond("PASSWORD_VERIFIER", responses))
    }

    fn prove_device(&mut self, challenge: &Challenge, now: UnixTime) -> Result<Step, Failed> {
        let device = self.known_device().map(|known| &known.device);
        let Some((device, group_key, password)) =
            device.and_then(|device| Some((device, device.group_key.as_ref()?, device.password.as_ref()?)))
        else {
            return Err(lacks(challenge, "a device that this program knows"));
        };
        let identity = Identity::device(group_key, &device.key, password);
        let responses = self.claim(&identity, challenge, now)?;
        self.stage = Stage::ProvingDevice;
        Ok(self.respond("DEVICE_PASSWORD_VERIFIER", responses))
    }

    fn claim(
        &mut self,
        identity: &Identity,
        challenge: &Challenge,
        now: UnixTime,
    ) -> Result<[(&'static str, Secret); 3], Failed> {
        let needed = |name| challenge.parameter(name).ok_or_else(|| lacks(challenge, name));
        let secret_block = needed("SECRET_BLOCK")?;
        let numbers = srp::Challenge { salt: needed("SALT")?, public: needed("SRP_B")?, secret_block };
        // One exponent proves once.
        let exponent = self.exponent.take().ok_or(Failed::OutOfOrder)?;
        let claim = identity.claim(&exponent, &numbers, now)?;
        Ok([
            ("PASSWORD_CLAIM_SECRET_BLOCK", Secret::from(secret_block)),
            ("PASSWORD_CLAIM_SIGNATURE", Secret::new(claim.signature)),
            ("TIMESTAMP", Secret::new(claim.timestamp)),
        ])
    }

    fn begin_device(&mut self, chance: Chance) -> Result<Step, Failed> {
        let key = self.known_device().map(|known| Secret::from(known.device.key.as_str()));
        let key = key.ok_or(Failed::Incomplete {
            challenge: "DEVICE_SRP_AUTH".into(),
            parameter: "a device that this program knows",
        })?;
        let public = self.public(chance.exponent);
        self.stage = Stage::ProvingDevice;
        Ok(self.respond("DEVICE_SRP_AUTH", [("DEVICE_KEY", key), ("SRP_A", public)]))
    }

    fn want_code(&mut self, challenge: &Challenge, way: Way) -> Step {
        let destination = challenge.parameter("CODE_DELIVERY_DESTINATION").map(str::to_owned);
        self.ask_code(CodeWanted { challenge: challenge.name.clone(), way, destination })
    }

    fn select_factor(&mut self, challenge: &Challenge, chance: Chance) -> Result<Step, Failed> {
        let offered = list(challenge.parameter("MFAS_CAN_CHOOSE"));
        let ways = ways(&offered);
        if ways.is_empty() {
            return Err(Failed::UnknownChallenge { challenge: format!("one of {}", offered.join(", ")) });
        }
        self.choose(Choosing::SecondFactor, ways, chance)
    }

    fn select_first(&mut self, challenge: &Challenge, chance: Chance) -> Result<Step, Failed> {
        let offered: Vec<String> = match challenge.available.as_slice() {
            [] => list(challenge.parameter("AVAILABLE_CHALLENGES")),
            available => available.to_vec(),
        };
        let passkey = offered.iter().any(|name| name == "WEB_AUTHN");
        let mut ways = ways(&offered);
        if self.terms.password.is_some() && ways.contains(&Way::Password) {
            // Whoever gave a password has chosen.
            ways = vec![Way::Password];
        }
        match (ways.is_empty(), passkey) {
            (true, true) => return Err(Failed::PasskeyOnly),
            (true, false) => {
                return Err(Failed::UnknownChallenge { challenge: format!("one of {}", offered.join(", ")) });
            }
            (false, true) if self.chosen.is_none() => self.notices.push(Notice::PasskeyLeftOut),
            (false, _) => {}
        }
        let srp = offered.iter().any(|name| name == "PASSWORD_SRP");
        self.choose(Choosing::First { srp }, ways, chance)
    }

    /// Asks, where there is something to choose.
    fn choose(&mut self, choosing: Choosing, ways: Vec<Way>, chance: Chance) -> Result<Step, Failed> {
        let before = self.chosen.filter(|chosen| ways.contains(chosen));
        match (ways.as_slice(), before) {
            ([only], _) => self.choice(choosing, *only, chance),
            (_, Some(before)) => self.choice(choosing, before, chance),
            _ => {
                self.stage = Stage::WantsChoice(choosing, ways.clone());
                Ok(Step::Ask(Question::Choice(ways)))
            }
        }
    }

    /// The answer to `SELECT_MFA_TYPE` or `SELECT_CHALLENGE`.
    pub(super) fn choice(&mut self, choosing: Choosing, way: Way, chance: Chance) -> Result<Step, Failed> {
        let (challenge, answer) = match (choosing, way) {
            (Choosing::First { srp: true }, Way::Password) => return Ok(self.send_public("SELECT_CHALLENGE", chance)),
            (Choosing::First { srp: false }, Way::Password) => return self.send_password("SELECT_CHALLENGE"),
            (Choosing::First { .. }, Way::TextMessage) => ("SELECT_CHALLENGE", "SMS_OTP"),
            (Choosing::First { .. }, _) => ("SELECT_CHALLENGE", "EMAIL_OTP"),
            (Choosing::SecondFactor, Way::TextMessage) => ("SELECT_MFA_TYPE", "SMS_MFA"),
            (Choosing::SecondFactor, Way::Email) => ("SELECT_MFA_TYPE", "EMAIL_OTP"),
            (Choosing::SecondFactor, _) => ("SELECT_MFA_TYPE", "SOFTWARE_TOKEN_MFA"),
        };
        self.stage = Stage::SentChoice;
        Ok(self.respond(challenge, [("ANSWER", Secret::from(answer))]))
    }

    /// Begins a proof within the choice-based flow.
    fn send_public(&mut self, challenge: &str, chance: Chance) -> Step {
        let public = self.public(chance.exponent);
        self.stage = Stage::SentChoice;
        match challenge {
            "SELECT_CHALLENGE" => {
                self.respond(challenge, [("ANSWER", Secret::from("PASSWORD_SRP")), ("SRP_A", public)])
            }
            _ => self.respond(challenge, [("SRP_A", public)]),
        }
    }

    /// Sends the password within the choice-based flow, which offers no proof.
    fn send_password(&mut self, challenge: &'static str) -> Result<Step, Failed> {
        self.announce_sending()?;
        Ok(match self.terms.password.clone() {
            None => self.ask_password(Use::Send(challenge)),
            Some(password) => self.password_sent(challenge, password),
        })
    }

    pub(super) fn password_sent(&mut self, challenge: &str, password: Secret) -> Step {
        self.stage = Stage::Proving;
        match challenge {
            "SELECT_CHALLENGE" => {
                self.respond(challenge, [("ANSWER", Secret::from("PASSWORD")), ("PASSWORD", password)])
            }
            _ => self.respond(challenge, [("PASSWORD", password)]),
        }
    }

    fn want_new_password(&mut self, challenge: &Challenge) -> Step {
        let known: Parameters = challenge
            .parameter("userAttributes")
            .and_then(|text| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).ok())
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(name, value)| Some((name, Secret::from(value.as_str().filter(|text| !text.is_empty())?))))
            .collect();
        // A required attribute that has a value may not be changed here (API reference, `RespondToAuthChallenge`).
        let required = list(challenge.parameter("requiredAttributes"));
        let bare = required.into_iter().map(|name| name.trim_start_matches("userAttributes.").to_owned());
        let missing = bare.filter(|name| !known.contains_key(name)).collect();
        self.notices.push(Notice::NewPasswordWanted);
        self.stage = Stage::WantsNewPassword(Renewal { password: None, missing, attributes: Parameters::new() });
        Step::Ask(Question::NewPassword)
    }

    fn set_up(&mut self, challenge: &Challenge) -> Result<Step, Failed> {
        let offered = list(challenge.parameter("MFAS_CAN_SETUP"));
        if !offered.is_empty() && !offered.iter().any(|name| name == "SOFTWARE_TOKEN_MFA") {
            return Err(Failed::SetupElsewhere { offered: offered.join(", ") });
        }
        let session = self.session.clone().ok_or_else(|| lacks(challenge, "Session"))?;
        self.stage = Stage::Associating;
        Ok(send(Call::AssociateSoftwareToken { session }))
    }

    /// Shows the secret for an authenticator application, and asks for the first code.
    pub(super) fn show(&mut self, secret: Secret, session: Secret) -> Step {
        // https://github.com/google/google-authenticator/wiki/Key-Uri-Format
        let label = percent_encoded(&format!("{}:{}", self.terms.user_pool_id, self.terms.username));
        let issuer = percent_encoded(&self.terms.user_pool_id);
        let uri = Secret::new(format!("otpauth://totp/{label}?secret={}&issuer={issuer}", secret.expose()));
        self.notices.push(Notice::NewApplication { uri, secret });
        self.ask_first_code(session)
    }
}

/// The ways in a list of Cognito's names, each once, in its order.
fn ways(names: &[String]) -> Vec<Way> {
    let mut ways = Vec::new();
    for name in names {
        let way = match name.as_str() {
            "PASSWORD" | "PASSWORD_SRP" => Way::Password,
            "SOFTWARE_TOKEN_MFA" => Way::Application,
            "SMS_MFA" | "SMS_OTP" => Way::TextMessage,
            "EMAIL_OTP" | "EMAIL_MFA" => Way::Email,
            _ => continue,
        };
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    ways
}

/// A parameter that is a list: JSON in a text.
fn list(parameter: Option<&str>) -> Vec<String> {
    parameter.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn lacks(challenge: &Challenge, parameter: &'static str) -> Failed {
    Failed::Incomplete { challenge: challenge.name.clone(), parameter }
}

/// RFC 3986 §2.1, for everything that is not unreserved.
fn percent_encoded(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encoded).collect()
}
