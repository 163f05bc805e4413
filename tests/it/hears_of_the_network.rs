//! A change of the network ends an outage at once: nobody waits for the pause that was begun without it.
//!
//! Shown in a network of the test's own, where the machine lets its users have one.

use std::process::Command;

use cognito_proxy::{
    devpool::{Fault, Scope, Settings},
    session::TokenKind,
};

use crate::support::{
    process::{Process, not_shown},
    shell::Shell,
    wait::BOUND,
};

/// Set in the process that has a network of its own.
const WITHIN: &str = "TEST_HAS_ITS_OWN_NETWORK";

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().expect("ip(8)");
    assert!(status.success(), "ip {arguments:?}");
}

/// A user namespace with a network namespace, and `ip(8)` in it (`unshare(1)`).
fn is_possible() -> bool {
    let script = "ip link set lo up && ip address add 127.0.0.9/8 dev lo";
    Command::new("unshare").args(["-Urn", "sh", "-c", script]).output().is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn a_change_of_the_network_starts_an_attempt() {
    if std::env::var_os(WITHIN).is_some() {
        return within().await;
    }
    if !is_possible() {
        return not_shown("that a change of the network ends an outage: a network of one's own is not to be had");
    }
    let mut command = Command::new("unshare");
    command.arg("-Urn").arg(std::env::current_exe().expect("this test")).env(WITHIN, "1");
    command.args(["--exact", "--nocapture", "hears_of_the_network::a_change_of_the_network_starts_an_attempt"]);
    let finished = Process::spawn("the test within", &mut command).expect("unshare(1)").finish(BOUND * 2).await;
    assert!(finished.stdout.contains("1 passed"), "{finished:?}");
}

async fn within() {
    ip(&["link", "set", "lo", "up"]);
    let shell = Shell::of(cognito_proxy::devpool::AppClient::public(Settings::CLIENT)).await;
    shell.signed_in().await;
    let running = shell.start();
    running.generation(1).await;
    shell.pool.fail_always(Scope::Api, Fault::status(503));
    shell.pass(3700);
    for failures in 1..=7 {
        running.until("a failure", |snapshot| snapshot.facts.consecutive_failures >= failures).await;
        if failures < 7 {
            shell.pass(60);
        }
    }
    // Ten seconds ahead at least, and the clock stands still from here on.
    while running.current.snapshot().facts.next_refresh_at.expect("planned").since(running.current.now().wall).as_secs()
        < 10
    {
        let known = running.current.snapshot().facts.consecutive_failures;
        shell.pass(10);
        running.until("another failure", |snapshot| snapshot.facts.consecutive_failures > known).await;
    }
    shell.pass(6);
    shell.pool.heal();
    assert!(!running.is_injecting());
    ip(&["address", "add", "127.0.0.9/8", "dev", "lo"]);
    running.generation(2).await;
    assert!(running.current.ready(TokenKind::Id).await.is_ok());
    running.stop().await;
}
