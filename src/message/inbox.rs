//! What has come on a connection and has not been taken.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::head;

/// How much is read at once, at first and at most. It doubles with every read that finds as much. Each read and the write
/// that follows wake somebody: half as much costs a tenth more CPU time (measured), twice as much saves nothing.
const READ: (usize, usize) = (8 * 1024, 512 * 1024);

/// So many empty buffers are kept for connections that have something to read again: two for each of many requests that
/// wait at a time, which is what a client's connection and an upstream's take.
const KEPT: usize = 128;

thread_local! {
    /// Buffers of connections that are idle: whoever waits holds none.
    static BUFFERS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// A head that comes in pieces is looked at again with each while it is no longer than this, since what no more bytes can
/// make a head of is not waited for. After that its end is looked for first: it would be gone through as often as there
/// are pieces.
const LOOKED_AT: usize = 4 * 1024;

/// A head goes on for longer than is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LongHead;

/// What has come on a connection and has not been taken.
#[derive(Debug)]
pub(crate) struct Inbox {
    bytes: BytesMut,
    /// How much of `bytes` is known to hold no end of a head.
    searched: usize,
    next_read: usize,
    /// Whether the buffer has had to grow, for a head that came in pieces.
    has_grown: bool,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { bytes: BytesMut::new(), searched: 0, next_read: READ.0, has_grown: false }
    }

    /// What has come.
    pub(crate) fn bytes(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The head that the bytes begin with, which `take` takes off them once it has come whole.
    ///
    /// # Errors
    /// Those of `take`, and where more than `longest` bytes hold no end of a head.
    pub(crate) fn head<T, E: From<LongHead>>(
        &mut self,
        longest: usize,
        take: impl FnOnce(&mut BytesMut) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        if (self.searched <= LOOKED_AT || head::end(&self.bytes, self.searched).is_some())
            && let Some(head) = take(&mut self.bytes)?
        {
            self.searched = 0;
            return Ok(Some(head));
        }
        self.searched = self.bytes.len();
        if self.searched > longest { Err(LongHead.into()) } else { Ok(None) }
    }

    /// Reads once, more each time that there is more. 0 is the end.
    pub(crate) fn poll_read(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        // One that a long body has filled has no room left either, until what was taken is dropped.
        if self.bytes.capacity() == 0
            && self.next_read == READ.0
            && let Some(kept) = BUFFERS.with_borrow_mut(Vec::pop)
        {
            self.bytes = kept;
        }
        // What was taken has mostly been dropped by now: the buffer is used again.
        if !self.bytes.try_reclaim(self.next_read) {
            if self.bytes.is_empty() {
                // Not grown, which would be to twice its size, or more; and given up before the next is asked for.
                self.bytes = BytesMut::new();
            } else {
                self.has_grown = true;
            }
            self.bytes.reserve(self.next_read);
        }
        let length = ready!(pin!(from.read_buf(&mut (&mut self.bytes).limit(self.next_read))).poll(cx))?;
        if length == self.next_read {
            self.next_read = (self.next_read * 2).min(READ.1);
        }
        Poll::Ready(Ok(length))
    }

    /// Gives the buffer up where nothing is in it, for whoever reads next.
    pub(crate) fn rest(&mut self) {
        if !self.bytes.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        // One that has grown is not kept: how much it holds cannot be seen from here.
        let has_grown = std::mem::take(&mut self.has_grown) || self.next_read > READ.0;
        if !has_grown && bytes.capacity() > 0 {
            // At a thread's end there may be nowhere to keep it.
            let _: Result<(), _> = BUFFERS.try_with(|buffers| {
                let mut buffers = buffers.borrow_mut();
                if buffers.len() < KEPT {
                    buffers.push(bytes);
                }
            });
        }
        self.next_read = READ.0;
    }

    /// What has come, for whoever goes on reading.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        std::mem::take(&mut self.bytes).freeze()
    }
}

