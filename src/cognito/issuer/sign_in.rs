//! The calls of a sign-in. Which one is due, and what with, is `signin`'s to know.

use aws_sdk_cognitoidentityprovider::{
    error::{ProvideErrorMetadata, SdkError},
    types::{
        AuthFlowType, AuthenticationResultType, ChallengeNameType, DeviceSecretVerifierConfigType,
        NewDeviceMetadataType,
    },
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::{CognitoIssuer, answer};
use crate::{
    clock::UnixTime,
    cognito::{
        challenge::{Call, Challenge, Flow, NewDevice, Parameters, Reply, SignedIn},
        refusal::{Refusal, refusal},
        sdk::{DateWitness, Refused},
    },
    secret::Secret,
    session::{Failure, TransientKind},
};

/// The parameter that the secret hash is computed over, and the hash's own.
const USERNAME: &str = "USERNAME";
const SECRET_HASH: &str = "SECRET_HASH";

/// An answer to either of the two calls that bring challenges and tokens.
struct Turn {
    result: Option<AuthenticationResultType>,
    challenge: Challenge,
    date: Option<UnixTime>,
}

impl CognitoIssuer {
    /// One call of a sign-in, with one attempt. Tokens that it brings have been verified.
    ///
    /// # Errors
    /// What Cognito says, sorted by what it means to the person; a call that was not answered is among them.
    pub async fn sign_in(&self, call: &Call) -> Result<Reply, Refusal> {
        match call {
            Call::Begin { flow, parameters } => self.begin(*flow, parameters).await,
            Call::Respond { challenge, session, responses } => {
                self.respond(challenge, session.as_ref(), responses).await
            }
            Call::AssociateSoftwareToken { session } => self.associate(session).await,
            Call::VerifySoftwareToken { session, code } => self.verify_token(session, code).await,
            Call::ConfirmDevice { access_token, key, salt, verifier, name } => {
                let config = DeviceSecretVerifierConfigType::builder().salt(salt).password_verifier(verifier).build();
                let call = self.client().confirm_device().access_token(access_token.expose()).device_key(key);
                let call = call.device_secret_verifier_config(config).device_name(name);
                let confirmed = call.send().await.map_err(|error| refused(&error, &[access_token.expose(), verifier]));
                confirmed.map(|_| Reply::DeviceConfirmed)
            }
        }
    }

    async fn begin(&self, flow: Flow, parameters: &Parameters) -> Result<Reply, Refusal> {
        // Before a code is spent whose tokens could not be verified.
        self.ready().await.map_err(Refusal::Other)?;
        let (witness, parameters) = (DateWitness::default(), self.hashed(parameters));
        let mut call = self.client().initiate_auth().client_id(&self.settings.client_id).auth_flow(match flow {
            Flow::Srp => AuthFlowType::UserSrpAuth,
            Flow::Choice => AuthFlowType::UserAuth,
            Flow::Password => AuthFlowType::UserPasswordAuth,
        });
        for (name, value) in &parameters {
            call = call.auth_parameters(name, value.expose());
        }
        let output = call.customize().interceptor(witness.clone()).send().await;
        let output = output.map_err(|error| refused(&error, &sent(&parameters)))?;
        let challenge = Challenge {
            name: name_of(output.challenge_name.as_ref()),
            session: output.session.map(Secret::new),
            parameters: output.challenge_parameters.unwrap_or_default().into_iter().collect(),
            available: output.available_challenges.iter().flatten().map(|name| name.as_str().to_owned()).collect(),
        };
        self.reply(Turn { result: output.authentication_result, challenge, date: witness.date() }).await
    }

    async fn respond(
        &self,
        challenge: &str,
        session: Option<&Secret>,
        responses: &Parameters,
    ) -> Result<Reply, Refusal> {
        let (witness, responses) = (DateWitness::default(), self.hashed(responses));
        let mut call = self
            .client()
            .respond_to_auth_challenge()
            .client_id(&self.settings.client_id)
            .challenge_name(ChallengeNameType::from(challenge))
            .set_session(session.map(|session| session.expose().to_owned()));
        for (name, value) in &responses {
            call = call.challenge_responses(name, value.expose());
        }
        let output = call.customize().interceptor(witness.clone()).send().await;
        let output = output.map_err(|error| refused(&error, &sent(&responses)))?;
        let challenge = Challenge {
            name: name_of(output.challenge_name.as_ref()),
            session: output.session.map(Secret::new),
            parameters: output.challenge_parameters.unwrap_or_default().into_iter().collect(),
            available: Vec::new(),
        };
        self.reply(Turn { result: output.authentication_result, challenge, date: witness.date() }).await
    }

    async fn associate(&self, session: &Secret) -> Result<Reply, Refusal> {
        let call = self.client().associate_software_token().session(session.expose());
        let output = call.send().await.map_err(|error| refused(&error, &[session.expose()]))?;
        match (output.secret_code, output.session) {
            (Some(secret), Some(session)) => {
                Ok(Reply::SoftwareToken { secret: Secret::new(secret), session: Secret::new(session) })
            }
            _ => Err(malformed("AssociateSoftwareToken was answered without a secret or a session")),
        }
    }

    async fn verify_token(&self, session: &Secret, code: &Secret) -> Result<Reply, Refusal> {
        let call = self.client().verify_software_token().session(session.expose()).user_code(code.expose());
        let output = call.send().await.map_err(|error| refused(&error, &[session.expose(), code.expose()]))?;
        match output
            .status
            .as_ref()
            .map(aws_sdk_cognitoidentityprovider::types::VerifySoftwareTokenResponseType::as_str)
        {
            Some("SUCCESS") => Ok(Reply::SoftwareTokenVerified { session: output.session.map(Secret::new) }),
            _ => Err(Refusal::WrongCode),
        }
    }

    async fn reply(&self, turn: Turn) -> Result<Reply, Refusal> {
        let Turn { result: Some(result), challenge, date } = turn else {
            return match turn.challenge.name.as_str() {
                "" => Err(malformed("an answer with neither tokens nor a challenge")),
                _ => Ok(Reply::Challenge(turn.challenge)),
            };
        };
        let new_device = result.new_device_metadata().and_then(new_device);
        let answer =
            answer(Some(result), Some(challenge.name), date).map_err(|refused| Refusal::Other(refused.failure))?;
        let refresh_token = answer.refresh_token.clone().ok_or_else(|| malformed("tokens without a refresh token"))?;
        let grant = self.accept_sign_in(answer).await.map_err(|failure| Refusal::Other(failure.split().1))?;
        Ok(Reply::Tokens(Box::new(SignedIn { grant, refresh_token, new_device })))
    }

    /// With `SECRET_HASH`, where the client has a secret: over the call's own username, which is an alias at the
    /// beginning, as it was typed, and `USER_ID_FOR_SRP` in every response.
    fn hashed(&self, parameters: &Parameters) -> Parameters {
        let mut parameters = parameters.clone();
        if let (Some(secret), Some(username)) = (&self.settings.client_secret, parameters.get(USERNAME)) {
            let hash = self.hash_over(secret, username.expose());
            parameters.insert(SECRET_HASH.into(), hash);
        }
        parameters
    }
}

/// What an exception's message could echo. The username is no secret, and a message without it says less.
fn sent(parameters: &Parameters) -> Vec<&str> {
    let secrets = parameters.iter().filter(|(name, _)| name.as_str() != USERNAME);
    secrets.map(|(_, value)| value.expose()).collect()
}

fn name_of(name: Option<&ChallengeNameType>) -> String {
    name.map(|name| name.as_str().to_owned()).unwrap_or_default()
}

fn new_device(metadata: &NewDeviceMetadataType) -> Option<NewDevice> {
    let (key, group_key) = (metadata.device_key()?.to_owned(), metadata.device_group_key()?.to_owned());
    Some(NewDevice { key, group_key })
}

fn refused<E>(error: &SdkError<E, HttpResponse>, secrets: &[&str]) -> Refusal
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let Refused { failure, exception, .. } = Refused::from_sdk(error, secrets);
    match exception {
        Some(exception) => refusal(&exception.name, &exception.message, failure),
        None => Refusal::Other(failure),
    }
}

fn malformed(detail: &str) -> Refusal {
    Refusal::Other(Failure::Transient { kind: TransientKind::Malformed, sent: false, detail: detail.to_owned() })
}
