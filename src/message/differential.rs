//! The same bytes, read here and by hyper's client: what is taken for a response must be the same one.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, header::CONTENT_LENGTH};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::{collection::vec, prelude::*};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    framing::{Decoder, Malformed, Next},
    head, response,
};

/// A response, read to its end.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    status: StatusCode,
    /// Without `Content-Length`, of which those that agree become one here.
    fields: HeaderMap,
    /// What came of the body.
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    is_whole: bool,
}

/// Reads `bytes`, after which the connection ends.
fn ours(bytes: &[u8], method: &Method) -> Result<Option<Read>, Malformed> {
    let mut bytes = BytesMut::from(bytes);
    let read = loop {
        let Some(end) = head::end(&bytes, 0) else { return Ok(None) };
        let read = response::read(&bytes.split_to(end).freeze(), method)?;
        if !read.head.status.is_informational() || read.head.status == StatusCode::SWITCHING_PROTOCOLS {
            break read;
        }
    };
    let mut decoder = Decoder::new(read.body);
    let (mut data, mut trailers) = (Vec::new(), None);
    let is_whole = loop {
        match decoder.next(&mut bytes) {
            Ok(Next::Data(more)) => data.extend_from_slice(&more),
            Ok(Next::Trailers(found)) => trailers = Some(found),
            Ok(Next::End) => break true,
            Ok(Next::More) => break decoder.ended(),
            Err(_) => break false,
        }
    };
    let mut head = *read.head;
    head.fields.remove(CONTENT_LENGTH);
    Ok(Some(Read { status: head.status, fields: head.fields.to_map(), data, trailers, is_whole }))
}

/// The same by hyper.
async fn hypers(bytes: &[u8], method: Method) -> Option<Read> {
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let mut builder = http1::Builder::new();
    builder.allow_spaces_after_header_name_in_responses(true);
    let (mut sender, connection) = builder.handshake(TokioIo::new(near)).await.expect("a connection");
    let driver = tokio::spawn(connection);
    let request = Request::builder().method(method).uri("/").body(Empty::<Bytes>::new()).expect("a request");
    let sending = tokio::spawn(async move { sender.send_request(request).await });
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        far.read_buf(&mut request).await.expect("a request");
    }
    drop(far.write_all(bytes).await);
    drop(far);
    let response = sending.await.expect("no panic").ok();
    let read = match response {
        None => None,
        Some(response) => {
            let (head, mut body) = response.into_parts();
            let (mut data, mut trailers) = (Vec::new(), None);
            let is_whole = loop {
                match body.frame().await {
                    None => break true,
                    Some(Err(_)) => break false,
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(more) => data.extend_from_slice(&more),
                        Err(frame) => trailers = frame.into_trailers().ok(),
                    },
                }
            };
            let mut fields = head.headers;
            fields.remove(CONTENT_LENGTH);
            Some(Read { status: head.status, fields, data, trailers, is_whole })
        }
    };
    driver.abort();
    read
}

/// Bytes that are nearly a response.
fn responseish() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => Just("HTTP/1.1 200 OK\r\n"),
        1 => Just("HTTP/1.0 200 OK\r\n"),
        1 => Just("HTTP/1.1 204 No Content\r\n"),
        1 => Just("HTTP/1.1 304 Not Modified\r\n"),
        1 => Just("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"),
        1 => Just("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 201 Created\r\n"),
        1 => Just("HTTP/1.1 200\r\n"),
        1 => Just("HTTP/1.1 999 ?\r\n"),
        1 => Just("HTTP/1.1 200 OK\n"),
        1 => Just("HTTP/1.2 200 OK\r\n"),
        1 => Just("ICY 200 OK\r\n"),
    ];
    let field = prop_oneof![
        4 => Just("Content-Length: 5\r\n"),
        4 => Just("Transfer-Encoding: chunked\r\n"),
        1 => Just("Content-Length: 5, 5\r\n"),
        1 => Just("Content-Length: 4\r\n"),
        1 => Just("Content-Length: +5\r\n"),
        1 => Just("Content-Length: 18446744073709551616\r\n"),
        1 => Just("Transfer-Encoding: gzip\r\n"),
        1 => Just("Connection: close\r\n"),
        1 => Just("Set-Cookie: a=b\r\n"),
        1 => Just("X-Odd:\t spaced \r\n"),
        1 => Just("X-Empty:\r\n"),
        1 => Just("X-Latin: \u{e4}\r\n"),
        1 => Just("X-Bare: a\n"),
        1 => Just("X Space: a\r\n"),
        1 => Just("X-Colon : a\r\n"),
        1 => Just(" folded\r\n"),
        1 => Just("X-CR: a\rb\r\n"),
    ];
    let body = prop_oneof![
        Just("hello"),
        Just("hell"),
        Just("hello and more"),
        Just(""),
        Just("5\r\nhello\r\n0\r\n\r\n"),
        Just("2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-End: 1\r\n\r\n"),
        Just("5\r\nhello\r\n"),
        Just("5\nhello\n0\n\n"),
        Just("5\r\nhelloo\r\n0\r\n\r\n"),
        Just("5 \r\nhello\r\n000\r\n\r\n"),
        Just("fffffffffffffffff\r\nhello"),
        Just("0\r\nX End: 1\r\n\r\n"),
        Just("\r\n"),
    ];
    (line, vec(field, 0..3), prop_oneof![9 => Just("\r\n"), 1 => Just("\n"), 1 => Just("")], body)
        .prop_map(|(line, fields, end, body)| [line, &fields.concat(), end, body].concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_read_here_is_what_hyper_reads(
        bytes in responseish(),
        method in prop_oneof![4 => Just(Method::GET), 1 => Just(Method::HEAD)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let theirs = runtime.block_on(hypers(&bytes, method.clone()));
        match ours(&bytes, &method) {
            Ok(Some(read)) => prop_assert_eq!(Some(read), theirs),
            Ok(None) => prop_assert_eq!(None, theirs),
            // hyper reads a response that states two lengths, or a coding that it does not undo, by the rules that are
            // meant for those who must; and it does not look at a length where there is no body.
            Err(Malformed::TwoFramings | Malformed::TransferCoding | Malformed::Length) => {}
            Err(malformed) => prop_assert_eq!(None, theirs, "{}", malformed),
        }
    }
}
