//! `login` in a browser: from the address that is printed, through the pool's pages, back to this machine, to a session
//! that requests carry; and everything that may come back instead.

mod agent;
mod chromium;
mod goes_wrong;
mod renews;

use std::{net::SocketAddr, process::Stdio, time::Duration};

use cognito_proxy::devpool::{AppClient, Settings, echo::Verdict};

use self::agent::{Agent, page_of};
use crate::support::{
    http as wire,
    process::{Finished, Process},
    proxy::holds_no_token,
    stage::Stage,
    wait::BOUND,
};

/// A pool with managed login, and a home that knows where it is.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    /// Registered, and free when it was chosen.
    redirect_uri: String,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::of(AppClient::public(Settings::CLIENT), "").await
    }

    /// With this app client, and more configuration.
    pub(crate) async fn of(client: AppClient, more: &str) -> Self {
        let redirect_uri = format!("http://localhost:{}/callback", free_port());
        let stage = Stage::of(client.with_callback(&redirect_uri)).await;
        let scene = Self { stage, redirect_uri };
        scene.configure(more);
        scene
    }

    pub(crate) fn configure(&self, more: &str) {
        self.stage.configure(&self.more(more));
    }

    /// What a sign-in by browser needs, and more.
    fn more(&self, more: &str) -> String {
        let (domain, redirect_uri) = (self.stage.pool.endpoint(), &self.redirect_uri);
        format!("cognito.domain = {domain:?}\ncognito.redirect_uris = [{redirect_uri:?}]\n{more}")
    }

    fn agent(&self) -> Agent {
        let user = self.stage.pool.user(Settings::USER).expect("a user");
        Agent::new(Settings::USER, user.password.expose())
    }

    /// Signs in, from the address to the end.
    pub(crate) async fn signed_in(&self) {
        let login = self.login(&["--no-browser"]).await;
        assert_eq!(self.agent().signs_in(&login.address).await.status, 200);
        let done = login.finish().await;
        assert_eq!(done.code(), 0, "{done:?}");
    }

    /// `login`, once it has said where to sign in.
    async fn login(&self, arguments: &[&str]) -> Login {
        let mut command = self.stage.home.command(&[&["login"], arguments].concat());
        Login::started(command.stdin(Stdio::null())).await
    }
}

/// A `login` that waits for its callback.
struct Login {
    process: Process,
    /// Where to sign in.
    address: String,
}

impl Login {
    async fn started(command: &mut std::process::Command) -> Self {
        let mut process = Process::spawn("cognito-proxy login", command).expect("built");
        let address = |line: &str| line.trim().strip_prefix("http").map(|rest| format!("http{rest}"));
        let address = process.error_line("address to sign in at", address).await;
        Self { process, address }
    }

    /// A value in the query of its address.
    fn asked(&self, name: &str) -> String {
        let (_, query) = self.address.split_once('?').expect("a query");
        let found = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
        found.unwrap_or_else(|| panic!("{name} in {}", self.address)).1.into_owned()
    }

    /// Its end, with outputs that hold no token.
    async fn finish(self) -> Finished {
        let finished = self.process.finish(BOUND).await;
        holds_no_token(&finished.stdout);
        holds_no_token(&finished.stderr);
        finished
    }
}

/// A port that nobody has just now: redirect URIs are registered with theirs.
fn free_port() -> u16 {
    std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr()).expect("a free port").port()
}

/// Both loopback addresses of a redirect URI.
fn addresses(redirect_uri: &str) -> [SocketAddr; 2] {
    let port = redirect_uri.parse::<http::Uri>().expect("a URI").port_u16().expect("a port");
    [SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port))]
}

