//! What a session is, and what to do about it: types and pure decisions.
//!
//! No I/O, no clock, no randomness. [`State::step`](state::State::step) takes the time and an event and says what to
//! do; `refresher` does it.

pub mod claims;
pub mod failure;
pub mod happening;
pub mod schedule;
pub mod snapshot;
pub mod state;
pub mod status;
mod validity;
mod verdict;
mod view;
pub mod warning;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use claims::{Claims, TokenKind};
pub use failure::{EndReason, Failure, SettingAtFault, TransientKind};

use crate::{
    clock::{Now, UnixTime},
    secret::Secret,
};

/// A token that has been verified, with the moment at which it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The JWT as Cognito wrote it (RFC 7519).
    pub jwt: Secret,
    /// What it says, read only after its signature was checked.
    pub claims: Claims,
    /// Both clocks when it was received; after a restart, when it was loaded.
    pub received: Now,
}

impl Token {
    /// The lifetime that its issuer gave it, `exp − iat`.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.claims.expires_at.since(self.claims.issued_at)
    }
}

/// What Cognito knows a remembered device by (`ConfirmDevice`, `NewDeviceMetadata`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `DeviceKey`, which a pool that remembers devices wants with every refresh.
    pub key: String,
    /// `DeviceGroupKey`.
    pub group_key: Option<String>,
    /// The device's own password, for `DEVICE_SRP_AUTH`.
    pub password: Option<Secret>,
}

/// How a session came here. What `login` obtained is ours to revoke; an imported token is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `cognito-proxy login`.
    Login,
    /// `cognito-proxy import`.
    Import,
    /// The systemd credential `refresh-token`.
    Credential,
}

impl Origin {
    /// The word that log lines and the store use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Import => "import",
            Self::Credential => "credential",
        }
    }
}

/// One sign-in: everything that is kept of it, in memory and in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The user pool that issued it, as configured when it was stored.
    pub user_pool_id: String,
    /// The app client that it belongs to.
    pub client_id: String,
    /// The `sub` claim. A refresh that names another is refused.
    pub subject: String,
    /// `cognito:username`, which `SECRET_HASH` is computed over.
    pub username: String,
    /// The refresh token, opaque to everybody but Cognito.
    pub refresh_token: Secret,
    /// The current ID token.
    pub id_token: Token,
    /// The current access token, where Cognito sent one.
    pub access_token: Option<Token>,
    /// The earliest `auth_time` seen in this sign-in: what the refresh token's end is reckoned from.
    pub auth_time: Option<UnixTime>,
    /// How it came here.
    pub origin: Origin,
    /// The remembered device, where the pool knows one.
    pub device: Option<Device>,
    /// Counts every change; of two records the higher one is newer.
    pub generation: u64,
    /// What is remembered about it beside the tokens.
    pub notes: Notes,
    /// The key set that verified the tokens, as JSON (RFC 7517 §5): at start a stored token is checked without a
    /// call to anybody.
    pub jwks: Option<String>,
}

impl Session {
    /// The session that begins with `grant`, which spent `refresh_token`.
    #[must_use]
    pub fn begun(
        grant: Grant,
        refresh_token: Secret,
        origin: Origin,
        device: Option<Device>,
        settings: &Settings,
    ) -> Self {
        let claims = &grant.id_token.claims;
        let proved = LastRefresh { at: grant.id_token.received.wall, outcome: Outcome::Ok, error: None };
        Self {
            user_pool_id: settings.user_pool_id.clone(),
            client_id: settings.client_id.clone(),
            subject: claims.subject.clone(),
            username: claims.username.clone(),
            refresh_token: grant.refresh_token.unwrap_or(refresh_token),
            auth_time: claims.auth_time,
            id_token: grant.id_token,
            access_token: grant.access_token,
            origin,
            device,
            generation: 1,
            notes: Notes { last_refresh: Some(proved), ..Notes::default() },
            jwks: grant.jwks,
        }
    }

    /// The same session with nothing that could be injected: its tokens end at `now`.
    #[must_use]
    pub fn without_tokens(mut self, now: Now) -> Self {
        self.id_token.claims.issued_at = now.wall;
        self.id_token.claims.expires_at = now.wall;
        self.access_token = None;
        self
    }
}

