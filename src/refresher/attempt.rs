//! One refresh: lock, read again, ask Cognito. What follows is the machine's to decide.

use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};

use super::{
    custody::Custody,
    seed::{is_unproven, proven},
};
use crate::{
    cognito::RefreshRequest,
    session::{EndReason, Failure, Grant, Session, TransientKind},
    store::Lock,
};

/// How long another process may keep us waiting before an attempt counts as failed: its own refresh ends within ten
/// seconds.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(12);

/// What an attempt is made with.
pub(super) struct Attempt {
    pub(super) session: Session,
    pub(super) custody: Custody,
    /// The store's lock, where it is held already.
    pub(super) lock: Option<Lock>,
}

/// What came of it.
pub(super) struct Attempted {
    /// The generation that it was made with.
    pub(super) generation: u64,
    pub(super) outcome: Outcome,
    /// The store's lock, to be held until the outcome is stored.
    pub(super) lock: Option<Lock>,
}

pub(super) enum Outcome {
    /// Another process had refreshed already; nothing was spent.
    Newer(Box<Session>),
    /// The first tokens of a seed.
    Begun(Box<Session>),
    Granted(Box<Grant>),
    Failed(Failure),
}

impl Attempted {
    /// Whether the request was sent and its answer lost, so that a rotation may have been committed.
    pub(super) const fn is_answer_lost(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(Failure::Transient { sent: true, .. }))
    }
}

impl Attempt {
    /// Begins the attempt. Its deadlines are the store's and the issuer's own.
    pub(super) fn begin(self) -> InFlight {
        let generation = self.session.generation;
        InFlight { generation, task: tokio::spawn(self.make()) }
    }

    async fn make(mut self) -> Attempted {
        let generation = self.session.generation;
        let outcome = match self.locked().await {
            Err(failure) => Outcome::Failed(failure),
            Ok(()) => match self.custody.newer_than(&self.session).await {
                Some(session) => Outcome::Newer(session),
                None => self.ask().await,
            },
        };
        Attempted { generation, outcome, lock: self.lock }
    }

    async fn locked(&mut self) -> Result<(), Failure> {
        if self.lock.is_none() {
            let unlocked = |detail| Failure::Transient { kind: TransientKind::StoreLock, sent: false, detail };
            self.lock = Some(self.custody.lock().await.map_err(unlocked)?);
        }
        Ok(())
    }

    async fn ask(&self) -> Outcome {
        let session = &self.session;
        let known = |name: &String| Some(name.clone()).filter(|name| !name.is_empty());
        let request = RefreshRequest {
            refresh_token: session.refresh_token.clone(),
            username: known(&session.username),
            subject: known(&session.subject),
            device: session.device.clone(),
            jwks: session.jwks.clone(),
        };
        match self.custody.issuer.refresh(request).await {
            Ok(grant) if is_unproven(session) => Outcome::Begun(Box::new(proven(session.clone(), grant))),
            Ok(grant) => Outcome::Granted(Box::new(grant)),
            // Used up already: perhaps by a process that does not know our lock, and stored since.
            Err(failure @ Failure::Terminal { reason: EndReason::RotatedTokenLost }) => {
                match self.custody.newer_than(session).await {
                    Some(session) => Outcome::Newer(session),
                    None => Outcome::Failed(failure),
                }
            }
            Err(failure) => Outcome::Failed(failure),
        }
    }
}

/// A refresh that has been begun. A panic in it is a failure of it, and of nothing else.
pub(super) struct InFlight {
    pub(super) generation: u64,
    task: JoinHandle<Attempted>,
}

impl InFlight {
    /// Completes with its result. Dropping the future loses nothing.
    pub(super) async fn end(&mut self) -> Attempted {
        let ended = (&mut self.task).await;
        ended.unwrap_or_else(|error| Attempted { generation: self.generation, outcome: broken(&error), lock: None })
    }

    /// Gives the attempt up. The store's lock is free when this returns.
    pub(super) async fn abandon(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

/// How far it had come nobody knows: like an answer that was lost.
fn broken(error: &JoinError) -> Outcome {
    let detail = format!("the refresh ended unexpectedly: {error}");
    Outcome::Failed(Failure::Transient { kind: TransientKind::Disconnected, sent: true, detail })
}
