//! One stream of HTTP/2: its request, and its response.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{CONNECTION, CONTENT_LENGTH, DATE, TE, TRANSFER_ENCODING, UPGRADE},
};
use http_body::Body;
use tokio::time::Instant;

use super::streams::Open;
use crate::{
    listen::Connection,
    message::{BoxError, ClientBody, Received, Sending},
    reply,
    server::{Gate, date, exchange::Exchanges},
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Answers the request of one stream, which counts as open until the end of its response. A client that resets it is
/// answered no further.
pub(super) async fn respond<G, S, F, B>(
    request: Request<RecvStream>,
    mut reply: SendResponse<Bytes>,
    exchanges: Rc<Exchanges<G, S>>,
    open: Open,
) where
    G: Gate,
    S: Fn(Request<ClientBody>, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + From<reply::Body> + Unpin + 'static,
{
    // Dropped last, with what the stream holds.
    let _open = open;
    let (head, stream) = request.into_parts();
    let is_head = head.method == Method::HEAD;
    let body = ClientBody::h2(Received::new(stream, &head.headers));
    let response = {
        let mut answering = pin!(exchanges.answer(Request::from_parts(head, body), Instant::now(), None));
        let answered = poll_fn(|cx| match answering.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => reply.poll_reset(cx).map(|_| None),
        });
        let Some(response) = answered.await else { return };
        response
    };
    let (mut head, body) = response.into_parts();
    let is_empty = body.is_end_stream();
    prepare(&mut head.headers, if is_empty { None } else { body.size_hint().exact() });
    // The answer to HEAD is the head of what GET would be answered with (RFC 9110 §9.3.2).
    let is_over = is_empty || is_head;
    let sent = match reply.send_response(Response::from_parts(head, ()), is_over) {
        Ok(_) if is_over => return,
        Ok(stream) => {
            let mut sending = Sending::new(body, stream);
            poll_fn(|cx| sending.poll(cx)).await
        }
        Err(error) => {
            reply.send_reset(Reason::INTERNAL_ERROR);
            Err(error.into())
        }
    };
    if let Err(halt) = sent {
        tracing::debug!(error = &halt as &dyn std::error::Error, "a response ended before its end");
    }
}

/// Makes a response's header that of HTTP/2, with what every response says of itself: `length`, where it is known.
fn prepare(headers: &mut HeaderMap, length: Option<u64>) {
    if headers.keys().any(is_of_the_connection) {
        strip(headers);
    }
    headers.entry(DATE).or_insert_with(date::value);
    if let Some(length) = length {
        headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
}

/// Whether a field is none of HTTP/2's (RFC 9113 §8.2.2).
fn is_of_the_connection(name: &HeaderName) -> bool {
    match name.as_str().len() {
        2 => *name == TE,
        7 => *name == UPGRADE,
        10 => *name == CONNECTION || *name == KEEP_ALIVE,
        16 => *name == PROXY_CONNECTION,
        17 => *name == TRANSFER_ENCODING,
        _ => false,
    }
}

/// Removes what is of the connection, and what `Connection` names.
fn strip(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    for name in nominated.into_iter().chain([CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, UPGRADE])
    {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_keeps_nothing_of_the_connection() {
        for (before, length, after) in [
            (&[("x-a", "1"), ("content-length", "3")][..], Some(5), &[("content-length", "3"), ("x-a", "1")][..]),
            (&[("connection", "close, X-B"), ("x-b", "2"), ("x-c", "3")], None, &[("x-c", "3")]),
            (&[("upgrade", "h2c"), ("keep-alive", "5"), ("te", "trailers")], Some(0), &[("content-length", "0")]),
            (&[("transfer-encoding", "chunked"), ("proxy-connection", "close")], None, &[]),
        ] {
            let mut headers = before
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            prepare(&mut headers, length);
            assert!(headers.remove(DATE).is_some(), "{before:?}");
            let mut left: Vec<_> =
                headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("text"))).collect();
            left.sort_unstable();
            assert_eq!(left, after, "{before:?}");
        }
    }

    #[test]
    fn a_date_that_is_there_stays() {
        let mut headers = HeaderMap::from_iter([(DATE, HeaderValue::from_static("then"))]);
        prepare(&mut headers, None);
        assert_eq!(headers[DATE], "then");
    }
}
