//! What holds whatever happens: random events, a clock that jumps both ways, sleep, a disk and a Cognito that answer as
//! they like and when they like.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use proptest::prelude::*;

use super::{Action, Event, State, WarningKind, fixtures::*};
use crate::{
    clock::{Now, UnixTime},
    secret::Secret,
    session::{
        EndReason, Failure, Grant, Mode, Session, SettingAtFault, Settings, Token, TokenKind,
        snapshot::{Decision, Snapshot},
        warning::{Level, Raised},
    },
};

const DAY: Duration = Duration::from_secs(86_400);

/// What Cognito answers.
#[derive(Clone, Debug)]
enum Answer {
    Grant {
        lifetime: u64,
        /// Seconds since the token was issued.
        age: u64,
        rotates: bool,
        access: Option<u64>,
        date: bool,
    },
    Fail(Failure),
}

/// What happens from outside.
#[derive(Clone, Debug)]
enum Happening {
    /// Time passes; wake-ups are followed, refreshes are answered, the disk answers.
    Passes(Duration),
    /// Time passes, and the machine is told afterwards.
    Sleeps(Duration),
    ClockJumps(i64),
    CognitoAnswers,
    DiskAnswers,
    DiskBreaks(bool),
    Wanted,
    Unauthorized {
        behind: u64,
        accepted: bool,
    },
    Unlocked,
    Request,
    SignsIn {
        lifetime: u64,
        age: u64,
    },
    AnotherProcessRefreshed {
        lifetime: u64,
    },
    LogsOut,
    Reloads(Box<Settings>),
    Restarts,
}

/// The proxy, and all that is remembered about what it did.
struct Witness {
    now: Now,
    ahead_ms: i64,
    state: State,
    published: Snapshot,
    /// The skew that was known when that was published.
    skew_ms: i64,
    stored: Option<Session>,
    disk_works: bool,
    answers: VecDeque<Answer>,
    in_flight: Option<Session>,
    /// Whether the session in flight was replaced meanwhile.
    overtaken: bool,
    /// The write under way.
    writing: Option<Session>,
    wake_at: Duration,
    tokens: HashMap<String, Token>,
    /// JWTs that came with a rotated refresh token, and that no write has been answered for.
    awaited: HashSet<String>,
    raised: Option<Raised>,
    ended_told: bool,
    generation: u64,
    used: Duration,
    minted: u64,
    steps: u64,
}

impl Witness {
    fn new(settings: Settings, answers: Vec<Answer>) -> Self {
        let now = Now { wall: NINE, boot: Duration::from_secs(3600) };
        let state = State::new(settings, "cognito-proxy login".into(), 3);
        let mut witness = Self {
            now,
            ahead_ms: 0,
            published: state.snapshot(now),
            skew_ms: 0,
            state,
            stored: None,
            disk_works: true,
            answers: answers.into(),
            in_flight: None,
            overtaken: false,
            writing: None,
            wake_at: now.boot,
            tokens: HashMap::new(),
            awaited: HashSet::new(),
            raised: None,
            ended_told: false,
            generation: 0,
            used: now.boot,
            minted: 0,
            steps: 0,
        };
        let first = witness.session(3600, 0, 1);
        witness.stored = Some(first.clone());
        witness.step(Event::Loaded(Ok(Some(Box::new(first)))));
        witness
    }

    fn aws(&self) -> Now {
        Now { wall: self.now.wall.shifted(self.ahead_ms), boot: self.now.boot }
    }

    fn mint(&mut self, lifetime: u64, age: u64, auth_time: UnixTime, kind: TokenKind) -> Token {
        self.minted += 1;
        let mut there = self.aws();
        there.wall = there.wall - Duration::from_secs(age);
        let mut minted = token(there, lifetime, auth_time);
        minted.jwt = Secret::from(format!("jwt-{}", self.minted).as_str());
        minted.claims.kind = kind;
        minted.received = self.now;
        self.tokens.insert(minted.jwt.expose().to_owned(), minted.clone());
        minted
    }

    fn session(&mut self, lifetime: u64, age: u64, generation: u64) -> Session {
        let signed_in = self.aws().wall - Duration::from_secs(age);
        let id_token = self.mint(lifetime, age, signed_in, TokenKind::Id);
        let access_token = Some(self.mint(lifetime, age, signed_in, TokenKind::Access));
        let base = session(self.aws(), lifetime);
        Session { id_token, access_token, auth_time: Some(signed_in), generation, ..base }
    }

