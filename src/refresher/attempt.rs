//! One refresh: lock, read again, ask Cognito. What follows is the machine's to decide.

use std::sync::Arc;

use super::LOCK_WAIT;
use crate::{
    clock::SharedClock,
    cognito::{Issuer, RefreshRequest},
    session::{EndReason, Failure, Grant, Session, TransientKind},
    store::{Lock, TokenStore},
};

/// What an attempt is made with.
pub(super) struct Attempt {
    pub(super) session: Session,
    pub(super) store: Arc<dyn TokenStore>,
    pub(super) issuer: Arc<dyn Issuer>,
    pub(super) clock: SharedClock,
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
    Granted(Box<Grant>),
    Failed(Failure),
}

impl Attempt {
    /// Makes the attempt. Its deadlines are the store's and the issuer's own.
    pub(super) async fn make(mut self) -> Attempted {
        let generation = self.session.generation;
        let outcome = match self.locked().await {
            Err(failure) => Outcome::Failed(failure),
            Ok(()) => match self.newer().await {
                Some(session) => Outcome::Newer(session),
                None => self.ask().await,
            },
        };
        Attempted { generation, outcome, lock: self.lock }
    }

    async fn locked(&mut self) -> Result<(), Failure> {
        if self.lock.is_some() {
            return Ok(());
        }
        let store = Arc::clone(&self.store);
        let locked = tokio::task::spawn_blocking(move || store.lock(LOCK_WAIT).map_err(|error| error.to_string()));
        self.lock = Some(locked.await.map_err(|error| error.to_string()).and_then(|lock| lock).map_err(unlocked)?);
        Ok(())
    }

    /// The stored session, where another process has made it newer than ours.
    async fn newer(&self) -> Option<Box<Session>> {
        let store = Arc::clone(&self.store);
        let now = self.clock.now();
        let stored = tokio::task::spawn_blocking(move || store.load(now)).await.ok()?.ok()??;
        let newer = stored.generation > self.session.generation && stored.client_id == self.session.client_id;
        newer.then(|| Box::new(self.issuer.reverify(stored, now)))
    }

    async fn ask(&self) -> Outcome {
        let request = RefreshRequest {
            refresh_token: self.session.refresh_token.clone(),
            username: Some(self.session.username.clone()),
            subject: Some(self.session.subject.clone()),
            device: self.session.device.clone(),
            jwks: self.session.jwks.clone(),
        };
        match self.issuer.refresh(request).await {
            Ok(grant) => Outcome::Granted(Box::new(grant)),
            // Used up already: perhaps by a process that does not know our lock, and stored since.
            Err(failure @ Failure::Terminal { reason: EndReason::RotatedTokenLost }) => match self.newer().await {
                Some(session) => Outcome::Newer(session),
                None => Outcome::Failed(failure),
            },
            Err(failure) => Outcome::Failed(failure),
        }
    }
}

fn unlocked(detail: String) -> Failure {
    Failure::Transient { kind: TransientKind::StoreLock, sent: false, detail }
}
