//! `DOMAIN/oauth2/token`: an authorization code for tokens (RFC 6749 §4.1.3, RFC 7636 §4.5).
//!
//! Another host than the user pool's API, with errors of its own. Makes one attempt: a code serves once.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use serde::Deserialize;

use super::{
    Settings, Unverified, classify, sdk,
    transport::{Transport, TransportError},
};
use crate::secret::Secret;

/// What an authorization code is redeemed with.
#[derive(Clone, Copy, Debug)]
pub struct Redemption<'a> {
    /// `cognito.domain`: scheme and authority.
    pub domain: &'a Uri,
    /// The redirect URI that the code was sent to, to the letter.
    pub redirect_uri: &'a str,
    /// The code.
    pub code: &'a Secret,
    /// The PKCE verifier whose challenge began the sign-in.
    pub verifier: &'a Secret,
}

/// Why a code brought no tokens. No variant holds the code, the verifier or the client's secret.
#[derive(Debug, thiserror::Error)]
pub enum RedemptionError {
    /// No answer, or one that no token endpoint gives.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A refusal (RFC 6749 §5.2).
    #[error("{domain} refuses the code: {error}{}", description.as_ref().map(|text| format!(", {text}")).unwrap_or_default())]
    Refused {
        /// Which host.
        domain: String,
        /// The `error` code.
        error: String,
        /// `error_description`, where there is one.
        description: Option<String>,
    },
    /// Another status, with a body of no known form.
    #[error("{domain} answered {status}")]
    Status {
        /// Which host.
        domain: String,
        /// The status.
        status: StatusCode,
    },
    /// Success, without what makes a session.
    #[error("{domain} sent no {missing}")]
    Incomplete {
        /// Which host.
        domain: String,
        /// What is not there.
        missing: &'static str,
    },
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of RFC 6749 §5.1")]
struct Tokens {
    id_token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

/// Redeems a code. What comes is not verified yet, and has a refresh token.
///
/// # Errors
/// Where there is no answer, or a refusal, or no tokens to begin a session with.
pub async fn redeem(
    settings: &Settings,
    transport: &Transport,
    redemption: Redemption<'_>,
) -> Result<Unverified, RedemptionError> {
    let response = transport.call(request(settings, redemption)?).await?;
    let domain = redemption.domain.authority().map(ToString::to_string).unwrap_or_default();
    let secrets = [Some(redemption.code), Some(redemption.verifier), settings.client_secret.as_ref()];
    read(&response, domain, &secrets.into_iter().flatten().map(Secret::expose).collect::<Vec<_>>())
}

fn request(settings: &Settings, redemption: Redemption<'_>) -> Result<Request<Bytes>, TransportError> {
    let Redemption { domain, redirect_uri, code, verifier } = redemption;
    let uri = format!("{}/oauth2/token", domain.to_string().trim_end_matches('/'));
    let body = Serializer::new(String::new())
        .append_pair("grant_type", "authorization_code")
        .append_pair("client_id", &settings.client_id)
        .append_pair("code", code.expose())
        .append_pair("redirect_uri", redirect_uri)
        .append_pair("code_verifier", verifier.expose())
        .finish();
    let mut request = Request::post(&uri)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json");
    // A public client that sends `Authorization` is refused.
    if let Some(secret) = &settings.client_secret {
        request = request.header(header::AUTHORIZATION, basic(&settings.client_id, secret));
    }
    request.body(body.into()).map_err(|_| TransportError::Address { uri })
}

/// Id and secret as they are, and not form-encoded first as RFC 6749 §2.3.1 has it: so Amazon Cognito's own guide does
/// ("The token issuer endpoint"), and its ids and secrets have no character that it would matter for.
fn basic(client_id: &str, secret: &Secret) -> HeaderValue {
    let credentials = STANDARD.encode(format!("{client_id}:{}", secret.expose()));
    // Base64 is made of visible characters.
    let mut value =
        HeaderValue::try_from(format!("Basic {credentials}")).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    value.set_sensitive(true);
    value
}

fn read(response: &Response<Bytes>, domain: String, secrets: &[&str]) -> Result<Unverified, RedemptionError> {
    let status = response.status();
    if !status.is_success() {
        return Err(match serde_json::from_slice::<Refusal>(response.body()) {
            Ok(refusal) => RedemptionError::Refused {
                domain,
                error: shown(&refusal.error, secrets),
                description: refusal.error_description.map(|text| shown(&text, secrets)),
            },
            Err(_) => RedemptionError::Status { domain, status },
        });
    }
    let incomplete = |domain, missing| RedemptionError::Incomplete { domain, missing };
    let Ok(tokens) = serde_json::from_slice::<Tokens>(response.body()) else {
        return Err(incomplete(domain, "JSON with tokens"));
    };
    match (tokens.id_token, tokens.refresh_token) {
        (None, _) => Err(incomplete(domain, "ID token")),
        (_, None) => Err(incomplete(domain, "refresh token")),
        (Some(id_token), Some(refresh_token)) => Ok(Unverified {
            id_token: Secret::new(id_token),
            access_token: tokens.access_token.map(Secret::new),
            refresh_token: Some(Secret::new(refresh_token)),
            date: date(response.headers()),
        }),
    }
}

/// What a stranger wrote, fit for a terminal.
fn shown(text: &str, secrets: &[&str]) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
    classify::redact(&text, secrets.iter().copied())
}

fn date(headers: &HeaderMap) -> Option<crate::clock::UnixTime> {
    sdk::http_date(headers.get(header::DATE)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::{super::fixtures::settings, *};

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    fn requested(client_secret: Option<&str>) -> Request<Bytes> {
        let settings = Settings { client_secret: client_secret.map(Secret::from), ..settings("http://127.0.0.1:1") };
        let redemption = Redemption {
            domain: &Uri::from_static("https://login.example.com"),
            redirect_uri: "http://localhost:8976/callback",
            code: &Secret::from("c0de"),
            verifier: &Secret::from(VERIFIER),
        };
        request(&settings, redemption).expect("a request")
    }

    #[test]
    fn the_secret_goes_as_basic_and_nowhere_else() {
        let public = requested(None);
        assert_eq!(public.uri(), "https://login.example.com/oauth2/token");
        assert!(!public.headers().contains_key(header::AUTHORIZATION));
        let expected = format!(
            "grant_type=authorization_code&client_id=client&code=c0de\
             &redirect_uri=http%3A%2F%2Flocalhost%3A8976%2Fcallback&code_verifier={VERIFIER}"
        );
        assert_eq!(public.body(), &expected);
        let confidential = requested(Some("shh+/="));
        assert_eq!(confidential.body(), &expected);
        assert_eq!(confidential.headers()[header::AUTHORIZATION], "Basic Y2xpZW50OnNoaCsvPQ==");
        assert!(confidential.headers()[header::AUTHORIZATION].is_sensitive());
    }

    #[test]
    fn answers_are_tokens_or_say_why_not() {
        let answer = |status: u16, body: &'static str| {
            let response = Response::builder().status(status).header("date", "Sun, 06 Nov 1994 08:49:37 GMT");
            let response = response.body(Bytes::from(body)).expect("a response");
            read(&response, "login.example.com".into(), &["shh"])
        };
        let tokens = answer(200, r#"{"id_token":"i","access_token":"a","refresh_token":"r","expires_in":3600}"#);
        let tokens = tokens.expect("tokens");
        assert_eq!(tokens.refresh_token, Some(Secret::from("r")));
        assert_eq!(tokens.date, Some(crate::clock::UnixTime::from_secs(784_111_777)));
        for (status, body, said) in [
            (200, r#"{"access_token":"a","refresh_token":"r"}"#, "login.example.com sent no ID token"),
            (200, r#"{"id_token":"i"}"#, "login.example.com sent no refresh token"),
            (200, "ok", "login.example.com sent no JSON with tokens"),
            (400, r#"{"error":"invalid_grant"}"#, "login.example.com refuses the code: invalid_grant"),
            (
                400,
                r#"{"error":"invalid_client","error_description":"invalid_client_secret\u001b[2J shh"}"#,
                "login.example.com refuses the code: invalid_client, invalid_client_secret[2J [redacted]",
            ),
            (503, "", "login.example.com answered 503 Service Unavailable"),
        ] {
            assert_eq!(answer(status, body).expect_err(body).to_string(), said);
        }
    }
}
