//! A proxy that has nothing to do sleeps: no timer, no poll, no tick.

use std::{env, fs, time::Duration};

use rustix::process::Pid;

use crate::support::{stage::Stage, wait};

/// A start that has nothing left to do does nothing for this long.
const STILL: Duration = Duration::from_secs(3);

/// How often each thread has gone to sleep of itself, by name and number (`proc_pid_status(5)`).
fn switches(pid: Pid) -> Vec<(String, u64)> {
    let tasks = format!("/proc/{}/task", pid.as_raw_nonzero());
    let mut switches = Vec::new();
    for task in fs::read_dir(tasks).expect("the process lives").map(|entry| entry.expect("a thread").path()) {
        // A thread may end between the two reads.
        let Ok(status) = fs::read_to_string(task.join("status")) else { continue };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("no {name}")).trim().to_owned()
        };
        let name = format!("{} {}", field("Name:"), field("Pid:"));
        switches.push((name, field("voluntary_ctxt_switches:").parse().expect("a number")));
    }
    switches
}

#[tokio::test]
async fn an_idle_proxy_wakes_at_most_twice_a_minute() {
    let stage = Stage::new().await;
    let mut proxy = stage.serve("").await;
    proxy.ready().await;
    let pid = proxy.pid();
    // What the start was about is over once the threads that read the store have ended, the connection that asked has
    // been closed, and nobody has stirred for a while.
    let mut last = Vec::new();
    wait::until("quiet", async || {
        tokio::time::sleep(STILL).await;
        let before = std::mem::replace(&mut last, switches(pid));
        (before == last && !last.iter().any(|(name, _)| name.starts_with("tokio-rt-worker"))).then_some(())
    })
    .await;
    let window = Duration::from_secs(if env::var_os("COGNITO_PROXY_LONG").is_some() { 60 } else { 20 });
    let before = switches(pid);
    tokio::time::sleep(window).await;
    let after = switches(pid);
    let sum = |switches: &[(String, u64)]| switches.iter().map(|(_, count)| count).sum::<u64>();
    let woken = sum(&after).saturating_sub(sum(&before));
    println!("{woken} wake-ups of {} threads in {window:?}", after.len());
    assert!(woken <= if window > Duration::from_secs(30) { 2 } else { 1 }, "{before:?}\n{after:?}");
    proxy.stop().await;
}
