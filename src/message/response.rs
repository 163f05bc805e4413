//! Heads of responses: an upstream's is read, a client's is written.

use std::mem::MaybeUninit;

use bytes::BytesMut;
use http::{
    HeaderValue, Method, StatusCode, Version,
    header::{CONNECTION, CONTENT_LENGTH, DATE, TRAILER, TRANSFER_ENCODING},
};
use http_body::SizeHint;
use httparse::{Header, ParserConfig};
use hyper::ext::ReasonPhrase;

use super::{
    Fields,
    fields::field,
    framing::{Body, Malformed, Outgoing},
    head::{self, MOST_FIELDS, decimal, digits},
    whole::{Head as _, ResponseHead},
};

/// The longest head of a response; a server that says more before its body is no server worth waiting for.
pub(crate) const LONGEST: usize = 256 * 1024;

/// The head of a response, and what follows it.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) head: Box<ResponseHead>,
    pub(crate) body: Body,
    /// Whether the connection may carry another request after this one.
    pub(crate) keeps_alive: bool,
}

/// Takes the head off that `bytes` begin with, of a response to a request of `method`. `None` where it has not come whole.
///
/// # Errors
/// Where no more bytes make a head of it, or where it says how long its body is in two ways or in none that is understood.
pub(crate) fn take(bytes: &mut BytesMut, method: &Method) -> Result<Option<Taken>, Malformed> {
    let mut room: [MaybeUninit<Header<'_>>; MOST_FIELDS] = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let mut parser = ParserConfig::default();
    // What stands before a colon is removed, not passed on (RFC 9112 §5.1). Nothing else is let pass: no folded lines,
    // nothing that is merely like a field.
    parser.allow_spaces_after_header_name_in_responses(true);
    let parsed = parser.parse_response_with_uninit_headers(&mut response, bytes, &mut room).map_err(Malformed::Head)?;
    let httparse::Status::Complete(end) = parsed else { return Ok(None) };
    // The parser passes over empty lines before a head, which belong to nothing: one alone is let pass.
    let is_first = !matches!(bytes[0], b'\r' | b'\n') || head::end(bytes, 0) == Some(end);
    let (Some(code), Some(minor), true) = (response.code, response.version, is_first) else {
        return Err(Malformed::Head(httparse::Error::Status));
    };
    let status = StatusCode::from_u16(code).map_err(|_| Malformed::Head(httparse::Error::Status))?;
    let reason = response.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let reason = reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok());
    let (mut is_coded, mut lengths, mut length) = (false, 0, None);
    let (mut closes, mut keeps_alive) = (false, minor == 1);
    let mut head = ResponseHead::empty();
    head::read(response.headers, bytes, &mut head.fields, 2, Malformed::Head, |name, value| {
        match *name {
            TRANSFER_ENCODING => is_coded = true,
            CONTENT_LENGTH => {
                lengths += 1;
                length = digits(value);
            }
            CONNECTION => {
                // `close` on any line is the last word (RFC 9112 §9.3).
                let said = head::persistence(value);
                (closes, keeps_alive) = (closes | said.0, keeps_alive | said.1);
            }
            _ => {}
        }
        Ok(true)
    })?;
    head::cut(bytes, end, &mut head.fields);
    let is_chunked = is_coded && is_chunked(&head.fields, minor)?;
    if lengths > 1 || (lengths == 1 && length.is_none()) {
        length = Some(one_length(&mut head.fields)?);
    }
    let body = body(is_chunked, length, status, method)?;
    // A 204 must not announce a body (RFC 9112 §6.1, RFC 9110 §8.6); a server that does may send one, at any time.
    let may_err = status == StatusCode::NO_CONTENT && (is_chunked || length.is_some_and(|length| length > 0));
    let keeps_alive =
        keeps_alive && !closes && !may_err && body != Body::ToEnd && status != StatusCode::SWITCHING_PROTOCOLS;
    (head.status, head.reason) = (status, reason);
    Ok(Some(Taken { head, body, keeps_alive }))
}

/// Reads the head that `bytes` are, to a request of `method`.
#[cfg(any(test, fuzzing))]
pub(super) fn read(bytes: &bytes::Bytes, method: &Method) -> Result<Taken, Malformed> {
    let mut bytes = BytesMut::from(&bytes[..]);
    // To the last byte: where two disagree on where a head ends, what lies between is a smuggled message.
    let head = take(&mut bytes, method)?.filter(|_| bytes.is_empty());
    head.ok_or(Malformed::Head(httparse::Error::Status))
}

