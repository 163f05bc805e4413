//! The responses of the admin listener and the control socket, as values.
//!
//! Nothing here may be kept by a cache, sniffed for another type, or embedded by another origin.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS},
};
use serde::Serialize;

use super::{Body, wire::Problem};
use crate::reply::{self, Code, Form, PROXY_STATUS, Refusal};

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// A probe that failed is repeated soon anyway.
const RETRY_SECONDS: u64 = 5;

pub(super) fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    response
}

pub(super) fn text(body: &'static str) -> Response<Bytes> {
    respond(StatusCode::OK, "text/plain; charset=utf-8", body)
}

/// Server-sent events (WHATWG HTML §9.2).
pub(super) fn events(body: Body) -> Response<Body> {
    respond(StatusCode::OK, "text/event-stream", Bytes::new()).map(|_| body)
}

/// Too many listen already.
pub(super) fn overheard(listeners: usize) -> Response<Bytes> {
    let mut response = problem(&Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        Code::Overloaded.as_str(),
        &format!("{listeners} others listen already"),
        "close a page that shows the status, or ask for /status.json",
    ));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
    response
}

pub(super) fn metrics(document: String) -> Response<Bytes> {
    respond(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", document)
}

pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Response<Bytes> {
    match serde_json::to_vec(document) {
        Ok(body) => respond(status, "application/json", body),
        // Not for any document of this program: they have string keys and no custom serialisers.
        Err(_) => respond(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", "not serialisable\n"),
    }
}

pub(super) fn no_content() -> Response<Bytes> {
    let mut response = respond(StatusCode::NO_CONTENT, "application/json", Bytes::new());
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

/// What HEAD gets: everything but the body, its length included (RFC 9110 §9.3.2).
pub(super) fn without_body(mut response: Response<Bytes>) -> Response<Bytes> {
    let length = std::mem::take(response.body_mut()).len();
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// A 503 that says nothing but why: probes come from anywhere.
pub(super) fn code_alone(code: &'static str) -> Response<Bytes> {
    let mut response = problem(&Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, "", ""));
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_SECONDS));
    response
}

/// Why there is nothing at `path`.
pub(super) fn not_found(path: &str) -> Problem {
    let path: String = path.chars().take(100).collect();
    Problem::new(
        StatusCode::NOT_FOUND,
        "not_found",
        &format!("there is no {path} here"),
        "ask for /status, /status.json, /events, /metrics, /livez or /readyz; requests to the upstream go to the proxy's address",
    )
}

/// To the status page, by this status (RFC 9110 §15.4).
pub(super) fn to_the_page(status: StatusCode) -> Response<Bytes> {
    let mut response = respond(status, "text/plain; charset=utf-8", "see /status\n");
    response.headers_mut().insert(LOCATION, HeaderValue::from_static("/status"));
    response
}

pub(super) fn method_not_allowed(allow: &'static str) -> Response<Bytes> {
    let mut response = problem(&Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_refused",
        "this cannot be done here with that method",
        &format!("use {allow}"),
    ));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

pub(super) fn refused(refusal: &Refusal) -> Response<Bytes> {
    reply::respond(refusal, Form::Problem).map(reply::Body::into_bytes)
}

pub(super) fn problem(problem: &Problem) -> Response<Bytes> {
    let mut response = json(problem.status(), problem);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    with_proxy_status(response, problem)
}

/// `response`, and for machines what it says (RFC 9209).
pub(super) fn with_proxy_status(mut response: Response<Bytes>, problem: &Problem) -> Response<Bytes> {
    let error = match problem.status() {
        StatusCode::FORBIDDEN => "http_request_denied",
        status if status.is_client_error() => "http_request_error",
        _ => "proxy_internal_response",
    };
    let said = format!("cognito-proxy; error={error}; details=\"{}\"", problem.code);
    if let Ok(said) = HeaderValue::try_from(said) {
        response.headers_mut().insert(PROXY_STATUS, said);
    }
    response
}
