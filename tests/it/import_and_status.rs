//! `import` takes tokens in whatever form a person has them, proves them, and says by its exit code what came of it;
//! a running proxy adopts them at once. `status` says the same whether a proxy runs or not.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use cognito_proxy::devpool::{AppClient, DeviceRule, Fault, Scope, Settings, Tokens};
use serde_json::{Value, json};

use crate::support::{
    http as wire,
    load::steadily,
    process::{Finished, Process},
    stage::{Stage, validity},
    wait::BOUND,
};

/// Said, so that nothing is assumed about the session's length.
const HOUR: &str = "cognito.refresh_token_validity = \"1h\"";

/// Every form in which one sign-in may come.
fn forms(tokens: &Tokens) -> Vec<(&'static str, String)> {
    let (refresh, id) = (tokens.refresh_token.expose(), tokens.id_token.expose());
    let access = tokens.access_token.expose();
    let device = tokens.device_key.as_deref().expect("a pool that remembers devices");
    let prefix = format!("CognitoIdentityServiceProvider.{}", Settings::CLIENT);
    let of_user = |name: &str| format!("{prefix}.alice.{name}");
    vec![
        ("everything", tokens.to_import_json()),
        ("what is needed", json!({"refresh_token": refresh, "device_key": device}).to_string()),
        (
            "the AWS CLI's output",
            json!({"ChallengeParameters": {}, "AuthenticationResult": {
                "AccessToken": access, "ExpiresIn": 3600, "TokenType": "Bearer", "RefreshToken": refresh, "IdToken": id,
                "NewDeviceMetadata": {"DeviceKey": device, "DeviceGroupKey": "-group"}}})
            .to_string(),
        ),
        (
            "an Amplify dump",
            json!({"theme": "dark", format!("{prefix}.LastAuthUser"): "alice", of_user("refreshToken"): refresh,
                of_user("idToken"): id, of_user("accessToken"): access, of_user("clockDrift"): "0",
                of_user("deviceKey"): device})
            .to_string(),
        ),
    ]
}

#[tokio::test]
async fn every_form_of_tokens_is_taken_and_proved() {
    let stage = Stage::new().await;
    stage.pool.change_rules(|rules| rules.devices = DeviceRule::Remembered);
    stage.configure("cognito.refresh_token_validity = \"30d\"");
    let tokens = stage.sign_in();
    for (form, input) in forms(&tokens) {
        let before = stage.refreshes();
        let file = stage.home.write("tokens.json", &input);
        let by_file = stage.home.run(&["import", file.to_str().expect("plain")]).await;
        let by_dash = stage.home.run_with_input(&["import", "-"], &input).await;
        let piped = stage.home.run_with_input(&["import"], &input).await;
        for imported in [by_file, by_dash, piped] {
            assert_eq!(imported.code(), 0, "{form}: {imported:?}");
            assert!(imported.stdout.contains("alice"), "{form}: {}", imported.stdout);
        }
        assert_eq!(stage.refreshes(), before + 3, "{form}: each is proved by one refresh");
        let mode = fs::metadata(stage.home.store()).expect("a store").permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{form}");
    }
}

#[tokio::test]
async fn what_is_no_input_is_2_and_stores_nothing() {
    let stage = Stage::new().await;
    stage.configure("");
    for input in
        ["", "{}", "[]", "nonsense", "{\"refresh_token\": 7}", "{\"AuthenticationResult\": {\"IdToken\": \"x\"}}"]
    {
        let refused = stage.home.run_with_input(&["import"], input).await;
        assert_eq!((refused.code(), refused.stdout.as_str()), (2, ""), "{input:?}: {refused:?}");
        assert!(refused.stderr.contains("standard input"), "{input:?}: {}", refused.stderr);
    }
    assert_eq!(stage.home.run(&["import", "--nonsense"]).await.code(), 2);
    assert_eq!(stage.pool.calls().total(), 0, "nobody is asked");
    assert!(!stage.home.store().exists());
}

#[tokio::test]
async fn an_exit_code_says_what_is_wrong() {
    let stage = Stage::lasting(60).await;
    stage.configure(HOUR);
    let tokens = stage.sign_in();
    let import = async || stage.import(&tokens).await;
    let says = |finished: &Finished, code: i32, word: &str| {
        assert_eq!(finished.code(), code, "{word}: {finished:?}");
        assert!(finished.stderr.contains(word), "{word}: {}", finished.stderr);
        assert!(!stage.home.store().exists(), "{word}: nothing is stored");
    };

    stage.pool.fail_next(1, Scope::Refresh, Fault::throttled(None));
    says(&import().await, 75, "TooManyRequests");
    stage.pool.fail_next(1, Scope::Refresh, Fault::exception("InvalidParameterException", "Missing ClientSecret"));
    says(&import().await, 78, "client_secret_file");
    stage.pool.go_offline().await;
    says(&import().await, 69, "nothing was stored");
    stage.pool.go_online().await.expect("its old port");
    stage.pool.fail_always(Scope::Refresh, Fault::status(500));
    says(&import().await, 69, "500");
    stage.pool.heal();

    // A directory that cannot be made, for root as for anybody: a file is in its place.
    let place = stage.home.write("occupied", "");
    stage.configure(&format!("{HOUR}\nstore.path = {:?}", place.join("proxy.json")));
    says(&import().await, 73, "occupied");
    stage.configure(&format!("{HOUR}\ncognito.client = 1"));
    says(&import().await, 78, "client_id");
    stage.configure(HOUR);

    stage.pool.sign_out(Settings::USER);
    says(&import().await, 4, "sign in again");
}

