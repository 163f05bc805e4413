//! Heads of HTTP/1.1 as bytes: a request's is written, a response's is read (RFC 9112 §2 to §6).
//!
//! Pure. What is written can hold no line break that was not put there: the `http` crate's types have none. What is read
//! is held to the rules that keep two readers of one stream of bytes from disagreeing on where a message ends.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
    request::Parts,
};
use httparse::{Header, ParserConfig};
use hyper::ext::ReasonPhrase;

use super::framing::{Body, Malformed, Outgoing};

/// The longest head of a response; a server that says more before its body is no server worth waiting for.
pub(super) const LONGEST: usize = 256 * 1024;

/// The most fields in a head or among trailers.
pub(super) const MOST_FIELDS: usize = 100;

/// The head of a response, and what follows it.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// What was said beside the status, where it is not what is usually said.
    pub(super) reason: Option<ReasonPhrase>,
    pub(super) fields: HeaderMap,
    pub(super) body: Body,
    /// Whether the connection may carry another request after this one.
    pub(super) keeps_alive: bool,
}

/// Writes the head of a request whose body is framed as `framing` says, whatever the client's own fields said of it.
pub(super) fn write(head: &Parts, framing: &Outgoing, to: &mut Vec<u8>) {
    to.extend_from_slice(head.method.as_str().as_bytes());
    to.push(b' ');
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    to.extend_from_slice(target.as_bytes());
    to.extend_from_slice(b" HTTP/1.1\r\n");
    let mut stated_length = false;
    for (name, value) in &head.headers {
        if *name == CONTENT_LENGTH {
            stated_length = true;
        } else if *name != TRANSFER_ENCODING {
            field(to, name.as_str(), value.as_bytes());
        }
    }
    match framing {
        Outgoing::Nothing if stated_length => field(to, CONTENT_LENGTH.as_str(), b"0"),
        Outgoing::Nothing => {}
        Outgoing::Length(length) => field(to, CONTENT_LENGTH.as_str(), decimal(*length, &mut [0; 20])),
        Outgoing::Chunked(_) => field(to, TRANSFER_ENCODING.as_str(), b"chunked"),
    }
    to.extend_from_slice(b"\r\n");
}

