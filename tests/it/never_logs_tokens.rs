//! No output holds a secret, whatever happens and however much is logged: no token of Cognito's, no client secret, no
//! client key, no credentials of a client. Only the store does, and upstream the one header.
//!
//! Each secret is a canary, and everything that the program prints or answers is searched for all of them.

use std::fs;

use cognito_proxy::devpool::{AppClient, Commit, Fault, Lie, Portal, Scope, Settings, echo::Behaviour};
use http::StatusCode;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    http::{self as wire, Connection},
    proxy::Proxy,
    stage::{Stage, get_with, validity},
};

const CLIENT_SECRET: &str = "canary-client-secret-hunter2";
const CLIENT_KEY: &str = "canary-client-key-hunter3";
const WRONG_KEY: &str = "canary-wrong-key-hunter4";
const CLIENTS_OWN: &str = "canary-clients-own-hunter5";

#[tokio::test]
async fn nothing_that_is_printed_or_answered_holds_a_secret() {
    tokio::join!(whole_session("json"), whole_session("pretty"));
}

/// Everything that came out, and what must not be in it.
struct Search {
    format: &'static str,
    secrets: Vec<String>,
    found: Vec<(String, String)>,
}

impl Search {
    fn new(format: &'static str) -> Self {
        // Every JWT and JWE of Cognito begins like this.
        let secrets = ["eyJ", CLIENT_SECRET, CLIENT_KEY, WRONG_KEY, CLIENTS_OWN].map(str::to_owned);
        Self { format, secrets: secrets.into(), found: Vec::new() }
    }

    fn note(&mut self, place: &str, output: &str) {
        self.found.push((place.to_owned(), output.to_owned()));
    }

    /// The store's own refresh token is a secret from now on.
    fn learn_refresh_token(&mut self, stage: &Stage) {
        let token = stage.stored_refresh_token();
        assert!(token.len() > 20, "a refresh token");
        self.secrets.push(token);
    }

    fn finish(self) {
        assert!(self.found.len() > 20, "{}: {} outputs", self.format, self.found.len());
        for (place, output) in &self.found {
            for secret in &self.secrets {
                // The secret itself stays out of the report, too.
                let at = output.lines().position(|line| line.contains(secret.as_str()));
                let kind = &secret[..secret.len().min(9)];
                assert!(at.is_none(), "{}: {place}, line {at:?} holds {kind}…", self.format);
            }
        }
    }
}

async fn whole_session(format: &'static str) {
    let client = AppClient::public(Settings::CLIENT)
        .with_secret(CLIENT_SECRET)
        .with_validity(validity(600, 3600))
        .rotating(std::time::Duration::from_secs(60));
    let stage = Stage::of(client).await;
    stage.home.write("secret", CLIENT_SECRET);
    stage.home.write("key", CLIENT_KEY);
    let configuration = format!(
        "cognito.client_secret_file = \"{}\"\nguard.client_key_file = \"{}\"\ncognito.refresh_token_validity = \"1h\"\n\
         log.format = {format:?}\nrefresh.wait = \"2s\"\nsession.hold = \"0s\"\n\
         [[route]]\npath = \"/nowhere\"\nupstream = \"http://127.0.0.1:1\"\n[[route]]\npath = \"/access\"\ntoken = \"access\"\n",
        stage.home.path("secret").display(),
        stage.home.path("key").display(),
    );
    stage.configure(&configuration);
    let mut search = Search::new(format);

    signed_out_and_in(&stage, &mut search).await;
    stage.pool.fail_always(Scope::Refresh, Fault::status(500));
    let mut proxy = stage.home.serve_with(&["--log-level", "trace"]).await;
    requests(&stage, &proxy, &mut search).await;
    process(&proxy, &mut search);
    failing_refreshes(&stage, &mut proxy, &mut search).await;
    search.learn_refresh_token(&stage);
    wrong_settings(&stage, &mut proxy, &mut search).await;
    ended(&stage, &mut proxy, &mut search).await;
    let finished = proxy.stop().await;
    assert!(finished.stderr.to_lowercase().contains("debug"), "it logged more than usual:\n{}", finished.stderr);
    assert!(finished.stderr.contains("[redacted]"), "Cognito's words are logged, and a token in them is not");
    search.note("standard error of run", &finished.stderr);
    search.note("standard output of run", &finished.stdout);
    search.finish();
}

