//! Who leaves takes the request along: the upstream sees the end of it at once, whatever is spoken on either side and
//! whichever body is on its way.
//!
//! That it sees it is what is shown, by cause: an upstream that says nothing more ends for no other reason. How long it
//! takes is printed; the goal is 100 ms.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::Instant,
};

use crate::support::{
    h2c::Session,
    raw::{Client, latin},
    stage::Stage,
    wait,
};

/// How often each is tried.
const ROUNDS: usize = 9;

/// What is on its way when the client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// The whole request has arrived, and nothing is answered.
    Waiting,
    /// The request's body is coming.
    Upload,
    /// The response's body is coming.
    Download,
}

impl When {
    const ALL: [Self; 3] = [Self::Waiting, Self::Upload, Self::Download];

    fn of(path: &str) -> Self {
        *Self::ALL.iter().find(|when| path == when.path()).expect("one of them")
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Waiting => "/waiting",
            Self::Upload => "/upload",
            Self::Download => "/download",
        }
    }
}

/// What an upstream tells of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// It has come so far that the client may leave.
    Begun,
    /// It is over.
    Ended(Instant),
}

/// An upstream that ends nothing by itself.
struct Patient {
    url: String,
    told: mpsc::UnboundedReceiver<Told>,
    task: JoinHandle<()>,
}

impl Drop for Patient {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Patient {
    async fn start(is_h2: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (tell, told) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tell = tell.clone();
                if is_h2 {
                    tokio::spawn(serve_h2(stream, tell));
                } else {
                    tokio::spawn(serve_h1(stream, tell));
                }
            }
        });
        Self { url, told, task }
    }
}

async fn serve_h1(mut stream: TcpStream, tell: mpsc::UnboundedSender<Told>) {
    let mut received = Vec::new();
    while !received.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let when = When::of(latin(&received).split(' ').nth(1).expect("a path"));
    if when == When::Download {
        let said = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
        stream.write_all(said.as_bytes()).await.expect("the proxy reads");
    }
    let mut is_begun = false;
    loop {
        if !is_begun && (when != When::Upload || received.ends_with(b"a\r\n")) {
            is_begun = true;
            tell.send(Told::Begun).expect("somebody listens");
        }
        if stream.read_buf(&mut received).await.unwrap_or(0) == 0 {
            break;
        }
    }
    tell.send(Told::Ended(Instant::now())).expect("somebody listens");
}

async fn serve_h2(stream: TcpStream, tell: mpsc::UnboundedSender<Told>) {
    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer_h2(request, respond, tell.clone()));
    }
}

async fn answer_h2(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    tell: mpsc::UnboundedSender<Told>,
) {
    let when = When::of(request.uri().path());
    let mut body = request.into_body();
    match when {
        When::Waiting => {
            tell.send(Told::Begun).expect("somebody listens");
            drop(std::future::poll_fn(|cx| respond.poll_reset(cx)).await);
        }
        When::Upload => {
            body.data().await.expect("some of it").expect("sound");
            tell.send(Told::Begun).expect("somebody listens");
            assert!(!matches!(body.data().await, Some(Ok(_)) | None), "half an upload passes for a whole one");
        }
        When::Download => {
            let mut stream = respond.send_response(Response::new(()), false).expect("a stream");
            stream.send_data("a".into(), false).expect("a stream");
            tell.send(Told::Begun).expect("somebody listens");
            drop(std::future::poll_fn(|cx| stream.poll_reset(cx)).await);
        }
    }
    tell.send(Told::Ended(Instant::now())).expect("somebody listens");
}

/// A client that has sent its request, and read the beginning of the response where there is one.
enum Leaving {
    Http1(Client),
    Http2(Session, h2::client::ResponseFuture, h2::SendStream<Bytes>, Option<h2::RecvStream>),
}

async fn http1(address: SocketAddr, when: When) -> Leaving {
    let mut client = Client::to(address).await;
    let path = when.path();
    client
        .send(match when {
            When::Upload => {
                format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            }
            When::Waiting | When::Download => format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        })
        .await;
    if when == When::Download {
        while !client.received.ends_with(b"\r\na\r\n") {
            assert_ne!(client.stream.read_buf(&mut client.received).await.expect("open"), 0);
        }
    }
    Leaving::Http1(client)
}

async fn http2(address: SocketAddr, when: When) -> Leaving {
    let session = Session::to(address).await;
    let mut sender = session.sender.clone().ready().await.expect("room for a stream");
    let method = if when == When::Upload { "POST" } else { "GET" };
    let request = Request::builder().method(method).uri(format!("http://localhost{}", when.path()));
    let (mut response, mut upload) =
        sender.send_request(request.body(()).expect("a request"), when != When::Upload).expect("a stream");
    let mut download = None;
    match when {
        When::Waiting => {}
        When::Upload => upload.send_data("a".into(), false).expect("a stream"),
        When::Download => {
            let mut body = (&mut response).await.expect("a response").into_body();
            assert_eq!(body.data().await.expect("a chunk").expect("sound"), "a");
            download = Some(body);
        }
    }
    Leaving::Http2(session, response, upload, download)
}

/// Leaves: `as_stream` gives up the stream alone, and keeps the connection for others.
fn leave(client: Leaving, as_stream: bool) -> Option<Session> {
    match client {
        Leaving::Http1(client) => {
            drop(client);
            None
        }
        Leaving::Http2(session, response, mut upload, download) => {
            if as_stream {
                upload.send_reset(h2::Reason::CANCEL);
            }
            drop((response, upload, download));
            as_stream.then_some(session)
        }
    }
}

async fn measured(is_upstream_h2: bool) {
    let mut upstream = Patient::start(is_upstream_h2).await;
    let stage = Stage::new().await;
    // Nothing but the client's leaving may end a request here.
    let more = format!(
        "runtime.workers = 1\nupstream.response_header_timeout = \"10m\"\nlimits.body_idle_timeout = \"10m\"\n\
         upstream.http = \"{}\"",
        if is_upstream_h2 { "h2" } else { "h1" }
    );
    let proxy = stage.serve_before(&upstream.url, &more).await;
    let address = proxy.address();
    let upstream_name = if is_upstream_h2 { "h2" } else { "h1" };
    for (client_name, as_stream) in [("h1", false), ("h2c, its connection", false), ("h2c, its stream", true)] {
        for when in When::ALL {
            let mut took = Vec::new();
            for _ in 0..ROUNDS {
                let client = if client_name == "h1" { http1(address, when).await } else { http2(address, when).await };
                assert_eq!(wait::bounded("a request", upstream.told.recv()).await, Some(Told::Begun));
                let left = Instant::now();
                let session = leave(client, as_stream);
                let told = wait::bounded("the end of a request", upstream.told.recv()).await;
                let Some(Told::Ended(ended)) = told else { panic!("{told:?}") };
                took.push(ended - left);
                drop(session);
            }
            took.sort();
            let (median, worst) = (took[ROUNDS / 2], took[ROUNDS - 1]);
            println!("{client_name} to {upstream_name}, {when:?}: {median:?} median, {worst:?} at worst");
            if median > Duration::from_millis(100) {
                println!("  slower than the goal of 100 ms");
            }
        }
    }
}

#[tokio::test]
async fn an_http_1_upstream_sees_its_client_leave() {
    measured(false).await;
}

#[tokio::test]
async fn an_http_2_upstream_sees_its_client_leave() {
    measured(true).await;
}
