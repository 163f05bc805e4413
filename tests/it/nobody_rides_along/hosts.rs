//! What a request says it is for: `Host`, `:authority` and absolute targets, held against the names of the listener and
//! `guard.hosts`. This is what stops DNS rebinding.

use super::scene::{
    Scene,
    Wants::{Answered, Forwarded, Refused},
    problem,
};
use crate::support::proxy::Home;

const NOT_OURS: super::scene::Wants = Refused(403, "host_not_allowed", "guard.hosts");
const NOT_A_HOST: super::scene::Wants = Refused(400, "bad_request", "one Host header");

#[tokio::test]
async fn only_the_listeners_own_names_are_answered() {
    let scene = Scene::with("").await;
    scene
        .both(&[
            ("S1 without a port", "GET /x\nHost: localhost", Forwarded),
            ("S1", "GET /x\nHost: localhost:PORT", Forwarded),
            ("S1 v4", "GET /x\nHost: 127.0.0.1:PORT", Forwarded),
            ("S1 v6", "GET /x\nHost: [::1]:PORT", Forwarded),
            ("S1 v6 in full", "GET /x\nHost: [0:0:0:0:0:0:0:1]:PORT", Forwarded),
            ("S1 case", "GET /x\nHost: LOCALHOST:PORT", Forwarded),
            ("S1 trailing dot", "GET /x\nHost: localhost.:PORT", Forwarded),
            ("S2", "GET /x\nHost: evil.example", NOT_OURS),
            ("S2 with our port", "GET /x\nHost: evil.example:PORT", NOT_OURS),
            ("S2 suffix", "GET /x\nHost: localhost.evil.example:PORT", NOT_OURS),
            ("S2 prefix", "GET /x\nHost: evil-localhost:PORT", NOT_OURS),
            ("S2 rebinding service", "GET /x\nHost: 127.0.0.1.nip.io:PORT", NOT_OURS),
            ("S2 bind sentinel", "GET /x\nHost: 0.0.0.0:PORT", NOT_OURS),
            ("S2 bind sentinel v6", "GET /x\nHost: [::]:PORT", NOT_OURS),
            ("S2 short v4", "GET /x\nHost: 127.1:PORT", NOT_OURS),
            ("S2 number", "GET /x\nHost: 2130706433:PORT", NOT_OURS),
            ("S2 another loopback", "GET /x\nHost: 127.0.0.2:PORT", NOT_OURS),
            ("S2 nothing", "GET /x\nHost: 0:PORT", NOT_OURS),
            ("S2 octal", "GET /x\nHost: 0177.0.0.1:PORT", NOT_OURS),
            ("S2 hexadecimal", "GET /x\nHost: 0x7f000001:PORT", NOT_OURS),
            ("S2 v4 in v6", "GET /x\nHost: [::ffff:127.0.0.1]:PORT", NOT_OURS),
            ("S2 bind sentinel in v6", "GET /x\nHost: [::ffff:0.0.0.0]:PORT", NOT_OURS),
            ("S2 below localhost", "GET /x\nHost: evil.localhost:PORT", NOT_OURS),
            ("S2 like localhost", "GET /x\nHost: localhost.localdomain:PORT", NOT_OURS),
            ("S2 wrong port", "GET /x\nHost: localhost:9", NOT_OURS),
            ("S2 two dots", "GET /x\nHost: localhost..:PORT", NOT_OURS),
            ("S2 to the admin pages' name", "GET /livez\nHost: evil.example", NOT_OURS),
        ])
        .await;
}

