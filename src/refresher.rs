//! The shell around the session machine: one task that owns the state and does what the machine says.
//!
//! Single flight holds by construction, since nobody else can start a refresh. The loop ends only when it is told to,
//! and then not before a refresh under way has ended and its result is stored.

mod attempt;
mod journal;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use self::attempt::{Attempt, Attempted};
use crate::{
    clock::SharedClock,
    cognito::Issuer,
    current::{self, Nudge, Publisher},
    metrics::Metrics,
    session::{
        Failure, Session, Settings, TransientKind,
        state::{Action, Event, State, Warning},
    },
    store::{Lock, TokenStore},
};

/// How long to wait for another process that holds the store's lock: its own refresh ends within ten seconds.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(12);

/// How long a shutdown goes on trying to write a token that the disk refuses.
const LAST_WRITES: Duration = Duration::from_secs(10);

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
    /// The network changed, which may end an outage.
    NetworkChanged,
    /// Refresh now, whatever the token at hand has left: somebody wants one that lasts longer.
    Renew {
        /// Told whether a refresh is under way.
        done: oneshot::Sender<bool>,
    },
}

/// The session's owner.
pub struct Refresher {
    state: State,
    store: Arc<dyn TokenStore>,
    issuer: Arc<dyn Issuer>,
    clock: SharedClock,
    publisher: Publisher,
    metrics: Arc<Metrics>,
    warnings: mpsc::Sender<Warning>,
    nudges: mpsc::Receiver<Nudge>,
    commands: mpsc::Receiver<Command>,
    /// The refresh in flight. A panic in it is a failure of it, not of the loop.
    attempt: Option<InFlight>,
    /// The store's lock, held from before a refresh until its result is stored.
    lock: Option<Lock>,
    wake_in: Duration,
}

/// A refresh that has been begun.
struct InFlight {
    generation: u64,
    task: JoinHandle<Attempted>,
}