#[tokio::test]
async fn what_a_browser_brings_is_injected_into_requests() {
    for client in [
        AppClient::public(Settings::CLIENT),
        AppClient::public(Settings::CLIENT).with_secret("s3cr3t").rotating(Duration::ZERO),
    ] {
        let scene = Scene::of(client.clone(), "").await;
        if let Some(secret) = &client.secret {
            let path = scene.stage.home.write("client-secret", secret.expose());
            scene.configure(&format!("cognito.client_secret_file = {path:?}"));
        }
        let login = scene.login(&["--no-browser", "-vv"]).await;
        assert_eq!(login.asked("code_challenge_method"), "S256");
        assert_eq!(login.asked("redirect_uri"), scene.redirect_uri);

        let redirect = scene.agent().is_sent_to(&login.address).await;
        let (_, code) = redirect.split_once("code=").expect("a code");
        let page = page_of(redirect.clone()).await;
        assert_eq!(page.status, 200);
        assert!(page.text().contains("Signed in as alice") && page.text().contains("Session ends"), "{}", page.text());
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));

        let done = login.finish().await;
        assert_eq!(done.code(), 0, "{done:?}");
        let code = code.split('&').next().expect("a code");
        assert!(!done.stderr.contains(code), "a code in the log: {}", done.stderr);
        assert!(done.stdout.contains("alice (") && done.stdout.contains("session ends"), "{}", done.stdout);
        for address in addresses(&scene.redirect_uri) {
            assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens after a sign-in");
        }

        let mut proxy = scene.stage.home.serve_with(&[]).await;
        proxy.ready().await;
        assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200);
        let bearer = scene.stage.upstream.log().last().and_then(|request| request.bearer.clone()).expect("a token");
        let user = scene.stage.pool.user(Settings::USER).expect("a user");
        assert_eq!((bearer.subject, bearer.verdict), (user.sub, Verdict::Valid));
        assert_eq!(proxy.status().await["identity"]["username"], "alice");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_display_gets_a_browser_and_sudo_gets_an_address() {
    let scene = Scene::new().await;
    let opened = scene.stage.home.path("opened");
    let script =
        scene.stage.home.write("xdg-open", &format!("#!/bin/sh\nprintf %s \"$1\" > {}\nsleep 60\n", opened.display()));
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("a mode");
    let path = format!("{}:{}", scene.stage.home.path("").display(), std::env::var("PATH").expect("a path"));

    let mut command = scene.stage.home.command(&["login"]);
    let login = Login::started(command.stdin(Stdio::null()).env("PATH", &path).env("DISPLAY", ":9")).await;
    let address = crate::support::wait::until("a browser", async || {
        std::fs::read_to_string(&opened).ok().filter(|address| !address.is_empty())
    })
    .await;
    assert_eq!(address, login.address);
    // The browser goes on for as long as it likes.
    scene.agent().signs_in(&address).await;
    assert_eq!(login.finish().await.code(), 0);

    std::fs::remove_file(&opened).expect("there");
    let mut command = scene.stage.home.command(&["login"]);
    command.env("PATH", &path).env("DISPLAY", ":9").env("SUDO_USER", "alice");
    let login = Login::started(command.stdin(Stdio::null())).await;
    scene.agent().signs_in(&login.address).await;
    let done = login.finish().await;
    assert_eq!(done.code(), 0);
    assert!(done.stderr.contains("root's"), "{}", done.stderr);
    assert!(!opened.exists(), "root's browser stays closed");
}

#[tokio::test]
async fn a_pasted_redirect_signs_in_where_the_browser_cannot_come_back() {
    let scene = Scene::new().await;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let mut command = scene.stage.home.command(&["login", "--no-browser", "--user", "alice", "--qr"]);
    let login = Login::started(command.stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))).await;
    assert_eq!(login.asked("login_hint"), "alice");

    let paste = |line: &str| std::io::Write::write_all(&mut &ours, format!("{line}\n").as_bytes()).expect("it reads");
    paste("no address");
    paste(&format!("{}?code=c1&state=other", scene.redirect_uri));
    let redirect = scene.agent().is_sent_to(&login.address).await;
    assert!(redirect.starts_with(&scene.redirect_uri), "{redirect}");
    paste(&redirect);

    let done = login.finish().await;
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(done.stderr.contains("no `?`") && done.stderr.contains("another sign-in"), "{}", done.stderr);
    assert!(done.stderr.contains('▀'), "a QR code: {}", done.stderr);
}

#[tokio::test]
async fn only_this_sign_in_at_only_this_address_ends_it() {
    let scene = Scene::new().await;
    let login = scene.login(&["--no-browser"]).await;
    let (state, host) = (login.asked("state"), scene.redirect_uri.trim_start_matches("http://"));
    let host = host.split('/').next().expect("an authority");
    for address in addresses(&scene.redirect_uri) {
        for (request, status, words) in [
            (format!("GET / HTTP/1.1\r\nHost: {host}"), 404, "Nothing is here"),
            (format!("GET /callback/ HTTP/1.1\r\nHost: {host}"), 404, "Nothing is here"),
            (format!("GET /callback?code=c&state={state} HTTP/1.1\r\nHost: evil.test"), 404, "Nothing is here"),
            (format!("POST /callback?code=c&state={state} HTTP/1.1\r\nHost: {host}"), 404, "Nothing is here"),
            (format!("GET /callback HTTP/1.1\r\nHost: {host}"), 400, "another sign-in"),
            (format!("GET /callback?code=c&state=x HTTP/1.1\r\nHost: {host}"), 400, "another sign-in"),
            (format!("GET /callback?error=access_denied HTTP/1.1\r\nHost: {host}"), 400, "another sign-in"),
        ] {
            let mut connection = wire::Connection::to(address).await;
            connection.send(format!("{request}\r\n\r\n")).await;
            let response = connection.receive().await;
            assert_eq!(response.status, status, "{request}");
            assert!(response.text().contains(words), "{request}: {}", response.text());
        }
    }
    let agent = scene.agent();
    let redirect = agent.is_sent_to(&login.address).await;
    // The same callback twice, the second while the first one's code is redeemed.
    let held = scene.stage.pool.hold_answers();
    let first = tokio::spawn(page_of(redirect.clone()));
    scene.stage.called(|calls| calls.iter().any(|call| format!("{:?}", call.operation) == "OauthToken")).await;
    let again = tokio::net::TcpStream::connect(addresses(&scene.redirect_uri)[0]).await;
    assert!(again.is_err(), "an address works once");
    drop(held);
    assert_eq!(first.await.expect("no panic").status, 200);
    assert_eq!(login.finish().await.code(), 0);
}
