//! One exchange with an HTTPS API: dial, speak, read the whole answer, close.
//!
//! Owns the knowledge of how far an exchange came when it failed, which decides whether a refresh token may have been
//! spent. Each exchange has a connection of its own: there is one every hour or so, and a pooled connection that died
//! in the meantime would look just like an answer that was lost. Redirects are never followed.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    dial::{Dialler, System, driven},
    egress::Egress,
    transport_error::{chain, peer},
};

pub use super::{dial::Resolve, transport_error::TransportError};
use crate::tls;

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

    /// Over TLS as the system trusts it, by the way out that the environment names. Nothing is read before it is needed:
    /// the system's certificates take longer than all the rest of a start.
    #[must_use]
    pub fn of_system() -> Self {
        Self { dialler: Arc::new(Dialler::of_system(Egress::from_env(), Arc::new(System))), limits: LIMITS }
    }

    /// Reads what TLS needs, where it has not been read.
    ///
    /// # Errors
    /// Where the system has no usable trust store.
    pub async fn prepare(&self) -> Result<(), tls::Error> {
        self.dialler.tls().await.map(drop)
    }

    /// Over `tls`, by this way out.
    #[must_use]
    pub fn through(tls: rustls::ClientConfig, egress: Egress) -> Self {
        Self::resolving(tls, egress, Arc::new(System))
    }

    /// Over `tls`, by this way out, and to the addresses that `names` knows.
    #[must_use]
    pub fn resolving(tls: rustls::ClientConfig, egress: Egress, names: Arc<dyn Resolve>) -> Self {
        Self { dialler: Arc::new(Dialler::new(tls, egress, names)), limits: LIMITS }
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

fn broken(error: &hyper::Error, peer: &str, sent: bool) -> TransportError {
    if error.is_parse() {
        TransportError::Malformed { peer: peer.to_owned(), problem: format!("no HTTP: {}", chain(error)) }
    } else {
        TransportError::Disconnected { peer: peer.to_owned(), problem: chain(error), sent }
    }
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
mod tests;
