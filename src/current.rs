//! The current token, where every worker finds it.
//!
//! One [`Publisher`] (the refresher) writes, many [`CurrentToken`] readers look. Reading is lock-free, and every use
//! checks the clock. A reader can say two things back: that somebody waits, and that the upstream said 401.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    clock::{Now, SharedClock},
    reply::{Code, Refusal},
    session::{
        TokenKind,
        happening::{self, Happening, What},
        snapshot::{Decision, Gate, IdleClock, Snapshot},
    },
};

/// A hint that is lost because this many are unread was said already.
const NUDGES: usize = 64;

/// So much of what happened is kept for the status page: a few days of refreshes, or a bad hour.
const LATELY: usize = 50;

/// How long requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `refresh.wait`: for a refresh under way.
    pub wait: Duration,
    /// `session.hold`: for a sign-in, once the session has ended; zero for off.
    pub hold: Duration,
    /// `session.max_held`: how many at most wait for a sign-in.
    pub max_held: u64,
}

/// What readers tell the refresher.
#[derive(Debug)]
pub enum Nudge {
    /// A request waits for a token.
    Wanted,
    /// The upstream refused the token of `generation`.
    Unauthorized {
        /// The generation that was refused.
        generation: u64,
        /// The latest generation that an upstream has accepted.
        accepted: u64,
        /// Told whether a refresh is now under way.
        under_way: oneshot::Sender<bool>,
    },
}

/// What both ends share.
#[derive(Debug)]
struct Cell {
    snapshot: ArcSwap<Snapshot>,
    version: watch::Sender<u64>,
    /// What happened, the latest first. Written by the publisher alone.
    lately: ArcSwap<VecDeque<Happening>>,
    settings: ArcSwap<Settings>,
    stopping: AtomicBool,
    held: watch::Sender<u64>,
    accepted: AtomicU64,
    /// Milliseconds since boot of the last request.
    used: AtomicU64,
    clock: SharedClock,
}

/// The writing end. There is one.
#[derive(Debug)]
pub struct Publisher {
    cell: Arc<Cell>,
}

/// The reading end, one for each worker and for the admin pages.
#[derive(Clone, Debug)]
pub struct CurrentToken {
    cell: Arc<Cell>,
    nudges: mpsc::Sender<Nudge>,
}

/// A cell that holds `first`, with both its ends and what readers say.
#[must_use]
pub fn cell(
    first: Snapshot,
    settings: Settings,
    clock: SharedClock,
) -> (Publisher, CurrentToken, mpsc::Receiver<Nudge>) {
    let (nudges, heard) = mpsc::channel(NUDGES);
    let now = clock.now();
    let started = Happening { at: now.wall, what: What::Started(first.facts.state) };
    let cell = Arc::new(Cell {
        snapshot: ArcSwap::from_pointee(first),
        version: watch::Sender::new(0),
        lately: ArcSwap::from_pointee(VecDeque::from([started])),
        settings: ArcSwap::from_pointee(settings),
        stopping: AtomicBool::new(false),
        held: watch::Sender::new(0),
        accepted: AtomicU64::new(0),
        used: AtomicU64::new(millis(now)),
        clock,
    });
    (Publisher { cell: Arc::clone(&cell) }, CurrentToken { cell, nudges }, heard)
}

impl Publisher {
    /// Replaces the snapshot and wakes whoever waits; an equal one changes nothing.
    pub fn publish(&self, snapshot: Snapshot) {
        let old = self.cell.snapshot.load();
        if **old == snapshot {
            return;
        }
        self.note(happening::between(&old, &snapshot, self.cell.clock.now()));
        self.cell.snapshot.store(Arc::new(snapshot));
        self.cell.version.send_modify(|version| *version += 1);
    }

    fn note(&self, happened: Vec<Happening>) {
        if happened.is_empty() {
            return;
        }
        let mut lately = VecDeque::clone(&self.cell.lately.load());
        for happening in happened {
            lately.push_front(happening);
        }
        lately.truncate(LATELY);
        self.cell.lately.store(Arc::new(lately));
    }

    /// Replaces how long requests wait, at a reload.
    pub fn reconfigure(&self, settings: Settings) {
        self.cell.settings.store(Arc::new(settings));
    }

    /// When the last request came, on the clock since boot; before the first one, when the cell was made.
    ///
    /// To the millisecond where the idle lock is on, else to the second.
    #[must_use]
    pub fn last_used(&self) -> Duration {
        Duration::from_millis(self.cell.used.load(Ordering::Relaxed))
    }
}

