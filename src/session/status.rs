//! What `status`, `/status.json` and the status page show. Holds no secret.

use serde::{Deserialize, Serialize};

use super::{
    Basis, Expiry, LastRefresh, Outcome,
    schedule::{Deadline, LAST_SECOND},
    warning::Level,
};
use crate::clock::{Now, UnixTime};

/// The state's name, in the words of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateName {
    /// Nobody has signed in.
    SignedOut,
    /// A good token, and nothing to do.
    Fresh,
    /// A refresh is under way.
    Refreshing,
    /// The last refresh failed.
    BackingOff,
    /// No good token, and nothing under way (on-demand mode).
    Expired,
    /// Cognito's verdict has come.
    SessionEnded,
    /// The idle lock is closed.
    Locked,
}

impl StateName {
    /// The word of the interface.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::Fresh => "fresh",
            Self::Refreshing => "refreshing",
            Self::BackingOff => "backing_off",
            Self::Expired => "expired",
            Self::SessionEnded => "session_ended",
            Self::Locked => "locked",
        }
    }
}

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `cognito:username`.
    pub username: String,
    /// `sub`.
    pub sub: String,
    /// The user pool.
    pub user_pool_id: String,
    /// The app client.
    pub client_id: String,
}

/// One token's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTimes {
    /// `iat`.
    pub issued_at: UnixTime,
    /// `exp`.
    pub expires_at: UnixTime,
    /// Its end on this machine's clocks.
    pub end: Deadline,
}

/// Everything about the session that may be shown, at the time when it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The machine's state.
    pub state: StateName,
    /// Whose session it is.
    pub identity: Option<Identity>,
    /// When the person signed in: `auth_time`, the earliest that the pool has stated.
    pub signed_in_at: Option<UnixTime>,
    /// The ID token's times.
    pub id_token: Option<TokenTimes>,
    /// The access token's times.
    pub access_token: Option<TokenTimes>,
    /// The end of the refresh token in this machine's time, and how it is known.
    pub refresh_token: Expiry,
    /// The latest moment at which a token can still be injected.
    pub injecting_until: Option<UnixTime>,
    /// When the next refresh is due.
    pub next_refresh_at: Option<UnixTime>,
    /// The last one.
    pub last_refresh: Option<LastRefresh>,
    /// How many have failed in a row.
    pub consecutive_failures: u32,
    /// The warning level.
    pub level: Level,
    /// What a person should do about the level; `None` where there is nothing to do.
    pub fix: Option<String>,
    /// Whether a rotated refresh token is in memory alone.
    pub unpersisted_rotation: bool,
    /// The end of the token in use, on both clocks; where routes inject both kinds, of whichever ends first.
    pub usable_until: Option<Deadline>,
}

impl Facts {
    /// The document of `status --json` at `now`.
    #[must_use]
    pub fn report(&self, now: Now, held_requests: u64) -> Report {
        let token = |times: Option<TokenTimes>| {
            times.map(|times| TokenReport {
                issued_at: times.issued_at,
                expires_at: times.expires_at,
                expires_in_s: times.end.remaining(now).as_secs(),
            })
        };
        Report {
            schema: 1,
            state: self.state_at(now),
            identity: self.identity.clone(),
            id_token: token(self.id_token),
            access_token: token(self.access_token),
            refresh_token: RefreshTokenReport {
                expires_at: self.refresh_token.at,
                expires_in_s: self.refresh_token.at.map(|at| at.since(now.wall).as_secs()),
                basis: self.refresh_token.basis,
            },
            injecting_until: self.injecting_until,
            next_refresh_at: self.next_refresh_at,
            last_refresh: self.last_refresh.as_ref().map(|last| LastRefreshReport {
                at: last.at,
                outcome: last.outcome,
                error: last.error.clone(),
            }),
            consecutive_failures: self.consecutive_failures,
            warning: WarningReport { level: self.level, fix: self.fix.clone() },
            held_requests,
            unpersisted_rotation: self.unpersisted_rotation,
        }
    }

    /// The state's name at `now`: a token may have died since the state was published.
    #[must_use]
    pub fn state_at(&self, now: Now) -> StateName {
        let end = self.usable_until.or(self.id_token.map(|times| times.end));
        let dead = end.is_none_or(|end| end.earlier(LAST_SECOND).remaining(now).is_zero());
        if self.state == StateName::Fresh && dead { StateName::Expired } else { self.state }
    }

    /// Facts of nobody's session.
    #[must_use]
    pub const fn signed_out(fix: Option<String>) -> Self {
        Self {
            state: StateName::SignedOut,
            identity: None,
            signed_in_at: None,
            id_token: None,
            access_token: None,
            refresh_token: Expiry { at: None, basis: Basis::Unknown },
            injecting_until: None,
            next_refresh_at: None,
            last_refresh: None,
            consecutive_failures: 0,
            level: Level::None,
            fix,
            unpersisted_rotation: false,
            usable_until: None,
        }
    }
}

/// The document of `status --json` and `/status.json`, schema 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Raised when a field changes its meaning or goes away.
    pub schema: u32,
    /// The state's name.
    pub state: StateName,
    /// Whose session it is.
    pub identity: Option<Identity>,
    /// The ID token's times.
    pub id_token: Option<TokenReport>,
    /// The access token's times.
    pub access_token: Option<TokenReport>,
    /// The refresh token's end.
    pub refresh_token: RefreshTokenReport,
    /// RFC 3339, or null where it is not known.
    pub injecting_until: Option<UnixTime>,
    /// RFC 3339.
    pub next_refresh_at: Option<UnixTime>,
    /// The last refresh.
    pub last_refresh: Option<LastRefreshReport>,
    /// How many have failed in a row.
    pub consecutive_failures: u32,
    /// The warning level and its fix.
    pub warning: WarningReport,
    /// How many requests wait for a sign-in.
    pub held_requests: u64,
    /// Whether a rotated refresh token is in memory alone.
    pub unpersisted_rotation: bool,
}

impl Report {
    /// The same without what only counts down: two reports that differ in nothing else say the same.
    #[must_use]
    pub fn timeless(&self) -> Self {
        let mut timeless = self.clone();
        for token in [&mut timeless.id_token, &mut timeless.access_token].into_iter().flatten() {
            // Whether it is over is no countdown.
            token.expires_in_s = token.expires_in_s.min(1);
        }
        timeless.refresh_token.expires_in_s = None;
        timeless
    }
}

/// One token in the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReport {
    /// `iat`, RFC 3339.
    pub issued_at: UnixTime,
    /// `exp`, RFC 3339.
    pub expires_at: UnixTime,
    /// Seconds left on this machine's clocks.
    pub expires_in_s: u64,
}

/// The refresh token in the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshTokenReport {
    /// RFC 3339, or null where it is not known.
    pub expires_at: Option<UnixTime>,
    /// Seconds left, or null.
    pub expires_in_s: Option<u64>,
    /// How it is known.
    pub basis: Basis,
}

/// The last refresh in the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRefreshReport {
    /// RFC 3339.
    pub at: UnixTime,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong.
    pub error: Option<String>,
}

/// The warning in the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarningReport {
    /// `none`, `notice`, `soon`, `urgent` or `ended`.
    pub level: Level,
    /// The command to run.
    pub fix: Option<String>,
}
