//! The replies that the proxy itself makes: their codes, and the body type of every response.
//!
//! A client must never mistake the proxy for its upstream, so there is no 401 here, and every reply carries
//! `Proxy-Status` (RFC 9209) and a problem body (RFC 9457).

mod body;
mod render;

use std::time::Duration;

use http::StatusCode;

pub use self::{
    body::Body,
    render::{Form, PROXY_STATUS, respond, respond_as},
};

/// Every reason for which the proxy answers by itself. The `code` of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Nobody has signed in.
    LoginRequired,
    /// Cognito's verdict, and no token is left.
    SessionExpired,
    /// No token, and refreshing fails.
    RefreshFailing,
    /// The idle lock is closed.
    Locked,
    /// No room.
    Overloaded,
    /// The proxy is going down.
    Stopping,
    /// The Host is none of ours.
    HostNotAllowed,
    /// The Origin is not on the list.
    OriginNotAllowed,
    /// A browser says that another site asks.
    CrossSite,
    /// The connecting process belongs to somebody else.
    PeerNotAllowed,
    /// The client key is missing or wrong.
    ClientKeyRequired,
    /// `guard.require_header` is not there.
    HeaderRequired,
    /// The request is no request.
    BadRequest,
    /// CONNECT or TRACE.
    MethodRefused,
    /// The body of a request stopped coming.
    RequestTimeout,
    /// An `Expect` other than `100-continue`.
    ExpectationFailed,
    /// The header is too large.
    HeaderTooLarge,
    /// A transfer coding other than `chunked` alone.
    BadTransferCoding,
    /// The request has been here before.
    LoopDetected,
    /// No connection to the upstream.
    UpstreamUnreachable,
    /// The upstream's certificate or TLS.
    UpstreamTls,
    /// The upstream's answer is no HTTP.
    UpstreamBadResponse,
    /// The upstream took too long.
    UpstreamTimeout,
}

impl Code {
    /// Every code, in the order in which metrics list them.
    pub const ALL: [Self; 23] = [
        Self::LoginRequired,
        Self::SessionExpired,
        Self::RefreshFailing,
        Self::Locked,
        Self::Overloaded,
        Self::Stopping,
        Self::HostNotAllowed,
        Self::OriginNotAllowed,
        Self::CrossSite,
        Self::PeerNotAllowed,
        Self::ClientKeyRequired,
        Self::HeaderRequired,
        Self::BadRequest,
        Self::MethodRefused,
        Self::RequestTimeout,
        Self::ExpectationFailed,
        Self::HeaderTooLarge,
        Self::BadTransferCoding,
        Self::LoopDetected,
        Self::UpstreamUnreachable,
        Self::UpstreamTls,
        Self::UpstreamBadResponse,
        Self::UpstreamTimeout,
    ];

    /// The stable word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LoginRequired => "login_required",
            Self::SessionExpired => "session_expired",
            Self::RefreshFailing => "refresh_failing",
            Self::Locked => "locked",
            Self::Overloaded => "overloaded",
            Self::Stopping => "stopping",
            Self::HostNotAllowed => "host_not_allowed",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::CrossSite => "cross_site",
            Self::PeerNotAllowed => "peer_not_allowed",
            Self::ClientKeyRequired => "client_key_required",
            Self::HeaderRequired => "header_required",
            Self::BadRequest => "bad_request",
            Self::MethodRefused => "method_refused",
            Self::RequestTimeout => "request_timeout",
            Self::ExpectationFailed => "expectation_failed",
            Self::HeaderTooLarge => "header_too_large",
            Self::BadTransferCoding => "bad_transfer_coding",
            Self::LoopDetected => "loop_detected",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTls => "upstream_tls",
            Self::UpstreamBadResponse => "upstream_bad_response",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }

    /// The RFC 9209 §2.3 error type that `Proxy-Status` names, where nothing more exact is known.
    #[must_use]
    pub const fn error_type(self) -> &'static str {
        match self {
            Self::LoginRequired | Self::SessionExpired | Self::RefreshFailing | Self::Locked | Self::Stopping => {
                "proxy_internal_response"
            }
            Self::Overloaded => "connection_limit_reached",
            Self::HostNotAllowed
            | Self::OriginNotAllowed
            | Self::CrossSite
            | Self::PeerNotAllowed
            | Self::ClientKeyRequired
            | Self::HeaderRequired => "http_request_denied",
            Self::BadRequest
            | Self::MethodRefused
            | Self::RequestTimeout
            | Self::ExpectationFailed
            | Self::HeaderTooLarge
            | Self::BadTransferCoding => "http_request_error",
            Self::LoopDetected => "proxy_loop_detected",
            Self::UpstreamUnreachable => "destination_unavailable",
            Self::UpstreamTls => "tls_protocol_error",
            Self::UpstreamBadResponse => "http_protocol_error",
            Self::UpstreamTimeout => "http_response_timeout",
        }
    }

    /// What a person reads first: the `title` of RFC 9457 §3.1.3, the same for every occurrence.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::LoginRequired => "Sign-in needed",
            Self::SessionExpired => "The session has ended",
            Self::RefreshFailing => "No current token",
            Self::Locked => "The session is locked",
            Self::Overloaded => "No room",
            Self::Stopping => "The proxy is stopping",
            Self::HostNotAllowed => "Host not allowed",
            Self::OriginNotAllowed => "Origin not allowed",
            Self::CrossSite => "Cross-site request",
            Self::PeerNotAllowed => "Peer not allowed",
            Self::ClientKeyRequired => "Client key required",
            Self::HeaderRequired => "Header required",
            Self::BadRequest => "Bad request",
            Self::MethodRefused => "Method refused",
            Self::RequestTimeout => "The request's body stopped coming",
            Self::ExpectationFailed => "Expectation failed",
            Self::HeaderTooLarge => "Header too large",
            Self::BadTransferCoding => "Transfer coding refused",
            Self::LoopDetected => "Loop detected",
            Self::UpstreamUnreachable => "Upstream unreachable",
            Self::UpstreamTls => "No trusted connection to the upstream",
            Self::UpstreamBadResponse => "No usable response from the upstream",
            Self::UpstreamTimeout => "Upstream timed out",
        }
    }

    /// Whether the guard says it: those are counted as refusals and logged as such.
    #[must_use]
    pub const fn is_denial(self) -> bool {
        matches!(self.status(), StatusCode::FORBIDDEN)
    }

    /// The status that goes with it.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::LoginRequired
            | Self::SessionExpired
            | Self::RefreshFailing
            | Self::Locked
            | Self::Overloaded
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            Self::HostNotAllowed
            | Self::OriginNotAllowed
            | Self::CrossSite
            | Self::PeerNotAllowed
            | Self::ClientKeyRequired
            | Self::HeaderRequired => StatusCode::FORBIDDEN,
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::HeaderTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BadTransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::LoopDetected => StatusCode::LOOP_DETECTED,
            Self::UpstreamUnreachable | Self::UpstreamTls | Self::UpstreamBadResponse => StatusCode::BAD_GATEWAY,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// A reason to answer instead of forwarding, with what a person needs to mend it. Holds no secret and no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// One sentence on what happened.
    pub detail: String,
    /// The command to run, or the key to set.
    pub fix: String,
    /// `Retry-After`; every 503 has one, rounded up to whole seconds.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// A refusal without a time to come back at.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), fix: fix.into(), retry_after: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_is_a_401_and_every_word_is_its_own() {
        let mut words: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(
            Code::ALL.iter().all(|code| code.status() != StatusCode::UNAUTHORIZED && code.status().as_u16() >= 400)
        );
    }
}
