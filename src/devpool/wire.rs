//! Bodies and heads of the AWS JSON 1.1 protocol, and of what stands in their place when something goes wrong.

use std::{convert::Infallible, io, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, LOCATION, RETRY_AFTER},
};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::{Value, json};

use super::{exception::Exception, fault::Portal, random};
use crate::clock::UnixTime;

/// The body of every answer. An error in it breaks the connection off.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

const AMZ_JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const ERROR_MESSAGE: HeaderName = HeaderName::from_static("x-amzn-errormessage");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const PORTAL_PAGE: &str = "<!doctype html><title>Welcome</title><p>Sign in to use this network.</p>\n";

/// A body that is there as a whole.
pub(super) fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// An answer of the API.
pub(super) fn api(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = plain(status, AMZ_JSON, body);
    insert(&mut response, REQUEST_ID, &random::uuid());
    response
}

/// An exception: `__type` and `message` in the body, and both again in the head, the first with a colon at its end.
pub(super) fn exception(exception: &Exception) -> Response<Body> {
    let body = json!({"__type": exception.name, "message": exception.message});
    let mut response = api(exception.status, body.to_string().into());
    insert(&mut response, ERROR_TYPE, &format!("{}:", exception.name));
    insert(&mut response, ERROR_MESSAGE, &exception.message);
    response
}

/// A public document.
pub(super) fn document(value: &Value) -> Response<Body> {
    let mut response = plain(StatusCode::OK, JSON, value.to_string().into());
    insert(&mut response, CACHE_CONTROL, "public, max-age=86400, immutable");
    response
}

/// What a load balancer says in the place of whom it stands before.
pub(super) fn bare_status(status: StatusCode) -> Response<Body> {
    plain(status, HTML, format!("<html><body><h1>{status}</h1></body></html>\n").into())
}

/// A captive portal's answer.
pub(super) fn portal(portal: Portal) -> Response<Body> {
    let status = match portal {
        Portal::Page => StatusCode::OK,
        Portal::Redirect => StatusCode::FOUND,
        Portal::NetworkAuthenticationRequired => StatusCode::NETWORK_AUTHENTICATION_REQUIRED,
    };
    let mut response = plain(status, HTML, PORTAL_PAGE.into());
    if portal == Portal::Redirect {
        insert(&mut response, LOCATION, "http://portal.example/login");
    }
    response
}

/// Adds `Retry-After` in whole seconds, rounded up.
pub(super) fn with_retry_after(mut response: Response<Body>, delay: Option<Duration>) -> Response<Body> {
    if let Some(delay) = delay {
        let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// Adds the `Date` of AWS's clock (RFC 9110 §6.6.1).
pub(super) fn with_date(mut response: Response<Body>, date: UnixTime) -> Response<Body> {
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    let timestamp = jiff::Timestamp::from_second(date.as_secs());
    if let Some(date) = timestamp.ok().and_then(|at| printer.timestamp_to_rfc9110_string(&at).ok()) {
        insert(&mut response, DATE, &date);
    }
    response
}

/// The same answer, of which only the first half of the body arrives.
pub(super) async fn truncated(response: Response<Body>) -> Response<Body> {
    let (head, body) = collected(response).await;
    let half = body.slice(..body.len() / 2);
    let frames = stream::unfold(Some(half), |half| async move {
        match half {
            Some(half) if !half.is_empty() => Some((Ok(Frame::data(half)), Some(Bytes::new()))),
            // The pause lets the half that is there be written before the connection breaks.
            Some(_) => {
                tokio::task::yield_now().await;
                Some((Err(io::Error::from(io::ErrorKind::ConnectionAborted)), None))
            }
            None => None,
        }
    });
    announced(head, body.len(), StreamBody::new(frames).boxed_unsync())
}

/// The same answer, of which one octet arrives every `interval`.
pub(super) async fn dripping(response: Response<Body>, interval: Duration) -> Response<Body> {
    let (head, body) = collected(response).await;
    let frames = stream::unfold(body.clone(), move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        tokio::time::sleep(interval).await;
        let octet = rest.split_to(1);
        Some((Ok(Frame::data(octet)), rest))
    });
    announced(head, body.len(), StreamBody::new(frames).boxed_unsync())
}

async fn collected(response: Response<Body>) -> (http::response::Parts, Bytes) {
    let (head, body) = response.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    (head, body)
}

fn announced(head: http::response::Parts, length: usize, body: Body) -> Response<Body> {
    let mut response = Response::from_parts(head, body);
    response.headers_mut().insert(CONTENT_LENGTH, length.into());
    response
}

fn plain(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
