//! The current token, where every worker finds it.
//!
//! One [`Publisher`] (the refresher) writes, many [`CurrentToken`] readers look. Reading is lock-free, and every use
//! checks the clock. A reader can say two things back: that somebody waits, and that the upstream said 401.

use std::{
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
        snapshot::{Decision, Snapshot},
    },
};

/// A hint that is lost because this many are unread was said already.
const NUDGES: usize = 64;

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
    settings: ArcSwap<Settings>,
    stopping: AtomicBool,
    held: AtomicU64,
    accepted: AtomicU64,
    /// Milliseconds since boot of the last request, to the second.
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
    let cell = Arc::new(Cell {
        snapshot: ArcSwap::from_pointee(first),
        version: watch::Sender::new(0),
        settings: ArcSwap::from_pointee(settings),
        stopping: AtomicBool::new(false),
        held: AtomicU64::new(0),
        accepted: AtomicU64::new(0),
        used: AtomicU64::new(0),
        clock,
    });
    (Publisher { cell: Arc::clone(&cell) }, CurrentToken { cell, nudges }, heard)
}

impl Publisher {
    /// Replaces the snapshot and wakes whoever waits; an equal one changes nothing.
    pub fn publish(&self, snapshot: Snapshot) {
        if **self.cell.snapshot.load() == snapshot {
            return;
        }
        self.cell.snapshot.store(Arc::new(snapshot));
        self.cell.version.send_modify(|version| *version += 1);
    }

    /// Replaces how long requests wait, at a reload.
    pub fn reconfigure(&self, settings: Settings) {
        self.cell.settings.store(Arc::new(settings));
    }

    /// When the last request came, on the clock since boot.
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
        self.cell.held.load(Ordering::Relaxed)
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
        self.touch(now);
        let snapshot = self.snapshot();
        match snapshot.decide(kind, now) {
            Decision::Inject => Ok(snapshot),
            Decision::Refuse(refusal) => Err(refusal),
            Decision::Wait { .. } | Decision::Hold(_) => self.wait(kind).await,
        }
    }

    /// Says that the upstream refused the token of `generation`, and waits for a newer one.
    ///
    /// `None` where no refresh is made for it (`session.md`, "Upstream 401 with our token") or where it brought none.
    pub async fn renewed(&self, kind: TokenKind, generation: u64) -> Option<Arc<Snapshot>> {
        let mut changes = self.subscribe();
        if self.snapshot().token(kind)?.generation <= generation {
            let (under_way, told) = oneshot::channel();
            let accepted = self.cell.accepted.load(Ordering::Relaxed);
            self.nudges.try_send(Nudge::Unauthorized { generation, accepted, under_way }).ok()?;
            if !told.await.ok()? {
                return None;
            }
        }
        let deadline = tokio::time::Instant::now() + self.cell.settings.load().wait;
        loop {
            changes.borrow_and_update();
            let snapshot = self.snapshot();
            let now = self.now();
            if let Some(token) = snapshot.token(kind)
                && token.generation > generation
                && token.is_usable(now)
            {
                return Some(snapshot);
            }
            if !matches!(snapshot.gate, crate::session::snapshot::Gate::Refreshing) {
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

    /// Notes that a request came. The cell's cache line is written once a second at most.
    fn touch(&self, now: Now) {
        let millis = u64::try_from(now.boot.as_millis()).unwrap_or(u64::MAX);
        if millis.saturating_sub(self.cell.used.load(Ordering::Relaxed)) >= 1000 {
            self.cell.used.store(millis, Ordering::Relaxed);
        }
    }

    async fn wait(&self, kind: TokenKind) -> Result<Arc<Snapshot>, Refusal> {
        let settings = **self.cell.settings.load();
        let began = tokio::time::Instant::now();
        let mut changes = self.subscribe();
        let mut nudged = false;
        let mut held: Option<Held<'_>> = None;
        loop {
            changes.borrow_and_update();
            let snapshot = self.snapshot();
            let patience = match snapshot.decide(kind, self.now()) {
                Decision::Inject => return Ok(snapshot),
                Decision::Refuse(refusal) => return Err(refusal),
                Decision::Wait { .. } | Decision::Hold(_) if self.cell.stopping.load(Ordering::Acquire) => {
                    return Err(stopping());
                }
                Decision::Wait { nudge } => {
                    if nudge && !nudged {
                        nudged = true;
                        // A full channel means that the refresher has been told already.
                        drop(self.nudges.try_send(Nudge::Wanted));
                    }
                    settings.wait
                }
                Decision::Hold(refusal) if settings.hold.is_zero() => return Err(refusal),
                Decision::Hold(refusal) => {
                    if held.is_none() {
                        held = Some(Held::enter(&self.cell.held, settings.max_held).ok_or(refusal)?);
                    }
                    settings.hold
                }
            };
            if tokio::time::timeout_at(began + patience, changes.changed()).await.is_err() {
                return match snapshot.decide_at_last(kind, self.now()) {
                    Decision::Inject => Ok(snapshot),
                    Decision::Refuse(refusal) | Decision::Hold(refusal) => Err(refusal),
                    Decision::Wait { .. } => Err(stopping()),
                };
            }
        }
    }
}

fn stopping() -> Refusal {
    Refusal {
        code: Code::Stopping,
        detail: "the proxy is going down".into(),
        fix: "cognito-proxy run".into(),
        retry_after: Some(Duration::from_secs(1)),
    }
}

/// A place among the held requests, given back when it is dropped.
struct Held<'a>(&'a AtomicU64);

impl<'a> Held<'a> {
    fn enter(held: &'a AtomicU64, max: u64) -> Option<Self> {
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| (count < max).then_some(count + 1)).ok()?;
        Some(Self(held))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
