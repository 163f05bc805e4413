//! A page that polls must not fill the log, and must not go unseen.

use std::time::Instant;

use serde_json::Value;

use super::scene::Scene;

#[tokio::test]
async fn a_hundred_refusals_are_a_hundred_counted_and_one_line_a_second() {
    let scene = Scene::with("runtime.workers = 2").await;
    let began = Instant::now();
    for _ in 0..100 {
        // A connection each, so that every worker has its share.
        assert_eq!(scene.send("GET /x\nHost: evil.example").await.status, 403);
    }
    let took = began.elapsed().as_secs();
    assert_eq!(scene.send("GET /x\nHost\nOrigin: null").await.status, 403);
    assert_eq!(scene.refused_total("host_not_allowed").await, 100);
    assert_eq!(scene.refused_total("origin_not_allowed").await, 1);
    assert_eq!(scene.upstream.heard().octets, 0);

    let ended = scene.proxy.stop().await;
    let lines: Vec<Value> = ended
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["message"] == "request refused")
        .collect();
    let of = |code: &str| lines.iter().filter(|line| line["code"] == code).cloned().collect::<Vec<_>>();
    let hosts = of("host_not_allowed");
    let most = usize::try_from(took + 1).expect("short");
    assert!((1..=most).contains(&hosts.len()), "{} lines in {took} s: {hosts:?}", hosts.len());
    assert_eq!(of("origin_not_allowed").len(), 1, "another reason has its own line");
    let first = &hosts[0];
    assert_eq!(first["level"], "warn", "{first}");
    assert!(first["fix"].as_str().is_some_and(|fix| fix.contains("guard.hosts")), "{first}");
    assert!(first["peer"].as_str().is_some_and(|peer| peer.starts_with("uid ")), "{first}");
}
