//! The session's clocks as a person reads them: what `status`, `import` and `login` print.

use std::fmt::Write as _;

use crate::{
    clock::{Now, Span, UnixTime},
    session::{
        Basis,
        schedule::Deadline,
        status::{Facts, StateName},
        warning::Level,
    },
};

/// How wide the names are, so that the values stand in one column.
const NAMES: usize = 16;

/// Everything that `status` says, one fact a line.
#[must_use]
pub fn describe(facts: &Facts, now: Now, held_requests: u64) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<NAMES$}{value}");
    };
    let state = facts.state_at(now);
    match &facts.identity {
        Some(identity) => line("session", format!("{} ({})", identity.username, identity.sub)),
        None => line("session", "none".into()),
    }
    line("state", state_in_words(state).into());
    if let Some(identity) = &facts.identity {
        line("user pool", format!("{}, client {}", identity.user_pool_id, identity.client_id));
        for (name, times) in [("ID token", facts.id_token), ("access token", facts.access_token)] {
            if let Some(times) = times {
                line(name, remaining("ends", "ended", times.end, now));
            }
        }
        line("session ends", session_end(facts, now));
        if let Some(until) = facts.injecting_until {
            line("injecting until", moment(until, now));
        }
    }
    if let Some(at) = facts.next_refresh_at.filter(|_| state != StateName::Refreshing) {
        line("next refresh", moment(at, now));
    }
    if let Some(last) = &facts.last_refresh {
        let ago = Span(now.wall.since(last.at));
        let error = last.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        line("last refresh", format!("{} {ago} ago{error}", last.outcome.as_str()));
    }
    if facts.consecutive_failures > 0 {
        line("failures", format!("{} in a row", facts.consecutive_failures));
    }
    if held_requests > 0 {
        line("held requests", format!("{held_requests}, waiting for a sign-in"));
    }
    if facts.unpersisted_rotation {
        line("store", "the disk refuses the new refresh token; it is in memory alone and is written again".into());
    }
    if facts.level > Level::None {
        line("warning", facts.level.as_str().into());
    }
    if let Some(fix) = &facts.fix {
        line("to do", fix.clone());
    }
    text
}

fn state_in_words(state: StateName) -> &'static str {
    match state {
        StateName::SignedOut => "signed out",
        StateName::Fresh => "fresh",
        StateName::Refreshing => "refreshing",
        StateName::BackingOff => "refreshing fails, and is tried again",
        StateName::Expired => "the token has expired; the next request refreshes it",
        StateName::SessionEnded => "the session has ended",
        StateName::Locked => "locked",
    }
}

/// The end of the session with its basis: an estimate is never shown as a fact.
fn session_end(facts: &Facts, now: Now) -> String {
    let key = "set cognito.refresh_token_validity to make it sure";
    match (facts.refresh_token.at, facts.refresh_token.basis) {
        (None, _) => format!("unknown; {key}"),
        (Some(at), Basis::Assumed) => format!("{} at the latest, assumed; {key}", moment(at, now)),
        (Some(at), basis) => format!("{} at the latest, {}", moment(at, now), basis.as_str().replace('_', " ")),
    }
}

fn remaining(ahead: &str, past: &str, end: Deadline, now: Now) -> String {
    let left = end.remaining(now);
    if left.is_zero() {
        format!("{past} {} ago", Span(now.wall.since(end.wall)))
    } else {
        format!("{ahead} in {} ({})", Span(left), local(end.wall))
    }
}

/// A moment ahead or past, with its local time.
fn moment(at: UnixTime, now: Now) -> String {
    if at > now.wall {
        format!("in {} ({})", Span(at.since(now.wall)), local(at))
    } else {
        format!("{} ago ({})", Span(now.wall.since(at)), local(at))
    }
}

/// Local time to the minute; to the second where a session lives for minutes it is the span that tells.
fn local(at: UnixTime) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).map_or_else(
        |_| at.to_string(),
        |timestamp| timestamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%a %-d %b %Y %H:%M %Z").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::session::state::{State, fixtures};

    fn facts(now: Now) -> Facts {
        let session = fixtures::session(now, 3600);
        State::new(fixtures::settings(), "cognito-proxy login".into(), 1)
            .at_rest(Ok(Some(Box::new(session))))
            .snapshot(now)
            .facts
    }

    #[test]
    fn an_assumed_end_says_that_it_is_assumed_and_how_to_make_it_sure() {
        let now = Now { wall: UnixTime::from_secs(1_800_000_000), boot: Duration::from_secs(60) };
        let text = describe(&facts(now), now, 0);
        assert!(text.contains("assumed; set cognito.refresh_token_validity"), "{text}");
        assert!(text.contains("alice (sub)"), "{text}");
        assert!(text.contains("ID token        ends in 1h"), "{text}");
    }

    #[test]
    fn nobody_is_told_how_to_sign_in() {
        let now = Now { wall: UnixTime::from_secs(0), boot: Duration::ZERO };
        let text = describe(&Facts::signed_out(Some("cognito-proxy login".into())), now, 0);
        assert_eq!(text, "session         none\nstate           signed out\nto do           cognito-proxy login\n");
    }
}
