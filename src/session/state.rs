//! The machine: what happens to a session, and what has to be done about it.
//!
//! [`State::step`] takes the time and an event and returns the next state with the actions that the shell performs.
//! At most one refresh is in flight, every state has a wake-up, and nothing that is stored is deleted on a failure.

mod answer;
mod due;
#[cfg(test)]
pub(crate) mod fixtures;

use std::time::Duration;

use super::{
    EndReason, Failure, Grant, Outcome, Session, SettingAtFault, Settings, Token,
    schedule::{self, Dice},
    snapshot::Snapshot,
    validity,
    verdict::Suspicion,
    warning::{Level, Raised},
};
use crate::clock::{Now, UnixTime};

/// Between attempts that a request or the network starts while nothing can be injected.
pub(super) const NUDGE_PAUSE: Duration = Duration::from_secs(5);

/// A token younger than this is not doubted when an upstream says 401: its clock may lag behind `iat`.
const DOUBT_AGE: Duration = Duration::from_secs(10);

/// Refreshes that a 401 forces are at least this far apart.
const FORCED_PAUSE: Duration = Duration::from_secs(60);

/// Retries of a write that the disk refused: 1 s × 2 to this.
const SAVE_PAUSE_CAP: Duration = Duration::from_secs(60);

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The store was read at start; an error says why it cannot be used.
    Loaded(Result<Option<Box<Session>>, String>),
    /// A refresh that was begun with `generation` brought tokens.
    Granted {
        /// The generation whose refresh token was spent.
        generation: u64,
        /// What it brought.
        grant: Box<Grant>,
    },
    /// A refresh that was begun with `generation` failed.
    Failed {
        /// The generation whose refresh token was used.
        generation: u64,
        /// Why.
        failure: Failure,
    },
    /// The record was written durably.
    Saved,
    /// The disk refused the record; the old one is intact.
    SaveRefused,
    /// A new sign-in, or a newer generation that another process stored.
    Adopted {
        /// The session.
        session: Box<Session>,
        /// Whether the store holds it already.
        stored: bool,
    },
    /// The record is gone: somebody logged out.
    Cleared,
    /// A request waits for a token, or the network changed.
    Wanted,
    /// An upstream refused the token of `generation`.
    Unauthorized {
        /// The generation that was refused.
        generation: u64,
        /// The latest generation that an upstream has accepted.
        accepted: u64,
    },
    /// Somebody opened the idle lock.
    Unlocked,
    /// `DescribeUserPoolClient` said how long the app client's refresh tokens live; `None` where it may not be asked.
    PoolValidity(Option<Duration>),
    /// The configuration was read again.
    Reconfigured(Box<Settings>),
    /// Time passed.
    Tick,
}

/// What the shell does, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make it visible to the workers.
    Publish(Box<Snapshot>),
    /// Write the session durably, then say [`Event::Saved`] or [`Event::SaveRefused`].
    Save,
    /// Say this to the person.
    Warn(Warning),
    /// Begin one refresh with the session's refresh token, then say how it went.
    Refresh,
    /// Say [`Event::Tick`] after this time, if nothing happens before.
    WakeIn(Duration),
}

/// One warning for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// How urgent.
    pub level: Level,
    /// When the refresh token ends, where that is known.
    pub expires_at: Option<UnixTime>,
    /// The latest moment at which a token can still be injected, where that is known.
    pub injecting_until: Option<UnixTime>,
    /// Cognito's verdict, for [`Level::Ended`].
    pub reason: Option<EndReason>,
    /// The command that mends it.
    pub fix: String,
}

/// The machine's state.
#[derive(Clone, Debug)]
pub struct State {
    pub(super) settings: Settings,
    pub(super) login: String,
    pub(super) phase: Phase,
    pub(super) session: Option<Session>,
    /// What `DescribeUserPoolClient` said, where it could be asked.
    pub(super) pool_validity: Option<Duration>,
    /// Milliseconds by which AWS's clock is ahead of ours.
    pub(super) skew_ms: i64,
    pub(super) failures: u32,
    /// The lead time of the current token, jitter included.
    pub(super) lead: Duration,
    pub(super) unsaved: Option<Unsaved>,
    /// Why the session that is stored may not be used before a new sign-in.
    pub(super) withheld: Option<String>,
    suspicion: Suspicion,
    dice: Dice,
    last_attempt: Option<Duration>,
    forced: Forced,
    publish: Publish,
    save: bool,
    warnings: Vec<Warning>,
    refresh: bool,
}