#[tokio::test]
async fn a_host_that_is_none_is_refused() {
    let scene = Scene::with("").await;
    scene
        .http1(&[
            ("S3 missing", "GET /x", NOT_A_HOST),
            ("S3 empty", "GET /x\nHost:", NOT_A_HOST),
            ("S3 port alone", "GET /x\nHost: :PORT", NOT_A_HOST),
            ("S3 twice", "GET /x\nHost\nHost", NOT_A_HOST),
            ("S3 good and bad", "GET /x\nHost\nHost: evil.example", NOT_A_HOST),
            ("S3 space", "GET /x\nHost: local host:PORT", NOT_A_HOST),
            ("S3 slash", "GET /x\nHost: localhost/:PORT", NOT_A_HOST),
            ("S3 at", "GET /x\nHost: evil@localhost:PORT", NOT_A_HOST),
            ("S3 comma", "GET /x\nHost: localhost:PORT,evil.example", NOT_A_HOST),
            ("S3 percent", "GET /x\nHost: %6cocalhost:PORT", NOT_A_HOST),
            ("S3 two ports", "GET /x\nHost: localhost:PORT:PORT", NOT_A_HOST),
            ("S3 user and password", "GET /x\nHost: localhost:PORT@evil.example", NOT_A_HOST),
            ("S3 backslash", "GET /x\nHost: localhost\\:PORT", NOT_A_HOST),
            ("S3 quotes", "GET /x\nHost: \"localhost\":PORT", NOT_A_HOST),
            ("S3 list", "GET /x\nHost: localhost:PORT;evil.example", NOT_A_HOST),
            ("S3 URL", "GET /x\nHost: http://localhost:PORT", NOT_A_HOST),
            ("S3 v6 without brackets", "GET /x\nHost: ::1:PORT", NOT_A_HOST),
            ("S3 v6 with a zone", "GET /x\nHost: [::1%25lo]:PORT", NOT_A_HOST),
            ("S3 v6 not closed", "GET /x\nHost: [::1:PORT", NOT_A_HOST),
            ("S3 signed port", "GET /x\nHost: localhost:+PORT", NOT_A_HOST),
            ("S3 folded", "GET /x\nX-A: 1\n Host: evil.example\nHost", Answered(400)),
            ("S3 space before the colon", "GET /x\nHost : localhost:PORT", Answered(400)),
            ("S3 port of letters", "GET /x\nHost: localhost:http", NOT_A_HOST),
            ("S3 port too large", "GET /x\nHost: localhost:65536", NOT_A_HOST),
            ("S3 not ASCII", "GET /x\nHost: l\u{f6}calhost", NOT_A_HOST),
        ])
        .await;
}

#[tokio::test]
async fn a_target_with_an_authority_must_agree_with_host() {
    let differs = Refused(403, "host_not_allowed", "base URL");
    let scene = Scene::with("").await;
    scene
        .http1(&[
            ("S4 the same", "GET http://localhost:PORT/x\nHost", Forwarded),
            ("S4 evil target", "GET http://evil.example/x\nHost", differs),
            ("S4 evil Host", "GET http://localhost:PORT/x\nHost: evil.example", differs),
            ("S4 both evil", "GET http://evil.example/x\nHost: evil.example", NOT_OURS),
            ("S4 no Host", "GET http://localhost:PORT/x", NOT_A_HOST),
            ("S4 user", "GET http://evil@localhost:PORT/x\nHost", NOT_A_HOST),
            ("S4 user that looks like us", "GET http://localhost:PORT@evil.example/x\nHost", NOT_A_HOST),
            ("S4 case and dot", "GET http://LOCALHOST.:PORT/x\nHost", Forwarded),
            ("S4 another scheme", "GET https://localhost:PORT/x\nHost", Forwarded),
            ("S4 a path that looks like a host", "GET //evil.example/x\nHost", Forwarded),
            ("S4 two of ours", "GET http://127.0.0.1:PORT/x\nHost", differs),
            ("H12 CONNECT", "CONNECT localhost:PORT\nHost", Refused(405, "method_refused", "proxy")),
            (
                "H12 CONNECT elsewhere",
                "CONNECT evil.example:443\nHost: evil.example:443",
                Refused(405, "method_refused", "proxy"),
            ),
            ("H12 TRACE", "TRACE /x\nHost", Refused(405, "method_refused", "another method")),
            ("S17 OPTIONS *", "OPTIONS *\nHost", Answered(204)),
            ("S17 GET *", "GET *\nHost", Answered(400)),
            ("S17 OPTIONS", "OPTIONS /x\nHost", Forwarded),
        ])
        .await;
    let target = scene.upstream.heard().heads.into_iter().next().expect("a request");
    assert!(target.starts_with("GET /x HTTP/1.1\r\n"), "{target}");
}

