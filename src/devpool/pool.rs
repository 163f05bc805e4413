//! The handle: starts a pool, looks into it, and changes it while it runs.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    calls::Calls,
    exception::Exception,
    fault::{Fault, Scope},
    keys::KeyError,
    listener, server,
    settings::{AppClient, IssuerForm, Settings, Standing, User, Validity},
    shared::Shared,
    state::{self, DeviceUsed, Pool},
    tasks::TaskGroup,
    totp,
};
use crate::{
    clock::{SharedClock, UnixTime},
    secret::Secret,
};

/// A pool that did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No signing keys.
    #[error("cannot make the signing keys")]
    Keys(#[from] KeyError),
}

/// A running pool. Dropping it ends its tasks and closes its connections.
#[derive(Debug)]
pub struct DevPool {
    shared: Arc<Shared>,
    /// None while it is offline.
    tasks: Mutex<Option<TaskGroup>>,
    address: SocketAddr,
}

/// What a sign-in brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// The ID token.
    pub id_token: Secret,
    /// The access token.
    pub access_token: Secret,
    /// The refresh token.
    pub refresh_token: Secret,
    /// `DeviceKey`, where the pool remembers devices.
    pub device_key: Option<String>,
}

impl Tokens {
    /// What `cognito-proxy import` reads. It holds every token in the clear.
    #[must_use]
    pub fn to_import_json(&self) -> String {
        let mut object = json!({
            "refresh_token": self.refresh_token.expose(),
            "id_token": self.id_token.expose(),
            "access_token": self.access_token.expose(),
        });
        if let Some(device_key) = &self.device_key {
            object["device_key"] = json!(device_key);
        }
        object.to_string()
    }
}

/// What happens to the old keys when new ones sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldKeys {
    /// They stay in the key set, so that tokens which they signed still verify.
    StayPublished,
    /// They are gone.
    AreWithdrawn,
}

/// While it exists, the API reads calls and commits them, and answers none. The key set is not held.
#[derive(Debug)]
pub struct HeldAnswers(Arc<Shared>);

impl Drop for HeldAnswers {
    fn drop(&mut self) {
        self.0.gate.send_modify(|holders| *holders = holders.saturating_sub(1));
    }
}

impl DevPool {
    /// Starts a pool on the current runtime, whose clock is `clock`.
    ///
    /// The first pool of a process makes its keys, which blocks for up to a second; all pools share them.
    pub async fn start(settings: Settings, clock: SharedClock) -> Result<Self, StartError> {
        let listen = settings.listen;
        let bound = listener::bind(listen).await.map_err(|source| StartError::Bind { address: listen, source });
        let (socket, address) = bound?;
        let issuer = match &settings.issuer {
            IssuerForm::Aws => {
                let region = settings.id.split_once('_').map_or("eu-west-1", |(region, _)| region);
                format!("https://cognito-idp.{region}.amazonaws.com/{}", settings.id)
            }
            IssuerForm::Endpoint => format!("http://{address}/{}", settings.id),
            IssuerForm::Fixed(issuer) => issuer.clone(),
        };
        let shared = Arc::new(Shared::new(Pool::new(settings, issuer)?, clock));
        let tasks = Mutex::new(Some(serving(&shared, socket)));
        Ok(Self { shared, tasks, address })
    }

    /// Closes every connection and refuses new ones; returns once its port is free. What the pool knows stays.
    pub async fn go_offline(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(tasks) = tasks {
            tasks.stop().await;
        }
    }

