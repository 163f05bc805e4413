//! What an operating system does to a process while it refreshes: stops it, asks it to end, takes its outputs, its
//! descriptors and its disk.

use std::{
    env, fs,
    process::Stdio,
    time::{Duration, Instant},
};

use cognito_proxy::{
    clock::{Clock as _, SystemClock},
    devpool::{AppClient, Settings},
    store::{FileStore, TokenStore as _},
};
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use tokio::net::TcpStream;

use crate::support::{
    http::{self as wire, Connection},
    load::steadily,
    process::Process,
    proxy::Proxy,
    stage::{Stage, problem, validity},
    wait::{self, BOUND},
};

const REQUEST: &str = "GET /orders HTTP/1.1\r\nHost: localhost\r\n\r\n";

async fn rotating() -> Stage {
    Stage::of(AppClient::public(Settings::CLIENT).rotating(Duration::ZERO)).await
}

fn generation(stage: &Stage) -> u64 {
    let record = FileStore::new(stage.home.store()).load(SystemClock.now());
    record.expect("whole").expect("there").generation
}

/// Lets every token from now on live this long, and the one that is stored be due.
async fn due_at_start(stage: &Stage) {
    stage.signed_in_with(3600, 100).await;
}

#[tokio::test]
async fn a_process_that_was_stopped_past_its_tokens_end_sends_no_dead_token_and_makes_no_burst() {
    let stage = Stage::lasting(3).await;
    let mut proxy = stage.serve("").await;
    proxy.ready().await;
    proxy.signal(Signal::STOP);
    // Real time has to pass: it is what the token dies of.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let before = stage.refreshes();
    proxy.signal(Signal::CONT);
    assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200);
    let refreshes = stage.refreshes() - before;
    assert!(refreshes <= 2, "{refreshes} refreshes to catch up");
    let log = stage.upstream.log();
    assert_eq!((log.total(), log.invalid(), log.without_token()), (1, 0, 0));
    proxy.stop().await;
}

#[tokio::test]
async fn signals_that_mean_nothing_here_change_nothing() {
    let stage = Stage::new().await;
    let mut proxy = stage.serve("").await;
    proxy.ready().await;
    for (signal, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        proxy.signal(signal);
        let line = proxy.printed_line(name).await;
        assert!(line.contains("signal ignored: SIGHUP reloads, SIGTERM stops"), "{line}");
    }
    assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200);
    assert_eq!(proxy.stop().await.code(), 0);
}

#[tokio::test]
async fn a_request_to_end_lets_a_refresh_end_and_its_token_be_stored() {
    for _ in 0..5 {
        let stage = rotating().await;
        stage.configure("");
        due_at_start(&stage).await;
        let (refreshes, stored) = (stage.refreshes(), generation(&stage));
        let held = stage.pool.hold_answers();
        let mut proxy = stage.home.serve_with(&[]).await;
        stage.pool.wait_for(|calls| calls.refreshes() > refreshes).await;
        proxy.signal(Signal::TERM);
        proxy.logged("stopping").await;
        drop(held);
        assert_eq!(proxy.stop().await.code(), 0);
        assert_eq!(generation(&stage), stored + 1);
    }
}

#[tokio::test]
async fn a_disk_without_room_is_flagged_and_written_to_once_it_has_some() {
    let stage = rotating().await;
    stage.configure("");
    due_at_start(&stage).await;
    let (before, stored) = (fs::read(stage.home.store()).expect("there"), generation(&stage));
    let held = stage.pool.hold_answers();
    // What a full disk does at any length, this limit does beyond one: the signal that comes with it is ignored.
    let mut proxy = stage.home.serve_after("trap '' XFSZ").await;
    let pid = proxy.pid();
    let full = Rlimit { current: Some(512), maximum: None };
    prlimit(Some(pid), Resource::Fsize, full).expect("our own process");
    drop(held);
    proxy.status_that("the flag", |status| (status["unpersisted_rotation"] == true).then_some(())).await;
    assert_eq!(fs::read(stage.home.store()).expect("there"), before, "the old record is intact");
    assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200, "served all the same");
    let metrics = wire::get(proxy.admin(), "/metrics").await;
    assert!(String::from_utf8_lossy(metrics.body()).contains("cognito_proxy_unpersisted_rotation 1"));
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: None, maximum: None }).expect("our own process");
    proxy.status_that("no flag", |status| (status["unpersisted_rotation"] == false).then_some(())).await;
    assert_eq!(generation(&stage), stored + 1);
    assert_eq!(proxy.stop().await.code(), 0);
}

