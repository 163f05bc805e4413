//! The pool itself: sign-ins and their refresh tokens, by Cognito's rules. Pure: `now` is a parameter.
//!
//! What the rules are and where they come from:
//! - `auth_time` and `origin_jti` stay those of the sign-in over every refresh (Amazon Cognito developer guide,
//!   "Understanding the identity (ID) token"), and the refresh token ends at `auth_time` + validity.
//! - Under rotation "the new refresh token is valid for the remaining duration of the original refresh token" (the same
//!   guide, "Refresh tokens").
//!
//! Whether a changed `RefreshTokenValidity` applies to tokens that were issued before is not documented; here it does.

pub(super) mod challenges;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use self::challenges::Challenges;
use super::{
    codes::Codes,
    exception::Exception,
    jwt::Parts,
    keys::{KeyError, KeySet},
    random,
    settings::{AppClient, DeviceRule, ReuseRule, Revocation, Rotation, Settings, Standing, User},
    tokens::{Device, Grant, RotationStep},
};
use crate::{clock::UnixTime, session::TokenKind};

pub(super) use super::settings::ADMIN_SCOPE;

/// A pool at work.
#[derive(Debug)]
pub(super) struct Pool {
    /// As it was started, with what was changed since; `clients` and `users` have moved to the maps.
    pub(super) settings: Settings,
    /// What `iss` says.
    pub(super) issuer: String,
    /// By client id.
    pub(super) clients: BTreeMap<String, AppClient>,
    /// By username.
    pub(super) users: BTreeMap<String, User>,
    /// Authorization codes that wait to be redeemed.
    pub(super) codes: Codes,
    sign_ins: Vec<SignIn>,
    /// SHA-256 of each refresh token, with its place: the tokens themselves are not kept.
    refresh_tokens: HashMap<[u8; 32], Place>,
    keys: Arc<KeySet>,
    /// Keys that sign no more and are still in the key set.
    retired_keys: Vec<Arc<KeySet>>,
    generation: usize,
    /// Sign-ins that are not finished, and the devices that are remembered.
    pub(super) challenges: Challenges,
    /// How far AWS's clock is ahead of ours, in milliseconds.
    pub(super) skew_millis: i64,
}

/// One sign-in.
#[derive(Clone, Debug)]
struct SignIn {
    client_id: String,
    username: String,
    auth_time: UnixTime,
    origin_jti: String,
    scope: String,
    life: Life,
    device: Option<Device>,
    /// For each refresh token of this sign-in, when it was first used up by rotation.
    retired_at: Vec<Option<UnixTime>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Live,
    Revoked,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    sign_in: usize,
    token: usize,
}

/// How a client proves that it knows its secret.
#[derive(Clone, Copy, Debug)]
pub(super) enum Proof<'a> {
    /// `ClientSecret`.
    Plain(Option<&'a str>),
    /// `SECRET_HASH`: base64 of HMAC-SHA256 over username and client id.
    Hash(Option<&'a str>),
}

/// What a refresh presents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spend<'a> {
    /// The refresh token.
    pub(super) token: &'a str,
    /// The app client.
    pub(super) client_id: &'a str,
    /// Its secret.
    pub(super) proof: Proof<'a>,
    /// The device.
    pub(super) device_key: Option<&'a str>,
}

/// Which device a sign-in is from, where the pool remembers devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DeviceUsed {
    /// A new one that is confirmed already: a sign-in by the handle is a finished one.
    NewAndConfirmed,
    /// A new one, for which the caller is to call `ConfirmDevice`.
    New,
    /// One that has proved itself.
    Known(Device),
}

impl Pool {
    /// A pool whose tokens name `issuer`.
    pub(super) fn new(mut settings: Settings, issuer: String) -> Result<Self, KeyError> {
        let clients = settings.clients.drain(..).map(|client| (client.id.clone(), client)).collect();
        let users = settings.users.drain(..).map(|user| (user.username.clone(), user)).collect();
        Ok(Self {
            settings,
            issuer,
            clients,
            users,
            codes: Codes::default(),
            sign_ins: Vec::new(),
            refresh_tokens: HashMap::new(),
            keys: KeySet::of_generation(0)?,
            retired_keys: Vec::new(),
            generation: 0,
            challenges: Challenges::default(),
            skew_millis: 0,
        })
    }

    /// The keys that sign now.
    pub(super) fn keys(&self) -> &Arc<KeySet> {
        &self.keys
    }