/// Commands without a proxy: refused imports, one that works, and what they leave behind.
async fn signed_out_and_in(stage: &Stage, search: &mut Search) {
    let tokens = stage.sign_in();
    let good = tokens.to_import_json();
    stage.pool.fail_next(1, Scope::Refresh, Fault::Lie(Lie::BadSignature));
    let cut = &good[..good.len() - 10];
    let jwt = tokens.id_token.expose();
    let unknown = format!("{{\"{jwt}\": \"{jwt}\", \"token\": \"{jwt}\"}}");
    for input in [good.as_str(), cut, jwt, &unknown, &good] {
        if input == good && !search.found.is_empty() {
            stage.pool.fail_next(1, Scope::Refresh, Fault::Lie(Lie::Times(-500)));
        }
        let finished = stage.home.run_with_input(&["import", "--log-level", "trace"], input).await;
        search.note("import", &finished.stderr);
        search.note("import", &finished.stdout);
    }
    assert!(stage.home.store().exists(), "the last one is good: {:?}", search.found.last_chunk::<2>());
    search.learn_refresh_token(stage);
    commands(stage, search).await;
}

/// What a person looks at.
async fn commands(stage: &Stage, search: &mut Search) {
    for arguments in [
        &["status", "--json"][..],
        &["status", "--format", "short"],
        &["check", "--explain"],
        &["check", "--explain", "--json"],
    ] {
        command(stage, search, arguments).await;
    }
    for name in every_command(stage).await {
        match name.as_str() {
            // They serve, or their very purpose is a token; `logout` has its turn when all is over.
            "run" | "demo" | "login" | "import" | "token" | "logout" | "help" => {}
            "wait" => command(stage, search, &["wait", "--timeout", "1s"]).await,
            "completions" => command(stage, search, &["completions", "bash"]).await,
            "snippet" => command(stage, search, &["snippet", "curl"]).await,
            name => command(stage, search, &[name]).await,
        }
    }
}

/// What `--help` lists, so that a command that is added is searched as well.
async fn every_command(stage: &Stage) -> Vec<String> {
    let help = stage.home.run(&["--help"]).await.stdout;
    let (_, listed) = help.split_once("\nCommands:\n").expect("a list of commands");
    let lines = listed.lines().take_while(|line| !line.is_empty());
    let names: Vec<_> = lines
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| rest.starts_with(char::is_alphabetic)))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    for name in ["status", "check", "logout", "reload", "unlock", "wait"] {
        assert!(names.iter().any(|known| known == name), "{name} in {help}");
    }
    names
}

/// What a command prints at the noisiest.
async fn command(stage: &Stage, search: &mut Search, arguments: &[&str]) {
    let all: Vec<_> = ["--log-level", "trace"].iter().chain(arguments).copied().collect();
    let finished = stage.home.run(&all).await;
    search.note(&arguments.join(" "), &finished.stdout);
    search.note(&arguments.join(" "), &finished.stderr);
}

/// What every process of the same user, and for arguments every process, can read of a running one.
fn process(proxy: &Proxy, search: &mut Search) {
    for file in ["cmdline", "environ"] {
        let path = format!("/proc/{}/{file}", proxy.process_id());
        match fs::read(&path) {
            Ok(octets) => {
                assert!(!octets.is_empty(), "{path}");
                search.note(&path, &String::from_utf8_lossy(&octets).replace('\0', "\n"));
            }
            // It is not dumpable, and so belongs to root.
            Err(error) => assert_eq!((file, error.kind()), ("environ", std::io::ErrorKind::PermissionDenied)),
        }
    }
}

/// Requests that pass, that are refused, and that the upstream fails.
async fn requests(stage: &Stage, proxy: &Proxy, search: &mut Search) {
    let key = ("cognito-proxy-key", CLIENT_KEY);
    let own = ("authorization", CLIENTS_OWN);
    let disguised = ("x_forwarded_for", WRONG_KEY);
    for (path, headers) in [
        ("/orders", &[key, own, disguised][..]),
        ("/access", &[key, own]),
        ("/nowhere", &[key, own]),
        ("/reset", &[key, own]),
        ("/truncated/0", &[key, own]),
        ("/status/401", &[key, own]),
        ("/orders", &[("origin", "http://evil.example"), key, own]),
        ("/orders", &[("host", "evil.example"), key, own]),
    ] {
        let answer = get_with(proxy.address(), path, headers).await;
        search.note(path, &format!("{answer:?}"));
    }
    // What hyper itself refuses, and a client that leaves in the middle.
    for bytes in [format!("GET / HTTP/9.9\r\nauthorization: {CLIENTS_OWN}\r\n\r\n"), format!("\0{CLIENTS_OWN}\r\n\r\n")]
    {
        let mut connection: Connection = proxy.connect().await;
        connection.send(bytes).await;
        search.note("refused bytes", &String::from_utf8_lossy(&connection.receive_to_close().await));
    }
    let mut leaving = proxy.connect().await;
    leaving
        .send(format!(
            "POST /sink HTTP/1.1\r\nHost: localhost\r\nCognito-Proxy-Key: {CLIENT_KEY}\r\nContent-Length: 9\r\n\r\n{{"
        ))
        .await;
    drop(leaving);
    stage.upstream.behave_next(1, &Behaviour::Early(StatusCode::BAD_GATEWAY));
    search.note("502", &format!("{:?}", get_with(proxy.address(), "/", &[key, own]).await));
    assert!(stage.upstream.log().total() >= 5, "some went upstream");
}

