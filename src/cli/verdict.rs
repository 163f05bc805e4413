//! What a session's state is worth as an exit code. Pure.

use std::time::Duration;

use super::Exit;
use crate::{
    clock::Now,
    session::{
        status::{Facts, StateName},
        warning::Level,
    },
};

/// The exit code of `status` and `import`: 3 from level `notice` on, or where the session ends within `warn_within`,
/// while a token can still be injected; 4 when that takes a sign-in; 75 while refreshing fails and nothing can be
/// injected.
#[must_use]
pub fn of(facts: &Facts, now: Now, warn_within: Option<Duration>) -> Exit {
    let usable = facts.id_token.is_some_and(|times| times.end.remaining(now) > Duration::from_secs(1));
    match facts.state_at(now) {
        StateName::SignedOut | StateName::Locked => return Exit::SignInNeeded,
        StateName::SessionEnded if !usable => return Exit::SignInNeeded,
        StateName::BackingOff if !usable => return Exit::TryLater,
        StateName::SessionEnded
        | StateName::BackingOff
        | StateName::Fresh
        | StateName::Refreshing
        | StateName::Expired => {}
    }
    let ends_within =
        warn_within.zip(facts.refresh_token.at).is_some_and(|(within, at)| at.since(now.wall) <= within);
    if facts.level > Level::None || ends_within { Exit::EndsSoon } else { Exit::Ok }
}