#[tokio::test]
async fn loose_permissions_are_77_with_the_chmod_that_mends_them() {
    let stage = Stage::new().await;
    stage.configure(HOUR);
    let tokens = stage.signed_in().await;
    fs::set_permissions(stage.home.store(), fs::Permissions::from_mode(0o644)).expect("a mode");
    let input = tokens.to_import_json();
    for (arguments, input) in [(&["import"][..], input.as_str()), (&["status"], ""), (&["run"], "")] {
        let refused = stage.home.run_with_input(arguments, input).await;
        assert_eq!(refused.code(), 77, "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains("chmod 600"), "{arguments:?}: {}", refused.stderr);
    }
}

#[tokio::test]
async fn a_live_session_of_another_client_is_not_written_over() {
    let other = AppClient::public("other0client0of0the0pool");
    let stage = Stage::of(other.clone()).await;
    stage.configure(HOUR);
    stage.signed_in().await;
    let stored = fs::read(stage.home.store()).expect("a record");
    let theirs = stage.pool.sign_in(Settings::USER, &other.id).expect("a sign-in");
    let toml = stage.toml(HOUR).replace(Settings::CLIENT, &other.id);
    stage.home.configure(&toml);
    let before = stage.refreshes();
    let refused = stage.import(&theirs).await;
    assert_eq!(refused.code(), 78, "{refused:?}");
    assert!(refused.stderr.contains("use -p NAME, or logout first"), "{}", refused.stderr);
    assert_eq!(fs::read(stage.home.store()).expect("a record"), stored);
    assert_eq!(stage.refreshes(), before, "and no token was spent for it");
}

#[tokio::test]
async fn a_running_proxy_adopts_an_import_without_a_failed_request() {
    let stage = Stage::new().await;
    let mut proxy = stage.serve("cognito.refresh_token_validity = \"30d\"").await;
    let before = stage.stored_refresh_token();
    let tokens = stage.sign_in();
    let address = proxy.address();
    let mut took = Duration::ZERO;
    let (adopting, is_adopted) = tokio::sync::watch::channel(false);
    let importing = async {
        stage.arrived(|log| log.total() > 10).await;
        let imported = stage.import(&tokens).await;
        let began = Instant::now();
        assert_eq!(imported.code(), 0, "{imported:?}");
        stage.arrived(|log| log.distinct_tokens().len() == 2).await;
        took = began.elapsed();
        adopting.send_replace(true);
    };
    let ((), (sent, failures)) = tokio::join!(importing, steadily(address, || *is_adopted.borrow()));
    assert!(failures.is_empty(), "{} of {sent}: {:?}", failures.len(), failures[0]);
    assert!(took < Duration::from_secs(1), "{took:?}");
    let adopted = proxy.logged("session adopted").await;
    assert_eq!((adopted["from"].as_str(), adopted["username"].as_str()), (Some("import"), Some("alice")));
    let after = stage.stored_refresh_token();
    assert_ne!(before, after, "and the proxy has stored it");
    assert_eq!(after, tokens.refresh_token.expose());
    proxy.stop().await;
}

#[tokio::test]
async fn a_proxy_that_waits_for_a_sign_in_serves_after_an_import() {
    let stage = Stage::new().await;
    stage.configure(HOUR);
    let mut proxy = stage.home.serve_with(&[]).await;
    assert_eq!(wire::get(proxy.address(), "/").await.status(), 503);
    stage.signed_in().await;
    assert_eq!(wire::get(proxy.address(), "/").await.status(), 200, "at once");
    proxy.ready().await;
    proxy.stop().await;
}

/// The keys of a document, with those of its objects: its shape.
fn shape(document: &Value) -> Vec<String> {
    let Value::Object(object) = document else { return Vec::new() };
    let mut keys: Vec<String> = object
        .iter()
        .flat_map(|(key, value)| {
            let below = shape(value).into_iter().map(move |name| format!("{key}.{name}"));
            std::iter::once(key.clone()).chain(below)
        })
        .collect();
    keys.sort();
    keys
}

/// Every key of the interface, schema 1.
const SHAPE: [&str; 31] = [
    "access_token",
    "access_token.expires_at",
    "access_token.expires_in_s",
    "access_token.issued_at",
    "consecutive_failures",
    "held_requests",
    "id_token",
    "id_token.expires_at",
    "id_token.expires_in_s",
    "id_token.issued_at",
    "identity",
    "identity.client_id",
    "identity.sub",
    "identity.user_pool_id",
    "identity.username",
    "injecting_until",
    "last_refresh",
    "last_refresh.at",
    "last_refresh.error",
    "last_refresh.outcome",
    "next_refresh_at",
    "refresh_token",
    "refresh_token.basis",
    "refresh_token.expires_at",
    "refresh_token.expires_in_s",
    "schema",
    "state",
    "unpersisted_rotation",
    "warning",
    "warning.fix",
    "warning.level",
];

#[tokio::test]
async fn the_status_has_every_key_with_and_without_a_proxy() {
    let stage = Stage::new().await;
    stage.configure("cognito.refresh_token_validity = \"30d\"");
    stage.signed_in().await;
    let stored = stage.home.run(&["status", "--json"]).await;
    assert_eq!(stored.code(), 0, "{stored:?}");
    let stored: Value = serde_json::from_str(&stored.stdout).expect("JSON");
    let proxy = stage.home.serve_with(&[]).await;
    let page = proxy.status().await;
    let command = stage.home.run(&["status", "--json"]).await;
    let command: Value = serde_json::from_str(&command.stdout).expect("JSON");
    for document in [&stored, &page, &command] {
        assert_eq!(shape(document), SHAPE, "{document}");
        assert_eq!((&document["schema"], &document["state"]), (&json!(1), &json!("fresh")), "{document}");
        assert_eq!(document["identity"]["username"], "alice");
        assert_eq!(document["identity"]["user_pool_id"], Settings::POOL);
        assert_eq!(document["refresh_token"]["basis"], "configured");
        assert_eq!(document["last_refresh"]["outcome"], "ok");
        let left = document["id_token"]["expires_in_s"].as_u64().expect("a number");
        assert!((3500..3600).contains(&left), "{left}");
        let left = document["refresh_token"]["expires_in_s"].as_u64().expect("a number");
        assert!((2_591_900..2_592_000).contains(&left), "{left}");
        for moment in ["/id_token/expires_at", "/refresh_token/expires_at", "/injecting_until", "/last_refresh/at"] {
            let text = document.pointer(moment).and_then(Value::as_str).unwrap_or_default();
            assert!(text.ends_with('Z') && text.len() >= 20, "{moment}: {text}");
        }
    }
    // Seconds that are left pass between two looks; nothing else does.
    for key in ["/identity", "/refresh_token/expires_at", "/injecting_until", "/last_refresh", "/warning"] {
        assert_eq!(page.pointer(key), command.pointer(key), "{key}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_status_is_an_exit_code_and_text_for_people() {
    let stage = Stage::of(AppClient::public(Settings::CLIENT).with_validity(validity(60, 86_400))).await;
    stage.configure("cognito.refresh_token_validity = \"1d\"\nwarn.before = [\"1h\"]");
    let nobody = stage.home.run(&["status"]).await;
    assert_eq!(nobody.code(), 4, "{nobody:?}");
    assert_eq!(stage.home.run(&["status", "--format", "short"]).await.stdout, "x signed out\n");

    stage.signed_in().await;
    let calls = stage.pool.calls().total();
    let shown = stage.home.run(&["status"]).await;
    assert_eq!(shown.code(), 0, "{shown:?}");
    for words in ["alice", Settings::POOL, "fresh", "ID token", "session ends", "injecting until", "configured"] {
        assert!(shown.stdout.contains(words), "{words} in {}", shown.stdout);
    }
    assert_eq!(shown.stderr, "");
    let short = stage.home.run(&["status", "--format", "short"]).await.stdout;
    assert!(short.starts_with("ok ") && short.ends_with(" / 23h\n"), "{short:?}");
    let mut in_unicode = stage.home.command(&["status", "--format", "short", "--color", "always"]);
    let shown = Process::spawn("status", in_unicode.env("LC_ALL", "C.UTF-8")).expect("built").finish(BOUND).await;
    assert!(shown.stdout.starts_with("\u{1b}[32m✓ ") && shown.stdout.contains("s · 23h"), "{:?}", shown.stdout);
    assert!(!stage.home.run(&["status"]).await.stdout.contains('\u{1b}'), "a pipe gets no colours");
    assert_eq!(stage.home.run(&["status", "--warn-within", "1h"]).await.code(), 0);
    assert_eq!(stage.home.run(&["status", "--warn-within", "2d"]).await.code(), 3);
    assert_eq!(stage.home.run(&["status", "--warn-within", "soon"]).await.code(), 2);
    assert_eq!(stage.pool.calls().total(), calls, "status dials nobody");

    // Half an hour before its end, where a warning is due an hour before.
    stage.pool.age(Settings::USER, Duration::from_secs(84_600));
    let imported = stage.import(&stage.sign_in()).await;
    assert_eq!(imported.code(), 0, "a new sign-in has all its time: {imported:?}");
    let tokens = stage.sign_in();
    stage.pool.age(Settings::USER, Duration::from_secs(84_600));
    assert_eq!(stage.import(&tokens).await.code(), 3);
    let soon = stage.home.run(&["status"]).await;
    assert_eq!(soon.code(), 3, "{soon:?}");
    assert!(soon.stdout.contains("cognito-proxy login"), "{}", soon.stdout);
}
