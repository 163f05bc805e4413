//! When the session has ended, nobody's work is lost: requests wait unread, HTTP/1.1 and HTTP/2 alike, however large
//! their bodies are, and go on with the token of the next sign-in. Who leaves is forgotten; who is one too many, or
//! comes before a stop, is told.

use std::{fs, io::Write as _, time::Duration};

use bytes::Bytes;
use cognito_proxy::{
    clock::{Clock as _, SystemClock, UnixTime},
    devpool::{Settings, echo::BodyEnd},
};
use futures_util::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use tokio::{net::TcpStream, task::JoinHandle, time::Instant};

use crate::support::{
    http::{self as wire, Connection, RawResponse},
    proxy::Proxy,
    stage::{Stage, problem, validity},
};

const MIB: usize = 1024 * 1024;

/// A large upload: an export of a day, a video.
const UPLOAD: usize = 200 * MIB;

/// Over HTTP/2 it is the same with each frame.
const UPLOAD_H2: usize = 32 * MIB;

/// The session whose token has `left` seconds left, and no successor.
async fn about_to_end(stage: &Stage, left: i64, more: &str) -> Proxy {
    stage.configure(&format!("cognito.refresh_token_validity = \"1h\"\n{more}"));
    stage.signed_in_with(60, left).await;
    stage.pool.sign_out(Settings::USER);
    stage.pool.set_validity(Settings::CLIENT, validity(3600, 3600));
    let mut proxy = stage.home.serve_with(&[]).await;
    proxy.logged("session ended").await;
    proxy
}

/// The same, once its token is dead too.
async fn ended(stage: &Stage, more: &str) -> Proxy {
    let proxy = about_to_end(stage, 4, more).await;
    proxy.status_that("the last token's end", |status| (left_of(&status["injecting_until"]) == 0).then_some(())).await;
    proxy
}

/// Milliseconds until a moment of the status document.
fn left_of(moment: &serde_json::Value) -> i64 {
    let moment: UnixTime = serde_json::from_value(moment.clone()).expect("a moment");
    moment.millis_since(SystemClock.now().wall).max(0)
}

async fn held(proxy: &Proxy, count: u64) {
    let so_many = |status: &serde_json::Value| (status["held_requests"] == count).then_some(());
    proxy.status_that(&format!("{count} held requests"), so_many).await;
}

const GET: &str = "GET /orders HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// A client that sends its head, then as much of its body as is taken.
async fn uploading(proxy: &Proxy) -> Connection {
    let mut client = proxy.connect().await;
    client.send("POST /sink HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nfirst").await;
    client
}

/// An HTTP/2 connection, and its socket, to be shut whatever HTTP/2 thinks of it.
async fn h2(proxy: &Proxy) -> (http2::SendRequest<Full<Bytes>>, std::net::TcpStream) {
    let stream = TcpStream::connect(proxy.address()).await.expect("a connection").into_std().expect("a socket");
    let socket = stream.try_clone().expect("a descriptor");
    let stream = TcpStream::from_std(stream).expect("a socket");
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("an HTTP/2 connection");
    tokio::spawn(async move { drop(connection.await) });
    (sender, socket)
}

fn h2_request(proxy: &Proxy, body: &'static [u8]) -> Request<Full<Bytes>> {
    let body = Full::from(Bytes::from_static(body));
    Request::post(format!("http://{}/sink", proxy.address())).body(body).expect("a request")
}

#[tokio::test]
async fn requests_of_every_kind_wait_and_go_on_with_the_next_sign_in() {
    let stage = Stage::lasting(60).await;
    let proxy = ended(&stage, "session.hold = \"60s\"").await;
    let mut reading = proxy.connect().await;
    reading.send(GET).await;
    let mut writing = uploading(&proxy).await;
    let (mut sender, _socket) = h2(&proxy).await;
    let streams: Vec<_> = (0..3).map(|_| tokio::spawn(sender.send_request(h2_request(&proxy, b"over h2")))).collect();
    held(&proxy, 5).await;
    assert_eq!(stage.upstream.log().total(), 0, "nothing goes upstream");
    assert_eq!(wire::get(proxy.admin(), "/readyz").await.status(), 503);

    stage.signed_in().await;
    assert_eq!(reading.receive().await.status, 200);
    writing.send(vec![0; 1_000_000 - 5]).await;
    assert_eq!(writing.receive().await.status, 200);
    for stream in streams {
        assert_eq!(stream.await.expect("it ran").expect("a response").status(), 200);
    }
    held(&proxy, 0).await;
    let log = stage.upstream.log();
    assert_eq!((log.total(), log.distinct_tokens().len(), log.expired_on_arrival()), (5, 1, 0));
    proxy.stop().await;
}

