//! How long a first byte takes through the proxy, beside how long it takes without. A figure, since machines differ: it
//! is printed, and decides nothing. What is decided is that a chunk passes on although nothing follows it.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::Instant,
};

use crate::support::{
    raw::{Client, Role, Step, Upstream},
    stage::Stage,
    wait,
};

const ROUNDS: usize = 400;
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() / 2]
}

#[tokio::test]
async fn to_a_responses_first_byte() {
    let upstream = Upstream::doing(|_| vec![Step::Whole, Step::Say(OK.into())]).await;
    let stage = Stage::new().await;
    let proxy = stage.serve_before(&upstream.url(), "runtime.workers = 1").await;
    let mut direct = (Client::to(upstream.address).await, Vec::new());
    let mut through = (Client::to(proxy.address()).await, Vec::new());
    // One after the other, so that whatever else the machine does is the same for both.
    for _ in 0..ROUNDS {
        for (client, took) in [&mut direct, &mut through] {
            let began = Instant::now();
            client.send("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            let response = client.receive(Role::Response).await.expect("a response");
            took.push(began.elapsed());
            assert_eq!(response.body, b"hi");
            upstream.take();
        }
    }
    let (direct, through) = (median(direct.1), median(through.1));
    println!(
        "first byte: {direct:?} direct, {through:?} through the proxy, {:?} added",
        through.saturating_sub(direct)
    );
}

/// An event stream that says something when it is told to, and when it did.
struct Events {
    address: SocketAddr,
    say: mpsc::UnboundedSender<()>,
    said: mpsc::UnboundedReceiver<Instant>,
    task: JoinHandle<()>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Events {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("bound");
        let (say, mut told) = mpsc::unbounded_channel();
        let (tell, said) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            stream.set_nodelay(true).expect("a socket option");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.expect("a request");
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).await.expect("a reader");
            while told.recv().await.is_some() {
                tell.send(Instant::now()).expect("a listener");
                stream.write_all(b"9\r\ndata: x\n\n\r\n").await.expect("a reader");
            }
        });
        Self { address, say, said, task }
    }

    /// How long it takes from one to the other, in the middle.
    async fn measured(mut self, proxy: Option<SocketAddr>) -> Duration {
        let mut stream = TcpStream::connect(proxy.unwrap_or(self.address)).await.expect("it listens");
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("it reads");
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let mut received = Vec::new();
            self.say.send(()).expect("it runs");
            let chunk = async {
                while !received.ends_with(b"data: x\n\n\r\n") {
                    assert_ne!(stream.read_buf(&mut received).await.expect("open"), 0);
                }
            };
            wait::bounded("an event that nothing follows", chunk).await;
            took.push(Instant::now() - self.said.recv().await.expect("said"));
        }
        median(took)
    }
}

#[tokio::test]
async fn to_an_event_that_nothing_follows() {
    let direct = Events::start().await.measured(None).await;
    let events = Events::start().await;
    let stage = Stage::new().await;
    let proxy = stage.serve_before(&format!("http://{}", events.address), "").await;
    let through = events.measured(Some(proxy.address())).await;
    println!("an event: {direct:?} direct, {through:?} through the proxy, {:?} added", through.saturating_sub(direct));
}
