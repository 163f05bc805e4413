//! What a person is shown: every kind of mistake, as it looks.

use std::{fmt::Write, fs, os::unix::fs::PermissionsExt};

use super::{Bench, MINIMAL, setting};
use crate::config::Override;

/// Each mistake below its name, as on a terminal without colours.
fn gallery(mistakes: &[(&str, Bench)]) -> String {
    let mut out = String::new();
    for (name, bench) in mistakes {
        let _ = write!(out, "=== {name}\n{}\n\n", bench.shown());
    }
    assert!(!out.contains("canary") && !out.contains("eyJ"), "a secret is shown: {out}");
    out
}

/// One wrong line in a section each.
fn lines(section: &str, lines: &[&str]) -> String {
    let benches: Vec<_> = lines.iter().map(|line| (*line, Bench::with(&setting(section, line)))).collect();
    gallery(&benches)
}

/// Against what was looked at and found good.
fn compare(name: &str, shown: &str) {
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!(name, shown);
    });
}

#[test]
fn syntax() {
    compare(
        "syntax",
        &gallery(&[
            ("a string without quotes", Bench::with("[log]\nlevel = info\n")),
            ("a string without an end", Bench::with("[log]\nlevel = \"info\n")),
            ("a key twice", Bench::with("[log]\nlevel = \"info\"\nlevel = \"warn\"\n")),
            ("a section twice", Bench::with("[log]\n[guard]\n[log]\n")),
            ("a section without an end", Bench::with("[log\nlevel = \"info\"\n")),
            ("a duration without quotes", Bench::with("[refresh]\nlead = 5m # why\n")),
            ("a colon", Bench::with("[log]\nlevel: info\n")),
            ("a secret without quotes", Bench::with("[cognito]\nclient_secret = canary\n")),
            ("no value", Bench::with("[log]\nlevel =\n")),
            ("JSON", Bench::with("{ \"cognito\": {} }\n")),
            ("a token instead of a configuration", Bench::with("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln\n")),
            ("bytes that are no text", {
                let bench = Bench::with("");
                bench.write("proxy.toml", b"[log]\n# \xff\nlevel = \"info\"\n");
                bench
            }),
        ]),
    );
}

#[test]
fn names() {
    compare(
        "names",
        &gallery(&[
            ("a misspelt key", Bench::with(&setting("cognito", "regoin = \"eu-west-1\""))),
            ("a required key misspelt", Bench::with(&MINIMAL.replace("client_id", "clientid"))),
            ("a section misspelt", Bench::with(&MINIMAL.replace("[upstream]", "[upstrem]"))),
            ("a section of another program", Bench::with(&setting("tunnel", "x = 1"))),
            ("a key of another section", Bench::with(&setting("refresh", "min_ttl = \"30s\""))),
            ("a key of no section", Bench::with(&setting("refresh", "zebra = 1"))),
            ("a key outside of its section", Bench::with(&format!("lead = \"5m\"\n{MINIMAL}"))),
            ("a section as a value", Bench::with(&format!("refresh = \"5m\"\n{MINIMAL}"))),
            ("one route in single brackets", Bench::with(&setting("route", "path = \"/mcp\""))),
            ("a misspelt key in a route", Bench::with(&setting("[route]", "path = \"/mcp\"\nstrip = true"))),
            ("a secret inline", Bench::with(&setting("cognito", "client_secret = \"canary-canary\""))),
            ("a missing key", Bench::with(&MINIMAL.replace("client_id = \"1example23456789\"\n", ""))),
            ("a missing section", Bench::with("[cognito]\nuser_pool_id = \"eu-west-1_A\"\nclient_id = \"x\"\n")),
        ]),
    );
}

