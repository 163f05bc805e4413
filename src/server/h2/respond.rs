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
    HeaderName, HeaderValue, Method,
    header::{CONNECTION, CONTENT_LENGTH, DATE, TE, TRANSFER_ENCODING, UPGRADE},
};
use http_body::Body;
use tokio::time::Instant;

use super::streams::Open;
use crate::{
    listen::Connection,
    message::{BoxError, ClientBody, Fields, Head as _, Received, Request, RequestHead, Response, Sending},
    reply,
    server::{Gate, date, exchange::Exchanges},
};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Answers the request of one stream, which counts as open until the end of its response. A client that resets it is
/// answered no further.
pub(super) async fn respond<G, S, F, B>(
    request: http::Request<RecvStream>,
    mut reply: SendResponse<Bytes>,
    exchanges: Rc<Exchanges<G, S>>,
    open: Open,
) where
    G: Gate,
    S: Fn(Request, Rc<Connection>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + From<reply::Body> + Unpin + 'static,
{
    // Dropped last, with what the stream holds.
    let _open = open;
    let (parts, stream) = request.into_parts();
    let mut head = RequestHead::empty();
    head.refill(parts);
    let is_head = head.method == Method::HEAD;
    let body = ClientBody::h2(Received::new(stream, &head.fields));
    let response = {
        let mut answering = pin!(exchanges.answer(Request { head, body }, Instant::now(), None));
        let answered = poll_fn(|cx| match answering.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => reply.poll_reset(cx).map(|_| None),
        });
        let Some(response) = answered.await else { return };
        response
    };
    let Response { mut head, body } = response;
    let is_empty = body.is_end_stream();
    prepare(&mut head.fields, if is_empty { None } else { body.size_hint().exact() });
    // The answer to HEAD is the head of what GET would be answered with (RFC 9110 §9.3.2).
    let is_over = is_empty || is_head;
    let sent = match reply.send_response(head.into_http(), is_over) {
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
fn prepare(fields: &mut Fields, length: Option<u64>) {
    let (mut of_the_connection, mut has_date, mut has_length) = (false, false, false);
    for name in fields.names() {
        match *name {
            DATE => has_date = true,
            CONTENT_LENGTH => has_length = true,
            _ => of_the_connection |= is_of_the_connection(name),
        }
    }
    if of_the_connection {
        strip(fields);
    }
    if !has_date {
        fields.append(DATE, date::value());
    }
    if let Some(length) = length.filter(|_| !has_length) {
        fields.append(CONTENT_LENGTH, HeaderValue::from(length));
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
fn strip(fields: &mut Fields) {
    let mut nominated: Vec<HeaderName> = fields
        .get_all(CONNECTION)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect();
    nominated.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    let is_nominated =
        |name: &HeaderName| nominated.binary_search_by(|other| other.as_str().cmp(name.as_str())).is_ok();
    fields.retain(|name, _| !is_of_the_connection(name) && !is_nominated(name));
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
            let mut fields: Fields = before
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect();
            prepare(&mut fields, length);
            assert!(fields.remove(DATE), "{before:?}");
            let mut left: Vec<_> = fields
                .iter()
                .map(|(name, value)| (name.as_str(), crate::message::visible(value).expect("text")))
                .collect();
            left.sort_unstable();
            assert_eq!(left, after, "{before:?}");
        }
    }

    #[test]
    fn a_date_that_is_there_stays() {
        let mut fields = Fields::from_iter([(DATE, HeaderValue::from_static("then"))]);
        prepare(&mut fields, None);
        assert_eq!(fields.get_all(DATE).collect::<Vec<_>>(), [b"then"]);
    }
}