impl CurrentToken {
    /// What is published now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.cell.snapshot.load_full()
    }

    /// How many requests wait for a sign-in.
    #[must_use]
    pub fn held(&self) -> u64 {
        *self.cell.held.borrow()
    }

    /// What happened since the start, the latest first; the oldest is forgotten.
    #[must_use]
    pub fn lately(&self) -> Arc<VecDeque<Happening>> {
        self.cell.lately.load_full()
    }

    /// How far the idle lock is, unless a request comes. `None` without such a lock, or where it is closed.
    #[must_use]
    pub fn idle_clock(&self) -> Option<IdleClock> {
        let used = Duration::from_millis(self.cell.used.load(Ordering::Relaxed));
        Some(self.snapshot().idle?.clock(used, self.now()))
    }

    /// Both clocks, as the session is reckoned by.
    #[must_use]
    pub fn now(&self) -> Now {
        self.cell.clock.now()
    }

    /// Tells every waiting request, and every later one that would wait, that the proxy is going down.
    pub fn stop(&self) {
        self.cell.stopping.store(true, Ordering::Release);
        self.cell.version.send_modify(|version| *version += 1);
    }

    /// The number of requests that wait for a sign-in, as it changes.
    #[must_use]
    pub fn subscribe_held(&self) -> watch::Receiver<u64> {
        self.cell.held.subscribe()
    }

    /// Changes, for whoever shows them (`/events`).
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.cell.version.subscribe()
    }

    /// A snapshot whose token of `kind` may be injected now.
    ///
    /// Returns at once where there is one. Otherwise waits for a refresh under way, at most `refresh.wait`, and once
    /// the session has ended for a sign-in, at most `session.hold` from the call on. Dropping the future gives up the
    /// wait and nothing else.
    ///
    /// # Errors
    /// The [`Refusal`] to answer with.
    pub async fn ready(&self, kind: TokenKind) -> Result<Arc<Snapshot>, Refusal> {
        let now = self.now();
        let snapshot = self.snapshot();
        if let Some(refusal) = self.touch(&snapshot, now) {
            return Err(refusal);
        }
        match snapshot.decide(kind, now) {
            Decision::Inject => Ok(snapshot),
            // Boxed, as it is rare: every request would carry the room that a wait takes.
            _ => Box::pin(self.wait(kind, now)).await,
        }
    }

    /// Says that the upstream refused the token of `generation`, and waits for a newer one.
    ///
    /// `None` where no refresh is made for it (`session.md`, "Upstream 401 with our token") or where it brought none.
    pub async fn renewed(&self, kind: TokenKind, generation: u64) -> Option<Arc<Snapshot>> {
        let deadline = tokio::time::Instant::now() + self.cell.settings.load().wait;
        let mut changes = self.subscribe();
        // A refresh that is under way already will do, and one that has ended even better.
        if self.newer(kind, generation).is_none() && !matches!(self.snapshot().gate, Gate::Refreshing) {
            let (under_way, told) = oneshot::channel();
            let accepted = self.cell.accepted.load(Ordering::Relaxed);
            let nudge = Nudge::Unauthorized { generation, accepted, under_way };
            tokio::time::timeout_at(deadline, self.nudges.send(nudge)).await.ok()?.ok()?;
            if !tokio::time::timeout_at(deadline, told).await.ok()?.ok()? {
                return self.newer(kind, generation);
            }
        }
        loop {
            changes.borrow_and_update();
            if let Some(snapshot) = self.newer(kind, generation) {
                return Some(snapshot);
            }
            if !matches!(self.snapshot().gate, Gate::Refreshing) {
                return None;
            }
            tokio::time::timeout_at(deadline, changes.changed()).await.ok()?.ok()?;
        }
    }

    /// Notes that an upstream took the token of `generation`.
    pub fn accepted(&self, generation: u64) {
        if self.cell.accepted.load(Ordering::Relaxed) < generation {
            self.cell.accepted.fetch_max(generation, Ordering::Relaxed);
        }
    }

    /// A snapshot whose token of `kind` is newer than `generation`, and may be injected.
    fn newer(&self, kind: TokenKind, generation: u64) -> Option<Arc<Snapshot>> {
        let snapshot = self.snapshot();
        let is_open = !matches!(snapshot.gate, Gate::Locked | Gate::SignedOut { .. });
        let token = snapshot.token(kind)?;
        let is_newer = token.generation > generation && token.is_usable(self.now());
        (is_open && is_newer).then_some(snapshot)
    }

    /// Notes that a request came, or says that it came too late for the idle lock.
    ///
    /// Without that lock the cell's cache line is written once a second at most, with it once a millisecond.
    fn touch(&self, snapshot: &Snapshot, now: Now) -> Option<Refusal> {
        let millis = millis(now);
        let used = self.cell.used.load(Ordering::Relaxed);
        if let Some(refusal) = snapshot.idle_refusal(Duration::from_millis(used), now) {
            return Some(refusal);
        }
        let grain = if snapshot.idle.is_some() { 1 } else { 1000 };
        if millis.saturating_sub(used) >= grain {
            self.cell.used.fetch_max(millis, Ordering::Relaxed);
        }
        None
    }

    async fn wait(&self, kind: TokenKind, arrived: Now) -> Result<Arc<Snapshot>, Refusal> {
        let settings = **self.cell.settings.load();
        let began = tokio::time::Instant::now();
        let mut changes = self.subscribe();
        let mut nudged = false;
        let mut held: Option<Held<'_>> = None;
        loop {
            changes.borrow_and_update();
            let snapshot = self.snapshot();
            let now = self.now();
            // `refresh.wait` counts into `session.hold`, and whoever was held is not sent away for a refresh.
            let patience = if held.is_some() { settings.hold.max(settings.wait) } else { settings.wait };
            let left = (began + patience).saturating_duration_since(tokio::time::Instant::now());
            let gives_up = match snapshot.decide(kind, now) {
                Decision::Inject => return Ok(snapshot),
                Decision::Refuse(refusal) if snapshot.holds(arrived) => self.hold(&mut held, settings, refusal)?,
                Decision::Hold(refusal) => self.hold(&mut held, settings, refusal)?,
                Decision::Refuse(_) if snapshot.retries_within(left, now) => patience,
                Decision::Refuse(refusal) => return Err(refusal),
                Decision::Wait { nudge } => {
                    if nudge && !nudged {
                        nudged = true;
                        // A full channel means that the refresher has been told already.
                        drop(self.nudges.try_send(Nudge::Wanted));
                    }
                    patience
                }
            };
            if self.cell.stopping.load(Ordering::Acquire) {
                return Err(stopping(&snapshot));
            }
            if tokio::time::timeout_at(began + gives_up, changes.changed()).await.is_err() {
                return self.at_last(kind);
            }
        }
    }

    /// A place among the held requests until `session.hold` has passed, or the refusal where there is none.
    fn hold<'a>(
        &'a self,
        held: &mut Option<Held<'a>>,
        settings: Settings,
        refusal: Refusal,
    ) -> Result<Duration, Refusal> {
        if settings.hold.is_zero() {
            return Err(refusal);
        }
        if held.is_none() {
            *held = Some(Held::enter(&self.cell.held, settings.max_held).ok_or(refusal)?);
        }
        Ok(settings.hold)
    }

    /// What a request gets whose patience has ended.
    fn at_last(&self, kind: TokenKind) -> Result<Arc<Snapshot>, Refusal> {
        let snapshot = self.snapshot();
        match snapshot.decide_at_last(kind, self.now()) {
            Decision::Inject => Ok(snapshot),
            Decision::Refuse(refusal) | Decision::Hold(refusal) => Err(refusal),
            Decision::Wait { .. } => Err(stopping(&snapshot)),
        }
    }
}

/// `now` on the clock since boot, in milliseconds.
fn millis(now: Now) -> u64 {
    u64::try_from(now.boot.as_millis()).unwrap_or(u64::MAX)
}

fn stopping(snapshot: &Snapshot) -> Refusal {
    Refusal {
        code: Code::Stopping,
        detail: "the proxy is going down".into(),
        fix: snapshot.command("run"),
        retry_after: Some(Duration::from_secs(1)),
    }
}

/// A place among the held requests, given back when it is dropped.
struct Held<'a>(&'a watch::Sender<u64>);

impl<'a> Held<'a> {
    fn enter(held: &'a watch::Sender<u64>, max: u64) -> Option<Self> {
        let entered = held.send_if_modified(|count| {
            let has_room = *count < max;
            *count += u64::from(has_room);
            has_room
        });
        entered.then(|| Self(held))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests;