/// What the proxy remembers about a session across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// The verdict that ended it, if one did.
    pub ended: Option<EndReason>,
    /// Whether the idle lock was closed.
    pub locked: bool,
    /// The last warning raised: its threshold and the expiry that it was about.
    pub warned: Option<warning::Raised>,
    /// The latest success and the earliest refusal as ages of the refresh token, which bound its true validity.
    pub observed: Observed,
    /// How the last refresh went.
    pub last_refresh: Option<LastRefresh>,
    /// SHA-256 of the systemd credential that seeded this record, as lower-case hex.
    pub seed: Option<String>,
}

/// Bounds of the refresh token's validity, learnt from Cognito's own answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// The greatest age at which a refresh succeeded in this sign-in.
    pub accepted_at: Option<Duration>,
    /// The least age at which one was refused as expired, in any sign-in.
    pub refused_at: Option<Duration>,
    /// The validity that the last refusal taught, where it came soon enough after a success.
    pub learnt: Option<Duration>,
    /// Whether a refresh has succeeded past the end that was believed in: then nothing is known.
    pub disproved: bool,
}

/// The last refresh, as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRefresh {
    /// When it ended.
    pub at: UnixTime,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong, without any secret.
    pub error: Option<String>,
}

/// How a refresh ended, in the words of `status --json` and of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// New tokens.
    Ok,
    /// A failure that heals itself.
    Transient,
    /// Cognito asked for patience.
    Throttled,
    /// Cognito, or the verification of what it sent, said no.
    Rejected,
}

impl Outcome {
    /// Every outcome, in the order in which metrics list them.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Transient, Self::Throttled, Self::Rejected];

    /// The word of the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Rejected => "rejected",
        }
    }
}

/// What a refresh brought: tokens that have been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The new ID token.
    pub id_token: Token,
    /// The new access token, where one came.
    pub access_token: Option<Token>,
    /// The new refresh token; `None` means "unchanged" (rotation off).
    pub refresh_token: Option<Secret>,
    /// The `Date` header of the answer: a witness of AWS's clock.
    pub date: Option<UnixTime>,
    /// The key set that verified the tokens, as JSON.
    pub jwks: Option<String>,
}

/// How the end of the refresh token is known. Always shown beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// `cognito.refresh_token_validity`.
    Configured,
    /// Read from the pool with `DescribeUserPoolClient`.
    PoolSetting,
    /// Learnt from a refusal.
    Observed,
    /// Cognito's default of 30 days.
    Assumed,
    /// A refresh succeeded past the end that was believed in.
    Unknown,
}

impl Basis {
    /// The word of the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::PoolSetting => "pool_setting",
            Self::Observed => "observed",
            Self::Assumed => "assumed",
            Self::Unknown => "unknown",
        }
    }
}

/// The end of the refresh token and how it is known. `at` is `None` exactly where it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// When the refresh token ends, at the latest.
    pub at: Option<UnixTime>,
    /// How that is known.
    pub basis: Basis,
}

/// When to refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Ahead of need, so that no request waits.
    Ahead,
    /// When a request needs it.
    OnDemand,
}

/// What the machine is told by the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `refresh.lead`: how long before expiry a refresh is due, before capping.
    pub lead: Duration,
    /// `inject.min_ttl`: with less left a request waits for the refresh, before capping.
    pub min_ttl: Duration,
    /// `refresh.mode`.
    pub mode: Mode,
    /// `refresh.last_chance`.
    pub last_chance: bool,
    /// Which tokens the routes inject; never empty.
    pub kinds: Vec<TokenKind>,
    /// `cognito.refresh_token_validity`.
    pub validity: Option<Duration>,
    /// `warn.before`, longest first.
    pub warn_before: Vec<Duration>,
    /// `session.idle_lock`.
    pub idle_lock: Option<Duration>,
    /// `session.min_remaining_at_start`.
    pub min_remaining_at_start: Option<Duration>,
    /// The pool that a session must be of.
    pub user_pool_id: String,
    /// The app client that a session must be of.
    pub client_id: String,
}