#[tokio::test]
async fn who_leaves_is_forgotten_at_once() {
    let stage = Stage::lasting(60).await;
    // Longer than this test may last: nobody is forgotten for the hold's end.
    let proxy = ended(&stage, "session.hold = \"10m\"").await;
    // A client that asks, one that uploads (nobody reads what it sends, so that its leaving is not read either), one
    // stream of two, and a whole HTTP/2 connection.
    let mut reading = proxy.connect().await;
    reading.send(GET).await;
    held(&proxy, 1).await;
    forgotten(&proxy, 0, "an HTTP/1.1 request", || drop(reading)).await;

    let writing = uploading(&proxy).await;
    held(&proxy, 1).await;
    forgotten(&proxy, 0, "an HTTP/1.1 upload", || drop(writing)).await;

    // One that has sent more than anybody takes, and dies: a reset is noticed. (A close would not be: the kernel says it
    // after the octets before it, which nobody reads. The end of the hold forgets such a client.)
    let mut dying = std::net::TcpStream::connect(proxy.address()).expect("a connection");
    socket2::SockRef::from(&dying).set_linger(Some(Duration::ZERO)).expect("an option");
    dying.set_write_timeout(Some(Duration::from_millis(300))).expect("an option");
    dying.write_all(b"POST /sink HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000000\r\n\r\n").expect("room");
    held(&proxy, 1).await;
    let dying = tokio::task::spawn_blocking(move || {
        let piece = vec![0; 64 * 1024];
        while dying.write_all(&piece).is_ok() {}
        dying
    });
    let dying = dying.await.expect("it ran");
    forgotten(&proxy, 0, "an HTTP/1.1 upload that is reset", || drop(dying)).await;

    let (mut sender, socket) = h2(&proxy).await;
    let staying = tokio::spawn(sender.send_request(h2_request(&proxy, b"stays")));
    let leaving = tokio::spawn(sender.send_request(h2_request(&proxy, b"leaves")));
    held(&proxy, 2).await;
    forgotten(&proxy, 1, "an HTTP/2 stream", || leaving.abort()).await;
    assert!(!staying.is_finished(), "its neighbour stays");
    forgotten(&proxy, 0, "an HTTP/2 connection", || {
        socket.shutdown(std::net::Shutdown::Both).expect("it was open");
    })
    .await;
    assert_eq!(stage.upstream.log().total(), 0);
    proxy.stop().await;
}

/// Waits until only `count` are held after somebody left, and says how long that took.
async fn forgotten(proxy: &Proxy, count: u64, who: &str, leave: impl FnOnce()) {
    let began = Instant::now();
    leave();
    held(proxy, count).await;
    println!("{who} is forgotten after {} ms", began.elapsed().as_millis());
}

#[tokio::test]
async fn one_too_many_is_told_at_once_and_a_stop_tells_all() {
    let stage = Stage::lasting(60).await;
    let mut proxy = ended(&stage, "session.hold = \"10m\"\nsession.max_held = 2").await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut client = proxy.connect().await;
        client.send(GET).await;
        waiting.push(client);
    }
    held(&proxy, 2).await;
    let told = problem(&wire::get(proxy.address(), "/orders").await, 503, "session_expired");
    assert_eq!(told["fix"], "cognito-proxy login");
    proxy.signal(Signal::TERM);
    for client in &mut waiting {
        let answer = client.receive().await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (503, Some("stopping")));
    }
    proxy.gone().await;
}

#[tokio::test]
async fn a_hold_has_an_end() {
    let stage = Stage::lasting(60).await;
    let proxy = ended(&stage, "session.hold = \"1s\"").await;
    let began = Instant::now();
    problem(&wire::get(proxy.address(), "/orders").await, 503, "session_expired");
    assert!(began.elapsed() >= Duration::from_secs(1), "it was held: {:?}", began.elapsed());
    proxy.stop().await;
}

