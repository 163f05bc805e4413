//! A mistake in the configuration stops every command before it does anything, with the place, the line itself, and
//! what to write instead; and nothing is configuration that a person did not mean to be.

use std::process::Command;

use crate::support::{
    http as wire,
    process::{Finished, Process},
    proxy::{Home, Proxy},
    stage::Stage,
    wait::BOUND,
};

/// Enough to serve, on the first four lines.
const SOUND: &str = "cognito.user_pool_id = \"eu-west-1_AbCdEfGhI\"\ncognito.client_id = \"1example23456789\"\n\
                     upstream.url = \"https://api.example.com\"\nlisten.proxy = [\"127.0.0.1:0\"]\n";

/// A mistake on line 5, and what is said about it: where it is, and words of the message or of the fix.
const MISTAKES: [(&str, &str, &[&str]); 10] = [
    ("refresh.laed = \"5m\"", "5:9", &["laed", "lead"]),
    ("[guards]", "5:2", &["guards", "guard"]),
    ("refresh.lead = 300", "5:16", &["write \"300s\""]),
    ("refresh.lead = \"5 minutes\"", "5:16", &["5 minutes", "5m"]),
    ("refresh.lead = \"90s\"", "5:16", &["inject.min_ttl", "2m"]),
    ("runtime.workers = \"many\"", "5:19", &["runtime.workers"]),
    ("guard.origins = [\"*\"]", "5:18", &["guard.origins"]),
    ("cognito.endpoint = \"http://cognito.example.com\"", "5:20", &["allow_plaintext"]),
    ("cognito.client_secret = \"hunter2\"", "5:9", &["client_secret_file"]),
    ("upstream.url = \"https://two.example.com\"", "5:1", &["url", "twice"]),
];

#[tokio::test]
async fn a_mistake_is_shown_with_its_place_and_what_to_write_instead() {
    let home = Home::new();
    for (line, place, words) in MISTAKES {
        let file = home.configure(&format!("{SOUND}{line}\n"));
        for command in ["run", "status", "import", "check"] {
            let refused = home.run(&[command]).await;
            assert_eq!((refused.code(), refused.stdout.as_str()), (78, ""), "{command}, {line}: {refused:?}");
            let said = &refused.stderr;
            assert!(said.contains(&format!("{}:{place}", file.display())), "{command}, {line}: {said}");
            assert!(said.contains(line) || line.contains("hunter2"), "{command}: the line itself: {said}");
            for word in words {
                assert!(said.contains(word), "{command}, {line}: {word} in {said}");
            }
            assert!(!said.contains("hunter2"), "{command}: a secret stays out of the message: {said}");
            assert!(!said.contains("panicked"), "{command}, {line}: {said}");
        }
    }
}

#[tokio::test]
async fn every_mistake_is_shown_at_once() {
    let home = Home::new();
    home.configure(&format!("{SOUND}refresh.lead = 5\nrefresh.mod = \"ahead\"\nlimits.idle_timeout = \"-1s\"\n"));
    let said = home.run(&["run"]).await.stderr;
    for place in [":5:", ":6:", ":7:"] {
        assert!(said.contains(&format!("proxy.toml{place}")), "{place} in {said}");
    }
}

#[tokio::test]
async fn a_pool_without_a_region_and_a_file_that_is_not_there() {
    let home = Home::new();
    home.configure(&SOUND.replace("eu-west-1_AbCdEfGhI", "local_pool"));
    let refused = home.run(&["run"]).await;
    assert_eq!(refused.code(), 78);
    assert!(refused.stderr.contains("cognito.region") && refused.stderr.contains(":1:"), "{}", refused.stderr);

    let refused = home.run(&["run", "-c", "nowhere.toml"]).await;
    assert_eq!(refused.code(), 78);
    assert!(refused.stderr.contains("nowhere.toml"), "{}", refused.stderr);
    let refused = home.run(&["run", "-c", "/"]).await;
    assert_eq!(refused.code(), 78, "{}", refused.stderr);

    home.configure(&format!("{SOUND}guard.client_key_file = \"absent\"\n"));
    let refused = home.run(&["run"]).await;
    assert_eq!(refused.code(), 78);
    assert!(refused.stderr.contains("absent") && refused.stderr.contains(":5:"), "{}", refused.stderr);
}