#[test]
fn types() {
    compare(
        "types",
        &gallery(&[
            ("a number for a duration", Bench::with(&setting("refresh", "lead = 300"))),
            ("a duration without a unit", Bench::with(&setting("refresh", "lead = \"300\""))),
            ("a duration in words", Bench::with(&setting("refresh", "lead = \"5 minutes\""))),
            ("a duration or off", Bench::with(&setting("session", "hold = \"none\""))),
            ("a size in thousands", Bench::with(&setting("limits", "max_header_bytes = \"64k\""))),
            ("a quoted truth", Bench::with(&setting("verify", "jwks = \"false\""))),
            ("a quoted number", Bench::with(&setting("runtime", "workers = \"2\""))),
            ("a negative number", Bench::with(&setting("runtime", "workers = -1"))),
            ("a number for a string", Bench::with(&setting("listen", "admin = 8901"))),
            ("a string for a list", Bench::with(&setting("guard", "hosts = \"api.test\""))),
            ("a wrong item of a list", Bench::with(&setting("warn", "before = [\"1d\", 5]"))),
            ("a word that is near", Bench::with(&setting("refresh", "mode = \"on_demand\""))),
            ("a word that is not", Bench::with(&setting("upstream", "http = \"quic\""))),
            ("nothing", Bench::with(&setting("inject", "header = \"\""))),
        ]),
    );
}

#[test]
fn cognito() {
    compare(
        "cognito",
        &lines(
            "cognito",
            &[
                "region = \"us-east-1\"",
                "region = \"Ireland\"",
                "issuer = \"https://other.example\"",
                "endpoint = \"http://10.0.0.5:9229\"",
                "endpoint = \"localhost:9229\"",
                "refresh_token_validity = \"30m\"",
                "refresh_token_validity = \"11y\"",
                "domain = \"login.example.com\"",
                "domain = \"https://login.example.com/login\"",
                "redirect_uris = []",
                "redirect_uris = [\"https://localhost:8976/callback\", \"http://localhost/callback\"]",
                "scopes = [\"email\", \"openid profile\"]",
                "jwks_url = \"http://keys.example/jwks.json\"",
            ],
        ),
    );
    compare(
        "pool",
        &gallery(&[
            ("a pool id without a region", Bench::with(&MINIMAL.replace("eu-west-1_AbC", "AbC"))),
            (
                "an emulator's pool id",
                Bench::with(
                    &setting("cognito", "endpoint = \"http://127.0.0.1:9229\"").replace("eu-west-1_A", "local_A"),
                ),
            ),
            ("an id with spaces", Bench::with(&MINIMAL.replace("1example", "1 example"))),
        ]),
    );
}

#[test]
fn upstream_and_inject() {
    compare(
        "upstream_and_inject",
        &gallery(&[
            ("no scheme", Bench::with(&MINIMAL.replace("https://api", "api"))),
            ("plain text", Bench::with(&MINIMAL.replace("https://api", "http://api"))),
            ("WebSocket", Bench::with(&MINIMAL.replace("https://api", "wss://api"))),
            ("a password", Bench::with(&MINIMAL.replace("https://api", "https://me:canary@api"))),
            ("the proxy itself", Bench::with(&MINIMAL.replace("https://api.example.com", "http://localhost:8900"))),
            ("half a certificate", Bench::with(&setting("upstream", "client_cert_file = \"client.pem\""))),
            ("no connections", Bench::with(&setting("upstream", "max_connections = 0"))),
            ("no time", Bench::with(&setting("upstream", "connect_timeout = \"0s\""))),
            ("a header that HTTP needs", Bench::with(&setting("inject", "header = \"Content-Length\""))),
            ("no header at all", Bench::with(&setting("inject", "header = \"not a header\""))),
            ("no place for the token", Bench::with(&setting("inject", "format = \"Bearer\""))),
            ("two places for it", Bench::with(&setting("inject", "format = \"{token} {token}\""))),
            ("another placeholder", Bench::with(&setting("inject", "format = \"Bearer {token} {user}\""))),
            ("a lead that is too short", Bench::with(&setting("refresh", "lead = \"90s\""))),
            ("a min_ttl that is too long", Bench::with(&setting("inject", "min_ttl = \"3m\""))),
        ]),
    );
}

#[test]
fn routes() {
    let route = |lines: &str| Bench::with(&format!("{MINIMAL}\n[[route]]\n{lines}\n"));
    compare(
        "routes",
        &gallery(&[
            ("without a path", route("token = \"access\"")),
            ("a path without a slash", route("path = \"mcp\"")),
            ("a pattern", route("path = \"/mcp/*\"")),
            ("a slash at the end", route("path = \"/mcp/\"")),
            ("a path twice", route("path = \"/mcp\"\n[[route]]\npath = \"/mcp\"")),
            ("a header for nothing", route("path = \"/mcp\"\ninject = false\nheader = \"x-token\"")),
            ("plain text", route("path = \"/mcp\"\nupstream = \"http://mcp.example\"")),
            ("the admin listener", route("path = \"/mcp\"\nupstream = \"http://127.0.0.1:8901\"")),
        ]),
    );
}