/// An upload that is on its way: pieces, then the answer.
struct Upload {
    client: Connection,
    left: usize,
}

impl Upload {
    async fn begin(proxy: &Proxy) -> Self {
        let mut client = proxy.connect().await;
        client.send(format!("POST /sink HTTP/1.1\r\nHost: localhost\r\nContent-Length: {UPLOAD}\r\n\r\n")).await;
        Self { client, left: UPLOAD }
    }

    async fn send(&mut self, bytes: usize) {
        let piece = vec![7; MIB];
        for _ in 0..bytes / MIB {
            self.client.send(&piece).await;
        }
        self.left -= bytes;
    }

    async fn finish(mut self) -> RawResponse {
        self.send(self.left).await;
        self.client.receive().await
    }
}

/// An upload over HTTP/2, of as many pieces, which come as they are taken.
async fn upload_h2(proxy: &Proxy, pieces: usize) -> JoinHandle<u16> {
    let stream = TcpStream::connect(proxy.address()).await.expect("a connection");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("an HTTP/2 connection");
    let body = stream::iter((0..pieces).map(|_| Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![7; MIB])))));
    let request = Request::post(format!("http://{}/sink", proxy.address())).body(StreamBody::new(body));
    let request = request.expect("a request");
    tokio::spawn(async move {
        let exchange = async {
            let response = sender.send_request(request).await.expect("a response");
            let status = response.status().as_u16();
            response.into_body().collect().await.expect("a whole body");
            status
        };
        tokio::select! {
            status = exchange => status,
            _ = connection => panic!("the connection ended"),
        }
    })
}

/// The most memory that a process has had at once, in KiB.
fn peak_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a file for everybody");
    let of = |line: &str| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok();
    status.lines().find_map(of).expect("a figure")
}

#[tokio::test]
async fn uploads_around_the_end_of_the_session_are_completed_after_the_next_sign_in() {
    let stage = Stage::lasting(60).await;
    let proxy = about_to_end(&stage, 8, "session.hold = \"60s\"").await;
    proxy
        .status_that("two seconds before the end", |status| {
            (left_of(&status["injecting_until"]) <= 2_000).then_some(())
        })
        .await;
    let before = peak_kib(proxy.process_id());
    let mut early = Upload::begin(&proxy).await;
    early.send(UPLOAD / 4).await;
    stage.arrived(|log| log.total() == 1).await;
    proxy.status_that("the last token's end", |status| (left_of(&status["injecting_until"]) == 0).then_some(())).await;

    let late = tokio::spawn(Upload::begin(&proxy).await.finish());
    let late_h2 = upload_h2(&proxy, UPLOAD_H2 / MIB).await;
    held(&proxy, 2).await;
    early.send(UPLOAD / 4).await;
    assert_eq!(stage.upstream.log().total(), 1, "the late ones wait");
    assert!(!late.is_finished(), "nobody takes a body in that nobody wants yet");

    stage.signed_in().await;
    let (early, late, late_h2) = tokio::join!(early.finish(), late, late_h2);
    assert_eq!((early.status, late.expect("it ran").status, late_h2.expect("it ran")), (200, 200, 200));
    let log = stage.upstream.log();
    let whole = |request: &&cognito_proxy::devpool::echo::EchoRequest| {
        let is_all = [UPLOAD, UPLOAD_H2].iter().any(|length| request.body_bytes == *length as u64);
        is_all && request.body_end == BodyEnd::Complete
    };
    assert_eq!(log.iter().filter(whole).count(), 3, "{:?}", log.last());
    assert_eq!((log.distinct_tokens().len(), log.expired_on_arrival()), (2, 0));
    let grown = peak_kib(proxy.process_id()) - before;
    let [large, small] = [UPLOAD, UPLOAD_H2].map(|length| length / MIB);
    println!("uploads of {large}, {large} and {small} MiB, the latter two held: the memory grew by {grown} KiB");
    assert!(grown < 32 * 1024, "{grown} KiB");
    proxy.stop().await;
}
