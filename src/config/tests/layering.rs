//! Which layer wins, which file is read, and where things lie.

use std::{path::Path, time::Duration};

use super::{Bench, MINIMAL, setting};
use crate::{
    config::{LogLevel, Origin, Override},
    listen::Address,
    proxy::HttpVersion,
    session::{Mode, TokenKind},
};

fn store_of(bench: &Bench) -> String {
    let config = bench.load().unwrap_or_else(|error| panic!("{error}"));
    config.store.path().display().to_string().replace(&bench.directory.path().display().to_string(), "/DIR")
}

#[test]
fn flag_goes_before_environment_before_file_before_default() {
    let text = setting("log", "level = \"warn\"");
    let level = |bench: &Bench| bench.load().expect("sound").log.level;
    assert_eq!(level(&Bench::with(MINIMAL)), LogLevel::Info);
    assert_eq!(level(&Bench::with(&text)), LogLevel::Warn);
    let bench = Bench::with(&text).variable("COGNITO_PROXY_LOG__LEVEL", "debug");
    assert_eq!(level(&bench), LogLevel::Debug);
    let bench = bench.flag(Override::text("--log-level", "log.level", "trace"));
    assert_eq!(level(&bench), LogLevel::Trace);
}

#[test]
fn every_value_knows_where_it_came_from() {
    let bench = Bench::with(&setting("log", "level = \"warn\""))
        .variable("COGNITO_PROXY_REFRESH__MODE", "on-demand")
        .flag(Override::text("--workers", "runtime.workers", "2"));
    let config = bench.load().expect("sound");
    let origin = |key: &str| config.origin_of(key).cloned().expect(key);
    assert_eq!(config.session.mode, Mode::OnDemand);
    assert_eq!(config.workers, 2);
    assert!(matches!(origin("log.level"), Origin::File { line: 10, column: 9, .. }), "{:?}", origin("log.level"));
    assert_eq!(origin("refresh.mode"), Origin::Environment { variable: "COGNITO_PROXY_REFRESH__MODE".into() });
    assert_eq!(origin("runtime.workers"), Origin::Flag { flag: "--workers".into() });
    assert_eq!(origin("refresh.lead"), Origin::Default);
    assert_eq!(origin("cognito.region"), Origin::Derived { from: "cognito.user_pool_id".into() });
}