    /// The keys of the published set: those that sign now, then the retired ones.
    pub(super) fn published_keys(&self) -> impl Iterator<Item = &Arc<KeySet>> {
        std::iter::once(&self.keys).chain(&self.retired_keys)
    }

    /// Counts the rotations of the keys.
    pub(super) const fn key_generation(&self) -> usize {
        self.generation
    }

    /// Signs with new keys from now on; the old ones stay published where `keep_old`.
    pub(super) fn rotate_keys(&mut self, keep_old: bool) -> Result<(), KeyError> {
        let next = KeySet::of_generation(self.generation + 1)?;
        let old = std::mem::replace(&mut self.keys, next);
        self.generation += 1;
        if keep_old {
            self.retired_keys.insert(0, old);
        } else {
            self.retired_keys.clear();
        }
        Ok(())
    }

    /// The app client of that id.
    pub(super) fn client(&self, id: &str) -> Result<&AppClient, Exception> {
        self.clients.get(id).ok_or_else(|| Exception::no_such_client(id))
    }

    /// The user of that username or e-mail address.
    pub(super) fn user(&self, name: &str) -> Option<&User> {
        self.users.get(name).or_else(|| self.users.values().find(|user| user.email == name))
    }

    /// Signs a user in. The grant has a refresh token.
    pub(super) fn sign_in(
        &mut self,
        now: UnixTime,
        username: &str,
        client_id: &str,
        scope: &str,
        from: DeviceUsed,
    ) -> Result<Grant, Exception> {
        let client = self.client(client_id)?.clone();
        let user = self.user(username).ok_or_else(no_such_user)?.clone();
        if let Some(refusal) = standing_refusal(user.standing) {
            return Err(refusal);
        }
        let is_confirmed = from == DeviceUsed::NewAndConfirmed;
        let device = (self.settings.devices == DeviceRule::Remembered).then(|| match from {
            DeviceUsed::Known(device) => device,
            DeviceUsed::NewAndConfirmed | DeviceUsed::New => Device {
                key: format!("{}_{}", self.region(), random::uuid()),
                group_key: format!("-{}", random::uuid()),
                confirmed: is_confirmed,
            },
        });
        self.sign_ins.push(SignIn {
            client_id: client.id.clone(),
            username: user.username.clone(),
            auth_time: now,
            origin_jti: random::uuid(),
            scope: scope.to_owned(),
            life: Life::Live,
            device,
            retired_at: Vec::new(),
        });
        let index = self.sign_ins.len() - 1;
        let refresh_token = self.new_refresh_token(index);
        Ok(Grant {
            refresh_token: Some(refresh_token),
            device: self.sign_ins[index].device.clone(),
            ..self.grant(now, index, &client, &user)
        })
    }

    /// New tokens for a refresh token. The order of the checks is AWS's where that is known: the token comes before
    /// the secret, so a bad token masks a bad secret.
    pub(super) fn refresh(&mut self, now: UnixTime, spend: Spend<'_>) -> Result<Grant, Exception> {
        let client = self.client(spend.client_id)?.clone();
        let digest = random::sha256(spend.token.as_bytes());
        let place = *self.refresh_tokens.get(&digest).ok_or_else(Exception::invalid_refresh_token)?;
        let sign_in = &self.sign_ins[place.sign_in];
        if sign_in.client_id != client.id {
            return Err(Exception::not_authorized("Refresh Token has different Client"));
        }
        if now >= sign_in.auth_time + client.validity.refresh {
            return Err(Exception::not_authorized("Refresh Token has expired"));
        }
        if sign_in.life == Life::Revoked {
            return Err(Exception::not_authorized("Refresh Token has been revoked"));
        }
        check_secret(&client, &sign_in.username, spend.proof)?;
        let user = self.users.get(&sign_in.username).cloned();
        let user = user
            .filter(|user| user.standing != Standing::Deleted)
            .ok_or_else(|| Exception::not_authorized("The user has been deleted for the associated refresh token"))?;
        if let Some(refusal) = standing_refusal(user.standing) {
            return Err(refusal);
        }
        if let (DeviceRule::Remembered, Some(device)) = (self.settings.devices, &sign_in.device)
            && (spend.device_key != Some(device.key.as_str()) || !device.confirmed)
        {
            return Err(Exception::invalid_refresh_token());
        }
        let step = self.rotate(now, place, client.rotation)?;
        let refresh_token = match step {
            RotationStep::Off => None,
            RotationStep::Rotated | RotationStep::RetriedInGrace => Some(self.new_refresh_token(place.sign_in)),
        };
        Ok(Grant { refresh_token, rotation: step, ..self.grant(now, place.sign_in, &client, &user) })
    }

