//! HTTP/1.1 , row by row: what goes up and what comes down.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stage::{Backend, Stage, header, limits, local, message, rest, settings, upstream};
use crate::proxy::Cookies;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const CLOSE: &str = "Host: localhost\r\nConnection: close\r\n";

#[test]
fn a_request_goes_up_with_the_token_and_nothing_of_its_own_hop() {
    local(async {
        let backend = Backend::replying(OK).await;
        let stage = Stage::before(&format!("{}/prod", backend.url));
        let reply = stage
            .ask(
                "GET //a/../b%2f;c?q=%00&r HTTP/1.1\r\nHost: localhost\r\nAuthorization: mine\r\nAuthorization: two\r\n\
                 Connection: close, X-Secret, Authorization\r\nX-Secret: s\r\nKeep-Alive: 5\r\nTE: gzip\r\n\
                 Proxy-Authorization: p\r\nX-Forwarded-For: 1.2.3.4\r\nX_Forwarded_For: 1.2.3.4\r\nX_Mine: m\r\n\
                 Cognito-Proxy-Key: k\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nAccept: */*\r\n\r\n",
            )
            .await;
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.ends_with("\r\n\r\nhi"), "{reply}");
        assert_eq!(header(&reply, "x-decorated"), ["yes"]);
        let request = backend.only();
        assert!(request.starts_with("GET /prod//a/../b%2f;c?q=%00&r HTTP/1.1\r\n"), "{request}");
        assert_eq!(header(&request, "authorization"), ["Bearer eyJ.first"]);
        assert_eq!(header(&request, "host"), [backend.url.trim_start_matches("http://")]);
        assert_eq!(header(&request, "x_mine"), ["m"]);
        assert!(header(&request, "via")[0].starts_with("1.1 cognito-proxy-"));
        for gone in [
            "connection",
            "x-secret",
            "keep-alive",
            "te",
            "proxy-authorization",
            "x-forwarded-for",
            "x_forwarded_for",
            "cognito-proxy-key",
            "upgrade",
            "http2-settings",
        ] {
            assert!(header(&request, gone).is_empty(), "{gone}: {request}");
        }
    });
}

