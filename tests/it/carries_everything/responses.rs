//! How long a response is, and what is none: H18, H20 to H24.

use super::{
    rows::{play, row},
    scene::{Scene, last_answer},
};
use crate::support::raw::Step;

const GET: &str = "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n";
const HEAD: &str = "HEAD /x HTTP/1.1\r\nHost: localhost\r\n\r\n";
const OLD: &str = "GET /x HTTP/1.0\r\nHost: localhost\r\n\r\n";
const OLD_KEPT: &str = "GET /x HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n";
const POST_CHUNKS: &str = "POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                           5\r\nhello\r\n0\r\n\r\n";
const CHUNKS: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";

#[tokio::test]
async fn of_every_length() {
    let scene = Scene::new().await;
    let ok = |name, reply: &str| row(name, GET).answered(reply).arrives_plain();
    let head = |name, reply: &str| row(name, HEAD).answered(reply).arrives("HEAD /x", &[], "");
    let rows = [
        ok("a length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
        ok("H8 chunks, extensions aside", CHUNKS).returns("200 OK", &["transfer-encoding: chunked"], "hi!"),
        ok("nothing", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").returns("200 OK", &["content-length: 0"], ""),
        ok(
            "H20 interim responses come before the one that counts",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        ),
        ok("a reason of the upstream's own", "HTTP/1.1 200 Just Fine\r\nContent-Length: 2\r\n\r\nhi").returns(
            "200 Just Fine",
            &["content-length: 2"],
            "hi",
        ),
        ok("no reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nhi").returns("200 ", &["content-length: 2"], "hi"),
        ok("a status that nobody knows", "HTTP/1.1 299 Odd\r\nContent-Length: 2\r\n\r\nhi").returns(
            "299 Odd",
            &["content-length: 2"],
            "hi",
        ),
        head("H21 HEAD with a length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").returns(
            "200 OK",
            &["content-length: 10"],
            "",
        ),
        head("H21 HEAD without one says nothing of a length", "HTTP/1.1 200 OK\r\nX-A: a\r\n\r\n").returns(
            "200 OK",
            &["x-a: a"],
            "",
        ),
        head("H21 HEAD of chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").returns("200 OK", &[], ""),
        ok("H21 204", "HTTP/1.1 204 No Content\r\n\r\n").returns("204 No Content", &[], ""),
        ok("H21 204 with a length, which it must not have", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
            .returns("204 No Content", &[], ""),
        ok(
            "H21 304 with the length of what it spares",
            "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 9\r\n\r\n",
        )
        .returns("304 Not Modified", &["etag: \"a\""], ""),
    ];
    play(&scene, &rows).await;
}

#[tokio::test]
async fn that_no_upstream_connection_may_outlive() {
    let scene = Scene::new().await;
    // What follows on such a connection would be read as the answer to somebody else's request.
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen";
    let rows = [
        row("H21 204 with a body", GET)
            .answered(format!("HTTP/1.1 204 No Content\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()))
            .arrives_plain()
            .returns("204 No Content", &[], ""),
        row("H21 304 with a body", GET)
            .answered(format!("HTTP/1.1 304 Not Modified\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()))
            .arrives_plain()
            .returns("304 Not Modified", &[], ""),
        row("H21 HEAD with a body", HEAD)
            .answered(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()))
            .arrives("HEAD /x", &[], "")
            .returns("200 OK", &[&format!("content-length: {}", smuggled.len())], ""),
        row("one answer more than there were questions", GET)
            .answered(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi{smuggled}"))
            .arrives_plain(),
    ];
    play(&scene, &rows).await;
}

#[tokio::test]
async fn that_are_none() {
    let scene = Scene::new().await;
    let many: String = (0..150).map(|number| format!("X-{number}: v\r\n")).collect();
    let many = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{many}\r\n");
    let bad = |name, reply: &str| {
        row(name, GET).doing(last_answer(reply)).arrives_plain().refused(502, "upstream_bad_response")
    };
    let rows = [
        bad(
            "H18 a 101 that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
        bad(
            "H24 a length and chunks",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ),
        bad("H24 two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi"),
        bad("H24 a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nhi"),
        bad(
            "H24 a coding that we do not undo",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ),
        bad("H24 chunks of HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
        bad("H24 garbage", "garbage\r\n\r\n"),
        bad("H24 HTTP/0.9", "hello"),
        bad("H24 a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
        bad("H24 a folded field (RFC 9112 §5.2)", "HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        bad("more fields than are read", &many),
        bad("H24 half a head", "HTTP/1.1 200 OK\r\nContent-Le"),
        bad("H28 an interim response and then nothing: bytes of a response have come", "HTTP/1.1 100 Continue\r\n\r\n"),
        row("no answer at all", GET)
            .doing(vec![Step::Whole, Step::Close])
            .arrives_plain()
            .times(2)
            .refused(502, "upstream_bad_response"),
        row("a reset", GET)
            .doing(vec![Step::Whole, Step::Reset])
            .arrives_plain()
            .times(2)
            .refused(502, "upstream_bad_response"),
        row("H24 the same length twice is one (RFC 9110 §8.6)", GET)
            .answered("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi")
            .arrives_plain(),
    ];
    play(&scene, &rows).await;
}

#[tokio::test]
async fn that_break_off() {
    let scene = Scene::new().await;
    let cut = |name, reply: &str, start| row(name, GET).doing(last_answer(reply)).arrives_plain().cut(start);
    let reset = |reply: &str| vec![Step::Whole, Step::Say(reply.into()), Step::Reset];
    let rows = [
        cut("H22 before its length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "HTTP/1.1 200 OK"),
        cut(
            "H22 after a chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            "HTTP/1.1 200 OK",
        ),
        cut("H22 within a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "HTTP/1.1 200 OK"),
        cut(
            "H22 within the last chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
            "HTTP/1.1 200 OK",
        ),
        cut(
            "H22 with a chunk that is none",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nxx\r\n",
            "HTTP/1.1 200 OK",
        ),
        row("H22 with a reset, for a client of HTTP/1.0, which knows an end by nothing else", OLD)
            .doing(last_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"))
            .arrives("GET /x", &["via: 1.0 PROXY"], "")
            .cut("HTTP/1.0 200 OK"),
        row("H23 the end of the connection is the end of the body", GET)
            .doing(last_answer("HTTP/1.1 200 OK\r\n\r\nall there is"))
            .arrives_plain()
            .returns("200 OK", &["transfer-encoding: chunked"], "all there is"),
        row("H23 unless it is a reset", GET)
            .doing(reset("HTTP/1.1 200 OK\r\n\r\nhalf"))
            .arrives_plain()
            .cut("HTTP/1.1 200 OK"),
    ];
    play(&scene, &rows).await;
}

#[tokio::test]
async fn of_and_for_http_1_0() {
    let scene = Scene::new().await;
    let via = ["via: 1.0 PROXY"];
    let rows = [
        row("an HTTP/1.0 upstream that closes", GET)
            .doing(last_answer("HTTP/1.0 200 OK\r\n\r\nhello"))
            .arrives_plain()
            .returns("200 OK", &["transfer-encoding: chunked"], "hello"),
        row("one that keeps its connection", GET)
            .answered("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi")
            .arrives_plain(),
        row("chunks go to one that has not said yet that it speaks HTTP/1.0", POST_CHUNKS)
            .doing(last_answer("HTTP/1.0 200 OK\r\n\r\nhello"))
            .arrives("POST /x", &["transfer-encoding: chunked"], "hello")
            .returns("200 OK", &["transfer-encoding: chunked"], "hello"),
        row("an HTTP/1.0 client gets no chunks", OLD)
            .answered(CHUNKS)
            .arrives("GET /x", &via, "")
            .returns("200 OK", &[], "hi!")
            .old()
            .ends(),
        row("nor one that would keep its connection", OLD_KEPT)
            .answered(CHUNKS)
            .arrives("GET /x", &via, "")
            .returns("200 OK", &[], "hi!")
            .old()
            .ends(),
        row("whose connection goes on where there is a length", OLD_KEPT)
            .arrives("GET /x", &via, "")
            .returns("200 OK", &["connection: keep-alive", "content-length: 2"], "hi")
            .old(),
        row("an HTTP/1.0 client that says nothing of its connection", OLD).arrives("GET /x", &via, "").old().ends(),
    ];
    play(&scene, &rows).await;
}
