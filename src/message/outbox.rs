//! What is on its way out: a head or the line before a chunk, a piece of a body, and what follows it.
//!
//! They leave in one write where the wire takes them. Nothing is copied here but what a head is written into.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// A buffer for heads that has grown larger than this is not kept.
const KEPT: usize = 64 * 1024;

thread_local! {
    /// Where heads are written: one for each worker, since most are sent before anything else happens.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What is being sent.
#[derive(Default)]
pub(super) struct Outbox {
    /// A head, or what stands before a piece of the body.
    pub(super) lead: Vec<u8>,
    pub(super) piece: Bytes,
    pub(super) tail: &'static [u8],
    /// How much of `lead` is out.
    sent: usize,
    /// Whether anything has gone out since the head was written.
    pub(super) has_begun: bool,
    pub(super) is_flushed: bool,
}

impl Outbox {
    /// Of a connection that has nothing to send.
    pub(super) fn new() -> Self {
        Self { is_flushed: true, ..Self::default() }
    }

    /// Takes the worker's scratch, for a head to be written into.
    pub(super) fn begin(&mut self) -> &mut Vec<u8> {
        self.lead = SCRATCH.take();
        self.has_begun = false;
        self.is_flushed = false;
        &mut self.lead
    }

    /// Where what stands before a piece of the body is written.
    pub(super) fn lead(&mut self) -> &mut Vec<u8> {
        if self.lead.capacity() == 0 {
            self.lead = SCRATCH.take();
        }
        &mut self.lead
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lead.is_empty() && self.piece.is_empty() && self.tail.is_empty()
    }

    /// Whether a piece of the body may be added: there is none, and a head that waits has not begun to go out.
    pub(super) fn takes_more(&self) -> bool {
        self.piece.is_empty() && self.tail.is_empty() && self.sent == 0
    }

    /// Writes once. What is written is forgotten.
    pub(super) fn poll_write(
        &mut self,
        wire: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let lead = &self.lead[self.sent..];
        let written = if self.piece.is_empty() && self.tail.is_empty() {
            ready!(Pin::new(wire).poll_write(cx, lead))?
        } else {
            let slices = [IoSlice::new(lead), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
            let used = if self.tail.is_empty() { &slices[..2] } else { &slices[..] };
            let used = if lead.is_empty() { &used[1..] } else { used };
            ready!(Pin::new(wire).poll_write_vectored(cx, used))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.has_begun = true;
        self.advance(written);
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        let of_lead = written.min(self.lead.len() - self.sent);
        self.sent += of_lead;
        written -= of_lead;
        if self.sent == self.lead.len() {
            self.give_back();
        }
        let of_piece = written.min(self.piece.len());
        self.piece.advance(of_piece);
        if self.piece.is_empty() {
            // What is empty still holds on to what it was a piece of.
            self.piece = Bytes::new();
        }
        self.tail = &self.tail[written - of_piece..];
    }

    pub(super) fn clear(&mut self) {
        self.give_back();
        self.piece = Bytes::new();
        self.tail = b"";
    }

    /// Returns the worker's scratch.
    fn give_back(&mut self) {
        self.sent = 0;
        let mut lead = std::mem::take(&mut self.lead);
        if lead.capacity() > 0 && lead.capacity() <= KEPT {
            lead.clear();
            SCRATCH.set(lead);
        }
    }
}