#[test]
fn what_is_refused_never_reaches_the_upstream() {
    local(async {
        let backend = Backend::replying(OK).await;
        let stage = Stage::before(&backend.url);
        for (request, status, code) in [
            ("TRACE /x HTTP/1.1\r\n", "405", "method_refused"),
            ("CONNECT localhost:1 HTTP/1.1\r\n", "405", "method_refused"),
            ("GET * HTTP/1.1\r\n", "400", "bad_request"),
            ("POST /x HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n", "501", "bad_transfer_coding"),
            ("POST /x HTTP/1.1\r\nContent-Length: 2\r\nExpect: a-miracle\r\n", "417", "expectation_failed"),
        ] {
            let reply = stage.ask(&format!("{request}{CLOSE}\r\n")).await;
            assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {reply}");
            assert!(reply.contains(&format!("\"code\":\"{code}\"")), "{request}: {reply}");
            assert!(header(&reply, "proxy-status")[0].ends_with(&format!("details=\"{code}\"")), "{reply}");
        }
        let evil = stage.ask("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await;
        assert!(evil.starts_with("HTTP/1.1 403 "), "{evil}");
        let large = format!("GET / HTTP/1.1\r\n{CLOSE}X-Large: {}\r\n\r\n", "x".repeat(70_000));
        let large = stage.ask(&large).await;
        assert!(large.starts_with("HTTP/1.1 431 ") && large.contains("header_too_large"), "{large}");
        let options = stage.ask(&format!("OPTIONS * HTTP/1.1\r\n{CLOSE}\r\n")).await;
        assert!(options.starts_with("HTTP/1.1 204 "), "{options}");
        assert_eq!(backend.connections.get(), 0);
        assert_eq!(stage.figure("cognito_proxy_refused_total{reason=\"method_refused\"}"), "2");
        assert_eq!(stage.figure("cognito_proxy_requests_total{code=\"405\"}"), "2");
    });
}

#[test]
fn hyper_refuses_what_is_no_http_and_nothing_reaches_the_upstream() {
    local(async {
        let backend = Backend::replying(OK).await;
        let stage = Stage::before(&backend.url);
        for request in [
            "POST /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
            "POST /x HTTP/1.1\r\nContent-Length: +2\r\n",
            "POST /x HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n",
            "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n",
            "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
            "GET /x HTTP/1.1\r\nX-Folded: a\r\n b\r\n",
            "GET /x HTTP/1.1\r\nNo colon\r\n",
        ] {
            let reply = stage.ask(&format!("{request}{CLOSE}\r\n")).await;
            assert!(reply.starts_with("HTTP/1.1 400 "), "{request}: {reply}");
        }
        let many: String = (0..150).fold(String::new(), |text, number| text + &format!("X-{number}: x\r\n"));
        let reply = stage.ask(&format!("GET / HTTP/1.1\r\n{CLOSE}{many}\r\n")).await;
        assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
        assert_eq!(backend.connections.get(), 0);
    });
}

#[test]
fn connections_are_kept_on_both_sides() {
    local(async {
        let backend = Backend::replying(OK).await;
        let stage = Stage::before(&backend.url);
        let mut client = stage.connect().await;
        for _ in 0..5 {
            client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
            assert!(message(&mut client).await.expect("a reply").ends_with("hi"));
        }
        let mut other = stage.connect().await;
        other.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
        message(&mut other).await.expect("a reply");
        assert_eq!((backend.connections.get(), backend.seen.borrow().len()), (1, 6));
        assert_eq!(stage.figure("cognito_proxy_upstream_connections{state=\"idle\"}"), "1");
        assert_eq!(stage.figure("cognito_proxy_upstream_connections{state=\"active\"}"), "0");
        assert_eq!(stage.figure("cognito_proxy_requests_total{code=\"200\"}"), "6");
    });
}

#[test]
fn bodies_stream_both_ways_as_they_are_framed() {
    local(async {
        let backend = Backend::replying(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n",
        )
        .await;
        let stage = Stage::before(&backend.url);
        let reply = stage.ask(&format!("POST /x HTTP/1.1\r\n{CLOSE}Content-Length: 5\r\n\r\nhello")).await;
        assert!(reply.contains("\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), "{reply}");
        let reply = stage
            .ask(&format!("POST /x HTTP/1.1\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\n\r\n"))
            .await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
        let seen = backend.seen.borrow();
        assert!(seen[0].ends_with("\r\n\r\nhello") && header(&seen[0], "content-length") == ["5"], "{}", seen[0]);
        assert!(seen[1].ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "{}", seen[1]);
        assert!(header(&seen[1], "content-length").is_empty());
    });
}

#[test]
fn two_lengths_go_up_as_one_and_the_connection_ends() {
    local(async {
        let backend = Backend::replying(OK).await;
        let stage = Stage::before(&backend.url);
        let request = "POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
                       5\r\nhello\r\n0\r\n\r\n";
        // No `Connection: close`: that the read ends shows that the proxy closed it.
        let reply = stage.ask(request).await;
        assert!(reply.starts_with("HTTP/1.1 200") || reply.starts_with("HTTP/1.1 400"), "{reply}");
        for request in backend.seen.borrow().iter() {
            assert!(header(request, "content-length").is_empty(), "{request}");
            assert_eq!(header(request, "transfer-encoding"), ["chunked"]);
        }
    });
}

#[test]
fn a_malformed_chunk_is_the_clients_fault() {
    local(async {
        let backend = Backend::replying(OK).await;
        let stage = Stage::before(&backend.url);
        for chunk in ["5\nhello\r\n0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n", "fffffffffffffffff\r\nx"] {
            let reply =
                stage.ask(&format!("POST /x HTTP/1.1\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n{chunk}")).await;
            assert!(reply.starts_with("HTTP/1.1 400 ") && reply.contains("bad_request"), "{chunk}: {reply}");
            assert!(!reply.contains("hyper"), "{reply}");
        }
        assert_eq!(stage.figure("cognito_proxy_upstream_connections{state=\"idle\"}"), "0");
    });
}

#[test]
fn responses_lose_what_is_for_the_hop_and_keep_the_rest() {
    local(async {
        let backend = Backend::replying(
            "HTTP/1.1 200 Fine\r\nContent-Length: 0\r\nConnection: keep-alive, X-Internal\r\nX-Internal: i\r\n\
             Keep-Alive: timeout=5\r\nProxy-Authenticate: p\r\nAuthorization: Bearer echo\r\nX-Kept: k\r\n\r\n",
        )
        .await;
        let stage = Stage::before(&backend.url);
        let mut client = stage.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
        let reply = message(&mut client).await.expect("a reply");
        assert_eq!(header(&reply, "x-kept"), ["k"]);
        for gone in ["connection", "x-internal", "keep-alive", "proxy-authenticate", "authorization"] {
            assert!(header(&reply, gone).is_empty(), "{gone}: {reply}");
        }
    });
}

#[test]
fn responses_without_a_body_keep_their_shape() {
    local(async {
        let backend = Backend::scripted(|mut stream, _, seen| async move {
            while let Some(request) = message(&mut stream).await {
                let reply: &[u8] = match request.split(' ').nth(1) {
                    Some("/head") => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
                    Some("/204") => b"HTTP/1.1 204 No Content\r\n\r\n",
                    _ => b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
                };
                seen.borrow_mut().push(request);
                stream.write_all(reply).await.expect("written");
            }
        })
        .await;
        let stage = Stage::before(&backend.url);
        let head = stage.ask(&format!("HEAD /head HTTP/1.1\r\n{CLOSE}\r\n")).await;
        assert!(header(&head, "content-length") == ["10"] && head.ends_with("\r\n\r\n"), "{head}");
        let none = stage.ask(&format!("GET /204 HTTP/1.1\r\n{CLOSE}\r\n")).await;
        assert!(none.starts_with("HTTP/1.1 204") && none.ends_with("\r\n\r\n"), "{none}");
        let same = stage.ask(&format!("GET /304 HTTP/1.1\r\n{CLOSE}\r\n")).await;
        assert!(same.starts_with("HTTP/1.1 304") && header(&same, "etag") == ["\"a\""], "{same}");
        assert_eq!(backend.connections.get(), 1, "all three leave the connection whole");
    });
}

#[test]
fn locations_and_cookies_come_home() {
    local(async {
        let backend = Backend::scripted(|mut stream, _, _| async move {
            let local = stream.local_addr().expect("bound");
            while let Some(request) = message(&mut stream).await {
                let location = match request.split(' ').nth(1) {
                    Some("/prod/own") => format!("http://{local}/prod/next?q=1"),
                    Some("/prod/path") => "/prod/next".to_owned(),
                    Some("/prod/outside") => format!("http://{local}/other"),
                    _ => "https://elsewhere.example/prod/x".to_owned(),
                };
                let reply = format!(
                    "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: {location}\r\n\
                     Set-Cookie: a=1; Domain=.corp; Secure; HttpOnly; SameSite=None; Path=/prod\r\n\
                     Set-Cookie: __Host-b=2; Secure; Path=/\r\n\r\n"
                );
                stream.write_all(reply.as_bytes()).await.expect("written");
            }
        })
        .await;
        let stage = Stage::before(&format!("{}/prod", backend.url));
        let get = async |path: &str| {
            stage.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost:8900\r\nConnection: close\r\n\r\n")).await
        };
        let own = get("/own").await;
        assert_eq!(header(&own, "location"), ["http://localhost:8900/next?q=1"]);
        let cookies = header(&own, "set-cookie");
        assert_eq!(cookies, ["a=1; HttpOnly; SameSite=Lax; Path=/", "__Host-b=2; Secure; Path=/"]);
        assert_eq!(header(&get("/path").await, "location"), ["/next"]);
        assert_eq!(header(&get("/elsewhere").await, "location"), ["https://elsewhere.example/prod/x"]);
        let outside = get("/outside").await;
        assert_eq!(header(&outside, "location"), [format!("{}/other", backend.url)]);

        let mut upstream = upstream(&format!("{}/prod", backend.url));
        (upstream.cookies, upstream.rewrite_location) = (Cookies::Drop, false);
        let stage = Stage::with(&settings(upstream), limits());
        let own = stage.ask(&format!("GET /own HTTP/1.1\r\n{CLOSE}\r\n")).await;
        assert!(header(&own, "set-cookie").is_empty());
        assert_eq!(header(&own, "location"), [format!("{}/prod/next?q=1", backend.url)]);
    });
}

#[test]
fn a_page_of_the_proxys_own_origin_has_the_upstreams_there() {
    local(async {
        let backend = Backend::replying(OK).await;
        let stage = Stage::before(&backend.url);
        let own = "Host: localhost:8900\r\nConnection: close\r\n";
        stage
            .ask(&format!(
                "GET /a HTTP/1.1\r\n{own}Origin: http://localhost:8900\r\nReferer: http://localhost:8900/p?q\r\n\r\n"
            ))
            .await;
        stage.ask(&format!("GET /b HTTP/1.1\r\n{own}Origin: http://localhost:3000\r\n\r\n")).await;
        let seen = backend.seen.borrow();
        assert_eq!(header(&seen[0], "origin"), [backend.url.as_str()]);
        assert_eq!(header(&seen[0], "referer"), [format!("{}/p?q", backend.url)]);
        assert_eq!(header(&seen[1], "origin"), ["http://localhost:3000"]);
    });
}

#[test]
fn a_route_may_move_while_the_proxy_runs() {
    local(async {
        let (old, new) = (Backend::replying(OK).await, Backend::replying(OK).await);
        let stage = Stage::before(&old.url);
        let mut client = stage.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
        message(&mut client).await.expect("a reply");
        let mut moved = settings(upstream(&old.url));
        let mut route = moved.default_route.clone();
        (route.path, route.strip_prefix, route.inject) = ("/mcp/".into(), true, None);
        route.upstream = upstream(&new.url);
        moved.routes.push(route);
        stage
            .routing
            .replace(crate::proxy::Plan::new(&moved, Duration::from_secs(1), &super::stage::egress()).expect("a plan"));
        for path in ["/mcp?a", "/mcp/b", "/mcpx"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: own\r\n\r\n");
            client.write_all(request.as_bytes()).await.expect("written");
            message(&mut client).await.expect("a reply");
        }
        let targets = |backend: &Backend| -> Vec<String> {
            backend.seen.borrow().iter().filter_map(|seen| seen.split(' ').nth(1).map(str::to_owned)).collect()
        };
        assert_eq!(targets(&new), ["/?a", "/b"]);
        assert_eq!(targets(&old), ["/", "/mcpx"]);
        assert_eq!(old.connections.get(), 1, "an upstream that stays keeps its connections");
        assert_eq!(header(&new.seen.borrow()[0], "authorization"), ["own"]);
    });
}

#[test]
fn a_websocket_is_a_tunnel() {
    local(async {
        let backend = Backend::scripted(|mut stream, _, seen| async move {
            let request = message(&mut stream).await.expect("a request");
            seen.borrow_mut().push(request);
            let reply = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: x\r\n\r\nfirst";
            stream.write_all(reply.as_bytes()).await.expect("written");
            let mut ping = [0; 4];
            stream.read_exact(&mut ping).await.expect("the client speaks");
            assert_eq!(&ping, b"ping");
            stream.write_all(b"pong").await.expect("written");
        })
        .await;
        let stage = Stage::before(&backend.url);
        let mut client = stage.connect().await;
        client
            .write_all(b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nping")
            .await
            .expect("written");
        let reply = rest(&mut client).await;
        assert!(reply.starts_with("HTTP/1.1 101 ") && reply.ends_with("\r\n\r\nfirstpong"), "{reply}");
        assert_eq!(header(&reply, "upgrade"), ["websocket"]);
        assert_eq!(header(&reply, "connection"), ["upgrade"]);
        assert_eq!(header(&reply, "sec-websocket-accept"), ["x"]);
        let request = backend.only();
        assert_eq!(header(&request, "upgrade"), ["websocket"]);
        assert_eq!(header(&request, "authorization"), ["Bearer eyJ.first"]);
    });
}
