//! Whoever else has an account on this machine gets nothing, neither over the proxy's port nor over the admin
//! listener's, and neither by asking nor by being gone before it can be told who asked.
//!
//! Another user can be had only by root. Elsewhere what can be shown is shown, and the rest is said to be missing.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt, process::CommandExt as _},
    path::Path,
    process::{Command, Output, Stdio},
};

use cognito_proxy::guard::{UserSpec, Users};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    http as wire,
    process::not_shown,
    proxy::Proxy,
    stage::{Stage, get_with},
    wait,
};

/// `nobody`.
const STRANGER: u32 = 65_534;

/// Whether processes of another user can be started.
fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        not_shown("only root can start a process of another user; run this test as root");
    }
    is_root
}

fn http1_request(path: &str, address: SocketAddr) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// `GET /` of `localhost` by prior knowledge: the preface, empty settings, and one field block that ends the stream
/// (RFC 9113 §3.4, §6.2; RFC 7541 appendix A).
fn http2_request() -> Vec<u8> {
    let block = [b"\x82\x86\x84\x41\x09".as_slice(), b"localhost"].concat();
    let length = u8::try_from(block.len()).expect("short");
    let settings = b"\0\0\0\x04\0\0\0\0\0".as_slice();
    let headers = [0, 0, length, 1, 5, 0, 0, 0, 1];
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), settings, &headers, &block].concat()
}

/// A process of this user that sends these octets, and what it printed.
async fn sends_as(uid: Option<u32>, address: SocketAddr, octets: &[u8], then: &str) -> Output {
    let (host, port) = (address.ip(), address.port());
    let octets = octets.iter().fold(String::new(), |text, octet| format!("{text}\\x{octet:02x}"));
    let script = format!("exec 3<>/dev/tcp/{host}/{port} && printf '{octets}' >&3 && {then}");
    let mut command = Command::new("bash");
    command.args(["-c", &script]).env_clear().current_dir("/").stdin(Stdio::null());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    // The upstream answers on this very thread.
    tokio::task::spawn_blocking(move || command.output().expect("bash")).await.expect("no panic")
}

const READS: &str = "cat <&3";
const LEAVES: &str = "exit 0";

/// What a process of this user is answered: the status line, and the code of a problem.
async fn answer_to(uid: Option<u32>, address: SocketAddr, path: &str) -> (u16, Value) {
    let output = sends_as(uid, address, &http1_request(path, address), READS).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("eyJ"), "a token");
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.unwrap_or_else(|| panic!("{text:?} {}", String::from_utf8_lossy(&output.stderr)));
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or_default())
}

async fn refused_total(proxy: &Proxy) -> u64 {
    let metrics = wire::get(proxy.admin(), "/metrics").await;
    let text = String::from_utf8_lossy(metrics.body()).into_owned();
    let line =
        text.lines().find_map(|line| line.strip_prefix("cognito_proxy_refused_total{reason=\"peer_not_allowed\"} "));
    line.and_then(|count| count.parse().ok()).expect("a counter from the start")
}

/// A second loopback address, where the machine has IPv6.
fn addresses() -> &'static str {
    if TcpListener::bind("[::1]:0").is_ok() {
        "listen.proxy = [\"127.0.0.1:0\", \"[::1]:0\"]"
    } else {
        "listen.proxy = [\"127.0.0.1:0\"]"
    }
}

async fn serve(stage: &Stage, keys: &str) -> Proxy {
    serve_on(stage, addresses(), keys).await
}

async fn serve_on(stage: &Stage, addresses: &str, keys: &str) -> Proxy {
    let usual = "listen.proxy = [\"127.0.0.1:0\"]\n";
    stage.home.configure(&stage.toml(&format!("{addresses}\n{keys}")).replacen(usual, "", 1));
    stage.signed_in().await;
    let mut proxy = stage.home.serve_with(&[]).await;
    proxy.ready().await;
    proxy
}

