//! Tokens in headers: found, checked against the pool, and kept out of what is shown.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use http::HeaderMap;

use super::{
    log::{Bearer, Verdict},
    redact,
};
use crate::{
    clock::UnixTime,
    devpool::{jwt::Parts, shared::Shared},
};

/// A load test sends the same token many thousand times; this many different ones are remembered.
const REMEMBERED: usize = 1024;

/// What was found out about a token's signature and issuer, which time does not change.
#[derive(Clone, Debug)]
struct Known {
    verdict: Verdict,
    token_use: String,
    subject: String,
    issuer: String,
    jti: String,
    issued_at: UnixTime,
    expires_at: UnixTime,
}

/// Checks tokens against a pool.
pub(super) struct Checker {
    pool: Arc<Shared>,
    /// By token; with the generation of the keys that they were checked with.
    known: Mutex<(usize, HashMap<String, Known>)>,
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").finish_non_exhaustive()
    }
}

impl Checker {
    pub(super) fn new(pool: Arc<Shared>) -> Self {
        Self { pool, known: Mutex::default() }
    }

    /// The pool's time.
    pub(super) fn now(&self) -> UnixTime {
        self.pool.aws_now()
    }

    /// The first JWT in a header, and what the pool says to it at `now`.
    pub(super) fn bearer(&self, headers: &HeaderMap, now: UnixTime) -> Option<Bearer> {
        headers.iter().find_map(|(name, value)| {
            let (scheme, token) = redact::split(value.to_str().ok()?)?;
            let known = self.known(token)?;
            let verdict = match known.verdict {
                Verdict::Valid if now >= known.expires_at => Verdict::Expired,
                // `iat` has whole seconds, rounded down.
                Verdict::Valid if now < known.issued_at => Verdict::NotYetValid,
                verdict => verdict,
            };
            Some(Bearer {
                header: name.clone(),
                scheme: scheme.map(ToOwned::to_owned),
                token_use: known.token_use,
                subject: known.subject,
                issuer: known.issuer,
                jti: known.jti,
                issued_at: known.issued_at,
                expires_at: known.expires_at,
                verdict,
            })
        })
    }

    fn known(&self, token: &str) -> Option<Known> {
        let generation = self.pool.lock().pool.key_generation();
        let mut memory = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.0 != generation || memory.1.len() >= REMEMBERED {
            *memory = (generation, HashMap::new());
        }
        if let Some(known) = memory.1.get(token) {
            return Some(known.clone());
        }
        let known = self.examine(&Parts::of(token)?);
        memory.1.insert(token.to_owned(), known.clone());
        Some(known)
    }

    fn examine(&self, parts: &Parts<'_>) -> Known {
        let time = |claim| UnixTime::from_secs(parts.number(claim).unwrap_or_default());
        Known {
            verdict: self.verdict_without_time(parts),
            token_use: parts.claim("token_use").to_owned(),
            subject: parts.claim("sub").to_owned(),
            issuer: parts.claim("iss").to_owned(),
            jti: parts.claim("jti").to_owned(),
            issued_at: time("iat"),
            expires_at: time("exp"),
        }
    }

    fn verdict_without_time(&self, parts: &Parts<'_>) -> Verdict {
        let inner = self.pool.lock();
        if parts.claim("iss") != inner.pool.issuer {
            return Verdict::WrongIssuer;
        }
        let mut keys = inner.pool.published_keys();
        let key = keys.find_map(|keys| keys.by_kid(parts.header("kid")));
        match key {
            Some(key) if parts.header("alg") == "RS256" && key.is_signature(parts.signed, &parts.signature) => {
                Verdict::Valid
            }
            _ => Verdict::BadSignature,
        }
    }
}
