//! The HTTP libraries that programs use work through the proxy: requests and httpx of Python, fetch of Node.js. What
//! streams, streams: an event is with the client before the next one exists.

use crate::support::{
    clients::{Client, Running, node, python},
    proxy::Proxy,
    stage::Stage,
    wait,
};

fn origin(proxy: &Proxy) -> String {
    format!("http://{}", proxy.address())
}

/// All went through with a valid token, and the client found nothing wrong.
async fn satisfied(stage: &Stage, client: Client) {
    assert_eq!(client.succeeds().await.stdout, "done\n");
    let log = stage.upstream.log();
    assert!(log.total() > 20, "{log:?}");
    assert_eq!((log.invalid(), log.without_token()), (0, 0));
}

/// Each event is said only once the client has said the one before.
async fn follows_events(stage: &Stage, mut client: Running) {
    wait::until("a stream", async || (stage.upstream.push_event("first") == 1).then_some(())).await;
    client.says_line("data: first").await;
    assert_eq!(stage.upstream.push_event("second"), 1);
    client.says_line("data: second").await;
    assert_eq!(stage.upstream.push_event("last"), 1);
    assert_eq!(client.succeeds().await.stdout, "done\n");
}

#[tokio::test]
async fn requests() {
    let stage = Stage::new().await;
    let proxy = stage.serve("").await;
    satisfied(&stage, python("requests_client.py", &[&origin(&proxy), &stage.upstream.url()])).await;
    proxy.stop().await;
}

#[tokio::test]
async fn httpx_over_http_1_1_and_h2c() {
    let stage = Stage::new().await;
    let proxy = stage.serve("").await;
    for version in ["1", "2"] {
        satisfied(&stage, python("httpx_client.py", &[&origin(&proxy), version])).await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn httpx_over_h2c_to_an_upstream_of_http_2() {
    let stage = Stage::new().await;
    let proxy = stage.serve("upstream.http = \"h2\"").await;
    satisfied(&stage, python("httpx_client.py", &[&origin(&proxy), "2"])).await;
    assert_eq!(stage.upstream.log().last().map(|request| request.version), Some(http::Version::HTTP_2));
    proxy.stop().await;
}

#[tokio::test]
async fn an_event_stream_comes_event_by_event() {
    let stage = Stage::new().await;
    let proxy = stage.serve("").await;
    for version in ["1", "2"] {
        follows_events(&stage, python("sse_client.py", &[&origin(&proxy), version]).start()).await;
        // The stream of this client must not be taken for the next one's.
        stage.upstream.wait_for_connections(|open| *open == 0).await;
    }
    proxy.stop().await;
}

#[tokio::test]
async fn fetch_of_node() {
    let stage = Stage::new().await;
    let proxy = stage.serve("").await;
    follows_events(&stage, node("fetch.mjs", &[&origin(&proxy)]).start()).await;
    let log = stage.upstream.log();
    assert!(log.total() > 50, "{log:?}");
    assert_eq!((log.invalid(), log.without_token()), (0, 0));
    proxy.stop().await;
}
