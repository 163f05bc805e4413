//! Whether a connection goes through a proxy on its way out: `HTTPS_PROXY` and `NO_PROXY`.
//!
//! `HTTP_PROXY` is ignored, since it would be asked for plain HTTP, which only loopback and the two `allow_plaintext`
//! settings ever use. Loopback is always dialled directly.

use std::{env, net::IpAddr};

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;

/// Which proxy, if any.
#[derive(Debug)]
pub struct Egress {
    matcher: Matcher,
}

/// A proxy that opens tunnels (RFC 9110 §9.3.6).
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Where it is; `http` or `https`.
    pub uri: Uri,
    /// `Proxy-Authorization`, from the user and password in `HTTPS_PROXY`.
    pub authorization: Option<HeaderValue>,
}

impl Egress {
    /// What the environment says: the upper-case names first, then the lower-case ones, as most programs do.
    #[must_use]
    pub fn from_env() -> Self {
        let read = |names: [&str; 2]| names.into_iter().find_map(|name| env::var(name).ok()).unwrap_or_default();
        Self::new(&read(["HTTPS_PROXY", "https_proxy"]), &read(["NO_PROXY", "no_proxy"]))
    }

    /// `https` is a proxy's URL or empty; `no` a list in the form that curl reads.
    #[must_use]
    pub fn new(https: &str, no: &str) -> Self {
        Self { matcher: Matcher::builder().https(https).no(no).build() }
    }

    /// The proxy for `uri`, or `None` where it is dialled directly.
    #[must_use]
    pub fn proxy(&self, uri: &Uri) -> Option<Proxy> {
        if is_loopback(uri.host()?) {
            return None;
        }
        let intercept = self.matcher.intercept(uri)?;
        Some(Proxy { uri: intercept.uri().clone(), authorization: intercept.basic_auth().cloned() })
    }
}

/// Whether `host` (as it stands in a URI, brackets included) can only be this machine (RFC 6761 §6.3).
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_is_proxied_and_loopback_never() {
        let egress = Egress::new("http://user:pass@proxy.example:3128", "internal.example, 10.0.0.0/8");
        for (uri, proxied) in [
            ("https://cognito-idp.eu-west-1.amazonaws.com/", true),
            ("http://emulator.example:9229/", false),
            ("https://api.internal.example/", false),
            ("https://10.1.2.3/", false),
            ("https://localhost:9229/", false),
            ("https://pool.localhost/", false),
            ("https://127.0.0.2/", false),
            ("https://[::1]:9229/", false),
            ("https://[::ffff:127.0.0.1]/", false),
        ] {
            let proxy = egress.proxy(&Uri::from_static(uri));
            assert_eq!(proxy.is_some(), proxied, "{uri}");
            if let Some(proxy) = proxy {
                assert_eq!(proxy.uri.authority().map(http::uri::Authority::as_str), Some("proxy.example:3128"));
                let authorization = proxy.authorization.expect("credentials");
                assert!(authorization.is_sensitive());
                assert_eq!(authorization, "Basic dXNlcjpwYXNz");
            }
        }
        assert!(Egress::new("", "").proxy(&Uri::from_static("https://example.com/")).is_none());
    }
}
