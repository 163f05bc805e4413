//! Exact requests and their exact verdicts: rows S1–S17 and S26–S28 of the threat model.

use http::{HeaderValue, Request, Uri, header::VARY};

use super::*;
use crate::{guard::UserSpec, reply::Code, secret::Secret};

const LISTENER: &str = "127.0.0.1:8900";
const MYSELF: Peer = Peer::Uid(1000);

pub(super) fn settings() -> Settings {
    Settings {
        hosts: vec![],
        origins: vec![Origin::parse("http://localhost:3000").unwrap()],
        users: vec![UserSpec::Uid(1000), UserSpec::Uid(0)],
        client_key: None,
        require_header: None,
    }
}

pub(super) fn guard(settings: &Settings) -> Guard {
    let own = [LISTENER, "[::1]:8900"].map(|address| HostPattern::of_address(address.parse().unwrap()));
    Guard::new(Post::Proxy, settings, Users::resolve(&settings.users).unwrap(), own.to_vec())
}

fn tcp(local: &str, peer: Peer) -> Connection {
    Connection { local: Local::Tcp(local.parse().unwrap()), peer }
}

pub(super) fn here() -> Connection {
    tcp(LISTENER, MYSELF)
}

/// A head as it stands on the wire: `METHOD TARGET VERSION`, then fields, each on its line.
fn head(text: &str) -> RequestHead {
    let mut lines = text.lines().map(str::trim);
    let mut words = lines.next().unwrap().split(' ');
    let (method, target, version) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let version = match version {
        "HTTP/1.0" => Version::HTTP_10,
        "HTTP/1.1" => Version::HTTP_11,
        "HTTP/2" => Version::HTTP_2,
        other => panic!("{other}"),
    };
    let uri = Uri::try_from(target).unwrap();
    let mut request = Request::builder().method(method).uri(uri).version(version);
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap();
        request = request.header(name, HeaderValue::from_bytes(value.trim().as_bytes()).unwrap());
    }
    request.body(()).unwrap().into_parts().0.into()
}

/// `GET /x` with a good Host and these fields.
fn get(fields: &str) -> RequestHead {
    head(&format!("GET /x HTTP/1.1\nHost: localhost:8900\n{fields}"))
}

fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Admitted(Admitted { cors: None }) => "forwarded".into(),
        Verdict::Admitted(Admitted { cors: Some(_) }) => "forwarded, cors".into(),
        Verdict::Preflight(_) => "preflight".into(),
        Verdict::Refused(Refused { refusal, cors }) => {
            let cors = if cors.is_some() { ", cors" } else { "" };
            format!("{} {}{cors}", refusal.code.status().as_u16(), refusal.code.as_str())
        }
    }
}

fn assert_verdicts(guard: &Guard, connection: &Connection, rows: &[(RequestHead, &str)]) {
    for (head, expected) in rows {
        assert_eq!(word(&guard.check(connection, head)), *expected, "{head:?}");
    }
}

#[test]
fn s1_our_own_names_are_admitted() {
    let guard = guard(&settings());
    for host in [
        "localhost",
        "localhost:8900",
        "127.0.0.1",
        "127.0.0.1:8900",
        "[::1]:8900",
        "LOCALHOST:8900",
        "localhost.:8900",
    ] {
        assert_verdicts(&guard, &here(), &[(head(&format!("GET /x HTTP/1.1\nHost: {host}")), "forwarded")]);
    }
}

#[test]
fn s2_other_names_are_not() {
    let guard = guard(&settings());
    for host in [
        "evil.example",
        "evil.example:8900",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "0.0.0.0",
        "0.0.0.0:8900",
        "127.1",
        "127.0.0.2:8900",
        "2130706433",
        "localhost:9999",
        "[::]:8900",
        "[::ffff:127.0.0.1]:8900",
        "localhost..:8900",
    ] {
        assert_verdicts(&guard, &here(), &[(head(&format!("GET /x HTTP/1.1\nHost: {host}")), "403 host_not_allowed")]);
    }
}

#[test]
fn s3_a_host_that_is_none_is_a_bad_request() {
    let guard = guard(&settings());
    for fields in [
        "",
        "Host:",
        "Host: localhost:8900\nHost: localhost:8900",
        "Host: localhost:8900\nHost: evil.example",
        "Host: local host",
        "Host: localhost/x",
        "Host: user@localhost:8900",
        "Host: localhost:8900,evil.example",
        "Host: localhost:99999",
        "Host: [::1",
        "Host: l\u{f6}calhost",
        "Host: http://localhost:8900",
    ] {
        for version in ["HTTP/1.1", "HTTP/1.0"] {
            assert_verdicts(&guard, &here(), &[(head(&format!("GET /x {version}\n{fields}")), "400 bad_request")]);
        }
    }
}

