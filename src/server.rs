//! Accepting connections and serving requests on them, within limits.

use std::time::Duration;

/// `[limits]` and `[runtime]`, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `limits.header_timeout`.
    pub header_timeout: Duration,
    /// `limits.first_byte_timeout`.
    pub first_byte_timeout: Duration,
    /// `limits.idle_timeout`.
    pub idle_timeout: Duration,
    /// `limits.body_idle_timeout`.
    pub body_idle_timeout: Duration,
    /// `limits.max_header_bytes`.
    pub max_header_bytes: usize,
    /// `limits.max_connections`.
    pub max_connections: usize,
    /// `runtime.drain_timeout`.
    pub drain_timeout: Duration,
    /// `log.access`.
    pub access_log: bool,
}
