//! Fields that end at this hop, and fields that do not: H16, H31, and what a gateway must not lose.

use super::{
    rows::{play, row},
    scene::Scene,
};

fn get(fields: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

#[tokio::test]
async fn of_requests() {
    let scene = Scene::new().await;
    let long = "v".repeat(20_000);
    let rows = [
        row("H16 fields of this hop", get("Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nTE: gzip\r\n\
             Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nProxy-Authenticate: y\r\nProxy-X: z\r\n"))
            .arrives_plain(),
        row("H16 what Connection names", get("Connection: X-Secret, x-other\r\nX-Secret: a\r\nX-Other: b\r\nX-C: c\r\n"))
            .arrives("GET /x", &["x-c: c"], ""),
        row("H16 named in several fields and among empty members",
            get("Connection: ,X-A,,\r\nConnection: x-b ,\r\nX-A: a\r\nX-B: b\r\nX-C: c\r\n"))
            .arrives("GET /x", &["x-c: c"], ""),
        row("H16 named beside bytes that no name has",
            b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: X-A, \xe9\r\nX-A: a\r\n\r\n")
            .arrives_plain(),
        row("H16 Connection cannot name what everything hangs on",
            get("Connection: Authorization, Host, Content-Length, Cookie, Via\r\nCookie: a=b\r\n"))
            .arrives("GET /x", &["cookie: a=b"], ""),
        row("H16 Connection: close is about this connection", get("Connection: close\r\n"))
            .arrives_plain()
            .returns("200 OK", &["connection: close", "content-length: 2"], "hi")
            .ends(),
        row("H16 trailers are taken", get("Connection: TE\r\nTE: trailers, deflate;q=0.5\r\n"))
            .arrives("GET /x", &["connection: te", "te: trailers"], ""),
        row("H16 Upgrade: h2c is not taken up",
            get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"))
            .arrives_plain(),
        row("H16 an Upgrade that Connection does not name", get("Upgrade: websocket\r\n")).arrives_plain(),
        row("H31 hops before us", get("Via: 1.0 fred, 1.1 p.example (Apache/1.1)\r\n"))
            .arrives("GET /x", &["via: 1.0 fred, 1.1 p.example (Apache/1.1)", "via: 1.1 PROXY"], ""),
        row("S18 the client's own credentials", get("Authorization: Basic a\r\nAuthorization: Basic b\r\n"))
            .arrives_plain(),
        row("S19 what a client says of itself",
            get("Forwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 1.2.3.4\r\n"))
            .arrives_plain(),
        row("S20 the same with underscores", get("X_Forwarded_For: 1.2.3.4\r\nProxy_Authorization: a\r\nX_Mine: m\r\n"))
            .arrives("GET /x", &["x_mine: m"], ""),
        row("the client key", get("Cognito-Proxy-Key: k\r\n")).arrives_plain(),
        row("an empty value", get("X-Empty:\r\nX-Blank:  \t \r\n")).arrives("GET /x", &["x-blank: ", "x-empty: "], ""),
        row("space around a value", get("X-A: \t a b\tc \t\r\nX-B:b\r\n"))
            .arrives("GET /x", &["x-a: a b\tc", "x-b: b"], ""),
        row("the same name twice, in order", get("X-A: 1\r\nx-b: 2\r\nx-A: 3\r\n"))
            .arrives("GET /x", &["x-a: 1", "x-a: 3", "x-b: 2"], ""),
        row("bytes that are no text", b"GET /x HTTP/1.1\r\nHost: localhost\r\nX-A: \xe9\xff\x80\r\n\r\n")
            .arrives("GET /x", &["x-a: \u{e9}\u{ff}\u{80}"], ""),
        row("H30 a long value", get(&format!("X-Long: {long}\r\n")))
            .arrives("GET /x", &[&format!("x-long: {long}")], ""),
        row("every character that a name may have", get("!#$%&'*+-.^`|~aZ09: v\r\n"))
            .arrives("GET /x", &["!#$%&'*+-.^`|~az09: v"], ""),
    ];
    play(&scene, &rows).await;
}

#[tokio::test]
async fn of_responses() {
    let scene = Scene::new().await;
    let ok = |fields: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{fields}\r\nhi");
    let cookies = "Set-Cookie: a=1; Path=/\r\nX-A: x\r\nSet-Cookie: b=2\r\nset-cookie: a=3; Expires=Tue, 15 Nov 1994 08:12:31 GMT\r\n";
    let rows = [
        row("H16 fields of this hop", get(""))
            .answered(ok("Connection: keep-alive, X-Internal\r\nX-Internal: i\r\nKeep-Alive: timeout=5\r\n\
                          Proxy-Authenticate: p\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTE: x\r\n\
                          Authorization: Bearer echo\r\nX-Kept: k\r\n"))
            .arrives_plain()
            .returns("200 OK", &["content-length: 2", "x-kept: k"], "hi"),
        row("H16 Connection: close is about the upstream's connection", get(""))
            .answered(ok("Connection: close\r\n"))
            .arrives_plain(),
        row("cookies, each in its line", get("")).answered(ok(cookies)).arrives_plain().returns("200 OK", &[
            "content-length: 2",
            "set-cookie: a=1; Path=/",
            "set-cookie: b=2",
            "set-cookie: a=3; Expires=Tue, 15 Nov 1994 08:12:31 GMT",
            "x-a: x",
        ], "hi"),
        row("a cookie of Latin-1 is rewritten like any other", get(""))
            .answered(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=\xe9; Domain=x.example; Secure\r\n\r\nhi")
            .arrives_plain()
            .returns("200 OK", &["content-length: 2", "set-cookie: a=\u{e9}"], "hi"),
        row("a location of UTF-8 comes home like any other", get(""))
            .answered(format!("HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {}/\u{e9}\r\n\r\n", scene.upstream.url()))
            .arrives_plain()
            .returns("302 Found", &["content-length: 0", "location: http://localhost/\u{c3}\u{a9}"], ""),
        row("bytes that are no text", get(""))
            .answered(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: \xe9\xff\r\nX-Empty:\r\n\r\nhi")
            .arrives_plain()
            .returns("200 OK", &["content-length: 2", "x-a: \u{e9}\u{ff}", "x-empty: "], "hi"),
        row("a date of the upstream's own stays", get(""))
            .answered(ok("Date: Tue, 15 Nov 1994 08:12:31 GMT\r\n"))
            .arrives_plain()
            .returns("200 OK", &["content-length: 2", "date: Tue, 15 Nov 1994 08:12:31 GMT"], "hi"),
        row("a space before the colon is taken away (RFC 9112 §5.1)", get(""))
            .answered(ok("X-A : a\r\n"))
            .arrives_plain()
            .returns("200 OK", &["content-length: 2", "x-a: a"], "hi"),
        row("426 says what to (RFC 9110 §15.5.22)", get(""))
            .answered("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            .arrives_plain()
            .returns("426 Upgrade Required", &["connection: upgrade", "content-length: 0", "upgrade: websocket"], ""),
        row("Via of a response is the upstream's", get(""))
            .answered(ok("Via: 1.1 edge\r\n"))
            .arrives_plain()
            .returns("200 OK", &["content-length: 2", "via: 1.1 edge"], "hi"),
    ];
    play(&scene, &rows).await;
}
