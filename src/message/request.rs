//! Heads of requests: a client's is read, one for an upstream is written.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::{
    Method, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING},
};
use httparse::{Header, ParserConfig, Status};

use super::{
    fields::field,
    framing::{Body, Outgoing},
    head::{self, MOST_FIELDS, decimal, digits},
    inbox::LongHead,
    whole::{Head as _, RequestHead},
};

/// The longest head of a request that is read at all. How long its fields may be together is a setting, below this.
pub(crate) const LONGEST: usize = 512 * 1024;

/// The longest target, as the `http` crate takes it.
const LONGEST_TARGET: usize = u16::MAX as usize - 1;

/// The head of a request, and what follows it.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) head: Box<RequestHead>,
    /// How many bytes it was.
    pub(crate) length: usize,
    pub(crate) body: Body,
    /// Whether the client would send another request after this one, and it is known where this one ends.
    pub(crate) keeps_alive: bool,
    /// Whether the client waits to be told that it may send the body (RFC 9110 §10.1.1).
    pub(crate) expects_continue: bool,
}

/// Takes the head off that `bytes` begin with. `None` where it has not come whole.
///
/// Two rules are for those who read it next, and not refused here: a length beside chunks is dropped, and the connection
/// ends after the response (RFC 9112 §6.3); a coding below the chunks is left in its field.
///
/// # Errors
/// The status to answer with, where no more bytes make a head of it, or where it says how long its body is in two ways or
/// in none that is understood.
pub(crate) fn take(bytes: &mut BytesMut) -> Result<Option<Taken>, StatusCode> {
    let mut room: [MaybeUninit<Header<'_>>; MOST_FIELDS] = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, &mut room);
    let Status::Complete(length_of_head) = parsed.map_err(status_of)? else { return Ok(None) };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(StatusCode::BAD_REQUEST);
    };
    if target.len() > LONGEST_TARGET {
        return Err(StatusCode::URI_TOO_LONG);
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(bad)?;
    let target = head::place(target.as_bytes(), bytes);
    let is_old = minor == 0;
    let (mut length, mut is_coded, mut is_chunked, mut expects_continue) = (None, false, false, false);
    let (mut closes, mut asks_to_keep) = (false, false);
    // Those that the proxy adds have room too.
    let mut head = RequestHead::empty();
    head::read(request.headers, bytes, &mut head.fields, 4, bad, |name, value| {
        match *name {
            TRANSFER_ENCODING => {
                is_coded = true;
                // `chunked` is the last coding of the last line, or the body has no end (RFC 9112 §6.1).
                is_chunked = value.rsplit(|byte| *byte == b',').next().is_some_and(is_chunks);
            }
            CONTENT_LENGTH => {
                let stated = digits(value).ok_or(StatusCode::BAD_REQUEST)?;
                match length {
                    Some(length) if length != stated => return Err(StatusCode::BAD_REQUEST),
                    // The same once more.
                    Some(_) => return Ok(false),
                    None => length = Some(stated),
                }
            }
            CONNECTION => {
                // `close` on any line is the last word (RFC 9112 §9.3).
                let said = head::persistence(value);
                (closes, asks_to_keep) = (closes | said.0, asks_to_keep | said.1);
            }
            EXPECT => expects_continue = value.eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
        Ok(true)
    })?;
    let text = head::cut(bytes, length_of_head, &mut head.fields);
    head.target = Uri::from_maybe_shared(text.slice(target)).map_err(bad)?;
    let body = match length {
        // HTTP/1.0 has no codings (RFC 9112 §6.1).
        _ if is_coded && (is_old || !is_chunked) => return Err(StatusCode::BAD_REQUEST),
        _ if is_coded => Body::Chunked,
        Some(length @ 1..) => Body::Length(length),
        Some(0) | None => Body::Nothing,
    };
    if is_coded && length.is_some() {
        head.fields.remove(CONTENT_LENGTH);
        closes = true;
    }
    head.method = method;
    head.version = if is_old { Version::HTTP_10 } else { Version::HTTP_11 };
    Ok(Some(Taken {
        head,
        length: length_of_head,
        keeps_alive: !closes && (!is_old || asks_to_keep),
        // HTTP/1.0 knows no interim responses (RFC 9110 §10.1.1).
        expects_continue: expects_continue && !is_old && body != Body::Nothing,
        body,
    }))
}

impl From<LongHead> for StatusCode {
    fn from(_: LongHead) -> Self {
        Self::REQUEST_HEADER_FIELDS_TOO_LARGE
    }
}

fn status_of(error: httparse::Error) -> StatusCode {
    match error {
        httparse::Error::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn bad<E>(_: E) -> StatusCode {
    StatusCode::BAD_REQUEST
}

fn is_chunks(coding: &[u8]) -> bool {
    coding.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// Writes the head of a request whose body is framed as `framing` says, whatever the client's own fields said of it.
pub(crate) fn write(head: &RequestHead, framing: &Outgoing, to: &mut Vec<u8>) {
    to.extend_from_slice(head.method.as_str().as_bytes());
    to.push(b' ');
    let target = head.target.path_and_query().map_or("/", |target| target.as_str());
    to.extend_from_slice(target.as_bytes());
    to.extend_from_slice(b" HTTP/1.1\r\n");
    let mut stated_length = false;
    head.fields.write(to, |name, _| {
        stated_length |= *name == CONTENT_LENGTH;
        !matches!(*name, CONTENT_LENGTH | TRANSFER_ENCODING)
    });
    match framing {
        Outgoing::Nothing if stated_length => field(to, CONTENT_LENGTH.as_str(), b"0"),
        Outgoing::Nothing | Outgoing::ToEnd => {}
        Outgoing::Length(length) => field(to, CONTENT_LENGTH.as_str(), decimal(*length, &mut [0; 20])),
        Outgoing::Chunked(_) => field(to, TRANSFER_ENCODING.as_str(), b"chunked"),
    }
    to.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_request_is_framed_by_what_is_sent_and_not_by_what_was_said() {
        let request = Request::post("/a?b")
            .header("host", "x")
            .header("content-length", "7")
            .header("transfer-encoding", "gzip")
            .header("x-a", "1")
            .header("x-a", "2");
        let head = RequestHead::from(request.body(()).expect("a request").into_parts().0);
        for (framing, end) in [
            (Outgoing::Nothing, "content-length: 0\r\n\r\n"),
            (Outgoing::Length(18_446_744_073_709_551_615), "content-length: 18446744073709551615\r\n\r\n"),
            (Outgoing::Length(10), "content-length: 10\r\n\r\n"),
            (Outgoing::chunked(&head.fields), "transfer-encoding: chunked\r\n\r\n"),
        ] {
            let mut written = Vec::new();
            write(&head, &framing, &mut written);
            let expected = format!("POST /a?b HTTP/1.1\r\nhost: x\r\nx-a: 1\r\nx-a: 2\r\n{end}");
            assert_eq!(String::from_utf8_lossy(&written), expected, "{framing:?}");
        }
        let head = RequestHead::from(Request::get("/").body(()).expect("a request").into_parts().0);
        let mut written = Vec::new();
        write(&head, &Outgoing::Nothing, &mut written);
        assert_eq!(written, b"GET / HTTP/1.1\r\n\r\n");
    }
}
