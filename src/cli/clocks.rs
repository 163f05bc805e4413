//! The session's clocks as a person reads them: what `status`, `import` and `login` print.

use std::{fmt::Write as _, time::Duration};

use super::short::Mood;
use crate::{
    clock::{Span, UnixTime},
    session::{
        Basis,
        status::{Report, StateName, TokenReport},
        warning::Level,
    },
};

/// How wide the names are, so that the values stand in one column.
const NAMES: usize = 16;

/// ECMA-48, SGR.
const DIM: &str = "\u{1b}[2m";
const BOLD: &str = "\u{1b}[1m";
/// In the place of an end that the refresh token would have had.
const HAS_ENDED: &str = "it has ended, whatever its refresh token's time";
pub(super) const RESET: &str = "\u{1b}[0m";

/// Everything that `status` says, one fact a line.
#[must_use]
pub(super) fn describe(report: &Report, now: UnixTime) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<NAMES$}{value}");
    };
    match &report.identity {
        Some(identity) => line("session", format!("{} ({})", identity.username, identity.sub)),
        None => line("session", "none".into()),
    }
    line("state", state_in_words(report.state).into());
    if let Some(identity) = &report.identity {
        line("user pool", format!("{}, client {}", identity.user_pool_id, identity.client_id));
        for (name, token) in [("ID token", &report.id_token), ("access token", &report.access_token)] {
            if let Some(token) = token {
                line(name, remaining(token, now));
            }
        }
        line("session ends", session_end(report, now));
        if let Some(until) = report.injecting_until {
            line("injecting until", moment(until, now));
        }
    }
    if let Some(at) = report.next_refresh_at.filter(|at| *at > now) {
        line("next refresh", moment(at, now));
    }
    if let Some(last) = &report.last_refresh {
        let ago = Span(now.since(last.at));
        let error = last.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        line("last refresh", format!("{} {ago} ago{error}", last.outcome.as_str()));
    }
    if report.consecutive_failures > 0 {
        line("failures", format!("{} in a row", report.consecutive_failures));
    }
    if report.held_requests > 0 {
        line("held requests", format!("{}, waiting for a sign-in", report.held_requests));
    }
    if report.unpersisted_rotation {
        line("store", "the disk refuses the new refresh token; it is in memory alone and is written again".into());
    }
    if report.warning.level > Level::None {
        line("warning", report.warning.level.as_str().into());
    }
    if let Some(fix) = &report.warning.fix {
        line("to do", fix.clone());
    }
    text
}

/// What somebody who has just signed in wants to know: how long that lasts.
#[must_use]
pub(super) fn in_brief(report: &Report, now: UnixTime) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Some(identity) = &report.identity {
        facts.push(("User pool", identity.user_pool_id.clone()));
    }
    let mend = "set cognito.refresh_token_validity to make it sure";
    let has_ended = report.state == StateName::SessionEnded;
    match (report.refresh_token.expires_at, report.refresh_token.basis) {
        _ if has_ended => facts.push(("Session ends", HAS_ENDED.into())),
        (None, _) => facts.push(("Session ends", format!("at a time that is not known; {mend}"))),
        (Some(at), basis) => {
            facts.push(("Session ends", format!("{}, in {}, at the latest", local(at), Span(at.since(now)))));
            let sure = if basis == Basis::Assumed { format!("; {mend}") } else { String::new() };
            facts.push(("Known from", format!("{}{sure}", basis.as_str().replace('_', " "))));
        }
    }
    if let Some(token) = &report.id_token {
        let renewed = if has_ended { "" } else { ", and renewed by itself" };
        facts.push(("ID token", format!("until {}{renewed}", local(token.expires_at))));
    }
    facts
}

