//! A standard error that is full or closed costs log lines, and nothing else.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Longer than any start takes; a start that never ends fails here.
const PATIENCE: Duration = Duration::from_secs(20);

fn serves_until_sigterm(stderr: Stdio) {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("proxy.toml");
    let text = r#"
cognito = { user_pool_id = "eu-west-1_A", client_id = "c" }
listen = { proxy = ["unix:http.sock"], admin = "off" }
upstream.url = "http://127.0.0.1:9"
"#;
    fs::write(&file, text).expect("a file");
    let mut child = Command::new(env!("CARGO_BIN_EXE_cognito-proxy"))
        .args(["run", "--log-level", "trace", "-c"])
        .arg(&file)
        .env_clear()
        .env("HOME", home.path())
        .env("XDG_RUNTIME_DIR", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .expect("it starts");
    let began = Instant::now();
    while UnixStream::connect(home.path().join("http.sock")).is_err() {
        assert!(began.elapsed() < PATIENCE, "it never listened");
        assert_eq!(child.try_wait().expect("it is ours"), None, "it ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .expect("it is ours");
    assert_eq!(child.wait().expect("it is ours").code(), Some(0));
}

#[test]
fn a_full_standard_error_stops_nothing() {
    serves_until_sigterm(File::options().write(true).open("/dev/full").expect("/dev/full").into());
}

#[test]
fn a_reader_of_the_log_that_has_left_stops_nothing() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    serves_until_sigterm(writer.into());
}