#[tokio::test]
async fn a_file_in_the_current_directory_is_not_read_by_itself() {
    let stage = Stage::new().await;
    stage.home.write("proxy.toml", &stage.toml(""));
    let refused = stage.home.run(&["run"]).await;
    assert_eq!(refused.code(), 78);
    assert!(refused.stderr.contains("-c ./proxy.toml"), "{}", refused.stderr);
    let proxy = stage.home.serve_with(&["-c", "./proxy.toml"]).await;
    proxy.stop().await;
}

/// `run` in this home with these variables.
async fn serving(home: &Home, arguments: &[&str], variables: &[(&str, &str)]) -> Proxy {
    let mut command = home.command(&[&["run"], arguments].concat());
    command.envs(variables.iter().copied());
    Proxy::started(&mut command).await
}

#[tokio::test]
async fn what_kubernetes_injects_is_no_configuration() {
    let stage = Stage::new().await;
    stage.configure("");
    stage.signed_in().await;
    // Beside a service named cognito-proxy (Kubernetes, "Discovering services").
    let injected = [
        ("COGNITO_PROXY_PORT", "tcp://10.0.0.11:8900"),
        ("COGNITO_PROXY_PORT_8900_TCP", "tcp://10.0.0.11:8900"),
        ("COGNITO_PROXY_PORT_8900_TCP_ADDR", "10.0.0.11"),
        ("COGNITO_PROXY_SERVICE_HOST", "10.0.0.11"),
        ("COGNITO_PROXY_SERVICE_PORT_HTTP", "8900"),
    ];
    let proxy = serving(&stage.home, &[], &injected).await;
    assert_eq!(wire::get(proxy.address(), "/").await.status(), 200);
    proxy.stop().await;
}

#[tokio::test]
async fn a_flag_stands_above_the_environment_and_that_above_the_file() {
    let (file, environment, flag) = (Stage::new().await, Stage::new().await, Stage::new().await);
    file.configure("");
    file.signed_in().await;
    let url = environment.upstream.url();
    let variables = [("COGNITO_PROXY_UPSTREAM__URL", url.as_str())];
    for (variables, arguments, served) in [
        (&[][..], &[][..], &file),
        (&variables, &[], &environment),
        (&variables, &["--upstream", &flag.upstream.url()], &flag),
    ] {
        let proxy = serving(&file.home, arguments, variables).await;
        let before = served.upstream.log().total();
        assert_eq!(wire::get(proxy.address(), "/").await.status(), 200, "{arguments:?}");
        assert_eq!(served.upstream.log().total(), before + 1, "{variables:?} {arguments:?}");
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_mistake_in_a_variable_or_a_flag_is_named_by_it() {
    let home = Home::new();
    home.configure(SOUND);
    let refused = with_variable(&home, "COGNITO_PROXY_REFRESH__LEAD", "soon").await;
    assert_eq!(refused.code(), 78);
    assert!(refused.stderr.contains("COGNITO_PROXY_REFRESH__LEAD"), "{}", refused.stderr);
    let refused = with_variable(&home, "COGNITO_PROXY_REFRESH__LAED", "5m").await;
    assert_eq!(refused.code(), 78, "two underscores are meant: {refused:?}");
    assert!(refused.stderr.contains("COGNITO_PROXY_REFRESH__LEAD"), "{}", refused.stderr);
    let refused = home.run(&["run", "--upstream", "api.example.com"]).await;
    assert_eq!(refused.code(), 78);
    assert!(refused.stderr.contains("--upstream"), "{}", refused.stderr);
}

async fn with_variable(home: &Home, name: &str, value: &str) -> Finished {
    let mut command: Command = home.command(&["check"]);
    command.env(name, value);
    Process::spawn("check", &mut command).expect("built").finish(BOUND).await
}
