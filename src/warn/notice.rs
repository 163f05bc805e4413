//! One warning in words. Every channel that leaves the log tells the same, each in its own form. Pure.
//!
//! Every text says when, why, and what mends it, and none holds a secret.

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use crate::{
    clock::{Now, Span, UnixTime},
    session::warning::{Level, Warning, WarningKind},
};

/// What a notice is about: a later one of the same subject takes the place of an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The end of the session.
    Session,
    /// The idle lock.
    Lock,
    /// Refreshes that fail.
    Refreshing,
}

/// A warning, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    /// This warning's alone: a webhook that hears it twice can tell.
    pub(super) id: String,
    pub(super) subject: Subject,
    /// `warning`, `ended` or `idle_lock`.
    pub(super) event: &'static str,
    pub(super) level: Level,
    /// The moment that it is about: when the session ends or has ended, when the lock closes, when the last token ends.
    pub(super) expires_at: Option<UnixTime>,
    /// The latest moment at which a token can still be injected.
    injecting_until: Option<UnixTime>,
    /// A few words, for a headline.
    pub(super) title: String,
    /// One or two sentences, in UTC.
    text: String,
    /// The same in this machine's own time.
    pub(super) local_text: String,
    /// What mends it, as an imperative.
    pub(super) advice: String,
    fix: String,
    /// Whose session, and which proxy's.
    whose: Whose,
}

/// Whose session a notice is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Whose {
    pub(super) profile: String,
    pub(super) username: Option<String>,
}

impl Notice {
    /// `warning`, said at `now`, with an identity of its own.
    pub(super) fn new(warning: &Warning, whose: Whose, id: u128, now: Now) -> Self {
        let (subject, expires_at) = match &warning.kind {
            WarningKind::SessionEnd(_) => (Subject::Session, warning.expires_at),
            WarningKind::IdleLock { closes_at } => (Subject::Lock, Some(*closes_at)),
            WarningKind::RefreshFailing { token_ends_at, .. } => (Subject::Refreshing, Some(*token_ends_at)),
        };
        // The fix of a failing refresh may be a setting; all others are commands.
        let verb = if subject == Subject::Refreshing { "What mends it" } else { "Run" };
        Self {
            id: format!("{id:032x}"),
            subject,
            event: warning.event(),
            level: warning.level(),
            expires_at,
            injecting_until: warning.injecting_until,
            title: title(warning, expires_at, now),
            text: text(warning, &whose, now, &|at| at.to_string()),
            local_text: text(warning, &whose, now, &local),
            advice: format!("{verb}: {}", warning.fix),
            fix: warning.fix.clone(),
            whose,
        }
    }

    /// The whole of it in one line: `COGNITO_PROXY_MESSAGE`, and a webhook's `message`.
    pub(super) fn message(&self) -> String {
        format!("{} {}", self.text, self.advice)
    }

    /// The document that is posted to a webhook.
    pub(super) fn document(&self) -> Value {
        json!({
            "schema": 1,
            "id": self.id,
            "event": self.event,
            "level": self.level.as_str(),
            "expires_at": self.expires_at.map(|at| at.to_string()),
            "injecting_until": self.injecting_until.map(|at| at.to_string()),
            "message": self.message(),
            "fix": self.fix,
            "profile": self.whose.profile,
            "username": self.whose.username,
            // What chat services show. `<!channel>` in a user's name must not call everybody there.
            "text": format!("cognito-proxy ({}): {}", self.whose.profile, escaped(&self.message())),
        })
    }
}

/// `text` where `&`, `<` and `>` begin markup.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn title(warning: &Warning, at: Option<UnixTime>, now: Now) -> String {
    let left = at.map_or_else(|| "soon".to_owned(), |at| format!("in {}", Span(at.since(now.wall))));
    match warning.kind {
        WarningKind::SessionEnd(Level::Ended) => "Session has ended".into(),
        WarningKind::SessionEnd(_) => format!("Session ends {left}"),
        WarningKind::IdleLock { .. } => format!("Proxy locks {left}"),
        WarningKind::RefreshFailing { .. } => "Session cannot be refreshed".into(),
    }
}

fn text(warning: &Warning, whose: &Whose, now: Now, show: &dyn Fn(UnixTime) -> String) -> String {
    let of = whose.username.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
    let when = |at: UnixTime| format!("at {}, in {}", show(at), Span(at.since(now.wall)));
    match &warning.kind {
        WarningKind::SessionEnd(Level::Ended) => {
            let reason = warning.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let until = match warning.injecting_until.filter(|at| *at > now.wall) {
                Some(at) => format!("Requests still get a token until {}.", show(at)),
                None => "Requests get no token any more.".into(),
            };
            format!("The session{of} has ended{reason}. {until}")
        }
        WarningKind::SessionEnd(_) => {
            let when = warning.expires_at.map_or_else(|| "soon".to_owned(), when);
            format!("The sign-in{of} expires {when}; after that the session cannot be refreshed.")
        }
        WarningKind::IdleLock { closes_at } => {
            format!(
                "No request has come for a while: the idle lock closes {}, and the token{of} is withheld then.",
                when(*closes_at)
            )
        }
        WarningKind::RefreshFailing { error, token_ends_at } => {
            format!("The token{of} ends {}, and cannot be renewed: {error}.", when(*token_ends_at))
        }
    }
}

