//! What a connection is doing, and until when it may.
//!
//! One value for each connection, written by its wire and by its exchanges, read by its timer. Time is looked at when
//! a head begins and when the last response has ended, never on every poll.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tokio::time::Instant;

use super::Settings;
use crate::listen::Tunnel;

/// A connection is parked this long after its last response: its HTTP state is given up, and the socket is kept. Soon enough
/// that a thousand clients which ask once after each other do not hold a thousand buffers, and late enough that whoever asks
/// ten times a second finds the state still there.
const PARK_AFTER: std::time::Duration = std::time::Duration::from_millis(100);

/// A client that leaves while its body is not being read, since its request waits for a token, closes a connection that
/// nobody reads from. It is looked at this often.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// What the connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Nothing, since then.
    Idle(Instant),
    /// A head has begun and is not whole, since then.
    Head(Instant),
    /// At least one request is in flight.
    Busy,
}

#[derive(Debug)]
pub(super) struct Pulse {
    doing: Cell<Doing>,
    in_flight: Cell<usize>,
    /// When a client whose body is being waited for, or is not wanted yet, is looked at next.
    look_at: Cell<Option<Instant>>,
    /// Whether all that was written has gone to the kernel.
    pub(super) is_flushed: Cell<bool>,
    /// Whether the client has closed its half.
    pub(super) is_closed: Cell<bool>,
    /// Whether the last request had a body, of which some may be unread when the connection ends.
    pub(super) had_body: Cell<bool>,
    /// Whether the last response ends where the connection ends.
    open_ended: Cell<bool>,
    /// Where an upgraded connection leads.
    pub(super) tunnel: RefCell<Option<Tunnel>>,
}

impl Pulse {
    /// Of a connection whose first bytes have come.
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            doing: Cell::new(Doing::Head(Instant::now())),
            in_flight: Cell::new(0),
            look_at: Cell::new(None),
            is_flushed: Cell::new(true),
            is_closed: Cell::new(false),
            had_body: Cell::new(false),
            open_ended: Cell::new(false),
            tunnel: RefCell::new(None),
        })
    }

    pub(super) const fn doing(&self) -> Doing {
        self.doing.get()
    }

    /// A response without a length goes to a client of HTTP/1.0, or another one does.
    pub(super) fn responds(&self, is_open_ended: bool) {
        self.open_ended.set(is_open_ended);
    }

    /// Whether an end of the connection would now pass for the end of a response (RFC 9112 §8): one that breaks off must
    /// end in a reset.
    pub(super) fn is_open_ended(&self) -> bool {
        self.open_ended.get()
    }

    /// Bytes have come.
    pub(super) fn read(&self) {
        if let Doing::Idle(_) = self.doing.get() {
            self.doing.set(Doing::Head(Instant::now()));
        }
    }

    /// The client is still there: it is looked at again later.
    pub(super) fn looked(&self) {
        self.look_at.set(Some(Instant::now() + LOOK_EVERY));
    }

    /// When something is due: the head must be whole, the idle connection is parked, or the client is looked at.
    pub(super) fn due(&self, settings: &Settings) -> Option<Instant> {
        match self.doing.get() {
            Doing::Busy => self.look_at.get(),
            Doing::Head(since) => Some(since + settings.header_timeout),
            Doing::Idle(since) => Some(since + PARK_AFTER.min(settings.idle_timeout)),
        }
    }
}

/// A request in flight, from its head to the end of its response.
#[derive(Debug)]
pub(super) struct Flight(Rc<Pulse>);

impl Flight {
    pub(super) fn begin(pulse: &Rc<Pulse>, has_body: bool, now: Instant) -> Self {
        pulse.had_body.set(has_body);
        pulse.look_at.set(has_body.then(|| now + LOOK_EVERY));
        pulse.in_flight.set(pulse.in_flight.get() + 1);
        pulse.doing.set(Doing::Busy);
        Self(Rc::clone(pulse))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let left = self.0.in_flight.get() - 1;
        self.0.in_flight.set(left);
        if left == 0 {
            self.0.doing.set(Doing::Idle(Instant::now()));
        }
    }
}
