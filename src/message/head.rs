//! What heads of requests and of responses have in common (RFC 9112 §2 and §5).

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderName,
    header::{
        ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONNECTION,
        CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DATE, ETAG, HOST, InvalidHeaderName, LAST_MODIFIED,
        ORIGIN, REFERER, SERVER, SET_COOKIE, TRANSFER_ENCODING, USER_AGENT, VARY,
    },
};
use httparse::Header;

use super::Fields;

/// The most fields in a head or among trailers.
pub(crate) const MOST_FIELDS: usize = 100;

/// Where `part` lies in `whole`, of which it is a part.
pub(super) fn place(part: &[u8], whole: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

/// Puts the fields that were `parsed` from `head` into `fields`, and makes room for `more`. `take` is shown each, and says
/// whether it counts.
pub(super) fn read<E>(
    parsed: &[Header<'_>],
    head: &[u8],
    fields: &mut Fields,
    more: usize,
    bad: impl Fn(httparse::Error) -> E,
    mut take: impl FnMut(&HeaderName, &[u8]) -> Result<bool, E>,
) -> Result<(), E> {
    fields.reserve(parsed.len() + more);
    for field in parsed {
        let name = name(field.name.as_bytes()).map_err(|_| bad(httparse::Error::HeaderName))?;
        if take(&name, field.value)? {
            fields.append_read(name, place(field.value, head));
        }
    }
    Ok(())
}

/// Cuts the head off that `bytes` begin with, which `fields` were read from, and leaves it to them.
pub(super) fn cut(bytes: &mut BytesMut, length: usize, fields: &mut Fields) -> Bytes {
    let head = bytes.split_to(length).freeze();
    fields.set_text(head.clone());
    head
}

/// The name of a field. Those that most heads have are told at a glance where they are spelt as most spell them.
fn name(text: &[u8]) -> Result<HeaderName, InvalidHeaderName> {
    Ok(match text {
        b"Accept" | b"accept" => ACCEPT,
        b"Accept-Encoding" | b"accept-encoding" => ACCEPT_ENCODING,
        b"Accept-Language" | b"accept-language" => ACCEPT_LANGUAGE,
        b"Accept-Ranges" | b"accept-ranges" => ACCEPT_RANGES,
        b"Authorization" | b"authorization" => AUTHORIZATION,
        b"Cache-Control" | b"cache-control" => CACHE_CONTROL,
        b"Connection" | b"connection" => CONNECTION,
        b"Content-Encoding" | b"content-encoding" => CONTENT_ENCODING,
        b"Content-Length" | b"content-length" => CONTENT_LENGTH,
        b"Content-Type" | b"content-type" => CONTENT_TYPE,
        b"Cookie" | b"cookie" => COOKIE,
        b"Date" | b"date" => DATE,
        b"ETag" | b"etag" => ETAG,
        b"Host" | b"host" => HOST,
        b"Last-Modified" | b"last-modified" => LAST_MODIFIED,
        b"Origin" | b"origin" => ORIGIN,
        b"Referer" | b"referer" => REFERER,
        b"Server" | b"server" => SERVER,
        b"Set-Cookie" | b"set-cookie" => SET_COOKIE,
        b"Transfer-Encoding" | b"transfer-encoding" => TRANSFER_ENCODING,
        b"User-Agent" | b"user-agent" => USER_AGENT,
        b"Vary" | b"vary" => VARY,
        _ => return HeaderName::from_bytes(text),
    })
}

/// A number as text.
pub(crate) fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
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
pub(crate) fn end(bytes: &[u8], searched: usize) -> Option<usize> {
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

/// Digits alone: no sign, no blank, nothing that does not fit.
pub(crate) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// What `Connection` says of the connection itself: `close`, and `keep-alive`.
pub(super) fn persistence(connection: &[u8]) -> (bool, bool) {
    let members = connection.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    members.fold((false, false), |(closes, keeps), member| {
        (closes || member.eq_ignore_ascii_case(b"close"), keeps || member.eq_ignore_ascii_case(b"keep-alive"))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    #[test]
    fn names_that_are_told_at_a_glance_are_what_they_are() {
        for spelt in [
            "Accept",
            "Accept-Encoding",
            "Accept-Language",
            "Accept-Ranges",
            "Authorization",
            "Cache-Control",
            "Connection",
            "Content-Encoding",
            "Content-Length",
            "Content-Type",
            "Cookie",
            "Date",
            "ETag",
            "Host",
            "Last-Modified",
            "Origin",
            "Referer",
            "Server",
            "Set-Cookie",
            "Transfer-Encoding",
            "User-Agent",
            "Vary",
            "X-Other",
        ] {
            for text in [spelt.to_owned(), spelt.to_ascii_lowercase(), spelt.to_ascii_uppercase()] {
                assert_eq!(name(text.as_bytes()).expect("a name").as_str(), spelt.to_ascii_lowercase());
            }
        }
        assert!(name(b"").is_err() && name(b"a b").is_err());
    }

    proptest! {
        #[test]
        fn lengths_are_written_as_they_are_read(length: u64) {
            prop_assert_eq!(digits(decimal(length, &mut [0; 20])), Some(length));
        }
    }
}
