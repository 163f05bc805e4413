//! The main job: somebody's tokens are imported, the proxy runs, and every request that passes carries one current ID
//! token of that user, whatever the token's lifetime and whoever plays Cognito.
//!
//! Tokens live ten seconds, so that this is seen within half a minute; `COGNITO_PROXY_LONG=1` makes it a whole one.

use std::{collections::BTreeSet, time::Duration};

use cognito_proxy::devpool::{AppClient, DevPool, Settings, echo::EchoRequest};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use serde_json::Value;

use crate::support::{
    emulators::{CognitoLocal, Emulator, MiniStack},
    http,
    load::{CLIENTS_OWN, steadily_for},
    proxy::{FREE_PORTS, Home},
    stage::{Stage, validity},
};

/// How long an ID token lives.
const LIFETIME: u64 = 10;

/// One Cognito, and what is needed to judge what went upstream.
struct Journey<'a> {
    name: &'static str,
    /// Whose upstream is used.
    stage: &'a Stage,
    home: &'a Home,
    import: String,
    issuer: String,
    client_id: String,
    keys: JwkSet,
}

#[tokio::test]
async fn every_request_carries_a_current_id_token_of_every_cognito() {
    tokio::join!(devpool(), cognito_local(), ministack());
}

async fn devpool() {
    let client = AppClient::public(Settings::CLIENT).with_validity(validity(LIFETIME, 3600));
    let stage = Stage::of(client).await;
    stage.configure("cognito.refresh_token_validity = \"1h\"");
    let import = stage.sign_in().to_import_json();
    let keys = serde_json::from_value(stage.pool.jwks()).expect("a key set");
    let issuer = stage.pool.issuer();
    let client_id = Settings::CLIENT.to_owned();
    let home = &stage.home;
    Journey { name: "devpool", stage: &stage, home, import, issuer, client_id, keys }.made().await;
    refreshes_were_few(&stage.pool);
}

async fn cognito_local() {
    emulated("cognito-local", &CognitoLocal::start().await).await;
}

async fn ministack() {
    emulated("MiniStack", &MiniStack::start().await).await;
}

async fn emulated(name: &'static str, emulator: &Emulator) {
    let (stage, home) = (Stage::new().await, Home::new());
    let client = &emulator.clients.short;
    let section = emulator.section(client, &home);
    let url = stage.upstream.url();
    home.configure(&format!("{section}refresh_token_validity = \"1h\"\n[upstream]\nurl = {url:?}\n{FREE_PORTS}"));
    let import = emulator.sign_in(client).await.to_string();
    let (issuer, client_id) = (emulator.issuer.clone(), client.id.clone());
    let keys = published(&emulator.jwks_url).await;
    Journey { name, stage: &stage, home: &home, import, issuer, client_id, keys }.made().await;
}

impl Journey<'_> {
    /// Imports, runs, sends, and judges every request that arrived.
    async fn made(&self) {
        let name = self.name;
        let (length, tokens) = if std::env::var_os("COGNITO_PROXY_LONG").is_some() { (60, 6) } else { (22, 3) };
        let imported = self.home.run_with_input(&["import"], &self.import).await;
        assert_eq!(imported.code(), 0, "{name}: {imported:?}");
        let proxy = self.home.serve_with(&[]).await;
        let (sent, failures) = steadily_for(proxy.address(), Duration::from_secs(length)).await;
        let status = proxy.status().await;
        assert_eq!(proxy.stop().await.code(), 0, "{name}");

        assert!(failures.is_empty(), "{name}: {} of {sent} failed, the first: {:?}", failures.len(), failures[0]);
        assert_eq!(status["state"], "fresh", "{name}: {status}");
        let log = self.stage.upstream.log();
        assert_eq!(log.total(), sent as u64, "{name}: each request arrives once");
        let seen: BTreeSet<&str> = log.iter().map(|request| self.token_of(request)).collect();
        println!("{name}: {sent} requests in {length} s, none failed, {} tokens seen upstream", seen.len());
        assert!(seen.len() >= tokens, "{name}: {} tokens in {length} s", seen.len());
        for token in seen {
            self.verify(token);
        }
    }

    /// The one token of a request that arrived, which had not expired then.
    fn token_of<'a>(&self, request: &'a EchoRequest) -> &'a str {
        let name = self.name;
        let values = request.header_values("authorization");
        let [value] = values[..] else { panic!("{name}: {} values of Authorization", values.len()) };
        assert_ne!(value, CLIENTS_OWN, "{name}");
        let bearer = request.bearer.as_ref().unwrap_or_else(|| panic!("{name}: no token in {request:?}"));
        assert!(request.at < bearer.expires_at, "{name}: expired when it arrived: {request:?}");
        assert!(bearer.issued_at <= request.at, "{name}: not valid yet when it arrived: {request:?}");
        value.strip_prefix("Bearer ").unwrap_or_else(|| panic!("{name}: no Bearer in {request:?}"))
    }

    /// What the resource server does: signature, algorithm, issuer, audience, and that it is an ID token.
    fn verify(&self, token: &str) {
        let name = self.name;
        let header = jsonwebtoken::decode_header(token).expect("a JWT");
        let kid = header.kid.as_deref().expect("a key id");
        let key = self.keys.find(kid).unwrap_or_else(|| panic!("{name}: {kid} is not published"));
        let mut rules = Validation::new(Algorithm::RS256);
        rules.set_issuer(&[&self.issuer]);
        rules.set_audience(&[&self.client_id]);
        // Judged by the moment of arrival, and long over now.
        rules.validate_exp = false;
        let key = DecodingKey::from_jwk(key).expect("an RSA key");
        let claims =
            jsonwebtoken::decode::<Value>(token, &key, &rules).unwrap_or_else(|error| panic!("{name}: {error}")).claims;
        assert_eq!(claims["token_use"], "id", "{name}");
        let lives = claims["exp"].as_u64().zip(claims["iat"].as_u64()).map(|(exp, iat)| exp - iat);
        assert_eq!(lives, Some(LIFETIME), "{name}: the pool's own setting");
    }
}

/// A token of ten seconds is refreshed about every eight: not at every request, and not in a loop.
fn refreshes_were_few(pool: &DevPool) {
    let calls = pool.calls();
    let first = calls.iter().next().expect("the import").at;
    let last = calls.last().expect("a refresh").at;
    let seconds = last.millis_since(first) / 1000;
    assert!(
        calls.refreshes() <= u64::try_from(seconds / 7).expect("forward") + 2,
        "{} in {seconds} s",
        calls.refreshes()
    );
    assert_eq!(calls.refreshes(), calls.refreshed(), "and none was refused");
}

async fn published(url: &str) -> JwkSet {
    let rest = url.strip_prefix("http://").expect("plain HTTP");
    let (address, path) = rest.split_once('/').expect("a path");
    let answer = http::get(address.parse().expect("an address"), &format!("/{path}")).await;
    serde_json::from_slice(answer.body()).expect("a key set")
}
