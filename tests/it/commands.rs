//! The commands beside `run`: what they print, and the codes that scripts rely on.

use std::{
    fs::{self, Permissions},
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{ChildStdout, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use cognito_proxy::{
    clock::SystemClock,
    devpool::{AppClient, DevPool, Fault, IssuerForm, Scope, Settings, Validity},
};
use http_body_util::Full;
use serde_json::Value;
use tokio::time::timeout;

use super::support::{
    http::{exchange, get},
    process::Finished,
    proxy::{FREE_PORTS, Home},
    wait::{BOUND, until},
};

async fn pool() -> DevPool {
    let settings = Settings { issuer: IssuerForm::Endpoint, ..Settings::default() };
    DevPool::start(settings, Arc::new(SystemClock)).await.expect("a pool")
}

/// A configuration for `pool`. Nothing answers at the upstream: these tests send no requests there.
fn configuration(pool: &DevPool, more: &str) -> String {
    format!(
        "{FREE_PORTS}[upstream]\nurl = \"http://127.0.0.1:9\"\n{more}\n[cognito]\nuser_pool_id = \"{}\"\nclient_id = \
         \"{}\"\nendpoint = \"{}\"\nissuer = \"{}\"\n",
        pool.id(),
        Settings::CLIENT,
        pool.endpoint(),
        pool.issuer(),
    )
}

/// A home with a stored session of `pool`.
async fn signed_in(pool: &DevPool) -> Home {
    let home = Home::new();
    home.configure(&configuration(pool, ""));
    import(&home, pool).await;
    home
}

async fn import(home: &Home, pool: &DevPool) {
    let tokens = pool.sign_in(Settings::USER, Settings::CLIENT).expect("a sign-in");
    exits(&home.run_with_input(&["import", "-"], &tokens.to_import_json()).await, 0);
}

/// `output`'s standard output, after its exit code was looked at.
#[track_caller]
fn exits(output: &Finished, code: i32) -> &str {
    assert_eq!(output.code(), code, "{}{}", output.stdout, output.stderr);
    &output.stdout
}

fn claims(jwt: &str) -> Value {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    let payload = jwt.trim().split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("claims")
}

#[tokio::test]
async fn wait_ends_with_readiness_or_with_75() {
    let pool = pool().await;
    let home = Home::new();
    home.configure(&configuration(&pool, ""));
    let nobody = home.run(&["wait", "--timeout", "0s"]).await;
    exits(&nobody, 75);
    assert!(nobody.stderr.contains("no proxy is running"), "{}", nobody.stderr);

    let proxy = home.serve(&configuration(&pool, "")).await;
    let signed_out = home.run(&["wait", "--timeout", "200ms"]).await;
    exits(&signed_out, 75);
    assert!(signed_out.stderr.contains("login_required"), "{}", signed_out.stderr);
    assert!(signed_out.stderr.contains("cognito-proxy login"), "{}", signed_out.stderr);

    let waiting = home.run(&["wait"]);
    let (waited, ()) = tokio::join!(waiting, import(&home, &pool));
    assert_eq!(exits(&waited, 0), "");
    exits(&proxy.stop().await, 0);
}

#[tokio::test]
async fn token_has_the_form_that_is_asked_for() {
    let pool = pool().await;
    let home = signed_in(&pool).await;
    let raw = home.run(&["token"]).await;
    let jwt = exits(&raw, 0).strip_suffix('\n').expect("a line").to_owned();
    assert_eq!(claims(&jwt)["token_use"], "id");

    for running in [false, true] {
        let proxy = if running { Some(home.serve_with(&[]).await) } else { None };
        assert_eq!(exits(&home.run(&["token", "id"]).await, 0), format!("{jwt}\n"));
        let header = home.run(&["token", "--format", "header"]).await;
        assert_eq!(exits(&header, 0), format!("Authorization: Bearer {jwt}\n"));
        let env = home.run(&["token", "--format", "env"]).await;
        assert_eq!(exits(&env, 0), format!("export COGNITO_ID_TOKEN={jwt}\n"));

        let json: Value =
            serde_json::from_str(exits(&home.run(&["token", "--format", "json"]).await, 0)).expect("JSON");
        assert_eq!((&json["kind"], &json["token"]), (&"id".into(), &jwt.as_str().into()));
        assert!((3500..=3600).contains(&json["expires_in_s"].as_u64().expect("seconds")), "{}", json["expires_in_s"]);

        let plugin = home.run(&["token", "--format", "exec-credential"]).await;
        let plugin: Value = serde_json::from_str(exits(&plugin, 0)).expect("JSON");
        assert_eq!(plugin["apiVersion"], "client.authentication.k8s.io/v1");
        assert_eq!(plugin["kind"], "ExecCredential");
        assert_eq!(plugin["status"]["token"], jwt.as_str());
        assert_eq!(plugin["status"]["expirationTimestamp"], json["expires_at"]);

        let access = home.run(&["token", "access"]).await;
        assert_eq!(claims(exits(&access, 0))["token_use"], "access");
        if let Some(proxy) = proxy {
            proxy.stop().await;
        }
    }
    exits(&home.run(&["token", "refresh"]).await, 2);
    assert_eq!(pool.calls().refreshed(), 1, "the import's own, since the stored token is good");
}

#[tokio::test]
async fn more_than_the_pool_gives_costs_one_refresh_and_a_warning() {
    let pool = pool().await;
    let home = signed_in(&pool).await;
    for running in [false, true] {
        let proxy = if running { Some(home.serve_with(&[]).await) } else { None };
        let old = claims(exits(&home.run(&["token"]).await, 0));
        let before = pool.calls().refreshed();
        let asked = home.run(&["token", "--min-ttl", "3h"]).await;
        let new = claims(exits(&asked, 0));
        assert_ne!(old["jti"], new["jti"], "running: {running}");
        assert_eq!(pool.calls().refreshed(), before + 1, "running: {running}");
        assert!(asked.stderr.contains("warning: this token ends in "), "{}", asked.stderr);
        let again = claims(exits(&home.run(&["token", "--min-ttl", "30m"]).await, 0));
        assert_eq!(again["jti"], new["jti"], "what was fetched is kept");
        if let Some(proxy) = proxy {
            proxy.stop().await;
        }
    }
}

#[tokio::test]
async fn token_refreshes_without_a_proxy_and_a_single_refusal_is_final() {
    let pool = pool().await;
    let client = AppClient::public(Settings::CLIENT).rotating(Duration::ZERO);
    pool.put_client(client.with_validity(Validity { id: Duration::from_secs(3600), ..Validity::default() }));
    let home = signed_in(&pool).await;
    // Each refresh spends the token that the one before stored.
    for _ in 0..3 {
        exits(&home.run(&["token", "--min-ttl", "2h"]).await, 0);
    }

    pool.fail_always(Scope::Refresh, Fault::status(503));
    let kept = home.run(&["token", "--min-ttl", "2h"]).await;
    exits(&kept, 0);
    assert!(kept.stderr.contains("warning: the refresh failed"), "{}", kept.stderr);
    pool.heal();

    pool.expire_session(Settings::USER);
    let before = pool.calls().refreshed();
    let refused = home.run(&["token", "--min-ttl", "2h"]).await;
    exits(&refused, 0);
    assert!(refused.stderr.contains("has expired"), "{}", refused.stderr);
    assert!(pool.calls().refreshed() <= before + 1);
    // The verdict is stored: `status` knows it without a call, and warns while the last token lasts.
    let status: Value = serde_json::from_str(exits(&home.run(&["status", "--json"]).await, 3)).expect("JSON");
    assert_eq!(status["state"], "session_ended");
}

#[tokio::test]
async fn token_says_with_its_code_why_there_is_none() {
    let pool = pool().await;
    let home = Home::new();
    home.configure(&configuration(&pool, ""));
    let nobody = home.run(&["token"]).await;
    assert_eq!(exits(&nobody, 4), "");
    assert!(nobody.stderr.contains("cognito-proxy login"), "{}", nobody.stderr);

    // In its last second a token is not given away: one that lives for a second never is.
    let short = Validity { id: Duration::from_secs(1), access: Duration::from_secs(3600), ..Validity::default() };
    pool.set_validity(Settings::CLIENT, short);
    import(&home, &pool).await;
    for (fault, code) in [
        (Fault::status(503), 69),
        (Fault::throttled(None), 75),
        (Fault::exception("NotAuthorizedException", "Refresh Token has been revoked"), 4),
    ] {
        pool.fail_always(Scope::Refresh, fault);
        let failed = home.run(&["token"]).await;
        assert_eq!(exits(&failed, code), "");
        assert!(failed.stderr.contains("error: "), "{}", failed.stderr);
    }
    exits(&home.run(&["status"]).await, 4);

    // A later try is worth one question: a verdict may have been mistaken, or mended since.
    pool.heal();
    pool.set_validity(Settings::CLIENT, Validity::default());
    assert_eq!(claims(exits(&home.run(&["token"]).await, 0))["token_use"], "id");
    exits(&home.run(&["status"]).await, 0);
}

#[tokio::test]
async fn reload_says_what_is_wrong_and_what_waits_for_a_restart() {
    let pool = pool().await;
    let home = signed_in(&pool).await;
    let nobody = home.run(&["reload"]).await;
    exits(&nobody, 1);
    for told in ["no proxy of profile proxy is running", "help: start it: cognito-proxy run"] {
        assert!(nobody.stderr.contains(told), "{}", nobody.stderr);
    }

    let proxy = home.serve(&configuration(&pool, "")).await;
    assert_eq!(exits(&home.run(&["reload"]).await, 0), "");
    home.configure(&configuration(&pool, "[runtime]\nworkers = 3\n"));
    let restart = home.run(&["reload"]).await;
    exits(&restart, 0);
    assert!(restart.stderr.contains("runtime"), "{}", restart.stderr);
    home.configure(&configuration(&pool, "[runtime]\nworker = 3\n"));
    let wrong = home.run(&["reload"]).await;
    exits(&wrong, 78);
    assert!(wrong.stderr.contains("runtime.worker") || wrong.stderr.contains("worker"), "{}", wrong.stderr);
    exits(&proxy.stop().await, 0);
}

#[tokio::test]
async fn logout_forgets_with_a_proxy_and_without_one() {
    let pool = pool().await;
    let home = signed_in(&pool).await;
    exits(&home.run(&["unlock"]).await, 0);
    for running in [false, true] {
        let proxy = if running { Some(home.serve_with(&[]).await) } else { None };
        import(&home, &pool).await;
        let unlocked = home.run(&["unlock"]).await;
        exits(&unlocked, 0);
        assert_eq!(unlocked.stderr, "", "running: {running}");
        exits(&home.run(&["status"]).await, 0);
        exits(&home.run(&["logout", "--yes"]).await, 0);
        assert!(!home.store().exists(), "running: {running}");
        exits(&home.run(&["status"]).await, 4);
        exits(&home.run(&["token"]).await, 4);
        exits(&home.run(&["logout"]).await, 0);
        let idle = home.run(&["unlock"]).await;
        exits(&idle, 0);
        assert_eq!(idle.stderr, "nothing to unlock: nobody has signed in\n", "running: {running}");
        if let Some(proxy) = proxy {
            proxy.stop().await;
        }
    }
}

#[tokio::test]
async fn the_manual_and_completions_need_no_configuration() {
    let home = Home::new();
    for (shell, mark) in [("bash", "complete -F"), ("zsh", "#compdef cognito-proxy"), ("fish", "complete -c")] {
        let script = home.run(&["completions", shell]).await;
        assert!(exits(&script, 0).contains(mark), "{shell}: {}", script.stdout);
    }
    exits(&home.run(&["completions", "sh"]).await, 2);
    assert!(exits(&home.run(&["man"]).await, 0).contains(".TH cognito-proxy 1"));
    let pages = home.path("pages");
    assert_eq!(exits(&home.run(&["man", pages.to_str().expect("UTF-8")]).await, 0), "");
    for page in ["cognito-proxy.1", "cognito-proxy-run.1", "cognito-proxy-token.1", "cognito-proxy.toml.5"] {
        assert!(pages.join(page).is_file(), "{page}");
    }
}

#[tokio::test]
async fn bash_completes_commands_their_options_and_the_values_of_these() {
    let home = Home::new();
    let script = home.write("completions.bash", exits(&home.run(&["completions", "bash"]).await, 0));
    // As bash calls it: the words of the line, and which of them is being written.
    let drive = "source \"$0\"; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
                 _cognito__proxy \"$1\" \"${!#}\" \"${COMP_WORDS[COMP_CWORD - 1]}\"; echo \"${COMPREPLY[@]}\"";
    for (words, offered) in [
        (&["lo"][..], "login logout"),
        (&["login", "--no"], "--no-browser"),
        (&["snippet", "c"], "curl"),
        (&["token", "--format", "exec"], "exec-credential"),
        (&["-p", "work", "stat"], "status"),
    ] {
        let told =
            Command::new("bash").args(["--norc", "-c", drive]).arg(&script).arg("cognito-proxy").args(words).output();
        let told = told.expect("bash");
        assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), offered, "{words:?}: {told:?}");
    }
}

