//! The other end of the control socket: how a command talks to the proxy that runs.

use std::{
    io,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::{
    IssuedToken, Problem, Reloaded,
    wire::{TokenReply, TokenRequest},
};
use crate::{
    secret::Secret,
    session::{TokenKind, status::Report},
};

/// How long a call may take: a token may cost a refresh, whose attempts have their own limits below this.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The longest answer: `/metrics` with every label is a tenth of it.
const MAX_ANSWER: usize = 1024 * 1024;

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("{path}: no proxy is running")]
    NotRunning {
        /// The socket's path.
        path: PathBuf,
    },
    /// The socket is another user's.
    #[error("{path}: this proxy belongs to another user; run the command with sudo, or as that user")]
    Denied {
        /// The socket's path.
        path: PathBuf,
    },
    /// The connection failed.
    #[error("{path}: {source}")]
    Connection {
        /// The socket's path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What came was no HTTP, or ended before its end.
    #[error("{path}: the proxy's answer broke off")]
    Protocol {
        /// The socket's path.
        path: PathBuf,
        /// What the library says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("{path}: no answer within {} s", timeout.as_secs())]
    Timeout {
        /// The socket's path.
        path: PathBuf,
        /// How long was waited.
        timeout: Duration,
    },
    /// The proxy says no, and why.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// An answer that this version does not understand.
    #[error("{path}: the proxy's answer ({status}) is none that this version knows; do both have the same version?")]
    Malformed {
        /// The socket's path.
        path: PathBuf,
        /// The status that came with it.
        status: StatusCode,
    },
}

/// A proxy's control socket. Each call is a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    timeout: Duration,
}

impl Client {
    /// The proxy that listens at `path`.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, timeout: TIMEOUT }
    }

    /// The same, waiting at most `timeout` for each answer.
    #[must_use]
    pub const fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `/status.json`, as it is.
    pub async fn status(&self) -> Result<Report, ClientError> {
        let (status, body) = self.call(Method::GET, "/status.json", Bytes::new()).await?;
        self.parsed(status, &body)
    }

    /// `None` where the proxy is ready, else why not.
    pub async fn unready(&self) -> Result<Option<Problem>, ClientError> {
        match self.call(Method::GET, "/readyz", Bytes::new()).await {
            Ok(_) => Ok(None),
            Err(ClientError::Refused(problem)) if problem.status() == StatusCode::SERVICE_UNAVAILABLE => {
                Ok(Some(problem))
            }
            Err(error) => Err(error),
        }
    }

    /// A token of `kind` with at least `min_ttl` left.
    pub async fn token(&self, kind: TokenKind, min_ttl: Option<Duration>) -> Result<IssuedToken, ClientError> {
        let asked = serde_json::to_vec(&TokenRequest::new(kind, min_ttl)).unwrap_or_default();
        let (status, body) = self.call(Method::POST, "/token", asked.into()).await?;
        let reply: TokenReply = self.parsed(status, &body)?;
        reply.into_issued().ok_or_else(|| self.malformed(status))
    }

    /// Opens the idle lock.
    pub async fn unlock(&self) -> Result<(), ClientError> {
        self.call(Method::POST, "/unlock", Bytes::new()).await.map(|_| ())
    }

    /// Makes the proxy read its configuration again.
    pub async fn reload(&self) -> Result<Reloaded, ClientError> {
        let (status, body) = self.call(Method::POST, "/reload", Bytes::new()).await?;
        self.parsed(status, &body)
    }

    /// Hands over a sign-in: a session's record, as JSON.
    pub async fn adopt(&self, record: &Secret) -> Result<(), ClientError> {
        let record = Bytes::copy_from_slice(record.expose().as_bytes());
        self.call(Method::POST, "/session", record).await.map(|_| ())
    }

    /// Makes the proxy forget its session.
    pub async fn clear(&self) -> Result<(), ClientError> {
        self.call(Method::DELETE, "/session", Bytes::new()).await.map(|_| ())
    }

    /// The status and the body of a success.
    async fn call(&self, method: Method, path: &'static str, body: Bytes) -> Result<(StatusCode, Bytes), ClientError> {
        let timeout = self.timeout;
        let (status, body) = tokio::time::timeout(timeout, self.exchange(method, path, body))
            .await
            .map_err(|_| ClientError::Timeout { path: self.path.clone(), timeout })??;
        if status.is_success() {
            return Ok((status, body));
        }
        let problem: Problem = self.parsed(status, &body)?;
        Err(problem.into())
    }

    async fn exchange(
        &self,
        method: Method,
        path: &'static str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.path).await.map_err(|source| self.unconnected(source))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.broken(error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.broken(error))?;
        let answer = async move {
            let response = sender.send_request(request).await.map_err(|error| self.broken(error))?;
            let status = response.status();
            let body =
                Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(|error| self.broken(error))?;
            Ok((status, body.to_bytes()))
        };
        let (mut answer, mut connection) = (pin!(answer), pin!(connection));
        let mut open = true;
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                // Its end leaves what was read to be taken; an error of it is the answer's as well.
                _ = &mut connection, if open => open = false,
            }
        }
    }

    fn parsed<T: serde::de::DeserializeOwned>(&self, status: StatusCode, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|_| self.malformed(status))
    }

    fn malformed(&self, status: StatusCode) -> ClientError {
        ClientError::Malformed { path: self.path.clone(), status }
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Protocol { path: self.path.clone(), source: source.into() }
    }

    fn unconnected(&self, source: io::Error) -> ClientError {
        let path = self.path.clone();
        match source.kind() {
            // A socket that nobody listens on, or none at all.
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning { path },
            io::ErrorKind::PermissionDenied => ClientError::Denied { path },
            _ => ClientError::Connection { path, source },
        }
    }
}
