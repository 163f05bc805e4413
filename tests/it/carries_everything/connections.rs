//! Connections on both sides: kept, lost, shared, and left: H25 to H29, H31, H32.

use tokio::io::AsyncWriteExt as _;

use super::{
    rows::{refused, row},
    scene::{OK, Scene, answer, request, shown},
};
use crate::support::raw::{Client, Role, Step, Upstream, latin};

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_order_and_arrive_once_each() {
    let scene = Scene::new().await;
    let mut client = scene.client().await;
    let all: String = (0..20)
        .map(|number| match number % 3 {
            0 => format!("GET /{number} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            1 => format!("POST /{number} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi"),
            _ => format!(
                "PUT /{number} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
            ),
        })
        .collect();
    client.send(all).await;
    for _ in 0..20 {
        let response = client.receive(Role::Response).await.expect("a response");
        assert_eq!(shown(&response), "HTTP/1.1 200 OK\ncontent-length: 2\n\nhi");
    }
    let seen = scene.upstream.take();
    let paths: Vec<_> = seen
        .iter()
        .map(|seen| seen.message().expect("whole").start.split(' ').nth(1).expect("a path").to_owned())
        .collect();
    assert_eq!(paths, (0..20).map(|number| format!("/{number}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_follows_a_request_and_is_none_is_never_part_of_it() {
    let scene = Scene::new().await;
    let mut client = scene.client().await;
    client.send("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n\0garbage\r\n\r\n").await;
    assert_eq!(client.receive(Role::Response).await.expect("a response").status(), 200);
    assert_eq!(client.receive(Role::Response).await.expect("a refusal").status(), 400);
    assert!(client.rest().await.is_empty());
    assert_eq!(scene.only(), request("GET /x", &[], ""));
}

#[tokio::test]
async fn a_refusal_reaches_a_client_whose_body_is_unread() {
    let scene = Scene::new().await;
    for length in [5_usize, 200_000] {
        let mut client = scene.client().await;
        let head = format!("TRACE /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        client.send([head.as_bytes(), &vec![b'x'; length]].concat()).await;
        let response = client.receive(Role::Response).await.expect("H25 a refusal");
        refused("H25", &response, 405, "method_refused");
    }
    assert!(scene.upstream.take().is_empty());
}

#[tokio::test]
async fn a_client_that_closes_its_half_has_left() {
    let scene = Scene::new().await;
    scene.upstream.does(&[Step::Whole, Step::Drain]);
    let mut client = scene.client().await;
    client.send("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    scene.upstream.sees("the request", |seen| seen.len() == 1).await;
    client.stream.shutdown().await.expect("our half ends");
    assert_eq!(latin(&client.rest().await), "", "H26");
    scene.upstream.sees("the end", |seen| seen[0].is_over).await;
}

#[tokio::test]
async fn a_connection_that_died_costs_a_get_nothing_and_no_post_is_sent_twice() {
    let scene = Scene::new().await;
    let lost = vec![Step::Whole, Step::Close];
    let get = "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let post = "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi";
    let half = vec![Step::Whole, Step::Say(b"HTTP/1.1 200 OK\r\n".to_vec()), Step::Close];
    let interim = vec![Step::Whole, Step::Say(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec()), Step::Close];
    let refusal = (502, "upstream_bad_response");
    for (steps, sent, times, line, fields, body) in [
        (&lost, get, 2, "GET /x", &[][..], ""),
        (&lost, "DELETE /x HTTP/1.1\r\nHost: localhost\r\n\r\n", 1, "DELETE /x", &[], ""),
        (&lost, post, 1, "POST /x", &["content-length: 2"], "hi"),
        (&half, get, 1, "GET /x", &[], ""),
        (&interim, get, 1, "GET /x", &[], ""),
    ] {
        // So that there is a connection to be used again, which is where a request may meet its death.
        scene.goes_on(&mut scene.client().await, "first").await;
        row("H28 no answer on a connection that was used before", sent)
            .doing(steps.clone())
            .arrives(line, fields, body)
            .times(times)
            .refused(refusal.0, refusal.1)
            .alone(&scene)
            .await;
    }
}

#[tokio::test]
async fn an_upstream_that_closes_after_each_response_fails_no_request() {
    let scene = Scene::new().await;
    let mut client = scene.client().await;
    scene.upstream.does(&[Step::Whole, Step::SayLast(OK.into())]);
    let turns = if std::env::var_os("COGNITO_PROXY_LONG").is_some() { 10_000 } else { 200 };
    for turn in 0..turns {
        client.send("POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi").await;
        let response = client.receive(Role::Response).await.expect("H29 a response");
        assert_eq!(shown(&response), "HTTP/1.1 200 OK\ncontent-length: 2\n\nhi", "H29 turn {turn}");
    }
    let seen = scene.upstream.take();
    assert!(seen.len() == turns && seen.iter().all(|seen| seen.message().is_some()), "H29: {}", seen.len());
}

#[tokio::test]
async fn a_request_that_comes_back_is_a_loop() {
    let scene = Scene::new().await;
    scene.upstream.does(&answer(OK));
    let mut client = scene.client().await;
    client.send("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    client.receive(Role::Response).await.expect("a response");
    let via = scene.upstream.take()[0].message().expect("whole").values("via").concat();
    for line in [via.clone(), format!("1.0 before, {via}, 1.1 behind"), via.replace("1.1 ", "HTTP/2.0 ")] {
        row("H31 our own mark", format!("GET /x HTTP/1.1\r\nHost: localhost\r\nVia: {line}\r\n\r\n"))
            .refused(508, "loop_detected")
            .alone(&scene)
            .await;
    }
    let latin = [b"GET /x HTTP/1.1\r\nHost: localhost\r\nVia: 1.1 a (\xe9), ", via.as_bytes(), b"\r\n\r\n"].concat();
    row("H31 our own mark beside bytes that are no text", latin).refused(508, "loop_detected").alone(&scene).await;
}

#[tokio::test]
async fn a_proxy_before_itself_answers_508_and_asks_nobody() {
    let scene = Scene::new().await;
    // A relay has the address that the proxy takes for its upstream, and leads back to the proxy.
    let relay = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = relay.local_addr().expect("bound");
    let proxy = scene.proxy.address();
    let upstream = Upstream::doing(|_| answer(OK)).await;
    let task = tokio::spawn(async move {
        while let Ok((mut near, _)) = relay.accept().await {
            let mut far = tokio::net::TcpStream::connect(proxy).await.expect("the proxy");
            tokio::spawn(async move { drop(tokio::io::copy_bidirectional(&mut near, &mut far).await) });
        }
    });
    let toml = scene.stage.toml("upstream.preserve_host = true");
    let toml = toml.replace(&scene.stage.upstream.url(), &format!("http://{address}"));
    scene.stage.home.configure(&toml);
    let Scene { mut proxy, .. } = scene;
    proxy.signal(rustix::process::Signal::HUP);
    proxy.logged("configuration reloaded").await;
    let mut client = Client::to(proxy.address()).await;
    client.send("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let response = client.receive(Role::Response).await.expect("H32 an answer");
    refused("H32", &response, 508, "loop_detected");
    assert!(upstream.take().is_empty());
    task.abort();
}
