//! `demo --once` goes through a session's life by itself, in less than a minute, and ends well only where it has observed
//! each step: among them the end, the request that waits for a sign-in after it, and the sign-in before it.

use std::{process::Stdio, time::Duration};

use crate::support::{process::Process, proxy::Home};

/// It has a minute itself.
const CURTAIN: Duration = Duration::from_secs(75);

#[tokio::test]
async fn every_step_is_observed() {
    let home = Home::new();
    let mut command = home.command(&["demo", "--once", "--listen", "127.0.0.1:0"]);
    let played = Process::spawn("demo", command.stdin(Stdio::null())).expect("built").finish(CURTAIN).await;
    assert_eq!(played.code(), 0, "{played:?}");
    let steps: Vec<_> =
        played.stdout.lines().filter_map(|line| line.strip_prefix("ok  ")?.split_whitespace().next()).collect();
    let expected = ["inject", "refresh", "inject", "warn", "end", "503", "hold", "sign-in", "inject"];
    assert_eq!(steps, expected, "{}", played.stdout);
    assert!(played.stdout.contains("all observed in "), "{}", played.stdout);
}

#[tokio::test]
async fn a_wrong_address_is_the_flags_mistake_and_not_of_a_file_that_nobody_wrote() {
    let home = Home::new();
    let refused = home.run(&["demo", "--listen", "foo"]).await;
    assert_eq!((refused.code(), refused.stdout.as_str()), (78, ""));
    assert!(refused.stderr.contains("--> flag --listen"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("demo.toml") && !refused.stderr.contains("error: error"), "{}", refused.stderr);
}
