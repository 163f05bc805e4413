//! An upstream that keeps every octet which reaches it, and answers in a way that would open everything to everybody.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What it answers with: CORS headers for the whole world, and credentials that have no business in a response.
const REPLY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\n\
                     Access-Control-Allow-Credentials: false\r\nAccess-Control-Allow-Methods: *\r\n\
                     Access-Control-Expose-Headers: ETag\r\nAuthorization: Bearer leaked\r\n\r\nok";

/// For `/redirect`.
const REDIRECT: &str = "HTTP/1.1 302 Found\r\nLocation: https://evil.example/\r\nContent-Length: 0\r\n\
                        Set-Cookie: sid=1; Domain=.corp.example; Secure; SameSite=None\r\n\r\n";

/// For `/cookie`.
const COOKIE: &str =
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: sid=1; Path=/; Secure; SameSite=None\r\n\r\nok";

/// For a WebSocket.
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// A running upstream.
pub(super) struct Upstream {
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    serving: JoinHandle<()>,
}

/// What reached it.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    pub(super) connections: usize,
    pub(super) octets: usize,
    /// The head of each request, as it came.
    pub(super) heads: Vec<String>,
}

impl Heard {
    /// The values of a header of the latest request, whatever the case of its name.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.heads.last().expect("a request").lines().skip(1);
        let fields = lines.filter_map(|line| line.split_once(':'));
        fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

impl Upstream {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("bound");
        let heard = Arc::new(Mutex::new(Heard::default()));
        let keeping = Arc::clone(&heard);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                keeping.lock().expect("no panic").connections += 1;
                tokio::spawn(serve(stream, Arc::clone(&keeping)));
            }
        });
        Self { address, heard, serving }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn heard(&self) -> Heard {
        self.heard.lock().expect("no panic").clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut stream: TcpStream, record: Arc<Mutex<Heard>>) {
    let (mut pending, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let Ok(length @ 1..) = stream.read(&mut buffer).await else { return };
        record.lock().expect("no panic").octets += length;
        pending.extend_from_slice(&buffer[..length]);
        while let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&pending[..end]).into_owned();
            let body = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            let whole = end + 4 + body.unwrap_or(0usize);
            if pending.len() < whole {
                break;
            }
            pending.drain(..whole);
            let reply = match &head {
                head if head.contains(" /redirect ") => REDIRECT,
                head if head.contains(" /cookie ") => COOKIE,
                head if head.to_ascii_lowercase().contains("upgrade: websocket") => SWITCHING,
                _ => REPLY,
            };
            record.lock().expect("no panic").heads.push(head);
            if stream.write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}
