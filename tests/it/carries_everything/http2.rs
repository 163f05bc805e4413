//! The same through HTTP/2 by prior knowledge, to an upstream of HTTP/1.1: what a client says there is the same message
//! (RFC 9113 §8), and nothing that cannot be said in HTTP/1.1 comes out as something else.

use http::{HeaderMap, HeaderName, HeaderValue, Request};

use super::scene::{OK, Scene, answer, last_answer, request};
use crate::support::{
    h2c::{END_HEADERS, END_STREAM, Frames, Session, Whole, block, frame, kind, whole},
    raw::{Step, latin},
};

/// A request to `http://localhost` with these fields.
fn asking(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://localhost{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

/// As text to compare.
fn shown(response: &Whole) -> String {
    let lines = |fields: &HeaderMap| {
        let mut lines: Vec<_> = fields
            .iter()
            .filter(|(name, _)| *name != "date")
            .map(|(name, value)| format!("{name}: {}\n", latin(value.as_bytes())))
            .collect();
        lines.sort();
        lines.concat()
    };
    let trailers = response.trailers.as_ref().map(|trailers| format!("\n{}", lines(trailers))).unwrap_or_default();
    assert!(response.head.headers.contains_key("date"), "{response:?}");
    format!("{}\n{}\n{}{trailers}", response.head.status.as_u16(), lines(&response.head.headers), latin(&response.body))
}

#[tokio::test]
async fn a_request_is_the_same_message() {
    let scene = Scene::new().await;
    let session = Session::to(scene.proxy.address()).await;
    let via = "via: 2.0 PROXY";
    for (name, asked, body, line, fields, arrives) in [
        ("a GET", asking("GET", "/x", &[]), "", "GET /x", &[via][..], ""),
        ("H14 a path", asking("GET", "//a/../%2f;b?c=%00", &[]), "", "GET //a/../%2f;b?c=%00", &[via], ""),
        (
            "a length",
            asking("POST", "/x", &[("content-length", "5")]),
            "hello",
            "POST /x",
            &["content-length: 5", via],
            "hello",
        ),
        ("no length", asking("POST", "/x", &[]), "hello", "POST /x", &["transfer-encoding: chunked", via], "hello"),
        (
            "no length where GET has no body",
            asking("GET", "/x", &[]),
            "hello",
            "GET /x",
            &["transfer-encoding: chunked", via],
            "hello",
        ),
        (
            "crumbs are one cookie (RFC 9113 §8.2.3)",
            asking("GET", "/x", &[("cookie", "a=1"), ("cookie", "b=2")]),
            "",
            "GET /x",
            &["cookie: a=1; b=2", via],
            "",
        ),
        (
            "H16 trailers are taken",
            asking("GET", "/x", &[("te", "trailers")]),
            "",
            "GET /x",
            &["connection: te", "te: trailers", via],
            "",
        ),
        (
            "S18, S19",
            asking("GET", "/x", &[("authorization", "mine"), ("x-forwarded-for", "1.2.3.4")]),
            "",
            "GET /x",
            &[via],
            "",
        ),
        (
            "the same name twice",
            asking("GET", "/x", &[("x-a", "1"), ("x-a", "2")]),
            "",
            "GET /x",
            &[via, "x-a: 1", "x-a: 2"],
            "",
        ),
        (
            "H12 Max-Forwards",
            asking("OPTIONS", "/x", &[("max-forwards", "1")]),
            "",
            "OPTIONS /x",
            &["max-forwards: 0", via],
            "",
        ),
    ] {
        scene.upstream.does(&answer(OK));
        let response =
            session.ask(asked, body.as_bytes(), None).await.unwrap_or_else(|broken| panic!("{name}: {broken:?}"));
        assert_eq!(shown(&response), "200\ncontent-length: 2\n\nhi", "{name}");
        assert_eq!(scene.only(), request(line, fields, arrives), "{name}");
    }
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let scene = Scene::new().await;
    let session = Session::to(scene.proxy.address()).await;
    scene.upstream.does(&answer(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n",
    ));
    let sum = HeaderMap::from_iter([(HeaderName::from_static("x-sum"), HeaderValue::from_static("9"))]);
    let asked = asking("POST", "/x", &[("te", "trailers"), ("trailer", "x-sum")]);
    let response = session.ask(asked, b"hello", Some(sum)).await.expect("whole");
    assert_eq!(shown(&response), "200\ntrailer: X-Sum\n\nhi\nx-sum: 7\n");
    let fields = ["connection: te", "te: trailers", "trailer: x-sum", "transfer-encoding: chunked", "via: 2.0 PROXY"];
    assert_eq!(scene.only(), request("POST /x", &fields, "hello\nx-sum: 9\n"));
}

#[tokio::test]
async fn a_response_is_the_same_message_without_what_http_2_has_no_use_for() {
    let scene = Scene::new().await;
    let session = Session::to(scene.proxy.address()).await;
    for (name, method, steps, expected) in [
        (
            "H16 fields of the upstream's hop",
            "GET",
            answer(
                "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nConnection: keep-alive, x-i\r\nX-I: i\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-A: \r\n\r\nhi",
            ),
            "200\ncontent-length: 2\nx-a: \n\nhi",
        ),
        (
            "chunks",
            "GET",
            answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
            "200\n\nhi",
        ),
        ("H23", "GET", last_answer("HTTP/1.1 200 OK\r\n\r\nall"), "200\n\nall"),
        (
            "H20",
            "GET",
            answer("HTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
            "200\ncontent-length: 2\n\nhi",
        ),
        ("H21 HEAD", "HEAD", answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"), "200\ncontent-length: 10\n\n"),
        ("H21 204", "GET", answer("HTTP/1.1 204 No\r\n\r\n"), "204\n\n"),
        ("H21 304", "GET", answer("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n"), "304\netag: \"a\"\n\n"),
        (
            "cookies",
            "GET",
            answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"),
            "200\ncontent-length: 0\nset-cookie: a=1\nset-cookie: b=2\n\n",
        ),
        (
            "426",
            "GET",
            answer("HTTP/1.1 426 Upgrade\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
            "426\ncontent-length: 0\n\n",
        ),
    ] {
        scene.upstream.does(&steps);
        let response = session.ask(asking(method, "/x", &[]), b"", None).await;
        let response = response.unwrap_or_else(|broken| panic!("{name}: {broken:?}"));
        assert_eq!(shown(&response), expected, "{name}");
    }
}

#[tokio::test]
async fn what_breaks_off_is_seen_to() {
    let scene = Scene::new().await;
    let session = Session::to(scene.proxy.address()).await;
    for (name, reply, came) in [
        ("H22 a length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "half"),
        ("H22 chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "half"),
        ("H22 a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf", "half"),
    ] {
        scene.upstream.does(&last_answer(reply));
        let broken = session.ask(asking("GET", "/x", &[]), b"", None).await.expect_err(name);
        assert!(broken.head.is_some() && came.as_bytes().starts_with(&broken.body), "{name}: {broken:?}");
        assert!(broken.error.is_reset(), "{name}: {broken:?}");
    }
    scene.upstream.does(&[Step::Say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig".to_vec()), Step::Drain]);
    let mut sender = session.sender.clone().ready().await.expect("room for a stream");
    let (response, mut upload) = sender.send_request(asking("POST", "/x", &[]), false).expect("a stream");
    upload.send_data("some".into(), false).expect("a stream");
    let early = whole(response.await.expect("H25 an early answer")).await.expect("H25 to its end");
    assert_eq!((early.head.status.as_u16(), early.body.as_slice()), (413, b"big".as_slice()), "H25");
}

#[tokio::test]
async fn what_is_refused_never_arrives() {
    let scene = Scene::new().await;
    let session = Session::to(scene.proxy.address()).await;
    let with = |fields: &[(&str, &str)]| asking("GET", "/x", fields);
    let evil = Request::get("http://evil.example/x").body(()).expect("a request");
    let connect = Request::connect("localhost:80").body(()).expect("a request");
    let star = Request::options("http://localhost").body(()).expect("a request");
    for (name, asked, status) in [
        ("S5 an authority of somebody else", evil, 403),
        ("S5 another Host beside it", with(&[("host", "localhost:1")]), 400),
        ("H12 CONNECT", connect, 405),
        ("H12 TRACE", asking("TRACE", "/x", &[]), 405),
        ("H19 an expectation", with(&[("expect", "a-miracle")]), 417),
        ("H30 a long header", with(&[("x-long", &"v".repeat(70_000))]), 431),
    ] {
        let response = session.ask(asked, b"", None).await.unwrap_or_else(|broken| panic!("{name}: {broken:?}"));
        assert_eq!(response.head.status.as_u16(), status, "{name}: {}", latin(&response.body));
        assert!(scene.upstream.take().is_empty(), "{name}");
    }
    // `OPTIONS` without a path is `OPTIONS *` there (RFC 9113 §8.3.1), or of the root, as the client's library has it.
    let options = session.ask(star, b"", None).await.expect("an answer");
    assert!([200, 204].contains(&options.head.status.as_u16()), "{options:?}");
}

#[tokio::test]
async fn what_http_1_1_would_read_otherwise_is_malformed() {
    let scene = Scene::new().await;
    let good = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/x")];
    let with = |fields: &[(&'static str, &'static str)]| [&good[..], fields].concat();
    let instead = |name: &'static str, value: &'static str| {
        good.map(|(known, old)| if known == name { (known, value) } else { (known, old) }).to_vec()
    };
    for (name, fields) in [
        ("a line end in a value", with(&[("x-a", "a\r\nx-b: b")])),
        ("a line feed in a value", with(&[("x-a", "a\nb")])),
        ("NUL in a value", with(&[("x-a", "a\0b")])),
        ("a line end in a name", with(&[("x-a: a\r\nx-b", "b")])),
        ("a colon in a name", with(&[("x-a:", "b")])),
        ("an upper-case name", with(&[("X-A", "b")])),
        ("an empty name", with(&[("", "b")])),
        ("a space in the path", instead(":path", "/x HTTP/1.1")),
        ("a line end in the path", instead(":path", "/x HTTP/1.1\r\nX-A: b\r\n\r\n")),
        ("an empty path", instead(":path", "")),
        ("a path without a slash", instead(":path", "x")),
        ("a line end in the method", instead(":method", "GET /y HTTP/1.1\r\nX-A: b\r\n\r\nGET")),
        ("a line end in the authority", instead(":authority", "localhost\r\nX-A: b")),
        ("a user in the authority", instead(":authority", "me@localhost")),
        ("Connection", with(&[("connection", "close")])),
        ("Transfer-Encoding", with(&[("transfer-encoding", "chunked")])),
        ("Upgrade", with(&[("upgrade", "websocket")])),
        ("TE other than trailers", with(&[("te", "gzip")])),
        ("two lengths", with(&[("content-length", "1"), ("content-length", "2")])),
        ("a pseudo-field of responses", with(&[(":status", "200")])),
        ("an unknown pseudo-field", with(&[(":x", "y")])),
        ("a pseudo-field after a field", [&[("x-a", "b")][..], &good].concat()),
        ("no method", good[1..].to_vec()),
        ("no path", good[..3].to_vec()),
        ("two paths", with(&[(":path", "/y")])),
    ] {
        let mut client = Frames::to(scene.proxy.address()).await;
        client.send(frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields))).await;
        let answer = client.next_of(&[kind::HEADERS, kind::RST_STREAM, kind::GOAWAY]).await;
        // 400 is the only status of a refusal in HPACK's table; any other is written out.
        let is_200 = answer.as_ref().is_some_and(|frame| frame.kind == kind::HEADERS && frame.payload[0] == 0x88);
        assert!(!is_200, "{name}: {answer:?}");
        let seen = scene.upstream.take();
        assert!(seen.is_empty(), "{name}: the upstream saw {:?}", latin(&seen[0].bytes));
    }
    let mut client = Frames::to(scene.proxy.address()).await;
    client.send(frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(&good))).await;
    let answer = client.next_of(&[kind::HEADERS, kind::RST_STREAM, kind::GOAWAY]).await.expect("an answer");
    assert_eq!((answer.kind, answer.payload[0]), (kind::HEADERS, 0x88), "what is sound is answered with 200");
    assert_eq!(scene.only(), request("GET /x", &["via: 2.0 PROXY"], ""));
}

#[tokio::test]
async fn a_request_that_is_given_up_is_never_whole_whatever_the_reason() {
    let scene = Scene::new().await;
    scene.upstream.does(&[Step::Drain]);
    for reason in [0_u32, 5, 8] {
        let fields = [(":method", "POST"), (":scheme", "http"), (":authority", "localhost"), (":path", "/x")];
        let mut client = Frames::to(scene.proxy.address()).await;
        client.send(frame(kind::HEADERS, END_HEADERS, 1, &block(&fields))).await;
        client.send(frame(kind::DATA, 0, 1, b"half")).await;
        scene.upstream.sees("half of it", |seen| seen.iter().any(|seen| seen.bytes.ends_with(b"half\r\n"))).await;
        client.send(frame(kind::RST_STREAM, 0, 1, &reason.to_be_bytes())).await;
        scene.upstream.sees("its end", |seen| seen.iter().all(|seen| seen.is_over)).await;
        let seen = scene.upstream.take();
        assert!(seen.len() == 1 && seen[0].message().is_none(), "reason {reason}: {seen:?}");
    }
}

#[tokio::test]
async fn a_body_of_another_length_than_it_says_is_never_whole() {
    let scene = Scene::new().await;
    let head = |length| {
        block(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "localhost"),
            (":path", "/x"),
            ("content-length", length),
        ])
    };
    for (length, body) in [("10", "half"), ("3", "more than that")] {
        let mut client = Frames::to(scene.proxy.address()).await;
        client.send(frame(kind::HEADERS, END_HEADERS, 1, &head(length))).await;
        client.send(frame(kind::DATA, END_STREAM, 1, body.as_bytes())).await;
        let answer = client.next_of(&[kind::HEADERS, kind::RST_STREAM, kind::GOAWAY]).await.expect("an answer");
        assert_ne!((answer.kind, answer.payload[0]), (kind::HEADERS, 0x88), "{length}: {answer:?}");
        scene.upstream.sees("its end", |seen| seen.iter().all(|seen| seen.is_over)).await;
        let seen = scene.upstream.take();
        assert!(seen.iter().all(|seen| seen.message().is_none()), "{length}: {seen:?}");
    }
}
