//! What a body is made of: H7 to H9, and what is expected of it: H19.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, repeat, sink},
    net::TcpListener,
};

use super::{
    rows::{play, refused, row},
    scene::{Scene, answer, request, shown},
};
use crate::support::{
    raw::{Client, Role, Step},
    stage::Stage,
    wait,
};

fn chunks(fields: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n{fields}\r\n{body}")
}

#[tokio::test]
async fn chunks_of_requests() {
    let scene = Scene::new().await;
    let chunked = ["transfer-encoding: chunked"];
    let bad = |name, body: &str| row(name, chunks("", body)).never_whole().refused(400, "bad_request").ends();
    let rows = [
        bad("H7 a chunk size that ends in a bare line feed", "5\nhello\r\n0\r\n\r\n"),
        bad("H7 a line feed in a chunk extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        bad("H7 no line end after a chunk", "5\r\nhelloXX0\r\n\r\n"),
        bad("H7 a size beyond all numbers", "fffffffffffffffff\r\nx"),
        bad("H7 a size with a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        bad("H7 a size with its base", "0x5\r\nhello\r\n0\r\n\r\n"),
        bad("H7 a size that is none", "five\r\nhello\r\n0\r\n\r\n"),
        bad("H7 a negative size", "-1\r\nhello\r\n0\r\n\r\n"),
        bad("H7 no size", "\r\nhello\r\n0\r\n\r\n"),
        bad("H7 something else after the last chunk", "5\r\nhello\r\n0\r\nno field\r\n\r\n"),
        row("H8 chunk extensions", chunks("", "5;a=b;c=\"d\"\r\nhello\r\n0;e\r\n\r\n"))
            .arrives("POST /x", &chunked, "hello"),
        row("H8 zeros before a size", chunks("", "0005\r\nhello\r\n000\r\n\r\n")).arrives("POST /x", &chunked, "hello"),
        row("chunks without content", chunks("", "0\r\n\r\n")).arrives("POST /x", &chunked, ""),
        row("H9 a trailer that was announced", chunks("Trailer: X-Sum\r\n", "5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"))
            .arrives("POST /x", &["trailer: X-Sum", "transfer-encoding: chunked"], "hello\nx-sum: 7\n"),
        row("H9 a trailer that was not", chunks("", "5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n"))
            .arrives("POST /x", &chunked, "hello"),
        row(
            "H9 trailers never say what only a header may (RFC 9110 §6.5.1)",
            chunks(
                "Trailer: X-Sum, Authorization, Content-Length, Host, Transfer-Encoding\r\n",
                "5\r\nhello\r\n0\r\nAuthorization: mine\r\nContent-Length: 9\r\nHost: evil\r\nX-Sum: 7\r\n\
                 Transfer-Encoding: gzip\r\n\r\n",
            ),
        )
        .arrives(
            "POST /x",
            &["trailer: X-Sum, Authorization, Content-Length, Host, Transfer-Encoding", "transfer-encoding: chunked"],
            "hello\nx-sum: 7\n",
        ),
    ];
    play(&scene, &rows).await;
}

const SUMMED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                      2\r\nhi\r\n0\r\nX-Sum: 7\r\nX-Other: 8\r\n\r\n";

#[tokio::test]
async fn trailers_of_responses() {
    let scene = Scene::new().await;
    let fields = ["trailer: X-Sum", "transfer-encoding: chunked"];
    let rows = [
        row("H9 for a client that takes trailers", "GET /x HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\n\r\n")
            .answered(SUMMED)
            .arrives("GET /x", &["connection: te", "te: trailers"], "")
            .returns("200 OK", &fields, "hi\nx-sum: 7\n"),
        row("H9 for one that does not say so", "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .answered(SUMMED)
            .arrives_plain()
            .returns("200 OK", &fields, "hi"),
    ];
    play(&scene, &rows).await;
}

const EXPECTING: &str = "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it_once_and_the_upstream_is_not_asked() {
    let scene = Scene::new().await;
    let interim = Step::Say(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec());
    let says_100_too =
        vec![interim, Step::Whole, Step::Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec())];
    for steps in [answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"), says_100_too] {
        scene.upstream.does(&steps);
        let mut client = scene.client().await;
        client.send(EXPECTING).await;
        let interim = client.receive(Role::Response).await.expect("a 100");
        assert_eq!((interim.status(), interim.fields.len()), (100, 0), "{interim:?}");
        client.send("hello").await;
        let response = client.receive(Role::Response).await.expect("a response");
        assert_eq!(shown(&response), "HTTP/1.1 200 OK\ncontent-length: 2\n\nhi");
        assert_eq!(scene.only(), request("POST /x", &["content-length: 5"], "hello"));
        scene.goes_on(&mut client, "H19").await;
    }
}

#[tokio::test]
async fn a_final_answer_reaches_a_client_that_waits_for_100_and_sends_nothing() {
    let scene = Scene::new().await;
    scene.upstream.does(&[Step::Say(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_vec()), Step::Drain]);
    let mut client = scene.client().await;
    client.send(EXPECTING).await;
    // A 100 may come before, since it is hyper that says it; what matters is that the answer comes.
    let mut response = client.receive(Role::Response).await.expect("an answer");
    if response.status() == 100 {
        response = client.receive(Role::Response).await.expect("an answer");
    }
    assert_eq!(response.status(), 403);
    assert_eq!(response.body, b"no");
    drop(client);
    scene.upstream.sees("the end of it", |seen| seen.iter().all(|seen| seen.is_over)).await;
    assert!(scene.upstream.take()[0].message().is_none(), "the upstream never saw a whole request");
}

#[tokio::test]
async fn expectations_that_are_not_met() {
    let scene = Scene::new().await;
    let rows = [
        row("H19 another expectation", EXPECTING.replace("100-continue", "a-miracle"))
            .refused(417, "expectation_failed")
            .ends(),
        row(
            "H19 another one as well",
            EXPECTING
                .replace("Length: 5", "Length: 5\r\nExpect: 100-continue")
                .replace("continue\r\n\r\n", "miracle\r\n\r\n"),
        )
        .refused(417, "expectation_failed")
        .ends(),
        row("H19 the one that is known, whatever the case", EXPECTING.replace("100-c", "100-C") + "hello")
            .after_100()
            .arrives("POST /x", &["content-length: 5"], "hello"),
        row(
            "H19 an HTTP/1.0 client cannot wait for 100 (RFC 9110 §10.1.1)",
            "POST /x HTTP/1.0\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
        )
        .arrives("POST /x", &["content-length: 5", "via: 1.0 PROXY"], "hello")
        .old()
        .ends(),
    ];
    play(&scene, &rows).await;
}

#[tokio::test]
async fn an_early_answer_passes_on_while_the_upload_is_unread() {
    let scene = Scene::new().await;
    let large = Step::Say(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig".to_vec());
    for steps in [vec![large.clone(), Step::Drain], vec![large.clone(), Step::Close], vec![large, Step::Reset]] {
        scene.upstream.does(&steps);
        scene.upstream.take();
        let mut client = scene.client().await;
        client.send("POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\nsome").await;
        let response = client.receive(Role::Response).await.expect("H25 an early answer");
        if matches!(steps[1], Step::Reset) && response.status() == 502 {
            // A reset may destroy what came before it.
            refused("H25", &response, 502, "upstream_bad_response");
        } else {
            assert_eq!((response.status(), response.body.as_slice()), (413, b"big".as_slice()), "H25");
        }
        assert!(client.rest().await.is_empty(), "H25: the connection ends");
        scene.upstream.sees("the end of it", |seen| seen.iter().all(|seen| seen.is_over)).await;
        assert!(scene.upstream.take().iter().all(|seen| seen.message().is_none()), "H25: no whole request");
    }
}

#[tokio::test]
async fn a_response_that_begins_first_does_not_end_the_upload() {
    let scene = Scene::new().await;
    scene.upstream.does(&[
        Step::Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n".to_vec()),
        Step::Whole,
        Step::Say(b"4\r\nlast\r\n0\r\n\r\n".to_vec()),
    ]);
    let mut client = scene.client().await;
    client.send(chunks("", "5\r\nhello\r\n")).await;
    wait::bounded("the first chunk", async {
        while !client.received.ends_with(b"first\r\n") {
            assert_ne!(client.stream.read_buf(&mut client.received).await.expect("open"), 0);
        }
    })
    .await;
    client.send("6\r\n world\r\n0\r\n\r\n").await;
    let response = client.receive(Role::Response).await.expect("a response");
    assert_eq!(shown(&response), "HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\nfirstlast");
    assert_eq!(scene.only(), request("POST /x", &["transfer-encoding: chunked"], "hello world"));
    scene.goes_on(&mut client, "both ways at a time").await;
}

/// More than all buffers on the way hold.
const MUCH: u64 = 64 << 20;

#[tokio::test]
async fn a_client_that_reads_nothing_before_it_has_sent_all_gets_what_was_answered_meanwhile() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let stage = Stage::new().await;
    let proxy = stage.serve_before(&url, "").await;
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a head"));
        }
        let (read, mut write) = stream.split();
        let taking = async { copy(&mut read.take(MUCH), &mut sink()).await.expect("a body") };
        let giving = async {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n");
            write.write_all(head.as_bytes()).await.expect("a head is taken");
            copy(&mut repeat(b'a').take(MUCH), &mut write).await.expect("a body is taken")
        };
        tokio::join!(taking, giving)
    });
    let mut client = Client::to(proxy.address()).await;
    client.send(format!("POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MUCH}\r\n\r\n")).await;
    wait::bounded("the request to be taken", copy(&mut repeat(b'q').take(MUCH), &mut client.stream))
        .await
        .expect("the request is taken");
    let response = client.receive(Role::Response).await.expect("a response");
    assert!(response.status() == 200 && response.body.len() as u64 == MUCH, "{}", response.body.len());
    assert!(response.body.iter().all(|byte| *byte == b'a'));
    assert_eq!(wait::bounded("the upstream", upstream).await.expect("an upstream"), (MUCH, MUCH));
}
