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
