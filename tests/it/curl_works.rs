//! curl works through the proxy as it would without: over HTTP/1.1 and h2c, over a Unix socket, with bodies of every
//! kind.

use std::{fs, path::PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use http::Version;
use serde_json::Value;

use crate::support::{clients::curl, stage::Stage};

const VERSIONS: [(&str, &str); 2] = [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")];

/// A file of 16 MiB that no buffer divides, and its SHA-256.
fn large_file(stage: &Stage) -> (PathBuf, String) {
    let content: Vec<u8> =
        (0..16 * 1024 * 1024 + 7_u32).map(|octet| (octet.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let path = stage.home.path("large");
    fs::write(&path, &content).expect("room for a file");
    (path, sha256(&content))
}

fn sha256(content: &[u8]) -> String {
    digest(&SHA256, content).as_ref().iter().fold(String::new(), |hex, octet| hex + &format!("{octet:02x}"))
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn with_http_1_1_and_h2c() {
    let stage = Stage::new().await;
    let proxy = stage.serve("").await;
    for (version, spoken) in VERSIONS {
        let url = format!("http://localhost:{}/orders/a%2fb?c=%20", proxy.address().port());
        let answer = curl(&[version, "--ipv4", "--write-out", "\n%{http_version}", &url]).succeeds().await.stdout;
        let (body, with) = answer.rsplit_once('\n').expect("two parts");
        assert_eq!(with, spoken);
        let seen = json(body);
        assert_eq!(seen["target"], "/orders/a%2fb?c=%20");
        assert_eq!(seen["token"]["verdict"], "valid", "{seen}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn waiting_for_100_continue_before_it_uploads() {
    let stage = Stage::new().await;
    let proxy = stage.serve("").await;
    let (file, hash) = large_file(&stage);
    let (file, url) = (file.to_str().expect("UTF-8"), format!("http://{}/sink", proxy.address()));
    // Left alone curl would send the body after a second; here only a 100 makes it.
    let patient = ["--expect100-timeout", "3600", "--header", "Expect: 100-continue", "--verbose"];
    let uploaded = curl(&[&patient[..], &["--http1.1", "--upload-file", file, &url]].concat()).succeeds().await;
    assert!(uploaded.stderr.contains("< HTTP/1.1 100 Continue"), "{}", uploaded.stderr);
    assert_eq!(json(&uploaded.stdout)["body_sha256"], hash);
    let log = stage.upstream.log();
    assert_eq!(log.last().map(|request| request.headers.contains_key("expect")), Some(false));
    proxy.stop().await;
}

#[tokio::test]
async fn sixteen_mebibytes_arrive_whole_both_ways_at_once() {
    let stage = Stage::new().await;
    let proxy = stage.serve("").await;
    let (file, hash) = large_file(&stage);
    let (file, url) = (file.to_str().expect("UTF-8"), format!("http://{}/duplex", proxy.address()));
    let back = stage.home.path("back");
    for (version, _) in VERSIONS {
        let output = back.to_str().expect("UTF-8");
        curl(&["--fail", version, "--upload-file", file, "--output", output, &url]).succeeds().await;
        assert_eq!(sha256(&fs::read(&back).expect("a download")), hash, "{version}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_body_whose_length_nobody_knows() {
    let stage = Stage::new().await;
    let proxy = stage.serve("").await;
    let (file, hash) = large_file(&stage);
    let url = format!("http://{}/sink", proxy.address());
    for (version, _) in VERSIONS {
        let uploaded = curl(&[version, "--upload-file", "-", &url]).reading(&file).succeeds().await;
        assert_eq!(json(&uploaded.stdout)["body_sha256"], hash, "{version}");
        let log = stage.upstream.log();
        let last = log.last().expect("a request");
        assert_eq!(last.version, Version::HTTP_11);
        assert_eq!(last.headers.get("transfer-encoding").map(http::HeaderValue::as_bytes), Some(&b"chunked"[..]));
        assert!(!last.headers.contains_key("content-length"), "{version}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn over_a_unix_socket() {
    let stage = Stage::new().await;
    let socket = stage.home.path("run/orders.sock");
    let socket = socket.to_str().expect("UTF-8");
    stage.configure("");
    stage.signed_in().await;
    let proxy = stage.home.serve_with(&["--listen", "127.0.0.1:0", "--listen", &format!("unix:{socket}")]).await;
    for (version, _) in VERSIONS {
        let answer = curl(&[version, "--unix-socket", socket, "http://localhost/orders"]).succeeds().await;
        assert_eq!(json(&answer.stdout)["token"]["verdict"], "valid", "{version}");
    }
    proxy.stop().await;
}