#[tokio::test]
async fn a_disk_that_never_has_room_delays_the_end_by_ten_seconds_and_says_so() {
    let stage = rotating().await;
    stage.configure("");
    due_at_start(&stage).await;
    let held = stage.pool.hold_answers();
    let mut proxy = stage.home.serve_after("trap '' XFSZ").await;
    let pid = proxy.pid();
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: Some(512), maximum: None }).expect("our own process");
    drop(held);
    proxy.status_that("the flag", |status| (status["unpersisted_rotation"] == true).then_some(())).await;
    let ended = proxy.stop().await;
    assert_eq!(ended.code(), 0);
    assert!(ended.stderr.contains("going down with a session that could not be stored"), "{}", ended.stderr);
}

#[tokio::test]
async fn outputs_that_are_closed_or_full_stop_nothing() {
    for script in ["exec >&- 2>&-", "exec >/dev/full 2>/dev/full"] {
        let stage = Stage::lasting(5).await;
        let socket = stage.home.path("proxy.sock");
        let toml = stage.toml("").replace("[\"127.0.0.1:0\"]", &format!("[\"unix:{}\"]", socket.display()));
        stage.home.configure(&toml.replace("listen.admin = \"127.0.0.1:0\"", "listen.admin = \"off\""));
        stage.signed_in().await;
        let mut command = stage.home.command_after(script);
        let mut process = Process::spawn("cognito-proxy run", command.stdin(Stdio::null())).expect("a shell");
        let listening = async || tokio::net::UnixStream::connect(&socket).await.ok();
        wait::until("its socket", listening).await;
        let before = stage.refreshes();
        // Through two refreshes, each with its line for the log.
        stage.pool.wait_for(|calls| calls.refreshes() >= before + 2).await;
        let mut client = Connection::to_socket(&socket).await;
        client.send(REQUEST).await;
        assert_eq!(client.receive().await.status, 200, "{script}");
        process.signal(Signal::TERM);
        assert_eq!(process.finish(BOUND).await.code(), 0, "{script}");
    }
}

/// How often the configuration is read again under load.
fn reloads() -> usize {
    if env::var_os("COGNITO_PROXY_LONG").is_some() { 500 } else { 60 }
}

#[tokio::test]
async fn reloads_during_refreshes_fail_no_request_and_a_bad_file_changes_nothing() {
    // Two seconds, and every reload of a good file rolls the dice about the lead time anew.
    let client = AppClient::public(Settings::CLIENT).with_validity(validity(3, 3600)).rotating(Duration::ZERO);
    let stage = Stage::of(client).await;
    let mut proxy = stage.serve("").await;
    proxy.ready().await;
    let (address, before) = (proxy.address(), stage.refreshes());
    let (done, is_done) = tokio::sync::watch::channel(false);
    let began = Instant::now();
    let reloading = async {
        for round in 0..reloads() {
            let is_good = round % 4 != 1;
            if is_good {
                stage.home.configure(&stage.toml(&format!("refresh.wait = \"{}s\"", 20 + round % 7)));
            } else {
                stage.home.configure("cognito = \"no table\"");
            }
            if round % 3 == 0 {
                proxy.signal(Signal::HUP);
            }
            let mut control = Connection::to_socket(&stage.home.control_socket()).await;
            control.send("POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").await;
            let answer = control.receive().await;
            assert_eq!(answer.status, if is_good { 200 } else { 422 }, "round {round}: {}", answer.text());
        }
        stage.called(|calls| calls.refreshes() >= before + 3).await;
        done.send_replace(true);
    };
    let ((), (sent, failures)) = tokio::join!(reloading, steadily(address, || *is_done.borrow()));
    let (took, refreshes) = (began.elapsed(), stage.refreshes() - before);
    println!("{} reloads, {refreshes} refreshes and {sent} requests in {took:?}", reloads());
    assert!(failures.is_empty(), "{} of {sent}: {:?}", failures.len(), failures[0]);
    let log = stage.upstream.log();
    assert_eq!((log.total(), log.invalid(), log.without_token()), (sent as u64, 0, 0));
    assert_eq!(stage.pool.calls().count(|call| call.is_refused("RefreshTokenReuseException")), 0);
    // One for each token that was due: a reload starts none.
    let most = took.as_secs() / 2 + 2;
    assert!(refreshes <= most, "{refreshes} refreshes in {took:?}");
    proxy.stop().await;
}

