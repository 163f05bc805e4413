//! A sign-in in the pool's own pages: authorization code with PKCE, sent back to a listener on this machine (RFC 8252).
//!
//! Owns one attempt from its address to its tokens. It opens no browser and prints nothing: whoever begins an attempt
//! shows its address and decides how long to wait. What the browser brings back is believed only where it carries the
//! attempt's own `state`; everything else is answered and forgotten.

mod callback;
mod loopback;
mod page;
mod pkce;

use std::io;

use form_urlencoded::Serializer;

use self::{
    callback::{Answer, Expected, Verdict},
    loopback::Listener,
    pkce::Pledge,
};
pub use self::{loopback::Visitor, page::Page};
use super::{Obtained, Settings};
use crate::{
    cognito::{
        self, CognitoIssuer, Transport,
        token_endpoint::{self, Redemption, RedemptionError},
        verify,
    },
    session::Failure,
};

/// Why an attempt brought nobody in. No variant holds a code, a token or the client's secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `cognito.domain` is not set.
    #[error("`cognito.domain` is not set, so there is no page to sign in on")]
    NoDomain,
    /// No redirect URI can be listened on.
    #[error("none of `cognito.redirect_uris` can be listened on: {}", listed(tried))]
    NoPort {
        /// Each with what the system says.
        tried: Vec<(String, io::Error)>,
    },
    /// The listener broke.
    #[error("the callback can be waited for no longer: {0}")]
    Listener(#[source] io::Error),
    /// The page came back with an error instead of a code (RFC 6749 §4.1.2.1).
    #[error("the sign-in page refuses: {error}{}", description.as_ref().map(|text| format!(", {text}")).unwrap_or_default())]
    Denied {
        /// The `error` code.
        error: String,
        /// `error_description`, where there is one.
        description: Option<String>,
    },
    /// The callback names another issuer (RFC 9207).
    #[error("the callback is of the issuer {found:?}, not of {expected:?}")]
    OtherIssuer {
        /// `iss`, shortened.
        found: String,
        /// What it must be.
        expected: String,
    },
    /// The code brought no tokens.
    #[error(transparent)]
    Redemption(#[from] RedemptionError),
    /// The key set cannot be had, or the tokens are not what they must be.
    #[error("{0}")]
    Tokens(Failure),
    /// The ID token was made for another sign-in (`OpenID` Connect Core §3.1.3.7).
    #[error("the ID token's `nonce` is {}, so it was made for another sign-in", if *.is_there { "another" } else { "missing" })]
    Nonce {
        /// Whether it has one at all.
        is_there: bool,
    },
}

fn listed(tried: &[(String, io::Error)]) -> String {
    let each = tried.iter().map(|(uri, error)| format!("{uri} ({error})"));
    each.collect::<Vec<_>>().join(", ")
}

/// One sign-in that has begun and waits for its callback.
#[derive(Debug)]
pub struct Attempt {
    address: String,
    redirect_uri: String,
    expected: Expected,
    pledge: Pledge,
    listener: Listener,
}

/// A callback of this attempt: the page's answer, and the browser that waits to be told.
#[derive(Debug)]
pub struct Arrived {
    answer: Answer,
    /// Whoever brought it; nobody where the address was pasted.
    pub visitor: Visitor,
}

/// Why a pasted address is not the one that was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOurs {
    /// It has no query.
    #[error("that is not the whole address: it has no `?`")]
    NoQuery,
    /// It has another `state`, or none, or neither a code nor an error.
    #[error("that address belongs to another sign-in; paste the one that this sign-in ended on")]
    Foreign,
}

impl Attempt {
    /// Listens on the first of `redirect_uris` whose port is free, and makes the address to sign in at. `user` is
    /// filled in where the page can be told (`login_hint`).
    ///
    /// # Errors
    /// Where there is no domain, or no port.
    pub async fn begin(settings: &Settings, client: &cognito::Settings, user: Option<&str>) -> Result<Self, Error> {
        let domain = settings.domain.as_ref().ok_or(Error::NoDomain)?;
        let pledge = Pledge::new();
        let mut tried = Vec::new();
        for redirect_uri in &settings.redirect_uris {
            let expected = Expected { state: pledge.state.clone(), issuer: client.issuer.clone() };
            match Listener::bind(redirect_uri, expected.clone()).await {
                Ok(listener) => {
                    let query = query(settings, &client.client_id, redirect_uri, &pledge, user);
                    let address = format!("{}/oauth2/authorize?{query}", domain.to_string().trim_end_matches('/'));
                    return Ok(Self { address, redirect_uri: redirect_uri.clone(), expected, pledge, listener });
                }
                Err(error) => tried.push((redirect_uri.clone(), error)),
            }
        }
        Err(Error::NoPort { tried })
    }

