//! Connections from their first byte to their end, on real sockets.

use std::{cell::RefCell, net::SocketAddr, time::Duration};

use http_body_util::BodyExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use super::*;
use crate::listen::{self, Local, Owner, Passed, Peer};

/// Lets everybody in, and remembers who came.
#[derive(Debug, Default)]
pub(super) struct Open(RefCell<Vec<Connection>>);

impl Gate for Open {
    type Peer = ();
    type Grant = ();

    fn peer(&self, connection: &Connection) {
        self.0.borrow_mut().push(connection.clone());
    }

    fn check(&self, _: &RequestHead, _: &Connection, (): &()) -> Result<(), Box<Denied<()>>> {
        Ok(())
    }

    fn decorate(&self, (): &(), _: &mut Fields) {}
}

pub(super) fn limits() -> Settings {
    Settings {
        header_timeout: Duration::from_secs(10),
        first_byte_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        body_idle_timeout: Duration::from_secs(10),
        max_header_bytes: 64 * 1024,
        max_connections: 100,
        drain_timeout: Duration::from_secs(5),
        access_log: false,
    }
}

pub(super) fn local<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test ends") })
}

/// Answers with the request's body, or waits for ever at `/wait`.
async fn echo(request: Request, _: Rc<Connection>) -> Response<reply::Body> {
    if request.head.target.path() == "/wait" {
        std::future::pending::<()>().await;
    }
    let version = format!("{:?} ", request.head.version);
    let body = request.body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    http::Response::new(reply::Body::from([version.as_bytes(), &body].concat())).into()
}

struct Stage {
    _bound: listen::Bound,
    _directory: tempfile::TempDir,
    gate: Rc<Open>,
    room: Room,
    shutdown: Shutdown,
    serving: tokio::task::JoinHandle<usize>,
    local: Local,
}

impl Stage {
    fn new(limits: Settings) -> Self {
        Self::at("127.0.0.1:0", limits)
    }

    fn at(address: &str, limits: Settings) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let address = address.replace("DIRECTORY", directory.path().to_str().expect("text"));
        let mut bound = bind(&address, &directory);
        let listeners = start(&mut bound);
        let (shutdown, drain) = shutdown();
        let (gate, room) = (Rc::new(Open::default()), Room::default());
        let server = Server {
            gate: Rc::clone(&gate),
            service: Rc::new(echo),
            settings: Arc::new(ArcSwap::from_pointee(limits)),
            room: room.clone(),
            figures: Arc::default(),
            drain,
        };
        let serving = tokio::task::spawn_local(server.serve(listeners));
        let local = bound.proxy[0].local().clone();
        Self { _bound: bound, _directory: directory, gate, room, shutdown, serving, local }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.expect("it listens")
    }

    fn address(&self) -> SocketAddr {
        match &self.local {
            Local::Tcp(address) => *address,
            Local::Unix(path) => panic!("{}", path.display()),
        }
    }
}

async fn until_taken(room: &Room, places: usize) {
    while room.taken() != places {
        tokio::task::yield_now().await;
    }
}

fn bind(address: &str, directory: &tempfile::TempDir) -> listen::Bound {
    let settings = listen::Settings {
        proxy: vec![address.parse().expect("an address")],
        proxy_is_default: false,
        admin: None,
        admin_is_default: false,
        allow_remote: false,
    };
    let owner = Owner { runtime_dir: directory.path(), profile: "test" };
    listen::bind(&settings, owner, Passed::none()).expect("free")
}

fn start(bound: &mut listen::Bound) -> Vec<Listener> {
    let listeners = bound.proxy[0].listeners(1).expect("one");
    listeners.into_iter().map(|listener| listener.start().expect("a runtime")).collect()
}