/// What [`describe`] has written, in colours: the state as it is to be taken, and what to do in bold.
#[must_use]
pub(super) fn painted(text: &str, mood: Mood) -> String {
    let color = mood.color();
    let mut painted = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        let (name, value) = line.split_at(line.len().min(NAMES));
        let style = match name.trim_end() {
            "state" | "warning" => color,
            "failures" | "held requests" | "store" => Mood::Near.color(),
            "to do" => BOLD,
            _ => "",
        };
        let reset = if style.is_empty() { "" } else { RESET };
        // Writing to a String cannot fail.
        let _ = writeln!(painted, "{DIM}{name}{RESET}{style}{value}{reset}");
    }
    painted
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
fn session_end(report: &Report, now: UnixTime) -> String {
    let key = "set cognito.refresh_token_validity to make it sure";
    match (report.refresh_token.expires_at, report.refresh_token.basis) {
        _ if report.state == StateName::SessionEnded => HAS_ENDED.into(),
        (None, _) => format!("unknown; {key}"),
        (Some(at), Basis::Assumed) => format!("{} at the latest, assumed; {key}", moment(at, now)),
        (Some(at), basis) => format!("{} at the latest, {}", moment(at, now), basis.as_str().replace('_', " ")),
    }
}

fn remaining(token: &TokenReport, now: UnixTime) -> String {
    match token.expires_in_s {
        0 => format!("ended {} ago", Span(now.since(token.expires_at))),
        left => format!("ends in {} ({})", Span(Duration::from_secs(left)), local(token.expires_at)),
    }
}

/// A moment ahead or past, with its local time.
fn moment(at: UnixTime, now: UnixTime) -> String {
    if at > now {
        format!("in {} ({})", Span(at.since(now)), local(at))
    } else {
        format!("{} ago ({})", Span(now.since(at)), local(at))
    }
}

/// Local time to the minute; to the second where a session lives for minutes it is the span that tells.
fn local(at: UnixTime) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis()).map_or_else(
        |_| at.to_string(),
        |timestamp| {
            timestamp.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%a %-d %b %Y %H:%M %Z").to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Now,
        session::{
            state::{State, fixtures},
            status::Facts,
        },
    };

    #[test]
    fn an_assumed_end_says_that_it_is_assumed_and_how_to_make_it_sure() {
        let now = Now { wall: UnixTime::from_secs(1_800_000_000), boot: Duration::from_secs(60) };
        let session = Box::new(fixtures::session(now, 3600));
        let state = State::new(fixtures::settings(), "cognito-proxy login".into(), 1).at_rest(Ok(Some(session)));
        let report = state.snapshot(now).facts.report(now, 0);
        let text = describe(&report, now.wall);
        assert!(text.contains("assumed; set cognito.refresh_token_validity"), "{text}");
        assert!(text.contains("alice (sub)"), "{text}");
        assert!(text.contains("ID token        ends in 1h"), "{text}");
        let painted = painted(&text, Mood::Good);
        assert!(painted.contains("\u{1b}[32mfresh\u{1b}[0m\n"), "{painted:?}");
        assert_eq!(painted.lines().count(), text.lines().count());
    }

    #[test]
    fn an_ended_session_is_promised_no_end_to_come_and_no_renewal() {
        let now = Now { wall: UnixTime::from_secs(1_800_000_000), boot: Duration::from_secs(60) };
        let mut session = Box::new(fixtures::session(now, 3600));
        session.notes.ended = Some(crate::session::EndReason::Revoked);
        let state = State::new(fixtures::settings(), "cognito-proxy login".into(), 1).at_rest(Ok(Some(session)));
        let report = state.snapshot(now).facts.report(now, 0);
        assert_eq!(report.state, StateName::SessionEnded);
        let text = describe(&report, now.wall);
        assert!(text.contains("session ends    it has ended"), "{text}");
        let said = in_brief(&report, now.wall).into_iter().map(|(_, said)| said).collect::<Vec<_>>().join(", ");
        assert!(
            said.contains("it has ended") && !said.contains("renewed") && !said.contains("at the latest"),
            "{said}"
        );
    }

    #[test]
    fn nobody_is_told_how_to_sign_in() {
        let now = Now { wall: UnixTime::from_secs(0), boot: Duration::ZERO };
        let report = Facts::signed_out(Some("cognito-proxy login".into())).report(now, 0);
        let text = describe(&report, now.wall);
        assert_eq!(text, "session         none\nstate           signed out\nto do           cognito-proxy login\n");
    }
}
