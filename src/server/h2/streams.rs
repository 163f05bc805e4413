//! How many streams a connection of HTTP/2 has, and since when it has none.

use std::{cell::Cell, rc::Rc};

use tokio::time::Instant;

#[derive(Debug)]
pub(super) struct Streams {
    open: Cell<usize>,
    idle_since: Cell<Instant>,
}

/// One stream, from its head to the end of its response.
#[derive(Debug)]
pub(super) struct Open(Rc<Streams>);

impl Streams {
    pub(super) fn none() -> Rc<Self> {
        Rc::new(Self { open: Cell::new(0), idle_since: Cell::new(Instant::now()) })
    }

    /// Since when there has been none; `None` while there is one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.open.get() == 0).then(|| self.idle_since.get())
    }
}

impl Open {
    pub(super) fn one_of(streams: &Rc<Streams>) -> Self {
        streams.open.set(streams.open.get() + 1);
        Self(Rc::clone(streams))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let left = self.0.open.get() - 1;
        self.0.open.set(left);
        if left == 0 {
            self.0.idle_since.set(Instant::now());
        }
    }
}
