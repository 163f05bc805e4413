//! What arrived, as it came off the wire.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
};

use http::{HeaderMap, Method, Version, header::HeaderName};

use super::redact;
use crate::clock::UnixTime;

/// One request.
///
/// `headers` holds tokens in the clear: that is what tests compare. `Debug` shows them redacted.
#[derive(Clone)]
pub struct EchoRequest {
    /// Counted from 0.
    pub number: u64,
    /// When its head had arrived, in the pool's time.
    pub at: UnixTime,
    /// Which connection it came on, counted from 0.
    pub connection: u64,
    /// HTTP/1.0, HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// The method.
    pub method: Method,
    /// The request target, to the octet; in HTTP/2 `:path`.
    pub target: String,
    /// `:authority`, or the authority of an absolute target.
    pub authority: Option<String>,
    /// Every header.
    pub headers: HeaderMap,
    /// The first JWT found in a header.
    pub bearer: Option<Bearer>,
    /// How many octets of its body have arrived.
    pub body_bytes: u64,
    /// SHA-256 of its body in lower-case hex, once all of it has arrived.
    pub body_sha256: Option<String>,
    /// Whether more of its body is to come.
    pub body_end: BodyEnd,
    /// The trailers, where there were any.
    pub trailers: Option<HeaderMap>,
}

impl fmt::Debug for EchoRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchoRequest")
            .field("number", &self.number)
            .field("at", &self.at)
            .field("version", &self.version)
            .field("method", &self.method)
            .field("target", &redact::redacted(&self.target))
            .field("headers", &redact::headers(&self.headers).to_string())
            .field("bearer", &self.bearer)
            .field("body_bytes", &self.body_bytes)
            .field("body_end", &self.body_end)
            .finish_non_exhaustive()
    }
}

impl EchoRequest {
    /// The values of a header, as text.
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("[not ASCII]")).collect()
    }
}

/// Whether more of a body is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// Yes.
    Open,
    /// No: all of it is there.
    Complete,
    /// No: it broke off.
    Broken,
    /// It is not read.
    Ignored,
}

/// A token that came with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// Which header it was in.
    pub header: HeaderName,
    /// What stood before it, such as `Bearer`.
    pub scheme: Option<String>,
    /// `token_use`.
    pub token_use: String,
    /// `sub`.
    pub subject: String,
    /// `iss`.
    pub issuer: String,
    /// `jti`.
    pub jti: String,
    /// `iat`.
    pub issued_at: UnixTime,
    /// `exp`.
    pub expires_at: UnixTime,
    /// What the pool's keys and clock say to it.
    pub verdict: Verdict,
}

/// What a resource server with the pool's key set would say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It would accept it.
    Valid,
    /// Signed by the pool, and expired.
    Expired,
    /// Signed by the pool, and its `iat` is still to come.
    NotYetValid,
    /// Another issuer.
    WrongIssuer,
    /// Not signed by a key of the set.
    BadSignature,
}

impl Verdict {
    /// The word of the JSON answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongIssuer => "wrong_issuer",
            Self::BadSignature => "bad_signature",
        }
    }
}

/// All that arrived: the latest requests whole, and counters over every one.
#[derive(Clone, Debug)]
pub struct EchoLog {
    remembered: VecDeque<EchoRequest>,
    limit: usize,
    total: u64,
    without_token: u64,
    expired_on_arrival: u64,
    invalid: u64,
    distinct_tokens: BTreeSet<String>,
}

impl EchoLog {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            remembered: VecDeque::new(),
            limit,
            total: 0,
            without_token: 0,
            expired_on_arrival: 0,
            invalid: 0,
            distinct_tokens: BTreeSet::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        // Numbers go on, so that a body which is still arriving finds no other request in its place.
        let total = self.total;
        *self = Self::new(self.limit);
        self.total = total;
    }

    /// Adds a request and returns its number.
    pub(super) fn push(&mut self, mut request: EchoRequest) -> u64 {
        request.number = self.total;
        self.total += 1;
        match &request.bearer {
            None => self.without_token += 1,
            Some(bearer) => {
                self.expired_on_arrival += u64::from(bearer.verdict == Verdict::Expired);
                self.invalid += u64::from(bearer.verdict != Verdict::Valid);
                if !self.distinct_tokens.contains(&bearer.jti) {
                    self.distinct_tokens.insert(bearer.jti.clone());
                }
            }
        }
        let number = request.number;
        if self.limit > 0 {
            self.remembered.push_back(request);
        }
        while self.remembered.len() > self.limit {
            self.remembered.pop_front();
        }
        number
    }

    /// The request of that number, while it is remembered.
    pub(super) fn of_number(&mut self, number: u64) -> Option<&mut EchoRequest> {
        let first = self.remembered.front()?.number;
        self.remembered.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// The remembered requests, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &EchoRequest> {
        self.remembered.iter()
    }

    /// The latest request.
    #[must_use]
    pub fn last(&self) -> Option<&EchoRequest> {
        self.remembered.back()
    }

    /// How many requests arrived since the upstream started.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// How many had no JWT in any header.
    #[must_use]
    pub const fn without_token(&self) -> u64 {
        self.without_token
    }

    /// How many had a token that was good once and had expired when it arrived.
    #[must_use]
    pub const fn expired_on_arrival(&self) -> u64 {
        self.expired_on_arrival
    }

    /// How many had a token that a resource server would refuse, the expired ones among them.
    #[must_use]
    pub const fn invalid(&self) -> u64 {
        self.invalid
    }

    /// The `jti` of every token that came.
    #[must_use]
    pub const fn distinct_tokens(&self) -> &BTreeSet<String> {
        &self.distinct_tokens
    }
}