    /// Ends the sign-in that a refresh token belongs to. Idempotent, and garbage is no error, as on AWS.
    pub(super) fn revoke(&mut self, token: &str, client_id: &str, secret: Option<&str>) -> Result<(), Exception> {
        let client = self.clients.get(client_id).ok_or_else(|| unauthorized("Invalid client"))?;
        if client.secret.as_ref().map(crate::secret::Secret::expose) != secret {
            return Err(unauthorized("Invalid client secret"));
        }
        if client.revocation == Revocation::Disabled {
            return Err(Exception::new("UnsupportedOperationException", "Token revocation is not enabled"));
        }
        if Parts::of(token).is_some() {
            return Err(Exception::new("UnsupportedTokenTypeException", "Unsupported token type"));
        }
        if let Some(place) = self.refresh_tokens.get(&random::sha256(token.as_bytes())) {
            let sign_in = &mut self.sign_ins[place.sign_in];
            if sign_in.client_id != client_id {
                return Err(unauthorized("Token was issued to another client"));
            }
            sign_in.life = Life::Revoked;
        }
        Ok(())
    }

    /// Ends every sign-in of a user.
    pub(super) fn sign_out(&mut self, username: &str) {
        for sign_in in self.sign_ins.iter_mut().filter(|sign_in| sign_in.username == username) {
            sign_in.life = Life::Revoked;
        }
    }

    /// The username in an access token that this pool would take for its own API: signed here, current, not revoked.
    pub(super) fn access_token_owner(&self, now: UnixTime, token: &str) -> Result<(String, String), Exception> {
        let invalid = || Exception::not_authorized("Invalid Access Token");
        let parts = Parts::of(token).ok_or_else(invalid)?;
        let key = self.published_keys().find_map(|keys| keys.by_kid(parts.header("kid"))).ok_or_else(invalid)?;
        let is_ours = parts.header("alg") == "RS256"
            && key.is_signature(parts.signed, &parts.signature)
            && parts.claim("token_use") == TokenKind::Access.as_str()
            && parts.claim("iss") == self.issuer;
        if !is_ours {
            return Err(invalid());
        }
        if parts.number("exp").is_none_or(|exp| now >= UnixTime::from_secs(exp)) {
            return Err(Exception::not_authorized("Access Token has expired"));
        }
        let origin = parts.claim("origin_jti");
        if self.sign_ins.iter().any(|sign_in| sign_in.origin_jti == origin && sign_in.life == Life::Revoked) {
            return Err(Exception::not_authorized("Access Token has been revoked"));
        }
        if !parts.claim("scope").split(' ').any(|scope| scope == ADMIN_SCOPE) {
            return Err(Exception::not_authorized("Access Token does not have required scopes"));
        }
        Ok((parts.claim("username").to_owned(), origin.to_owned()))
    }

    /// `ConfirmDevice`, for the sign-in of `origin_jti`.
    pub(super) fn confirm_device(&mut self, origin_jti: &str, key: &str) -> Result<Device, Exception> {
        let devices = self.sign_ins.iter_mut().filter(|sign_in| sign_in.origin_jti == origin_jti);
        let device = devices.filter_map(|sign_in| sign_in.device.as_mut()).find(|device| device.key == key);
        let device = device.ok_or_else(no_such_device)?;
        device.confirmed = true;
        Ok(device.clone())
    }

    /// Makes every sign-in of `username` older by `by`, rotation's grace periods included.
    pub(super) fn age(&mut self, username: &str, by: Duration) {
        for sign_in in self.sign_ins.iter_mut().filter(|sign_in| sign_in.username == username) {
            sign_in.auth_time = sign_in.auth_time - by;
            for retired_at in sign_in.retired_at.iter_mut().flatten() {
                *retired_at = *retired_at - by;
            }
        }
    }

    /// Makes every sign-in of `username` so old that its refresh token expired just now.
    pub(super) fn expire(&mut self, now: UnixTime, username: &str) {
        for sign_in in self.sign_ins.iter_mut().filter(|sign_in| sign_in.username == username) {
            if let Some(client) = self.clients.get(&sign_in.client_id) {
                sign_in.auth_time = sign_in.auth_time.min(now - client.validity.refresh);
            }
        }
    }

