//! The upstream's answers: JSON about the request, and bodies that stream.

use std::{io, time::Duration};

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE},
};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::{log::EchoRequest, redact};
use crate::{
    clock::UnixTime,
    devpool::wire::{Body, full},
};

/// Downloads come in pieces of this size, which is what a TLS record and many buffers hold.
const PIECE: usize = 16 * 1024;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// What came, as JSON. Tokens appear as their claims alone.
pub(super) fn echo(request: &EchoRequest, now: UnixTime) -> Response<Body> {
    let token = request.bearer.as_ref().map(|bearer| {
        json!({
            "header": bearer.header.as_str(),
            "verdict": bearer.verdict.as_str(),
            "expires_in_s": bearer.expires_at.millis_since(now).div_euclid(1000),
        })
    });
    json_body(&json!({
        "method": request.method.as_str(),
        "target": redact::redacted(&request.target),
        "version": format!("{:?}", request.version),
        "headers": redact::headers(&request.headers),
        "token": token,
        "body_bytes": request.body_bytes,
        "body_sha256": request.body_sha256,
    }))
}

/// How long the body was.
pub(super) fn received(request: &EchoRequest) -> Response<Body> {
    json_body(&json!({"body_bytes": request.body_bytes, "body_sha256": request.body_sha256}))
}

/// A status, with the challenge that a 401 must have (RFC 6750 §3).
pub(super) fn status(status: StatusCode) -> Response<Body> {
    let mut response = json_body(&json!({"status": status.as_u16()}));
    // 204 and 304 have no body (RFC 9110 §15.3.5, §15.4.5).
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        response = Response::new(full(Bytes::new()));
    }
    *response.status_mut() = status;
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}

/// A status and headers. Those that are none are left out.
pub(super) fn with_headers(code: StatusCode, pairs: &[(String, String)]) -> Response<Body> {
    let mut response = status(code);
    for (name, value) in pairs {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// A download of `length` octets, of which `sent` arrive before the connection closes.
pub(super) fn download(length: u64, sent: u64) -> Response<Body> {
    let pieces = stream::unfold(sent, move |left| async move {
        if left > 0 {
            let piece = left.min(PIECE as u64);
            let octets = ZEROS.get(..usize::try_from(piece).unwrap_or(PIECE)).unwrap_or_default();
            return Some((Ok(Frame::data(Bytes::from_static(octets))), left - piece));
        }
        if sent < length {
            // The pause lets what is there be written before the connection breaks.
            tokio::task::yield_now().await;
            return Some((Err(io::Error::from(io::ErrorKind::ConnectionAborted)), 0));
        }
        None
    });
    let mut response = streamed("application/octet-stream", pieces);
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

/// An event every `interval`: its number, counted from 0.
pub(super) fn sse(count: Option<u64>, interval: Duration) -> Response<Body> {
    let events = stream::unfold(0_u64, move |number| async move {
        if count.is_some_and(|count| number >= count) {
            return None;
        }
        tokio::time::sleep(interval).await;
        Some((Ok(event(&number.to_string())), number + 1))
    });
    event_stream(events)
}

/// The events that are pushed from now on. A reader that falls behind loses the oldest.
pub(super) fn events(receiver: broadcast::Receiver<String>) -> Response<Body> {
    let events = stream::unfold(receiver, |mut receiver| async move {
        loop {
            match receiver.recv().await {
                Ok(text) => return Some((Ok(event(&text)), receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    });
    event_stream(events)
}

/// The body of a request, given back as it is.
pub(super) fn duplex(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

fn event(text: &str) -> Frame<Bytes> {
    Frame::data(format!("data: {text}\n\n").into())
}

fn event_stream(events: impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static) -> Response<Body> {
    let mut response = streamed("text/event-stream", events);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn streamed(
    content_type: &'static str,
    frames: impl Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static,
) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(frames.fuse()).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn json_body(value: &Value) -> Response<Body> {
    let mut response = Response::new(full(format!("{value:#}\n")));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
