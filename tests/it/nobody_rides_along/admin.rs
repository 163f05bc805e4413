//! The admin listener belongs to nobody's page but its own, whatever `guard.origins` lists.

use super::scene::{Scene, problem, text};

#[tokio::test]
async fn no_page_but_its_own_reads_the_admin_listener() {
    let scene = Scene::with("guard.origins = [\"http://localhost:3000\"]").await;
    let host = (403, "host_not_allowed", "guard.hosts");
    let origin = (403, "origin_not_allowed", "guard.origins does not apply");
    let site = (403, "cross_site", "guard.origins does not apply");
    let ok = (200, "", "");
    let mut refused = 0;
    for path in ["/status", "/status.json", "/metrics"] {
        for (id, lines, (status, code, fix)) in [
            ("curl", "Host", ok),
            ("typed", "Host\nSec-Fetch-Site: none", ok),
            ("its own page", "Host\nSec-Fetch-Site: same-origin\nOrigin: http://localhost:PORT", ok),
            ("its own page by Referer", "Host\nSec-Fetch-Site: same-origin\nReferer: http://localhost:PORT/status", ok),
            ("by address", "Host: 127.0.0.1:PORT", ok),
            ("rebound", "Host: evil.example:PORT", host),
            ("another port", "Host: localhost:9", host),
            ("no Host", "", (400, "bad_request", "one Host header")),
            ("two Hosts", "Host\nHost", (400, "bad_request", "one Host header")),
            ("listed origin", "Host\nOrigin: http://localhost:3000", origin),
            ("evil origin", "Host\nOrigin: http://evil.example", origin),
            ("null", "Host\nOrigin: null", origin),
            ("its own page by another name", "Host\nOrigin: http://127.0.0.1:PORT", origin),
            ("its own page by https", "Host\nOrigin: https://localhost:PORT", origin),
            ("a user", "Host\nOrigin: http://localhost:PORT@evil.example", origin),
            ("a socket", "Host\nConnection: Upgrade\nUpgrade: websocket\nOrigin: http://evil.example", origin),
            ("below localhost", "Host: evil.localhost:PORT", host),
            ("bind sentinel", "Host: 0.0.0.0:PORT", host),
            ("good and bad site", "Host\nSec-Fetch-Site: same-origin\nSec-Fetch-Site: cross-site", site),
            ("empty site", "Host\nSec-Fetch-Site:", site),
            ("own and evil Referer", "Host\nReferer: http://localhost:PORT/\nReferer: http://evil.example/", site),
            ("a Referer's user", "Host\nReferer: http://localhost:PORT@evil.example/", site),
            ("an empty Referer", "Host\nReferer:", site),
            ("own and evil", "Host\nOrigin: http://localhost:PORT\nOrigin: http://evil.example", origin),
            ("cross-site", "Host\nSec-Fetch-Site: cross-site", site),
            ("same-site", "Host\nSec-Fetch-Site: same-site", site),
            ("listed Referer", "Host\nReferer: http://localhost:3000/", site),
            ("evil Referer", "Host\nReferer: http://evil.example/", site),
        ] {
            let row = format!("S28 {path} {id}");
            let got = scene.send_admin(&format!("GET {path}\n{lines}")).await;
            assert_eq!(got.status, status, "{row}: {}", text(&got.body));
            assert!(!text(&got.body).contains("eyJ"), "{row}: a token");
            assert!(!got.headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{row}");
            if status != 200 {
                problem(&row, status, code, fix, &got);
                refused += u64::from(status == 403);
            }
        }
    }
    let mut counted = 0;
    for code in ["host_not_allowed", "origin_not_allowed", "cross_site"] {
        counted += scene.refused_total(code).await;
    }
    assert_eq!(counted, refused, "each refusal is counted once");
    assert_eq!(scene.upstream.heard().connections, 0, "none of this is the upstream's");
}

#[tokio::test]
async fn a_probe_is_answered_whoever_asks_and_told_nothing() {
    let scene = Scene::with("").await;
    for path in ["/livez", "/readyz"] {
        for lines in ["Host: evil.example", "Host\nOrigin: null\nSec-Fetch-Site: cross-site", "Host: 10.0.0.1:PORT"] {
            let got = scene.send_admin(&format!("GET {path}\n{lines}")).await;
            assert_eq!((got.status, text(&got.body).as_str()), (200, "ok\n"), "{path} {lines:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_changed_by_a_page() {
    let scene = Scene::with("guard.origins = [\"http://localhost:3000\"]").await;
    for path in ["/status", "/reload", "/unlock", "/token", "/session"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            let lines =
                format!("{method} {path}\nHost\nOrigin: http://localhost:3000\nAccess-Control-Request-Method: POST");
            let got = scene.send_admin(&lines).await;
            assert_eq!(got.status, 403, "{method} {path}");
            let got = scene.send_admin(&format!("{method} {path}\nHost")).await;
            assert!(matches!(got.status, 403..=405), "{method} {path}: {}", got.status);
            assert!(!text(&got.body).contains("eyJ"), "{method} {path}");
        }
    }
}