#[test]
fn lists_and_tables_in_variables_are_toml() {
    let bench = Bench::with(MINIMAL)
        .variable("COGNITO_PROXY_WARN__BEFORE", r#"["1h", "2d"]"#)
        .variable("COGNITO_PROXY_COGNITO__CLIENT_ID", "123456")
        .variable("COGNITO_PROXY_LISTEN__ADMIN", "off")
        .variable("COGNITO_PROXY_SESSION__HOLD", "\"45s\"")
        .variable("COGNITO_PROXY_LIMITS__MAX_CONNECTIONS", "17")
        .variable("COGNITO_PROXY_ROUTE", r#"[{ path = "/mcp", token = "access", upstream = "https://mcp.example" }]"#);
    let config = bench.load().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.session.warn_before, [Duration::from_secs(172_800), Duration::from_secs(3600)]);
    assert_eq!(config.cognito.client_id, "123456");
    assert_eq!(config.listen.admin, None);
    assert_eq!(config.current.hold, Duration::from_secs(45));
    assert_eq!(config.server.max_connections, 17);
    assert_eq!(config.session.kinds, [TokenKind::Id, TokenKind::Access]);
    let [route] = config.proxy.routes.as_slice() else { panic!("one route") };
    assert_eq!(route.path, "/mcp");
    assert_eq!(route.upstream.url, "https://mcp.example/");
    assert_eq!(route.upstream.http, HttpVersion::Auto);
}

#[test]
fn routes_take_what_they_do_not_set_from_the_sections() {
    let text = format!(
        "{MINIMAL}\n[inject]\nheader = \"x-token\"\nformat = \"{{token}}\"\n\
         [[route]]\npath = \"/open\"\ninject = false\nstrip_prefix = true\n\
         [[route]]\npath = \"/raw\"\nformat = \"Token {{token}}\"\n"
    );
    let config = Bench::with(&text).load().unwrap_or_else(|error| panic!("{error}"));
    let [open, raw] = config.proxy.routes.as_slice() else { panic!("two routes") };
    assert!(open.inject.is_none() && open.strip_prefix);
    let inject = raw.inject.as_ref().expect("it injects");
    assert_eq!((inject.header.as_str(), inject.format.prefix.as_str()), ("x-token", "Token "));
    assert_eq!(raw.upstream, config.proxy.default_route.upstream);
}

#[test]
fn the_environment_alone_can_be_a_configuration() {
    let bench = Bench::empty()
        .variable("COGNITO_PROXY_COGNITO__USER_POOL_ID", "eu-west-1_A")
        .variable("COGNITO_PROXY_COGNITO__CLIENT_ID", "c")
        .variable("COGNITO_PROXY_UPSTREAM__URL", "https://api.example.com")
        .variable("COGNITO_PROXY_PORT", "tcp://10.0.0.1:80");
    let config = bench.load().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((config.profile.as_str(), config.file), ("proxy", None));
    assert_eq!(store_of(&bench), "/DIR/.local/state/cognito-proxy/proxy.json");
}

#[test]
fn files_are_found_in_order_and_name_the_profile() {
    let mut bench = Bench::empty();
    bench.write("etc/cognito-proxy/proxy.toml", MINIMAL);
    assert_eq!(store_of(&bench), "/var/lib/cognito-proxy/proxy.json");
    assert_eq!(bench.load().expect("sound").runtime_dir, Path::new("/run/cognito-proxy"));

    bench.write(".config/cognito-proxy/proxy.toml", MINIMAL);
    assert_eq!(store_of(&bench), "/DIR/.local/state/cognito-proxy/proxy.json");

    bench.write(".config/cognito-proxy/work.toml", MINIMAL);
    bench.request.profile = Some("work".into());
    assert_eq!(store_of(&bench), "/DIR/.local/state/cognito-proxy/work.json");

    bench.write("elsewhere/mine.toml", MINIMAL);
    let bench = bench.variable("COGNITO_PROXY_CONFIG", "elsewhere/mine.toml");
    assert_eq!(store_of(&bench), "/DIR/.local/state/cognito-proxy/work.json");
    let mut bench = bench.variable("XDG_STATE_HOME", "/state");
    bench.request.profile = None;
    assert_eq!(store_of(&bench), "/state/cognito-proxy/mine.json");

    let other = bench.write("other.toml", MINIMAL);
    bench.request.config = Some(other);
    assert_eq!(store_of(&bench), "/state/cognito-proxy/other.json");
    assert_eq!(store_of(&bench.variable("COGNITO_PROXY_PROFILE", "named")), "/state/cognito-proxy/named.json");
}

#[test]
fn the_runtime_directory_follows_the_table() {
    let runtime = |bench: &Bench| bench.load().expect("sound").runtime_dir.display().to_string();
    let bench = Bench::with(MINIMAL).variable("RUNTIME_DIRECTORY", "/run/a:/run/b");
    assert_eq!(runtime(&bench), "/run/a");
    let bench = bench.variable("XDG_RUNTIME_DIR", "/run/user/7");
    assert_eq!(runtime(&bench), "/run/user/7/cognito-proxy");
    let mut bench = Bench::with(MINIMAL);
    bench.environment.uid = 4_000_000;
    assert!(runtime(&bench).ends_with("/.local/state/cognito-proxy"));
}

#[test]
fn relative_paths_start_at_the_file_and_in_variables_at_the_working_directory() {
    let mut bench = Bench::empty();
    let authority = rcgen::generate_simple_self_signed(["ca.test".to_owned()]).expect("a certificate");
    bench.write("conf/ca.pem", authority.cert.pem());
    let text = setting("upstream", "ca_file = \"ca.pem\"\n[listen]\nproxy = [\"unix:run/a.sock\"]");
    bench.request.config = Some(bench.write("conf/proxy.toml", text));
    let here = bench.directory.path().to_owned();
    let config = bench.load().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.proxy.default_route.upstream.ca_file, Some(here.join("conf/ca.pem")));
    assert_eq!(config.listen.proxy, [Address::Unix(here.join("conf/run/a.sock"))]);
    let bench =
        bench.variable("COGNITO_PROXY_STORE__PATH", "s.json").variable("COGNITO_PROXY_LISTEN__ADMIN", "unix:~/a");
    assert_eq!(store_of(&bench), "/DIR/s.json");
    assert_eq!(bench.load().expect("sound").listen.admin, Some(Address::Unix(here.join("a"))));
}