    /// Listens again on the same address, after [`go_offline`](Self::go_offline).
    pub async fn go_online(&self) -> Result<(), StartError> {
        let address = self.address;
        let bound = listener::bind(address).await.map_err(|source| StartError::Bind { address, source });
        let tasks = serving(&self.shared, bound?.0);
        *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) = Some(tasks);
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `cognito.endpoint`: `http://HOST:PORT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The pool's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.pool_id
    }

    /// What `iss` says.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.shared.lock().pool.issuer.clone()
    }

    /// Where the key set is: `ENDPOINT/POOL/.well-known/jwks.json`.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        format!("{}/{}/.well-known/jwks.json", self.endpoint(), self.shared.pool_id)
    }

    /// The key set as it is published now, without a network call.
    #[must_use]
    pub fn jwks(&self) -> Value {
        server::jwks(&self.shared.lock().pool)
    }

    /// AWS's time: the clock, and the skew.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.shared.aws_now()
    }

    /// Signs a user in without a network call, with the scope that the user pool's own API wants.
    pub fn sign_in(&self, username: &str, client_id: &str) -> Result<Tokens, Exception> {
        self.sign_in_with_scope(username, client_id, state::ADMIN_SCOPE)
    }

    /// The same for an access token with this scope, as managed login gives.
    pub fn sign_in_with_scope(&self, username: &str, client_id: &str, scope: &str) -> Result<Tokens, Exception> {
        let now = self.now();
        let mut inner = self.shared.lock();
        let grant = inner.pool.sign_in(now, username, client_id, scope, DeviceUsed::NewAndConfirmed)?;
        let written = grant.write(inner.pool.keys(), None)?;
        Ok(Tokens {
            id_token: Secret::new(written.id_token),
            access_token: Secret::new(written.access_token),
            refresh_token: Secret::new(grant.refresh_token.unwrap_or_default()),
            device_key: grant.device.map(|device| device.key),
        })
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.shared.calls.snapshot()
    }

    /// Waits until the calls are like that, and returns them. The condition is checked at every call.
    pub async fn wait_for(&self, mut is_met: impl FnMut(&Calls) -> bool) -> Calls {
        let mut changes = self.shared.calls.subscribe();
        match changes.wait_for(|calls| is_met(calls)).await {
            Ok(calls) => calls.clone(),
            // The sending end is `self.shared`, which is there.
            Err(_) => self.calls(),
        }
    }

    /// The next `calls` calls within `scope` go wrong like this, after those that were queued before.
    pub fn fail_next(&self, calls: usize, scope: Scope, fault: Fault) {
        self.shared.lock().faults.queue(calls, scope, fault);
    }

    /// Every call within `scope` goes wrong like this until [`heal`](Self::heal).
    pub fn fail_always(&self, scope: Scope, fault: Fault) {
        self.shared.lock().faults.stand(scope, fault);
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.shared.lock().faults.clear();
    }

    /// Holds the answers of the API back while the returned value exists.
    #[must_use]
    pub fn hold_answers(&self) -> HeldAnswers {
        self.shared.gate.send_modify(|holders| *holders += 1);
        HeldAnswers(Arc::clone(&self.shared))
    }

    /// The code that was sent to a user last, by text message or e-mail.
    #[must_use]
    pub fn sent_code(&self, username: &str) -> Option<String> {
        self.shared.lock().pool.challenges.sent_code(username)
    }

    /// A code of a user's authenticator application that is good now and was not used yet.
    #[must_use]
    pub fn application_code(&self, username: &str) -> Option<String> {
        let now = self.now();
        let inner = self.shared.lock();
        let secret = inner.pool.users.get(username)?.application.clone()?;
        let used = inner.pool.challenges.used_step(username);
        Some(totp::code(&secret, totp::step(now).max(used.map_or(0, |used| used + 1))))
    }

    /// Closes every sign-in that is not finished: its next answer is an "Invalid session for the user".
    pub fn close_challenges(&self) {
        self.shared.lock().pool.challenges.close();
    }

    /// Forgets every device.
    pub fn forget_devices(&self) {
        self.shared.lock().pool.challenges.forget_devices();
    }

    /// Makes a user's sign-ins older by `by`: the next refresh says so in `auth_time`.
    pub fn age(&self, username: &str, by: Duration) {
        self.shared.lock().pool.age(username, by);
    }

    /// Makes a user's sign-ins so old that their refresh tokens have expired.
    pub fn expire_session(&self, username: &str) {
        let now = self.now();
        self.shared.lock().pool.expire(now, username);
    }

    /// Ends the sign-in of a refresh token, as `RevokeToken` does.
    pub fn revoke(&self, refresh_token: &Secret, client_id: &str) -> Result<(), Exception> {
        let mut inner = self.shared.lock();
        let secret = inner.pool.client(client_id)?.secret.clone();
        inner.pool.revoke(refresh_token.expose(), client_id, secret.as_ref().map(Secret::expose))
    }

    /// Ends every sign-in of a user, as `AdminUserGlobalSignOut` does.
    pub fn sign_out(&self, username: &str) {
        self.shared.lock().pool.sign_out(username);
    }

    /// Adds a user, in the place of those of that username or e-mail address: both sign in.
    pub fn put_user(&self, user: User) {
        let users = &mut self.shared.lock().pool.users;
        users.retain(|_, known| known.email != user.email);
        users.insert(user.username.clone(), user);
    }

    /// Adds an app client, or replaces the one of that id. What was issued to it before follows its new settings.
    pub fn put_client(&self, client: AppClient) {
        self.shared.lock().pool.clients.insert(client.id.clone(), client);
    }

    /// The user of that username or e-mail address.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<User> {
        self.shared.lock().pool.user(name).cloned()
    }

    /// The app client of that id.
    #[must_use]
    pub fn client(&self, id: &str) -> Option<AppClient> {
        self.shared.lock().pool.clients.get(id).cloned()
    }

    /// Changes what a user may do. An unknown one stays unknown.
    pub fn set_standing(&self, username: &str, standing: Standing) {
        if let Some(user) = self.shared.lock().pool.users.get_mut(username) {
            user.standing = standing;
        }
    }

    /// Disables a user: "User is disabled."
    pub fn disable_user(&self, username: &str) {
        self.set_standing(username, Standing::Disabled);
    }

    /// Deletes a user. Their refresh tokens are refused as a deleted user's.
    pub fn delete_user(&self, username: &str) {
        self.set_standing(username, Standing::Deleted);
    }

    /// Changes how long tokens of an app client live: ID and access tokens from the next one on, refresh tokens at
    /// once. An unknown client stays unknown.
    pub fn set_validity(&self, client_id: &str, validity: Validity) {
        if let Some(client) = self.shared.lock().pool.clients.get_mut(client_id) {
            client.validity = validity;
        }
    }

    /// Changes the pool's own rules: devices, `DescribeUserPoolClient`, reuse. What is fixed at the start (address, id,
    /// issuer, clients, users, the log's size) does not follow.
    pub fn change_rules(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.lock().pool.settings);
    }

    /// Sets AWS's clock `seconds` ahead of ours: `iat`, `exp`, `auth_time` and `Date` follow it.
    pub fn set_skew(&self, seconds: i64) {
        self.shared.lock().pool.skew_millis = seconds.saturating_mul(1000);
    }

    /// Signs with new keys from now on. Makes them where this process has not yet, which blocks for up to a second.
    pub fn rotate_keys(&self, old: OldKeys) -> Result<(), KeyError> {
        self.shared.lock().pool.rotate_keys(old == OldKeys::StayPublished)
    }

    /// What the connections share, for the echo upstream.
    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

/// Serves the pool on that socket.
fn serving(shared: &Arc<Shared>, socket: TcpListener) -> TaskGroup {
    let tasks = TaskGroup::new();
    let shared = Arc::clone(shared);
    let serve = move |stream, switch| server::serve(Arc::clone(&shared), stream, switch);
    tasks.tasks().spawn(listener::accept(socket, tasks.tasks(), serve));
    tasks
}
