//! HTTP/1.1 to the byte: an upstream that does what a script says and keeps what it was sent, a client that tells an end
//! from a break, and messages read as strictly as RFC 9112 has them written, so that nothing sloppy passes for right.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use super::wait::{self, BOUND};

/// What a message is, which decides how long it is (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Request,
    Response,
    /// A response to HEAD.
    ToHead,
}

/// One message. Names are in lower case, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
}

impl Message {
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| latin(value)).collect()
    }

    pub(crate) fn status(&self) -> u16 {
        self.start.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{self:?}"))
    }

    /// As text to compare: fields sorted by name, what differs from run to run masked, and bytes as Latin-1.
    pub(crate) fn shown(&self, upstream: &str) -> String {
        let lines = |fields: &[(String, Vec<u8>)]| {
            let mut lines: Vec<_> = fields.iter().map(|(name, value)| (name, masked(name, value, upstream))).collect();
            lines.sort_by_key(|(name, _)| *name);
            lines.into_iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>()
        };
        let trailers = lines(&self.trailers);
        format!("{}\n{}\n{}{}{trailers}", self.start, lines(&self.fields), latin(&self.body), separator(&trailers))
    }
}

fn separator(trailers: &str) -> &'static str {
    if trailers.is_empty() { "" } else { "\n" }
}

/// Byte by byte, so that nothing is lost.
pub(crate) fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn masked(name: &str, value: &[u8], upstream: &str) -> String {
    let text = latin(value);
    match name {
        "authorization" if text.starts_with("Bearer eyJ") => "Bearer TOKEN".into(),
        "host" if text == upstream => "UPSTREAM".into(),
        "via" => match text.split_once("cognito-proxy-") {
            Some((before, after)) => format!("{before}PROXY{}", after.get(16..).unwrap_or("?")),
            None => text,
        },
        _ => text,
    }
}

/// The first message in `bytes` and how long it is, or None where more must come. `is_over`: nothing more will.
pub(crate) fn parse(bytes: &[u8], role: Role, is_over: bool) -> Result<Option<(Message, usize)>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let mut lines = lines(&bytes[..end])?.into_iter();
    let start = latin(lines.next().ok_or("no start line")?);
    let mut message = Message { start, fields: lines.map(field).collect::<Result<_, _>>()?, ..Message::default() };
    let body = end + 4;
    let (codings, lengths) = (message.values("transfer-encoding"), message.values("content-length"));
    let has_none =
        role == Role::ToHead || (role == Role::Response && matches!(message.status(), 100..=199 | 204 | 304));
    match (codings.as_slice(), lengths.as_slice()) {
        _ if has_none => Ok(Some((message, body))),
        ([coding], []) if coding == "chunked" => {
            let Some((content, trailers, length)) = chunked(&bytes[body..])? else { return Ok(None) };
            (message.body, message.trailers) = (content, trailers);
            Ok(Some((message, body + length)))
        }
        ([], [length]) => {
            let length: usize = length.parse().map_err(|_| format!("length {length:?}"))?;
            let Some(content) = bytes.get(body..body + length) else { return Ok(None) };
            message.body = content.to_vec();
            Ok(Some((message, body + length)))
        }
        ([], []) if role == Role::Request => Ok(Some((message, body))),
        ([], []) if is_over => {
            message.body = bytes[body..].to_vec();
            Ok(Some((message, bytes.len())))
        }
        ([], []) => Ok(None),
        framing => Err(format!("framing {framing:?}")),
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// Lines that end in CRLF and hold neither half of it.
fn lines(mut bytes: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut lines = Vec::new();
    while let Some(end) = find(bytes, b"\r\n") {
        lines.push(&bytes[..end]);
        bytes = &bytes[end + 2..];
    }
    lines.push(bytes);
    match lines.iter().find(|line| line.iter().any(|byte| b"\r\n\0".contains(byte))) {
        Some(line) => Err(format!("a bare line end in {:?}", latin(line))),
        None => Ok(lines),
    }
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), String> {
    let wrong = || format!("field line {:?}", latin(line));
    let colon = line.iter().position(|byte| *byte == b':').ok_or_else(wrong)?;
    let (name, value) = (&line[..colon], line[colon + 1..].strip_prefix(b" ").ok_or_else(wrong)?);
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(is_token) || value.trim_ascii() != value {
        return Err(wrong());
    }
    Ok((latin(name).to_ascii_lowercase(), value.to_vec()))
}

type Chunked = (Vec<u8>, Vec<(String, Vec<u8>)>, usize);

/// Content, trailers and length of a chunked body without chunk extensions.
fn chunked(bytes: &[u8]) -> Result<Option<Chunked>, String> {
    let (mut content, mut at) = (Vec::new(), 0);
    loop {
        let Some(length) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let digits = latin(&bytes[at..at + length]);
        let size = usize::from_str_radix(&digits, 16).map_err(|_| format!("chunk size {digits:?}"))?;
        at += length + 2;
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk that does not end with its line end".into());
        }
        content.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
    if bytes[at..].starts_with(b"\r\n") {
        return Ok(Some((content, Vec::new(), at + 2)));
    }
    let Some(end) = find(&bytes[at..], b"\r\n\r\n") else { return Ok(None) };
    let trailers = lines(&bytes[at..at + end])?.into_iter().map(field).collect::<Result<_, _>>()?;
    Ok(Some((content, trailers, at + end + 4)))
}

/// A client that writes what it likes.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// What came and is not read yet.
    pub(crate) received: Vec<u8>,
}