#[test]
fn an_emulator_needs_no_region_where_its_issuer_is_stated() {
    let text = r#"
cognito.user_pool_id = "local_1a2b3c4d"
cognito.client_id = "x"
cognito.endpoint = "http://127.0.0.1:9229/"
cognito.issuer = "http://127.0.0.1:9229/local_1a2b3c4d"
cognito.refresh_token_validity = "10s"
upstream.url = "http://127.0.0.1:3000"
"#;
    let config = Bench::with(text).load().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.cognito.jwks_url, "http://127.0.0.1:9229/local_1a2b3c4d/.well-known/jwks.json");
    assert_eq!(config.session.validity, Some(Duration::from_secs(10)));
    assert!(config.notices.is_empty(), "{:?}", config.notices);
}

#[test]
fn aws_endpoints_keep_the_issuer_of_the_pool() {
    let text = setting("cognito", "endpoint = \"https://cognito-idp-fips.us-east-1.amazonaws.com\"")
        .replace("eu-west-1_AbCdEfGhI", "us-east-1_A");
    let config = Bench::with(&text).load().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.cognito.issuer, "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_A");
    assert_eq!(
        config.cognito.jwks_url,
        "https://cognito-idp-fips.us-east-1.amazonaws.com/us-east-1_A/.well-known/jwks.json"
    );
}

#[test]
fn what_is_sent_in_plain_text_is_announced() {
    let text = MINIMAL.replace("https://api.example.com\"", "http://api.example.com\"\nallow_plaintext = true");
    let config = Bench::with(&text).load().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.notices, ["upstream.allow_plaintext = true: tokens go to http://api.example.com/ in plain text"]);
}

#[test]
fn only_some_sections_need_a_restart() {
    let load = |text: &str| Bench::with(text).variable("XDG_STATE_HOME", "/state").load().expect("sound");
    let old = load(MINIMAL);
    assert!(old.restart_needed(&load(&setting("refresh", "lead = \"10m\""))).is_empty());
    assert_eq!(old.restart_needed(&load(&setting("listen", "admin = \"off\""))), ["listen"]);
    assert_eq!(old.restart_needed(&load(&setting("runtime", "drain_timeout = \"1s\""))), ["runtime"]);
    assert_eq!(old.restart_needed(&load(&setting("store", "path = \"/x.json\""))), ["store"]);
    assert!(old.restart_needed(&load(&setting("listen", "admin = \"127.0.0.1:8901\""))).is_empty());
}

#[test]
fn secrets_are_in_the_settings_and_nowhere_in_what_is_shown() {
    use std::os::unix::fs::PermissionsExt;

    let bench = Bench::with(&setting("guard", "client_key_file = \"key\""));
    let key = bench.write("key", "hunter2-canary\n");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    let config = bench.load().unwrap_or_else(|error| panic!("{error}"));
    assert!(config.guard.client_key.is_some());
    assert!(!format!("{config:?}").contains("canary"));
}
