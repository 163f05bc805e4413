//! What the log and the metrics say about the session: one line for each transition.

use std::time::Duration;

use crate::{
    clock::{Now, Span},
    metrics::Metrics,
    session::{
        Outcome,
        state::{Event, State},
    },
};

/// A clock this far off is worth a warning: other programs on this machine will trip over it too.
const SKEW_WARNED_MS: i64 = 60_000;

/// Records what `event` did to `before`.
pub(super) fn record(metrics: &Metrics, before: &State, event: &Event, after: &State, now: Now) {
    match event {
        Event::Granted { generation, .. } if is_of(before, *generation) => granted(metrics, after, now),
        Event::Failed { generation, failure } if is_of(before, *generation) => {
            metrics.refreshed(failure.outcome(), now.wall);
            failed(after, now, &failure.to_string());
        }
        Event::Adopted { .. } if generation(after) > generation(before) => adopted(after, now),
        Event::Loaded(Ok(Some(_))) if after.session().is_some() => loaded(after, now),
        Event::Loaded(Err(error)) => tracing::error!(%error, "session cannot be loaded"),
        Event::Cleared => tracing::info!("session forgotten"),
        _ => {}
    }
    told_of_skew(before, after);
}

fn is_of(state: &State, generation: u64) -> bool {
    state.is_refreshing() && state.session().is_some_and(|session| session.generation == generation)
}

fn generation(state: &State) -> u64 {
    state.session().map_or(0, |session| session.generation)
}

fn granted(metrics: &Metrics, after: &State, now: Now) {
    if after.failures() > 0 {
        metrics.refreshed(Outcome::Rejected, now.wall);
        return failed(after, now, "the new token is not acceptable");
    }
    metrics.refreshed(Outcome::Ok, now.wall);
    let facts = after.snapshot(now).facts;
    tracing::info!(
        id_token_expires_in = %left(facts.id_token.map(|times| times.end.remaining(now))),
        next_refresh_in = %left(facts.next_refresh_at.map(|at| at.since(now.wall))),
        session_ends_in = %left(facts.refresh_token.at.map(|at| at.since(now.wall))),
        "refreshed"
    );
}

/// Says that this machine's clock is wrong, when that is found and when it is wrong by another minute: what wavers by
/// the way of an answer is no news.
fn told_of_skew(before: &State, after: &State) {
    let (known, found) = (before.skew_ms(), after.skew_ms());
    let is_news = known.abs() < SKEW_WARNED_MS || (found - known).abs() >= SKEW_WARNED_MS;
    if found.abs() >= SKEW_WARNED_MS && is_news {
        tracing::warn!(
            off_by = %Span(Duration::from_millis(found.unsigned_abs())),
            fix = "set this machine's clock",
            "clock is {} AWS's",
            if found > 0 { "behind" } else { "ahead of" }
        );
    }
}

fn failed(after: &State, now: Now, error: &str) {
    let facts = after.snapshot(now).facts;
    let last = facts.last_refresh.as_ref();
    let outcome = last.map_or("transient", |last| last.outcome.as_str());
    let left_of_token = facts.id_token.map(|times| times.end.remaining(now)).unwrap_or_default();
    let retry_in = match after.retry_at() {
        Some(at) => left(Some(at.saturating_sub(now.boot))),
        None if after.is_refreshing() => "now".into(),
        None => "never".into(),
    };
    tracing::warn!(
        outcome,
        attempt = after.failures(),
        retry_in,
        id_token_expires_in = %Span(left_of_token),
        error = last.and_then(|last| last.error.as_deref()).unwrap_or(error),
        "refresh failed{}",
        if left_of_token.is_zero() { "" } else { " (still serving)" }
    );
}

fn adopted(after: &State, now: Now) {
    let Some(session) = after.session() else { return };
    let facts = after.snapshot(now).facts;
    tracing::info!(
        from = session.origin.as_str(),
        username = session.username,
        session_ends_in = %left(facts.refresh_token.at.map(|at| at.since(now.wall))),
        "session adopted"
    );
}

fn loaded(after: &State, now: Now) {
    let Some(session) = after.session() else { return };
    let facts = after.snapshot(now).facts;
    tracing::info!(
        username = session.username,
        id_token_expires_in = %left(facts.id_token.map(|times| times.end.remaining(now))),
        session_ends_in = %left(facts.refresh_token.at.map(|at| at.since(now.wall))),
        basis = facts.refresh_token.basis.as_str(),
        "session loaded"
    );
    if matches!(facts.refresh_token.basis, crate::session::Basis::Assumed | crate::session::Basis::Unknown) {
        tracing::warn!(
            basis = facts.refresh_token.basis.as_str(),
            fix = "set cognito.refresh_token_validity to the app client's setting",
            "the end of the session is not known for sure"
        );
    }
}

fn left(duration: Option<Duration>) -> String {
    duration.map_or_else(|| "unknown".into(), |duration| Span(duration).to_string())
}