#[test]
fn s4_an_absolute_target_must_be_what_host_says() {
    assert_verdicts(
        &guard(&settings()),
        &here(),
        &[
            (head("GET http://localhost:8900/x HTTP/1.1\nHost: LOCALHOST.:8900"), "forwarded"),
            (head("GET http://evil.example/x HTTP/1.1\nHost: localhost:8900"), "403 host_not_allowed"),
            (head("GET http://localhost:8900/x HTTP/1.1\nHost: evil.example"), "403 host_not_allowed"),
            (head("GET http://evil.example/x HTTP/1.1\nHost: evil.example"), "403 host_not_allowed"),
            (head("GET http://127.0.0.1:8900/x HTTP/1.1\nHost: localhost:8900"), "403 host_not_allowed"),
            (head("GET http://localhost:8900/x HTTP/1.1"), "400 bad_request"),
            (head("GET http://user@localhost:8900/x HTTP/1.1\nHost: localhost:8900"), "400 bad_request"),
            (head("GET //evil.example/x HTTP/1.1\nHost: localhost:8900"), "forwarded"),
        ],
    );
}

#[test]
fn s5_h2_has_one_authority() {
    assert_verdicts(
        &guard(&settings()),
        &here(),
        &[
            (head("GET http://localhost:8900/x HTTP/2"), "forwarded"),
            (head("GET http://localhost:8900/x HTTP/2\nHost: localhost:8900"), "forwarded"),
            (head("GET /x HTTP/2\nHost: localhost:8900"), "forwarded"),
            (head("GET http://evil.example/x HTTP/2"), "403 host_not_allowed"),
            (head("GET http://localhost:8900/x HTTP/2\nHost: evil.example"), "400 bad_request"),
            (head("GET http://evil.example/x HTTP/2\nHost: localhost:8900"), "400 bad_request"),
            (head("GET /x HTTP/2"), "400 bad_request"),
        ],
    );
}

#[test]
fn connect_is_refused_and_extended_connect_is_checked() {
    assert_verdicts(
        &guard(&settings()),
        &here(),
        &[
            (head("CONNECT evil.example:443 HTTP/1.1\nHost: evil.example:443"), "405 method_refused"),
            (head("CONNECT http://localhost:8900/chat HTTP/2\nOrigin: https://evil.example"), "403 origin_not_allowed"),
            (head("CONNECT http://localhost:8900/chat HTTP/2\nOrigin: http://localhost:8900"), "forwarded"),
        ],
    );
}

#[test]
fn s6_to_s9_the_origin_is_listed_or_our_own() {
    let guard = guard(&settings());
    assert_verdicts(
        &guard,
        &here(),
        &[
            (get(""), "forwarded"),
            (get("Referer: https://evil.example/"), "forwarded"),
            (get("Origin: http://localhost:3000"), "forwarded, cors"),
            (get("Origin: http://localhost:3000\nSec-Fetch-Site: cross-site"), "forwarded, cors"),
            (head("POST /x HTTP/1.1\nHost: localhost\nOrigin: http://localhost:3000"), "forwarded, cors"),
            (get("Origin: http://localhost:8900"), "forwarded"),
            (head("POST /x HTTP/1.1\nHost: 127.0.0.1:8900\nOrigin: http://127.0.0.1:8900"), "forwarded"),
            (head("POST /x HTTP/1.1\nHost: localhost\nOrigin: http://localhost"), "forwarded"),
            (head("POST /x HTTP/1.1\nHost: localhost.:8900\nOrigin: http://localhost.:8900"), "forwarded"),
            (head("POST http://[::1]:8900/x HTTP/2\nOrigin: http://[::1]:8900"), "forwarded"),
        ],
    );
    for origin in [
        "https://evil.example",
        "http://localhost:3001",
        "http://127.0.0.1:3000",
        "http://localhost:3000.evil.example",
        "http://localhost:3000/",
        "http://localhost:3000, https://evil.example",
        "HTTP://LOCALHOST:3000x",
        "HTTP://localhost:8900",
        "https://localhost:8900",
        "http://127.0.0.1:8900",
        "http://localhost",
        "http://user@localhost:8900",
        "null",
        "NULL",
        "",
        "\u{e9}",
    ] {
        assert_verdicts(
            &guard,
            &here(),
            &[
                (get(&format!("Origin: {origin}")), "403 origin_not_allowed"),
                (get(&format!("Origin: {origin}\nSec-Fetch-Site: same-origin")), "403 origin_not_allowed"),
                (get(&format!("Origin: {origin}\nReferer: http://localhost:3000/")), "403 origin_not_allowed"),
            ],
        );
    }
    for twice in ["http://localhost:3000", "http://localhost:8900"] {
        let fields = format!("Origin: {twice}\nOrigin: {twice}");
        assert_verdicts(&guard, &here(), &[(get(&fields), "403 origin_not_allowed")]);
    }
}

