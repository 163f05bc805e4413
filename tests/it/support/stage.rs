//! A pool, an upstream that knows its tokens, and a home from which the binary reaches both.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use cognito_proxy::{
    clock::SystemClock,
    devpool::{
        AppClient, Calls, DevPool, Fault, Lie, Scope, Settings, Tokens, Validity,
        echo::{Echo, EchoLog, EchoSettings},
    },
};
use http::{Request, Response};
use http_body_util::Full;
use serde_json::Value;

use super::{
    http as wire,
    process::Finished,
    proxy::{Home, Proxy},
    wait,
};

/// A pool with one user, an upstream, and a home.
pub(crate) struct Stage {
    pub(crate) pool: DevPool,
    pub(crate) upstream: Echo,
    pub(crate) home: Home,
}

impl Stage {
    /// With an app client of AWS's defaults: tokens of an hour, a session of 30 days.
    pub(crate) async fn new() -> Self {
        Self::of(AppClient::public(Settings::CLIENT)).await
    }

    /// With tokens that live `token` seconds, and a session of an hour.
    pub(crate) async fn lasting(token: u64) -> Self {
        Self::of(AppClient::public(Settings::CLIENT).with_validity(validity(token, 3600))).await
    }

    /// With this app client.
    pub(crate) async fn of(client: AppClient) -> Self {
        let settings = Settings::default().with_client(client);
        let pool = DevPool::start(settings, Arc::new(SystemClock)).await.expect("a pool");
        let remembering = EchoSettings { remembered_requests: 100_000, ..EchoSettings::default() };
        let upstream = Echo::start(remembering, &pool).await.expect("an upstream");
        Self { pool, upstream, home: Home::new() }
    }

    /// The configuration, one dotted key a line, so that `more` can add keys to any section.
    pub(crate) fn toml(&self, more: &str) -> String {
        let (id, endpoint, url) = (self.pool.id(), self.pool.endpoint(), self.upstream.url());
        let client = Settings::CLIENT;
        format!(
            "cognito.user_pool_id = {id:?}\ncognito.client_id = {client:?}\ncognito.endpoint = {endpoint:?}\n\
             upstream.url = {url:?}\nlisten.proxy = [\"127.0.0.1:0\"]\nlisten.admin = \"127.0.0.1:0\"\n{more}\n"
        )
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self, more: &str) {
        self.home.configure(&self.toml(more));
    }

    /// A sign-in at the pool, behind the proxy's back.
    pub(crate) fn sign_in(&self) -> Tokens {
        self.pool.sign_in(Settings::USER, Settings::CLIENT).expect("a sign-in")
    }

    /// `import` of these tokens, in the simplest form.
    pub(crate) async fn import(&self, tokens: &Tokens) -> Finished {
        self.home.run_with_input(&["import"], &tokens.to_import_json()).await
    }

    /// Signs in and imports. The session may be one that ends soon.
    pub(crate) async fn signed_in(&self) -> Tokens {
        let tokens = self.sign_in();
        let imported = self.import(&tokens).await;
        assert!([0, 3].contains(&imported.code()), "{imported:?}");
        tokens
    }

    /// The same, where the token that is stored has `left` of its `lifetime` left. A test need not wait for it to age.
    pub(crate) async fn signed_in_with(&self, lifetime: i64, left: i64) -> Tokens {
        self.pool.fail_next(1, Scope::Refresh, Fault::Lie(Lie::Times(left - lifetime)));
        self.signed_in().await
    }

    /// Configures, signs in and runs.
    pub(crate) async fn serve(&self, more: &str) -> Proxy {
        self.configure(more);
        self.signed_in().await;
        self.home.serve_with(&[]).await
    }

    /// The same before another upstream than its own.
    pub(crate) async fn serve_before(&self, upstream: &str, more: &str) -> Proxy {
        self.home.configure(&self.toml(more).replace(&self.upstream.url(), upstream));
        self.signed_in().await;
        self.home.serve_with(&[]).await
    }

    /// The refresh token in the store.
    pub(crate) fn stored_refresh_token(&self) -> String {
        let record = std::fs::read(self.home.store()).expect("a record in the store");
        let record: Value = serde_json::from_slice(&record).expect("JSON");
        record["session"]["refresh_token"].as_str().expect("a refresh token").to_owned()
    }

    /// Waits until what has arrived upstream is like that; the test fails where it does not come.
    pub(crate) async fn arrived(&self, is_met: impl FnMut(&EchoLog) -> bool) {
        wait::bounded("requests upstream", self.upstream.wait_for(is_met)).await;
    }

    /// Waits until the calls of the pool are like that; the test fails where they do not come.
    pub(crate) async fn called(&self, is_met: impl FnMut(&Calls) -> bool) {
        wait::bounded("calls of the pool", self.pool.wait_for(is_met)).await;
    }

    /// How many refreshes the pool has been asked for.
    pub(crate) fn refreshes(&self) -> u64 {
        self.pool.calls().refreshes()
    }
}

/// How long tokens and the session live, in seconds.
pub(crate) fn validity(token: u64, session: u64) -> Validity {
    let token = Duration::from_secs(token);
    Validity { id: token, access: token, refresh: Duration::from_secs(session) }
}

/// A reply that the proxy made itself, and what it must have whatever its code: RFC 9457, RFC 9209, never a 401.
pub(crate) fn problem(response: &Response<Bytes>, status: u16, code: &str) -> Value {
    let text = String::from_utf8_lossy(response.body()).into_owned();
    assert_eq!(response.status(), status, "{text}");
    assert_eq!(header(response, "content-type"), Some("application/problem+json"), "{text}");
    let proxy_status = header(response, "proxy-status").unwrap_or_default();
    assert!(proxy_status.starts_with("cognito-proxy; error="), "{proxy_status}");
    assert!(proxy_status.ends_with(&format!("; details=\"{code}\"")), "{proxy_status}");
    let document: Value = serde_json::from_slice(response.body()).expect("JSON");
    assert_eq!(document["code"], code, "{document}");
    assert_eq!(document["status"], status, "{document}");
    for field in ["title", "detail", "fix"] {
        assert!(document[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {document}");
    }
    if status == 503 {
        let seconds = header(response, "retry-after").and_then(|wait| wait.parse::<u64>().ok());
        assert!(seconds.is_some_and(|seconds| seconds >= 1), "Retry-After of {document}");
    }
    document
}

/// The first value of a header, as text.
pub(crate) fn header<'a>(response: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// GETs `path` with these headers.
pub(crate) async fn get_with(address: std::net::SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    wire::exchange(address, request.body(Full::default()).expect("a request")).await
}