async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes).await);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until `end` has come.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(end.as_bytes()) {
        assert_ne!(stream.read_buf(&mut bytes).await.expect("open"), 0, "{}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn connections_that_say_nothing_or_too_little_end_without_a_word() {
    local(async {
        let short = Duration::from_millis(30);
        for (said, limits) in [
            ("", Settings { first_byte_timeout: short, ..limits() }),
            ("GET / HT", Settings { header_timeout: short, ..limits() }),
            ("P", Settings { header_timeout: short, ..limits() }),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n", Settings { header_timeout: short, ..limits() }),
            ("GET / HTTP/1.1\r\nHost: a\r\nX: ", Settings { header_timeout: short, ..limits() }),
        ] {
            let stage = Stage::new(limits);
            let mut client = stage.connect().await;
            client.write_all(said.as_bytes()).await.expect("written");
            assert_eq!(rest(&mut client).await, "", "{said:?}");
        }
    });
}

#[test]
fn an_idle_connection_is_parked_and_goes_on_until_its_time_is_up() {
    local(async {
        // Longer than it takes to be parked, so that the second request finds a parked connection.
        let stage = Stage::new(Settings { idle_timeout: Duration::from_millis(1800), ..limits() });
        let mut client = stage.connect().await;
        for turn in 0..2 {
            client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await.expect("written");
            assert!(until(&mut client, "HTTP/1.1 hi").await.starts_with("HTTP/1.1 200"), "turn {turn}");
            if turn == 0 {
                tokio::time::sleep(Duration::from_millis(1300)).await;
            }
        }
        assert_eq!(rest(&mut client).await, "");
        assert_eq!(stage.gate.0.borrow().len(), 1, "who connects is looked up once");
    });
}

#[test]
fn a_slow_second_head_has_the_heads_time_and_not_the_idle_time() {
    local(async {
        let stage = Stage::new(Settings { header_timeout: Duration::from_millis(50), ..limits() });
        let mut client = stage.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
        until(&mut client, "HTTP/1.1 ").await;
        client.write_all(b"GET / HT").await.expect("written");
        assert_eq!(rest(&mut client).await, "");
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    local(async {
        let stage = Stage::new(limits());
        let mut client = stage.connect().await;
        let request =
            |text: &str| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        let all = [request("one"), request("two"), request("last")].concat();
        client.write_all(all.as_bytes()).await.expect("written");
        let replies = until(&mut client, "last").await;
        let order: Vec<usize> = ["one", "two", "last"].iter().map(|text| replies.find(text).expect("there")).collect();
        assert!(order.is_sorted(), "{replies}");
    });
}

#[test]
fn http_1_0_is_served_and_closed_unless_it_asks_otherwise() {
    local(async {
        let stage = Stage::new(limits());
        let mut client = stage.connect().await;
        client.write_all(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n").await.expect("written");
        let reply = rest(&mut client).await;
        assert!(reply.starts_with("HTTP/1.0 200") && reply.ends_with("HTTP/1.0 "), "{reply}");
        let mut client = stage.connect().await;
        for _ in 0..2 {
            let request = b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi";
            client.write_all(request).await.expect("written");
            until(&mut client, "HTTP/1.0 hi").await;
        }
    });
}

#[test]
fn one_connection_too_many_is_told_so() {
    local(async {
        let stage = Stage::new(Settings { max_connections: 1, ..limits() });
        let mut seated = stage.connect().await;
        seated.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
        until(&mut seated, "HTTP/1.1 ").await;
        let mut standing = stage.connect().await;
        standing.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
        let reply = rest(&mut standing).await;
        assert!(reply.starts_with("HTTP/1.1 503 ") && reply.contains("overloaded"), "{reply}");
        drop(seated);
        while stage.room.taken() > 0 {
            tokio::task::yield_now().await;
        }
        let mut next = stage.connect().await;
        next.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
        assert!(until(&mut next, "HTTP/1.1 ").await.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn a_client_that_leaves_with_its_body_unread_is_noticed() {
    local(async {
        let stage = Stage::new(limits());
        let mut client = stage.connect().await;
        client.write_all(b"POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nsome").await.expect("written");
        while stage.gate.0.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        drop(client);
        while stage.room.taken() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn a_unix_socket_serves_and_knows_its_peer() {
    local(async {
        let stage = Stage::at("unix:DIRECTORY/p.sock", limits());
        let Local::Unix(path) = &stage.local else { panic!("a path") };
        let mut client = UnixStream::connect(path).await.expect("it listens");
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.expect("written");
        assert!(rest(&mut client).await.starts_with("HTTP/1.1 200"));
        let uid = rustix::process::getuid().as_raw();
        let came = stage.gate.0.borrow();
        assert!(matches!(came[0].peer, Peer::Unix { uid: found, .. } if found == uid), "{came:?}");
    });
}

#[test]
fn closing_ends_what_draining_would_wait_for() {
    local(async {
        let stage = Stage::new(limits());
        let mut client = stage.connect().await;
        client.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("written");
        while stage.gate.0.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        stage.shutdown.begin();
        stage.shutdown.close();
        assert_eq!(rest(&mut client).await, "");
    });
}

#[test]
fn a_stream_that_outlasts_the_farewell_is_answered_to_its_end() {
    local(async {
        let stage = Stage::new(limits());
        let (sender, mut connection) = ::h2::client::handshake(stage.connect().await).await.expect("HTTP/2");
        let mut sender = sender.ready().await.expect("room");
        let request = http::Request::post("http://a/").body(()).expect("a request");
        let (response, mut body) = sender.send_request(request, false).expect("sent");
        body.send_data("half ".into(), false).expect("sent");
        let mut pong = connection.ping_pong().expect("it is ours");
        tokio::task::spawn_local(async move { drop(connection.await) });
        // It has the request now.
        pong.ping(::h2::Ping::opaque()).await.expect("an answer");
        stage.shutdown.begin();
        // So long that nothing else would be waited for.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        body.send_data("whole".into(), true).expect("sent");
        let mut body = response.await.expect("a response").into_body();
        let mut all = Vec::new();
        while let Some(piece) = body.data().await {
            all.extend_from_slice(&piece.expect("a piece"));
        }
        assert_eq!(String::from_utf8_lossy(&all), "HTTP/2.0 half whole");
    });
}

#[test]
fn an_answer_to_head_is_its_head() {
    local(async {
        let stage = Stage::new(limits());
        let (sender, connection) = ::h2::client::handshake(stage.connect().await).await.expect("HTTP/2");
        tokio::task::spawn_local(async move { drop(connection.await) });
        let mut sender = sender.ready().await.expect("room");
        let request = http::Request::head("http://a/").body(()).expect("a request");
        let (response, _) = sender.send_request(request, true).expect("sent");
        let (head, mut body) = response.await.expect("a response").into_parts();
        // What a GET would be answered with has a length.
        assert_eq!((head.status.as_u16(), &head.headers["content-length"]), (200, &"9".parse().expect("text")));
        assert!(body.data().await.is_none(), "RFC 9110 §9.3.2");
    });
}

#[test]
fn one_task_serves_one_connection_after_another() {
    local(async {
        let stage = Stage::new(limits());
        let mut tasks = Vec::new();
        for _ in 0..10 {
            let mut stream = stage.connect().await;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("written");
            assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
            tasks.push(tokio::runtime::Handle::current().metrics().num_alive_tasks());
        }
        assert!(tasks.iter().all(|count| *count == tasks[0]), "{tasks:?}");
        assert_eq!(stage.room.taken(), 0);
        let mut open = stage.connect().await;
        open.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
        while stage.gate.0.borrow().len() < 11 {
            tokio::task::yield_now().await;
        }
        let other = stage.connect().await;
        until_taken(&stage.room, 2).await;
        drop(other);
        until_taken(&stage.room, 1).await;
        stage.shutdown.close();
        assert_eq!(stage.serving.await.expect("no panic"), 1, "a task that waits for a connection is none");
    });
}

/// A thousand clients that wait hold a thousand of these.
#[test]
fn a_connection_that_rests_is_small() {
    type Service = fn(Request, Rc<Connection>) -> std::future::Ready<Response<reply::Body>>;
    fn size<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }
    let size = size(serve_connections::<Open, Service, _, _>);
    assert!(size <= 500, "{size} bytes");
}
