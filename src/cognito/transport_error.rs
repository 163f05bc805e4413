//! Why there is no answer, and how far the exchange had come.

use std::{error::Error, io, time::Duration};

use http::{Uri, uri::Scheme};

use crate::session::{Failure, TransientKind};

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

/// An error with its causes, each said once.
pub(super) fn chain(error: &dyn Error) -> String {
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
