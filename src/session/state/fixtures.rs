//! Sessions and settings for the tests of this folder, and a world to play them in.
//!
//! The world is a hand-moved clock, a scripted Cognito, a disk and one proxy: it performs the machine's actions as the
//! shell does, and follows its wake-ups.

use std::{collections::VecDeque, time::Duration};

use super::{
    super::{
        Claims, EndReason, Failure, Grant, Mode, Notes, Origin, Session, Settings, Token, TokenKind, TransientKind,
        snapshot::{Decision, Snapshot},
        warning::Level,
    },
    Action, Event, State, Warning,
};
use crate::{
    clock::{Now, UnixTime},
    reply::Code,
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

/// A failure that heals itself; `sent` where the request may have been heard.
pub(crate) fn transient(sent: bool) -> Failure {
    let kind = if sent { TransientKind::Disconnected } else { TransientKind::Connect };
    Failure::Transient { kind, sent, detail: "no answer".into() }
}

/// A definite refusal.
pub(crate) fn refused(reason: EndReason) -> Failure {
    Failure::Terminal { reason }
}

/// 2026-03-02T09:00:00Z, a Monday.
pub(crate) const NINE: UnixTime = UnixTime::from_secs(1_772_442_000);

/// A user pool, as far as refreshes go.
#[derive(Debug)]
pub(crate) struct Pool {
    /// How long a refresh token really lives.
    pub(crate) validity: Duration,
    /// How long ID tokens live, in seconds.
    pub(crate) lifetime: u64,
    /// Access tokens too, where they are asked for.
    pub(crate) access_lifetime: Option<u64>,
    /// Whether refresh tokens rotate.
    pub(crate) rotates: bool,
    /// What the next calls get, before the pool answers by itself.
    pub(crate) script: VecDeque<Failure>,
    /// What every call gets while it lasts.
    pub(crate) outage: Option<Failure>,
    /// How long an answer takes.
    pub(crate) latency: Duration,
    rotations: u64,
}

impl Pool {
    fn answer(&mut self, session: &Session, ours: Now, ahead_ms: i64) -> Result<Grant, Failure> {
        if let Some(failure) = self.script.pop_front().or_else(|| self.outage.clone()) {
            return Err(failure);
        }
        let aws = ours.wall.shifted(ahead_ms);
        let signed_in = session.auth_time.unwrap_or(aws);
        if aws >= signed_in + self.validity {
            return Err(refused(EndReason::Expired));
        }
        let received = |token: Token| Token { received: ours, ..token };
        let refresh_token = self.rotates.then(|| {
            self.rotations += 1;
            Secret::from(format!("refresh-{}", self.rotations).as_str())
        });
        let there = Now { wall: aws, boot: ours.boot };
        let access = self.access_lifetime.map(|lifetime| {
            let mut access = token(there, lifetime, signed_in);
            access.claims.kind = TokenKind::Access;
            received(access)
        });
        Ok(Grant {
            id_token: received(token(there, self.lifetime, signed_in)),
            access_token: access,
            refresh_token,
            date: Some(UnixTime::from_secs(aws.as_secs())),
            jwks: None,
        })
    }
}

/// One proxy in its world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) pool: Pool,
    /// Milliseconds by which AWS's clock is ahead of this machine's.
    pub(crate) ahead_ms: i64,
    pub(crate) state: State,
    /// What the workers see.
    pub(crate) published: Snapshot,
    /// What the disk holds.
    pub(crate) stored: Option<Session>,
    /// Whether the disk takes writes.
    pub(crate) disk_works: bool,
    /// When each refresh was begun.
    pub(crate) calls: Vec<Now>,
    pub(crate) writes: Vec<Now>,
    pub(crate) warnings: Vec<(Now, Warning)>,
    pub(crate) steps: u64,
    /// When the last request came, on the clock since boot.
    pub(crate) used: Duration,
    /// `refresh.wait`.
    pub(crate) patience: Duration,
    in_flight: Option<Flight>,
    wake_at: Duration,
}

#[derive(Clone, Debug)]
struct Flight {
    session: Session,
    lands_at: Duration,
}

impl World {
    /// Somebody signs in at nine, and the proxy starts.
    pub(crate) fn at_nine(settings: Settings, lifetime: u64, validity: Duration) -> Self {
        let now = Now { wall: NINE, boot: Duration::from_secs(3600) };
        let mut world = Self::empty(settings, lifetime, validity);
        world.stored = Some(session(now, lifetime));
        world.load();
        world
    }

