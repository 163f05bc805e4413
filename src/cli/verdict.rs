//! What a session's state is worth as an exit code. Pure.

use std::time::Duration;

use super::Exit;
use crate::session::{
    Failure,
    status::{Report, StateName},
    warning::Level,
};

/// The exit code of `status` and `import`: 3 from level `notice` on, or where the session ends within `warn_within`,
/// while a token can still be injected; 4 when that takes a sign-in; 75 while refreshing fails and nothing can be
/// injected.
#[must_use]
pub(super) fn of(report: &Report, warn_within: Option<Duration>) -> Exit {
    // In its last second a token is not sent any more.
    let usable = report.id_token.as_ref().is_some_and(|token| token.expires_in_s > 0);
    match report.state {
        StateName::SignedOut | StateName::Locked => return Exit::SignInNeeded,
        StateName::SessionEnded if !usable => return Exit::SignInNeeded,
        StateName::BackingOff if !usable => return Exit::TryLater,
        // The attempt under way follows one that failed.
        StateName::Refreshing if !usable && report.consecutive_failures > 0 => return Exit::TryLater,
        StateName::SessionEnded
        | StateName::BackingOff
        | StateName::Fresh
        | StateName::Refreshing
        | StateName::Expired => {}
    }
    let ends_within = warn_within
        .zip(report.refresh_token.expires_in_s)
        .is_some_and(|(within, left)| Duration::from_secs(left) <= within);
    if report.warning.level > Level::None || ends_within { Exit::EndsSoon } else { Exit::Ok }
}

/// The exit code of a call to Cognito that failed.
#[must_use]
pub(super) fn of_failure(failure: &Failure) -> Exit {
    match failure {
        Failure::Terminal { .. } | Failure::Ambiguous { .. } => Exit::SignInNeeded,
        Failure::Setting { .. } => Exit::Config,
        Failure::Throttled { .. } => Exit::TryLater,
        Failure::Transient { .. } => Exit::Unreachable,
        Failure::Rotated { failure, .. } => of_failure(failure),
        Failure::Unacceptable { .. } => Exit::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{Now, UnixTime},
        session::status::{Facts, TokenReport},
    };

    #[test]
    fn an_attempt_after_a_failure_is_a_failure_still() {
        let mut report = report(StateName::Refreshing, Level::None, 0, 200_000);
        assert_eq!(of(&report, None), Exit::Ok);
        report.consecutive_failures = 1;
        assert_eq!(of(&report, None), Exit::TryLater);
    }

    fn report(state: StateName, level: Level, token_left: u64, session_left: u64) -> Report {
        let now = Now { wall: UnixTime::from_secs(0), boot: Duration::ZERO };
        let mut report = Facts::signed_out(None).report(now, 0);
        report.state = state;
        report.warning.level = level;
        let at = UnixTime::from_secs(0);
        report.id_token = Some(TokenReport { issued_at: at, expires_at: at, expires_in_s: token_left });
        report.refresh_token.expires_in_s = Some(session_left);
        report
    }

    #[test]
    fn every_state_has_its_code() {
        let day = Some(Duration::from_secs(86_400));
        for (state, level, token_left, session_left, within, exit) in [
            (StateName::SignedOut, Level::None, 0, 0, None, Exit::SignInNeeded),
            (StateName::Fresh, Level::None, 3600, 200_000, None, Exit::Ok),
            (StateName::Fresh, Level::None, 3600, 200_000, day, Exit::Ok),
            (StateName::Fresh, Level::None, 3600, 80_000, day, Exit::EndsSoon),
            (StateName::Fresh, Level::Notice, 3600, 200_000, None, Exit::EndsSoon),
            (StateName::Expired, Level::Urgent, 0, 60, None, Exit::EndsSoon),
            (StateName::BackingOff, Level::None, 60, 200_000, None, Exit::Ok),
            (StateName::BackingOff, Level::None, 0, 200_000, None, Exit::TryLater),
            (StateName::SessionEnded, Level::Ended, 60, 0, None, Exit::EndsSoon),
            (StateName::SessionEnded, Level::Ended, 0, 0, None, Exit::SignInNeeded),
            (StateName::Locked, Level::None, 60, 200_000, None, Exit::SignInNeeded),
        ] {
            assert_eq!(of(&report(state, level, token_left, session_left), within), exit, "{state:?} {level:?}");
        }
    }
}
