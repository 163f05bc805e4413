//! Why an upstream gave no response that can be passed on, and what a client is told of it: never an address, never
//! somebody else's words.

use std::{error::Error as _, io};

use crate::reply::{Code, Refusal};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong on the way to a response.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The upstream's name cannot be resolved.
    #[error("the upstream's name cannot be resolved")]
    Dns(#[source] io::Error),
    /// No connection.
    #[error("no connection to the upstream")]
    Connect(#[source] io::Error),
    /// No connection in `connect_timeout`.
    #[error("no connection to the upstream in time")]
    ConnectTimeout,
    /// The proxy that the environment names opens no tunnel; its status, where it gave one.
    #[error("the proxy in HTTPS_PROXY opens no tunnel to the upstream{}", status(*.0))]
    Tunnel(Option<u16>),
    /// TLS was not agreed on.
    #[error("no TLS with the upstream")]
    Tls(#[source] io::Error),
    /// Every connection of `max_connections` is in use, and none came free in time.
    #[error("no free connection to the upstream")]
    NoRoom,
    /// The connection ended before a response came.
    #[error("the upstream closed the connection")]
    Lost(#[source] BoxError),
    /// The connection ended in the middle of a response's head.
    #[error("the upstream closed the connection in the middle of its response")]
    Incomplete(#[source] BoxError),
    /// What came is no response.
    #[error("the upstream's response is not HTTP")]
    Malformed(#[source] Option<BoxError>),
    /// No response in `response_header_timeout`.
    #[error("no response from the upstream in time")]
    ResponseTimeout,
    /// The client's own body is malformed.
    #[error("the request's body is malformed")]
    ClientBody,
    /// The client's body stopped coming.
    #[error("the request's body stopped coming")]
    ClientTimeout,
}

/// How an HTTP/2 upstream says that it did not begin to process a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unprocessed {
    /// It takes no more requests on this connection.
    GoingAway,
    /// It did not take this one.
    Refused,
}

impl Failure {
    /// What became of a stream or connection of HTTP/2.
    pub(super) fn of(error: h2::Error) -> Self {
        Self::Lost(error.into())
    }

    /// Whether the connection was gone, which says nothing about the request.
    pub(super) const fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_))
    }

    /// Whether the upstream has said that it did not begin to process the request, which may then be sent again whatever
    /// its method (RFC 9113 §8.7), and how.
    pub(super) fn unprocessed(&self) -> Option<Unprocessed> {
        let Self::Lost(error) = self else { return None };
        let error = error.downcast_ref::<h2::Error>().filter(|error| error.is_remote())?;
        match error.reason()? {
            // Only streams beyond the last one that GOAWAY names fail so; the others go on (RFC 9113 §6.8).
            h2::Reason::NO_ERROR if error.is_go_away() => Some(Unprocessed::GoingAway),
            h2::Reason::REFUSED_STREAM if error.is_reset() => Some(Unprocessed::Refused),
            _ => None,
        }
    }

    /// The error type of RFC 9209 §2.3.
    pub(super) fn error_type(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns_error",
            Self::Connect(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => "connection_refused",
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "destination_ip_unroutable",
                _ => "destination_unavailable",
            },
            Self::Tunnel(_) => "destination_unavailable",
            Self::ConnectTimeout => "connection_timeout",
            Self::Tls(error) if is_about_the_certificate(error) => "tls_certificate_error",
            Self::Tls(_) => "tls_protocol_error",
            Self::NoRoom => "connection_limit_reached",
            Self::Lost(_) => "connection_terminated",
            Self::Incomplete(_) => "http_response_incomplete",
            Self::Malformed(_) => "http_protocol_error",
            Self::ResponseTimeout => "http_response_timeout",
            Self::ClientBody | Self::ClientTimeout => "http_request_error",
        }
    }

    /// What the client is told; `doctor` is the command that looks into it.
    pub(super) fn refusal(&self, doctor: &str) -> Refusal {
        let (code, fix) = match self {
            Self::Dns(_) | Self::Connect(_) => {
                let fix = format!("check upstream.url, and whether the upstream runs: {doctor}");
                return Refusal::new(Code::UpstreamUnreachable, self.to_string(), fix);
            }
            Self::Tunnel(_) => (Code::UpstreamUnreachable, "check HTTPS_PROXY and NO_PROXY"),
            Self::ConnectTimeout => (Code::UpstreamTimeout, "check the network, or raise upstream.connect_timeout"),
            Self::Tls(error) if is_about_the_certificate(error) => {
                (Code::UpstreamTls, "set upstream.ca_file to the authority that signed the upstream's certificate")
            }
            Self::Tls(_) => {
                let fix = format!("check the scheme and port in upstream.url: {doctor}");
                return Refusal::new(Code::UpstreamTls, self.to_string(), fix);
            }
            Self::NoRoom => (Code::Overloaded, "raise upstream.max_connections"),
            Self::Lost(_) | Self::Incomplete(_) => {
                (Code::UpstreamBadResponse, "try again; look into the upstream's log if it stays")
            }
            Self::Malformed(_) => (Code::UpstreamBadResponse, "check that upstream.url leads to an HTTP server"),
            Self::ResponseTimeout => (Code::UpstreamTimeout, "raise upstream.response_header_timeout"),
            Self::ClientBody => (Code::BadRequest, "send a body that is framed as its header says"),
            Self::ClientTimeout => {
                (Code::RequestTimeout, "send the body without pauses, or raise limits.body_idle_timeout")
            }
        };
        Refusal::new(code, self.to_string(), fix)
    }
}

fn status(status: Option<u16>) -> String {
    status.map(|status| format!(" (status {status})")).unwrap_or_default()
}

fn is_about_the_certificate(error: &io::Error) -> bool {
    let mut source = error.get_ref().map(|error| error as &(dyn std::error::Error + 'static));
    while let Some(cause) = source {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return matches!(error, rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented);
        }
        source = cause.source();
    }
    let _ = error.source();
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_told_from_other_faults_of_tls() {
        let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let failure = Failure::Tls(io::Error::new(io::ErrorKind::InvalidData, expired));
        assert_eq!((failure.error_type(), failure.refusal("").code), ("tls_certificate_error", Code::UpstreamTls));
        let other = Failure::Tls(io::Error::new(io::ErrorKind::InvalidData, rustls::Error::HandshakeNotComplete));
        assert_eq!(other.error_type(), "tls_protocol_error");
    }

    #[test]
    fn a_client_hears_nothing_of_addresses() {
        let error = io::Error::new(io::ErrorKind::ConnectionRefused, "127.0.0.1:80 said no");
        let failure = Failure::Connect(error);
        assert_eq!(failure.error_type(), "connection_refused");
        assert!(!failure.refusal("").detail.contains("127.0.0.1"));
    }
}
