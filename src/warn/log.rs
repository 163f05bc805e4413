//! The log as a channel for warnings.

use crate::{
    clock::{Now, Span, UnixTime},
    session::warning::{Level, Warning, WarningKind},
};

/// Writes one line about `warning`.
pub(super) fn tell(warning: &Warning, now: Now) {
    let at = |time: Option<UnixTime>| time.map_or_else(|| "unknown".into(), |time| time.to_string());
    match &warning.kind {
        WarningKind::SessionEnd(Level::Ended) => tracing::error!(
            reason = warning.reason.as_ref().map(ToString::to_string),
            injecting_until = at(warning.injecting_until),
            fix = warning.fix,
            "session ended"
        ),
        WarningKind::SessionEnd(level) => tracing::warn!(
            level = level.as_str(),
            r#in = %Span(warning.expires_at.map(|at| at.since(now.wall)).unwrap_or_default()),
            at = at(warning.expires_at),
            fix = warning.fix,
            "session ends soon"
        ),
        WarningKind::IdleLock { closes_at } => tracing::warn!(
            r#in = %Span(closes_at.since(now.wall)),
            at = %closes_at,
            fix = warning.fix,
            "idle lock is about to close"
        ),
        WarningKind::RefreshFailing { error, token_ends_at } => tracing::warn!(
            error,
            token_ends_in = %Span(token_ends_at.since(now.wall)),
            at = %token_ends_at,
            fix = warning.fix,
            "refreshing fails, and requests are about to"
        ),
    }
}