/// Everything that Cognito, or whoever plays it, can answer.
async fn failing_refreshes(stage: &Stage, proxy: &mut Proxy, search: &mut Search) {
    let current = stage.stored_refresh_token();
    let talkative = format!("Invalid Refresh Token: {current} of {CLIENT_SECRET}");
    failed_at_start(proxy).await;
    for fault in [
        Fault::status(500),
        Fault::exception("NotAuthorizedException", &talkative),
        Fault::exception(&talkative, &talkative),
        Fault::throttled(None),
        Fault::unknown_operation(),
        Fault::Portal(Portal::Page),
        Fault::Reset(Commit::After),
        Fault::Truncated,
        Fault::Lie(Lie::NotJson),
        Fault::Lie(Lie::BadSignature),
        Fault::Lie(Lie::AlgorithmNone),
        Fault::Lie(Lie::Issuer),
        Fault::Lie(Lie::Subject),
    ] {
        // Never healed in between: an attempt that is under way would succeed.
        stage.pool.fail_always(Scope::Refresh, fault.clone());
        // A reload is worth one attempt.
        failed_again(proxy, &format!("{fault:?}")).await;
        pages(stage, proxy, search).await;
    }
}

/// The stored token is so old that its refresh is due at once.
async fn failed_at_start(proxy: &Proxy) {
    proxy.status_that("a failure", |status| status["consecutive_failures"].as_u64().filter(|count| *count > 0)).await;
}

/// Makes a refresh fail.
async fn failed_again(proxy: &mut Proxy, what: &str) {
    let failures = proxy.status().await["consecutive_failures"].as_u64().expect("a count");
    proxy.signal(Signal::HUP);
    let more = |status: &Value| status["consecutive_failures"].as_u64().filter(|count| *count > failures);
    proxy.status_that(&format!("a failure after {failures} by {what}"), more).await;
}

/// The pages of the admin listener and of the control socket.
async fn pages(stage: &Stage, proxy: &Proxy, search: &mut Search) {
    for path in ["/status.json", "/status", "/metrics", "/readyz", "/livez", "/nothing"] {
        search.note(path, &format!("{:?}", wire::get(proxy.admin(), path).await));
        let mut control = Connection::to_socket(&stage.home.control_socket()).await;
        control.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await;
        search.note(path, &String::from_utf8_lossy(&control.receive_to_close().await));
    }
}

/// A wrong secret, a configuration that cannot be read, a record that is none.
async fn wrong_settings(stage: &Stage, proxy: &mut Proxy, search: &mut Search) {
    stage.home.write("secret", WRONG_KEY);
    failed_again(proxy, "the last fault").await;
    stage.pool.heal();
    proxy.signal(Signal::HUP);
    proxy
        .status_that("a refusal for the secret", |status| {
            status["last_refresh"]["error"].as_str().is_some_and(|error| error.contains("secret hash")).then_some(())
        })
        .await;
    pages(stage, proxy, search).await;
    commands(stage, search).await;
    let broken = stage.toml(&format!("cognito.client_secret = {CLIENT_SECRET:?}"));
    stage.home.configure(&broken);
    proxy.signal(Signal::HUP);
    proxy.printed_line("configuration not reloaded").await;
    search.note("check", &stage.home.run(&["check"]).await.stderr);
    let mut control = Connection::to_socket(&stage.home.control_socket()).await;
    let record = fs::read_to_string(stage.home.store()).expect("a record").replace("\"schema\"", "\"scheme\"");
    let head = format!("POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n", record.len());
    control.send(head + &record).await;
    search.note("POST /session", &format!("{:?}", control.receive().await));
}

/// Nothing left: 503, and the verdict in every place.
async fn ended(stage: &Stage, proxy: &mut Proxy, search: &mut Search) {
    stage.home.write("secret", CLIENT_SECRET);
    stage.configure(&format!(
        "cognito.client_secret_file = \"{}\"\nguard.client_key_file = \"{}\"\nsession.hold = \"0s\"\n",
        stage.home.path("secret").display(),
        stage.home.path("key").display()
    ));
    stage.pool.sign_out(Settings::USER);
    proxy.signal(Signal::HUP);
    proxy.printed_line("session ended").await;
    pages(stage, proxy, search).await;
    commands(stage, search).await;
    command(stage, search, &["logout", "--yes"]).await;
    if stage.home.store().exists() {
        fs::remove_file(stage.home.store()).expect("a store");
    }
    search.note("status", &stage.home.run(&["status"]).await.stdout);
    search.note(
        "/orders",
        &format!("{:?}", get_with(proxy.address(), "/orders", &[("cognito-proxy-key", CLIENT_KEY)]).await),
    );
}
