//! One request from its head to its answer: recorded, read, answered as it was told.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::digest;
use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, UPGRADE},
};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::TcpStream,
    sync::{broadcast, watch},
};

use super::{
    bearer::Checker,
    behaviour::Behaviour,
    log::{BodyEnd, EchoLog, EchoRequest},
    reply,
};
use crate::devpool::{
    listener::ResetSwitch,
    random,
    shared::Shared,
    tasks::Tasks,
    wire::{Body, full},
};

/// Long ID tokens are part of what is tested, and hyper's default for HTTP/2 is 16 KiB for all headers.
const MAX_HEADERS: u32 = 1 << 20;
/// Room for uploads at full speed over loopback.
const WINDOW: u32 = 1 << 20;
/// Events that a slow reader of `/events` may be behind.
const EVENTS: usize = 256;

/// What the handle and the connections share. Its locks are never held across an await.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) log: watch::Sender<EchoLog>,
    /// How many hold the replies back.
    pub(super) gate: watch::Sender<usize>,
    /// How many connections are open.
    pub(super) connections: watch::Sender<usize>,
    /// What `/events` streams send.
    pub(super) events: broadcast::Sender<String>,
    commands: Mutex<Commands>,
    checker: Checker,
    tasks: Tasks,
    accepted: AtomicU64,
}

/// What was commanded.
#[derive(Debug, Default)]
pub(super) struct Commands {
    pub(super) next: VecDeque<Behaviour>,
    pub(super) always: Option<Behaviour>,
    /// The `jti` of tokens that get a 401.
    pub(super) refused: BTreeSet<String>,
    /// The token that came first under [`Behaviour::UntilNewToken`].
    outdated: Option<String>,
}

impl Core {
    pub(super) fn new(remembered: usize, pool: Arc<Shared>, tasks: Tasks) -> Self {
        Self {
            log: watch::Sender::new(EchoLog::new(remembered)),
            gate: watch::Sender::new(0),
            connections: watch::Sender::new(0),
            events: broadcast::Sender::new(EVENTS),
            commands: Mutex::default(),
            checker: Checker::new(pool),
            tasks,
            accepted: AtomicU64::new(0),
        }
    }

    pub(super) fn commands(&self) -> MutexGuard<'_, Commands> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How this request is treated.
    fn behaviour(&self, request: &EchoRequest, asked: Behaviour) -> Behaviour {
        let jti = request.bearer.as_ref().map(|bearer| &bearer.jti);
        let mut commands = self.commands();
        if jti.is_some_and(|jti| commands.refused.contains(jti)) {
            return Behaviour::Status(StatusCode::UNAUTHORIZED);
        }
        let behaviour = commands.next.pop_front().or_else(|| commands.always.clone()).unwrap_or(asked);
        if behaviour != Behaviour::UntilNewToken {
            return behaviour;
        }
        if commands.outdated.is_none() {
            commands.outdated = jti.cloned();
        }
        if jti.is_none() || commands.outdated.as_ref() == jti {
            return Behaviour::Status(StatusCode::UNAUTHORIZED);
        }
        Behaviour::Echo
    }
}

/// Serves one connection, HTTP/1.1 or h2c as its first octets say.
pub(super) async fn connection(core: Arc<Core>, stream: TcpStream, switch: ResetSwitch) {
    let open = Open::count(Arc::clone(&core));
    let number = core.accepted.fetch_add(1, Ordering::Relaxed);
    let switch = Arc::new(switch);
    let mut server = auto::Builder::new(core.tasks.clone());
    server.http1().timer(TokioTimer::new()).max_headers(1000);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * 4);
    let service = service_fn(move |request| answer(Arc::clone(&core), Arc::clone(&switch), number, request));
    if let Err(error) = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::trace!(%error, "connection ended");
    }
    drop(open);
}

/// Counts a connection while it is open.
struct Open(Arc<Core>);

impl Open {
    fn count(core: Arc<Core>) -> Self {
        core.connections.send_modify(|open| *open += 1);
        Self(core)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.send_modify(|open| *open = open.saturating_sub(1));
    }
}

