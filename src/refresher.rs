//! The shell around the session machine: one task that owns the state and does what the machine says.
//!
//! Single flight holds by construction, since nobody else can start a refresh. The loop ends only when it is told to,
//! and then not before a refresh under way has ended and its result is stored.

mod attempt;
mod custody;
mod journal;
mod network;
mod seed;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::attempt::LOCK_WAIT;
use self::{
    attempt::{Attempt, Attempted, InFlight, Outcome},
    custody::{Custody, Unloaded},
    network::Watch,
};
pub use self::{
    custody::stored,
    seed::{Fingerprint, Seed},
};
use crate::{
    clock::SharedClock,
    cognito::Issuer,
    current::{self, Nudge, Publisher},
    metrics::Metrics,
    session::{
        Failure, Session, Settings, TransientKind,
        schedule::Deadline,
        state::{Action, Event, State, Warning},
    },
    store::{Lock, TokenStore},
};

/// How long a shutdown goes on trying to write a token that the disk refuses.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// Between those: a disk that is being cleared has room at any moment.
const LAST_WRITES_PAUSE: Duration = Duration::from_millis(500);

/// Between looks at a store that could not be read at the start: this, doubled each time, to [`LOADS_PAUSE_CAP`].
const LOADS_PAUSE: Duration = Duration::from_secs(1);

/// A wake-up a minute is all that an idle proxy may cost.
const LOADS_PAUSE_CAP: Duration = Duration::from_secs(60);

/// What others ask of the refresher.
pub enum Command {
    /// Take this session: somebody signed in.
    Adopt {
        /// The session, its tokens verified.
        session: Box<Session>,
        /// Told when it is in use; `true` where it is durable.
        done: oneshot::Sender<bool>,
    },
    /// Forget the session and its record: somebody logged out.
    Clear {
        /// Told when the record is gone; an error says why it is not.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Open the idle lock.
    Unlock {
        /// Told when it is open.
        done: oneshot::Sender<()>,
    },
    /// Say that the loop turns.
    Ping {
        /// Told at once.
        done: oneshot::Sender<()>,
    },
    /// The store's file was changed, perhaps by another process.
    StoreChanged,
    /// The configuration was read again.
    Reconfigure {
        /// The machine's part of it.
        settings: Box<Settings>,
        /// How long requests wait.
        current: current::Settings,
        /// The issuer that it describes.
        issuer: Arc<dyn Issuer>,
    },
    /// Refresh now, whatever the token at hand has left: somebody wants one that lasts longer.
    Renew {
        /// Told whether a refresh is under way.
        done: oneshot::Sender<bool>,
    },
}

/// The session's owner.
pub struct Refresher {
    state: State,
    custody: Custody,
    publisher: Publisher,
    metrics: Arc<Metrics>,
    warnings: mpsc::Sender<Warning>,
    nudges: mpsc::Receiver<Nudge>,
    commands: mpsc::Receiver<Command>,
    /// The refresh in flight.
    attempt: Option<InFlight>,
    /// The store's lock, held from before a refresh until its result is stored.
    lock: Option<Lock>,
    /// Whether a write waits for the attempt in flight, which holds the lock, to end.
    write_owed: bool,
    /// The question how long refresh tokens live, while it is open.
    asking: Option<JoinHandle<Option<Duration>>>,
    /// Listens while there is an outage that a change of the network may end.
    network: Option<Watch>,
    /// When the machine wants to look at the clock again.
    wake: Deadline,
    /// When the store is read again that could not be read, while there is no session.
    load_again: Option<LoadAgain>,
    course: Course,
}

/// When on the clock since boot, and how long after the last time that is.
#[derive(Clone, Copy, Debug)]
struct LoadAgain {
    at: Duration,
    pause: Duration,
}

/// Whether refreshes may be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    Serving,
    /// Going down: what was begun ends, and nothing begins but the repetition of a call whose answer was lost.
    Ending {
        /// Whether such a call has just ended.
        repeats: bool,
    },
}

/// What a [`Refresher`] is made of.
pub struct Parts {
    /// The machine, fresh.
    pub state: State,
    /// Where the session is kept.
    pub store: Arc<dyn TokenStore>,
    /// Who turns refresh tokens into tokens.
    pub issuer: Arc<dyn Issuer>,
    /// What the session begins with where the store does not know it yet.
    pub seed: Option<Seed>,
    /// Both clocks.
    pub clock: SharedClock,
    /// The writing end of the cell.
    pub publisher: Publisher,
    /// Where attempts are counted.
    pub metrics: Arc<Metrics>,
    /// Where warnings go.
    pub warnings: mpsc::Sender<Warning>,
    /// What workers say.
    pub nudges: mpsc::Receiver<Nudge>,
    /// What the control socket, signals and watchers say.
    pub commands: mpsc::Receiver<Command>,
}

