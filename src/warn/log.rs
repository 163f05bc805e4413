//! The log as a channel for warnings.

use crate::{
    clock::{Now, Span, UnixTime},
    session::state::Warning,
};

/// Writes one line about `warning`.
pub(super) fn tell(warning: &Warning, now: Now) {
    let at = |time: Option<UnixTime>| time.map_or_else(|| "unknown".into(), |time| time.to_string());
    if let Some(reason) = &warning.reason {
        tracing::error!(
            %reason,
            injecting_until = at(warning.injecting_until),
            fix = warning.fix,
            "session ended"
        );
    } else {
        tracing::warn!(
            level = warning.level.as_str(),
            r#in = %Span(warning.expires_at.map(|at| at.since(now.wall)).unwrap_or_default()),
            at = at(warning.expires_at),
            fix = warning.fix,
            "session ends soon"
        );
    }
}
