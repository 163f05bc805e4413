use http::Uri;

use super::*;
use crate::cognito::RefreshApi;

fn settings(redirect_uris: &[&str]) -> Settings {
    Settings {
        domain: Some(Uri::from_static("https://login.example.com")),
        redirect_uris: redirect_uris.iter().map(|uri| (*uri).to_owned()).collect(),
        scopes: vec!["openid".into(), "email".into()],
    }
}

fn client() -> cognito::Settings {
    cognito::Settings {
        user_pool_id: "eu-west-1_A".into(),
        client_id: "client1".into(),
        client_secret: None,
        region: "eu-west-1".into(),
        endpoint: None,
        issuer: "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A".into(),
        jwks_url: Uri::from_static("https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A/.well-known/jwks.json"),
        refresh_api: RefreshApi::Auto,
        verify_signature: true,
    }
}

#[test]
fn the_request_asks_for_a_code_with_everything_that_binds_it() {
    let pledge = Pledge::new();
    let text = query(&settings(&[]), "client1", "http://localhost:8976/callback", &pledge, Some("a b@c.de"));
    let fields: Vec<_> = form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    let challenge = pledge.challenge();
    let expected = [
        ("response_type", "code"),
        ("client_id", "client1"),
        ("redirect_uri", "http://localhost:8976/callback"),
        ("scope", "openid email"),
        ("state", pledge.state.as_str()),
        ("nonce", pledge.nonce.as_str()),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
        ("login_hint", "a b@c.de"),
    ];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert!(!text.contains(pledge.verifier.expose()), "the verifier stays here");
}

#[tokio::test]
async fn without_a_domain_nobody_listens() {
    let settings = Settings { domain: None, ..settings(&["http://localhost:8976/callback"]) };
    let error = Attempt::begin(&settings, &client(), None).await.expect_err("no domain");
    assert!(error.to_string().contains("`cognito.domain`"), "{error}");
}

#[tokio::test]
async fn the_first_redirect_uri_whose_port_is_free_is_taken() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let [busy, free] = [format!("http://localhost:{port}/callback"), "http://127.0.0.1:0/callback".into()];
    let attempt = Attempt::begin(&settings(&[&busy, &free]), &client(), None).await.expect("the second is free");
    assert_eq!(attempt.redirect_uri(), free);
    let error = Attempt::begin(&settings(&[&busy]), &client(), None).await.expect_err("it is taken");
    assert!(error.to_string().contains(&busy), "{error}");
}

#[tokio::test]
async fn a_pasted_address_is_taken_only_with_this_attempts_state() {
    let attempt = Attempt::begin(&settings(&["http://127.0.0.1:0/callback"]), &client(), None).await.expect("free");
    let state = &attempt.pledge.state;
    let taken = attempt.pasted(&format!(" http://127.0.0.1:0/callback?code=c1&state={state}#x\n"));
    assert_eq!(taken.expect("ours").answer, Answer::Code(crate::secret::Secret::from("c1")));
    for (pasted, refusal) in [
        ("http://127.0.0.1:0/callback", NotOurs::NoQuery),
        ("", NotOurs::NoQuery),
        ("http://127.0.0.1:0/callback?code=c1&state=other", NotOurs::Foreign),
    ] {
        assert_eq!(attempt.pasted(pasted).expect_err(pasted), refusal);
    }
    assert!(attempt.pasted(attempt.address()).is_err(), "the address that was opened is no answer");
}
