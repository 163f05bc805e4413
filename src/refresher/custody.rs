//! What the refresher does with the store: read, write, forget. Blocking work goes to a thread that may block.

use std::sync::Arc;

use super::{LOCK_WAIT, seed::Seed};
use crate::{
    clock::{Now, SharedClock},
    cognito::Issuer,
    session::{Session, state::Event},
    store::{LoadError, Lock, TokenStore},
};

/// The store, and what is needed to read it.
#[derive(Clone)]
pub(super) struct Custody {
    pub(super) store: Arc<dyn TokenStore>,
    pub(super) issuer: Arc<dyn Issuer>,
    pub(super) clock: SharedClock,
    pub(super) seed: Option<Arc<Seed>>,
}

/// Why there is nothing to start with.
pub(super) struct Unloaded {
    pub(super) error: String,
    /// Whether the same record may be readable in a moment.
    pub(super) is_passing: bool,
}

/// What a proxy starts with: the stored session, its tokens verified again, or a seed that is new to it. Blocking.
///
/// # Errors
/// Why the record cannot be used.
pub fn stored(
    store: &dyn TokenStore,
    issuer: &dyn Issuer,
    seed: Option<&Seed>,
    now: Now,
) -> Result<Option<Box<Session>>, LoadError> {
    let stored = match (store.load(now), seed) {
        // Whatever comes of the seed is written, and the damaged record moved aside by that.
        (Err(LoadError::Corrupt { .. }), Some(_)) => None,
        (stored, _) => stored?,
    };
    let stored = stored.map(|session| issuer.reverify(session, now));
    Ok(match seed {
        Some(seed) => Some(Box::new(seed.or_stored(stored, now))),
        None => stored.map(Box::new),
    })
}

impl Custody {
    /// Says what is doubtful about the store.
    pub(super) async fn tell_caveat(&self) {
        let store = Arc::clone(&self.store);
        if let Ok(Some(caveat)) = blocking(move || Ok(store.caveat())).await {
            tracing::warn!(store = self.store.location(), caveat, "the store is not the best place for a session");
        }
    }

    /// What a proxy starts with.
    pub(super) async fn start(&self) -> Result<Option<Box<Session>>, Unloaded> {
        let (custody, now) = (self.clone(), self.clock.now());
        let loading = blocking(move || {
            let stored = stored(&*custody.store, &*custody.issuer, custody.seed.as_deref(), now);
            Ok(stored.map_err(|error| Unloaded { is_passing: error.is_passing(), error: error.to_string() }))
        });
        loading.await.unwrap_or_else(|error| Err(Unloaded { error, is_passing: true }))
    }

    /// The stored session, where there is one that can be used.
    pub(super) async fn load(&self) -> Option<Box<Session>> {
        let (custody, now) = (self.clone(), self.clock.now());
        let loaded =
            blocking(move || stored(&*custody.store, &*custody.issuer, None, now).map_err(|error| error.to_string()))
                .await;
        loaded.unwrap_or_else(|error| {
            tracing::debug!(%error, "the record that was changed cannot be used");
            None
        })
    }

    /// The stored session, where it goes on from `ours`: another process has refreshed, or somebody has signed in.
    pub(super) async fn newer_than(&self, ours: &Session) -> Option<Box<Session>> {
        let stored = self.load().await?;
        let is_ours = stored.client_id == ours.client_id && stored.user_pool_id == ours.user_pool_id;
        (is_ours && stored.generation > ours.generation).then_some(stored)
    }

    /// Takes the lock that goes around {re-read, refresh, persist}.
    pub(super) async fn lock(&self) -> Result<Lock, String> {
        let store = Arc::clone(&self.store);
        blocking(move || store.lock(LOCK_WAIT).map_err(|error| error.to_string())).await
    }

    /// Writes `session`, under `held` where the lock is held already, and says what came of it. A lock that was held is
    /// given back.
    pub(super) async fn save(&self, session: Session, held: Option<Lock>) -> (Option<Lock>, Event) {
        if self.seed.as_ref().is_some_and(|seed| seed.is_all_of(&session)) {
            // What is stored stays until the seed has proved that it is good.
            return (held, Event::Saved);
        }
        let (ours, lock) = match held {
            Some(lock) => (true, lock),
            None => match self.lock().await {
                Ok(lock) => (false, lock),
                Err(error) => return (None, refused(&error)),
            },
        };
        // Without the lock until now, somebody may have stored a newer generation.
        if !ours && let Some(session) = self.newer_than(&session).await {
            return (None, Event::Adopted { session, stored: true });
        }
        let store = Arc::clone(&self.store);
        let written = blocking(move || {
            let written = store.save(&session, &lock).map_err(|error| error.to_string());
            Ok((ours.then_some(lock), written))
        });
        match written.await {
            Ok((lock, Ok(()))) => (lock, Event::Saved),
            Ok((lock, Err(error))) => (lock, refused(&error)),
            Err(error) => (None, refused(&error)),
        }
    }

    /// Removes the record.
    pub(super) async fn clear(&self) -> Result<(), String> {
        let lock = self.lock().await?;
        let store = Arc::clone(&self.store);
        blocking(move || store.clear(&lock).map_err(|error| error.to_string())).await
    }
}

/// Says that the disk refused; the machine tries again.
fn refused(error: &str) -> Event {
    tracing::error!(%error, "session cannot be stored, kept in memory and tried again");
    Event::SaveRefused
}

/// Runs what may block for as long as a disk does. A panic in it is an error of it.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(format!("the store's task ended unexpectedly: {error}")),
    }
}