impl Refresher {
    /// The owner of a session that has not been loaded yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let now = parts.clock.now();
        Self {
            state: parts.state,
            custody: Custody {
                store: parts.store,
                issuer: parts.issuer,
                clock: parts.clock,
                seed: parts.seed.map(Arc::new),
            },
            publisher: parts.publisher,
            metrics: parts.metrics,
            warnings: parts.warnings,
            nudges: parts.nudges,
            commands: parts.commands,
            attempt: None,
            lock: None,
            write_owed: false,
            asking: None,
            network: None,
            wake: Deadline { wall: now.wall, boot: now.boot },
            load_again: None,
            course: Course::Serving,
        }
    }

    /// Loads the stored session and looks after it until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.custody.tell_caveat().await;
        self.load(LOADS_PAUSE).await;
        self.ask_pool();
        while !shutdown.is_cancelled() {
            self.listen_to_the_network();
            let rest = self.rest();
            tokio::select! {
                biased;
                attempted = ended(&mut self.attempt) => self.attempted(attempted).await,
                Some(command) = self.commands.recv() => self.obey(command).await,
                Some(nudge) = self.nudges.recv() => self.nudged(nudge).await,
                validity = told(&mut self.asking) => self.happen(Event::PoolValidity(validity)).await,
                () = changed(self.network.as_ref()) => self.happen(Event::Wanted).await,
                () = self.custody.clock.wait(rest) => self.tick().await,
                () = shutdown.cancelled() => {}
            }
        }
        self.finish().await;
    }

    /// Ends what was begun: a refresh under way may have spent a refresh token already.
    async fn finish(&mut self) {
        self.stop_asking();
        self.course = Course::Ending { repeats: false };
        while self.attempt.is_some() {
            let attempted = ended(&mut self.attempt).await;
            self.course = Course::Ending { repeats: attempted.is_answer_lost() };
            self.attempted(attempted).await;
        }
        let give_up = self.custody.clock.now().after(LAST_WRITES);
        while self.state.is_unsaved() && self.custody.clock.now().boot < give_up.boot {
            self.custody.clock.wait(LAST_WRITES_PAUSE).await;
            if let Some(event) = self.write().await {
                self.happen(event).await;
            }
        }
        if self.state.is_unsaved() {
            tracing::error!(
                store = self.custody.store.location(),
                fix = "make room, then sign in again if the next start says so",
                "going down with a session that could not be stored"
            );
        }
    }

    /// How long nothing is to be done by the clock.
    fn rest(&self) -> Duration {
        let now = self.custody.clock.now();
        let rest = self.wake.remaining(now);
        self.load_again.map_or(rest, |again| rest.min(again.at.saturating_sub(now.boot)))
    }

    /// Reads the store as at the start, and again after `pause` where that may bring more.
    async fn load(&mut self, pause: Duration) {
        let (is_first, at) = (self.load_again.is_none(), self.custody.clock.now().boot + pause);
        match self.custody.start().await {
            Ok(stored) => {
                self.load_again = None;
                self.happen(Event::Loaded(Ok(stored))).await;
            }
            Err(Unloaded { error, is_passing }) => {
                self.load_again = is_passing.then_some(LoadAgain { at, pause });
                // Said once: what is said about each attempt of many would bury it.
                if is_first {
                    self.happen(Event::Loaded(Err(error))).await;
                }
            }
        }
    }

    async fn tick(&mut self) {
        if let Some(LoadAgain { at, pause }) = self.load_again
            && self.custody.clock.now().boot >= at
        {
            self.load((pause * 2).min(LOADS_PAUSE_CAP)).await;
        }
        self.happen(Event::Used(self.publisher.last_used())).await;
        self.happen(Event::Tick).await;
    }

    async fn nudged(&mut self, nudge: Nudge) {
        match nudge {
            Nudge::Wanted => self.happen(Event::Wanted).await,
            Nudge::Unauthorized { generation, accepted, under_way } => {
                self.happen(Event::Unauthorized { generation, accepted }).await;
                // Whoever asked may have gone.
                let _ = under_way.send(self.state.is_refreshing());
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Adopt { mut session, done } => {
                // What a credential began is over, and a restart must not begin it again.
                session.notes.seed = self.custody.seed.as_ref().map(|seed| seed.fingerprint.as_str().to_owned());
                self.happen(Event::Adopted { session, stored: false }).await;
                let _ = done.send(!self.state.is_unsaved());
            }
            Command::Clear { done } => {
                let _ = done.send(self.clear().await);
            }
            Command::Unlock { done } => {
                self.happen(Event::Unlocked).await;
                let _ = done.send(());
            }
            Command::Ping { done } => drop(done.send(())),
            Command::StoreChanged => {
                if let Some(session) = self.custody.load().await {
                    self.happen(Event::Adopted { session, stored: true }).await;
                }
            }
            Command::Reconfigure { settings, current, issuer } => {
                self.custody.issuer = issuer;
                self.publisher.reconfigure(current);
                let stored = if self.state.wants_stored(&settings) { self.custody.load().await } else { None };
                self.happen(Event::Reconfigured { settings, stored }).await;
                self.ask_pool();
            }
            Command::Renew { done } => {
                self.happen(Event::Renew).await;
                let _ = done.send(self.state.is_refreshing());
            }
        }
    }

    /// Takes the result of a refresh. The lock that came with it is held until the result is stored.
    async fn attempted(&mut self, attempted: Attempted) {
        let Attempted { generation, outcome, lock } = attempted;
        self.lock = lock;
        let event = match outcome {
            Outcome::Newer(session) => Event::Adopted { session, stored: true },
            Outcome::Begun(session) => Event::Adopted { session, stored: false },
            Outcome::Granted(grant) => Event::Granted { generation, grant },
            Outcome::Failed(failure) => Event::Failed { generation, failure },
        };
        self.happen(event).await;
        if std::mem::take(&mut self.write_owed)
            && let Some(event) = self.write().await
        {
            self.happen(event).await;
        }
        self.lock = None;
    }

    /// One event, and everything that follows from it.
    async fn happen(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.custody.clock.now();
            let before = self.state.clone();
            let (state, actions) = before.clone().step(now, event.clone());
            self.state = state;
            if self.state.session().is_some() || matches!(event, Event::Cleared) {
                self.load_again = None;
            }
            journal::record(&self.metrics, &before, &event, &self.state, now);
            for action in actions {
                match action {
                    Action::Publish(snapshot) => self.publisher.publish(*snapshot),
                    Action::Save => events.extend(self.write().await),
                    Action::Warn(warning) => {
                        if self.warnings.try_send(warning).is_err() {
                            tracing::error!("a warning was lost: nobody takes them");
                        }
                    }
                    Action::Refresh => self.begin().await,
                    Action::WakeIn(duration) => {
                        let then = now.after(duration);
                        self.wake = Deadline { wall: then.wall, boot: then.boot };
                    }
                }
            }
        }
    }

    async fn begin(&mut self) {
        if self.course == (Course::Ending { repeats: false }) {
            return;
        }
        let Some(session) = self.state.session().cloned() else { return };
        // One that is still in flight was overtaken by a new sign-in: what it brings is of no use to anybody.
        self.abandon().await;
        // A retry right after a failure goes on under the same lock.
        let attempt = Attempt { session, custody: self.custody.clone(), lock: self.lock.take() };
        self.attempt = Some(attempt.begin());
    }

    async fn abandon(&mut self) {
        if let Some(overtaken) = self.attempt.take() {
            overtaken.abandon().await;
        }
    }

    /// Writes the session, and says what came of it; nothing yet where the attempt in flight holds the lock.
    async fn write(&mut self) -> Option<Event> {
        let Some(session) = self.state.session().cloned() else { return Some(Event::Saved) };
        match &self.attempt {
            Some(in_flight) if in_flight.generation == session.generation && self.state.is_refreshing() => {
                self.write_owed = true;
                return None;
            }
            Some(_) => self.abandon().await,
            None => {}
        }
        let (lock, event) = self.custody.save(session, self.lock.take()).await;
        self.lock = lock;
        Some(event)
    }

    async fn clear(&mut self) -> Result<(), String> {
        let given_up = self.attempt.as_ref().map(|in_flight| in_flight.generation);
        self.abandon().await;
        let cleared = self.custody.clear().await;
        match (&cleared, given_up) {
            (Ok(()), _) => self.happen(Event::Cleared).await,
            (Err(error), Some(generation)) => {
                let detail = format!("given up for a logout that failed: {error}");
                let failure = Failure::Transient { kind: TransientKind::StoreLock, sent: true, detail };
                self.happen(Event::Failed { generation, failure }).await;
            }
            (Err(_), None) => {}
        }
        cleared
    }

    /// Asks once, beside everything else, how long refresh tokens live.
    fn ask_pool(&mut self) {
        self.stop_asking();
        let issuer = Arc::clone(&self.custody.issuer);
        self.asking = Some(tokio::spawn(async move { issuer.refresh_validity().await }));
    }

    fn stop_asking(&mut self) {
        if let Some(asking) = self.asking.take() {
            asking.abort();
        }
    }

    fn listen_to_the_network(&mut self) {
        match (&self.network, self.state.retry_at()) {
            (None, Some(_)) => match Watch::open() {
                Ok(watch) => self.network = Some(watch),
                Err(error) => tracing::debug!(%error, "changes of the network are not noticed"),
            },
            (Some(_), None) => self.network = None,
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}

/// The result of the attempt in flight, or never where there is none.
async fn ended(attempt: &mut Option<InFlight>) -> Attempted {
    let Some(in_flight) = attempt.as_mut() else { return std::future::pending().await };
    let attempted = in_flight.end().await;
    *attempt = None;
    attempted
}

/// What the pool said, or never where it is not being asked.
async fn told(asking: &mut Option<JoinHandle<Option<Duration>>>) -> Option<Duration> {
    let Some(task) = asking.as_mut() else { return std::future::pending().await };
    let validity = task.await.unwrap_or_default();
    *asking = None;
    validity
}

/// Completes when the network changed, or never where nobody listens.
async fn changed(network: Option<&Watch>) {
    match network {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}