    /// A world in which nobody has signed in and the proxy has not begun.
    pub(crate) fn empty(settings: Settings, lifetime: u64, validity: Duration) -> Self {
        let now = Now { wall: NINE, boot: Duration::from_secs(3600) };
        let state = State::new(settings, "cognito-proxy login".into(), 7);
        let pool = Pool {
            validity,
            lifetime,
            access_lifetime: None,
            rotates: false,
            script: VecDeque::new(),
            outage: None,
            latency: Duration::from_millis(200),
            rotations: 0,
        };
        Self {
            now,
            pool,
            ahead_ms: 0,
            published: state.snapshot(now),
            state,
            stored: None,
            disk_works: true,
            calls: Vec::new(),
            writes: Vec::new(),
            warnings: Vec::new(),
            steps: 0,
            used: now.boot,
            patience: Duration::from_secs(10),
            in_flight: None,
            wake_at: now.boot,
        }
    }

    /// The proxy reads its store, as it does when it starts.
    pub(crate) fn load(&mut self) {
        let now = self.now;
        let loaded = self.stored.clone().map(|mut session| {
            session.id_token.received = now;
            if let Some(access) = session.access_token.as_mut() {
                access.received = now;
            }
            Box::new(session)
        });
        self.happens(Event::Loaded(Ok(loaded)));
    }

    /// The configuration is read again.
    pub(crate) fn reload(&mut self, settings: Settings) {
        let stored = self.state.wants_stored(&settings).then(|| self.stored.clone()).flatten().map(Box::new);
        self.happens(Event::Reconfigured { settings: Box::new(settings), stored });
    }

    /// The proxy dies, whatever it was doing, and starts again.
    pub(crate) fn restart(&mut self) {
        self.state = State::new(self.state.settings.clone(), "cognito-proxy login".into(), self.steps);
        self.published = self.state.snapshot(self.now);
        self.in_flight = None;
        self.used = self.now.boot;
        self.load();
    }

    /// Somebody signs in now, and the proxy is told.
    pub(crate) fn sign_in(&mut self) {
        let there = Now { wall: self.now.wall.shifted(self.ahead_ms), ..self.now };
        let mut signed_in = session(there, self.pool.lifetime);
        signed_in.id_token.received = self.now;
        self.happens(Event::Adopted { session: Box::new(signed_in), stored: false });
    }