#[test]
fn s10_to_s12_fetch_metadata() {
    assert_verdicts(
        &guard(&settings()),
        &here(),
        &[
            (get("Sec-Fetch-Site: same-origin"), "forwarded"),
            (get("Sec-Fetch-Site: none"), "forwarded"),
            (get("Sec-Fetch-Site: cross-site"), "403 cross_site"),
            (get("Sec-Fetch-Site: same-site"), "403 cross_site"),
            (get("Sec-Fetch-Site: some-new-word"), "403 cross_site"),
            (get("Sec-Fetch-Site: none\nSec-Fetch-Site: cross-site"), "403 cross_site"),
            (get("Sec-Fetch-Site: cross-site\nReferer: http://localhost:3000/page?q#f"), "forwarded"),
            (get("Sec-Fetch-Site: same-site\nReferer: http://localhost:3000/page"), "forwarded"),
            (get("Sec-Fetch-Site: same-site\nReferer: http://localhost:3000"), "forwarded"),
            (get("Sec-Fetch-Site: same-site\nReferer: http://localhost:3001/"), "403 cross_site"),
            (get("Sec-Fetch-Site: same-site\nReferer: http://localhost:8900/"), "403 cross_site"),
            (get("Sec-Fetch-Site: cross-site\nReferer: https://evil.example/http://localhost:3000/"), "403 cross_site"),
            (
                get("Sec-Fetch-Site: cross-site\nReferer: http://localhost:3000/\nReferer: https://evil.example/"),
                "403 cross_site",
            ),
        ],
    );
}

const ASKS: &str = "Access-Control-Request-Method: PUT";

fn options(fields: &str) -> RequestHead {
    head(&format!("OPTIONS /x HTTP/1.1\nHost: localhost:8900\n{fields}"))
}

#[test]
fn s13_to_s17_preflights_are_answered_and_plain_options_pass() {
    let mut settings = settings();
    settings.client_key = Some(ClientKey::parse(&Secret::from("s3cret")).unwrap());
    settings.require_header = Some(HeaderName::from_static("x-requested-by"));
    // The key and the header are asked for, and a preflight can carry neither.
    assert_verdicts(
        &guard(&settings),
        &here(),
        &[
            (options(&format!("Origin: http://localhost:3000\n{ASKS}")), "preflight"),
            (options(&format!("Origin: https://evil.example\n{ASKS}")), "403 origin_not_allowed"),
            (options(&format!("Origin: null\n{ASKS}")), "403 origin_not_allowed"),
            (options("Origin: http://localhost:3000"), "403 client_key_required, cors"),
            (get(&format!("Origin: http://localhost:3000\n{ASKS}")), "403 client_key_required, cors"),
            (
                head(&format!("OPTIONS /x HTTP/1.1\nHost: evil.example\nOrigin: http://localhost:3000\n{ASKS}")),
                "403 host_not_allowed, cors",
            ),
        ],
    );
    let stranger = tcp(LISTENER, Peer::Uid(1001));
    assert_verdicts(
        &guard(&settings),
        &stranger,
        &[(options(&format!("Origin: http://localhost:3000\n{ASKS}")), "403 peer_not_allowed, cors")],
    );
    let plain = guard(&self::settings());
    assert_verdicts(
        &plain,
        &here(),
        &[
            (options(""), "forwarded"),
            (options(ASKS), "forwarded"),
            (options("Origin: http://localhost:3000"), "forwarded, cors"),
            (head("OPTIONS * HTTP/1.1\nHost: localhost:8900"), "forwarded"),
        ],
    );
    let Verdict::Preflight(answer) = plain.check(&here(), &options(&format!("Origin: http://localhost:3000\n{ASKS}")))
    else {
        panic!("no preflight");
    };
    assert_eq!(answer.headers()["access-control-allow-origin"], "http://localhost:3000");
    assert!(answer.headers()[VARY].to_str().unwrap().starts_with("Origin"));
}