#[test]
fn by_default_only_the_user_itself_and_root_are_admitted() {
    let users = Users::resolve(&[UserSpec::Myself, UserSpec::Uid(0)]).expect("both exist");
    let myself = rustix::process::geteuid().as_raw();
    assert!(users.admits(myself) && users.admits(0) && !users.is_any());
    assert!(!users.admits(STRANGER) && !users.admits(myself + 1));
}

#[tokio::test]
async fn a_process_of_another_user_gets_nothing() {
    let stage = Stage::new().await;
    let proxy = serve(&stage, "").await;
    for address in &proxy.addresses {
        assert_eq!(
            answer_to(None, *address, "/x").await.0,
            200,
            "{address}: this very user is served, by the same means"
        );
    }
    let mut total = stage.upstream.log().total();
    assert_eq!(total, proxy.addresses.len() as u64);
    if !is_root() {
        return;
    }
    for address in &proxy.addresses {
        let (status, problem) = answer_to(Some(STRANGER), *address, "/x").await;
        assert_eq!((status, &problem["code"]), (403, &"peer_not_allowed".into()), "{address}: {problem}");
        let fix = problem["fix"].as_str().expect("a fix");
        assert!(fix.contains("guard.users") && fix.contains("65534"), "{fix}");
    }
    let (status, problem) = answer_to(Some(STRANGER), proxy.admin(), "/status.json").await;
    assert_eq!((status, &problem["code"]), (403, &"peer_not_allowed".into()), "{problem}");
    assert_eq!(answer_to(Some(STRANGER), proxy.admin(), "/readyz").await.0, 200, "a probe may be anybody's");

    assert_eq!(refused_total(&proxy).await, proxy.addresses.len() as u64 + 1);
    assert_eq!(answer_to(None, proxy.address(), "/last").await.0, 200);
    total += 1;
    assert_eq!(stage.upstream.log().total(), total, "nothing of it went upstream");
}

#[tokio::test]
async fn a_unix_socket_that_everybody_can_reach_admits_nobody_else() {
    let stage = Stage::new().await;
    let (requests, control) = (stage.home.path("run/requests.sock"), stage.home.control_socket());
    let listen = format!("listen.proxy = [\"127.0.0.1:0\", \"unix:{}\"]", requests.display());
    let proxy = serve_on(&stage, &listen, "").await;
    let ask = ["http://localhost/x"];
    let take = ["--data", "{\"kind\":\"id\"}", "http://localhost/token"];
    let (status, _) = answer_on(None, &requests, &ask).await.expect("our own");
    assert_eq!(status, 200);
    let (status, token) = answer_on(None, &control, &take).await.expect("our own");
    assert!(status == 200 && token.contains("eyJ"), "{status}");
    if !is_root() {
        return;
    }
    for socket in [&requests, &control] {
        let mode = std::fs::metadata(socket).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", socket.display());
    }
    assert_eq!(answer_on(Some(STRANGER), &requests, &ask).await, None, "its mode alone keeps them out");

    // Somebody has opened the doors.
    let home = stage.home.path("");
    for socket in [&requests, &control] {
        for place in socket.ancestors().take_while(|place| place.starts_with(&home)) {
            let mode = if place == socket { 0o666 } else { 0o755 };
            std::fs::set_permissions(place, PermissionsExt::from_mode(mode)).expect("ours");
        }
    }
    for (socket, arguments) in
        [(&requests, &ask[..]), (&control, &take[..]), (&control, &["http://localhost/status.json"])]
    {
        let (status, body) = answer_on(Some(STRANGER), socket, arguments).await.expect("it can be reached");
        let problem: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        assert_eq!((status, &problem["code"]), (403, &"peer_not_allowed".into()), "{}: {body}", socket.display());
        assert!(!body.contains("eyJ"), "a token");
    }
    assert_eq!(refused_total(&proxy).await, 1, "of those who would use the proxy");
    assert_eq!(answer_on(None, &requests, &ask).await.expect("our own").0, 200);
    assert_eq!(stage.upstream.log().total(), 2, "nothing of it went upstream");
}