/// Where the machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    SignedOut {
        detail: String,
    },
    Fresh,
    Refreshing {
        /// The session had ended, and this is the one attempt that a restart or a reload is worth: one refusal ends it.
        probing: bool,
    },
    BackingOff {
        until: Duration,
        until_wall: UnixTime,
        /// Whether a request may start an attempt earlier.
        nudgeable: bool,
    },
    Ended {
        reason: EndReason,
    },
}

/// A write that the disk refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unsaved {
    failures: u32,
    retry_at: Duration,
}

/// When the next snapshot may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Publish {
    /// At the end of this step.
    Now,
    /// Once the store has answered: a rotated refresh token is durable before anything relies on it.
    AfterSave,
}

/// What is remembered about refreshes that a 401 forced.
#[derive(Clone, Debug, Default)]
struct Forced {
    at: Option<Duration>,
    /// The generation that the last forced refresh brought.
    brought: Option<u64>,
    under_way: bool,
}

impl State {
    /// A machine that knows nobody. `login` is the command that mends a missing sign-in; `seed` decides its jitter.
    pub fn new(settings: Settings, login: String, seed: u64) -> Self {
        Self {
            settings,
            login,
            phase: Phase::SignedOut { detail: "nobody has signed in".into() },
            session: None,
            pool_validity: None,
            skew_ms: 0,
            failures: 0,
            lead: Duration::ZERO,
            unsaved: None,
            withheld: None,
            suspicion: Suspicion::default(),
            dice: Dice::new(seed),
            last_attempt: None,
            forced: Forced::default(),
            publish: Publish::Now,
            save: false,
            warnings: Vec::new(),
            refresh: false,
        }
    }

    /// A machine at rest with what the store held: what `status` shows where no proxy runs. It dials nobody.
    #[must_use]
    pub fn at_rest(mut self, stored: Result<Option<Box<Session>>, String>) -> Self {
        self.rest(stored);
        let last = self.session.as_ref().and_then(|session| session.notes.last_refresh.as_ref());
        if self.phase == Phase::Fresh && last.is_some_and(|last| last.outcome != Outcome::Ok) {
            self.failures = 1;
            self.phase = Phase::BackingOff { until: Duration::ZERO, until_wall: UnixTime::default(), nudgeable: true };
        }
        self
    }

    /// The session, while there is one.
    #[must_use]
    pub const fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Whether a refresh is in flight.
    #[must_use]
    pub const fn is_refreshing(&self) -> bool {
        matches!(self.phase, Phase::Refreshing { .. })
    }

    /// Whether the session is in memory alone, since the disk refused it.
    #[must_use]
    pub const fn is_unsaved(&self) -> bool {
        self.unsaved.is_some()
    }