impl Drop for Inbox {
    /// Leaves the buffer to the next connection.
    fn drop(&mut self) {
        self.bytes.clear();
        self.rest();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http::StatusCode;
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::{super::request, *};

    #[test]
    fn a_long_body_goes_through_one_buffer_of_a_bounded_size() {
        const WHOLE: usize = 16 * 1024 * 1024;
        let body = vec![0; WHOLE];
        // Those that others have left stay for others.
        BUFFERS.with_borrow_mut(|kept| kept.extend((0..10).map(|_| BytesMut::with_capacity(READ.0))));
        let (mut from, mut inbox) = (&body[..], Inbox::new());
        let (mut reads, mut buffers) = (0, vec![]);
        while !from.is_empty() {
            let read = inbox.poll_read(&mut from, &mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Ok(length)) = read else { panic!("{read:?}") };
            assert!(length <= READ.1, "{length} at once");
            assert!(inbox.bytes().capacity() <= READ.1, "a buffer of {}", inbox.bytes().capacity());
            reads += 1;
            // Taken, passed on, and dropped before more is asked for.
            let piece = inbox.bytes().split().freeze();
            assert_eq!(piece.len(), length);
            if buffers.last() != Some(&piece.as_ptr()) {
                buffers.push(piece.as_ptr());
            }
        }
        let growths = (READ.1 / READ.0).ilog2() as usize;
        assert!(reads <= WHOLE / READ.1 + growths, "{reads} reads");
        assert!(buffers.len() <= 1 + growths, "{} buffers", buffers.len());
        assert_eq!(BUFFERS.with_borrow(Vec::len), 9);
    }

    #[test]
    fn a_buffer_that_a_long_head_made_large_is_kept_for_nobody() {
        let mut inbox = Inbox::new();
        for _ in 0..64 {
            let mut piece = &[b'a'; 1024][..];
            assert!(inbox.poll_read(&mut piece, &mut Context::from_waker(Waker::noop())).is_ready());
        }
        assert_eq!((inbox.len(), inbox.next_read), (64 * 1024, READ.0));
        drop(inbox.bytes().split());
        inbox.rest();
        assert_eq!(BUFFERS.with_borrow(Vec::len), 0);
        // The next one begins as small as any.
        let mut piece = &b"a"[..];
        assert!(inbox.poll_read(&mut piece, &mut Context::from_waker(Waker::noop())).is_ready());
        inbox.bytes().clear();
        inbox.rest();
        assert_eq!(BUFFERS.with_borrow(Vec::len), 1);
    }

    /// Bytes that are nearly a request.
    fn requestish() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            8 => Just("GET / HTTP/1.1\r\n".to_owned()),
            1 => Just("GET / HTTP/1.1\n".to_owned()),
            1 => Just("GET  / HTTP/1.1\r\n".to_owned()),
            1 => Just("POST /a?b HTTP/1.0\r\n".to_owned()),
        ];
        let field = prop_oneof![
            4 => Just("Host: a\r\n".to_owned()),
            1 => Just(format!("X-Long: {}\r\n", "a".repeat(LOOKED_AT))),
            1 => Just("X-Bare: a\n".to_owned()),
            1 => Just("X-Empty:\r\n".to_owned()),
            1 => Just("X-CR: a\rb\r\n".to_owned()),
            1 => Just("X Space: a\r\n".to_owned()),
            1 => Just("X-Colon : a\r\n".to_owned()),
            1 => Just(" folded\r\n".to_owned()),
            1 => Just(": a\r\n".to_owned()),
            1 => Just("Content-Length: 5\r\n".to_owned()),
            1 => Just("Content-Length: x\r\n".to_owned()),
            1 => Just("\r".to_owned()),
        ];
        let rest =
            prop_oneof![Just("\r\n"), Just("\n"), Just(""), Just("\r\nbody\r\n\r\n"), Just("\n\nGET / HTTP/1.1\r\n")];
        (line, vec(field, 0..5), rest).prop_map(|(line, fields, rest)| [&line, &*fields.concat(), rest].concat().into())
    }

    #[test]
    fn a_connection_that_ends_leaves_its_buffer_to_the_next() {
        let kept = || BUFFERS.with_borrow(Vec::len);
        let mut inbox = Inbox::new();
        inbox.bytes().extend_from_slice(b"the rest of what nobody reads");
        assert_eq!(kept(), 0);
        drop(inbox);
        assert_eq!((kept(), BUFFERS.with_borrow(|buffers| buffers[0].len())), (1, 0));
        let mut inbox = Inbox::new();
        inbox.bytes().extend_from_slice(b"taken");
        assert_eq!(inbox.into_bytes(), "taken");
        drop(Inbox::new());
        assert_eq!(kept(), 1, "where there is none, none is kept");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_head_ends_at_its_first_empty_line_however_it_is_cut(
            bytes in requestish(),
            cuts in vec(any::<Index>(), 0..4),
        ) {
            let end = head::end(&bytes, 0);
            let whole = match request::take(&mut BytesMut::from(&bytes[..end.unwrap_or(bytes.len())])) {
                Ok(head) => {
                    let length = head.map(|head| head.length);
                    prop_assert_eq!(length, end);
                    Ok(length)
                }
                Err(status) => Err(status),
            };
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            ends.push(bytes.len());
            ends.sort_unstable();
            let (mut inbox, mut begin, mut taken) = (Inbox::new(), 0, Ok(None));
            for end in ends {
                inbox.bytes().extend_from_slice(&bytes[begin..end]);
                begin = end;
                taken = inbox.head(request::LONGEST, request::take).map(|head| head.map(|head| head.length));
                if taken != Ok::<_, StatusCode>(None) {
                    break;
                }
            }
            // What is long, and has no end yet, is waited for, whatever it holds.
            let is_waited_for = end.is_none() && bytes.len() > LOOKED_AT && taken == Ok(None);
            prop_assert!(is_waited_for || taken == whole, "{taken:?}, not {whole:?}");
        }
    }
}