    fn step(&mut self, event: Event) {
        self.steps += 1;
        let (state, actions) = self.state.clone().step(self.now, event);
        self.state = state;
        assert!(matches!(actions.last(), Some(Action::WakeIn(wake)) if *wake <= DAY), "{actions:?}");
        for action in actions {
            match action {
                Action::Publish(snapshot) => self.see(*snapshot),
                Action::Save => {
                    assert!(self.writing.is_none(), "two writes at a time");
                    self.writing = Some(self.state.session().expect("a write has a session").clone());
                }
                Action::Warn(warning) => self.hear(&warning.kind),
                Action::Refresh => {
                    assert!(self.in_flight.is_none() || self.overtaken, "two refreshes in flight");
                    self.in_flight = self.state.session().cloned();
                    self.overtaken = false;
                }
                Action::WakeIn(delay) => self.wake_at = self.now.boot + delay,
            }
        }
        // A verdict that turned out to be mistaken may be followed by another.
        self.ended_told &= self.state.has_ended();
        self.look();
    }

    /// A snapshot is published.
    fn see(&mut self, snapshot: Snapshot) {
        if let Some(token) = &snapshot.id_token {
            assert!(!self.awaited.contains(token.jwt.expose()), "published before the store has answered");
            assert!(token.generation >= self.generation, "a generation went back");
            self.generation = token.generation;
        }
        self.published = snapshot;
        self.skew_ms = self.state.skew_ms();
    }

    /// A warning is raised.
    fn hear(&mut self, kind: &WarningKind) {
        match kind {
            WarningKind::SessionEnd(Level::Ended) => {
                assert!(!std::mem::replace(&mut self.ended_told, true), "the end was told twice");
            }
            WarningKind::SessionEnd(_) => {
                let raised = self.state.session().and_then(|session| session.notes.warned).expect("noted");
                if let Some(earlier) = self.raised.filter(|earlier| earlier.expiry == raised.expiry) {
                    assert!(raised.threshold < earlier.threshold, "{raised:?} after {earlier:?}");
                }
                self.raised = Some(raised);
            }
            WarningKind::IdleLock { .. } | WarningKind::RefreshFailing { .. } => {}
        }
    }

    /// No dead token is injected, by either clock, whatever was published and however long ago.
    fn look(&self) {
        for kind in [TokenKind::Id, TokenKind::Access] {
            for decision in [self.published.decide(kind, self.now), self.published.decide_at_last(kind, self.now)] {
                if decision != Decision::Inject {
                    continue;
                }
                let jwt = &self.published.token(kind).expect("injected").jwt;
                let token = &self.tokens[jwt.expose()];
                assert!(self.now.wall.shifted(self.skew_ms) < token.claims.expires_at, "{kind:?}: by `exp`");
                assert!(self.now.boot < token.received.boot + token.lifetime(), "{kind:?}: by its age");
            }
        }
    }

    fn cognito_answers(&mut self) {
        let Some(session) = self.in_flight.take() else { return };
        let generation = session.generation;
        let answer = self.answers.pop_front().unwrap_or(Answer::Fail(transient(false)));
        self.answers.push_back(answer.clone());
        let event = match answer {
            Answer::Fail(failure) => Event::Failed { generation, failure },
            Answer::Grant { lifetime, age, rotates, access, date } => {
                let signed_in = session.auth_time.expect("set");
                let id_token = self.mint(lifetime, age, signed_in, TokenKind::Id);
                let access_token = access.map(|lifetime| self.mint(lifetime, age, signed_in, TokenKind::Access));
                let refresh_token = rotates.then(|| {
                    self.awaited.insert(id_token.jwt.expose().to_owned());
                    Secret::from(format!("refresh-{}", self.minted).as_str())
                });
                let date = date.then(|| UnixTime::from_secs(self.aws().wall.as_secs()));
                let grant = Grant { id_token, access_token, refresh_token, date, jwks: None };
                Event::Granted { generation, grant: Box::new(grant) }
            }
        };
        self.step(event);
    }

    fn disk_answers(&mut self) {
        let Some(written) = self.writing.take() else { return };
        self.awaited.remove(written.id_token.jwt.expose());
        if self.disk_works {
            self.stored = Some(written);
            self.step(Event::Saved);
        } else {
            self.step(Event::SaveRefused);
        }
    }

    fn tick(&mut self) {
        self.step(Event::Used(self.used));
        self.step(Event::Tick);
    }