/// How a response goes to whoever asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written<'a> {
    /// The method that was asked with.
    pub(crate) method: &'a Method,
    /// The version that the client speaks.
    pub(crate) version: Version,
    /// Whether the connection goes on after it.
    pub(crate) keeps_alive: bool,
    /// What time it is, as `Date` says it (RFC 9110 §5.6.7).
    pub(crate) date: &'a [u8],
}

/// How the body of a response is framed (RFC 9112 §6.3).
pub(crate) fn framing(head: &ResponseHead, length: &SizeHint, method: &Method, version: Version) -> Outgoing {
    match length.exact() {
        _ if is_bodiless(head.status, method) => Outgoing::Nothing,
        Some(0) => Outgoing::Nothing,
        Some(length) => Outgoing::Length(length),
        None if version == Version::HTTP_11 => Outgoing::chunked(&head.fields),
        None => Outgoing::ToEnd,
    }
}

/// Writes the head of a response whose body is `length` long and framed as `framing` says.
pub(crate) fn write(head: &ResponseHead, framing: &Outgoing, length: &SizeHint, how: Written<'_>, to: &mut Vec<u8>) {
    let is_old = how.version < Version::HTTP_11;
    let reason = head.reason.as_ref();
    if head.status == StatusCode::OK && !is_old && reason.is_none() {
        to.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        to.extend_from_slice(if is_old { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
        to.extend_from_slice(head.status.as_str().as_bytes());
        to.push(b' ');
        let usual = || head.status.canonical_reason().unwrap_or_default().as_bytes();
        to.extend_from_slice(reason.map_or_else(usual, ReasonPhrase::as_bytes));
        to.extend_from_slice(b"\r\n");
    }
    let is_chunked = matches!(framing, Outgoing::Chunked(_));
    let (mut has_date, mut is_stated) = (false, false);
    head.fields.write(to, |name, value| match *name {
        CONTENT_LENGTH => {
            is_stated = true;
            false
        }
        TRANSFER_ENCODING => false,
        // Said below, once.
        CONNECTION => !value.eq_ignore_ascii_case(b"close"),
        TRAILER => is_chunked,
        DATE => {
            has_date = true;
            true
        }
        _ => true,
    });
    let stated = if is_stated { head.fields.get_all(CONTENT_LENGTH).last() } else { None };
    match framing {
        Outgoing::Length(length) => field(to, CONTENT_LENGTH.as_str(), decimal(*length, &mut [0; 20])),
        Outgoing::Chunked(_) => field(to, TRANSFER_ENCODING.as_str(), b"chunked"),
        Outgoing::ToEnd => {}
        Outgoing::Nothing if *how.method == Method::HEAD => match (stated, length.exact()) {
            (Some(stated), _) => field(to, CONTENT_LENGTH.as_str(), stated),
            (None, Some(length @ 1..)) => field(to, CONTENT_LENGTH.as_str(), decimal(length, &mut [0; 20])),
            (None, _) => {}
        },
        Outgoing::Nothing if is_bodiless(head.status, how.method) => {}
        Outgoing::Nothing => field(to, CONTENT_LENGTH.as_str(), b"0"),
    }
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        // What it switches to says how long it lasts.
    } else if is_old && how.keeps_alive {
        field(to, CONNECTION.as_str(), b"keep-alive");
    } else if !is_old && !how.keeps_alive {
        field(to, CONNECTION.as_str(), b"close");
    }
    if !has_date {
        field(to, DATE.as_str(), how.date);
    }
    to.extend_from_slice(b"\r\n");
}

/// How the body is framed (RFC 9112 §6.3).
fn body(is_chunked: bool, length: Option<u64>, status: StatusCode, method: &Method) -> Result<Body, Malformed> {
    // What states its length twice, in two ways, is how one response is made to be taken for two.
    if is_chunked && length.is_some() {
        return Err(Malformed::TwoFramings);
    }
    Ok(match length {
        _ if is_bodiless(status, method) => Body::Nothing,
        Some(0) => Body::Nothing,
        Some(length) => Body::Length(length),
        None if is_chunked => Body::Chunked,
        None => Body::ToEnd,
    })
}

/// Whether there is no body, whatever the head says of one.
fn is_bodiless(status: StatusCode, method: &Method) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || *method == Method::HEAD
}