#[test]
fn listen_and_guard() {
    compare(
        "listen_and_guard",
        &gallery(&[
            ("a port alone", Bench::with(&setting("listen", "proxy = [\"8900\"]"))),
            ("IPv6 without brackets", Bench::with(&setting("listen", "proxy = [\"::1:8900\"]"))),
            ("an address twice", Bench::with(&setting("listen", "proxy = [\"127.0.0.1:1\", \"127.0.0.1:1\"]"))),
            ("the same for both", Bench::with(&setting("listen", "admin = \"127.0.0.1:8900\""))),
            ("everywhere", Bench::with(&setting("listen", "proxy = [\"0.0.0.0:8900\"]"))),
            ("everywhere without a key", Bench::with(&setting("listen", "admin = \"[::]:1\"\nallow_remote = true"))),
            ("nowhere", Bench::with(&setting("listen", "proxy = []"))),
            ("a socket without a path", Bench::with(&setting("listen", "admin = \"unix:\""))),
            ("origins", Bench::with(&setting("guard", ORIGINS))),
            ("hosts", Bench::with(&setting("guard", "hosts = [\"*.test\", \"https://api.test\", \"api.test:x\"]"))),
            ("users", Bench::with(&setting("guard", "users = [\"alice, bob\", -1]"))),
            ("a header with spaces", Bench::with(&setting("guard", "require_header = \"X Requested By\""))),
            ("a header that is always there", Bench::with(&setting("guard", "require_header = \"Host\""))),
        ]),
    );
}

const ORIGINS: &str = r#"origins = [
    "null", "*",
    "localhost:3000",
    "http://localhost:3000/",
    "https://app.example:443",
]"#;

#[test]
fn warnings() {
    let webhook = |text: &str, mode| {
        let bench = Bench::with(&setting("warn", "webhook_url_file = \"webhook\""));
        let file = bench.write("webhook", text);
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("a mode");
        bench
    };
    let command = |items: &str| Bench::with(&setting("warn", &format!("command = {items}")));
    let anybodys = Bench::empty();
    let hook = anybodys.write("hook", "#!/bin/sh\n");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o777)).expect("a mode");
    let loose = command(&format!("[\"{}\"]", hook.display())).load().expect_err("anybody may write to it");
    assert!(loose.is_refusal() && loose.to_string().contains("anybody may write to"), "{loose}");
    compare(
        "warnings",
        &gallery(&[
            ("a relative program", command("[\"notify\", \"-u\"]")),
            ("a line instead of words", command("[\"/bin/sh -c exit\"]")),
            ("no program", command("[]")),
            ("a directory", command("[\"/\"]")),
            ("not executable", command("[\"/etc/passwd\"]")),
            ("no file with a URL", Bench::with(&setting("warn", "webhook_url_file = \"/nowhere\""))),
            ("a loose file", webhook("https://hooks.example/canary", 0o644)),
            ("plain text", webhook("http://hooks.example/canary", 0o600)),
            ("no URL", webhook("canary", 0o600)),
            ("no URL behind the query", webhook("https://hooks.example/?a=canary|{}<>\\", 0o600)),
        ]),
    );
    let sound = webhook("https://hooks.example/a?key=canary", 0o600).load().expect("sound");
    assert_eq!(sound.warn.webhook_url.expect("a URL").expose(), "https://hooks.example/a?key=canary");
    webhook("http://127.0.0.1:1/a", 0o600).load().expect("loopback");
}

