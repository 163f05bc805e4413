//! What is asked for, and of whom: H10 to H15. Bytes in, the same bytes out.

use super::{
    rows::{play, row},
    scene::Scene,
};

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[tokio::test]
async fn hosts() {
    let scene = Scene::new().await;
    let port = scene.proxy.address().port();
    let host = |host: &str| format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let rows = [
        row("H10 no Host", "GET /x HTTP/1.1\r\n\r\n").refused(400, "bad_request").ends(),
        row("H10 two Hosts", "GET /x HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")
            .refused(400, "bad_request")
            .ends(),
        row("H10 an empty Host", host("")).refused(400, "bad_request").ends(),
        row("H10 a Host with a space", host("local host")).refused(400, "bad_request").ends(),
        row("H10 a Host with a path", host("localhost/x")).refused(400, "bad_request").ends(),
        row("H10 a Host with a user", host("me@localhost")).refused(400, "bad_request").ends(),
        row("H10 a list of Hosts", host("localhost, localhost")).refused(400, "bad_request").ends(),
        row("H10 a port that is none", host("localhost:http")).refused(400, "bad_request").ends(),
        row("H10 an empty port is no port (RFC 3986 §3.2.3)", host("localhost:")).arrives_plain(),
        row("H10 any case, and a dot", host(&format!("LocalHost.:{port}"))).arrives_plain(),
        row("H10 a name of somebody else", host("evil.example")).refused(403, "host_not_allowed"),
        row("H10 HTTP/1.0 knows no Host", "GET /x HTTP/1.0\r\n\r\n").refused(400, "bad_request").ends(),
        row("H11 absolute-form", format!("GET http://localhost:{port}/x HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"))
            .arrives_plain(),
        row("H11 absolute-form without a path", "GET http://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n").arrives(
            "GET /",
            &[],
            "",
        ),
        row("H11 absolute-form with a query alone", "GET http://localhost?q HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .arrives("GET /?q", &[], ""),
        row("H11 absolute-form for somebody else", "GET http://evil.example/x HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .refused(403, "host_not_allowed"),
        row("H11 a Host of somebody else", "GET http://localhost/x HTTP/1.1\r\nHost: evil.example\r\n\r\n")
            .refused(403, "host_not_allowed"),
    ];
    play(&scene, &rows).await;
}

#[tokio::test]
async fn methods_that_speak_of_connections() {
    let scene = Scene::new().await;
    let options = |more: &str| format!("OPTIONS /x HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    let allow = ["allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"];
    let mut answered_here = row("H13 OPTIONS of the server itself", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n");
    answered_here = answered_here.returns("204 No Content", &allow, "");
    let rows = [
        row("H12 CONNECT", "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n")
            .refused(405, "method_refused"),
        row("H12 TRACE", "TRACE /x HTTP/1.1\r\nHost: localhost\r\n\r\n").refused(405, "method_refused"),
        row("H12 TRACE that may go no further", "TRACE /x HTTP/1.1\r\nHost: localhost\r\nMax-Forwards: 0\r\n\r\n")
            .refused(405, "method_refused"),
        answered_here,
        row("H13 GET of everything", "GET * HTTP/1.1\r\nHost: localhost\r\n\r\n").refused(400, "bad_request").ends(),
        row("H12 OPTIONS that may go no further", options("Max-Forwards: 0\r\n")).returns("204 No Content", &allow, ""),
        row("H12 the same, written otherwise", options("Max-Forwards: 000\r\n")).returns("204 No Content", &allow, ""),
        row("H12 OPTIONS that may go on is one hop nearer (RFC 9110 §7.6.2)", options("Max-Forwards: 10\r\n")).arrives(
            "OPTIONS /x",
            &["max-forwards: 9"],
            "",
        ),
        row("H12 Max-Forwards that is no number says nothing", options("Max-Forwards: many\r\n")).arrives(
            "OPTIONS /x",
            &["max-forwards: many"],
            "",
        ),
        row("H12 Max-Forwards is not about GET", "GET /x HTTP/1.1\r\nHost: localhost\r\nMax-Forwards: 0\r\n\r\n")
            .arrives("GET /x", &["max-forwards: 0"], ""),
        row("S17 plain OPTIONS", options("")).arrives("OPTIONS /x", &[], ""),
    ];
    play(&scene, &rows).await;
}

#[tokio::test]
async fn paths_and_queries_are_not_touched() {
    let scene = Scene::new().await;
    let long = format!("/{}", "a/".repeat(20_000));
    let mut rows: Vec<_> = [
        ("H14 a host in the path", "//evil.example/x"),
        ("H14 dots", "/a/../b/./c/..."),
        ("H14 escaped dots", "/a/%2e%2E/b"),
        ("H14 escaped slashes", "/a%2Fb%2fc"),
        ("H14 NUL, escaped", "/a%00b"),
        ("H14 parameters", "/a;b=c,d;e"),
        ("H14 many slashes", "/a//b///"),
        ("H14 what need not be escaped, and is", "/%41%7E"),
        ("H14 what is no escape", "/%zz%"),
        ("H14 reserved characters", "/!$&'()*+,;=:@[]"),
        ("H14 a backslash", "/a\\b"),
        ("H14 an empty query", "/x?"),
        ("H14 questions", "/x??a=b?c"),
        ("H14 a query of everything", "/x?a=b&c=/../%2F;//#".trim_end_matches('#')),
        ("H14 a very long path", long.as_str()),
    ]
    .into_iter()
    .map(|(name, target)| row(name, get(target)).arrives(&format!("GET {target}"), &[], ""))
    .collect();
    rows.extend([
        row("H15 a fragment stays behind", get("/x#here")).arrives_plain(),
        row("H15 UTF-8 is not judged", b"GET /\xc3\xa9?\xc3\xa9 HTTP/1.1\r\nHost: localhost\r\n\r\n").arrives(
            "GET /\u{c3}\u{a9}?\u{c3}\u{a9}",
            &[],
            "",
        ),
        row("H15 other bytes are", b"GET /\xe9 HTTP/1.1\r\nHost: localhost\r\n\r\n").bare(400),
        row("H15 a space", get("/a b")).bare(400),
        row("H15 a name and no path", get("localhost")).refused(400, "bad_request").ends(),
        row("H15 a name of somebody else", get("x")).refused(403, "host_not_allowed"),
        row("H15 longer than any target", get(&format!("/{}", "a".repeat(70_000)))).bare(414),
    ]);
    play(&scene, &rows).await;
}

#[tokio::test]
async fn a_base_path_is_put_before_and_nothing_else_changes() {
    let scene = Scene::with("/prod/", "").await;
    let rows: Vec<_> = [
        ("H14 one slash, not two", "/x", "/prod/x"),
        ("H14 the root", "/", "/prod/"),
        ("H14 dots do not climb", "/../x", "/prod/../x"),
        ("H14 a host in the path", "//evil.example/x", "/prod//evil.example/x"),
        ("H14 a query", "/?a=%2F", "/prod/?a=%2F"),
    ]
    .into_iter()
    .map(|(name, target, arrives)| row(name, get(target)).arrives(&format!("GET {arrives}"), &[], ""))
    .collect();
    for row in rows {
        // Here the request that follows has another path than the other scenes': only the row itself is played.
        row.alone(&scene).await;
    }
}