    /// Follows wake-ups for `duration`; Cognito and the disk answer at once, which is the worst for a loop.
    fn passes(&mut self, duration: Duration) {
        let end = self.now.boot + duration;
        let before = self.steps;
        loop {
            while self.in_flight.is_some() || self.writing.is_some() {
                self.cognito_answers();
                self.disk_answers();
                assert!(self.steps - before < budget(duration), "a hot loop: {:?}", self.published.gate);
            }
            if self.wake_at > end {
                break;
            }
            self.now = self.now.after(self.wake_at.saturating_sub(self.now.boot));
            self.tick();
            assert!(self.steps - before < budget(duration), "a hot loop: {:?}", self.published.gate);
        }
        self.now = self.now.after(end.saturating_sub(self.now.boot));
    }

    fn replaced(&mut self) {
        self.overtaken = true;
        self.raised = None;
        self.ended_told = false;
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Passes(duration) => self.passes(duration),
            Happening::Sleeps(duration) => {
                self.now = self.now.after(duration);
                self.look();
                self.tick();
            }
            Happening::ClockJumps(millis) => {
                self.now.wall = self.now.wall.shifted(millis);
                self.ahead_ms -= millis;
                self.look();
                self.tick();
            }
            Happening::CognitoAnswers => self.cognito_answers(),
            Happening::DiskAnswers => self.disk_answers(),
            Happening::DiskBreaks(works) => self.disk_works = works,
            Happening::Wanted => self.step(Event::Wanted),
            Happening::Unauthorized { behind, accepted } => {
                let generation = self.generation.saturating_sub(behind);
                let accepted = if accepted { self.generation } else { 0 };
                self.step(Event::Unauthorized { generation, accepted });
            }
            Happening::Unlocked => self.step(Event::Unlocked),
            Happening::Request => self.used = self.now.boot,
            Happening::SignsIn { lifetime, age } => {
                let session = self.session(lifetime, age, 1);
                self.replaced();
                self.awaited.insert(session.id_token.jwt.expose().to_owned());
                self.step(Event::Adopted { session: Box::new(session), stored: false });
            }
            Happening::AnotherProcessRefreshed { lifetime } => self.overtake(lifetime),
            Happening::LogsOut => {
                self.replaced();
                self.step(Event::Cleared);
                self.stored = None;
            }
            Happening::Reloads(settings) => {
                let stored = self.state.wants_stored(&settings).then(|| self.stored.clone()).flatten().map(Box::new);
                self.step(Event::Reconfigured { settings, stored });
            }
            Happening::Restarts => self.restarts(),
        }
    }

    /// Another process holds the lock, so that nothing of ours is half written.
    fn overtake(&mut self, lifetime: u64) {
        while self.writing.is_some() {
            self.disk_answers();
        }
        let Some(ours) = self.state.session().cloned() else { return };
        let signed_in = ours.auth_time.expect("set");
        let id_token = self.mint(lifetime, 0, signed_in, TokenKind::Id);
        let theirs = Session { id_token, generation: ours.generation + 1, ..ours };
        self.overtaken = true;
        self.stored = Some(theirs.clone());
        self.awaited.clear();
        self.step(Event::Adopted { session: Box::new(theirs), stored: true });
    }

    fn restarts(&mut self) {
        // A disk that works: what was said is remembered.
        self.disk_works = true;
        while self.writing.is_some() {
            self.disk_answers();
        }
        if self.state.is_unsaved() {
            self.stored = self.state.session().cloned();
        }
        self.state = State::new(self.state.settings.clone(), "cognito-proxy login".into(), self.steps);
        self.in_flight = None;
        self.writing = None;
        self.awaited.clear();
        self.generation = 0;
        self.used = self.now.boot;
        self.published = self.state.snapshot(self.now);
        let now = self.now;
        let loaded = self.stored.clone().map(|mut session| {
            for token in [Some(&mut session.id_token), session.access_token.as_mut()].into_iter().flatten() {
                // A token counts as received when it was loaded.
                token.received = now;
                self.tokens.insert(token.jwt.expose().to_owned(), token.clone());
            }
            Box::new(session)
        });
        self.step(Event::Loaded(Ok(loaded)));
    }
}

/// Steps that `duration` may cost: a lost answer is repeated at once, and every failure may be written down.
fn budget(duration: Duration) -> u64 {
    60 + duration.as_secs() * 14
}

