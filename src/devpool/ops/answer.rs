//! What an operation answers with, before it is written.

use serde_json::{Value, json};

use crate::devpool::{exception::Exception, keys::KeySet, lie::Lie, state::challenges::Outcome, tokens::Grant};

/// What an operation answers with.
#[derive(Clone, Debug)]
pub(in crate::devpool) enum Answer {
    /// This.
    Json(Value),
    /// Tokens, which are written as late as possible so that a lie can bend them.
    Tokens {
        /// The tokens.
        grant: Box<Grant>,
        /// `ChallengeParameters` beside them, as `InitiateAuth` has it.
        challenge_parameters: bool,
    },
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Challenge(challenge) => Self::Json(challenge),
            Outcome::Tokens(grant) => Self::Tokens { grant, challenge_parameters: true },
        }
    }
}

impl Answer {
    /// The body.
    pub(in crate::devpool) fn render(&self, keys: &KeySet, lie: Option<&Lie>) -> Result<Value, Exception> {
        match self {
            Self::Json(value) => Ok(value.clone()),
            Self::Tokens { grant, challenge_parameters } => {
                let mut body = json!({});
                if lie != Some(&Lie::NoResult) {
                    body["AuthenticationResult"] = grant.authentication_result(keys, lie)?;
                }
                if *challenge_parameters {
                    body["ChallengeParameters"] = json!({});
                }
                Ok(body)
            }
        }
    }
}
