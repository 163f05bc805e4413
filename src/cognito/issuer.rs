//! One refresh: keys first, then the one call that spends the refresh token, then the verification of what came.
//!
//! Makes one attempt and keeps no token. What it does keep, for the life of the process, is the key set and the
//! knowledge that an endpoint does not know `GetTokensFromRefreshToken`.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::hmac;
use aws_sdk_cognitoidentityprovider::{
    Client,
    types::{AuthFlowType, AuthenticationResultType},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Method, Request};

use super::{
    AwsCredentials, Issuer, RefreshApi, RefreshRequest, Settings,
    describe::{self, AppClient},
    jwks::{KeySet, Keys, NoKeySet},
    sdk::{self, DateWitness, Refused},
    transport::Transport,
    verify::{Expectation, Rejection, Signature, verify, verify_stored},
};
use crate::{
    clock::{Now, SharedClock, UnixTime},
    secret::Secret,
    session::{Failure, Grant, Session, Token, TokenKind, TransientKind},
};

/// Refreshes at Cognito itself.
pub struct CognitoIssuer {
    settings: Settings,
    /// Made for the first call: a process that starts with a token that is good needs none for an hour.
    client: OnceLock<Client>,
    transport: Transport,
    clock: SharedClock,
    /// Held for moments, never across an `await`.
    keys: Mutex<Keys>,
    lacks_get_tokens: AtomicBool,
    /// For the one call that only IAM may make.
    aws_credentials: Option<AwsCredentials>,
}

/// What a call brought, not verified yet.
#[derive(Clone, Debug)]
pub struct Unverified {
    /// What should be an ID token.
    pub id_token: Secret,
    /// What should be an access token.
    pub access_token: Option<Secret>,
    /// The refresh token: of a sign-in always, of a refresh where the app client rotates.
    pub refresh_token: Option<Secret>,
    /// The `Date` header of the answer.
    pub date: Option<UnixTime>,
}

impl Issuer for CognitoIssuer {
    fn refresh(&self, request: RefreshRequest) -> BoxFuture<'_, Result<Grant, Failure>> {
        Box::pin(self.attempt(request))
    }

    fn reverify(&self, session: Session, now: Now) -> Session {
        verify_stored(session.clone(), &self.settings, now).unwrap_or_else(|rejection| {
            tracing::warn!(%rejection, "stored tokens are not used, the refresh token is");
            session.without_tokens(now)
        })
    }

    fn refresh_validity(&self) -> BoxFuture<'_, Option<Duration>> {
        Box::pin(self.ask_validity())
    }
}

impl CognitoIssuer {
    /// For the pool in `settings`, over `transport`.
    #[must_use]
    pub fn new(settings: Settings, transport: Transport, clock: SharedClock) -> Self {
        Self {
            client: OnceLock::new(),
            settings,
            transport,
            clock,
            keys: Mutex::new(Keys::default()),
            lacks_get_tokens: AtomicBool::new(false),
            aws_credentials: None,
        }
    }

    /// The same, which asks the pool how long refresh tokens live where there are credentials for that.
    #[must_use]
    pub fn with_aws_credentials(self, aws_credentials: Option<AwsCredentials>) -> Self {
        Self { aws_credentials, ..self }
    }

    /// Makes sure of the key set, before somebody signs in only to learn that it cannot be had.
    ///
    /// # Errors
    /// Where it cannot be had.
    pub async fn ready(&self) -> Result<(), Failure> {
        self.keys_before_spending(None).await.map(drop)
    }

    /// Verifies what a sign-in brought, whoever it is that signed in.
    ///
    /// # Errors
    /// [`Failure::Unacceptable`] where a token is not what it must be, and what keeps the key set away.
    pub async fn accept_sign_in(&self, tokens: Unverified) -> Result<Grant, Failure> {
        let keys = self.keys_before_spending(None).await?;
        self.accept(tokens, keys, None).await
    }

