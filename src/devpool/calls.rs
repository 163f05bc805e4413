//! The log of calls: what tests count, and wait for.

use std::collections::VecDeque;

use tokio::sync::watch;

use super::{operation::Operation, tokens::RotationStep};
use crate::clock::UnixTime;

/// One call, as the pool saw it. Holds no secret.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it had been read, in AWS's time.
    pub at: UnixTime,
    /// What was asked.
    pub operation: Operation,
    /// The app client that it named.
    pub client_id: Option<String>,
    /// The first octets of SHA-256 of the refresh token that it presented, in hex: the same token, the same text.
    pub refresh_token: Option<String>,
    /// How it went.
    pub outcome: Outcome,
    /// Whether it took effect in the pool.
    pub committed: bool,
    /// What it did to the refresh token.
    pub rotation: RotationStep,
}

impl Call {
    /// Whether it was a refresh that got its tokens.
    #[must_use]
    pub fn is_refreshed(&self) -> bool {
        self.operation.is_refresh() && self.outcome == Outcome::Answered
    }

    /// Whether it was refused with that exception.
    #[must_use]
    pub fn is_refused(&self, exception: &str) -> bool {
        matches!(&self.outcome, Outcome::Refused(name) if name == exception)
    }
}

/// How a call went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer, by the rules.
    Answered,
    /// With an exception of this name, by the rules.
    Refused(String),
    /// With the fault of this name, on command.
    Fault(&'static str),
}

/// The calls so far. A log remembers the latest ones, and counts all.
#[derive(Clone, Debug)]
pub struct Calls {
    remembered: VecDeque<Call>,
    limit: usize,
    total: u64,
    refreshes: u64,
    refreshed: u64,
}

impl Calls {
    fn new(limit: usize) -> Self {
        Self { remembered: VecDeque::new(), limit, total: 0, refreshes: 0, refreshed: 0 }
    }

    fn push(&mut self, call: Call) {
        self.total += 1;
        self.refreshes += u64::from(call.operation.is_refresh());
        self.refreshed += u64::from(call.is_refreshed());
        self.remembered.push_back(call);
        while self.remembered.len() > self.limit {
            self.remembered.pop_front();
        }
    }

    /// The remembered calls, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Call> {
        self.remembered.iter()
    }

    /// The latest call.
    #[must_use]
    pub fn last(&self) -> Option<&Call> {
        self.remembered.back()
    }

    /// How many remembered calls are like that.
    pub fn count(&self, is_counted: impl Fn(&Call) -> bool) -> usize {
        self.remembered.iter().filter(|call| is_counted(call)).count()
    }

    /// How many calls there were, of all kinds.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// How many calls spent a refresh token, whatever came of it.
    #[must_use]
    pub const fn refreshes(&self) -> u64 {
        self.refreshes
    }

    /// How many of those got their tokens by the rules.
    #[must_use]
    pub const fn refreshed(&self) -> u64 {
        self.refreshed
    }
}

/// The writing end of the log.
#[derive(Debug)]
pub(super) struct CallLog(watch::Sender<Calls>);

impl CallLog {
    /// An empty log that remembers `limit` calls.
    pub(super) fn new(limit: usize) -> Self {
        Self(watch::Sender::new(Calls::new(limit)))
    }

    /// Adds a call and wakes whoever waits.
    pub(super) fn push(&self, call: Call) {
        self.0.send_modify(|calls| calls.push(call));
    }

    /// The calls so far.
    pub(super) fn snapshot(&self) -> Calls {
        self.0.borrow().clone()
    }

    /// Changes of the log.
    pub(super) fn subscribe(&self) -> watch::Receiver<Calls> {
        self.0.subscribe()
    }
}
