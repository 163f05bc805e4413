//! How long a request is: H1 to H6. Whatever could be read in two ways is refused, or goes up in the one way that is
//! left (RFC 9112 §6.3, §11.2).

use super::{
    rows::{play, row},
    scene::Scene,
};

const POST: &str = "POST /x HTTP/1.1\r\nHost: localhost\r\n";
const GET: &str = "GET /x HTTP/1.1\r\nHost: localhost\r\n";

/// A POST with these fields, and a body of five bytes, or what stands for it.
fn post(fields: &str, body: &str) -> String {
    format!("{POST}{fields}\r\n{body}")
}

#[tokio::test]
async fn lengths_of_requests() {
    let scene = Scene::new().await;
    let chunked = ["transfer-encoding: chunked"];
    let counted = ["content-length: 5"];
    let hello = "5\r\nhello\r\n0\r\n\r\n";
    let rows = [
        row(
            "H1 a length and chunks: the chunks count, and the connection ends",
            post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", hello),
        )
        .arrives("POST /x", &chunked, "hello")
        .returns("200 OK", &["connection: close", "content-length: 2"], "hi")
        .ends(),
        row(
            "H1 chunks and a length, the other way round",
            post("Transfer-Encoding: chunked\r\nContent-Length: 300\r\n", hello),
        )
        .arrives("POST /x", &chunked, "hello")
        .returns("200 OK", &["connection: close", "content-length: 2"], "hi")
        .ends(),
        row("a length", post("Content-Length: 5\r\n", "hello")).arrives("POST /x", &counted, "hello"),
        row("a length with zeros before it", post("Content-Length: 0005\r\n", "hello")).arrives(
            "POST /x",
            &["content-length: 5"],
            "hello",
        ),
        row("chunks", post("Transfer-Encoding: chunked\r\n", hello)).arrives("POST /x", &chunked, "hello"),
        row("chunks, whatever the case", post("Transfer-Encoding: CHUNKED\r\n", hello))
            .arrives("POST /x", &chunked, "hello"),
        row("no length, no body", post("", "")).arrives("POST /x", &[], ""),
        row("a length of nothing", post("Content-Length: 0\r\n", "")).arrives("POST /x", &["content-length: 0"], ""),
        row("a body where GET has none", format!("{GET}Content-Length: 5\r\n\r\nhello"))
            .arrives("GET /x", &counted, "hello"),
        row("chunks where GET has no body", format!("{GET}Transfer-Encoding: chunked\r\n\r\n{hello}"))
            .arrives("GET /x", &chunked, "hello"),
        row("H2 the same length twice", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"))
            .arrives("POST /x", &counted, "hello"),
        row("H2 two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello")).bare(400),
        row("H2 a list of lengths", post("Content-Length: 5, 5\r\n", "hello")).bare(400),
        row("H2 a length with a sign", post("Content-Length: +5\r\n", "hello")).bare(400),
        row("H2 a negative length", post("Content-Length: -5\r\n", "hello")).bare(400),
        row("H2 a length in hex", post("Content-Length: 0x5\r\n", "hello")).bare(400),
        row("H2 a length of nothing at all", post("Content-Length:\r\n", "hello")).bare(400),
        row("H2 a length beyond all numbers", post("Content-Length: 18446744073709551616\r\n", "")).bare(400),
        row("H3 an unknown coding", post("Transfer-Encoding: xchunked\r\n", hello)).bare(400),
        row("H3 chunked is not the last", post("Transfer-Encoding: chunked, identity\r\n", hello)).bare(400),
        row("H3 no coding", post("Transfer-Encoding:\r\n", hello)).bare(400),
        row("H3 a space before the colon", post("Transfer-Encoding : chunked\r\n", hello)).bare(400),
        row("H3 chunked in two fields", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", hello))
            .refused(400, "bad_request")
            .ends(),
        row("H3 chunked twice in one field", post("Transfer-Encoding: chunked, chunked\r\n", hello))
            .refused(501, "bad_transfer_coding")
            .ends(),
        row(
            "H3 chunks from HTTP/1.0",
            format!("POST /x HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{hello}"),
        )
        .bare(400),
        row("H4 a coding below the chunks", post("Transfer-Encoding: gzip, chunked\r\n", hello))
            .refused(501, "bad_transfer_coding")
            .ends(),
    ];
    play(&scene, &rows).await;
}

#[tokio::test]
async fn lines_of_heads() {
    let scene = Scene::new().await;
    let rows = [
        row("H5 a folded field", format!("{GET}X-Folded: a\r\n b\r\n\r\n")).bare(400),
        row("H5 a folded first field", "GET /x HTTP/1.1\r\n Host: localhost\r\n\r\n").bare(400),
        row("H5 no colon", format!("{GET}No colon\r\n\r\n")).bare(400),
        row("H5 no name", format!("{GET}: value\r\n\r\n")).bare(400),
        row("H5 a bare CR in a value", format!("{GET}X-A: a\rb\r\n\r\n")).bare(400),
        row("H5 NUL in a value", format!("{GET}X-A: a\0b\r\n\r\n")).bare(400),
        row("H5 a space in a name", format!("{GET}X A: b\r\n\r\n")).bare(400),
        row("H5 a bare CR in the request line", "GET /x\rHTTP/1.1\r\nHost: localhost\r\n\r\n").bare(400),
        row("H5 another protocol", "GET /x HTTQ/1.1\r\nHost: localhost\r\n\r\n").bare(400),
        row("H5 no version", "GET /x\r\n\r\n").bare(400),
        row("H5 a version that is none", "GET /x HTTP/1.15\r\nHost: localhost\r\n\r\n").bare(400),
        row("H5 no method", " /x HTTP/1.1\r\nHost: localhost\r\n\r\n").bare(400),
        row("H6 line feeds alone end lines, and go up as line ends", "GET /x HTTP/1.1\nHost: localhost\nX-A: b\n\n")
            .arrives("GET /x", &["x-a: b"], ""),
        row("an empty line before the request (RFC 9112 §2.2)", format!("\r\n{GET}\r\n")).arrives_plain(),
        row("a method of somebody's own", "M-SEARCH /x HTTP/1.1\r\nHost: localhost\r\n\r\n").arrives(
            "M-SEARCH /x",
            &[],
            "",
        ),
        row("methods are told apart by case", "get /x HTTP/1.1\r\nHost: localhost\r\n\r\n").arrives("get /x", &[], ""),
    ];
    play(&scene, &rows).await;
}