    /// How many refreshes have failed in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// When the next attempt is due after a failure, on the clock since boot.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Duration> {
        match self.phase {
            Phase::BackingOff { until, .. } => Some(until),
            _ => None,
        }
    }

    /// When the last attempt began, on the clock since boot.
    pub(super) const fn last_attempt(&self) -> Option<Duration> {
        self.last_attempt
    }

    /// Milliseconds by which AWS's clock is ahead of ours, 0 below three seconds.
    #[must_use]
    pub const fn skew_ms(&self) -> i64 {
        self.skew_ms
    }

    /// What happens at `now` because of `event`.
    #[must_use]
    pub fn step(mut self, now: Now, event: Event) -> (Self, Vec<Action>) {
        match event {
            Event::Loaded(stored) => self.loaded(now, stored),
            Event::Granted { generation, grant } if self.is_current(generation) => self.granted(now, *grant),
            Event::Failed { generation, failure } if self.is_current(generation) => self.failed(now, failure),
            Event::Granted { .. } | Event::Failed { .. } | Event::Tick => {}
            Event::Saved => {
                self.unsaved = None;
                self.publish = Publish::Now;
            }
            Event::SaveRefused => self.save_refused(now),
            Event::Adopted { session, stored } => self.adopted(*session, stored),
            Event::Cleared => self.sign_out("nobody has signed in".into()),
            Event::Wanted => self.wanted(now),
            Event::Unauthorized { generation, accepted } => self.unauthorized(now, generation, accepted),
            Event::Unlocked => self.unlocked(),
            Event::PoolValidity(validity) => self.pool_validity = validity,
            Event::Reconfigured(settings) => self.reconfigured(now, *settings),
        }
        self.advance(now);
        let actions = self.actions(now);
        (self, actions)
    }

    fn rest(&mut self, stored: Result<Option<Box<Session>>, String>) {
        match stored {
            Err(detail) => self.sign_out(detail),
            Ok(None) => self.sign_out("nobody has signed in".into()),
            Ok(Some(session)) if !self.is_ours(&session) => self.sign_out(foreign(&session)),
            Ok(Some(session)) => self.take(*session),
        }
    }

    fn loaded(&mut self, now: Now, stored: Result<Option<Box<Session>>, String>) {
        self.rest(stored);
        if let Phase::Ended { .. } = self.phase {
            // One attempt: the verdict may have been mistaken, or mended since.
            self.start(now, true);
        }
        self.withheld = self.too_short_at_start(now);
    }

    fn adopted(&mut self, mut session: Session, stored: bool) {
        let ours = self.session.as_ref();
        let newest = ours.map_or(0, |ours| ours.generation);
        if !self.is_ours(&session) || (stored && session.generation <= newest && ours.is_some()) {
            return;
        }
        if let Some(ours) = ours {
            session.notes.observed = ours.notes.observed.carried();
        }
        if !stored {
            session.generation = session.generation.max(newest + 1);
            session.notes.locked = false;
            self.save = true;
            self.publish = Publish::AfterSave;
        }
        self.withheld = None;
        self.unsaved = None;
        self.take(session);
    }

    /// Makes `session` the current one, as its notes say it is.
    fn take(&mut self, session: Session) {
        self.failures = 0;
        self.suspicion = Suspicion::default();
        self.phase = match &session.notes.ended {
            Some(reason) => Phase::Ended { reason: reason.clone() },
            None => Phase::Fresh,
        };
        self.session = Some(session);
        self.roll_lead();
    }

    fn sign_out(&mut self, detail: String) {
        self.phase = Phase::SignedOut { detail };
        self.session = None;
        self.unsaved = None;
        self.withheld = None;
        self.failures = 0;
        self.publish = Publish::Now;
    }

    fn save_refused(&mut self, now: Now) {
        let failures = self.unsaved.as_ref().map_or(1, |unsaved| unsaved.failures.saturating_add(1));
        let pause = Duration::from_secs(1 << (failures - 1).min(6)).min(SAVE_PAUSE_CAP);
        self.unsaved = Some(Unsaved { failures, retry_at: now.boot + pause });
        self.publish = Publish::Now;
    }

    fn wanted(&mut self, now: Now) {
        let rested = self.last_attempt.is_none_or(|last| now.boot.saturating_sub(last) >= NUDGE_PAUSE);
        match self.phase {
            Phase::Fresh => self.start(now, false),
            Phase::BackingOff { nudgeable: true, .. } if rested => self.start(now, false),
            _ => {}
        }
    }

    fn unauthorized(&mut self, now: Now, generation: u64, accepted: u64) {
        let Some(session) = self.session.as_ref() else { return };
        let age = now.boot.saturating_sub(session.id_token.received.boot);
        let rested = self.forced.at.is_none_or(|at| now.boot.saturating_sub(at) >= FORCED_PAUSE);
        let proven = self.forced.brought != Some(generation) || accepted >= generation;
        let doubtful = session.generation == generation && age >= DOUBT_AGE && rested && proven;
        if doubtful && self.phase == Phase::Fresh {
            self.forced.at = Some(now.boot);
            self.forced.under_way = true;
            self.start(now, false);
        }
    }

    fn unlocked(&mut self) {
        if let Some(session) = self.session.as_mut()
            && std::mem::take(&mut session.notes.locked)
        {
            self.save = true;
        }
    }

    fn reconfigured(&mut self, now: Now, settings: Settings) {
        self.settings = settings;
        if let Some(session) = self.session.as_ref().filter(|session| !self.is_ours(session)) {
            let detail = foreign(session);
            return self.sign_out(detail);
        }
        self.roll_lead();
        match self.phase {
            Phase::Ended { .. } => self.start(now, true),
            Phase::BackingOff { .. } => self.start(now, false),
            Phase::SignedOut { .. } | Phase::Fresh | Phase::Refreshing { .. } => {}
        }
    }

    /// What is due by the clock alone.
    fn advance(&mut self, now: Now) {
        if self.unsaved.as_ref().is_some_and(|unsaved| now.boot >= unsaved.retry_at) {
            self.save = true;
        }
        match self.phase {
            Phase::Fresh if self.refresh_due(now).is_some_and(|wait| wait.is_zero()) => self.start(now, false),
            Phase::BackingOff { until, .. } if now.boot >= until => self.start(now, false),
            _ => {}
        }
        self.announce(now);
    }

    fn announce(&mut self, now: Now) {
        let Some((plan, horizon)) = self.plan().zip(self.horizon()) else { return };
        if matches!(self.phase, Phase::Ended { .. }) {
            return;
        }
        let raised = self.session.as_ref().and_then(|session| session.notes.warned);
        if let Some((level, raised)) = plan.due(now.wall, raised) {
            self.warnings.push(Warning {
                level,
                expires_at: horizon.refresh_token.at,
                injecting_until: horizon.injecting_until(now),
                reason: None,
                fix: self.login.clone(),
            });
            self.note_warned(raised);
        }
    }

    fn note_warned(&mut self, raised: Raised) {
        if let Some(session) = self.session.as_mut() {
            session.notes.warned = Some(raised);
            self.save = true;
        }
    }

    fn start(&mut self, now: Now, probing: bool) {
        self.phase = Phase::Refreshing { probing };
        self.last_attempt = Some(now.boot);
        self.refresh = true;
    }

    fn back_off(&mut self, now: Now, pause: Duration, nudgeable: bool) {
        let later = now.after(pause);
        self.phase = Phase::BackingOff { until: later.boot, until_wall: later.wall, nudgeable };
    }

    fn roll_lead(&mut self) {
        let lifetime = self.token().map_or(Duration::ZERO, Token::lifetime);
        self.lead = schedule::jittered_lead(schedule::lead(&self.settings, lifetime), &mut self.dice);
    }

    fn actions(&mut self, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.publish == Publish::Now {
            actions.push(Action::Publish(Box::new(self.snapshot(now))));
        }
        if std::mem::take(&mut self.save) && self.session.is_some() {
            actions.push(Action::Save);
        }
        actions.extend(std::mem::take(&mut self.warnings).into_iter().map(Action::Warn));
        if std::mem::take(&mut self.refresh) {
            actions.push(Action::Refresh);
        }
        actions.push(Action::WakeIn(self.wake_in(now)));
        actions
    }

    /// The setting that a refusal pointed at.
    pub(super) const fn setting_at_fault(&self) -> Option<SettingAtFault> {
        self.suspicion.setting()
    }

    fn is_current(&self, generation: u64) -> bool {
        self.is_refreshing() && self.session.as_ref().is_some_and(|session| session.generation == generation)
    }

    fn is_ours(&self, session: &Session) -> bool {
        session.user_pool_id == self.settings.user_pool_id && session.client_id == self.settings.client_id
    }

    /// `session.min_remaining_at_start`: why a session with too little left must not be used.
    fn too_short_at_start(&self, now: Now) -> Option<String> {
        let wanted = self.settings.min_remaining_at_start?;
        let session = self.session.as_ref()?;
        let expiry = self.horizon()?.refresh_token.at?;
        let validity = validity::believed(&self.settings, self.pool_validity, &session.notes.observed).0?;
        let short = expiry.since(now.wall) < wanted.min(validity / 2);
        short.then(|| format!("the session ends at {expiry}, sooner than session.min_remaining_at_start allows"))
    }
}

fn foreign(session: &Session) -> String {
    format!(
        "the stored session belongs to client {} of pool {}, which is not the one configured",
        session.client_id, session.user_pool_id
    )
}
