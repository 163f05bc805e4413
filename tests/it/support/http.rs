//! HTTP spoken two ways: byte by byte over one connection, where the bytes are the point, and through hyper, where
//! only the exchange is.

use std::{net::SocketAddr, path::Path};

use bytes::Bytes;
use http::{
    Request, Response,
    header::{CONTENT_TYPE, HOST, TE},
};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use super::wait::BOUND;

/// One HTTP/1.1 connection on which the test writes what it likes.
pub(crate) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A response as it came over the wire: header names as written, in their order.
#[derive(Debug)]
pub(crate) struct RawResponse {
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// After a chunked body (RFC 9112 §7.1.2).
    pub(crate) trailers: Vec<(String, String)>,
}

impl RawResponse {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.fields_named(name).next()
    }

    /// Every value of a header, in order.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.fields_named(name).collect()
    }

    fn fields_named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.text()))
    }
}

impl Connection {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}")))
    }

    pub(crate) async fn to_socket(path: &Path) -> Self {
        Self::over(UnixStream::connect(path).await.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: BufReader::new(Box::new(stream)) }
    }

    /// Writes these bytes as they are.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the peer reads");
        self.stream.flush().await.expect("the peer reads");
    }

    /// Reads one response. Where it answers a HEAD, use [`receive_head`](Self::receive_head).
    pub(crate) async fn receive(&mut self) -> RawResponse {
        let head = self.receive_head().await;
        self.receive_body(head).await
    }

    /// Reads a response's status line and headers alone.
    pub(crate) async fn receive_head(&mut self) -> RawResponse {
        timeout(BOUND, self.head()).await.expect("a response head within the bound")
    }

    /// Reads the rest of a response whose head was read.
    pub(crate) async fn receive_body(&mut self, mut response: RawResponse) -> RawResponse {
        timeout(BOUND, self.body_of(&mut response)).await.expect("a whole body within the bound");
        response
    }

    /// Reads exactly `length` bytes of whatever follows.
    pub(crate) async fn receive_bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        timeout(BOUND, self.stream.read_exact(&mut bytes))
            .await
            .expect("bytes within the bound")
            .expect("that many bytes");
        bytes
    }

    /// Reads one chunk of a body that comes in chunks; None for the last one.
    pub(crate) async fn receive_chunk(&mut self) -> Option<Vec<u8>> {
        timeout(BOUND, self.chunk()).await.expect("a chunk within the bound")
    }

    /// Reads until the peer closes, and returns what came; a reset counts as a close.
    pub(crate) async fn receive_to_close(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = timeout(BOUND, self.stream.read_to_end(&mut rest)).await.expect("a close within the bound");
        rest
    }

    async fn head(&mut self) -> RawResponse {
        let line = self.line().await;
        let (status, reason) = line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| line.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.split_once(' '))
            .unwrap_or_else(|| panic!("no status line: {line:?}"));
        RawResponse {
            status: status.parse().unwrap_or_else(|_| panic!("no status: {line:?}")),
            reason: reason.to_owned(),
            headers: self.fields().await,
            body: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// RFC 9112 §6.3, for responses to requests other than HEAD and CONNECT.
    async fn body_of(&mut self, response: &mut RawResponse) {
        let chunked = response.fields_named("transfer-encoding").any(|coding| coding.eq_ignore_ascii_case("chunked"));
        let length = response.header("content-length").map(|length| length.parse().expect("a length"));
        match (response.status, chunked, length) {
            (100..=199 | 204 | 304, ..) => {}
            (_, true, Some(_)) => panic!("both a length and chunks: {:?}", response.headers),
            (_, true, None) => {
                while let Some(chunk) = self.chunk().await {
                    response.body.extend(chunk);
                }
                response.trailers = self.fields().await;
            }
            (_, false, Some(length)) => response.body = self.receive_bytes(length).await,
            (_, false, None) => response.body = self.receive_to_close().await,
        }
    }

    /// One chunk; None for the last one, after which the trailers follow.
    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line().await;
        let size = line.split(';').next().expect("split yields one");
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or_else(|_| panic!("no chunk size: {line:?}"));
        if size == 0 {
            return None;
        }
        let chunk = self.receive_bytes(size).await;
        assert_eq!(self.line().await, "", "a chunk ends with its own line end");
        Some(chunk)
    }

    async fn fields(&mut self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                return fields;
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header field: {line:?}"));
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    async fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await.expect("the connection lives");
        let line = String::from_utf8_lossy(&line).into_owned();
        line.strip_suffix("\r\n").unwrap_or_else(|| panic!("the connection ended in a line: {line:?}")).to_owned()
    }
}

