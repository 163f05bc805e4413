//! A session that begins with nothing but a refresh token: the systemd credential `refresh-token`.
//!
//! A credential is read-only, so under rotation it is spent once it has served. It only seeds: the store keeps its
//! hash, and the same credential is never taken again in place of what came of it. Pure.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};

use crate::{
    clock::Now,
    secret::Secret,
    session::{Claims, Device, Grant, Notes, Origin, Session, Token, TokenKind},
};

/// What a session may begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The refresh token.
    pub refresh_token: Secret,
    /// The remembered device, where the credential names one.
    pub device: Option<Device>,
    /// The pool that it is for.
    pub user_pool_id: String,
    /// The app client that it is for.
    pub client_id: String,
    /// Which credential this is.
    pub fingerprint: Fingerprint,
}

/// SHA-256 of a credential, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The fingerprint of a credential with this content; white space around it does not count.
    #[must_use]
    pub fn of(content: &Secret) -> Self {
        use fmt::Write as _;
        let hash = digest(&SHA256, content.expose().trim().as_bytes());
        let hex = hash.as_ref().iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Self(hex)
    }

    /// Lower-case hex.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Seed {
    /// The session to go on with: what is stored, unless this seed is new to it.
    pub(super) fn or_stored(&self, stored: Option<Session>, now: Now) -> Session {
        match stored {
            Some(stored) if stored.notes.seed.as_deref() == Some(self.fingerprint.as_str()) => stored,
            stored => self.session(stored, now),
        }
    }

    /// Whether `session` is this seed and nothing more: nothing that a restart would not find again.
    pub(super) fn is_all_of(&self, session: &Session) -> bool {
        is_unproven(session) && session.refresh_token == self.refresh_token
    }

    /// A session in which nothing is known but the refresh token. Its tokens have ended, so that a refresh is due.
    fn session(&self, stored: Option<Session>, now: Now) -> Session {
        let claims = Claims {
            kind: TokenKind::Id,
            subject: String::new(),
            username: String::new(),
            issuer: String::new(),
            client_id: self.client_id.clone(),
            issued_at: now.wall,
            expires_at: now.wall,
            auth_time: None,
        };
        Session {
            user_pool_id: self.user_pool_id.clone(),
            client_id: self.client_id.clone(),
            subject: String::new(),
            username: String::new(),
            refresh_token: self.refresh_token.clone(),
            id_token: Token { jwt: Secret::from(""), claims, received: now },
            access_token: None,
            auth_time: None,
            origin: Origin::Credential,
            device: self.device.clone(),
            generation: stored.as_ref().map_or(1, |stored| stored.generation + 1),
            notes: Notes {
                observed: stored.map(|stored| stored.notes.observed.carried()).unwrap_or_default(),
                seed: Some(self.fingerprint.as_str().to_owned()),
                ..Notes::default()
            },
            jwks: None,
        }
    }
}

/// Whether no token has come yet of what `session` began with.
pub(super) fn is_unproven(session: &Session) -> bool {
    session.subject.is_empty()
}

/// The session that its first tokens make of a seed.
pub(super) fn proven(seeded: Session, grant: Grant) -> Session {
    let claims = &grant.id_token.claims;
    Session {
        subject: claims.subject.clone(),
        username: claims.username.clone(),
        refresh_token: grant.refresh_token.unwrap_or(seeded.refresh_token),
        auth_time: claims.auth_time,
        id_token: grant.id_token,
        access_token: grant.access_token,
        generation: seeded.generation + 1,
        notes: Notes { ended: None, last_refresh: None, ..seeded.notes },
        jwks: grant.jwks,
        ..seeded
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{clock::UnixTime, session::state::fixtures};

    fn now() -> Now {
        Now { wall: UnixTime::from_secs(1_000_000), boot: Duration::from_secs(100) }
    }

    fn seed(content: &str) -> Seed {
        let content = Secret::from(content);
        Seed {
            refresh_token: content.clone(),
            device: None,
            user_pool_id: "eu-west-1_Example".into(),
            client_id: "client".into(),
            fingerprint: Fingerprint::of(&content),
        }
    }

    #[test]
    fn a_new_seed_is_taken_and_a_known_one_is_not_taken_again() {
        let begun = seed("one").or_stored(None, now());
        assert_eq!((begun.refresh_token.expose(), begun.generation), ("one", 1));
        assert!(is_unproven(&begun) && seed("one").is_all_of(&begun));

        let grant = fixtures::grant(now(), &fixtures::session(now(), 3600), 3600);
        let stored = proven(begun, Grant { refresh_token: Some(Secret::from("rotated")), ..grant });
        assert_eq!((stored.subject.as_str(), stored.generation), ("sub", 2));
        assert!(!is_unproven(&stored));

        let same = seed("one\n").or_stored(Some(stored.clone()), now());
        assert_eq!(same.refresh_token.expose(), "rotated", "the credential was spent");
        let other = seed("two").or_stored(Some(stored), now());
        assert_eq!((other.refresh_token.expose(), other.generation), ("two", 3));
    }

    #[test]
    fn what_was_stored_without_a_seed_gives_way_to_one() {
        let stored = fixtures::session(now(), 3600);
        assert_eq!(seed("one").or_stored(Some(stored), now()).refresh_token.expose(), "one");
    }

    #[test]
    fn a_rotated_token_is_more_than_the_seed_was() {
        let mut begun = seed("one").or_stored(None, now());
        begun.refresh_token = Secret::from("rotated");
        assert!(!seed("one").is_all_of(&begun));
    }

    #[test]
    fn a_fingerprint_is_the_known_hash() {
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Fingerprint::of(&Secret::from(" abc\n")).as_str(), known);
    }
}