    /// One event, and what the shell does about it.
    pub(crate) fn happens(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.steps += 1;
            let (state, actions) = self.state.clone().step(self.now, event);
            self.state = state;
            assert!(matches!(actions.last(), Some(Action::WakeIn(_))), "every step ends with a wake-up: {actions:?}");
            for action in actions {
                match action {
                    Action::Publish(snapshot) => self.published = *snapshot,
                    Action::Save => events.push_back(self.write()),
                    Action::Warn(warning) => self.warnings.push((self.now, warning)),
                    Action::Refresh => self.begin(),
                    Action::WakeIn(delay) => self.wake_at = self.now.boot + delay,
                }
            }
        }
    }

    fn write(&mut self) -> Event {
        self.writes.push(self.now);
        if !self.disk_works {
            return Event::SaveRefused;
        }
        self.stored = self.state.session().cloned();
        Event::Saved
    }

    fn begin(&mut self) {
        let session = self.state.session().expect("a refresh has a session").clone();
        if let Some(flight) = &self.in_flight {
            assert_ne!(flight.session.generation, session.generation, "two refreshes in flight");
        }
        self.calls.push(self.now);
        self.in_flight = Some(Flight { session, lands_at: self.now.boot + self.pool.latency });
    }

    /// The refresh in flight is answered.
    pub(crate) fn land(&mut self) {
        let Some(Flight { session, .. }) = self.in_flight.take() else { return };
        let generation = session.generation;
        let event = match self.pool.answer(&session, self.now, self.ahead_ms) {
            Ok(grant) => Event::Granted { generation, grant: Box::new(grant) },
            Err(failure) => Event::Failed { generation, failure },
        };
        self.happens(event);
    }

    /// Time passes, and everything that falls due happens when it does.
    pub(crate) fn passes(&mut self, duration: Duration) {
        let end = self.now.boot + duration;
        while self.hop(end) {}
    }

    /// Time passes until `wall`.
    pub(crate) fn until(&mut self, wall: UnixTime) {
        assert!(wall >= self.now.wall, "{wall} is past at {}", self.now.wall);
        self.passes(wall.since(self.now.wall));
    }

    /// On to what happens next, or to `end`; whether something happened.
    fn hop(&mut self, end: Duration) -> bool {
        let landing = self.in_flight.as_ref().map(|flight| flight.lands_at);
        let next = landing.map_or(self.wake_at, |at| at.min(self.wake_at));
        if next > end {
            self.moves_to(end);
            return false;
        }
        self.moves_to(next);
        if landing.is_some_and(|at| at <= self.now.boot) {
            self.land();
        } else {
            self.tick();
        }
        true
    }

    /// Both clocks advance. The wall clock has milliseconds alone, and does not fall behind for it.
    fn moves_to(&mut self, boot: Duration) {
        let whole = |boot: Duration| i64::try_from(boot.as_millis()).expect("within the tests' lifetime");
        self.now.wall = self.now.wall.shifted(whole(boot.max(self.now.boot)) - whole(self.now.boot));
        self.now.boot = boot.max(self.now.boot);
    }

    /// On until a refresh is in flight.
    pub(crate) fn until_refreshing(&mut self) {
        while self.in_flight.is_none() {
            self.moves_to(self.wake_at);
            self.tick();
        }
    }

    /// On to the next wake-up, or to `end`, while somebody else plays Cognito.
    pub(crate) fn passes_to_wake_up(&mut self, end: Duration) {
        self.in_flight = None;
        self.hop(end);
    }

    /// The refresh in flight is answered by somebody else.
    pub(crate) fn forget_refresh(&mut self) {
        self.in_flight = None;
    }

    /// Tells the machine that time has passed.
    pub(crate) fn tick(&mut self) {
        self.happens(Event::Used(self.used));
        self.happens(Event::Tick);
    }

    /// The machine sleeps: nothing happens, and then it is told that time has passed.
    pub(crate) fn sleeps(&mut self, duration: Duration) {
        self.moves_to(self.now.boot + duration);
        self.tick();
    }

    /// Somebody, or NTP, sets the wall clock.
    pub(crate) fn clock_jumps(&mut self, millis: i64) {
        self.now.wall = self.now.wall.shifted(millis);
        self.ahead_ms -= millis;
        self.tick();
    }

    /// A request for the ID token: the code that it is answered with, `None` where it was injected.
    pub(crate) fn request(&mut self) -> Option<Code> {
        self.request_for(TokenKind::Id)
    }

    /// A request waits as `current::CurrentToken::ready` lets it.
    pub(crate) fn request_for(&mut self, kind: TokenKind) -> Option<Code> {
        if let Some(refusal) = self.published.idle_refusal(self.used, self.now) {
            return Some(refusal.code);
        }
        self.used = self.now.boot;
        let gives_up = self.now.boot + self.patience;
        let mut nudged = false;
        loop {
            match self.published.decide(kind, self.now) {
                Decision::Inject => {
                    self.assert_alive(kind);
                    return None;
                }
                Decision::Refuse(_)
                    if self.published.retries_within(gives_up.saturating_sub(self.now.boot), self.now) => {}
                Decision::Hold(refusal) | Decision::Refuse(refusal) => return Some(refusal.code),
                Decision::Wait { nudge } => {
                    if nudge && !nudged {
                        nudged = true;
                        self.happens(Event::Wanted);
                        continue;
                    }
                }
            }
            if !self.hop(gives_up) {
                return match self.published.decide_at_last(kind, self.now) {
                    Decision::Inject => {
                        self.assert_alive(kind);
                        None
                    }
                    Decision::Refuse(refusal) | Decision::Hold(refusal) => Some(refusal.code),
                    Decision::Wait { .. } => panic!("patience has ended"),
                };
            }
        }
    }

    /// No dead token is ever injected, whatever this machine's clocks say.
    fn assert_alive(&self, kind: TokenKind) {
        let session = self.state.session().expect("a session");
        let token = match kind {
            TokenKind::Id => &session.id_token,
            TokenKind::Access => session.access_token.as_ref().expect("an access token"),
        };
        let aws = self.now.wall.shifted(self.ahead_ms);
        // Three seconds of skew are not told from the way of an answer.
        assert!(aws < token.claims.expires_at + Duration::from_secs(3), "injected at {aws}: {:?}", token.claims);
    }

    /// The levels of the warnings so far.
    pub(crate) fn levels(&self) -> Vec<Level> {
        self.warnings.iter().map(|(_, warning)| warning.level()).collect()
    }
}