/// Sends one request over a connection of its own and reads the whole response. `Host` is added where it is missing.
pub(crate) async fn exchange(address: SocketAddr, mut request: Request<Full<Bytes>>) -> Response<Bytes> {
    let host = address.to_string().parse().expect("an address is a header value");
    request.headers_mut().entry(HOST).or_insert(host);
    let stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    let exchange = async move {
        let (head, body) = sender.send_request(request).await.expect("a response").into_parts();
        Response::from_parts(head, body.collect().await.expect("a whole body").to_bytes())
    };
    // The sender is dropped with the exchange, which ends the connection.
    let (response, _) = timeout(BOUND, async { tokio::join!(exchange, connection) }).await.expect("an answer in time");
    response
}

/// POSTs nothing to `path` over HTTP/2 by prior knowledge, as a gRPC client does.
pub(crate) async fn exchange_h2(address: SocketAddr, path: &str, content_type: &str) -> Response<Bytes> {
    let request = Request::post(format!("http://{address}{path}"))
        .header(CONTENT_TYPE, content_type)
        .header(TE, "trailers")
        .body(Full::<Bytes>::default())
        .expect("a request");
    let stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a connection");
    let exchange = async move {
        let (head, body) = sender.send_request(request).await.expect("a response").into_parts();
        Response::from_parts(head, body.collect().await.expect("a whole body").to_bytes())
    };
    let (response, _) = timeout(BOUND, async { tokio::join!(exchange, connection) }).await.expect("an answer in time");
    response
}

/// GETs `path`.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Response<Bytes> {
    exchange(address, Request::get(path).body(Full::default()).expect("a request")).await
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection with `reply` once a request's head has come, and closes.
    async fn answering(reply: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).await.is_ok_and(|length| length > 2) {
                line.clear();
            }
            stream.write_all(reply.as_bytes()).await.expect("the client reads");
        });
        address
    }

    async fn raw(reply: &'static str) -> RawResponse {
        let mut connection = Connection::to(answering(reply).await).await;
        connection.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        connection.receive().await
    }

    #[tokio::test]
    async fn every_framing_of_a_body_is_read() {
        let counted = raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a\r\nset-cookie: b\r\n\r\nhi").await;
        assert_eq!((counted.status, counted.reason.as_str(), counted.text().as_str()), (200, "OK", "hi"));
        assert_eq!(counted.values("set-cookie"), ["a", "b"]);

        let chunked =
            raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;x\r\n!\r\n0\r\nT: v\r\n\r\n").await;
        assert_eq!(chunked.text(), "hi!");
        assert_eq!(chunked.trailers, [("T".to_owned(), "v".to_owned())]);

        assert_eq!(raw("HTTP/1.0 502 Bad Gateway\r\n\r\nto the end").await.text(), "to the end");
        assert_eq!(raw("HTTP/1.1 204 No Content\r\n\r\n").await.body, b"");
    }

    #[tokio::test]
    async fn a_socket_in_the_file_system_is_spoken_to_alike() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        let listener = tokio::net::UnixListener::bind(&path).expect("a listener");
        let answer = async {
            let (mut stream, _) = listener.accept().await.expect("a client");
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n").await.expect("the client reads");
            stream.write_all(b"{\"a\": 1}").await.expect("the client reads");
        };
        let ask = async {
            let mut connection = Connection::to_socket(&path).await;
            let head = connection.receive_head().await;
            assert_eq!(connection.receive_body(head).await.json()["a"], 1);
        };
        tokio::join!(answer, ask);
    }

    #[tokio::test]
    #[should_panic(expected = "that many bytes")]
    async fn a_body_that_is_cut_short_fails_the_test() {
        raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort").await;
    }

    #[tokio::test]
    async fn an_exchange_needs_no_more_than_an_address() {
        let address = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
        let response = get(address, "/status.json").await;
        assert_eq!((response.status().as_u16(), response.into_body().as_ref()), (200, b"{}".as_slice()));
    }
}
