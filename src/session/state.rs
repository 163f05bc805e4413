//! The machine: what happens to a session, and what has to be done about it.
//!
//! [`State::step`] takes the time and an event and returns the next state with the actions that the shell performs.
//! At most one refresh is in flight, every state has a wake-up, and nothing that is stored is deleted on a failure.

mod adopt;
mod announce;
mod answer;
mod due;
mod event;
#[cfg(test)]
pub(crate) mod fixtures;
mod idle;
#[cfg(test)]
mod tests_clock;
#[cfg(test)]
mod tests_end;
#[cfg(test)]
mod tests_forced;
#[cfg(test)]
mod tests_hurry;
#[cfg(test)]
mod tests_kinds;
#[cfg(test)]
mod tests_last_chance;
#[cfg(test)]
mod tests_random;
#[cfg(test)]
mod tests_refresh;
#[cfg(test)]
mod tests_store;

use std::time::Duration;

pub use event::{Action, Event};

use self::{
    adopt::{foreign, is_of},
    idle::Use,
};
pub use super::warning::{Warning, WarningKind};
use super::{
    EndReason, Outcome, Session, SettingAtFault, Settings, schedule::Dice, snapshot::command, verdict::Suspicion,
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
    /// Whether a refresh token is in memory that the store does not hold.
    pub(super) undurable: bool,
    /// Why the session that is stored may not be used before a new sign-in.
    pub(super) withheld: Option<String>,
    /// The generation that brought the current tokens; a later one changed something else.
    pub(super) minted: u64,
    /// The highest generation so far, of any session: the next one is higher, so that an old answer is never taken for
    /// a new one.
    newest: u64,
    /// What was left of the current token when a refresh brought it; without a refresh not known, and unlimited.
    left_when_granted: Duration,
    suspicion: Suspicion,
    dice: Dice,
    last_attempt: Option<Duration>,
    /// Whether the last attempt was sent and got no answer.
    lost: bool,
    /// Whether the configuration was read again after the attempt in flight was begun.
    outdated: bool,
    forced: Forced,
    publish: Publish,
    /// Whether the session differs from what the last write was begun with.
    save: bool,
    /// Whether a write has been asked for and not been answered.
    saving: bool,
    usage: Use,
    warned_of_failing: bool,
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
        /// The session had ended, and this is the one attempt that a restart or a reload is worth: if it brings no
        /// token, the verdict stands.
        probing: bool,
        since: UnixTime,
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
            undurable: false,
            withheld: None,
            minted: 0,
            newest: 0,
            left_when_granted: Duration::MAX,
            suspicion: Suspicion::default(),
            dice: Dice::new(seed),
            last_attempt: None,
            lost: false,
            outdated: false,
            forced: Forced::default(),
            publish: Publish::Now,
            save: false,
            saving: false,
            usage: Use::default(),
            warned_of_failing: false,
            warnings: Vec::new(),
            refresh: false,
        }
    }

    /// A machine at rest with what the store held: what `status` shows where no proxy runs. It dials nobody.
    #[must_use]
    pub fn at_rest(mut self, stored: Result<Option<Box<Session>>, String>) -> Self {
        self.rest(stored);
        let last = self.session.as_ref().and_then(|session| session.notes.last_refresh.as_ref());
        if let Some(last) = last.filter(|last| self.phase == Phase::Fresh && last.outcome != Outcome::Ok) {
            // Nobody will try again by himself: the next attempt is overdue since the last one.
            self.phase = Phase::BackingOff { until: Duration::ZERO, until_wall: last.at, nudgeable: true };
            self.failures = 1;
        }
        self
    }

    /// The session, while there is one.
    #[must_use]
    pub const fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Whether a refresh is under way: in flight, or its result not durable yet and so not published.
    #[must_use]
    pub const fn is_refreshing(&self) -> bool {
        matches!(self.phase, Phase::Refreshing { .. }) || matches!(self.publish, Publish::AfterSave)
    }

    /// Whether the session is in memory alone, since the disk refused it.
    #[must_use]
    pub const fn is_unsaved(&self) -> bool {
        self.unsaved.is_some()
    }

    /// Whether a reload with `settings` should say what the store holds: there is nothing here, or nothing any more,
    /// that it could be older than.
    #[must_use]
    pub fn wants_stored(&self, settings: &Settings) -> bool {
        self.session.as_ref().is_none_or(|session| session.notes.ended.is_some() || !is_of(settings, session))
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
            // The answer to a refresh of a session that was replaced meanwhile.
            Event::Granted { .. } | Event::Failed { .. } => {}
            Event::Saved => self.saved(),
            Event::SaveRefused => self.save_refused(now),
            Event::Adopted { session, stored } => self.adopted(now, *session, stored),
            Event::Cleared => self.sign_out("nobody has signed in".into()),
            Event::Renew if self.phase == Phase::Fresh && !self.is_writing_token() => self.start(now, false),
            Event::Renew | Event::Wanted => self.wanted(now),
            Event::Unauthorized { generation, accepted } => self.unauthorized(now, generation, accepted),
            Event::Unlocked => self.unlocked(now),
            Event::Used(at) => self.used(at.min(now.boot)),
            Event::PoolValidity(validity) => self.pool_validity = validity,
            Event::Reconfigured { settings, stored } => self.reconfigured(now, *settings, stored),
            Event::Tick => self.watch_idleness(now),
        }
        self.advance(now);
        let actions = self.actions(now);
        (self, actions)
    }

    fn saved(&mut self) {
        self.saving = false;
        self.unsaved = None;
        // Where the session has changed since that write was begun, the next one is what counts.
        if !self.save {
            self.undurable = false;
            self.publish = Publish::Now;
        }
    }

    fn save_refused(&mut self, now: Now) {
        self.saving = false;
        // Likewise; and where somebody logged out meanwhile there is nothing left to write.
        if self.save || self.session.is_none() {
            return;
        }
        let failures = self.unsaved.as_ref().map_or(1, |unsaved| unsaved.failures.saturating_add(1));
        let pause = Duration::from_secs(1 << (failures - 1).min(6)).min(SAVE_PAUSE_CAP);
        self.unsaved = Some(Unsaved { failures, retry_at: now.boot + pause });
        self.publish = Publish::Now;
    }

    fn wanted(&mut self, now: Now) {
        let rested = self.last_attempt.is_none_or(|last| now.boot.saturating_sub(last) >= NUDGE_PAUSE);
        match self.phase {
            // Not every nudge is news: one may have been said before the refresh that it asks for.
            _ if self.is_writing_token() => {}
            Phase::Fresh if self.lacks_fresh(now) => self.start(now, false),
            Phase::BackingOff { nudgeable: true, .. } if rested && self.lacks_usable(now) => self.start(now, false),
            _ => {}
        }
    }

    fn unauthorized(&mut self, now: Now, generation: u64, accepted: u64) {
        let Some(session) = self.session.as_ref() else { return };
        // After a restart only `iat` knows how old a token is.
        let age = now.boot.saturating_sub(session.id_token.received.boot);
        let age = age.max(self.aws(now.wall).since(session.id_token.claims.issued_at));
        let rested = self.forced.at.is_none_or(|at| now.boot.saturating_sub(at) >= FORCED_PAUSE);
        let proven = self.forced.brought != Some(generation) || accepted >= generation;
        let doubtful = self.minted == generation && age >= DOUBT_AGE && rested && proven;
        if doubtful && self.phase == Phase::Fresh && !self.is_writing_token() {
            self.forced.at = Some(now.boot);
            self.forced.under_way = true;
            self.start(now, false);
        }
    }

    fn reconfigured(&mut self, now: Now, settings: Settings, stored: Option<Box<Session>>) {
        if settings.idle_lock != self.settings.idle_lock {
            self.used(now.boot);
        }
        self.settings = settings;
        if let Some(session) = self.session.as_ref().filter(|session| !self.is_ours(session)) {
            let detail = foreign(session);
            self.sign_out(detail);
        }
        if let Some(stored) = stored {
            // Whoever mended the session may have mended the store, and the one attempt is worth its best token. That
            // was read beside a write under way, and does not answer it.
            let saving = self.saving;
            self.adopted(now, *stored, true);
            self.saving = saving;
        }
        self.roll_lead();
        let mended = self.setting_at_fault().is_some();
        match self.phase {
            _ if self.is_writing_token() => {}
            Phase::Ended { .. } => self.start(now, true),
            // Throttling and second thoughts about a refusal keep their pauses.
            Phase::BackingOff { nudgeable, .. } if nudgeable || mended => self.start(now, false),
            Phase::Refreshing { .. } => self.outdated = true,
            Phase::SignedOut { .. } | Phase::Fresh | Phase::BackingOff { .. } => {}
        }
    }

    /// What is due by the clock alone.
    fn advance(&mut self, now: Now) {
        if self.unsaved.as_ref().is_some_and(|unsaved| now.boot >= unsaved.retry_at) {
            self.save = true;
        }
        match self.phase {
            Phase::Fresh if self.refresh_due(now).is_some_and(|wait| wait.is_zero()) => self.start(now, false),
            Phase::BackingOff { until, .. } if now.boot >= until && !self.is_writing_token() => self.start(now, false),
            _ => {}
        }
        self.announce(now);
    }

    fn start(&mut self, now: Now, probing: bool) {
        self.phase = Phase::Refreshing { probing, since: now.wall };
        self.last_attempt = Some(now.boot);
        self.outdated = false;
        self.refresh = true;
    }

    fn back_off(&mut self, now: Now, pause: Duration, nudgeable: bool) {
        let later = now.after(pause);
        self.phase = Phase::BackingOff { until: later.boot, until_wall: later.wall, nudgeable };
    }

    fn actions(&mut self, now: Now) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.publish == Publish::Now {
            actions.push(Action::Publish(Box::new(self.snapshot(now))));
        }
        if self.save && !self.saving && self.session.is_some() {
            self.save = false;
            self.saving = true;
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

    /// Whether Cognito's verdict has come, and no success since.
    pub(super) fn has_ended(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.notes.ended.is_some())
    }

    /// Whether a refresh token is about to become durable: it is not spent before the store has answered.
    pub(super) const fn is_writing_token(&self) -> bool {
        self.undurable && (self.save || self.saving)
    }

    /// The command `verb` of this profile.
    pub(super) fn command(&self, verb: &str) -> String {
        command(&self.login, verb)
    }

    fn is_current(&self, generation: u64) -> bool {
        matches!(self.phase, Phase::Refreshing { .. })
            && self.session.as_ref().is_some_and(|session| session.generation == generation)
    }
}
