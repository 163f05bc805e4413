//! What each page answers, as a value.

use std::{sync::atomic::Ordering, time::Duration};

use http::Request;

use super::{
    fixtures::{CANARY, signed_out},
    *,
};

fn ask(admin: &Admin, method: &str, path: &str) -> Response<Bytes> {
    let head = Request::builder().method(method).uri(path).body(()).unwrap().into_parts().0;
    admin.answer(&head).map(Body::into_bytes)
}

fn json(response: &Response<Bytes>) -> serde_json::Value {
    serde_json::from_slice(response.body()).unwrap()
}

#[test]
fn readyz_follows_the_token_and_says_only_the_code() {
    let fixture = signed_out();
    let unready = |code: &str| {
        let response = ask(&fixture.admin, "GET", "/readyz");
        assert_eq!(response.status(), 503);
        assert_eq!(json(&response), serde_json::json!({"title": "Service Unavailable", "status": 503, "code": code}));
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(response.headers().contains_key("retry-after"));
        let said = response.headers()["proxy-status"].to_str().unwrap();
        assert!(said.contains(&format!("details=\"{code}\"")), "{said}");
    };
    unready("login_required");
    fixture.sign_in();
    let response = ask(&fixture.admin, "GET", "/readyz");
    assert_eq!((response.status().as_u16(), response.body().as_ref()), (200, b"ok\n".as_slice()));
    // The other kind is wanted too, by a reload.
    fixture.admin.reconfigure(Readiness { kinds: vec![TokenKind::Id, TokenKind::Access], on_demand: false });
    unready("refresh_failing");
    fixture.admin.reconfigure(Readiness { kinds: vec![TokenKind::Access], on_demand: true });
    assert_eq!(ask(&fixture.admin, "GET", "/readyz").status(), 200);
    fixture.admin.reconfigure(Readiness { kinds: vec![TokenKind::Id], on_demand: false });
    fixture.clock.advance(Duration::from_secs(3599));
    unready("refresh_failing");
    fixture.switches.stopping.store(true, Ordering::Relaxed);
    unready("stopping");
}

#[test]
fn livez_follows_the_loops_alone() {
    let fixture = signed_out();
    assert_eq!(ask(&fixture.admin, "GET", "/livez").status(), 200);
    fixture.switches.alive.store(false, Ordering::Relaxed);
    let response = ask(&fixture.admin, "GET", "/livez");
    assert_eq!((response.status().as_u16(), &json(&response)["code"]), (503, &"stalled".into()));
}

#[test]
fn status_is_the_report_of_this_moment() {
    let fixture = signed_out();
    fixture.sign_in();
    fixture.clock.advance(Duration::from_secs(100));
    let response = ask(&fixture.admin, "GET", "/status.json");
    assert_eq!(response.headers()["content-type"], "application/json");
    let report = json(&response);
    assert_eq!(report["schema"], 1);
    assert_eq!(report["state"], "fresh");
    assert_eq!(report["id_token"]["expires_in_s"], 3500);
    assert_eq!(report["identity"]["username"], "alice");

    let page = ask(&fixture.admin, "GET", "/status");
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let text = String::from_utf8(page.body().to_vec()).unwrap();
    assert!(text.contains("alice (6a4f)") && text.contains(">58m 20s</span>"), "{text}");
}

#[test]
fn metrics_are_openmetrics() {
    let response = ask(&signed_out().admin, "GET", "/metrics");
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    assert_eq!(response.body().as_ref(), b"state signed_out\nheld 0\n# EOF\n");
}

#[test]
fn head_is_get_without_the_body() {
    let fixture = signed_out();
    fixture.sign_in();
    for path in ["/livez", "/readyz", "/metrics", "/status", "/status.json"] {
        let (get, head) = (ask(&fixture.admin, "GET", path), ask(&fixture.admin, "HEAD", path));
        assert_eq!(get.status(), head.status());
        assert!(head.body().is_empty());
        assert_eq!(head.headers()["content-length"], get.body().len().to_string().as_str());
        assert_eq!(head.headers()["content-type"], get.headers()["content-type"]);
    }
}

#[test]
fn everything_else_is_a_problem() {
    let fixture = signed_out();
    for path in ["/", "/statusx", "/status/", "/token", "/session", "/%73tatus"] {
        for method in ["GET", "POST"] {
            let response = ask(&fixture.admin, method, path);
            assert_eq!(response.status(), 404, "{method} {path}");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert!(json(&response)["fix"].as_str().unwrap().contains("/status"));
        }
    }
    for method in ["POST", "DELETE", "OPTIONS", "PUT"] {
        let response = ask(&fixture.admin, method, "/status");
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()["allow"], "GET, HEAD");
    }
}

#[test]
fn a_browser_that_is_lost_is_led_to_the_page() {
    let fixture = signed_out();
    let open = |path: &str| {
        let head = Request::get(path).header("accept", "text/html,*/*;q=0.8").body(()).unwrap().into_parts().0;
        fixture.admin.answer(&head).map(Body::into_bytes)
    };
    let root = open("/");
    assert_eq!((root.status().as_u16(), &root.headers()["location"]), (302, &"/status".parse().unwrap()));
    let lost = open("/nothing");
    assert_eq!(
        (lost.status().as_u16(), &lost.headers()["content-type"]),
        (404, &"text/html; charset=utf-8".parse().unwrap())
    );
    assert!(lost.headers()["proxy-status"].to_str().unwrap().contains("not_found"));
    let page = std::str::from_utf8(lost.body()).unwrap();
    assert!(page.contains("href=\"/status\"") && page.contains("there is no /nothing here"), "{page}");
}

#[test]
fn nothing_is_cached_sniffed_or_holds_the_token() {
    let fixture = signed_out();
    fixture.sign_in();
    for path in ["/livez", "/readyz", "/metrics", "/status", "/status.json", "/nothing"] {
        let response = ask(&fixture.admin, "GET", path);
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let whole = format!("{response:?}");
        assert!(!whole.contains(CANARY) && !whole.contains("eyJ"), "{whole}");
    }
    assert!(!format!("{:?}", fixture.admin).contains("eyJ"));
}
