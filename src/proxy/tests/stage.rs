//! A proxy on real sockets before a scripted upstream.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    net::SocketAddr,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use http::HeaderName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

use crate::{
    clock::{Clock, ManualClock, UnixTime},
    current::{self, CurrentToken, Nudge, Publisher},
    listen::{self, Connection, Owner, Passed},
    message::{Fields, RequestHead},
    metrics::Metrics,
    proxy::{
        ClientValue, Cookies, Format, HttpVersion, Inject, Plan, Proxy, Route, Routing, Settings, Upstream, pseudonym,
    },
    reply::{Code, Refusal},
    secret::Secret,
    server::{self, Denied, Gate, Room, Server, Shutdown},
    session::{
        TokenKind,
        schedule::Deadline,
        snapshot::{Gate as SessionGate, Injectable, Snapshot},
        status::Facts,
    },
};

/// Runs `test` as a worker runs.
pub(super) fn local<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test ends") })
}

/// Lets everybody in but `Host: evil.example`.
#[derive(Debug)]
pub(super) struct Open;

impl Gate for Open {
    type Peer = ();
    type Grant = ();

    fn peer(&self, _: &Connection) {}

    fn check(&self, head: &RequestHead, _: &Connection, (): &()) -> Result<(), Box<Denied<()>>> {
        if head.fields.get("host").is_some_and(|host| host == b"evil.example") {
            let refusal = Refusal::new(Code::HostNotAllowed, "the Host is not ours", "guard.hosts");
            return Err(Box::new(Denied::Refused { refusal, grant: None }));
        }
        Ok(())
    }

    fn decorate(&self, (): &(), fields: &mut Fields) {
        fields.insert(HeaderName::from_static("x-decorated"), http::HeaderValue::from_static("yes"));
    }
}

/// A proxy that serves.
pub(super) struct Stage {
    pub(super) address: SocketAddr,
    pub(super) shutdown: Shutdown,
    pub(super) publisher: Publisher,
    pub(super) current: CurrentToken,
    pub(super) nudges: mpsc::Receiver<Nudge>,
    pub(super) metrics: Metrics,
    pub(super) routing: Arc<Routing>,
    pub(super) serving: JoinHandle<usize>,
    pub(super) clock: ManualClock,
    _directory: tempfile::TempDir,
}

pub(in crate::proxy) fn upstream(url: &str) -> Upstream {
    Upstream {
        url: url.parse().expect("an address"),
        http: HttpVersion::Auto,
        preserve_host: false,
        forwarded: false,
        ca_file: None::<PathBuf>,
        client_certificate: None,
        connect_timeout: Duration::from_secs(5),
        response_header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(90),
        max_connections: 256,
        cookies: Cookies::Rewrite,
        rewrite_location: true,
    }
}

/// Everything is dialled directly.
pub(super) fn egress() -> crate::cognito::egress::Egress {
    crate::cognito::egress::Egress::new("", "")
}

pub(super) fn inject() -> Inject {
    Inject {
        token: TokenKind::Id,
        header: http::header::AUTHORIZATION,
        format: Format { prefix: "Bearer ".into(), suffix: String::new() },
        client_value: ClientValue::Replace,
    }
}

pub(in crate::proxy) fn settings(upstream: Upstream) -> Settings {
    Settings {
        routes: Vec::new(),
        default_route: Route { path: "/".into(), upstream, inject: Some(inject()), strip_prefix: false },
        session_header: false,
    }
}

