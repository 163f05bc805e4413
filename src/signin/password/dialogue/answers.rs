//! What is made of the person's answers.

use super::{
    super::{Chance, Failed, Question, Step, Way},
    CodeWanted, Dialogue, FRESH, Renewal, Stage, Use, send,
};
use crate::{clock::UnixTime, cognito::challenge::Call, secret::Secret};

impl Dialogue {
    pub(super) fn answered(
        &mut self,
        stage: Stage,
        answer: Secret,
        now: UnixTime,
        chance: Chance,
    ) -> Result<Step, Failed> {
        match stage {
            Stage::WantsPassword(purpose) => {
                self.terms.password = Some(answer.clone());
                match purpose {
                    Use::Prove(_, at) if now.since(at) > FRESH => Ok(self.begin(chance)),
                    Use::Prove(challenge, _) => self.prove(&challenge, &answer, now),
                    Use::Begin => Ok(self.begin(chance)),
                    Use::Send(challenge) => Ok(self.password_sent(challenge, answer)),
                }
            }
            Stage::WantsCode(wanted) => {
                let step = self.respond(&wanted.challenge, [(wanted.response(), spaceless(&answer))]);
                self.stage = Stage::SentCode(wanted);
                Ok(step)
            }
            Stage::WantsFirstCode(session) => {
                let code = spaceless(&answer);
                self.stage = Stage::SentFirstCode(session.clone());
                Ok(send(Call::VerifySoftwareToken { session, code }))
            }
            Stage::WantsNewPassword(mut renewal) => {
                renewal.password = Some(answer);
                Ok(self.renew(renewal))
            }
            Stage::WantsAttribute(mut renewal) => {
                if !renewal.missing.is_empty() {
                    let name = renewal.missing.remove(0);
                    renewal.attributes.insert(format!("userAttributes.{name}"), answer);
                }
                Ok(self.renew(renewal))
            }
            _ => Err(Failed::OutOfOrder),
        }
    }

    pub(super) fn chosen(&mut self, stage: Stage, choice: usize, chance: Chance) -> Result<Step, Failed> {
        let Stage::WantsChoice(choosing, ways) = stage else { return Err(Failed::OutOfOrder) };
        let way = *ways.get(choice).ok_or(Failed::OutOfOrder)?;
        self.chosen = Some(way);
        self.choice(choosing, way, chance)
    }

    /// Asks for the next attribute, or sends what is there.
    fn renew(&mut self, renewal: Renewal) -> Step {
        if let Some(name) = renewal.missing.first().cloned() {
            self.stage = Stage::WantsAttribute(renewal);
            return Step::Ask(Question::Attribute { name });
        }
        let mut step = self.respond("NEW_PASSWORD_REQUIRED", []);
        if let (Step::Send(call), Some(password)) = (&mut step, &renewal.password)
            && let Call::Respond { responses, .. } = call.as_mut()
        {
            responses.insert("NEW_PASSWORD".into(), password.clone());
            responses.extend(renewal.attributes.clone());
            // From now on it is the password that a new beginning proves.
            self.terms.password = Some(password.clone());
        }
        self.stage = Stage::SentNewPassword(renewal);
        step
    }
}

impl CodeWanted {
    /// What the code is called in the response.
    fn response(&self) -> &'static str {
        match (self.way, self.challenge.as_str()) {
            (Way::TextMessage, "SMS_OTP") => "SMS_OTP_CODE",
            (Way::TextMessage, _) => "SMS_MFA_CODE",
            (Way::Email, "EMAIL_MFA") => "EMAIL_MFA_CODE",
            (Way::Email, _) => "EMAIL_OTP_CODE",
            (Way::Application | Way::Password, _) => "SOFTWARE_TOKEN_MFA_CODE",
        }
    }
}

/// Codes are shown in groups, and copied with the space between them.
fn spaceless(code: &Secret) -> Secret {
    Secret::new(code.expose().chars().filter(|c| !c.is_whitespace()).collect())
}
