//! `init`: from nothing to a configuration that `run` reads, and units that start it; never over what is there.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::support::{process::Finished, proxy::Home};

const NEEDED: [&str; 6] = [
    "--user-pool-id=eu-west-1_AbCdEfGhI",
    "--client-id=1example23456789",
    "--upstream=https://api.example.com/prod",
    "--domain=https://login.example.com",
    "--redirect-uri=http://localhost:9001/callback",
    "--refresh-token-validity=7d",
];

async fn init(home: &Home, more: &[&str]) -> Finished {
    home.run(&[&["init"], &NEEDED[..], more].concat()).await
}

#[tokio::test]
async fn the_file_is_annotated_and_sound_and_never_written_over() {
    let home = Home::new();
    let made = init(&home, &[]).await;
    assert_eq!(made.code(), 0, "{made:?}");
    let file = home.path("config/cognito-proxy/proxy.toml");
    for told in
        [file.to_str().expect("UTF-8"), "http://localhost:9001/callback", "cognito-proxy login", "cognito-proxy run"]
    {
        assert!(made.stdout.contains(told), "{told} in {}", made.stdout);
    }
    assert_eq!(fs::metadata(&file).expect("written").permissions().mode() & 0o777, 0o600);
    let explained = home.run(&["check", "--explain"]).await;
    assert_eq!(explained.code(), 0, "{explained:?}");
    for line in [
        "user_pool_id = \"eu-west-1_AbCdEfGhI\"",
        "refresh_token_validity = \"7d\"",
        "url = \"https://api.example.com/prod\"",
    ] {
        assert!(explained.stdout.contains(line), "{line} in {}", explained.stdout);
    }

    let text = fs::read_to_string(&file).expect("text");
    assert!(text.contains("# lead = \"5m\""), "what was not chosen is there to be read");
    let again = init(&home, &["--client-id=another"]).await;
    assert_eq!(again.code(), 2, "one value for one flag: {again:?}");
    let again = init(&home, &[]).await;
    assert_eq!((again.code(), again.stdout.as_str()), (78, ""), "{again:?}");
    assert_eq!(fs::read_to_string(&file).expect("text"), text);
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_named_by_its_flag_and_nothing_is_written() {
    let home = Home::new();
    let missing = home.run(&["init", "--client-id=c"]).await;
    assert_eq!(missing.code(), 2, "{missing:?}");
    assert!(missing.stderr.contains("--user-pool-id, --upstream"), "{}", missing.stderr);
    for (wrong, named) in [
        ("--upstream=http://api.example.com", "--upstream"),
        ("--user-pool-id=", "--user-pool-id"),
        ("--allow-user=no such user", "--allow-user"),
    ] {
        let rest = NEEDED.iter().filter(|flag| flag.split('=').next() != wrong.split('=').next()).copied();
        let arguments: Vec<&str> = ["init", wrong].into_iter().chain(rest).collect();
        let refused = home.run(&arguments).await;
        assert_eq!(refused.code(), 78, "{wrong}: {refused:?}");
        assert!(refused.stderr.contains(named), "{wrong}: {}", refused.stderr);
    }
    assert!(!home.path("config/cognito-proxy/proxy.toml").exists());
}

#[tokio::test]
async fn a_profile_has_a_file_of_its_own() {
    let home = Home::new();
    let made = init(&home, &["-p", "work"]).await;
    assert_eq!(made.code(), 0, "{made:?}");
    assert!(home.path("config/cognito-proxy/work.toml").exists());
    assert!(made.stdout.contains("cognito-proxy -p work login"), "{}", made.stdout);
    assert_eq!(home.run(&["-p", "work", "check"]).await.code(), 0);
}

#[tokio::test]
async fn the_users_units_start_this_very_program() {
    let home = Home::new();
    let made = init(&home, &["--systemd=user"]).await;
    assert_eq!(made.code(), 0, "{made:?}");
    assert!(made.stdout.contains("systemctl --user enable --now cognito-proxy@proxy.socket"), "{}", made.stdout);
    let unit = home.path("config/systemd/user/cognito-proxy@.service");
    let text = fs::read_to_string(&unit).expect("a unit");
    let program = fs::canonicalize(env!("CARGO_BIN_EXE_cognito-proxy")).expect("built");
    assert!(text.contains(&format!("\nExecStart={} --profile %i run\n", program.display())), "{text}");
    assert!(home.path("config/systemd/user/cognito-proxy@.socket").exists());
    let state = fs::metadata(home.path("state/cognito-proxy")).expect("what the unit may write to");
    assert_eq!(state.permissions().mode() & 0o777, 0o700);

    // A second profile finds the same units; a unit that somebody changed stays as it is.
    assert_eq!(init(&home, &["-p", "work", "--systemd=user"]).await.code(), 0);
    fs::write(&unit, "[Service]\n").expect("ours");
    let differs = init(&home, &["-p", "third", "--systemd=user"]).await;
    assert_eq!(differs.code(), 78, "{differs:?}");
    assert_eq!(fs::read_to_string(&unit).expect("text"), "[Service]\n");
}

#[tokio::test]
async fn a_unit_that_would_read_another_file_is_not_installed() {
    let home = Home::new();
    let elsewhere = home.path("elsewhere.toml");
    let refused = init(&home, &["-c", elsewhere.to_str().expect("UTF-8"), "--systemd=user"]).await;
    assert_eq!(refused.code(), 78, "{refused:?}");
    assert!(!elsewhere.exists() && !home.path("config/systemd").exists());
}