/// A response that did not come to its end.
#[derive(Debug)]
pub(crate) struct Cut {
    /// All that came of it.
    pub(crate) received: Vec<u8>,
    /// Whether the connection was reset, not closed.
    pub(crate) is_reset: bool,
}

impl Client {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_nodelay(true).expect("a socket option");
        Self { stream, received: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("the peer reads");
    }

    /// The next message, or what there is of it at the connection's end.
    pub(crate) async fn receive(&mut self, role: Role) -> Result<Message, Cut> {
        wait::bounded("a message or an end", self.message(role)).await
    }

    async fn message(&mut self, role: Role) -> Result<Message, Cut> {
        let mut end = None;
        loop {
            let parsed = parse(&self.received, role, end == Some(false)).unwrap_or_else(|wrong| {
                panic!("{wrong} in {:?}", latin(&self.received));
            });
            if let Some((message, length)) = parsed {
                self.received.drain(..length);
                return Ok(message);
            }
            if let Some(is_reset) = end {
                return Err(Cut { received: std::mem::take(&mut self.received), is_reset });
            }
            end = match self.stream.read_buf(&mut self.received).await {
                Ok(0) => Some(false),
                Ok(_) => None,
                Err(_) => Some(true),
            };
        }
    }

    /// What still comes before the connection ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.received);
        let _ = timeout(BOUND, self.stream.read_to_end(&mut rest)).await.expect("an end within the bound");
        rest
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        reset(self.stream);
    }
}

/// Closes with a reset instead of an end.
pub(crate) fn reset(stream: TcpStream) {
    let stream = stream.into_std().expect("a socket");
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket option");
    drop(stream);
}

/// What an upstream does once a request's head has come.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Reads to the end of the request.
    Whole,
    /// Writes these bytes.
    Say(Vec<u8>),
    /// Reads and keeps whatever comes, until the connection ends.
    Drain,
    /// Writes these bytes and ends the connection in the same breath, so that nobody sees the one without the other.
    SayLast(Vec<u8>),
    /// Ends the connection.
    Close,
    /// Ends it with a reset.
    Reset,
}

/// What an upstream has seen of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) bytes: Vec<u8>,
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
    /// Whether the connection is over.
    pub(crate) is_over: bool,
}

impl Seen {
    /// The request, if all of it has come.
    pub(crate) fn message(&self) -> Option<Message> {
        let parsed = parse(&self.bytes, Role::Request, self.is_over);
        parsed.unwrap_or_else(|wrong| panic!("{wrong} in {:?}", latin(&self.bytes))).map(|(message, _)| message)
    }
}

type Script = Arc<dyn Fn(&[u8]) -> Vec<Step> + Send + Sync>;

struct Shared {
    script: Mutex<Script>,
    seen: watch::Sender<Vec<Seen>>,
}