#[test]
fn what_asks_for_a_feature_is_taken() {
    for (section, line) in [
        ("session", "idle_lock = \"15m\"\nmin_remaining_at_start = \"1d\""),
        ("session", "idle_lock = \"off\"\nmin_remaining_at_start = \"off\""),
        ("warn", "desktop = true\nresponse_header = \"on\""),
        ("store", "kind = \"file\""),
        ("store", "kind = \"keyring\""),
        ("warn", "desktop = false\ncommand = [\"/bin/sh\", \"-c\", \"exit\"]"),
        ("log", "access = \"on\""),
    ] {
        Bench::with(&setting(section, line)).load().unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn files_and_the_environment() {
    let mut directory = Bench::empty();
    directory.request.config = Some(directory.directory.path().join("conf.d"));
    fs::create_dir(directory.directory.path().join("conf.d")).expect("a directory");
    let mut absent = Bench::empty();
    absent.request.config = Some("absent.toml".into());
    let mut unnamed = Bench::empty();
    unnamed.request.config = Some("my proxy.toml".into());
    let mut profile = Bench::empty();
    profile.request.profile = Some("../proxy".into());
    let here = Bench::empty();
    here.write("proxy.toml", MINIMAL);
    let loose = Bench::with(&setting("cognito", "client_secret_file = \"secret\""));
    let secret = loose.write("secret", "canary");
    fs::set_permissions(secret, fs::Permissions::from_mode(0o644)).expect("a mode");
    assert!(loose.load().expect_err("loose").is_refusal());
    assert!(!here.load().expect_err("not named").is_refusal());
    compare(
        "files_and_the_environment",
        &gallery(&[
            ("nothing at all", Bench::empty()),
            ("nothing but what lies here", here),
            ("a file that is not there", absent),
            ("a directory", directory),
            ("a file that gives no profile", unnamed),
            ("a profile that leads elsewhere", profile),
            ("a secret that all may read", loose),
            ("a variable", Bench::with(MINIMAL).variable("COGNITO_PROXY_REFRESH__LEAD", "5 minutes")),
            ("a misspelt variable", Bench::with(MINIMAL).variable("COGNITO_PROXY_UPSTREAM__ULR", "x")),
            ("an empty variable", Bench::with(MINIMAL).variable("COGNITO_PROXY_LOG__LEVEL", "")),
            ("a list in a variable", Bench::with(MINIMAL).variable("COGNITO_PROXY_GUARD__HOSTS", "api.test")),
            ("a secret in a variable", Bench::with(MINIMAL).variable("COGNITO_PROXY_COGNITO__CLIENT_SECRET", "canary")),
            ("routes in a variable", Bench::with(MINIMAL).variable("COGNITO_PROXY_ROUTE", "/mcp")),
            ("a route in a variable", Bench::with(MINIMAL).variable("COGNITO_PROXY_ROUTE", "[{ pth = \"/mcp\" }]")),
            ("a flag", Bench::with(MINIMAL).flag(Override::text("--workers", "runtime.workers", "many"))),
            (
                "a flag's item",
                Bench::with(MINIMAL).flag(Override::list("--listen", "listen.proxy", ["127.0.0.1".to_owned()])),
            ),
        ]),
    );
}

#[test]
fn certificates_that_do_not_belong_together_are_found_at_load() {
    let pair = || rcgen::generate_simple_self_signed(["client.test".to_owned()]).expect("a certificate");
    let (one, other) = (pair(), pair());
    let text = setting("upstream", "client_cert_file = \"client.pem\"\nclient_key_file = \"client.key\"");
    let bench = Bench::with(&text);
    bench.write("client.pem", one.cert.pem());
    let key = bench.write("client.key", other.signing_key.serialize_pem());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode");
    let shown = bench.shown();
    assert!(shown.contains("which is of no use"), "{shown}");
    fs::write(&key, one.signing_key.serialize_pem()).expect("a key");
    bench.load().unwrap_or_else(|error| panic!("{error}"));
    bench.write("client.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(bench.shown().contains("which is of no use"), "{}", bench.shown());
}

#[test]
fn one_load_finds_every_mistake() {
    let text = MINIMAL.replace("eu-west-1_AbC", "AbC").replace("https://api", "http://api")
        + "[refresh]\nlead = 5\n[session]\nhlod = \"1s\"\n";
    let bench = Bench::with(&text).variable("COGNITO_PROXY_LOG__LEVEL", "loud").flag(Override::text(
        "--workers",
        "runtime.workers",
        "many",
    ));
    let error = bench.load().expect_err("six mistakes");
    let keys: Vec<_> = error.diagnostics().iter().filter_map(|one| one.key.as_deref()).collect();
    assert_eq!(
        keys,
        ["cognito.user_pool_id", "upstream.url", "refresh.lead", "session.hlod", "log.level", "runtime.workers"]
    );
}