#[tokio::test]
async fn a_second_proxy_of_a_profile_is_refused_for_as_long_as_the_first_one_runs() {
    let pool = pool().await;
    let home = signed_in(&pool).await;
    let mut proxy = home.serve_with(&[]).await;
    proxy.ready().await;
    let second = home.run(&["run"]).await;
    exits(&second, 1);
    assert!(second.stderr.contains("process "), "{}", second.stderr);
    // Nor does a command take the store for its own.
    let tokens = pool.sign_in(Settings::USER, Settings::CLIENT).expect("a sign-in").to_import_json();
    let adopted = home.run_with_input(&["import", "-"], &tokens).await;
    assert!(adopted.stderr.contains("the running proxy has adopted the session"));
    exits(&proxy.stop().await, 0);
}

#[tokio::test]
async fn a_damaged_record_takes_a_sign_in() {
    let pool = pool().await;
    let home = signed_in(&pool).await;
    home.write("state/cognito-proxy/proxy.json", "{\"schema\": 1, \"refr");
    let status = home.run(&["status", "--json"]).await;
    let report: Value = serde_json::from_str(exits(&status, 4)).expect("JSON");
    assert_eq!(report["state"], "signed_out");
    assert!(status.stderr.contains("is damaged"), "{}", status.stderr);
    exits(&home.run(&["token"]).await, 4);
    import(&home, &pool).await;
    exits(&home.run(&["token"]).await, 0);
}

