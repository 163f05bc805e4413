//! A WebSocket client and server talk through the proxy as they would without: text and binary, fragments, pings,
//! compression, subprotocols, and why each side closes. The handshake carries the token.

use crate::support::{clients::python, stage::Stage};

#[tokio::test]
async fn websockets_of_python() {
    let stage = Stage::new().await;
    let mut server = python("websocket_server.py", &[]).listens().await;
    let proxy = stage.serve_before(&server.url(), "").await;
    let finished = python("websocket_client.py", &[&proxy.address().to_string()]).succeeds().await;
    let token = stage.home.run(&["token", "--format", "header"]).await.stdout;
    assert_eq!(format!("Authorization: {}", finished.stdout), token);
    server.running.says_line("closed 4321 bye").await;
    proxy.stop().await;
}