/// What a process of this user is answered on a Unix socket; None where it cannot connect.
async fn answer_on(uid: Option<u32>, socket: &Path, arguments: &[&str]) -> Option<(u16, String)> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "20", "--write-out", "\n%{http_code}", "--unix-socket"]);
    command.arg(socket).args(arguments).env_clear().current_dir("/").stdin(Stdio::null());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    let output = tokio::task::spawn_blocking(move || command.output().expect("curl")).await.expect("no panic");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n')?;
    // 7 is "failed to connect" (curl(1)).
    assert!(output.status.success() || output.status.code() == Some(7), "{} {text}", output.status);
    output.status.success().then(|| (status.parse().expect("a status"), body.to_owned()))
}

#[tokio::test]
async fn a_client_that_has_gone_before_it_was_looked_at_gets_nothing() {
    let stage = Stage::new().await;
    let mut proxy = serve(&stage, "runtime.workers = 1").await;
    // What a client that stays is served for, HTTP/2 alike.
    let mut staying = wire::Connection::to(proxy.address()).await;
    staying.send(http2_request()).await;
    stage.upstream.wait_for(|log| log.total() == 1).await;

    // Of a user who is admitted as well: once its process is gone nobody can say so.
    let mut users = vec![None];
    if is_root() {
        users.push(Some(STRANGER));
    }
    let mut counted = 0;
    for address in proxy.addresses.clone() {
        for uid in &users {
            proxy.signal(Signal::STOP);
            // The kernel completes the handshake and keeps what is sent while the proxy stands still.
            let upload =
                format!("POST /gone HTTP/1.1\r\nHost: {address}\r\nContent-Length: 524288\r\n\r\n").into_bytes();
            for (octets, then) in [
                (http1_request("/gone", address), LEAVES),
                (http2_request(), LEAVES),
                (upload, "head -c 524288 /dev/zero >&3"),
            ] {
                let output = sends_as(*uid, address, &octets, then).await;
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
            proxy.signal(Signal::CONT);
            // hyper lets go of a request whose client is seen to have hung up. Behind a body that does not fit into
            // the proxy's receive buffer nobody sees that yet: the connection looks alive, and belongs to nobody.
            counted += 1;
            let what = format!("the refusal of {uid:?} at {address} to be counted");
            wait::until(&what, async || (refused_total(&proxy).await >= counted).then_some(())).await;
        }
    }
    let refused = proxy.logged("request refused").await;
    assert_eq!((&refused["peer"], &refused["code"]), (&"unknown user".into(), &"peer_not_allowed".into()));
    assert_eq!(get_with(proxy.address(), "/last", &[]).await.status(), 200);
    drop(staying);
    proxy.stop().await;
    let log = stage.upstream.log();
    assert_eq!((log.total(), log.last().map(|request| request.target.clone())), (2, Some("/last".into())));
}

#[tokio::test]
async fn users_can_be_listed_and_anybody_is_announced() {
    let stage = Stage::new().await;
    let proxy = serve(&stage, "guard.users = [\"self\", \"65534\"]").await;
    if is_root() {
        assert_eq!(answer_to(Some(STRANGER), proxy.address(), "/x").await.0, 200);
        let (status, problem) = answer_to(Some(STRANGER - 1), proxy.address(), "/x").await;
        assert_eq!((status, &problem["code"]), (403, &"peer_not_allowed".into()), "{problem}");
        assert_eq!(stage.upstream.log().total(), 1);
    }
    let said = proxy.stop().await.stderr;
    assert!(!said.contains("\\\"any\\\""), "{said}");

    let stage = Stage::new().await;
    let mut proxy = serve(&stage, "guard.users = [\"any\"]").await;
    let told = proxy.printed_line("every local user may connect").await;
    assert!(told.contains("guard.users") && told.contains("\"level\":\"warn\""), "{told}");
    if is_root() {
        assert_eq!(answer_to(Some(STRANGER), proxy.address(), "/x").await.0, 200);
        let (status, _) = answer_to(Some(STRANGER), proxy.admin(), "/status.json").await;
        assert_eq!(status, 200);
    }
    // A page does not become local for that.
    let got = get_with(proxy.address(), "/x", &[("origin", "http://evil.example")]).await;
    assert_eq!(got.status(), 403);
}
