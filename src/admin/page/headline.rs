//! What the page says first: the state in a sentence, how grave it is, and what can be done. Pure.
//!
//! Nothing here counts down: a screen reader is told every change of it.

use super::{View, markup};
use crate::session::{status::StateName, warning::Level};

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing to do.
    Good,
    /// Something to do, in time.
    Warn,
    /// Requests fail, or are about to.
    Bad,
    /// Locked.
    Closed,
}

impl Tone {
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn | Self::Closed => "warn",
            Self::Bad => "bad",
        }
    }
}

/// What a button does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    SignIn,
    SignInAgain,
    Unlock,
    StaySignedIn,
}

impl Deed {
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::SignIn | Self::SignInAgain => "/login",
            Self::Unlock | Self::StaySignedIn => "/unlock",
        }
    }

    /// The same for both words of a deed: a reader's place is kept when the word changes.
    pub(super) const fn id(self) -> &'static str {
        match self {
            Self::SignIn | Self::SignInAgain => "sign-in",
            Self::Unlock | Self::StaySignedIn => "unlock",
        }
    }

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::SignIn => "Sign in",
            Self::SignInAgain => "Sign in again",
            Self::Unlock => "Unlock",
            Self::StaySignedIn => "Stay signed in",
        }
    }

    /// What is said once it is under way.
    pub(super) const fn done(self) -> &'static str {
        match self {
            Self::SignIn | Self::SignInAgain => "The sign-in has begun: go on in the window that opens.",
            Self::Unlock => "Unlocked.",
            Self::StaySignedIn => "You stay signed in.",
        }
    }
}

/// What is said first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Headline {
    pub(super) tone: Tone,
    pub(super) title: &'static str,
    pub(super) text: String,
    /// The first is the one that mends it.
    pub(super) deeds: Vec<Deed>,
    /// The command that does the same as the first deed.
    pub(super) command: Option<String>,
    /// What to set, where no button helps.
    pub(super) setting: Option<String>,
}

impl Headline {
    pub(super) fn of(view: &View) -> Self {
        let idle_is_near = view.idle.is_some_and(|idle| idle.announced_in.is_zero());
        match view.report.state {
            StateName::SignedOut => signed_out(view),
            StateName::SessionEnded => ended(view),
            StateName::Locked => locked(view),
            StateName::BackingOff => failing(view),
            StateName::Refreshing if view.report.consecutive_failures > 0 => failing(view),
            StateName::Fresh | StateName::Refreshing | StateName::Expired if idle_is_near => about_to_lock(view),
            StateName::Fresh | StateName::Refreshing | StateName::Expired => signed_in(view),
        }
    }

    /// Whether `deed` is what mends it.
    pub(super) fn calls_for(&self, deed: Deed) -> bool {
        self.tone != Tone::Good && self.deeds.first() == Some(&deed) && deed != Deed::SignInAgain
    }
}

fn signed_out(view: &View) -> Headline {
    let why = view.reason.as_deref().filter(|reason| !reason.is_empty());
    Headline {
        tone: Tone::Bad,
        title: "Nobody is signed in",
        text: format!("{}Requests are answered with 503 until somebody signs in.", sentence(why)),
        deeds: vec![Deed::SignIn],
        command: Some(view.login.clone()),
        setting: None,
    }
}

fn ended(view: &View) -> Headline {
    let why = sentence(view.reason.as_deref());
    let (title, text) = match view.usable_until {
        Some(until) => (
            "The session has ended",
            format!("{why}The last token is still good: requests go through until {}.", markup::clock_time(until)),
        ),
        None => (
            "The session has ended",
            format!("{why}Nothing can be injected any more: requests wait for a sign-in, or are answered with 503."),
        ),
    };
    Headline {
        tone: Tone::Bad,
        title,
        text,
        deeds: vec![Deed::SignIn],
        command: Some(view.login.clone()),
        setting: None,
    }
}

fn locked(view: &View) -> Headline {
    Headline {
        tone: Tone::Closed,
        title: "Locked",
        text: "Nobody has used this proxy for a while. The session is kept and refreshed; requests are answered with \
               503 until you unlock it."
            .into(),
        deeds: vec![Deed::Unlock, Deed::SignInAgain],
        command: view.report.warning.fix.clone(),
        setting: None,
    }
}

fn about_to_lock(view: &View) -> Headline {
    let at = view.idle.map(|idle| markup::clock_time(view.now.wall + idle.closes_in)).unwrap_or_default();
    Headline {
        tone: Tone::Warn,
        title: "About to lock",
        text: format!("No request has come for a while. The idle lock closes at {at}, unless you stay signed in."),
        deeds: vec![Deed::StaySignedIn, Deed::SignInAgain],
        command: None,
        setting: None,
    }
}

fn failing(view: &View) -> Headline {
    let error = view.report.last_refresh.as_ref().and_then(|last| last.error.as_deref());
    let why =
        error.map(|error| format!("The last attempt failed: {}. ", error.trim_end_matches('.'))).unwrap_or_default();
    let (tone, title, then) = match view.usable_until {
        Some(until) => (
            Tone::Warn,
            "Refreshing fails",
            format!("It is tried again by itself, and requests go through until {}.", markup::clock_time(until)),
        ),
        None => {
            (Tone::Bad, "No current token", "Requests are answered with 503 while it is tried again by itself.".into())
        }
    };
    let fix = view.report.warning.fix.clone();
    let is_login = fix.as_ref() == Some(&view.login);
    Headline {
        tone,
        title,
        text: format!("{why}{then}"),
        deeds: vec![Deed::SignInAgain],
        command: fix.clone().filter(|_| is_login),
        setting: fix.filter(|_| !is_login),
    }
}

fn signed_in(view: &View) -> Headline {
    let end = view.report.refresh_token.expires_at.map(markup::words);
    let end = end.unwrap_or_else(|| "a time that is not known".into());
    let (tone, title, text) = match view.report.warning.level {
        Level::None if view.report.state == StateName::Expired => {
            (Tone::Good, "Signed in", "The token has expired; the next request fetches a new one.".to_owned())
        }
        Level::None => (Tone::Good, "Signed in", "Every request gets a current token. There is nothing to do.".into()),
        Level::Notice => (
            Tone::Warn,
            "The session has an end in sight",
            format!("It ends on {end}. Sign in when it suits you: nothing stops while you do."),
        ),
        Level::Soon => (
            Tone::Warn,
            "The session ends soon",
            format!("It ends on {end}. Sign in when it suits you: nothing stops while you do."),
        ),
        Level::Urgent | Level::Ended => (
            Tone::Bad,
            "The session is about to end",
            format!("It ends on {end}. Sign in now, and no request is lost."),
        ),
    };
    let is_near = tone != Tone::Good;
    let mut deeds = vec![if is_near { Deed::SignIn } else { Deed::SignInAgain }];
    if view.idle.is_some() {
        deeds.push(Deed::StaySignedIn);
    }
    Headline { tone, title, text, deeds, command: is_near.then(|| view.login.clone()), setting: None }
}

/// `text` as a sentence with a space after it, or nothing.
fn sentence(text: Option<&str>) -> String {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return String::new() };
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}. ", letters.as_str().trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_sentence() {
        for (text, written) in [
            (None, ""),
            (Some(" "), ""),
            (Some("nobody has signed in"), "Nobody has signed in. "),
            (Some("Refresh Token has expired."), "Refresh Token has expired. "),
        ] {
            assert_eq!(sentence(text), written);
        }
    }
}
