//! A session to look at, for the tests of this room.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;

use super::{
    Admin, IssuedToken, Readiness, Reloaded, Vitals,
    control::{Control, Fault},
};
use crate::{
    clock::{Clock as _, ManualClock, UnixTime},
    current::{self, CurrentToken, Publisher},
    secret::Secret,
    session::{
        TokenKind,
        schedule::Deadline,
        snapshot::{Gate, Injectable, Snapshot},
        status::{Facts, Identity, StateName, TokenTimes},
    },
};

/// What must never be seen over TCP.
pub(super) const CANARY: &str = "eyJhbGciOiJub25lIn0.canary.canary";

#[derive(Debug)]
pub(super) struct Switches {
    pub(super) alive: AtomicBool,
    pub(super) stopping: AtomicBool,
}

impl Vitals for Switches {
    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn metrics(&self, facts: &Facts, held: u64) -> String {
        format!("state {}\nheld {held}\n# EOF\n", facts.state.as_str())
    }
}

pub(super) struct Fixture {
    pub(super) admin: Arc<Admin>,
    pub(super) current: CurrentToken,
    pub(super) publisher: Publisher,
    pub(super) clock: ManualClock,
    pub(super) switches: Arc<Switches>,
}

/// A proxy that nobody has signed in to, at 2023-11-14T22:13:20Z.
pub(super) fn signed_out() -> Fixture {
    let clock = ManualClock::at(UnixTime::from_secs(1_700_000_000));
    let first = Snapshot {
        id_token: None,
        access_token: None,
        gate: Gate::SignedOut { detail: "nobody has signed in".into() },
        facts: Facts::signed_out(Some("cognito-proxy login".into())),
        idle: None,
        login: "cognito-proxy login".into(),
    };
    let settings = current::Settings { wait: Duration::from_secs(1), hold: Duration::ZERO, max_held: 0 };
    let (publisher, token, _) = current::cell(first, settings, Arc::new(clock.clone()));
    let switches = Arc::new(Switches { alive: AtomicBool::new(true), stopping: AtomicBool::new(false) });
    let readiness = Readiness { kinds: vec![TokenKind::Id], on_demand: false };
    let admin = Arc::new(Admin::new(token.clone(), readiness, Arc::<Switches>::clone(&switches)));
    Fixture { admin, current: token, publisher, clock, switches }
}

impl Fixture {
    /// Publishes a session with this change to it.
    pub(super) fn publish(&self, change: impl FnOnce(&mut Snapshot)) {
        self.sign_in();
        let mut snapshot = Snapshot::clone(&self.current.snapshot());
        change(&mut snapshot);
        self.publisher.publish(snapshot);
    }

    /// Publishes an ID token that is good for an hour.
    pub(super) fn sign_in(&self) {
        let now = self.clock.now();
        let end = Deadline { wall: now.wall, boot: now.boot }.later(Duration::from_secs(3600));
        let mut facts = Facts::signed_out(None);
        facts.state = StateName::Fresh;
        facts.identity = Some(Identity {
            username: "alice".into(),
            sub: "6a4f".into(),
            user_pool_id: "eu-west-1_Example".into(),
            client_id: "client".into(),
        });
        facts.signed_in_at = Some(now.wall);
        facts.usable_until = Some(end);
        facts.id_token = Some(TokenTimes { issued_at: now.wall, expires_at: end.wall, end });
        self.publisher.publish(Snapshot {
            id_token: Some(Injectable {
                jwt: Secret::from(CANARY),
                generation: 1,
                until: end.earlier(Duration::from_secs(1)),
                min_ttl: Duration::from_secs(60),
            }),
            access_token: None,
            gate: Gate::Open,
            facts,
            idle: None,
            login: "cognito-proxy login".into(),
        });
    }
}

/// Does as it is told, and writes down what that was.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) deeds: Mutex<Vec<String>>,
    pub(super) fault: Option<Fault>,
}

impl Told {
    fn note<T: Send + 'static>(&self, deed: String, answer: T) -> BoxFuture<'_, Result<T, Fault>> {
        self.deeds.lock().unwrap().push(deed);
        let answer = self.fault.clone().map_or(Ok(answer), Err);
        Box::pin(async move { answer })
    }
}

pub(super) fn issued(kind: TokenKind) -> IssuedToken {
    IssuedToken {
        kind,
        jwt: Secret::from(CANARY),
        expires_at: UnixTime::from_secs(1_700_003_600),
        expires_in: Duration::from_secs(3600),
        warning: Some("less than was asked for".into()),
    }
}

impl Control for Told {
    fn token(&self, kind: TokenKind, min_ttl: Option<Duration>) -> BoxFuture<'_, Result<IssuedToken, Fault>> {
        self.note(format!("token {} {min_ttl:?}", kind.as_str()), issued(kind))
    }

    fn sign_in(&self) -> BoxFuture<'_, Result<(), Fault>> {
        self.note("sign_in".into(), ())
    }

    fn unlock(&self) -> BoxFuture<'_, Result<(), Fault>> {
        self.note("unlock".into(), ())
    }

    fn reload(&self) -> BoxFuture<'_, Result<Reloaded, Fault>> {
        self.note("reload".into(), Reloaded { needs_restart: vec!["listen.proxy".into()] })
    }

    fn adopt(&self, record: Secret) -> BoxFuture<'_, Result<(), Fault>> {
        self.note(format!("adopt {}", record.expose()), ())
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), Fault>> {
        self.note("clear".into(), ())
    }
}
