//! What the machine is told, and what it asks for.

use std::time::Duration;

use crate::session::{Failure, Grant, Session, Settings, snapshot::Snapshot, warning::Warning};

/// What happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The store was read at start; an error says why it cannot be used.
    Loaded(Result<Option<Box<Session>>, String>),
    /// A refresh that was begun with `generation` brought tokens.
    Granted {
        /// The generation whose refresh token was spent.
        generation: u64,
        /// What it brought.
        grant: Box<Grant>,
    },
    /// A refresh that was begun with `generation` failed.
    Failed {
        /// The generation whose refresh token was used.
        generation: u64,
        /// Why.
        failure: Failure,
    },
    /// The record was written durably.
    Saved,
    /// The disk refused the record; the old one is intact.
    SaveRefused,
    /// A new sign-in, or a newer generation that another process stored.
    Adopted {
        /// The session.
        session: Box<Session>,
        /// Whether the store holds it already. If so this answers an [`Action::Save`] too: the store held something
        /// newer.
        stored: bool,
    },
    /// The record is gone: somebody logged out.
    Cleared,
    /// A request waits for a token, or the network changed.
    Wanted,
    /// Somebody wants a token that lasts longer than the one at hand (`token --min-ttl`).
    Renew,
    /// An upstream refused the token of `generation`.
    Unauthorized {
        /// The generation that was refused.
        generation: u64,
        /// The latest generation that an upstream has accepted.
        accepted: u64,
    },
    /// Somebody opened the idle lock, or asked to stay signed in before it closed.
    Unlocked,
    /// The last request came at this time on the clock since boot. Said before every [`Event::Tick`], so that the idle
    /// lock never closes over a request that the machine has not heard of.
    Used(Duration),
    /// `DescribeUserPoolClient` said how long the app client's refresh tokens live; `None` where it may not be asked.
    PoolValidity(Option<Duration>),
    /// The configuration was read again.
    Reconfigured {
        /// What it says now.
        settings: Box<Settings>,
        /// What the store holds, where the machine [wants to know](super::State::wants_stored).
        stored: Option<Box<Session>>,
    },
    /// Time passed.
    Tick,
}

/// What the shell does, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make it visible to the workers.
    Publish(Box<Snapshot>),
    /// Write the session durably, then say [`Event::Saved`] or [`Event::SaveRefused`], once. There is never a second
    /// one before that answer.
    Save,
    /// Say this to the person.
    Warn(Warning),
    /// Begin one refresh with the session's refresh token, then say how it went. One that is still in flight belongs to
    /// a session that was replaced, and its answer is of no use to anybody.
    Refresh,
    /// Say [`Event::Tick`] after this time, if nothing happens before.
    WakeIn(Duration),
}