#[test]
fn s16_a_websocket_is_held_to_the_same_origins() {
    const UPGRADE: &str = "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13";
    assert_verdicts(
        &guard(&settings()),
        &here(),
        &[
            (get(UPGRADE), "forwarded"),
            (get(&format!("{UPGRADE}\nOrigin: http://localhost:8900")), "forwarded"),
            (get(&format!("{UPGRADE}\nOrigin: http://localhost:3000")), "forwarded, cors"),
            (get(&format!("{UPGRADE}\nOrigin: https://evil.example")), "403 origin_not_allowed"),
            (get(&format!("{UPGRADE}\nOrigin: null")), "403 origin_not_allowed"),
        ],
    );
}

#[test]
fn s26_the_peer_must_be_listed_and_another_machine_needs_the_key() {
    let mut settings = settings();
    let verdict = |settings: &Settings, peer, fields| word(&guard(settings).check(&tcp(LISTENER, peer), &get(fields)));
    assert_eq!(verdict(&settings, Peer::Uid(0), ""), "forwarded");
    assert_eq!(verdict(&settings, Peer::Uid(1001), ""), "403 peer_not_allowed");
    assert_eq!(verdict(&settings, Peer::Unknown, ""), "403 peer_not_allowed");
    assert_eq!(verdict(&settings, Peer::Unnamed, ""), "forwarded");
    assert_eq!(verdict(&settings, Peer::Remote, ""), "403 peer_not_allowed");

    settings.client_key = Some(ClientKey::parse(&Secret::from("s3cret")).unwrap());
    assert_eq!(verdict(&settings, Peer::Remote, ""), "403 client_key_required");
    assert_eq!(verdict(&settings, Peer::Remote, "Cognito-Proxy-Key: s3cret"), "forwarded");
    assert_eq!(verdict(&settings, Peer::Uid(1001), "Cognito-Proxy-Key: s3cret"), "403 peer_not_allowed");

    settings.users = vec![UserSpec::Any];
    assert_eq!(verdict(&settings, Peer::Unknown, "Cognito-Proxy-Key: s3cret"), "forwarded");
    assert_eq!(verdict(&settings, Peer::Uid(1001), "Cognito-Proxy-Key: s3cret"), "forwarded");
}

#[test]
fn s27_the_client_key_and_the_required_header() {
    let mut settings = settings();
    settings.client_key = Some(ClientKey::parse(&Secret::from("s3cret")).unwrap());
    settings.require_header = Some(HeaderName::from_static("x-requested-by"));
    assert_verdicts(
        &guard(&settings),
        &here(),
        &[
            (get("X-Requested-By: me"), "403 client_key_required"),
            (get("Cognito-Proxy-Key: wrong\nX-Requested-By: me"), "403 client_key_required"),
            (get("Cognito-Proxy-Key: s3cret"), "403 header_required"),
            (get("Cognito-Proxy-Key: s3cret\nX-Requested-By:"), "forwarded"),
            (get("Cognito-Proxy-Key: s3cret\nX-Requested-By: me\nOrigin: http://localhost:3000"), "forwarded, cors"),
        ],
    );
    for fields in ["Cognito-Proxy-Key: wr0ng", ""] {
        let Verdict::Refused(refused) = guard(&settings).check(&here(), &get(fields)) else { panic!("let through") };
        let text = format!("{refused:?}");
        assert!(!text.contains("s3cret") && !text.contains("wr0ng"), "{text}");
        assert!(refused.refusal.fix.contains("guard.client_key_file"));
    }
}