async fn answer(
    core: Arc<Core>,
    switch: Arc<ResetSwitch>,
    connection: u64,
    mut request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let upgrade = upgrade_of(&request).map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
    let (head, body) = request.into_parts();
    let mut seen = record_of(&core, connection, &head);
    let asked = Behaviour::of_path(head.uri.path(), head.uri.query());
    let behaviour = core.behaviour(&seen, asked);
    if matches!(behaviour, Behaviour::Early(_)) {
        seen.body_end = BodyEnd::Ignored;
    }
    let mut number = 0;
    core.log.send_modify(|log| number = log.push(seen.clone()));
    match behaviour {
        Behaviour::Early(status) => {
            until_open(core.gate.subscribe()).await;
            return Ok(reply::status(status));
        }
        Behaviour::Duplex => {
            until_open(core.gate.subscribe()).await;
            return Ok(reply::duplex(given_back(&core, number, body)));
        }
        _ => {}
    }
    let reading = Reading::new(&core, number);
    drain(body, reading, &mut seen).await?;
    until_open(core.gate.subscribe()).await;
    if let Some((protocol, upgraded)) = upgrade {
        core.tasks.spawn(echo_octets(upgraded));
        return Ok(switching(protocol));
    }
    match behaviour {
        Behaviour::Status(status) => Ok(reply::status(status)),
        Behaviour::Delay(delay) => {
            tokio::time::sleep(delay).await;
            Ok(reply::echo(&seen, core.checker.now()))
        }
        Behaviour::Bytes(length) => Ok(reply::download(length, length)),
        Behaviour::Truncated(length) => Ok(reply::download(length, length / 2)),
        Behaviour::Sse { count, interval } => Ok(reply::sse(count, interval)),
        Behaviour::Events => Ok(reply::events(core.events.subscribe())),
        Behaviour::Sink => Ok(reply::received(&seen)),
        Behaviour::Reset => Err(switch.reset()),
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Headers { status, headers } => Ok(reply::with_headers(status, &headers)),
        Behaviour::Echo | Behaviour::Early(_) | Behaviour::Duplex | Behaviour::UntilNewToken => {
            Ok(reply::echo(&seen, core.checker.now()))
        }
    }
}

async fn until_open(mut gate: watch::Receiver<usize>) {
    // A gate that is gone is open.
    drop(gate.wait_for(|holders| *holders == 0).await);
}

fn record_of(core: &Core, connection: u64, head: &http::request::Parts) -> EchoRequest {
    let now = core.checker.now();
    EchoRequest {
        number: 0,
        at: now,
        connection,
        version: head.version,
        method: head.method.clone(),
        target: head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string),
        authority: head.uri.authority().map(ToString::to_string),
        headers: head.headers.clone(),
        bearer: core.checker.bearer(&head.headers, now),
        body_bytes: 0,
        body_sha256: None,
        body_end: BodyEnd::Open,
        trailers: None,
    }
}

/// A body that is being read; one that is given up was broken off.
struct Reading {
    core: Arc<Core>,
    number: u64,
    bytes: u64,
    sha256: digest::Context,
    end: BodyEnd,
}

impl Reading {
    fn new(core: &Arc<Core>, number: u64) -> Self {
        Self {
            core: Arc::clone(core),
            number,
            bytes: 0,
            sha256: digest::Context::new(&digest::SHA256),
            end: BodyEnd::Open,
        }
    }

    fn data(&mut self, data: &Bytes) {
        self.bytes += data.len() as u64;
        self.sha256.update(data);
        let bytes = self.bytes;
        self.record(|request| request.body_bytes = bytes);
    }

    fn trailers(&self, trailers: &HeaderMap) {
        self.record(|request| request.trailers = Some(trailers.clone()));
    }

    /// All of it is there; returns its SHA-256.
    fn complete(&mut self) -> String {
        let sha256 = random::hex(self.sha256.clone().finish().as_ref());
        self.end = BodyEnd::Complete;
        self.record(|request| {
            request.body_end = BodyEnd::Complete;
            request.body_sha256 = Some(sha256.clone());
        });
        sha256
    }

    fn record(&self, change: impl FnOnce(&mut EchoRequest)) {
        self.core.log.send_modify(|log| {
            if let Some(request) = log.of_number(self.number) {
                change(request);
            }
        });
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.end == BodyEnd::Open {
            self.record(|request| request.body_end = BodyEnd::Broken);
        }
    }
}

/// Reads the body to its end.
async fn drain(mut body: Incoming, mut reading: Reading, seen: &mut EchoRequest) -> io::Result<()> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(io::Error::other)?;
        if let Some(data) = frame.data_ref() {
            reading.data(data);
        } else if let Some(trailers) = frame.trailers_ref() {
            reading.trailers(trailers);
        }
    }
    seen.body_bytes = reading.bytes;
    seen.body_sha256 = Some(reading.complete());
    Ok(())
}

/// The same octets as a response body, recorded on their way.
fn given_back(core: &Arc<Core>, number: u64, body: Incoming) -> Body {
    let state = (body, Reading::new(core, number));
    let frames = stream::unfold(state, |(mut body, mut reading)| async move {
        let Some(frame) = body.frame().await else {
            reading.complete();
            return None;
        };
        let frame = frame.map_err(io::Error::other);
        if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
            reading.data(data);
        }
        Some((frame, (body, reading)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// The protocol that a request wants to switch to. h2c is for HTTP/2 by prior knowledge (RFC 9113 §3.1).
fn upgrade_of(request: &Request<Incoming>) -> Option<HeaderValue> {
    let protocol = request.headers().get(UPGRADE)?;
    (request.version() == Version::HTTP_11 && protocol != "h2c").then(|| protocol.clone())
}

fn switching(protocol: HeaderValue) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, protocol);
    response
}

/// Sends back whatever comes, until the other side is done.
async fn echo_octets(upgraded: hyper::upgrade::OnUpgrade) {
    if let Ok(upgraded) = upgraded.await {
        let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
        if let Err(error) = tokio::io::copy(&mut reader, &mut writer).await {
            tracing::trace!(%error, "upgraded connection ended");
        }
        drop(tokio::io::AsyncWriteExt::shutdown(&mut writer).await);
    }
}