    /// Where to sign in.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where the browser comes back to.
    #[must_use]
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// The callback, once a browser brings it. Whatever else is asked of the listener is answered meanwhile. Cancel
    /// safe.
    ///
    /// # Errors
    /// Where the sockets fail.
    pub async fn callback(&mut self) -> Result<Arrived, Error> {
        let (answer, visitor) = self.listener.callback().await.map_err(Error::Listener)?;
        Ok(Arrived { answer, visitor })
    }

    /// The callback in an address that somebody pasted.
    ///
    /// # Errors
    /// Where it is not this attempt's.
    pub fn pasted(&self, address: &str) -> Result<Arrived, NotOurs> {
        let (_, query) = address.trim().split_once('?').ok_or(NotOurs::NoQuery)?;
        let query = query.split('#').next().unwrap_or_default();
        match self.expected.judge(query) {
            Verdict::Ours(answer) => Ok(Arrived { answer, visitor: Visitor::nobody() }),
            Verdict::Foreign => Err(NotOurs::Foreign),
        }
    }

    /// Redeems what the callback brought, and verifies the tokens. Whoever waits is told where that fails; where it
    /// does not, that is left to whoever keeps the session.
    ///
    /// # Errors
    /// Where the page refused, the code brings nothing, or the tokens are not what they must be.
    pub async fn finish(
        self,
        arrived: Arrived,
        settings: &Settings,
        client: &cognito::Settings,
        transport: &Transport,
        issuer: &CognitoIssuer,
    ) -> Result<(Obtained, Visitor), Error> {
        // Nothing else is listened for: an address serves one sign-in.
        drop(self.listener);
        let Arrived { answer, visitor } = arrived;
        let redeemed = match answer {
            Answer::Denied { error, description } => Err(Error::Denied { error, description }),
            Answer::OtherIssuer { found } => Err(Error::OtherIssuer { found, expected: client.issuer.clone() }),
            Answer::Code(code) => {
                let domain = settings.domain.as_ref().ok_or(Error::NoDomain)?;
                let redirect_uri = &self.redirect_uri;
                let redemption = Redemption { domain, redirect_uri, code: &code, verifier: &self.pledge.verifier };
                obtain(redemption, &self.pledge.nonce, client, transport, issuer).await
            }
        };
        match redeemed {
            Ok(obtained) => Ok((obtained, visitor)),
            Err(error) => {
                visitor.tell(Page::Failed { why: error.to_string() }).await;
                Err(error)
            }
        }
    }
}

async fn obtain(
    redemption: Redemption<'_>,
    nonce: &str,
    client: &cognito::Settings,
    transport: &Transport,
    issuer: &CognitoIssuer,
) -> Result<Obtained, Error> {
    let tokens = token_endpoint::redeem(client, transport, redemption).await?;
    let incomplete = || RedemptionError::Incomplete { domain: redemption.domain.to_string(), missing: "refresh token" };
    let refresh_token = tokens.refresh_token.clone().ok_or_else(incomplete)?;
    let grant = issuer.accept_sign_in(tokens).await.map_err(|failure| Error::Tokens(failure.split().1))?;
    match verify::text_claim(grant.id_token.jwt.expose(), "nonce") {
        Some(found) if found == nonce => {}
        // Emulators drop it. The code was bound to this attempt by `state` and PKCE all the same.
        None if client.endpoint.is_some() => tracing::debug!("the ID token has no nonce"),
        found => return Err(Error::Nonce { is_there: found.is_some() }),
    }
    Ok(Obtained { grant, refresh_token, device: None })
}

/// The query of the authorization request (RFC 6749 §4.1.1, RFC 7636 §4.3, `OpenID` Connect Core §3.1.2.1).
fn query(settings: &Settings, client_id: &str, redirect_uri: &str, pledge: &Pledge, user: Option<&str>) -> String {
    let mut query = Serializer::new(String::new());
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", client_id)
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("scope", &settings.scopes.join(" "))
        .append_pair("state", &pledge.state)
        .append_pair("nonce", &pledge.nonce)
        .append_pair("code_challenge", &pledge.challenge())
        .append_pair("code_challenge_method", "S256");
    if let Some(user) = user {
        query.append_pair("login_hint", user);
    }
    query.finish()
}

#[cfg(test)]
mod tests;