#[tokio::test]
async fn over_http2_authority_counts_and_host_must_agree() {
    let scene = Scene::with("").await;
    let port = scene.proxy.address().port();
    for (id, extra, status, code) in [
        ("S5 the same", format!("host: localhost:{port}"), 200, ""),
        ("S5 evil Host", "host: evil.example".to_owned(), 400, "bad_request"),
        ("S5 another of ours", format!("host: 127.0.0.1:{port}"), 400, "bad_request"),
    ] {
        let before = scene.upstream.heard();
        let got = scene.send_h2(&format!("GET /x\nHost\n{extra}")).await;
        assert_eq!(got.status, status, "{id}");
        let after = scene.upstream.heard();
        if status == 200 {
            assert_eq!(after.heads.len(), before.heads.len() + 1, "{id}");
            assert_eq!(after.values("host").len(), 1, "{id}");
        } else {
            problem(id, status, code, ":authority", &got);
            assert_eq!(after.octets, before.octets, "{id}");
        }
    }
}

#[tokio::test]
async fn a_grpc_call_is_refused_in_its_own_form() {
    let scene = Scene::with("").await;
    let got = scene
        .send_h2("POST /orders.Orders/List\nHost: evil.example\nContent-Type: application/grpc\nTE: trailers")
        .await;
    assert_eq!((got.status, got.values("grpc-status")), (200, vec!["7"]));
    assert!(got.values("grpc-message")[0].contains("guard.hosts"), "{got:?}");
    assert_eq!(scene.upstream.heard().octets, 0);
}

#[tokio::test]
async fn names_that_are_listed_are_answered_too() {
    let scene = Scene::with("guard.hosts = [\"api.test\", \"pinned.test:1234\", \"web.test:80\"]").await;
    scene
        .both(&[
            ("hosts", "GET /x\nHost: api.test", Forwarded),
            ("hosts with a port", "GET /x\nHost: Api.Test.:4321", Forwarded),
            ("hosts pinned", "GET /x\nHost: pinned.test:1234", Forwarded),
            ("hosts port 80", "GET /x\nHost: web.test", Forwarded),
            ("hosts pinned without", "GET /x\nHost: pinned.test", NOT_OURS),
            ("hosts pinned elsewhere", "GET /x\nHost: pinned.test:PORT", NOT_OURS),
            ("hosts below", "GET /x\nHost: sub.api.test", NOT_OURS),
            ("hosts above", "GET /x\nHost: test", NOT_OURS),
            ("hosts and the page that it serves", "POST /x\nHost: api.test\nOrigin: http://api.test", Forwarded),
            (
                "hosts and another page",
                "POST /x\nHost: api.test\nOrigin: http://pinned.test:1234",
                Refused(403, "origin_not_allowed", "guard.origins"),
            ),
        ])
        .await;
}

#[tokio::test]
async fn a_unix_socket_is_guarded_alike() {
    let place = Home::new();
    let path = place.path("run/requests.sock");
    let scene = Scene::with(&format!("listen.proxy = [\"127.0.0.1:0\", \"unix:{}\"]", path.display())).await;
    for (lines, status, code, fix) in [
        ("GET /x\nHost: localhost", 200, "", ""),
        ("GET /x\nHost: localhost:PORT", 200, "", ""),
        ("GET /x\nHost: evil.example", 403, "host_not_allowed", "guard.hosts"),
        ("GET /x\nHost: localhost:9", 403, "host_not_allowed", "guard.hosts"),
        ("GET /x\nHost: localhost\nOrigin: http://evil.example", 403, "origin_not_allowed", "guard.origins"),
        ("GET /x\nHost: localhost\nSec-Fetch-Site: cross-site", 403, "cross_site", "guard.origins"),
        ("GET /x", 400, "bad_request", "one Host header"),
    ] {
        let before = scene.upstream.heard();
        let got = scene.send_unix(&path, lines).await;
        assert_eq!(got.status, status, "{lines:?}");
        let came = scene.upstream.heard().heads.len() - before.heads.len();
        assert_eq!(came, usize::from(status == 200), "{lines:?}");
        if status != 200 {
            problem(lines, status, code, fix, &got);
            assert_eq!(scene.upstream.heard().octets, before.octets, "{lines:?}");
        }
    }
}
