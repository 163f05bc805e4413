//! Connections that stop being HTTP: H17 and H18 (RFC 9110 §7.8, RFC 6455 §4).

use tokio::io::AsyncWriteExt as _;

use super::{
    rows::{play, row},
    scene::{Scene, last_answer, request, shown},
};
use crate::support::raw::{Role, Step, latin};

const ASKING: &str = "GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
                      Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const FIELDS: [&str; 5] = [
    "connection: upgrade",
    "sec-websocket-extensions: permessage-deflate",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version: 13",
    "upgrade: websocket",
];

/// Every byte there is, many times.
fn noise(length: usize) -> Vec<u8> {
    (0..=255).cycle().step_by(31).take(length).collect()
}

#[tokio::test]
async fn after_101_every_byte_passes_both_ways_and_each_half_ends_by_itself() {
    let scene = Scene::new().await;
    let (up, down) = (noise(300_000), noise(200_000));
    // The first bytes come with the 101 itself; the rest of the upstream's is said before it reads to the end.
    let said = [SWITCHING.as_bytes(), &down].concat();
    scene.upstream.does(&[Step::Say(said), Step::Drain]);
    let mut client = scene.client().await;
    // And the client's first come with its request, before it knows.
    client.send([ASKING.as_bytes(), &up[..1000]].concat()).await;
    let response = client.receive(Role::Response).await.expect("a 101");
    assert_eq!(
        shown(&response),
        "HTTP/1.1 101 Switching Protocols\nconnection: upgrade\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n\
         upgrade: websocket\n\n"
    );
    client.send(&up[1000..]).await;
    client.stream.shutdown().await.expect("our half ends");
    scene.upstream.sees("all that the client said", |seen| seen.iter().all(|seen| seen.is_over)).await;
    assert_eq!(client.rest().await, down);
    let seen = scene.upstream.take();
    let end = seen[0].bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    assert_eq!(seen[0].bytes[end..], up);
    assert_eq!(seen[0].message().expect("a head").shown(&scene.authority()), request("GET /x", &FIELDS, ""));
}

#[tokio::test]
async fn an_end_of_the_upstreams_ends_the_clients() {
    let scene = Scene::new().await;
    scene.upstream.does(&[Step::Say(format!("{SWITCHING}bye").into()), Step::Close]);
    let mut client = scene.client().await;
    client.send(ASKING).await;
    assert_eq!(client.receive(Role::Response).await.expect("a 101").status(), 101);
    assert_eq!(latin(&client.rest().await), "bye");
}

#[tokio::test]
async fn what_is_no_switch_is_an_answer_or_none() {
    let scene = Scene::new().await;
    let other = SWITCHING.replace("websocket", "h2c");
    let rows = [
        row("H17 an upstream that does not switch", ASKING).arrives("GET /x", &FIELDS, ""),
        row("H17 one that refuses", ASKING)
            .answered("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            .arrives("GET /x", &FIELDS, "")
            .returns("403 Forbidden", &["content-length: 2"], "no"),
        row("H18 one that switches to something else", ASKING)
            .doing(last_answer(other))
            .arrives("GET /x", &FIELDS, "")
            .refused(502, "upstream_bad_response"),
        row("H17 HTTP/1.0 cannot ask (RFC 9110 §7.8)", ASKING.replace("HTTP/1.1", "HTTP/1.0"))
            .arrives("GET /x", &[&["via: 1.0 PROXY"][..], &FIELDS[1..4]].concat(), "")
            .old()
            .returns("200 OK", &["connection: keep-alive", "content-length: 2"], "hi")
            .old(),
        row(
            "H17 a protocol of somebody's own",
            "GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: mine/2, other\r\n\r\n",
        )
        .arrives("GET /x", &["connection: upgrade", "upgrade: mine/2, other"], ""),
    ];
    play(&scene, &rows).await;
}