fn failure() -> impl Strategy<Value = Failure> {
    prop_oneof![
        any::<bool>().prop_map(transient),
        proptest::option::of(0..200_u64).prop_map(|after| Failure::Throttled {
            retry_after: after.map(Duration::from_secs),
            detail: "slow down".into()
        }),
        prop_oneof![Just(EndReason::Expired), Just(EndReason::Revoked), Just(EndReason::RotatedTokenLost)]
            .prop_map(refused),
        Just(Failure::Ambiguous { detail: "Invalid Refresh Token".into() }),
        Just(Failure::Setting { setting: SettingAtFault::ClientId, detail: "no such client".into() }),
        Just(Failure::Unacceptable { detail: "alg none".into() }),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let lifetime = || prop_oneof![0..12_u64, 60..4000_u64, Just(86_400)];
    let age = prop_oneof![6 => Just(0), 1 => 1..4000_u64];
    let access = proptest::option::weighted(0.9, lifetime());
    let grant = (lifetime(), age, any::<bool>(), access, proptest::bool::weighted(0.9))
        .prop_map(|(lifetime, age, rotates, access, date)| Answer::Grant { lifetime, age, rotates, access, date });
    let rotated = failure().prop_map(|failure| {
        Answer::Fail(Failure::Rotated { rotated: Secret::from("another"), failure: Box::new(failure) })
    });
    prop_oneof![8 => grant, 6 => failure().prop_map(Answer::Fail), 1 => rotated]
}

fn machine() -> impl Strategy<Value = Settings> {
    let kinds = prop_oneof![
        Just(vec![TokenKind::Id]),
        Just(vec![TokenKind::Access]),
        Just(vec![TokenKind::Id, TokenKind::Access])
    ];
    (any::<bool>(), any::<bool>(), kinds, proptest::option::of(1..2000_u64), proptest::option::of(1..90_u64)).prop_map(
        |(on_demand, last_chance, kinds, idle_lock, min_days)| Settings {
            mode: if on_demand { Mode::OnDemand } else { Mode::Ahead },
            last_chance,
            kinds,
            idle_lock: idle_lock.map(Duration::from_secs),
            min_remaining_at_start: min_days.map(|days| DAY * u32::try_from(days).expect("small")),
            ..settings()
        },
    )
}

fn happening() -> impl Strategy<Value = Happening> {
    let short = || (0..90_000_u64).prop_map(Duration::from_millis);
    let long = || (0..4 * 86_400_u64).prop_map(Duration::from_secs);
    prop_oneof![
        8 => short().prop_map(Happening::Passes),
        2 => (0..5_000_u64).prop_map(|seconds| Happening::Passes(Duration::from_secs(seconds))),
        3 => prop_oneof![short(), long()].prop_map(Happening::Sleeps),
        2 => prop_oneof![-8_000..8_000_i64, -10_000_000..10_000_000_i64].prop_map(Happening::ClockJumps),
        6 => Just(Happening::CognitoAnswers),
        6 => Just(Happening::DiskAnswers),
        1 => any::<bool>().prop_map(Happening::DiskBreaks),
        4 => Just(Happening::Wanted),
        2 => (0..2_u64, any::<bool>()).prop_map(|(behind, accepted)| Happening::Unauthorized { behind, accepted }),
        1 => Just(Happening::Unlocked),
        3 => Just(Happening::Request),
        1 => (1..4000_u64, 0..4000_u64).prop_map(|(lifetime, age)| Happening::SignsIn { lifetime, age }),
        1 => (3..4000_u64).prop_map(|lifetime| Happening::AnotherProcessRefreshed { lifetime }),
        1 => Just(Happening::LogsOut),
        1 => machine().prop_map(|settings| Happening::Reloads(Box::new(settings))),
        1 => Just(Happening::Restarts),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    /// Never a dead token, never two refreshes or two writes at a time, never a rotated token before its write was
    /// answered, never a generation that goes back, never a warning twice, and never a hot loop.
    #[test]
    fn whatever_happens(
        settings in machine(),
        answers in proptest::collection::vec(answer(), 1..8),
        happenings in proptest::collection::vec(happening(), 1..80),
    ) {
        let mut witness = Witness::new(settings, answers);
        for happening in happenings {
            witness.happens(happening);
        }
        // And it never gets stuck: with a pool that works, a sign-in is all that it ever takes.
        witness.disk_works = true;
        witness.answers =
            [Answer::Grant { lifetime: 3600, age: 0, rotates: true, access: Some(3600), date: true }].into();
        witness.passes(Duration::from_secs(61));
        witness.happens(Happening::SignsIn { lifetime: 3600, age: 0 });
        witness.passes(Duration::from_secs(5));
        let kind = witness.state.settings.kinds[0];
        if matches!(witness.published.decide(kind, witness.now), Decision::Wait { .. }) {
            witness.happens(Happening::Wanted);
            witness.passes(Duration::from_secs(1));
        }
        if !witness.state.session().expect("signed in").notes.locked {
            prop_assert_eq!(witness.published.decide(kind, witness.now), Decision::Inject);
        }
    }
}
