//! Authorization codes: what each was issued for, until it is redeemed or too old.

use std::{collections::HashMap, time::Duration};

use super::random;
use crate::clock::UnixTime;

/// How long a code can be redeemed (Amazon Cognito developer guide, "Authorize endpoint").
const LIFETIME: Duration = Duration::from_secs(300);

/// What a code stands for.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) username: String,
    pub(super) scope: String,
    pub(super) nonce: Option<String>,
    /// `code_challenge`, by S256; PKCE is optional.
    pub(super) challenge: Option<String>,
    pub(super) at: UnixTime,
}

/// The codes that have not been redeemed.
#[derive(Debug, Default)]
pub(super) struct Codes(HashMap<String, Issued>);

impl Codes {
    /// A new code.
    pub(super) fn issue(&mut self, issued: Issued) -> String {
        let code = random::uuid();
        self.0.retain(|_, known| issued.at < known.at + LIFETIME);
        self.0.insert(code.clone(), issued);
        code
    }

    /// Uses a code up, whatever comes of it.
    pub(super) fn take(&mut self, now: UnixTime, code: &str) -> Option<Issued> {
        self.0.remove(code).filter(|issued| now < issued.at + LIFETIME)
    }
}
