//! Sessions and settings for the tests of this folder.

use std::time::Duration;

use super::super::{Claims, Grant, Mode, Notes, Origin, Session, Settings, Token, TokenKind};
use crate::{
    clock::{Now, UnixTime},
    secret::Secret,
};

/// The defaults of `proxy.toml`.
pub(crate) fn settings() -> Settings {
    Settings {
        lead: Duration::from_secs(300),
        min_ttl: Duration::from_secs(60),
        mode: Mode::Ahead,
        last_chance: true,
        kinds: vec![TokenKind::Id],
        validity: None,
        warn_before: [7 * 86_400, 86_400, 4 * 3600, 3600, 600].map(Duration::from_secs).to_vec(),
        idle_lock: None,
        min_remaining_at_start: None,
        user_pool_id: "eu-west-1_Example".into(),
        client_id: "client".into(),
    }
}

/// A token issued at `now` for `lifetime`, of a user who signed in at `auth_time`.
pub(crate) fn token(now: Now, lifetime: u64, auth_time: UnixTime) -> Token {
    let issued_at = UnixTime::from_secs(now.wall.as_secs());
    Token {
        jwt: Secret::from("token"),
        claims: Claims {
            kind: TokenKind::Id,
            subject: "sub".into(),
            username: "alice".into(),
            issuer: "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Example".into(),
            client_id: "client".into(),
            issued_at,
            expires_at: issued_at + Duration::from_secs(lifetime),
            auth_time: Some(auth_time),
        },
        received: now,
    }
}

/// A session signed in at `now`, whose ID token lives `lifetime` seconds.
pub(crate) fn session(now: Now, lifetime: u64) -> Session {
    Session {
        user_pool_id: "eu-west-1_Example".into(),
        client_id: "client".into(),
        subject: "sub".into(),
        username: "alice".into(),
        refresh_token: Secret::from("refresh-0"),
        id_token: token(now, lifetime, now.wall),
        access_token: None,
        auth_time: Some(now.wall),
        origin: Origin::Login,
        device: None,
        generation: 1,
        notes: Notes::default(),
        jwks: None,
    }
}

/// What a refresh at `now` brings for `session`, without rotation.
pub(crate) fn grant(now: Now, session: &Session, lifetime: u64) -> Grant {
    Grant {
        id_token: token(now, lifetime, session.auth_time.unwrap_or(now.wall)),
        access_token: None,
        refresh_token: None,
        date: Some(UnixTime::from_secs(now.wall.as_secs())),
        jwks: None,
    }
}