    fn region(&self) -> &str {
        self.settings.id.split_once('_').map_or("eu-west-1", |(region, _)| region)
    }

    /// Uses up the refresh token at `place`, or refuses it where that was done too long ago.
    fn rotate(&mut self, now: UnixTime, place: Place, rotation: Rotation) -> Result<RotationStep, Exception> {
        let Rotation::On { grace } = rotation else {
            return Ok(RotationStep::Off);
        };
        let sign_in = &mut self.sign_ins[place.sign_in];
        match sign_in.retired_at[place.token] {
            None => {
                sign_in.retired_at[place.token] = Some(now);
                Ok(RotationStep::Rotated)
            }
            Some(retired_at) if now < retired_at + grace => Ok(RotationStep::RetriedInGrace),
            Some(_) => {
                if self.settings.reuse == ReuseRule::RevokesTheSignIn {
                    sign_in.life = Life::Revoked;
                }
                Err(Exception::refresh_token_reuse())
            }
        }
    }

    fn new_refresh_token(&mut self, sign_in: usize) -> String {
        let token = random::refresh_token();
        let retired_at = &mut self.sign_ins[sign_in].retired_at;
        retired_at.push(None);
        let place = Place { sign_in, token: retired_at.len() - 1 };
        self.refresh_tokens.insert(random::sha256(token.as_bytes()), place);
        token
    }

    fn grant(&self, now: UnixTime, index: usize, client: &AppClient, user: &User) -> Grant {
        let sign_in = &self.sign_ins[index];
        Grant {
            issuer: self.issuer.clone(),
            client_id: client.id.clone(),
            validity: client.validity,
            sub: user.sub.clone(),
            username: user.username.clone(),
            email: user.email.clone(),
            scope: sign_in.scope.clone(),
            auth_time: sign_in.auth_time,
            issued_at: now,
            nonce: None,
            origin_jti: (client.revocation == Revocation::Enabled).then(|| sign_in.origin_jti.clone()),
            refresh_token: None,
            rotation: RotationStep::Off,
            device: None,
        }
    }
}

/// Whether the caller knows the secret of `client`.
pub(super) fn check_secret(client: &AppClient, username: &str, proof: Proof<'_>) -> Result<(), Exception> {
    let (Proof::Plain(given) | Proof::Hash(given)) = proof;
    let refusal = match (&client.secret, given) {
        (None, None) => return Ok(()),
        (None, Some(_)) => "is not configured for secret but secret hash was received",
        (Some(_), None) => "is configured with secret but SECRET_HASH was not received",
        (Some(secret), Some(given)) => {
            let expected = match proof {
                Proof::Plain(_) => secret.expose().to_owned(),
                Proof::Hash(_) => secret_hash(secret.expose(), username, &client.id),
            };
            if expected == given {
                return Ok(());
            }
            return Err(Exception::not_authorized(format!("Unable to verify secret hash for client {}", client.id)));
        }
    };
    Err(Exception::not_authorized(format!("Client {} {refusal}", client.id)))
}

/// `SECRET_HASH` (Amazon Cognito developer guide, "Computing secret hash values").
pub(super) fn secret_hash(secret: &str, username: &str, client_id: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
    STANDARD.encode(aws_lc_rs::hmac::sign(&key, format!("{username}{client_id}").as_bytes()))
}

/// "Incorrect username or password.", also for an unknown user.
pub(super) fn no_such_user() -> Exception {
    Exception::not_authorized("Incorrect username or password.")
}

/// "Device does not exist."
pub(super) fn no_such_device() -> Exception {
    Exception::new("ResourceNotFoundException", "Device does not exist.")
}

/// Why a user may not have tokens.
pub(super) fn standing_refusal(standing: Standing) -> Option<Exception> {
    match standing {
        Standing::Enabled => None,
        Standing::Disabled => Some(Exception::not_authorized("User is disabled.")),
        Standing::Deleted => Some(no_such_user()),
        Standing::ResetRequired => {
            Some(Exception::new("PasswordResetRequiredException", "Password reset required for the user"))
        }
        Standing::Unconfirmed => Some(Exception::new("UserNotConfirmedException", "User is not confirmed.")),
    }
}

fn unauthorized(message: &str) -> Exception {
    Exception::new("UnauthorizedException", message)
}
