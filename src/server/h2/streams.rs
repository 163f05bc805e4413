//! How many streams a connection of HTTP/2 has.

use std::{cell::Cell, rc::Rc};

#[derive(Debug, Default)]
pub(super) struct Streams {
    open: Cell<usize>,
}

/// One stream, from its head to the end of its response.
#[derive(Debug)]
pub(super) struct Open(Rc<Streams>);

impl Streams {
    pub(super) fn are_none(&self) -> bool {
        self.open.get() == 0
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
        self.0.open.set(self.0.open.get() - 1);
    }
}
