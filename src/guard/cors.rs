//! The CORS headers of responses to a listed origin (Fetch standard, §3.2 "CORS protocol").
//!
//! For an origin that is on the list the proxy speaks for the upstream: the upstream's own CORS headers were written
//! for other pages, and `*` among them would open to everybody what the token opens.

use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
        ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, VARY,
    },
};

use super::Origin;
use crate::message::{Fields, visible};

const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");
const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");

/// What a page may read beyond the safelisted response headers: when to try again, and how the session stands.
const EXPOSED: HeaderValue = HeaderValue::from_static("Retry-After, Cognito-Proxy-Session, Proxy-Status");

/// How long a browser may keep a preflight's answer, in seconds: long enough to save the round trips, short enough
/// that a change of `guard.origins` is seen soon.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

const TRUE: HeaderValue = HeaderValue::from_static("true");

/// A listed origin that made a request, and so may read the response, whoever makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    origin: HeaderValue,
}

impl Cors {
    pub(super) fn new(origin: &Origin) -> Self {
        Self { origin: origin.value().clone() }
    }

    /// Replaces the CORS headers of a response to this origin, be it the upstream's or one that the proxy makes. On a
    /// `101` they mean nothing and do no harm: CORS does not apply to WebSocket.
    pub fn apply(&self, fields: &mut Fields) {
        let is_said_anew = |name: &HeaderName| {
            [
                ACCESS_CONTROL_ALLOW_ORIGIN,
                ACCESS_CONTROL_ALLOW_CREDENTIALS,
                ACCESS_CONTROL_ALLOW_METHODS,
                ACCESS_CONTROL_ALLOW_HEADERS,
                ACCESS_CONTROL_MAX_AGE,
                ALLOW_PRIVATE_NETWORK,
            ]
            .contains(name)
        };
        fields.retain(|name, _| !is_said_anew(name));
        fields.append(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        fields.append(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        fields.append(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        vary(fields, "Origin");
    }

    /// The answer to a preflight of this origin, where `request` is one: what was asked for is granted, since the
    /// origin was listed in order to call.
    pub(super) fn preflight(&self, request: &Fields) -> Option<Response<()>> {
        let method = request.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_bytes(method).ok()?);
        for names in request.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.append(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_bytes(names).ok()?);
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        if request.get(REQUEST_PRIVATE_NETWORK) == Some(TRUE.as_bytes()) {
            headers.insert(ALLOW_PRIVATE_NETWORK, TRUE);
        }
        headers.insert(
            VARY,
            HeaderValue::from_static("Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        );
        Some(response)
    }
}

/// Adds `name` to `Vary`, unless it is there already (RFC 9110 §12.5.5).
pub(super) fn vary(fields: &mut Fields, name: &'static str) {
    let said = fields
        .get_all(VARY)
        .filter_map(visible)
        .any(|value| value.split(',').map(str::trim).any(|member| member == "*" || member.eq_ignore_ascii_case(name)));
    if !said {
        fields.append(VARY, HeaderValue::from_static(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors() -> Cors {
        Cors::new(&Origin::parse("http://localhost:3000").unwrap())
    }

    fn all(fields: &Fields, name: &str) -> Vec<String> {
        fields.get_all(name).map(|value| visible(value).unwrap().to_owned()).collect()
    }

    fn all_of(headers: &http::HeaderMap, name: &str) -> Vec<String> {
        all(&headers.clone().into(), name)
    }

    #[test]
    fn the_upstreams_cors_headers_are_replaced_and_what_it_exposes_is_kept() {
        let mut headers = Fields::new();
        for (name, value) in [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-origin", "https://other.example"),
            ("access-control-allow-credentials", "false"),
            ("access-control-allow-methods", "*"),
            ("access-control-allow-headers", "*"),
            ("access-control-max-age", "86400"),
            ("access-control-allow-private-network", "true"),
            ("access-control-expose-headers", "ETag"),
            ("vary", "Accept-Encoding"),
            ("content-type", "text/plain"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        cors().apply(&mut headers);
        assert_eq!(all(&headers, "access-control-allow-origin"), ["http://localhost:3000"]);
        assert_eq!(all(&headers, "access-control-allow-credentials"), ["true"]);
        assert_eq!(
            all(&headers, "access-control-expose-headers"),
            ["ETag", "Retry-After, Cognito-Proxy-Session, Proxy-Status"]
        );
        assert_eq!(all(&headers, "vary"), ["Accept-Encoding", "Origin"]);
        assert_eq!(headers.len(), 7, "{headers:?}");
    }

    #[test]
    fn vary_names_the_origin_once() {
        for said in ["*", "origin", "Accept, ORIGIN"] {
            let mut headers = Fields::from_iter([(VARY, HeaderValue::from_static(said))]);
            vary(&mut headers, "Origin");
            assert_eq!(all(&headers, "vary"), [said]);
        }
    }

    #[test]
    fn a_preflight_is_granted_what_it_asks_for() {
        let mut request = Fields::new();
        assert!(cors().preflight(&request).is_none());
        request.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PATCH"));
        request.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("x-a,x-b"));
        let response = cors().preflight(&request).unwrap();
        assert_eq!(response.status(), 204);
        assert_eq!(all_of(response.headers(), "access-control-allow-methods"), ["PATCH"]);
        assert_eq!(all_of(response.headers(), "access-control-allow-headers"), ["x-a,x-b"]);
        assert_eq!(all_of(response.headers(), "access-control-max-age"), ["600"]);
        assert!(!response.headers().contains_key(ALLOW_PRIVATE_NETWORK));

        request.insert(REQUEST_PRIVATE_NETWORK, TRUE);
        let response = cors().preflight(&request).unwrap();
        assert_eq!(all_of(response.headers(), "access-control-allow-private-network"), ["true"]);
    }
}
