//! The stored session without a running proxy: what a proxy would do with it, done once and under the store's lock.
//!
//! The session machine decides here as it does in a proxy; only that a single refusal is final, since nobody stays to
//! ask again.

use std::time::Duration;

use super::{Exit, Global, cognito, keeping, output, running, verdict};
use crate::{
    admin::IssuedToken,
    clock::{Clock, Now, Span, SystemClock},
    cognito::{CognitoIssuer, Issuer, RefreshRequest},
    config::Config,
    refresher,
    reply::{Code, Refusal},
    session::{
        EndReason, Failure, Session, TokenKind,
        schedule::LAST_SECOND,
        snapshot::{Decision, Gate, Snapshot},
        state::{Action, Event, State},
    },
    store::{Lock, TokenStore},
};

/// Why the stored session brought nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Keeping(#[from] keeping::Error),
    /// There is nothing that may be used.
    #[error("{}", .0.detail)]
    Unusable(Refusal),
    /// Cognito's answer.
    #[error("{failure}")]
    Failed { failure: Failure, login: String },
    /// Cognito sent no token of that kind.
    #[error("the session has no {} token", .0.as_str())]
    NoSuchToken(TokenKind),
}

/// A token of `kind` with at least `min_ttl` left (`None`: `inject.min_ttl`, capped as for requests), after one refresh
/// at most. What has less left is given with a warning.
pub(super) async fn token(config: &Config, kind: TokenKind, min_ttl: Option<Duration>) -> Result<IssuedToken, Error> {
    let issuer = cognito::issuer(config)?;
    let store = config.store.open();
    let (state, now) = loaded(config, store.as_ref(), &issuer)?;
    if let Some(token) = enough(&state.snapshot(now), kind, min_ttl, now)? {
        return Ok(token);
    }
    let lock = store.lock(refresher::LOCK_WAIT).map_err(keeping::Error::from)?;
    // Whoever held the lock may have refreshed.
    let (state, now) = loaded(config, store.as_ref(), &issuer)?;
    if let Some(token) = enough(&state.snapshot(now), kind, min_ttl, now)? {
        return Ok(token);
    }
    let refreshed = Refresh { store: store.as_ref(), lock: &lock, issuer: &issuer }.once(state, now).await?;
    let now = SystemClock.now();
    match refreshed {
        (state, None) => given(&state.snapshot(now), kind, min_ttl, now, None),
        (state, Some(failure)) => given(&state.snapshot(now), kind, min_ttl, now, Some(&failure))
            .map_err(|_| Error::Failed { failure, login: config.command("login") }),
    }
}

/// Opens the idle lock of the stored session, and says whether there is one.
pub(super) fn unlock(config: &Config) -> Result<bool, Error> {
    let store = config.store.open();
    let lock = store.lock(refresher::LOCK_WAIT).map_err(keeping::Error::from)?;
    let Some(mut session) = store.load(SystemClock.now()).map_err(keeping::Error::from)? else {
        return Ok(false);
    };
    if std::mem::take(&mut session.notes.locked) {
        store.save(&session, &lock).map_err(keeping::Error::from)?;
    }
    Ok(true)
}

/// Says what went wrong and how to mend it.
pub(super) fn report(global: &Global, error: &Error) -> Exit {
    output::error(global.is_styled(), &error.to_string(), fix_of(error).as_deref());
    exit_of(error)
}

fn fix_of(error: &Error) -> Option<String> {
    match error {
        Error::Unusable(refusal) => Some(refusal.fix.clone()).filter(|fix| !fix.is_empty()),
        Error::Keeping(error) => error.fix(),
        Error::Failed { failure: Failure::Setting { setting, .. }, .. } => Some(setting.fix().into()),
        Error::Failed { failure: Failure::Terminal { .. } | Failure::Ambiguous { .. }, login } => Some(login.clone()),
        _ => None,
    }
}

/// The code to exit with.
pub(super) fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Keeping(error) => error.exit(),
        Error::Unusable(refusal) => running::exit_of_code(refusal.code.as_str()),
        Error::Failed { failure, .. } => verdict::of_failure(failure),
        Error::NoSuchToken(_) => Exit::Other,
    }
}

/// The machine with what the store holds, as it is at a proxy's start.
fn loaded(config: &Config, store: &dyn TokenStore, issuer: &CognitoIssuer) -> Result<(State, Now), Error> {
    let now = SystemClock.now();
    let stored = store.load(now).map_err(keeping::Error::from)?.map(|session| Box::new(issuer.reverify(session, now)));
    let state = State::new(config.session.clone(), config.command("login"), fastrand::u64(..));
    // The refresh that this may ask for is made only where the token at hand will not do.
    let (state, _) = state.step(now, Event::Loaded(Ok(stored)));
    Ok((state, now))
}