pub(super) fn limits() -> server::Settings {
    server::Settings {
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

/// A session whose ID token is `jwt`.
pub(super) fn signed_in(jwt: &str, generation: u64, clock: &ManualClock) -> Snapshot {
    let now = clock.now();
    let hour = Duration::from_secs(3600);
    let token = Injectable {
        jwt: Secret::from(jwt),
        generation,
        until: Deadline { wall: now.wall + hour, boot: now.boot + hour },
        min_ttl: Duration::from_secs(60),
    };
    Snapshot { id_token: Some(token), gate: SessionGate::Open, ..signed_out() }
}

pub(super) fn signed_out() -> Snapshot {
    Snapshot {
        id_token: None,
        access_token: None,
        gate: SessionGate::SignedOut { detail: "nobody has signed in".into() },
        facts: Facts::signed_out(None),
        idle: None,
        login: "cognito-proxy login".into(),
    }
}

impl Stage {
    /// Before `url`, with everything at its default.
    pub(super) fn before(url: &str) -> Self {
        Self::with(&settings(upstream(url)), limits())
    }

    pub(super) fn with(settings: &Settings, limits: server::Settings) -> Self {
        let plan = Plan::new(settings, limits.body_idle_timeout, &egress()).expect("a plan");
        Self::following(plan, limits)
    }

    pub(super) fn following(plan: Plan, limits: server::Settings) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listening = listen::Settings {
            proxy: vec!["127.0.0.1:0".parse().expect("an address")],
            proxy_is_default: false,
            admin: None,
            admin_is_default: false,
            allow_remote: false,
        };
        let owner = Owner { runtime_dir: directory.path(), profile: "test" };
        let mut bound = listen::bind(&listening, owner, Passed::none()).expect("a port");
        let listeners = bound.proxy[0].listeners(1).expect("a listener");
        let listeners = listeners.into_iter().map(|listener| listener.start().expect("a runtime")).collect();
        let listen::Local::Tcp(address) = *bound.proxy[0].local() else { panic!("TCP was asked for") };
        let clock = ManualClock::at(UnixTime::from_secs(1_700_000_000));
        let waits = current::Settings { wait: Duration::from_secs(5), hold: Duration::ZERO, max_held: 10 };
        let (publisher, current, nudges) =
            current::cell(signed_in("eyJ.first", 1, &clock), waits, Arc::new(clock.clone()));
        let metrics = Metrics::default();
        let figures = metrics.shard();
        let routing = Routing::new(plan);
        let proxy = Proxy::new(Arc::clone(&routing), current.clone(), Arc::clone(&figures), pseudonym());
        let (shutdown, drain) = server::shutdown();
        let server = Server {
            gate: Rc::new(Open),
            service: Rc::new(move |request, connection| Rc::clone(&proxy).handle(request, connection)),
            settings: Arc::new(ArcSwap::from_pointee(limits)),
            room: Room::default(),
            figures,
            drain,
        };
        let serving = tokio::task::spawn_local(server.serve(listeners));
        Self { address, shutdown, publisher, current, nudges, metrics, routing, serving, clock, _directory: directory }
    }

    /// A new connection to the proxy.
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    /// Sends `request` on a new connection and reads until the proxy closes it.
    pub(super) async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("written");
        rest(&mut stream).await
    }

    /// A line of `/metrics`.
    pub(super) fn figure(&self, name: &str) -> String {
        let document = self.metrics.encode(&self.current.snapshot().facts, 0).expect("text");
        let line = document.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
        line.unwrap_or_else(|| panic!("{name} is missing from\n{document}"))
    }
}

/// All that still comes.
pub(super) async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too; what came before it counts.
    drop(stream.read_to_end(&mut bytes).await);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One message from `stream`: its head, and its body as far as `Content-Length` or chunks say. `None` at the end.
pub(super) async fn message(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    let head = loop {
        if let Some(end) = text.find("\r\n\r\n") {
            break end + 4;
        }
        more(stream, &mut text).await?;
    };
    let lower = text[..head].to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    if lower.contains("transfer-encoding: chunked") {
        while !text[head..].ends_with("0\r\n\r\n") && !text[head..].contains("\r\n0\r\n") {
            more(stream, &mut text).await?;
        }
    } else if let Some(length) = length {
        while text.len() < head + length {
            more(stream, &mut text).await?;
        }
    }
    Some(text)
}

async fn more(stream: &mut TcpStream, text: &mut String) -> Option<()> {
    let mut bytes = Vec::with_capacity(16 * 1024);
    stream.read_buf(&mut bytes).await.ok().filter(|length| *length > 0)?;
    text.push_str(&String::from_utf8_lossy(&bytes));
    Some(())
}

/// An upstream that does what a script says.
pub(super) struct Backend {
    pub(super) url: String,
    /// What it was sent, message by message.
    pub(super) seen: Rc<RefCell<Vec<String>>>,
    /// How many connections it has accepted.
    pub(super) connections: Rc<Cell<usize>>,
}

impl Backend {
    /// Runs `script` on each connection, with its number from 0.
    pub(super) async fn scripted<S, F>(script: S) -> Self
    where
        S: Fn(TcpStream, usize, Rc<RefCell<Vec<String>>>) -> F + 'static,
        F: Future<Output = ()> + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let seen = Rc::new(RefCell::new(Vec::new()));
        let connections = Rc::new(Cell::new(0));
        let (log, count) = (Rc::clone(&seen), Rc::clone(&connections));
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = count.get();
                count.set(number + 1);
                tokio::task::spawn_local(script(stream, number, Rc::clone(&log)));
            }
        });
        Self { url, seen, connections }
    }

    /// Answers every request with `reply`, and keeps connections open.
    pub(super) async fn replying(reply: &'static str) -> Self {
        Self::scripted(move |mut stream, _, seen| async move {
            while let Some(request) = message(&mut stream).await {
                seen.borrow_mut().push(request);
                if stream.write_all(reply.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    /// The one request that came.
    pub(super) fn only(&self) -> String {
        let seen = self.seen.borrow();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }
}

/// The value of a header in a raw message.
pub(super) fn header<'a>(message: &'a str, name: &str) -> Vec<&'a str> {
    let head = message.split("\r\n\r\n").next().unwrap_or_default();
    let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name.as_str()))
        .map(|(_, value)| value.trim())
        .collect()
}
