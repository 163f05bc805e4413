//! What holds for the reading of responses, whatever bytes come and however they are cut. Only for the fuzzer and tests.

use bytes::BytesMut;
use http::{HeaderMap, Method};

use super::{
    framing::{Body, Decoder, Malformed, Next},
    head, response,
};

/// What was made of some bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    /// How long the head is, those of interim responses included, and what it says.
    head: Option<(usize, u16, HeaderMap, Body)>,
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// What was left behind the message.
    rest: Vec<u8>,
    /// Whether the message is whole, at the end of what has come.
    end: Option<Result<bool, Malformed>>,
}

/// A response is the same one wherever its bytes are cut, and its body holds none but those that were framed.
///
/// The first byte says what was asked, the second how the rest is cut.
///
/// # Panics
/// Where that does not hold.
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
    let head = loop {
        let Some(end) = head::end(&bytes, searched) else {
            searched = bytes.len();
            let Some(piece) = pieces.next() else { return read };
            bytes.extend_from_slice(piece);
            continue;
        };
        searched = 0;
        length += end;
        match response::read(&bytes.split_to(end).freeze(), method) {
            Ok(head) if head.status.is_informational() && head.status != 101 => {}
            Ok(head) => break head,
            Err(why) => {
                read.end = Some(Err(why));
                return read;
            }
        }
    };
    let mut decoder = Decoder::new(head.body);
    read.head = Some((length, head.status.as_u16(), head.fields, head.body));
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
