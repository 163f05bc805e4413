//! Bodies of HTTP/1.1 between the lines: which bytes are a body's, and where it ends (RFC 9112 §6 and §7).
//!
//! Pure: state machines over whatever bytes have come. How those were cut into pieces changes nothing but the pieces.

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HOST,
        MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
    },
};

use super::{
    Fields,
    fields::{field, visible},
    head::MOST_FIELDS,
    inbox::LongHead,
};

/// The longest line before a chunk, and all of its extensions in one body together.
const LONGEST_LINE: usize = 4 * 1024;
const MOST_EXTENSIONS: usize = 16 * 1024;

/// All trailers together.
const MOST_TRAILERS: usize = 16 * 1024;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// No head, or one that is not understood.
    #[error("its head is malformed: {0}")]
    Head(httparse::Error),
    /// A head without an end.
    #[error("its head is longer than is accepted")]
    LongHead,
    /// `Content-Length` is no number, or several.
    #[error("its Content-Length is no length")]
    Length,
    /// A coding that is not undone here, or more than one.
    #[error("its Transfer-Encoding is not chunked alone")]
    TransferCoding,
    /// `Content-Length` and `Transfer-Encoding`.
    #[error("it has a Content-Length and a Transfer-Encoding")]
    TwoFramings,
    /// A chunk does not begin with its length, or does not end where it should.
    #[error("a chunk is malformed")]
    Chunk,
    /// The trailers are malformed, or too many.
    #[error("its trailers are malformed")]
    Trailers,
}

impl From<LongHead> for Malformed {
    fn from(_: LongHead) -> Self {
        Self::LongHead
    }
}

/// How a body is framed that comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Nothing,
    Length(u64),
    Chunked,
    /// Until the connection ends.
    ToEnd,
}

/// What is next in a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Data(Bytes),
    Trailers(HeaderMap),
    /// Nothing, before more has come.
    More,
    /// Nothing, ever.
    End,
}

/// Takes a body out of the bytes that follow the head.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
    /// Bytes of chunk extensions so far.
    extensions: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So much is still to come.
    Length(u64),
    /// The line before a chunk.
    ChunkLine,
    /// So much of a chunk is still to come.
    Chunk(u64),
    /// The line break behind a chunk.
    ChunkEnd,
    Trailers,
    ToEnd,
    End,
    Failed(Malformed),
}

impl Decoder {
    pub(crate) const fn new(body: Body) -> Self {
        let state = match body {
            Body::Nothing | Body::Length(0) => State::End,
            Body::Length(length) => State::Length(length),
            Body::Chunked => State::ChunkLine,
            Body::ToEnd => State::ToEnd,
        };
        Self { state, extensions: 0 }
    }

    /// Whether all of the body has been taken.
    pub(crate) const fn is_at_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// What is still to come, where that is known.
    pub(crate) const fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(length) => Some(length),
            State::End => Some(0),
            _ => None,
        }
    }

    /// Takes the next piece of the body from the front of `bytes`. What follows the body is left there.
    ///
    /// # Errors
    /// Where the bytes are no body, again and again.
    pub(crate) fn next(&mut self, bytes: &mut BytesMut) -> Result<Next, Malformed> {
        loop {
            match self.state {
                State::End => return Ok(Next::End),
                State::Failed(why) => return Err(why),
                State::Length(_) | State::Chunk(_) | State::ToEnd if bytes.is_empty() => return Ok(Next::More),
                State::Length(left) => {
                    let (data, left) = take(bytes, left);
                    self.state = if left == 0 { State::End } else { State::Length(left) };
                    return Ok(Next::Data(data));
                }
                State::Chunk(left) => {
                    let (data, left) = take(bytes, left);
                    self.state = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                    self.look_ahead(bytes);
                    return Ok(Next::Data(data));
                }
                State::ToEnd => return Ok(Next::Data(bytes.split().freeze())),
                State::Trailers => return self.trailers(bytes),
                State::ChunkLine | State::ChunkEnd => {
                    if !self.between(bytes)? {
                        return Ok(Next::More);
                    }
                }
            }
        }
    }

    /// The connection has ended.
    ///
    /// # Returns
    /// Whether that is where the body ends too.
    pub(crate) fn ended(&mut self) -> bool {
        if self.state == State::ToEnd {
            self.state = State::End;
        }
        self.is_at_end()
    }

    /// Goes over what lies between two pieces, as far as it has come, so that a body's end is known with its last piece.
    fn look_ahead(&mut self, bytes: &mut BytesMut) {
        while matches!(self.state, State::ChunkLine | State::ChunkEnd) && self.between(bytes) == Ok(true) {}
        if self.state == State::Trailers && bytes.starts_with(b"\r\n") {
            drop(bytes.split_to(2));
            self.state = State::End;
        }
    }

    /// Goes over one line between pieces. `false` where it has not come whole.
    fn between(&mut self, bytes: &mut BytesMut) -> Result<bool, Malformed> {
        let passed = match self.state {
            State::ChunkEnd => match &bytes[..] {
                [b'\r', b'\n', ..] => Ok(Some((2, State::ChunkLine))),
                [] | [b'\r'] => Ok(None),
                _ => Err(Malformed::Chunk),
            },
            _ => self.chunk_line(bytes),
        };
        match passed {
            Ok(Some((length, state))) => {
                bytes::Buf::advance(bytes, length);
                self.state = state;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(why) => {
                self.state = State::Failed(why);
                Err(why)
            }
        }
    }

    /// Reads `1a;name=value` and its line break (RFC 9112 §7.1). Extensions say nothing that is known here.
    fn chunk_line(&mut self, bytes: &[u8]) -> Result<Option<(usize, State)>, Malformed> {
        let searched = &bytes[..bytes.len().min(LONGEST_LINE)];
        let Some(end) = searched.iter().position(|byte| *byte == b'\n') else {
            return if searched.len() == LONGEST_LINE { Err(Malformed::Chunk) } else { Ok(None) };
        };
        let line = searched[..end].strip_suffix(b"\r").ok_or(Malformed::Chunk)?;
        let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
        let size = hexadecimal(&line[..digits]).ok_or(Malformed::Chunk)?;
        let blanks = line[digits..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let rest = &line[digits + blanks..];
        if !(rest.is_empty() || rest.starts_with(b";")) || rest.contains(&b'\r') {
            return Err(Malformed::Chunk);
        }
        self.extensions += line.len() - digits;
        if self.extensions > MOST_EXTENSIONS {
            return Err(Malformed::Chunk);
        }
        Ok(Some((end + 1, if size == 0 { State::Trailers } else { State::Chunk(size) })))
    }

    fn trailers(&mut self, bytes: &mut BytesMut) -> Result<Next, Malformed> {
        let taken = match &bytes[..] {
            [b'\r', b'\n', ..] => Ok(Some((2, None))),
            bytes => read_trailers(bytes),
        };
        match taken {
            Ok(Some((length, trailers))) => {
                bytes::Buf::advance(bytes, length);
                self.state = State::End;
                Ok(trailers.map_or(Next::End, Next::Trailers))
            }
            Ok(None) => Ok(Next::More),
            Err(why) => {
                self.state = State::Failed(why);
                Err(why)
            }
        }
    }
}

/// At most `left` bytes from the front, and how many are then left.
fn take(bytes: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let length = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    (bytes.split_to(length).freeze(), left - length as u64)
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    // Leading zeros are digits too, but nobody writes a line of them.
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The trailers that `bytes` begin with, and how long they are; `None` where they have not come whole.
fn read_trailers(bytes: &[u8]) -> Result<Option<(usize, Option<HeaderMap>)>, Malformed> {
    let searched = &bytes[..bytes.len().min(MOST_TRAILERS)];
    let Some(end) = searched.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if searched.len() == MOST_TRAILERS { Err(Malformed::Trailers) } else { Ok(None) };
    };
    let mut room = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let (length, fields) = match httparse::parse_headers(&searched[..end + 4], &mut room) {
        // A bare line feed would end them before that.
        Ok(httparse::Status::Complete(parsed)) if parsed.0 == end + 4 => parsed,
        Ok(_) | Err(_) => return Err(Malformed::Trailers),
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed::Trailers)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| Malformed::Trailers)?;
        trailers.append(name, value);
    }
    Ok(Some((length, Some(trailers))))
}

