//! MCP works through the proxy over streamable HTTP: tools are called, progress comes while a tool runs, and the server
//! sees the token.

use crate::support::{clients::python, stage::Stage};

#[tokio::test]
async fn the_mcp_sdk_of_python() {
    let stage = Stage::new().await;
    let server = python("mcp_server.py", &[]).listens().await;
    let proxy = stage.serve_before(&server.url(), "").await;
    let url = format!("http://{}/mcp", proxy.address());
    // With a session that `initialize` begins, and without.
    for mode in ["legacy", "auto"] {
        let finished = python("mcp_client.py", &[&url, mode]).succeeds().await;
        let token = stage.home.run(&["token", "--format", "header"]).await.stdout;
        assert_eq!(format!("Authorization: {}", finished.stdout), token, "{mode}");
    }
    proxy.stop().await;
}
