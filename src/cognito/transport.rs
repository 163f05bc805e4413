//! One exchange with an HTTPS API: dial, speak, read the whole answer, close.
//!
//! Owns the knowledge of how far an exchange came when it failed, which decides whether a refresh token may have been
//! spent. Each exchange has a connection of its own: there is one every hour or so, and a pooled connection that died
//! in the meantime would look just like an answer that was lost. Redirects are never followed.

use std::{io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::{HeaderValue, Request, Response, Uri, header, uri::Scheme};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout, timeout_at};

use super::{dial::Dialler, egress::Egress};
use crate::session::{Failure, TransientKind};

/// How long an exchange may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Name, connection, tunnel and TLS together.
    pub(super) connect: Duration,
    /// Everything, to the last byte of the answer, however it drips.
    pub(super) total: Duration,
}

/// Long enough for a slow network, and short enough for the requests that wait.
const LIMITS: Limits = Limits { connect: Duration::from_secs(5), total: Duration::from_secs(10) };

/// More than any answer of Cognito: ten tokens of the greatest size.
const BODY_LIMIT: usize = 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address makes no sense.
    #[error("{uri} is no http or https URL with a host")]
    Address {
        /// What was to be dialled.
        uri: String,
    },
    /// The name could not be resolved.
    #[error("{host} could not be resolved: {source}")]
    Dns {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// No connection.
    #[error("no connection to {peer}: {source}")]
    Connect {
        /// Host and port.
        peer: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The proxy in `HTTPS_PROXY` opened no tunnel.
    #[error("the proxy {proxy} (HTTPS_PROXY) opened no tunnel to {peer}: {problem}")]
    Proxy {
        /// Host and port of the proxy.
        proxy: String,
        /// Host and port beyond it.
        peer: String,
        /// What it answered instead.
        problem: String,
    },
    /// The certificate, or the protocol, of whoever answered.
    #[error("{host}: {source}")]
    Tls {
        /// The name that the certificate had to be for.
        host: String,
        /// What TLS said.
        source: rustls::Error,
    },
    /// Too late.
    #[error("{peer} did not {missing} within {} s", .limit.as_secs_f32())]
    Timeout {
        /// Host and port.
        peer: String,
        /// What it did not do.
        missing: &'static str,
        /// The time that it had.
        limit: Duration,
        /// Whether the request may have reached it.
        sent: bool,
    },
    /// The connection broke.
    #[error("{peer} closed the connection: {problem}")]
    Disconnected {
        /// Host and port.
        peer: String,
        /// How.
        problem: String,
        /// Whether the request may have reached it.
        sent: bool,
    },
    /// A page where an API answer should be.
    #[error("{peer} answered {status} with a page instead of an API's answer: is there a captive portal?")]
    Page {
        /// Host and port.
        peer: String,
        /// The status.
        status: u16,
    },
    /// An answer that is no HTTP, or too long.
    #[error("{peer} answered with {problem}")]
    Malformed {
        /// Host and port.
        peer: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl TransportError {
    /// Its name in the words of the session.
    #[must_use]
    pub const fn kind(&self) -> TransientKind {
        match self {
            Self::Dns { .. } => TransientKind::Dns,
            Self::Address { .. } | Self::Connect { .. } | Self::Proxy { .. } => TransientKind::Connect,
            Self::Tls { .. } => TransientKind::Tls,
            Self::Timeout { .. } => TransientKind::Timeout,
            Self::Disconnected { .. } => TransientKind::Disconnected,
            Self::Page { .. } => TransientKind::CaptivePortal,
            Self::Malformed { .. } => TransientKind::Malformed,
        }
    }

    /// Whether the request may have been acted upon and its answer lost.
    #[must_use]
    pub const fn sent(&self) -> bool {
        match self {
            Self::Timeout { sent, .. } | Self::Disconnected { sent, .. } => *sent,
            Self::Address { .. }
            | Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Proxy { .. }
            | Self::Tls { .. }
            | Self::Page { .. }
            | Self::Malformed { .. } => false,
        }
    }

    /// The same as a failure of a refresh.
    #[must_use]
    pub fn failure(&self) -> Failure {
        Failure::Transient { kind: self.kind(), sent: self.sent(), detail: self.to_string() }
    }
}

/// Speaks HTTP/1.1 with APIs over TLS, through the proxy of the environment where there is one.
#[derive(Clone, Debug)]
pub struct Transport {
    dialler: Arc<Dialler>,
    limits: Limits,
}

impl Transport {
    /// Over `tls`, by the way out that the environment names.
    #[must_use]
    pub fn new(tls: rustls::ClientConfig) -> Self {
        Self::through(tls, Egress::from_env())
    }

    /// Over `tls`, by this way out.
    #[must_use]
    pub fn through(tls: rustls::ClientConfig, egress: Egress) -> Self {
        Self { dialler: Arc::new(Dialler::new(tls, egress)), limits: LIMITS }
    }

    /// The same with less patience, for tests.
    #[cfg(test)]
    pub(super) fn limited(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sends `request`, whose URI is absolute, and reads the whole answer, at most 1 MiB of it in at most ten seconds.
    ///
    /// # Errors
    /// Where there is no answer, or where a page came instead of an API's answer.
    pub async fn call(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let limits = self.limits;
        let deadline = Instant::now() + limits.total;
        let peer = peer(request.uri())?;
        let connecting = self.dialler.connect(request.uri());
        let Ok(stream) = timeout(limits.connect, connecting).await else {
            return Err(TransportError::Timeout { peer, missing: "connect", limit: limits.connect, sent: false });
        };
        let exchange = exchange(TokioIo::new(stream?), origin_form(request, &peer), &peer);
        let Ok(response) = timeout_at(deadline, exchange).await else {
            return Err(TransportError::Timeout { peer, missing: "answer", limit: limits.total, sent: true });
        };
        refuse_page(response?, peer)
    }
}

/// Host and port of `uri`, with the port that its scheme implies.
pub(super) fn peer(uri: &Uri) -> Result<String, TransportError> {
    let port = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => Some(443),
        Some(scheme) if *scheme == Scheme::HTTP => Some(80),
        _ => None,
    };
    match (uri.host(), uri.port_u16().or(port)) {
        (Some(host), Some(port)) if uri.scheme().is_some() => Ok(format!("{host}:{port}")),
        _ => Err(TransportError::Address { uri: uri.to_string() }),
    }
}

/// The request as a server wants it (RFC 9112 §3.2.1): the path alone, and the Host beside it.
fn origin_form(request: Request<Bytes>, peer: &str) -> Request<Full<Bytes>> {
    let (mut parts, body) = request.into_parts();
    let host = match (parts.uri.host(), parts.uri.port_u16()) {
        (Some(host), None) => host.to_owned(),
        _ => peer.to_owned(),
    };
    if let Ok(host) = HeaderValue::try_from(host) {
        parts.headers.insert(header::HOST, host);
    }
    let path = parts.uri.path_and_query().cloned();
    parts.uri = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    Request::from_parts(parts, Full::new(body))
}

async fn exchange<S>(
    stream: TokioIo<S>,
    request: Request<Full<Bytes>>,
    peer: &str,
) -> Result<Response<Bytes>, TransportError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let unsent = |error: hyper::Error| TransportError::Disconnected {
        peer: peer.to_owned(),
        problem: chain(&error),
        sent: false,
    };
    let (mut sender, connection) = http1::handshake(stream).await.map_err(unsent)?;
    let answer = async move {
        let response = sender.try_send_request(request).await.map_err(|mut refused| {
            let sent = refused.take_message().is_none();
            broken(&refused.into_error(), peer, sent)
        })?;
        let (parts, body) = response.into_parts();
        match Limited::new(body, BODY_LIMIT).collect().await {
            Ok(body) => Ok(Response::from_parts(parts, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => {
                Err(TransportError::Malformed { peer: peer.to_owned(), problem: "more than a mebibyte".into() })
            }
            Err(error) => Err(match error.downcast::<hyper::Error>() {
                Ok(error) => broken(&error, peer, true),
                Err(error) => TransportError::Malformed { peer: peer.to_owned(), problem: error.to_string() },
            }),
        }
    };
    driven(answer, connection).await
}

/// Polls a connection for as long as what happens over it takes, so that no task of its own is needed for it.
pub(super) async fn driven<T>(work: impl Future<Output = T>, connection: impl Future) -> T {
    match select(pin!(work), pin!(connection)).await {
        Either::Left((value, _)) => value,
        Either::Right((_, work)) => work.await,
    }
}

fn broken(error: &hyper::Error, peer: &str, sent: bool) -> TransportError {
    if error.is_parse() {
        TransportError::Malformed { peer: peer.to_owned(), problem: format!("no HTTP: {}", chain(error)) }
    } else {
        TransportError::Disconnected { peer: peer.to_owned(), problem: chain(error), sent }
    }
}

/// An error with its causes, each said once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

/// A redirect, a request to log on to the network, or HTML: nobody that an API call was meant for. A server's own
/// error page (5xx) is that server's error.
fn refuse_page(response: Response<Bytes>, peer: String) -> Result<Response<Bytes>, TransportError> {
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE).map_or(&[][..], HeaderValue::as_bytes);
    let html = content_type.to_ascii_lowercase().starts_with(b"text/html")
        || response.body().trim_ascii_start().first() == Some(&b'<');
    // 511: RFC 6585 §6.
    if status.is_redirection() || status.as_u16() == 511 || (html && !status.is_server_error()) {
        return Err(TransportError::Page { peer, status: status.as_u16() });
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::{
        super::fixtures::{Act, Scripted, body, json, plain},
        *,
    };

    const HASTY: Limits = Limits { connect: Duration::from_millis(300), total: Duration::from_millis(600) };

    async fn post(transport: &Transport, url: &str) -> Result<Response<Bytes>, TransportError> {
        let request = Request::builder().method("POST").uri(url).body(Bytes::from_static(b"spent"));
        transport.call(request.expect("a request")).await
    }

    fn said(error: &TransportError) -> (TransientKind, bool) {
        (error.kind(), error.sent())
    }

    #[tokio::test]
    async fn an_answer_comes_whole_and_the_request_has_a_host() {
        let server = Scripted::start([json(200, "{}")]).await;
        let response = post(&plain(), &format!("{}/x?y=1", server.url())).await.expect("an answer");
        assert_eq!((response.status(), response.body().as_ref()), (StatusCode::OK, &b"{}"[..]));
        let peer = server.url().trim_start_matches("http://").to_owned();
        let request = server.requests().await.remove(0);
        assert!(request.starts_with("POST /x?y=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: {peer}\r\n")) && request.ends_with("\r\n\r\nspent"), "{request}");
    }

    #[tokio::test]
    async fn what_fails_before_the_request_was_written_was_not_sent() {
        let closed = Scripted::start([]).await.url();
        let tls = |server: &Scripted| server.url().replacen("http", "https", 1);
        let garbage = Scripted::start([Act::Speak(b"220 smtp.example ESMTP\r\n".to_vec())]).await;
        let mute = Scripted::start([Act::Hang]).await;
        let hasty = Scripted::start([Act::CloseAtOnce]).await;
        for (url, kind) in [
            ("https://no-such-name.invalid/".to_owned(), TransientKind::Dns),
            (closed, TransientKind::Connect),
            ("ftp://127.0.0.1/".to_owned(), TransientKind::Connect),
            (tls(&garbage), TransientKind::Tls),
            (tls(&mute), TransientKind::Timeout),
            (tls(&hasty), TransientKind::Disconnected),
        ] {
            // A name that does not exist may take its time; nothing else needs any.
            let patience = if kind == TransientKind::Dns { LIMITS } else { HASTY };
            let error = post(&plain().limited(patience), &url).await.expect_err("no answer");
            assert!(said(&error) == (kind, false) || kind == TransientKind::Dns && !error.sent(), "{url}: {error}");
        }
    }

    #[tokio::test]
    async fn what_fails_after_the_request_was_written_may_have_been_acted_upon() {
        let truncated = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec();
        for (act, kind) in [
            (Act::Hang, TransientKind::Timeout),
            (Act::Drip, TransientKind::Timeout),
            (Act::Reset, TransientKind::Disconnected),
            (Act::Close, TransientKind::Disconnected),
            (Act::Answer(truncated), TransientKind::Disconnected),
        ] {
            let name = format!("{act:?}");
            let server = Scripted::start([act]).await;
            let error = post(&plain().limited(HASTY), &server.url()).await.expect_err("no answer");
            assert_eq!(said(&error), (kind, true), "{name}: {error}");
            assert_eq!(server.requests().await.len(), 1, "{name}");
        }
    }

    #[tokio::test]
    async fn pages_are_refused_and_redirects_not_followed() {
        let html = "text/html; charset=utf-8";
        for (act, refused) in [
            (body(200, html, "<p>Welcome to the airport"), true),
            (body(200, "text/plain", "  <!doctype html>"), true),
            (body(302, "application/json", "{}"), true),
            (body(511, "application/json", "{}"), true),
            (body(403, html, "<p>blocked"), true),
            (body(503, html, "<p>Service unavailable"), false),
            (json(400, "{}"), false),
        ] {
            let server = Scripted::start([act]).await;
            let answer = post(&plain(), &server.url()).await;
            assert_eq!(answer.is_err(), refused, "{answer:?}");
            if let Err(error) = answer {
                assert_eq!(said(&error), (TransientKind::CaptivePortal, false));
            }
            assert_eq!(server.requests().await.len(), 1);
        }
    }

    #[tokio::test]
    async fn what_is_no_http_or_has_no_end_is_malformed() {
        let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", " ".repeat(BODY_LIMIT + 1)).into_bytes();
        for act in [Act::Answer(b"220 smtp.example ESMTP\r\n\r\n".to_vec()), Act::Answer(endless)] {
            let server = Scripted::start([act]).await;
            let error = post(&plain(), &server.url()).await.expect_err("refused");
            assert_eq!(said(&error), (TransientKind::Malformed, false), "{error}");
        }
    }
}