#[tokio::test]
async fn a_change_of_the_file_is_a_reload_and_a_refusal_is_counted_once() {
    let pool = pool().await;
    let home = Home::new();
    let mut proxy = home.serve(&configuration(&pool, "")).await;
    let named = |host: &'static str| {
        let request = http::Request::get("/x").header("host", host).body(Full::<Bytes>::default());
        exchange(proxy.address(), request.expect("a request"))
    };
    assert_eq!(named("api.test").await.status(), 403);
    let metrics = get(proxy.admin(), "/metrics").await;
    let metrics = String::from_utf8_lossy(metrics.body()).into_owned();
    assert!(metrics.contains("cognito_proxy_refused_total{reason=\"host_not_allowed\"} 1\n"), "{metrics}");

    home.configure(&configuration(&pool, "[guard]\nhosts = [\"api.test\"]\n"));
    proxy.logged("configuration reloaded").await;
    let request = http::Request::get("/x").header("host", "api.test").body(Full::<Bytes>::default());
    assert_eq!(exchange(proxy.address(), request.expect("a request")).await.status(), 503, "admitted, and signed out");
    exits(&proxy.stop().await, 0);
}

#[tokio::test]
async fn a_watched_status_is_told_at_every_change_until_nobody_reads_any_more() {
    let pool = pool().await;
    let home = Home::new();
    home.configure(&configuration(&pool, ""));
    let mut command = home.command(&["status", "--watch", "--json"]);
    let mut watching = command.stdout(Stdio::piped()).spawn().expect("built");
    let mut told = BufReader::new(watching.stdout.take().expect("piped"));
    let next = async |mut told: BufReader<ChildStdout>| {
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            told.read_line(&mut line).map(|_| (line, told))
        });
        let (line, told) = timeout(BOUND, line).await.expect("told in time").expect("no panic").expect("read");
        (serde_json::from_str::<Value>(&line).expect("JSON")["state"].clone(), told)
    };
    let state;
    (state, told) = next(told).await;
    assert_eq!(state, "signed_out");
    import(&home, &pool).await;
    let state;
    (state, told) = next(told).await;
    assert_eq!(state, "fresh");
    drop(told);
    exits(&home.run(&["logout", "--yes"]).await, 0);
    let ended = until("the end of `status --watch`", async || watching.try_wait().expect("ours")).await;
    assert_eq!(ended.code(), Some(4));
}