    /// How the app client is set up; `None` where there are no AWS credentials to ask with.
    ///
    /// # Errors
    /// Where it cannot be asked, or may not be.
    pub async fn app_client(&self) -> Option<Result<AppClient, Failure>> {
        let credentials = self.aws_credentials.as_ref()?;
        describe::app_client(&self.settings, self.transport.clone(), credentials).await.transpose()
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| sdk::client(&self.settings, self.transport.clone()))
    }

    async fn ask_validity(&self) -> Option<Duration> {
        let credentials = self.aws_credentials.as_ref()?;
        match describe::app_client(&self.settings, self.transport.clone(), credentials).await {
            Ok(client) => client?.refresh_validity,
            Err(failure) => {
                tracing::debug!(%failure, "the pool does not say how long refresh tokens live");
                None
            }
        }
    }

    async fn attempt(&self, request: RefreshRequest) -> Result<Grant, Failure> {
        let keys = self.keys_before_spending(request.jwks.as_deref()).await?;
        let answer = self.exchange(&request).await?;
        self.accept(answer, keys, request.subject.as_deref()).await
    }

    /// The key set that the answer will be verified with; `None` where signatures are not verified at all.
    async fn keys_before_spending(&self, stored: Option<&str>) -> Result<Option<Arc<KeySet>>, Failure> {
        if !self.settings.verify_signature {
            return Ok(None);
        }
        let ready = self.keys().ready(stored);
        match ready {
            Some(keys) => Ok(Some(keys)),
            None => self.fetch_keys().await.map(Some),
        }
    }

    async fn fetch_keys(&self) -> Result<Arc<KeySet>, Failure> {
        let url = &self.settings.jwks_url;
        let unusable = |problem: String| Failure::Transient {
            kind: TransientKind::Jwks,
            sent: false,
            detail: format!("the key set at {url}: {problem}"),
        };
        let request = Request::builder().method(Method::GET).uri(url.clone()).body(Bytes::new());
        let request = request.map_err(|error| unusable(error.to_string()))?;
        // Nothing was spent by a GET, however far it came.
        let response = self.transport.call(request).await.map_err(|error| Failure::Transient {
            kind: error.kind(),
            sent: false,
            detail: format!("the key set at {url}: {error}"),
        })?;
        if !response.status().is_success() {
            return Err(unusable(format!("status {}", response.status().as_u16())));
        }
        let set = KeySet::parse(response.body()).map_err(|error: NoKeySet| unusable(error.to_string()))?;
        Ok(self.keys().fetched(set, self.clock.now().boot))
    }

    async fn exchange(&self, request: &RefreshRequest) -> Result<Unverified, Failure> {
        let known_to_lack = self.lacks_get_tokens.load(Ordering::Relaxed);
        let refused = match self.settings.refresh_api {
            RefreshApi::GetTokensFromRefreshToken => self.get_tokens(request).await,
            RefreshApi::InitiateAuth => self.initiate_auth(request).await,
            RefreshApi::Auto if known_to_lack => self.initiate_auth(request).await,
            RefreshApi::Auto => match self.get_tokens(request).await {
                Err(refused) if refused.unknown_operation => {
                    tracing::debug!("the endpoint does not know GetTokensFromRefreshToken; InitiateAuth from now on");
                    self.lacks_get_tokens.store(true, Ordering::Relaxed);
                    self.initiate_auth(request).await
                }
                answered => answered,
            },
        };
        refused.map_err(|refused| with_hint(refused.failure, request))
    }

    async fn get_tokens(&self, request: &RefreshRequest) -> Result<Unverified, Refused> {
        let witness = DateWitness::default();
        let secret = self.settings.client_secret.as_ref();
        let call = self
            .client()
            .get_tokens_from_refresh_token()
            .refresh_token(request.refresh_token.expose())
            .client_id(&self.settings.client_id)
            .set_client_secret(secret.map(|secret| secret.expose().to_owned()))
            .set_device_key(request.device.as_ref().map(|device| device.key.clone()))
            .customize()
            .interceptor(witness.clone());
        match call.send().await {
            Ok(output) => answer(output.authentication_result, None, witness.date()),
            Err(error) => Err(Refused::from_sdk(&error, &self.secrets(request, None))),
        }
    }

    async fn initiate_auth(&self, request: &RefreshRequest) -> Result<Unverified, Refused> {
        let witness = DateWitness::default();
        let hash = self.settings.client_secret.as_ref().map(|secret| self.secret_hash(secret, request));
        let call = self
            .client()
            .initiate_auth()
            .auth_flow(AuthFlowType::RefreshTokenAuth)
            .client_id(&self.settings.client_id)
            .auth_parameters("REFRESH_TOKEN", request.refresh_token.expose());
        let call = match &hash {
            Some(hash) => call.auth_parameters("SECRET_HASH", hash.expose()),
            None => call,
        };
        let call = match &request.device {
            Some(device) => call.auth_parameters("DEVICE_KEY", &device.key),
            None => call,
        };
        match call.customize().interceptor(witness.clone()).send().await {
            Ok(output) => {
                let challenge = output.challenge_name.map(|name| name.as_str().to_owned());
                answer(output.authentication_result, challenge, witness.date())
            }
            Err(error) => Err(Refused::from_sdk(&error, &self.secrets(request, hash.as_ref()))),
        }
    }

    /// `SECRET_HASH` (Amazon Cognito developer guide, "Computing secret hash values"): over `cognito:username`, which
    /// is the `sub` in pools whose users sign in with an e-mail address or a telephone number.
    ///
    /// An import may know neither. Amazon's own Android SDK sends the client secret itself then, which Cognito takes.
    fn secret_hash(&self, secret: &Secret, request: &RefreshRequest) -> Secret {
        let username = request.username.as_ref().or(request.subject.as_ref());
        username.map_or_else(|| secret.clone(), |username| self.hash_over(secret, username))
    }

    /// Base64 of HMAC-SHA256 over the username and the client id.
    fn hash_over(&self, secret: &Secret, username: &str) -> Secret {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let message = format!("{username}{}", self.settings.client_id);
        Secret::new(STANDARD.encode(hmac::sign(&key, message.as_bytes())))
    }

    /// What an exception's message could echo.
    fn secrets<'a>(&'a self, request: &'a RefreshRequest, hash: Option<&'a Secret>) -> Vec<&'a str> {
        let secrets = [Some(&request.refresh_token), self.settings.client_secret.as_ref(), hash];
        let device = request.device.as_ref().map(|device| device.key.as_str());
        secrets.into_iter().flatten().map(Secret::expose).chain(device).collect()
    }

    /// Verifies what came, with a newer key set where that is what it takes.
    async fn accept(
        &self,
        answer: Unverified,
        keys: Option<Arc<KeySet>>,
        subject: Option<&str>,
    ) -> Result<Grant, Failure> {
        let rejection = match self.grant(&answer, keys.as_deref(), subject) {
            Err(rejection) if rejection.wants_keys() && self.may_fetch_again() => match self.fetch_keys().await {
                Err(failure) => return Err(kept(answer, failure)),
                Ok(newer) => match self.grant(&answer, Some(&newer), subject) {
                    Ok(grant) => return Ok(grant),
                    Err(rejection) => rejection,
                },
            },
            Err(rejection) => rejection,
            Ok(grant) => return Ok(grant),
        };
        let failure = unacceptable(&rejection);
        let genuine = self.settings.verify_signature && rejection.is_of_this_user();
        Err(if genuine { kept(answer, failure) } else { failure })
    }

    fn grant(&self, answer: &Unverified, keys: Option<&KeySet>, subject: Option<&str>) -> Result<Grant, Rejection> {
        let signature = match (keys, self.settings.verify_signature) {
            (_, false) => Signature::Skipped,
            (Some(keys), true) => Signature::VerifiedBy(keys),
            (None, true) => return Err(Rejection::NoKeys),
        };
        let received = self.clock.now();
        let token = |jwt: &Secret, kind, subject: Option<&str>| {
            let claims = verify(jwt.expose(), signature, &Expectation::of(&self.settings, kind, subject))?;
            Ok(Token { jwt: jwt.clone(), claims, received })
        };
        let id_token = token(&answer.id_token, TokenKind::Id, subject)?;
        let access_token = answer.access_token.as_ref();
        let access_token =
            access_token.map(|jwt| token(jwt, TokenKind::Access, Some(&id_token.claims.subject))).transpose()?;
        Ok(Grant {
            id_token,
            access_token,
            refresh_token: answer.refresh_token.clone(),
            date: answer.date,
            jwks: keys.map(KeySet::to_json),
        })
    }

    fn may_fetch_again(&self) -> bool {
        let now = self.clock.now().boot;
        self.keys().lacks_a_key(now)
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        // Each use leaves the keys whole, so a panic elsewhere while they were held has broken nothing.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The tokens of an answer, none of them verified.
fn answer(
    result: Option<AuthenticationResultType>,
    challenge: Option<String>,
    date: Option<UnixTime>,
) -> Result<Unverified, Refused> {
    let failed = |failure| Err(Refused { failure, unknown_operation: false, exception: None });
    let malformed =
        |detail: &str| Failure::Transient { kind: TransientKind::Malformed, sent: false, detail: detail.to_owned() };
    let Some(result) = result else {
        return failed(match challenge {
            Some(name) => Failure::Ambiguous { detail: format!("Cognito wants the challenge {name} answered") },
            None => malformed("an answer without tokens"),
        });
    };
    let refresh_token = result.refresh_token.map(Secret::new);
    match (result.id_token.map(Secret::new), refresh_token) {
        (Some(id_token), refresh_token) => {
            Ok(Unverified { id_token, access_token: result.access_token.map(Secret::new), refresh_token, date })
        }
        (None, Some(rotated)) => {
            let failure = Box::new(malformed("an answer without an ID token"));
            failed(Failure::Rotated { rotated, failure })
        }
        (None, None) => failed(malformed("an answer without an ID token")),
    }
}

/// No usable tokens came, and yet the refresh token was exchanged: what took its place must not be lost.
fn kept(answer: Unverified, failure: Failure) -> Failure {
    match answer.refresh_token {
        Some(rotated) => Failure::Rotated { rotated, failure: Box::new(failure) },
        None => failure,
    }
}

fn unacceptable(rejection: &Rejection) -> Failure {
    Failure::Unacceptable { detail: rejection.to_string() }
}

/// Cognito says "Invalid Refresh Token" of a good token too, where the pool remembers devices and no device key was
/// sent (AWS re:Post, "invalid refresh token").
fn with_hint(failure: Failure, request: &RefreshRequest) -> Failure {
    match failure {
        Failure::Ambiguous { detail } if request.device.is_none() => Failure::Ambiguous {
            detail: format!(
                "{} (if the pool remembers devices, the token's device key is needed too)",
                detail.trim_end_matches('.')
            ),
        },
        other => other,
    }
}

mod sign_in;

#[cfg(test)]
mod tests;