/// Whether `Transfer-Encoding` is there, and is `chunked` alone: a coding that is not undone cannot be passed on, and
/// HTTP/1.0 has none (RFC 9112 §6.1).
fn is_chunked(fields: &Fields, minor: u8) -> Result<bool, Malformed> {
    let mut codings = fields.get_all(TRANSFER_ENCODING);
    let Some(coding) = codings.next() else { return Ok(false) };
    let is_chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    if is_chunked && codings.next().is_none() && minor == 1 { Ok(true) } else { Err(Malformed::TransferCoding) }
}

/// `Content-Length`, where it is not one number. Several that agree are made one (RFC 9112 §6.3, rule 5).
fn one_length(fields: &mut Fields) -> Result<u64, Malformed> {
    let length = {
        let lines = fields.get_all(CONTENT_LENGTH);
        let mut members = lines.flat_map(|value| value.split(|byte| *byte == b','));
        let length = members.next().and_then(|member| digits(member.trim_ascii())).ok_or(Malformed::Length)?;
        let is_one = members.all(|member| digits(member.trim_ascii()) == Some(length));
        if is_one { length } else { return Err(Malformed::Length) }
    };
    fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(length)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{super::head::end, *};

    fn parsed(text: &'static str) -> Result<Taken, Malformed> {
        read(&Bytes::from_static(text.as_bytes()), &Method::GET)
    }

    #[test]
    fn bodies_are_as_long_as_the_head_says_in_one_way() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Ok(Body::Length(5))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Ok(Body::Nothing)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", Ok(Body::Chunked)),
            ("HTTP/1.1 200 OK\r\n\r\n", Ok(Body::ToEnd)),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", Ok(Body::ToEnd)),
            ("HTTP/1.1 204 No Content\r\n\r\n", Ok(Body::Nothing)),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", Ok(Body::Nothing)),
            ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", Ok(Body::Nothing)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Ok(Body::Length(5))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", Ok(Body::Length(5))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n", Err(Malformed::Length)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Err(Malformed::Length)),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", Err(Malformed::Length)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\n", Err(Malformed::Length)),
            ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", Err(Malformed::Length)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\n", Err(Malformed::Length)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", Err(Malformed::Length)),
            ("HTTP/1.1 204 No Content\r\nContent-Length: x\r\n\r\n", Err(Malformed::Length)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Malformed::TwoFramings)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Err(Malformed::TransferCoding)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", Err(Malformed::TransferCoding)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                Err(Malformed::TransferCoding),
            ),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Malformed::TransferCoding)),
        ] {
            assert_eq!(parsed(text).map(|head| head.body), expected, "{text:?}");
        }
        let head = Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        let read = read(&head, &Method::HEAD).expect("a head");
        assert_eq!((read.body, read.head.fields.len()), (Body::Nothing, 1));
    }

    #[test]
    fn lengths_that_agree_are_passed_on_as_one() {
        let read = parsed("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5, 5\r\n\r\n").expect("a head");
        let lengths: Vec<_> = read.head.fields.get_all(CONTENT_LENGTH).collect();
        assert_eq!(lengths, [b"5"]);
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for text in [
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "garbage\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA b\r\n\r\n",
            "HTTP/1.1 200 OK\r\n: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n",
            "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert!(matches!(parsed(text), Err(Malformed::Head(_))), "{text:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MOST_FIELDS + 1));
        let many = read(&many.into(), &Method::GET);
        assert_eq!(many.map(|_| ()), Err(Malformed::Head(httparse::Error::TooManyHeaders)));
    }

    #[test]
    fn a_connection_is_kept_where_the_server_keeps_it() {
        for (text, expected) in [
            ("HTTP/1.1 204 N\r\n\r\n", true),
            ("HTTP/1.1 204 N\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 204 N\r\nContent-Length: 5\r\n\r\n", false),
            ("HTTP/1.1 204 N\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("HTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\n", true),
            ("HTTP/1.1 204 N\r\nConnection: Close\r\n\r\n", false),
            ("HTTP/1.1 204 N\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", false),
            ("HTTP/1.1 204 N\r\nConnection: x, close\r\n\r\n", false),
            ("HTTP/1.0 204 N\r\n\r\n", false),
            ("HTTP/1.0 204 N\r\nConnection: keep-alive\r\n\r\n", true),
            ("HTTP/1.1 200 N\r\n\r\n", false),
            ("HTTP/1.1 101 N\r\n\r\n", false),
        ] {
            assert_eq!(parsed(text).expect("a head").keeps_alive, expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(end) = end(&bytes, 0) {
                prop_assert!(end <= bytes.len());
                drop(read(&Bytes::copy_from_slice(&bytes[..end]), &Method::GET));
            }
        }
    }
}