#[tokio::test]
async fn a_store_that_others_may_write_to_is_refused_with_what_mends_it() {
    let pool = pool().await;
    let home = signed_in(&pool).await;
    let directory = home.path("state/cognito-proxy");
    fs::set_permissions(&directory, Permissions::from_mode(0o770)).expect("ours");
    for command in ["run", "status", "token", "import", "logout"] {
        let refused = home.run_with_input(&[command], r#"{"refresh_token":"a"}"#).await;
        exits(&refused, 77);
        let mended_by = format!("chmod go-w {}", directory.display());
        assert!(refused.stderr.contains(&mended_by), "{command}: {}", refused.stderr);
    }
    fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("ours");
    exits(&home.run(&["status"]).await, 0);
}

#[tokio::test]
async fn a_snippet_works_as_it_is_printed() {
    let home = Home::new();
    let settings =
        "[cognito]\nuser_pool_id = \"eu-west-1_A\"\nclient_id = \"c\"\n[upstream]\nurl = \"http://127.0.0.1:9\"\n";
    let key = home.write("key", "a-client-key-of-some-length-0123456789\n");
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("ours");
    let proxy = home.path("proxy.sock");
    let listen = format!("[listen]\nproxy = [\"unix:{}\"]\nadmin = \"off\"\n", proxy.display());
    let mut running = home.serve(&format!("{settings}{listen}[guard]\nclient_key_file = {key:?}\n")).await;
    let line = home.run(&["snippet", "curl"]).await;
    assert!(exits(&line, 0).contains("$(cat "), "{line:?}");
    let answered = Command::new("sh").arg("-c").arg(&line.stdout).output().expect("a shell");
    let answer = String::from_utf8_lossy(&answered.stdout).into_owned();
    assert!(answer.contains("login_required"), "past the guard, to the want of a session: {answer}");
    running.signal(rustix::process::Signal::TERM);
    running.gone().await;

    home.configure(&format!("{settings}{FREE_PORTS}"));
    exits(&home.run(&["snippet", "mcp"]).await, 78);
    home.configure(settings);
    let page = home.run(&["snippet", "fetch"]).await;
    assert!(exits(&page, 0).contains("http://localhost:8900/") && page.stderr.contains("guard.origins"), "{page:?}");
}
