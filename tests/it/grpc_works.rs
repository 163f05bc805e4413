//! gRPC works through the proxy, over HTTP/2 without TLS on both sides: all four kinds of call, metadata and trailers,
//! statuses, deadlines; a call that the proxy cannot serve ends with a status that says what to do.

use crate::support::{clients::python, stage::Stage};

const H2: &str = "upstream.http = \"h2\"";

#[tokio::test]
async fn grpcio_calls_of_all_kinds() {
    let stage = Stage::new().await;
    let mut server = python("grpc_server.py", &[]).listens().await;
    let proxy = stage.serve_before(&server.url(), H2).await;
    let finished = python("grpc_client.py", &[&proxy.address().to_string()]).succeeds().await;
    let token = stage.home.run(&["token", "--format", "header"]).await.stdout;
    assert_eq!(format!("Authorization: {}", finished.stdout), token);
    // The client's deadline has reached the server as a cancellation.
    server.running.says_line("cancelled").await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_call_without_a_session_is_unavailable_and_says_what_to_run() {
    let stage = Stage::new().await;
    stage.configure(&format!("{H2}\nsession.hold = \"0s\""));
    let proxy = stage.home.serve_with(&[]).await;
    let finished = python("grpc_client.py", &[&proxy.address().to_string(), "signed-out"]).succeeds().await;
    assert!(finished.stdout.contains("cognito-proxy login"), "{}", finished.stdout);
    proxy.stop().await;
}
