//! The tokens, checked by a library that had no part in making them.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, errors::ErrorKind, jwk::JwkSet};

use super::{
    super::{Fault, IssuerForm, Lie, OldKeys, Scope},
    *,
};

/// Checks an ID token as a careful reader does, except for the time: `exp` is compared with `now`.
fn verified(jwks: &Value, token: &str, issuer: &str, now: UnixTime) -> Result<Value, String> {
    let keys: JwkSet = serde_json::from_value(jwks.clone()).expect("a key set");
    let header = decode_header(token).map_err(|error| error.to_string())?;
    let jwk = keys.find(&header.kid.expect("a kid")).ok_or("unknown kid")?;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[CLIENT]);
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.validate_exp = false;
    let key = DecodingKey::from_jwk(jwk).expect("an RSA key");
    let claims = decode::<Value>(token, &key, &validation).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => "signature".to_owned(),
        ErrorKind::InvalidIssuer => "issuer".to_owned(),
        ErrorKind::InvalidAudience => "audience".to_owned(),
        ErrorKind::InvalidAlgorithm => "algorithm".to_owned(),
        other => format!("{other:?}"),
    })?;
    let claims = claims.claims;
    if claims["token_use"] != "id" {
        return Err("token_use".into());
    }
    if claims["exp"].as_i64() <= Some(now.as_secs()) {
        return Err("expired".into());
    }
    Ok(claims)
}

#[tokio::test]
async fn a_published_key_verifies_each_token() {
    let (pool, _clock) = start(Settings::default()).await;
    let tokens = pool.sign_in(USER, CLIENT).expect("signed in");
    let jwks = get(&pool.jwks_url()).await.json();
    assert_eq!(jwks["keys"].as_array().map(Vec::len), Some(2));
    let claims = verified(&jwks, tokens.id_token.expose(), &pool.issuer(), START).expect("verified");
    assert_eq!(claims["iss"], "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_DevPool01");

    let kid = |token: &Secret| decode_header(token.expose()).expect("a header").kid;
    assert_ne!(kid(&tokens.id_token), kid(&tokens.access_token), "each kind has its own key");
    let keys: JwkSet = serde_json::from_value(jwks).expect("a key set");
    let jwk = keys.find(&kid(&tokens.access_token).expect("a kid")).expect("its key");
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_aud = false;
    validation.validate_exp = false;
    validation.required_spec_claims.clear();
    decode::<Value>(tokens.access_token.expose(), &DecodingKey::from_jwk(jwk).expect("a key"), &validation)
        .expect("verified");
}

#[tokio::test]
async fn each_lie_breaks_the_rule_that_it_names() {
    let (pool, _clock) = start(Settings::default()).await;
    let tokens = pool.sign_in(USER, CLIENT).expect("signed in");
    let table = [
        (Lie::Issuer, "issuer"),
        (Lie::Audience, "audience"),
        (Lie::TokenUse, "token_use"),
        (Lie::Hs256, "algorithm"),
        (Lie::BadSignature, "signature"),
        (Lie::UnknownKid, "unknown kid"),
        (Lie::Expired, "expired"),
        (Lie::ExpiresAt(-3600), "expired"),
    ];
    for (lie, rule) in table {
        pool.fail_next(1, Scope::Refresh, Fault::Lie(lie.clone()));
        let token = refresh(&pool, &tokens.refresh_token).await.result("IdToken").expect("an ID token");
        assert_eq!(verified(&pool.jwks(), &token, &pool.issuer(), START), Err(rule.to_owned()), "{lie:?}");
    }
    let lie = async |lie: Lie| {
        pool.fail_next(1, Scope::Refresh, Fault::Lie(lie));
        refresh(&pool, &tokens.refresh_token).await.result("IdToken").expect("an ID token")
    };
    let none = lie(Lie::AlgorithmNone).await;
    assert_eq!(
        Parts::of(&none).map(|parts| (parts.header("alg").to_owned(), parts.signature)),
        Some(("none".into(), Vec::new()))
    );
    let other = claims(&lie(Lie::Subject).await);
    assert_ne!(other["sub"], claims(tokens.id_token.expose())["sub"]);
    assert_eq!(claims(&lie(Lie::IssuedAt(7200)).await)["iat"], START.as_secs() + 7200);
    assert_eq!(claims(&lie(Lie::Times(-600)).await)["exp"], START.as_secs() + 3000);
    let honest = refresh(&pool, &tokens.refresh_token).await.result("IdToken").expect("an ID token");
    verified(&pool.jwks(), &honest, &pool.issuer(), START).expect("and without a lie all is well again");
}

#[tokio::test]
async fn keys_rotate_on_command() {
    let (pool, _clock) = start(Settings { issuer: IssuerForm::Endpoint, ..Settings::default() }).await;
    assert_eq!(pool.issuer(), format!("{}/{}", pool.endpoint(), pool.id()));
    let old = pool.sign_in(USER, CLIENT).expect("signed in").id_token;
    pool.rotate_keys(OldKeys::StayPublished).expect("new keys");
    let new = pool.sign_in(USER, CLIENT).expect("signed in").id_token;
    for token in [&old, &new] {
        verified(&pool.jwks(), token.expose(), &pool.issuer(), START).expect("both are published");
    }
    pool.rotate_keys(OldKeys::AreWithdrawn).expect("new keys");
    for token in [&old, &new] {
        assert_eq!(verified(&pool.jwks(), token.expose(), &pool.issuer(), START), Err("unknown kid".into()));
    }
    let discovery = get(&format!("{}/{}/.well-known/openid-configuration", pool.endpoint(), pool.id())).await.json();
    assert_eq!(discovery["issuer"], pool.issuer());
    assert_eq!(discovery["jwks_uri"], pool.jwks_url());
}
