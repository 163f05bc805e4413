//! What holds for the reading of messages, whatever bytes come and however they are cut. Only for the fuzzer and tests.
#![allow(clippy::missing_panics_doc, clippy::panic, reason = "a property that does not hold fails loudly")]

use bytes::BytesMut;
use http::{HeaderMap, Method, Uri, Version};

use super::{
    Fields, Inbox,
    framing::{Body, Decoder, Malformed, Next},
    head,
    inbox::LongHead,
    request, response,
};

/// What was made of some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    /// How long the head is, those of interim responses included, and what it says.
    head: Option<(usize, u16, Fields, Body)>,
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// What was left behind the message.
    rest: Vec<u8>,
    /// Whether the message is whole, at the end of what has come.
    end: Option<Result<bool, Malformed>>,
}

/// A property by its name, with inputs to begin from.
pub type Target = (&'static str, fn(&[u8]), &'static [&'static str]);

/// Every property of this room.
pub const TARGETS: [Target; 2] = [("request", request, REQUESTS), ("response", response, RESPONSES)];

/// The first byte says how the rest is cut.
const REQUESTS: &[&str] = &[
    "\x01GET /x?y HTTP/1.1\r\nHost: a\r\n\r\nGET /z HTTP/1.1\r\nHost: a\r\n\r\n",
    "\x02POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /z HTTP/1.0\r\n\r\n",
    "\x03POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\n",
    "\x04POST /x HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "\x05\r\n\nGET /x HTTP/1.1\nHost: a\n\nrest",
    "\x06PUT /x HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\nConnection: x, close\r\n\r\na",
    "\x07GET /x HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
];

/// What was asked, how it is cut, and what the upstream says.
const RESPONSES: &[&str] = &[
    "\0\x01HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more",
    "\0\x02HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\nhell",
    "\0\x03HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=\"y\"\r\nhe\r\n3 \r\nllo\r\n0\r\nA: b\r\n\r\nHTTP/1.1",
    "\0\x04HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloo\r\n0\r\n\r\n",
    "\0\x05HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello",
    "\0\x06HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nA: b\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "\0\x07HTTP/1.1 200 OK\nX-A : b\n\nall of it",
    "\x01\x08HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "\0\x09HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "\0\x0a\r\nHTTP/1.0 101 Switching\r\nUpgrade: a\r\n\r\nbytes",
    "\0\x0bHTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
];

/// More than this is not looked at piece by piece.
const LONGEST: usize = 4 * 1024;

/// What was asked, and what stands behind it.
type Asked = (Method, Uri, Version, Fields, bool, bool, Vec<u8>, Option<HeaderMap>);

/// How the reading of requests ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// With what is no head.
    Refused,
    /// With what is no body.
    Malformed(Malformed),
    /// With nothing more, so far into a request.
    Waiting,
}

/// Requests are the same ones wherever their bytes are cut.
pub fn request(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first().filter(|(_, bytes)| bytes.len() <= LONGEST) else { return };
    let whole = requests(std::iter::once(bytes));
    assert_eq!(requests(bytes.chunks(1)), whole);
    assert_eq!(requests(pieces(bytes, *cut)), whole);
}

/// Reads all requests that come in `pieces`.
fn requests<'p>(mut pieces: impl Iterator<Item = &'p [u8]>) -> (Vec<Asked>, Ended) {
    let (mut inbox, mut all) = (Inbox::new(), Vec::new());
    loop {
        let taken = loop {
            match inbox.head::<_, Refusal>(request::LONGEST, |bytes| request::take(bytes).map_err(|_| Refusal)) {
                Ok(Some(taken)) => break taken,
                Ok(None) => {}
                Err(Refusal) => return (all, Ended::Refused),
            }
            let Some(piece) = pieces.next() else { return (all, Ended::Waiting) };
            inbox.bytes().extend_from_slice(piece);
        };
        let (mut decoder, mut data, mut trailers) = (Decoder::new(taken.body), Vec::new(), None);
        loop {
            match decoder.next(inbox.bytes()) {
                Ok(Next::Data(more)) => data.extend_from_slice(&more),
                Ok(Next::Trailers(found)) => trailers = Some(found),
                Ok(Next::End) => break,
                Ok(Next::More) => match pieces.next() {
                    Some(piece) => inbox.bytes().extend_from_slice(piece),
                    None => return (all, Ended::Waiting),
                },
                Err(why) => return (all, Ended::Malformed(why)),
            }
        }
        let (keeps, expects) = (taken.keeps_alive, taken.expects_continue);
        let head = *taken.head;
        all.push((head.method, head.target, head.version, head.fields, keeps, expects, data, trailers));
    }
}