/// What a [`Refresher`] is made of.
pub struct Parts {
    /// The machine, fresh.
    pub state: State,
    /// Where the session is kept.
    pub store: Arc<dyn TokenStore>,
    /// Who turns refresh tokens into tokens.
    pub issuer: Arc<dyn Issuer>,
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
        Self {
            state: parts.state,
            store: parts.store,
            issuer: parts.issuer,
            clock: parts.clock,
            publisher: parts.publisher,
            metrics: parts.metrics,
            warnings: parts.warnings,
            nudges: parts.nudges,
            commands: parts.commands,
            attempt: None,
            lock: None,
            wake_in: Duration::ZERO,
        }
    }

    /// Loads the stored session and looks after it until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let loaded = self.load().await;
        self.happen(Event::Loaded(loaded)).await;
        while !shutdown.is_cancelled() {
            tokio::select! {
                biased;
                attempted = finished(&mut self.attempt) => self.attempted(attempted).await,
                Some(command) = self.commands.recv() => self.obey(command).await,
                Some(nudge) = self.nudges.recv() => self.nudged(nudge).await,
                () = self.clock.wait(self.wake_in) => self.tick().await,
                () = shutdown.cancelled() => {}
            }
        }
        self.finish().await;
    }

    /// Ends what was begun: a refresh under way may have spent a refresh token already.
    async fn finish(&mut self) {
        if self.attempt.is_some() {
            let attempted = finished(&mut self.attempt).await;
            self.attempted(attempted).await;
            // A retry that this started is given up: nothing was spent by it yet, or the store says so at the start.
            self.abandon();
        }
        let give_up = tokio::time::Instant::now() + LAST_WRITES;
        while self.state.is_unsaved() && tokio::time::Instant::now() < give_up {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let event = self.save().await;
            self.happen(event).await;
        }
    }

    async fn tick(&mut self) {
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
            Command::Adopt { session, done } => {
                self.happen(Event::Adopted { session, stored: false }).await;
                let _ = done.send(!self.state.is_unsaved());
            }
            Command::Clear { done } => {
                let cleared = self.clear().await;
                if cleared.is_ok() {
                    self.happen(Event::Cleared).await;
                }
                let _ = done.send(cleared);
            }
            Command::Unlock { done } => {
                self.happen(Event::Unlocked).await;
                let _ = done.send(());
            }
            Command::StoreChanged => {
                if let Ok(Some(session)) = self.load().await {
                    self.happen(Event::Adopted { session, stored: true }).await;
                }
            }
            Command::Reconfigure { settings, current, issuer } => {
                self.issuer = issuer;
                self.publisher.reconfigure(current);
                self.happen(Event::Reconfigured(settings)).await;
            }
            Command::NetworkChanged => self.happen(Event::Wanted).await,
            Command::Renew { done } => {
                self.happen(Event::Wanted).await;
                let _ = done.send(self.state.is_refreshing());
            }
        }
    }

    /// Takes the result of a refresh. The lock that came with it is held until the result is stored.
    async fn attempted(&mut self, attempted: Attempted) {
        let Attempted { generation, outcome, lock } = attempted;
        self.lock = lock;
        let event = match outcome {
            attempt::Outcome::Newer(session) => Event::Adopted { session, stored: true },
            attempt::Outcome::Granted(grant) => Event::Granted { generation, grant },
            attempt::Outcome::Failed(failure) => Event::Failed { generation, failure },
        };
        self.happen(event).await;
        self.lock = None;
    }

    /// One event, and everything that follows from it.
    async fn happen(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.clock.now();
            let before = self.state.clone();
            let (state, actions) = before.clone().step(now, event.clone());
            self.state = state;
            journal::record(&self.metrics, &before, &event, &self.state, now);
            for action in actions {
                match action {
                    Action::Publish(snapshot) => self.publisher.publish(*snapshot),
                    Action::Save => events.push_back(self.save().await),
                    Action::Warn(warning) => {
                        if self.warnings.try_send(warning).is_err() {
                            tracing::error!("a warning was lost: nobody takes them");
                        }
                    }
                    Action::Refresh => self.begin(),
                    Action::WakeIn(duration) => self.wake_in = duration,
                }
            }
        }
    }

    fn begin(&mut self) {
        let Some(session) = self.state.session().cloned() else { return };
        let attempt = Attempt {
            session,
            store: Arc::clone(&self.store),
            issuer: Arc::clone(&self.issuer),
            clock: Arc::clone(&self.clock),
            // A retry right after a failure goes on under the same lock.
            lock: self.lock.take(),
        };
        // One that is still in flight was overtaken by a new sign-in: what it brings is of no use to anybody.
        self.abandon();
        let generation = attempt.session.generation;
        self.attempt = Some(InFlight { generation, task: tokio::spawn(attempt.make()) });
    }

    fn abandon(&mut self) {
        if let Some(overtaken) = self.attempt.take() {
            overtaken.task.abort();
        }
    }

    async fn load(&self) -> Result<Option<Box<Session>>, String> {
        let (store, issuer) = (Arc::clone(&self.store), Arc::clone(&self.issuer));
        let now = self.clock.now();
        blocking(move || {
            let stored = store.load(now).map_err(|error| error.to_string())?;
            Ok(stored.map(|session| Box::new(issuer.reverify(session, now))))
        })
        .await
    }

    async fn save(&mut self) -> Event {
        let Some(session) = self.state.session().cloned() else { return Event::Saved };
        let (store, issuer) = (Arc::clone(&self.store), Arc::clone(&self.issuer));
        let now = self.clock.now();
        let held = self.lock.take();
        let (lock, event) = blocking(move || {
            let (lock, ours) = match held {
                Some(lock) => (Ok(lock), true),
                None => (store.lock(LOCK_WAIT), false),
            };
            let lock = match lock {
                Ok(lock) => lock,
                Err(error) => return Ok((None, refused(&error))),
            };
            // Without the lock until now, somebody may have stored a newer generation.
            if !ours
                && let Ok(Some(stored)) = store.load(now)
                && stored.generation > session.generation
                && stored.client_id == session.client_id
            {
                let session = Box::new(issuer.reverify(stored, now));
                return Ok((None, Event::Adopted { session, stored: true }));
            }
            match store.save(&session, &lock) {
                Ok(()) => Ok((ours.then_some(lock), Event::Saved)),
                Err(error) => Ok((ours.then_some(lock), refused(&error))),
            }
        })
        .await
        .unwrap_or_else(|error: String| (None, refused(&error)));
        self.lock = lock;
        event
    }

    async fn clear(&self) -> Result<(), String> {
        let store = Arc::clone(&self.store);
        blocking(move || {
            let lock = store.lock(LOCK_WAIT).map_err(|error| error.to_string())?;
            store.clear(&lock).map_err(|error| error.to_string())
        })
        .await
    }
}

/// Says that the disk refused; the machine tries again.
fn refused(error: &dyn std::fmt::Display) -> Event {
    tracing::error!(%error, "session cannot be stored, kept in memory and tried again");
    Event::SaveRefused
}

/// The result of the attempt in flight, or never where there is none.
async fn finished(attempt: &mut Option<InFlight>) -> Attempted {
    let Some(in_flight) = attempt.as_mut() else { return std::future::pending().await };
    let generation = in_flight.generation;
    let attempted = (&mut in_flight.task).await;
    *attempt = None;
    attempted.unwrap_or_else(|error| Attempted {
        generation,
        outcome: attempt::Outcome::Failed(Failure::Transient {
            kind: TransientKind::Malformed,
            sent: false,
            detail: format!("the refresh ended unexpectedly: {error}"),
        }),
        lock: None,
    })
}

/// Runs what may block for as long as a disk does.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(format!("the store's task ended unexpectedly: {error}")),
    }
}
