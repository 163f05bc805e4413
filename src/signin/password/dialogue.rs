//! The dialogue's state, and what it makes of what Cognito answers. Pure.

mod answers;
mod challenges;

use std::time::Duration;

use super::{Chance, Event, Failed, KnownDevice, Notice, Question, Step, Terms, Turn, Way, Wire};
use crate::{
    clock::UnixTime,
    cognito::{
        challenge::{Call, Challenge, Flow, Parameters, Reply, SignedIn},
        refusal::Refusal,
        srp::{Ephemeral, Identity},
    },
    secret::Secret,
    session::{Device, Failure},
    signin::Obtained,
};

/// How often a sign-in that Cognito has closed is begun again by itself. The person has to answer again, so once is
/// help and twice is a loop.
const RESTARTS: u8 = 1;

/// How old a challenge may be that is answered, in seconds. Cognito takes answers for three minutes by default
/// (`AuthSessionValidity`), and calls the password wrong that comes later: a person who takes longer to type gets a
/// challenge of their own.
const FRESH: Duration = Duration::from_secs(90);

/// A sign-in on its way.
#[derive(Debug)]
pub struct Dialogue {
    terms: Terms,
    stage: Stage,
    flow: Flow,
    /// `USER_ID_FOR_SRP`: the username behind the alias that was typed.
    user_id: Option<String>,
    /// What this sign-in's proof began with.
    exponent: Option<Ephemeral>,
    session: Option<Secret>,
    passwords_left: u8,
    restarts_left: u8,
    /// What the person chose, so that a new beginning does not ask again.
    chosen: Option<Way>,
    /// Why the first flow was not allowed: what the person has to hear, if no other is.
    first_refusal: Option<Refusal>,
    notices: Vec<Notice>,
}

/// What is waited for.
#[derive(Debug)]
enum Stage {
    /// The beginning.
    Idle,
    /// An answer to `InitiateAuth`.
    Began,
    /// The person's password, and what it is for.
    WantsPassword(Use),
    /// Cognito's opinion of the password.
    Proving,
    /// The person's code.
    WantsCode(CodeWanted),
    /// Cognito's opinion of it.
    SentCode(CodeWanted),
    /// The person's choice.
    WantsChoice(Choosing, Vec<Way>),
    /// What follows from it.
    SentChoice,
    /// The person's new password, and then the attributes.
    WantsNewPassword(Renewal),
    /// The person's value of the first attribute that is missing.
    WantsAttribute(Renewal),
    /// Cognito's opinion of them.
    SentNewPassword(Renewal),
    /// The secret for an authenticator application.
    Associating,
    /// The first code that it shows, with the session that follows the secret.
    WantsFirstCode(Secret),
    /// Cognito's opinion of it.
    SentFirstCode(Secret),
    /// An answer to `MFA_SETUP`.
    FinishingSetup,
    /// `DEVICE_PASSWORD_VERIFIER`, or tokens.
    ProvingDevice,
    /// An answer to `ConfirmDevice`.
    Confirming(Box<Obtained>),
    /// Nothing.
    Over,
}

/// What a password is for.
#[derive(Debug)]
enum Use {
    /// To answer `PASSWORD_VERIFIER`, which came then.
    Prove(Challenge, UnixTime),
    /// To begin, or to begin again.
    Begin,
    /// To be sent in answer to this challenge of the choice-based flow.
    Send(&'static str),
}

/// A code that is wanted.
#[derive(Clone, Debug)]
struct CodeWanted {
    /// `ChallengeName`.
    challenge: String,
    way: Way,
    destination: Option<String>,
}

/// Which choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choosing {
    /// `SELECT_MFA_TYPE`.
    SecondFactor,
    /// `SELECT_CHALLENGE`, and whether SRP is among what it offers.
    First { srp: bool },
}

/// An answer to `NEW_PASSWORD_REQUIRED` that is being put together.
#[derive(Debug)]
struct Renewal {
    password: Option<Secret>,
    missing: Vec<String>,
    attributes: Parameters,
}