/// It is refused, with whatever status.
struct Refusal;

impl From<LongHead> for Refusal {
    fn from(_: LongHead) -> Self {
        Self
    }
}

/// A response is the same one wherever its bytes are cut, and its body holds none but those that were framed.
///
/// The first byte says what was asked, the second how the rest is cut.
pub fn response(data: &[u8]) {
    let [flags, cut, bytes @ ..] = data else { return };
    let method = if flags & 1 == 0 { Method::GET } else { Method::HEAD };
    let whole = read(std::iter::once(bytes), &method);
    assert_eq!(read(bytes.chunks(1), &method), whole);
    assert_eq!(read(pieces(bytes, *cut), &method), whole);
    let Some((length, _, _, body)) = &whole.head else {
        assert!(whole.data.is_empty());
        return;
    };
    let behind = &bytes[*length..];
    let framed = match body {
        Body::Nothing => Vec::new(),
        Body::Length(length) => behind[..usize::try_from(*length).map_or(behind.len(), |l| l.min(behind.len()))].into(),
        Body::Chunked => dechunked(behind),
        Body::ToEnd => behind.to_vec(),
    };
    let is_whole = whole.end == Some(Ok(true));
    assert!(framed.starts_with(&whole.data) && (!is_whole || framed == whole.data), "{whole:?} of {framed:?}");
    assert!(*body != Body::ToEnd || whole.rest.is_empty());
    assert!(!is_whole || behind.ends_with(&whole.rest));
}

/// Reads what comes in `pieces`, after which the connection ends.
fn read<'p>(mut pieces: impl Iterator<Item = &'p [u8]>, method: &Method) -> Read {
    let (mut bytes, mut searched, mut length) = (BytesMut::new(), 0, 0);
    let mut read = Read::default();
    let taken = loop {
        let Some(end) = head::end(&bytes, searched) else {
            searched = bytes.len();
            let Some(piece) = pieces.next() else { return read };
            bytes.extend_from_slice(piece);
            continue;
        };
        searched = 0;
        length += end;
        match response::read(&bytes.split_to(end).freeze(), method) {
            Ok(taken) if taken.head.status.is_informational() && taken.head.status != 101 => {}
            Ok(taken) => break taken,
            Err(why) => {
                read.end = Some(Err(why));
                return read;
            }
        }
    };
    let mut decoder = Decoder::new(taken.body);
    read.head = Some((length, taken.head.status.as_u16(), taken.head.fields, taken.body));
    let end = loop {
        match decoder.next(&mut bytes) {
            Ok(Next::Data(data)) => read.data.extend_from_slice(&data),
            Ok(Next::Trailers(trailers)) => read.trailers = Some(trailers),
            Ok(Next::End) => break Ok(true),
            Ok(Next::More) => match pieces.next() {
                Some(piece) => bytes.extend_from_slice(piece),
                None => break Ok(decoder.ended()),
            },
            Err(why) => break Err(why),
        }
    };
    if end.is_ok() {
        pieces.for_each(|piece| bytes.extend_from_slice(piece));
        read.rest = bytes.to_vec();
    }
    read.end = Some(end);
    read
}

/// `bytes` in pieces whose lengths follow from `seed`.
fn pieces(mut bytes: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut state = u32::from(seed);
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = (state >> 27) as usize + 1;
        let (piece, rest) = bytes.split_at(length.min(bytes.len()));
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What chunks hold, as far as they are chunks.
fn dechunked(bytes: &[u8]) -> Vec<u8> {
    let (mut data, mut rest) = (Vec::new(), bytes);
    while let Some(line) = rest.split_inclusive(|byte| *byte == b'\n').next() {
        let text = String::from_utf8_lossy(line);
        let digits = text.split(|character: char| !character.is_ascii_hexdigit()).next().unwrap_or_default();
        let Ok(length @ 1..) = usize::from_str_radix(digits, 16) else { break };
        rest = &rest[line.len()..];
        let (chunk, behind) = rest.split_at(length.min(rest.len()));
        data.extend_from_slice(chunk);
        let Some(behind) = behind.strip_prefix(b"\r\n") else { break };
        rest = behind;
    }
    data
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_seed_holds() {
        for (_, property, seeds) in super::TARGETS {
            for seed in seeds {
                property(seed.as_bytes());
            }
        }
    }
}