/// An upstream on a port of its own.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Does for each request what `script` makes of its head.
    pub(crate) async fn doing(script: impl Fn(&[u8]) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared { script: Mutex::new(Arc::new(script)), seen: watch::Sender::default() });
        let for_connections = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                stream.set_nodelay(true).expect("a socket option");
                connections.spawn(serve(stream, number, Arc::clone(&for_connections)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, shared, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on does this.
    pub(crate) fn does(&self, steps: &[Step]) {
        let steps = steps.to_vec();
        *self.shared.script.lock().expect("no panic") = Arc::new(move |_| steps.clone());
    }

    /// What it has seen since this was last asked.
    pub(crate) fn take(&self) -> Vec<Seen> {
        self.shared.seen.send_replace(Vec::new())
    }

    /// Waits until what it has seen is like that.
    pub(crate) async fn sees(&self, what: &str, is_met: impl FnMut(&Vec<Seen>) -> bool) {
        let mut seen = self.shared.seen.subscribe();
        drop(wait::bounded(what, seen.wait_for(is_met)).await.expect("it runs"));
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The same entry of the log while a request comes, found again by its number on its connection.
struct Entry<'a> {
    shared: &'a Shared,
    connection: usize,
}

impl Entry<'_> {
    fn begin(&self, bytes: &[u8]) {
        let seen = Seen { bytes: bytes.to_vec(), connection: self.connection, is_over: false };
        self.shared.seen.send_modify(|all| all.push(seen));
    }

    fn update(&self, change: impl FnOnce(&mut Seen)) {
        self.shared.seen.send_if_modified(|all| {
            all.iter_mut().rev().find(|seen| seen.connection == self.connection).map(change).is_some()
        });
    }
}

async fn serve(mut stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    let entry = Entry { shared: &shared, connection };
    let mut pending = Vec::new();
    let is_reset = requests(&mut stream, &entry, &mut pending).await.unwrap_or(false);
    if !pending.is_empty() {
        entry.begin(&pending);
    }
    entry.update(|seen| seen.is_over = true);
    if is_reset {
        reset(stream);
    }
}

/// Request after request, until the connection ends; whether it is to be reset. None where the other side ended it.
async fn requests(stream: &mut TcpStream, entry: &Entry<'_>, pending: &mut Vec<u8>) -> Option<bool> {
    loop {
        let end = loop {
            if let Some(end) = find(pending, b"\r\n\r\n") {
                break end + 4;
            }
            stream.read_buf(pending).await.ok().filter(|length| *length > 0)?;
        };
        let script = Arc::clone(&entry.shared.script.lock().expect("no panic"));
        let mut request = std::mem::take(pending);
        entry.begin(&request);
        for step in script(&request[..end]) {
            match step {
                Step::Whole => loop {
                    // What is malformed is never whole; whoever looks at the log is told.
                    if let Ok(Some((_, length))) = parse(&request, Role::Request, false) {
                        *pending = request.split_off(length);
                        entry.update(|seen| seen.bytes.clone_from(&request));
                        break;
                    }
                    stream.read_buf(&mut request).await.ok().filter(|length| *length > 0)?;
                    entry.update(|seen| seen.bytes.clone_from(&request));
                },
                Step::Say(bytes) => stream.write_all(&bytes).await.ok()?,
                Step::Drain => loop {
                    stream.read_buf(&mut request).await.ok().filter(|length| *length > 0)?;
                    entry.update(|seen| seen.bytes.clone_from(&request));
                },
                Step::SayLast(bytes) => {
                    // Corked, the last bytes wait for the end and go out with it (tcp(7)).
                    socket2::SockRef::from(&*stream).set_tcp_cork(true).expect("a socket option");
                    stream.write_all(&bytes).await.ok()?;
                    return Some(false);
                }
                Step::Close => return Some(false),
                Step::Reset => return Some(true),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_written_as_it_must_be_is_no_message() {
        for wrong in [
            "GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n",
            "GET / HTTP/1.1\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\nA:b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n",
        ] {
            assert!(parse(wrong.as_bytes(), Role::Request, true).is_err(), "{wrong:?}");
        }
        let half = "GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab";
        assert_eq!(parse(half.as_bytes(), Role::Request, true), Ok(None));
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\nT: v\r\n\r\nmore";
        let (message, length) = parse(chunks.as_bytes(), Role::Response, false).expect("sound").expect("whole");
        assert_eq!(message.shown(""), "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\nabc\nt: v\n");
        assert_eq!(&chunks[length..], "more");
    }

    #[tokio::test]
    async fn an_upstream_keeps_every_byte_and_tells_halves_from_wholes() {
        let upstream = Upstream::doing(|_| vec![Step::Whole, Step::Say(b"HTTP/1.1 204 No\r\n\r\n".to_vec())]).await;
        let mut client = Client::to(upstream.address).await;
        client
            .send("POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nh")
            .await;
        assert_eq!(client.receive(Role::Response).await.expect("whole").status(), 204);
        drop(client);
        upstream.sees("the end", |all| all.last().is_some_and(|seen| seen.is_over)).await;
        let seen = upstream.take();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].message().expect("whole").body, b"hi");
        assert_eq!(seen[1].message(), None);
    }
}
