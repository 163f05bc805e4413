//! Whatever breaks off, and wherever: what arrived is how it began, and whoever waits for the rest is told that it does
//! not come. Bytes lost or invented: none.
//!
//! Each case is decided by its number, so that a case that fails can be played again. `COGNITO_PROXY_LONG=1` plays
//! 10,000 of each kind.

mod downloads;
mod uploads;

/// How many cases of a kind, where `short` is enough for every day.
fn cases(short: u64) -> u64 {
    if std::env::var_os("COGNITO_PROXY_LONG").is_some() { 10_000 } else { short }
}

/// How many are under way at a time.
const AT_ONCE: usize = 16;

/// A message that is cut off.
#[derive(Clone, Debug)]
struct Case {
    number: u64,
    framing: Framing,
    content: Vec<u8>,
    /// The head, as it is written.
    head: Vec<u8>,
    /// The body, as it is written.
    body: Vec<u8>,
    /// How many bytes of head and body are written; all of them, now and then.
    cut: usize,
    /// Whether a reset follows, and not an end.
    is_reset: bool,
    client: Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Counted,
    Chunked,
    /// Up to the end of the connection.
    ToTheEnd,
}

/// What the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    Http11,
    Http10,
    H2c,
}

impl Case {
    /// A message that begins with `start`.
    fn new(number: u64, start: &str, framings: &[Framing], clients: &[Client]) -> Self {
        let mut random = fastrand::Rng::with_seed(number);
        let framing = framings[random.usize(..framings.len())];
        let client = clients[random.usize(..clients.len())];
        let longest = [10, 1_000, 20_000, 150_000][random.usize(..4)];
        let mut content = vec![0; random.usize(..=longest)];
        random.fill(&mut content);
        let (field, body) = match framing {
            Framing::Counted => (format!("Content-Length: {}\r\n", content.len()), content.clone()),
            Framing::Chunked => ("Transfer-Encoding: chunked\r\n".to_owned(), chunked(&content, &mut random)),
            Framing::ToTheEnd => (String::new(), content.clone()),
        };
        let head = format!("{start}X-Filler: {}\r\n{field}\r\n", "f".repeat(random.usize(..200))).into_bytes();
        let whole = head.len() + body.len();
        let cut = match random.u8(..10) {
            0 => whole,
            1 => random.usize(..head.len()),
            // What is easily taken for whole: a few bytes are missing.
            2 | 3 => whole.saturating_sub(random.usize(1..8)),
            _ => head.len() + random.usize(..=body.len()),
        };
        Self { number, framing, content, head, body, cut, is_reset: random.bool(), client }
    }

    fn is_whole(&self) -> bool {
        self.cut == self.head.len() + self.body.len()
    }

    /// What is written.
    fn written(&self) -> Vec<u8> {
        let mut bytes = [self.head.as_slice(), &self.body].concat();
        bytes.truncate(self.cut);
        bytes
    }

    /// Of the content, what is written.
    fn content_written(&self) -> Vec<u8> {
        let body = &self.body[..self.cut.saturating_sub(self.head.len())];
        if self.framing == Framing::Chunked { dechunked(body) } else { body.to_vec() }
    }
}

fn chunked(mut content: &[u8], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut body = Vec::new();
    while !content.is_empty() {
        let (chunk, rest) = content.split_at(random.usize(1..=content.len().min(9_000)));
        body.extend([format!("{:X}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        content = rest;
    }
    body.extend(b"0\r\n\r\n");
    body
}

/// The content of chunks that may break off anywhere.
fn dechunked(mut body: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let digits = std::str::from_utf8(&body[..end]).expect("a size");
        let size = usize::from_str_radix(digits, 16).expect("a size");
        let chunk = &body[end + 2..];
        content.extend(&chunk[..size.min(chunk.len())]);
        body = chunk.get(size + 2..).unwrap_or_default();
    }
    content
}

#[test]
fn chunks_come_apart_as_they_were_put_together_wherever_they_end() {
    let content: Vec<u8> = (0..=255).cycle().take(30_000).collect();
    let body = chunked(&content, &mut fastrand::Rng::with_seed(1));
    assert_eq!(dechunked(&body), content);
    for cut in 0..body.len() {
        assert!(content.starts_with(&dechunked(&body[..cut])), "{cut}");
    }
}