/// Writes one field line.
pub(super) fn field(to: &mut Vec<u8>, name: &str, value: &[u8]) {
    to.reserve(name.len() + value.len() + 4);
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        // Less than ten.
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// Where a head that `bytes` begin with ends: behind its first empty line. `searched` of them are known to hold no end.
///
/// A line may end in a bare line feed (RFC 9112 §2.2 lets a recipient take it for one); it is not passed on.
pub(super) fn end(bytes: &[u8], searched: usize) -> Option<usize> {
    let mut at = searched.saturating_sub(2);
    while let Some(found) = memchr::memchr(b'\n', bytes.get(at..)?) {
        at += found + 1;
        match bytes.get(at..) {
            Some([b'\n', ..]) => return Some(at + 1),
            Some([b'\r', b'\n', ..]) => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Reads the head that `bytes` are, to a request of `method`. `fields` is where its fields are put: an empty map, with
/// room or without.
///
/// # Errors
/// Where it is no head, or says how long its body is in two ways or in none that is understood.
pub(super) fn read(bytes: &Bytes, method: &Method, mut fields: HeaderMap) -> Result<Head, Malformed> {
    let mut room: [MaybeUninit<Header<'_>>; MOST_FIELDS] = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let mut parser = ParserConfig::default();
    // What stands before a colon is removed, not passed on (RFC 9112 §5.1). Nothing else is let pass: no folded lines,
    // nothing that is merely like a field.
    parser.allow_spaces_after_header_name_in_responses(true);
    let parsed = parser.parse_response_with_uninit_headers(&mut response, bytes, &mut room);
    // To the last byte: where two disagree on where a head ends, what lies between is a smuggled message.
    let is_whole = parsed.map_err(Malformed::Head)? == httparse::Status::Complete(bytes.len());
    let (Some(code), Some(minor), true) = (response.code, response.version, is_whole) else {
        return Err(Malformed::Head(httparse::Error::Status));
    };
    let status = StatusCode::from_u16(code).map_err(|_| Malformed::Head(httparse::Error::Status))?;
    let reason = response.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let reason = reason.and_then(|reason| ReasonPhrase::try_from(reason.as_bytes()).ok());
    fields.reserve(response.headers.len() + 2);
    let (mut is_coded, mut is_measured, mut keeps_alive) = (false, false, response.version == Some(1));
    let mut closes = false;
    for header in response.headers.iter() {
        let name =
            HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| Malformed::Head(httparse::Error::HeaderName))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(header.value))
            .map_err(|_| Malformed::Head(httparse::Error::HeaderValue))?;
        is_coded |= name == TRANSFER_ENCODING;
        is_measured |= name == CONTENT_LENGTH;
        if name == CONNECTION {
            // `close` on any line is the last word (RFC 9112 §9.3).
            closes |= lists(&value, b"close");
            keeps_alive |= lists(&value, b"keep-alive");
        }
        fields.append(name, value);
    }
    let is_chunked = is_coded && is_chunked(&fields, minor)?;
    let length = if is_measured { length(&mut fields)? } else { None };
    let body = body(is_chunked, length, status, method)?;
    // A 204 must not announce a body (RFC 9112 §6.1, RFC 9110 §8.6); a server that does may send one, at any time.
    let may_err = status == StatusCode::NO_CONTENT && (is_chunked || length.is_some_and(|length| length > 0));
    let keeps_alive =
        keeps_alive && !closes && !may_err && body != Body::ToEnd && status != StatusCode::SWITCHING_PROTOCOLS;
    Ok(Head { status, reason, fields, body, keeps_alive })
}

/// How the body is framed (RFC 9112 §6.3).
fn body(is_chunked: bool, length: Option<u64>, status: StatusCode, method: &Method) -> Result<Body, Malformed> {
    // What states its length twice, in two ways, is how one response is made to be taken for two.
    if is_chunked && length.is_some() {
        return Err(Malformed::TwoFramings);
    }
    let is_bodiless = status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || *method == Method::HEAD;
    Ok(match length {
        _ if is_bodiless => Body::Nothing,
        Some(0) => Body::Nothing,
        Some(length) => Body::Length(length),
        None if is_chunked => Body::Chunked,
        None => Body::ToEnd,
    })
}

/// Whether `Transfer-Encoding` is there, and is `chunked` alone: a coding that is not undone cannot be passed on, and
/// HTTP/1.0 has none (RFC 9112 §6.1).
fn is_chunked(fields: &HeaderMap, minor: u8) -> Result<bool, Malformed> {
    let mut codings = fields.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(false) };
    let is_chunked = coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if is_chunked && codings.next().is_none() && minor == 1 { Ok(true) } else { Err(Malformed::TransferCoding) }
}

/// `Content-Length`. Several that agree are made one (RFC 9112 §6.3, rule 5).
fn length(fields: &mut HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut values = fields.get_all(CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_none()
        && let Some(length) = digits(first.as_bytes())
    {
        return Ok(Some(length));
    }
    let mut members =
        fields.get_all(CONTENT_LENGTH).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let length = members.next().and_then(|member| digits(member.trim_ascii())).ok_or(Malformed::Length)?;
    if !members.all(|member| digits(member.trim_ascii()) == Some(length)) {
        return Err(Malformed::Length);
    }
    fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(Some(length))
}

/// Digits alone: no sign, no blank, nothing that does not fit.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Whether a list has a member of this name.
fn lists(value: &HeaderValue, name: &[u8]) -> bool {
    value.as_bytes().split(|byte| *byte == b',').any(|member| member.trim_ascii().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &'static str) -> Result<Head, Malformed> {
        read(&Bytes::from_static(text.as_bytes()), &Method::GET, HeaderMap::new())
    }

    #[test]
    fn a_request_is_framed_by_what_is_sent_and_not_by_what_was_said() {
        let request = Request::post("/a?b")
            .header("host", "x")
            .header("content-length", "7")
            .header("transfer-encoding", "gzip")
            .header("x-a", "1")
            .header("x-a", "2");
        let (head, ()) = request.body(()).expect("a request").into_parts();
        for (framing, end) in [
            (Outgoing::Nothing, "content-length: 0\r\n\r\n"),
            (Outgoing::Length(18_446_744_073_709_551_615), "content-length: 18446744073709551615\r\n\r\n"),
            (Outgoing::Length(10), "content-length: 10\r\n\r\n"),
            (Outgoing::chunked(&head.headers), "transfer-encoding: chunked\r\n\r\n"),
        ] {
            let mut written = Vec::new();
            write(&head, &framing, &mut written);
            let expected = format!("POST /a?b HTTP/1.1\r\nhost: x\r\nx-a: 1\r\nx-a: 2\r\n{end}");
            assert_eq!(String::from_utf8_lossy(&written), expected, "{framing:?}");
        }
        let (head, ()) = Request::get("/").body(()).expect("a request").into_parts();
        let mut written = Vec::new();
        write(&head, &Outgoing::Nothing, &mut written);
        assert_eq!(written, b"GET / HTTP/1.1\r\n\r\n");
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
        let read = read(&head, &Method::HEAD, HeaderMap::new()).expect("a head");
        assert_eq!((read.body, read.fields.len()), (Body::Nothing, 1));
    }

    #[test]
    fn lengths_that_agree_are_passed_on_as_one() {
        let head = parsed("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5, 5\r\n\r\n").expect("a head");
        let lengths: Vec<_> = head.fields.get_all(CONTENT_LENGTH).iter().collect();
        assert_eq!(lengths, ["5"]);
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
        let many = read(&many.into(), &Method::GET, HeaderMap::new());
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

    #[test]
    fn the_end_is_found_wherever_the_search_went_on() {
        let text = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody\r\n\r\n";
        for searched in 0..25 {
            assert_eq!(end(text, searched), Some(25), "{searched}");
        }
        assert_eq!(end(b"HTTP/1.1 200 OK\nA: b\n\nx", 0), Some(22));
        for short in 0..25 {
            assert_eq!(end(&text[..short], 0), None, "{short}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(end) = end(&bytes, 0) {
                prop_assert!(end <= bytes.len());
                drop(read(&Bytes::copy_from_slice(&bytes[..end]), &Method::GET, HeaderMap::new()));
            }
        }

        #[test]
        fn lengths_are_written_as_they_are_read(length: u64) {
            prop_assert_eq!(digits(decimal(length, &mut [0; 20])), Some(length));
        }
    }
}