#[test]
fn s28_the_admin_listener_takes_no_other_page() {
    let mut settings = settings();
    settings.client_key = Some(ClientKey::parse(&Secret::from("s3cret")).unwrap());
    let guard = Guard { post: Post::Admin, ..guard(&settings) };
    let code = |connection: &Connection, head: &RequestHead| match guard.check(connection, head) {
        Verdict::Admitted(Admitted { cors: None }) => "ok",
        Verdict::Refused(Refused { refusal, cors: None }) => refusal.code.as_str(),
        other => panic!("{other:?}"),
    };
    for (fields, expected) in [
        ("", "ok"),
        ("Sec-Fetch-Site: none", "ok"),
        ("Sec-Fetch-Site: same-origin\nReferer: http://localhost:8900/status", "ok"),
        ("Origin: http://localhost:8900", "ok"),
        ("Origin: http://localhost:3000", "origin_not_allowed"),
        ("Origin: null", "origin_not_allowed"),
        ("Origin: http://localhost:8900\nOrigin: https://evil.example", "origin_not_allowed"),
        ("Sec-Fetch-Site: same-site", "cross_site"),
        ("Sec-Fetch-Site: cross-site", "cross_site"),
        ("Referer: http://localhost:3000/", "cross_site"),
        ("Referer: https://evil.example/", "cross_site"),
        ("Referer: about:blank", "cross_site"),
    ] {
        assert_eq!(code(&here(), &get(fields)), expected, "{fields}");
    }
    let bad_host = head("GET /status HTTP/1.1\nHost: evil.example:8900");
    assert_eq!(code(&here(), &bad_host), "host_not_allowed");
    assert_eq!(code(&tcp(LISTENER, Peer::Uid(1001)), &get("")), "peer_not_allowed");
    for probe in ["/livez", "/readyz"] {
        let head = head(&format!("GET {probe} HTTP/1.1\nHost: 10.0.0.7:8901\nOrigin: https://evil.example"));
        for peer in [Peer::Uid(1001), Peer::Unknown, Peer::Remote] {
            assert_eq!(code(&tcp(LISTENER, peer), &head), "ok");
        }
    }
    assert_eq!(code(&here(), &head("GET /livez/ HTTP/1.1\nHost: evil.example")), "host_not_allowed");
    let remote = tcp(LISTENER, Peer::Remote);
    assert_eq!(code(&remote, &get("")), "client_key_required");
    assert_eq!(code(&remote, &get("Cognito-Proxy-Key: s3cret")), "ok");
}

#[test]
fn configured_hosts_and_the_address_that_was_connected_to() {
    let mut settings = settings();
    settings.hosts = vec![HostPattern::parse("proxy").unwrap(), HostPattern::parse("edge.example:443").unwrap()];
    let own =
        vec![HostPattern::of_listener("box.lan", 8900).unwrap(), HostPattern::of_listener("0.0.0.0", 8900).unwrap()];
    let guard = Guard::new(Post::Proxy, &settings, Users::resolve(&settings.users).unwrap(), own);
    let lan = tcp("[::ffff:192.168.1.5]:8900", MYSELF);
    for (host, expected) in [
        ("192.168.1.5:8900", "forwarded"),
        ("192.168.1.5", "forwarded"),
        ("192.168.1.5:80", "403 host_not_allowed"),
        ("192.168.1.6:8900", "403 host_not_allowed"),
        ("box.lan:8900", "forwarded"),
        ("box.lan:8901", "403 host_not_allowed"),
        ("localhost:8900", "forwarded"),
        ("proxy", "forwarded"),
        ("proxy:1234", "forwarded"),
        ("edge.example:443", "forwarded"),
        ("edge.example", "403 host_not_allowed"),
        ("0.0.0.0:8900", "403 host_not_allowed"),
    ] {
        assert_verdicts(&guard, &lan, &[(head(&format!("GET / HTTP/1.1\nHost: {host}")), expected)]);
    }
}

#[test]
fn a_unix_socket_is_localhost() {
    let guard = guard(&settings());
    let unix = Connection { local: Local::Unix, peer: MYSELF };
    for (host, expected) in [
        ("localhost", "forwarded"),
        ("127.0.0.1", "forwarded"),
        ("localhost:8900", "forwarded"),
        ("localhost:9999", "403 host_not_allowed"),
        ("evil.example", "403 host_not_allowed"),
    ] {
        assert_verdicts(&guard, &unix, &[(head(&format!("GET / HTTP/1.1\nHost: {host}")), expected)]);
    }
    assert_verdicts(&guard, &Connection { peer: Peer::Uid(1001), ..unix }, &[(get(""), "403 peer_not_allowed")]);
}

#[test]
fn refusals_name_the_key_that_would_admit() {
    let guard = guard(&settings());
    for (connection, head, key) in [
        (here(), head("GET / HTTP/1.1\nHost: proxy.example:8900"), "\"proxy.example:8900\" to guard.hosts"),
        (here(), get("Origin: https://app.example"), "\"https://app.example\" to guard.origins"),
        (here(), get("Sec-Fetch-Site: cross-site"), "guard.origins"),
        (tcp(LISTENER, Peer::Uid(1001)), get(""), "\"1001\" to guard.users"),
        (tcp(LISTENER, Peer::Remote), get(""), "guard.client_key_file"),
    ] {
        let Verdict::Refused(refused) = guard.check(&connection, &head) else { panic!("let through: {head:?}") };
        assert!(refused.refusal.fix.contains(key), "{:?}", refused.refusal);
    }
    let long = format!("Origin: http://{}", "\u{e9}".repeat(5000));
    let Verdict::Refused(refused) = guard.check(&here(), &get(&long)) else { panic!("let through") };
    assert!(refused.refusal.detail.len() < 400 && refused.refusal.code == Code::OriginNotAllowed);
}