/// `at` on this machine's own calendar and clock.
fn local(at: UnixTime) -> String {
    Timestamp::from_second(at.as_secs()).map_or_else(
        |_| at.to_string(),
        |timestamp| TimeZone::system().to_datetime(timestamp).strftime("%a %-d %b %H:%M").to_string(),
    )
}

#[cfg(test)]
pub(super) mod fixtures {
    use std::time::Duration;

    use super::*;

    pub(in crate::warn) const NOW: Now = Now { wall: UnixTime::from_secs(0), boot: Duration::ZERO };

    /// A warning that the session ends in an hour.
    pub(in crate::warn) fn warning(kind: WarningKind) -> Warning {
        Warning {
            kind,
            expires_at: Some(UnixTime::from_secs(3600)),
            injecting_until: Some(UnixTime::from_secs(7000)),
            reason: None,
            fix: "cognito-proxy login".into(),
        }
    }

    pub(in crate::warn) fn notice(kind: WarningKind) -> Notice {
        let whose = Whose { profile: "proxy".into(), username: Some("alice".into()) };
        Notice::new(&warning(kind), whose, 7, NOW)
    }
}

#[cfg(test)]
mod tests {
    use super::{fixtures::*, *};
    use crate::session::EndReason;

    #[test]
    fn each_says_when_why_and_what_mends_it() {
        let ended = Warning { reason: Some(EndReason::Expired), ..warning(WarningKind::SessionEnd(Level::Ended)) };
        let dead = Warning { injecting_until: None, ..ended.clone() };
        let failing = Warning {
            fix: "set cognito.client_secret_file".into(),
            ..warning(WarningKind::RefreshFailing {
                error: "the client secret is wrong".into(),
                token_ends_at: UnixTime::from_secs(30),
            })
        };
        let lock = Warning {
            fix: "cognito-proxy unlock".into(),
            ..warning(WarningKind::IdleLock { closes_at: UnixTime::from_secs(60) })
        };
        for (warning, title, message) in [
            (
                warning(WarningKind::SessionEnd(Level::Soon)),
                "Session ends in 1h",
                "The sign-in of alice expires at 1970-01-01T01:00:00Z, in 1h; after that the session cannot be refreshed. \
                 Run: cognito-proxy login",
            ),
            (
                ended,
                "Session has ended",
                "The session of alice has ended: Refresh Token has expired. Requests still get a token until \
                 1970-01-01T01:56:40Z. Run: cognito-proxy login",
            ),
            (
                dead,
                "Session has ended",
                "The session of alice has ended: Refresh Token has expired. Requests get no token any more. \
                 Run: cognito-proxy login",
            ),
            (
                lock,
                "Proxy locks in 1m",
                "No request has come for a while: the idle lock closes at 1970-01-01T00:01:00Z, in 1m, and the token of alice is \
                 withheld then. \
                 Run: cognito-proxy unlock",
            ),
            (
                failing,
                "Session cannot be refreshed",
                "The token of alice ends at 1970-01-01T00:00:30Z, in 30s, and cannot be renewed: the client secret is \
                 wrong. What mends it: set cognito.client_secret_file",
            ),
        ] {
            let whose = Whose { profile: "proxy".into(), username: Some("alice".into()) };
            let notice = Notice::new(&warning, whose, 1, NOW);
            assert_eq!((notice.title.as_str(), notice.message().as_str()), (title, message));
        }
    }

    #[test]
    fn the_document_of_a_webhook_is_as_documented() {
        let mut warning = warning(WarningKind::SessionEnd(Level::Urgent));
        warning.fix = "cognito-proxy login -p work".into();
        let whose = Whose { profile: "work".into(), username: Some("<!channel>".into()) };
        let document = Notice::new(&warning, whose, 0xabc, NOW).document();
        let message = "The sign-in of <!channel> expires at 1970-01-01T01:00:00Z, in 1h; after that the session cannot \
                       be refreshed. Run: cognito-proxy login -p work";
        let expected = json!({
            "schema": 1,
            "id": "00000000000000000000000000000abc",
            "event": "warning",
            "level": "urgent",
            "expires_at": "1970-01-01T01:00:00Z",
            "injecting_until": "1970-01-01T01:56:40Z",
            "message": message,
            "fix": "cognito-proxy login -p work",
            "profile": "work",
            "username": "<!channel>",
            "text": format!("cognito-proxy (work): {}", message.replace('<', "&lt;").replace('>', "&gt;")),
        });
        assert_eq!(document, expected);
    }
}