impl Dialogue {
    /// A sign-in by these terms.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self {
            passwords_left: terms.passwords.max(1),
            terms,
            stage: Stage::Idle,
            flow: Flow::Srp,
            user_id: None,
            exponent: None,
            session: None,
            restarts_left: RESTARTS,
            chosen: None,
            first_refusal: None,
            notices: Vec::new(),
        }
    }

    /// What to do, now that this was heard.
    pub fn step(&mut self, event: Event, now: UnixTime, chance: Chance) -> Turn {
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        let step = match event {
            Event::Begin => Ok(self.begin(chance)),
            Event::Heard(reply) => self.heard(stage, reply, now, chance),
            Event::Refused(refusal) => self.refused(stage, refusal, chance),
            Event::Answered(answer) => self.answered(stage, answer, now, chance),
            Event::Chosen(choice) => self.chosen(stage, choice, chance),
        };
        let step = step.unwrap_or_else(Step::Failed);
        Turn { notices: std::mem::take(&mut self.notices), step }
    }

    /// `InitiateAuth`, or the question that comes before it.
    fn begin(&mut self, chance: Chance) -> Step {
        let mut parameters = Parameters::new();
        parameters.insert("USERNAME".into(), Secret::from(self.terms.username.as_str()));
        match (self.flow, &self.terms.password) {
            (Flow::Password, None) => return self.ask_password(Use::Begin),
            (Flow::Password, Some(password)) => drop(parameters.insert("PASSWORD".into(), password.clone())),
            (Flow::Srp, _) => drop(parameters.insert("SRP_A".into(), self.public(chance.exponent))),
            (Flow::Choice, _) => {}
        }
        if let Some(known) = self.terms.device.as_ref().filter(|known| known.username == self.terms.username) {
            parameters.insert("DEVICE_KEY".into(), Secret::from(known.device.key.as_str()));
        }
        self.session = None;
        self.user_id = None;
        self.stage = if self.flow == Flow::Password { Stage::Proving } else { Stage::Began };
        send(Call::Begin { flow: self.flow, parameters })
    }

    fn heard(&mut self, stage: Stage, reply: Reply, now: UnixTime, chance: Chance) -> Result<Step, Failed> {
        match (stage, reply) {
            (Stage::Confirming(obtained), Reply::DeviceConfirmed) => Ok(Step::Done(obtained)),
            (Stage::Associating, Reply::SoftwareToken { secret, session }) => Ok(self.show(secret, session)),
            (Stage::SentFirstCode(before), Reply::SoftwareTokenVerified { session }) => {
                self.session = Some(session.unwrap_or(before));
                self.stage = Stage::FinishingSetup;
                Ok(self.respond("MFA_SETUP", []))
            }
            (Stage::Confirming(_) | Stage::Associating | Stage::SentFirstCode(_) | Stage::Over, _) => {
                Err(Failed::OutOfOrder)
            }
            (_, Reply::Challenge(challenge)) => self.challenged(challenge, now, chance),
            (_, Reply::Tokens(signed_in)) => Ok(self.signed_in(*signed_in, &chance)),
            _ => Err(Failed::OutOfOrder),
        }
    }

    /// Tokens: all that can be left is to make the device known.
    fn signed_in(&mut self, signed_in: SignedIn, chance: &Chance) -> Step {
        let SignedIn { grant, refresh_token, new_device } = signed_in;
        let Some(new) = new_device else {
            let device = self.known_device().map(|known| known.device.clone());
            return Step::Done(Box::new(Obtained { grant, refresh_token, device }));
        };
        // Cognito gives access tokens with every sign-in of this API, and they have the scope that this takes.
        let access_token = grant.access_token.as_ref().map_or(&grant.id_token, |token| token).jwt.clone();
        let verifier = Identity::device(&new.group_key, &new.key, &chance.password).verifier(&chance.salt);
        let (salt, verifier) = verifier.to_base64();
        let (key, name) = (new.key.clone(), self.terms.device_name.clone());
        let device = Device { key: new.key, group_key: Some(new.group_key), password: Some(chance.password.clone()) };
        self.stage = Stage::Confirming(Box::new(Obtained { grant, refresh_token, device: Some(device) }));
        send(Call::ConfirmDevice { access_token, key, salt, verifier, name })
    }

    fn refused(&mut self, stage: Stage, refusal: Refusal, chance: Chance) -> Result<Step, Failed> {
        match (stage, refusal) {
            (Stage::Confirming(_), refusal) => Err(Failed::Device(refusal)),
            (Stage::ProvingDevice, Refusal::WrongPassword | Refusal::UnknownDevice) | (_, Refusal::UnknownDevice)
                if self.terms.device.is_some() =>
            {
                self.terms.device = None;
                self.notices.push(Notice::DeviceForgotten);
                Ok(self.begin(chance))
            }
            (Stage::Began | Stage::Proving, refusal) if self.is_closed(&refusal) => self.other_flow(refusal, chance),
            (Stage::Proving, Refusal::WrongPassword) => self.wrong_password(),
            (Stage::SentCode(wanted), refusal @ (Refusal::WrongCode | Refusal::SpentCode)) => {
                self.notices.push(Notice::Again(refusal));
                Ok(self.ask_code(wanted))
            }
            (Stage::SentFirstCode(session), refusal @ (Refusal::WrongCode | Refusal::SpentCode)) => {
                self.notices.push(Notice::Again(refusal));
                Ok(self.ask_first_code(session))
            }
            (Stage::SentNewPassword(mut renewal), refusal @ Refusal::NewPasswordRefused { .. }) => {
                self.notices.push(Notice::Again(refusal));
                renewal.password = None;
                self.stage = Stage::WantsNewPassword(renewal);
                Ok(Step::Ask(Question::NewPassword))
            }
            (_, Refusal::SessionOver) if self.restarts_left > 0 => {
                self.restarts_left -= 1;
                self.notices.push(Notice::Restarted(Refusal::SessionOver));
                Ok(self.begin(chance))
            }
            (_, refusal) => Err(Failed::Refused(refusal)),
        }
    }

    /// Whether the flow itself was refused. Endpoints that do not know the choice-based one say so in many ways.
    fn is_closed(&self, refusal: &Refusal) -> bool {
        match refusal {
            Refusal::FlowNotAllowed { .. } => true,
            Refusal::Other(Failure::Setting { .. }) => self.flow == Flow::Choice,
            _ => false,
        }
    }

    fn other_flow(&mut self, refusal: Refusal, chance: Chance) -> Result<Step, Failed> {
        let first = self.first_refusal.get_or_insert(refusal).clone();
        self.flow = match self.flow {
            Flow::Srp => Flow::Choice,
            Flow::Choice => {
                self.announce_sending()?;
                Flow::Password
            }
            Flow::Password => return Err(Failed::Refused(first)),
        };
        Ok(self.begin(chance))
    }

    /// Says that the password is about to be sent, where it may be.
    fn announce_sending(&mut self) -> Result<(), Failed> {
        if self.terms.wire == Wire::Open {
            return Err(Failed::PasswordInTheClear);
        }
        self.notices.push(Notice::PasswordIsSent(self.terms.wire));
        Ok(())
    }

    fn wrong_password(&mut self) -> Result<Step, Failed> {
        self.terms.password = None;
        self.passwords_left -= 1;
        if self.passwords_left == 0 {
            return Err(Failed::Refused(Refusal::WrongPassword));
        }
        self.notices.push(Notice::Again(Refusal::WrongPassword));
        Ok(self.ask_password(Use::Begin))
    }

    /// The device, where it is this user's.
    fn known_device(&self) -> Option<&KnownDevice> {
        self.terms.device.as_ref().filter(|known| known.username == self.user_id())
    }

    /// The username that responses carry.
    fn user_id(&self) -> &str {
        self.user_id.as_deref().unwrap_or(&self.terms.username)
    }

    /// `A` of a new exponent, which is kept for the proof.
    fn public(&mut self, exponent: Ephemeral) -> Secret {
        Secret::new(self.exponent.insert(exponent).public_hex())
    }

    /// `RespondToAuthChallenge` with the username, the device and these.
    fn respond<const N: usize>(&self, challenge: &str, given: [(&str, Secret); N]) -> Step {
        let mut responses: Parameters = given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        responses.insert("USERNAME".into(), Secret::from(self.user_id()));
        if let Some(known) = self.known_device() {
            responses.entry("DEVICE_KEY".into()).or_insert_with(|| Secret::from(known.device.key.as_str()));
        }
        send(Call::Respond { challenge: challenge.to_owned(), session: self.session.clone(), responses })
    }

    fn ask_password(&mut self, purpose: Use) -> Step {
        self.stage = Stage::WantsPassword(purpose);
        Step::Ask(Question::Password { username: self.terms.username.clone() })
    }

    fn ask_code(&mut self, wanted: CodeWanted) -> Step {
        let question = Question::Code { way: wanted.way, destination: wanted.destination.clone() };
        self.stage = Stage::WantsCode(wanted);
        Step::Ask(question)
    }

    fn ask_first_code(&mut self, session: Secret) -> Step {
        self.stage = Stage::WantsFirstCode(session);
        Step::Ask(Question::Code { way: Way::Application, destination: None })
    }
}

fn send(call: Call) -> Step {
    Step::Send(Box::new(call))
}

#[cfg(test)]
mod tests;
