//! HTTP/2 by prior knowledge, two ways: through the `h2` crate, where the exchange is the point, and frame by frame
//! (RFC 9113 §4), where what is sent is wrong.

use std::net::SocketAddr;

use bytes::{Buf as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response, response::Parts};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use super::wait;

/// A connection that is driven until it is dropped.
pub(crate) struct Session {
    pub(crate) sender: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A response, or what came of it and why it broke off.
pub(crate) type Outcome = Result<Whole, Broken>;

/// A whole response.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) head: Parts,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A response that broke off.
#[derive(Debug)]
pub(crate) struct Broken {
    /// None where not even the head came.
    pub(crate) head: Option<Parts>,
    pub(crate) body: Vec<u8>,
    pub(crate) error: h2::Error,
}

impl Session {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_nodelay(true).expect("a socket option");
        let (sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        Self { sender, driver: tokio::spawn(async move { drop(connection.await) }) }
    }

    /// Sends a request with this body and these trailers, and reads the response to its end.
    pub(crate) async fn ask(&self, request: Request<()>, body: &[u8], trailers: Option<HeaderMap>) -> Outcome {
        wait::bounded("a response", async {
            let mut sender = self.sender.clone().ready().await.expect("room for a stream");
            let is_all = body.is_empty() && trailers.is_none();
            let (response, mut stream) =
                sender.send_request(request, is_all).map_err(|error| Broken { head: None, body: Vec::new(), error })?;
            if !is_all {
                // Small enough for the window; where the other side has reset the stream, the response tells.
                drop(stream.send_data(Bytes::copy_from_slice(body), trailers.is_none()));
                if let Some(trailers) = trailers {
                    drop(stream.send_trailers(trailers));
                }
            }
            whole(response.await.map_err(|error| Broken { head: None, body: Vec::new(), error })?).await
        })
        .await
    }
}

/// Reads a response to its end.
pub(crate) async fn whole(response: Response<h2::RecvStream>) -> Outcome {
    let (head, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        match chunk {
            Ok(chunk) => {
                body.extend_from_slice(&chunk);
                // It fails where the connection is gone, which the next chunk tells.
                drop(stream.flow_control().release_capacity(chunk.len()));
            }
            Err(error) => return Err(Broken { head: Some(head), body, error }),
        }
    }
    match stream.trailers().await {
        Ok(trailers) => Ok(Whole { head, body, trailers }),
        Err(error) => Err(Broken { head: Some(head), body, error }),
    }
}

/// Types of frames (RFC 9113 §6).
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Bytes,
}

/// A frame as it is written.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame's length").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as HPACK writes them without its tables (RFC 7541 §6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A length below 2^7 in one byte, and else in several (RFC 7541 §5.1).
fn integer(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        block.push(u8::try_from(length).expect("below 127"));
        return;
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("below 128") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("below 128"));
}

/// What every connection begins with: the preface and no settings.
pub(crate) fn opening() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(kind::SETTINGS, 0, 0, &[])].concat()
}

/// A connection on which the test writes what it likes.
pub(crate) struct Frames {
    pub(crate) stream: TcpStream,
    received: BytesMut,
}

impl Frames {
    /// With the preface and no settings of its own.
    pub(crate) async fn to(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        stream.set_nodelay(true).expect("a socket option");
        stream.write_all(&opening()).await.expect("the peer reads");
        Self { stream, received: BytesMut::new() }
    }

    /// Writes these bytes; whether the peer still takes any.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// The next frame; None at the connection's end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        wait::bounded("a frame or an end", async {
            loop {
                if let Some(length) = self.received.get(..3) {
                    let length = usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
                    if self.received.len() >= 9 + length {
                        let mut head = self.received.split_to(9);
                        head.advance(3);
                        let (kind, flags, stream) = (head.get_u8(), head.get_u8(), head.get_u32());
                        return Some(Frame { kind, flags, stream, payload: self.received.split_to(length).freeze() });
                    }
                }
                self.stream.read_buf(&mut self.received).await.ok().filter(|length| *length > 0)?;
            }
        })
        .await
    }

    /// The next frame of one of these kinds; None at the connection's end.
    pub(crate) async fn next_of(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }
}
