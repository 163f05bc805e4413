//! What a service manager hears from the program (`sd_notify(3)`): ready once it listens, both clocks in its status
//! line, that its loops still turn, that it reloads, that it stops.

use std::{os::unix::net::UnixDatagram, sync::mpsc, thread, time::Duration};

use rustix::process::Signal;

use crate::support::{proxy::Proxy, stage::Stage, wait};

/// Every message, as it comes.
struct Manager(mpsc::Receiver<String>);

impl Manager {
    /// Listens at `path` until the test ends.
    fn at(path: &std::path::Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("a socket");
        let (told, hears) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length) = socket.recv(&mut buffer) {
                if told.send(String::from_utf8_lossy(&buffer[..length]).into_owned()).is_err() {
                    return;
                }
            }
        });
        Self(hears)
    }

    /// The first message from here on with such a line.
    fn hears(&self, line: &str) -> String {
        loop {
            let message = self.0.recv_timeout(wait::BOUND).unwrap_or_else(|_| panic!("{line} was never said"));
            if message.lines().any(|said| said.starts_with(line)) {
                return message;
            }
        }
    }
}

async fn started(stage: &Stage, watchdog: &str) -> (Proxy, Manager) {
    let path = stage.home.path("notify");
    let manager = Manager::at(&path);
    let mut command = stage.home.command(&["run"]);
    command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", watchdog);
    (Proxy::started(&mut command).await, manager)
}

#[tokio::test]
async fn ready_both_clocks_reload_and_stop() {
    let stage = Stage::new().await;
    stage.configure("cognito.refresh_token_validity = \"30d\"");
    stage.signed_in().await;
    let (mut proxy, manager) = started(&stage, "0").await;
    manager.hears("READY=1");
    let status = manager.hears("STATUS=");
    // As moments, not as spans: a line that counted down would have to be written anew each minute.
    for clock in ["token until 20", "session ends 20"] {
        assert!(status.contains(clock), "{clock} in {status}");
    }

    proxy.signal(Signal::HUP);
    let reloading = manager.hears("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "what Type=notify-reload waits for: {reloading}");
    manager.hears("READY=1");
    proxy.signal(Signal::TERM);
    manager.hears("STOPPING=1");
    assert_eq!(proxy.stop().await.code(), 0);
}

#[tokio::test]
async fn a_watchdog_hears_that_the_loops_turn_until_they_do_not() {
    let stage = Stage::new().await;
    stage.configure("");
    stage.signed_in().await;
    let (mut proxy, manager) = started(&stage, "400000").await;
    for _ in 0..5 {
        manager.hears("WATCHDOG=1");
    }
    proxy.signal(Signal::STOP);
    // What was sent before it stopped may still arrive; then there is silence.
    while manager.0.recv_timeout(Duration::from_secs(1)).is_ok() {}
    proxy.signal(Signal::CONT);
    manager.hears("WATCHDOG=1");
    assert_eq!(proxy.stop().await.code(), 0);
}