/// Serves within `limit` descriptors while `crowd` clients connect and say nothing: two refreshes come all the same, and
/// requests are served once the crowd has gone.
async fn refreshes_within(limit: u32, crowd: usize, toml: &str) {
    let stage = Stage::lasting(4).await;
    stage.configure(toml);
    stage.signed_in().await;
    let proxy: Proxy = stage.home.serve_after(&format!("ulimit -n {limit}")).await;
    proxy.status_that("a session", |status| (status["state"] == "fresh").then_some(())).await;
    let mut clients = Vec::new();
    for _ in 0..crowd {
        clients.push(proxy.connect().await);
    }
    let before = stage.pool.calls().refreshed();
    // Two refreshes in the middle of that; each needs a connection and a file.
    let refreshed = stage.pool.wait_for(|calls| calls.refreshed() >= before + 2);
    tokio::time::timeout(BOUND, refreshed).await.expect("refreshes go on");
    // Stored as well, which takes one descriptor more than to have the answer.
    assert_eq!(proxy.status().await["unpersisted_rotation"], false);
    drop(clients);
    wait::until("room again", async || {
        let answer = tokio::time::timeout(Duration::from_secs(2), wire::get(proxy.address(), "/orders")).await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
    let ended = proxy.stop().await;
    assert_eq!(ended.code(), 0);
    assert!(!ended.stderr.contains("Too many open files"), "{}", ended.stderr);
}

#[tokio::test]
async fn clients_that_take_every_descriptor_do_not_keep_a_refresh_from_its_own() {
    refreshes_within(256, 300, "runtime.workers = 1").await;
}

#[tokio::test]
async fn thirty_two_descriptors_are_enough_whatever_clients_do() {
    refreshes_within(32, 40, "").await;
}

#[tokio::test]
async fn heads_that_never_end_do_not_take_the_memory_that_a_refresh_needs() {
    let stage = Stage::lasting(4).await;
    stage.configure("");
    stage.signed_in().await;
    // As a container or `MemoryMax=` would, but that the system refuses memory and does not kill: in KiB.
    let proxy: Proxy = stage.home.serve_after("ulimit -d 65536").await;
    proxy.status_that("a session", |status| (status["state"] == "fresh").then_some(())).await;
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}", "x".repeat(60 * 1024));
    let mut crowd = Vec::new();
    for _ in 0..500 {
        let client = TcpStream::connect(proxy.address()).await.expect("a queue");
        client.writable().await.expect("connected");
        // As much as the kernel takes at once; whoever is not let in sees an end.
        drop(client.try_write(head.as_bytes()));
        crowd.push(client);
    }
    let before = stage.pool.calls().refreshed();
    let refreshed = stage.pool.wait_for(|calls| calls.refreshed() >= before + 2);
    tokio::time::timeout(BOUND, refreshed).await.expect("refreshes go on");
    drop(crowd);
    wait::until("room again", async || {
        let answer = tokio::time::timeout(Duration::from_secs(2), wire::get(proxy.address(), "/orders")).await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
    assert_eq!(proxy.stop().await.code(), 0);
}

#[tokio::test]
async fn a_record_that_cannot_be_used_stays_until_a_sign_in_moves_it_aside() {
    let stage = Stage::of(AppClient::public(Settings::CLIENT).with_validity(validity(3600, 86_400))).await;
    stage.configure("");
    stage.signed_in().await;
    let sound = fs::read(stage.home.store()).expect("there");
    let flipped = |at: usize| {
        let mut bytes = sound.clone();
        bytes[at] = 0xff;
        bytes
    };
    for content in [Vec::new(), sound[..sound.len() / 2].to_vec(), flipped(0), flipped(sound.len() / 2)] {
        fs::write(stage.home.store(), &content).expect("room");
        let proxy = stage.home.serve_with(&[]).await;
        problem(&wire::get(proxy.address(), "/orders").await, 503, "login_required");
        assert_eq!(fs::read(stage.home.store()).expect("there"), content, "not touched");
        stage.signed_in().await;
        assert_eq!(wire::get(proxy.address(), "/orders").await.status(), 200);
        proxy.stop().await;
    }
    let aside = crate::support::proxy::files_below(&stage.home.path("state"));
    let aside = aside.iter().filter(|path| path.to_string_lossy().contains(".corrupt-")).count();
    assert_eq!(aside, 4, "each is kept");
}

#[tokio::test]
async fn a_proxy_that_runs_holds_its_locks_and_its_sockets_to_its_end() {
    let stage = Stage::of(AppClient::public(Settings::CLIENT)).await;
    let socket = stage.home.path("proxy.sock");
    stage.configure("");
    let toml = stage.toml("").replace("listen.proxy = [", &format!("listen.proxy = [\"unix:{}\", ", socket.display()));
    stage.home.configure(&toml);
    stage.signed_in().await;
    let mut proxy = stage.home.serve_with(&[]).await;
    proxy.ready().await;
    let mut client = Connection::to_socket(&socket).await;
    client.send(REQUEST).await;
    assert_eq!(client.receive().await.status, 200);
    let second = stage.home.run(&["run"]).await;
    assert_eq!(second.code(), 1, "{}", second.stderr);
    assert!(second.stderr.contains(&format!("process id {}", proxy.pid().as_raw_nonzero())), "{}", second.stderr);
    assert_eq!(proxy.stop().await.code(), 0);
    assert!(!socket.exists(), "taken away at the end");
}