/// The token at hand, if it has enough time left; an error where none may be used at all.
fn enough(
    snapshot: &Snapshot,
    kind: TokenKind,
    min_ttl: Option<Duration>,
    now: Now,
) -> Result<Option<IssuedToken>, Error> {
    if let (Gate::SignedOut { .. } | Gate::Locked, Decision::Refuse(refusal)) =
        (&snapshot.gate, snapshot.decide(kind, now))
    {
        return Err(Error::Unusable(refusal));
    }
    let Some(token) = snapshot.token(kind) else { return Err(Error::NoSuchToken(kind)) };
    let will_do = match min_ttl {
        None => token.is_fresh(now),
        Some(min_ttl) => token.is_usable(now) && token.until.remaining(now) + LAST_SECOND >= min_ttl,
    };
    if will_do { given(snapshot, kind, None, now, None).map(Some) } else { Ok(None) }
}

/// The token at hand, whatever time it has left, and what to say about that.
fn given(
    snapshot: &Snapshot,
    kind: TokenKind,
    min_ttl: Option<Duration>,
    now: Now,
    failure: Option<&Failure>,
) -> Result<IssuedToken, Error> {
    let token = snapshot.token(kind).ok_or(Error::NoSuchToken(kind))?;
    let left = token.until.remaining(now);
    if left.is_zero() {
        let refusal = Refusal::new(Code::RefreshFailing, "the token that Cognito sent has ended already", "");
        return Err(Error::Unusable(refusal));
    }
    let times = match kind {
        TokenKind::Id => snapshot.facts.id_token,
        TokenKind::Access => snapshot.facts.access_token,
    };
    let warning = match (failure, min_ttl) {
        (Some(failure), _) => Some(format!("the refresh failed ({failure}); this token ends in {}", Span(left))),
        (None, Some(min_ttl)) if left + LAST_SECOND < min_ttl => Some(too_little(left, min_ttl)),
        (None, _) => None,
    };
    Ok(IssuedToken {
        kind,
        jwt: token.jwt.clone(),
        expires_at: times.map(|times| times.expires_at).unwrap_or_default(),
        expires_in: left,
        warning,
    })
}

fn too_little(left: Duration, min_ttl: Duration) -> String {
    format!("this token ends in {}, and one that lasts {} could not be had", Span(left), Span(min_ttl))
}

/// One refresh, with what it needs.
struct Refresh<'a> {
    store: &'a dyn TokenStore,
    lock: &'a Lock,
    issuer: &'a CognitoIssuer,
}

impl Refresh<'_> {
    /// Refreshes and stores what came of it. A failure is returned beside the state that it left.
    async fn once(&self, state: State, now: Now) -> Result<(State, Option<Failure>), Error> {
        // Warnings are a proxy's to raise: here they are not marked as raised.
        let warned = state.session().and_then(|session| session.notes.warned);
        let mut state = state;
        if !state.is_refreshing() {
            state = state.step(now, Event::Renew).0;
        }
        loop {
            let Some(session) = state.session().filter(|_| state.is_refreshing()) else { return Ok((state, None)) };
            let generation = session.generation;
            let (event, failure) = match self.issuer.refresh(request(session)).await {
                Ok(grant) => (Event::Granted { generation, grant: Box::new(grant) }, None),
                Err(failure) => (Event::Failed { generation, failure: failure.clone() }, Some(failure)),
            };
            let (next, actions) = state.step(SystemClock.now(), event);
            state = next;
            let verdict = failure.as_ref().and_then(verdict);
            let worth_saving = actions.contains(&Action::Save) || verdict.is_some();
            if let Some(mut session) = state.session().filter(|_| worth_saving).cloned() {
                session.notes.warned = warned;
                session.notes.ended = verdict.or(session.notes.ended);
                self.store.save(&session, self.lock).map_err(keeping::Error::from)?;
            }
            // One that was sent and not answered is repeated at once, which the machine says by refreshing on.
            if failure.is_none() || !state.is_refreshing() {
                return Ok((state, failure));
            }
        }
    }
}

/// The verdict in a refusal.
fn verdict(failure: &Failure) -> Option<EndReason> {
    match failure {
        Failure::Terminal { reason } => Some(reason.clone()),
        Failure::Ambiguous { detail } => Some(EndReason::Refused(detail.clone())),
        Failure::Rotated { failure, .. } => verdict(failure),
        Failure::Transient { .. }
        | Failure::Throttled { .. }
        | Failure::Setting { .. }
        | Failure::Unacceptable { .. } => None,
    }
}

fn request(session: &Session) -> RefreshRequest {
    RefreshRequest {
        refresh_token: session.refresh_token.clone(),
        username: Some(session.username.clone()),
        subject: Some(session.subject.clone()),
        device: session.device.clone(),
        jwks: session.jwks.clone(),
    }
}
