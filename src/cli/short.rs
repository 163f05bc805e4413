//! The session in one short line, for prompts and bars: `✓ 47m · 29d`, what is left of the token and of the session.
//!
//! Owns the line's form, which scripts may rely on: a mark, a space, then the words; at most 40 columns. Pure.

use std::time::Duration;

use crate::{
    clock::UnixTime,
    session::{
        Basis,
        status::{Report, StateName},
        warning::Level,
    },
};

/// The signs that the line is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signs {
    /// `✓ 47m · 29d`
    Unicode,
    /// `ok 47m / 29d`, where the locale knows nothing else.
    Ascii,
}

/// How the line is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Nothing to do.
    Good,
    /// Something to do, in time.
    Near,
    /// Something to do now.
    Bad,
}

impl Mood {
    /// Green, yellow or red (ECMA-48, SGR).
    pub(super) const fn color(self) -> &'static str {
        match self {
            Self::Good => "\u{1b}[32m",
            Self::Near => "\u{1b}[33m",
            Self::Bad => "\u{1b}[31m",
        }
    }
}

impl Signs {
    /// What the locale's encoding has, by the first of these variables that says something (locale(7)).
    pub(super) fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty());
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        if locale.ends_with("utf-8") || locale.contains("utf-8@") || locale.contains("utf8") {
            Self::Unicode
        } else {
            Self::Ascii
        }
    }

    const fn mark(self, mood: Mood) -> &'static str {
        match (self, mood) {
            (Self::Unicode, Mood::Good) => "✓",
            (Self::Ascii, Mood::Good) => "ok",
            (_, Mood::Near) => "!",
            (Self::Unicode, Mood::Bad) => "✗",
            (Self::Ascii, Mood::Bad) => "x",
        }
    }

    const fn between(self) -> &'static str {
        match self {
            Self::Unicode => "·",
            Self::Ascii => "/",
        }
    }
}

/// How `report` is to be taken.
pub(super) fn mood(report: &Report) -> Mood {
    let is_usable = report.id_token.as_ref().is_some_and(|token| token.expires_in_s > 0);
    match report.state {
        StateName::BackingOff if is_usable => Mood::Near,
        StateName::SignedOut | StateName::SessionEnded | StateName::Locked | StateName::BackingOff => Mood::Bad,
        StateName::Refreshing if report.consecutive_failures > 0 && !is_usable => Mood::Bad,
        _ if report.warning.level >= Level::Urgent => Mood::Bad,
        _ if report.warning.level > Level::None || report.unpersisted_rotation => Mood::Near,
        StateName::Fresh | StateName::Refreshing | StateName::Expired => Mood::Good,
    }
}

/// The line, without its end.
pub(super) fn line(report: &Report, now: UnixTime, signs: Signs) -> String {
    let mark = signs.mark(mood(report));
    let token = report.id_token.as_ref().map(|token| coarse(Duration::from_secs(token.expires_in_s)));
    let session = match (report.refresh_token.expires_at, report.refresh_token.basis) {
        (None, _) => "?".into(),
        // An estimate is never shown as a fact.
        (Some(at), Basis::Assumed) => format!("~{}", coarse(at.since(now))),
        (Some(at), _) => coarse(at.since(now)),
    };
    let is_usable = report.id_token.as_ref().is_some_and(|token| token.expires_in_s > 0);
    let (token, session) = match report.state {
        StateName::SignedOut => return format!("{mark} signed out"),
        StateName::Locked => return format!("{mark} locked"),
        StateName::SessionEnded if !is_usable => return format!("{mark} ended"),
        StateName::SessionEnded => (token, "ended".into()),
        StateName::BackingOff | StateName::Refreshing if !is_usable => (Some("failing".into()), session),
        _ => (token, session),
    };
    format!("{mark} {} {} {session}", token.unwrap_or_else(|| "?".into()), signs.between())
}

/// A length of time in the largest unit of which there are two.
fn coarse(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Now,
        session::status::{Facts, TokenReport},
    };

    fn report(state: StateName, level: Level, token: u64, session: Option<u64>) -> Report {
        let now = Now { wall: UnixTime::from_secs(0), boot: Duration::ZERO };
        let mut report = Facts::signed_out(None).report(now, 0);
        report.state = state;
        report.warning.level = level;
        let at = UnixTime::from_secs(0);
        report.id_token = Some(TokenReport { issued_at: at, expires_at: at, expires_in_s: token });
        report.refresh_token.expires_at = session.map(|seconds| at + Duration::from_secs(seconds));
        report.refresh_token.basis = Basis::Configured;
        report
    }

    #[test]
    fn every_state_is_a_short_line_in_both_alphabets() {
        let (day, none) = (Some(86_400 * 30), Level::None);
        for (state, level, token, session, unicode, ascii) in [
            (StateName::Fresh, none, 2_820, day, "✓ 47m · 30d", "ok 47m / 30d"),
            (StateName::Fresh, none, 119, Some(7_199), "✓ 119s · 119m", "ok 119s / 119m"),
            (StateName::Refreshing, none, 60, day, "✓ 60s · 30d", "ok 60s / 30d"),
            (StateName::Expired, none, 0, day, "✓ 0s · 30d", "ok 0s / 30d"),
            (StateName::Fresh, none, 2_820, None, "✓ 47m · ?", "ok 47m / ?"),
            (StateName::Fresh, Level::Soon, 2_820, Some(86_400), "! 47m · 24h", "! 47m / 24h"),
            (StateName::Fresh, Level::Urgent, 2_820, Some(900), "✗ 47m · 15m", "x 47m / 15m"),
            (StateName::BackingOff, none, 600, day, "! 10m · 30d", "! 10m / 30d"),
            (StateName::BackingOff, none, 0, day, "✗ failing · 30d", "x failing / 30d"),
            (StateName::SessionEnded, Level::Ended, 600, day, "✗ 10m · ended", "x 10m / ended"),
            (StateName::SessionEnded, Level::Ended, 0, day, "✗ ended", "x ended"),
            (StateName::Locked, none, 600, day, "✗ locked", "x locked"),
            (StateName::SignedOut, none, 0, None, "✗ signed out", "x signed out"),
        ] {
            let report = report(state, level, token, session);
            for (signs, text) in [(Signs::Unicode, unicode), (Signs::Ascii, ascii)] {
                let line = line(&report, UnixTime::from_secs(0), signs);
                assert_eq!(line, text, "{state:?}");
                assert!(line.chars().count() <= 40);
            }
            assert!(line(&report, UnixTime::from_secs(0), Signs::Ascii).is_ascii());
        }
    }

    #[test]
    fn an_assumed_end_is_marked_as_one() {
        let mut report = report(StateName::Fresh, Level::None, 3_600, Some(86_400 * 30));
        report.refresh_token.basis = Basis::Assumed;
        assert_eq!(line(&report, UnixTime::from_secs(0), Signs::Unicode), "✓ 60m · ~30d");
    }

    #[test]
    fn the_locale_decides_what_can_be_shown() {
        for (variables, signs) in [
            (&[("LANG", "en_US.UTF-8")][..], Signs::Unicode),
            (&[("LANG", "de_DE.utf8@euro")], Signs::Unicode),
            (&[("LC_ALL", ""), ("LC_CTYPE", "C.UTF-8")], Signs::Unicode),
            (&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")], Signs::Ascii),
            (&[("LANG", "en_US.ISO-8859-1")], Signs::Ascii),
            (&[], Signs::Ascii),
        ] {
            let variable =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(Signs::of(variable), signs, "{variables:?}");
        }
    }
}