/// How a body is framed that goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outgoing {
    /// There is none.
    Nothing,
    /// So much of it is still to be sent.
    Length(u64),
    /// In chunks, and at the end those trailers that were announced.
    Chunked(Vec<HeaderName>),
    /// Until the connection ends.
    ToEnd,
}

impl Outgoing {
    /// In chunks, under a head with these fields.
    pub(crate) fn chunked(fields: &Fields) -> Self {
        let announced = fields.get_all(TRAILER).filter_map(visible);
        let names = announced.flat_map(|value| value.split(',')).map(str::trim);
        Self::Chunked(names.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect())
    }

    /// What to send before a piece of `length` bytes, and what behind it. `None` where the piece would make the body
    /// longer than was announced, and what follows another request (RFC 9112 §11.2).
    pub(crate) fn around(&mut self, length: usize, before: &mut Vec<u8>) -> Option<&'static [u8]> {
        match self {
            Self::Nothing => None,
            Self::Length(left) => {
                *left = left.checked_sub(length as u64)?;
                Some(b"")
            }
            Self::ToEnd => Some(b""),
            Self::Chunked(_) => {
                let mut digits = [0; 16];
                before.extend_from_slice(hexadecimal_of(length, &mut digits));
                before.extend_from_slice(b"\r\n");
                Some(b"\r\n")
            }
        }
    }

    /// What to send behind the last piece, behind which `tail` would be sent were it not the last. `None` where the body
    /// is shorter than was announced.
    pub(crate) const fn last(&self, tail: &'static [u8]) -> Option<&'static [u8]> {
        match self {
            Self::Nothing | Self::Length(0) | Self::ToEnd => Some(tail),
            Self::Length(_) => None,
            Self::Chunked(_) if tail.is_empty() => Some(b"0\r\n\r\n"),
            Self::Chunked(_) => Some(b"\r\n0\r\n\r\n"),
        }
    }

    /// Writes what ends the body. `None` where it is shorter than was announced.
    pub(crate) fn end(&self, trailers: Option<&HeaderMap>, to: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Nothing | Self::Length(0) | Self::ToEnd => {}
            Self::Length(_) => return None,
            Self::Chunked(announced) => {
                to.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    if announced.contains(name) && may_trail(name) {
                        field(to, name.as_str(), value.as_bytes());
                    }
                }
                to.extend_from_slice(b"\r\n");
            }
        }
        Some(())
    }
}

/// Whether a field may come after the body: not where it decides how the message is read, or who sent it (RFC 9110
/// §6.5.1).
fn may_trail(name: &HeaderName) -> bool {
    ![
        AUTHORIZATION,
        CACHE_CONTROL,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        CONTENT_TYPE,
        HOST,
        MAX_FORWARDS,
        SET_COOKIE,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
    ]
    .contains(name)
}

fn hexadecimal_of(mut number: usize, digits: &mut [u8; 16]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[number % 16];
        number /= 16;
        if number == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(test)]
mod tests;
