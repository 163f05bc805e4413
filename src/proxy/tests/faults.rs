//! Upstreams and clients that misbehave, leave, or are too many.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::stage::{Backend, Stage, header, limits, local, message, rest, settings, upstream};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const CLOSE: &str = "Host: localhost\r\nConnection: close\r\n";

#[test]
fn what_is_no_response_is_a_502_and_says_nothing_of_the_inside() {
    local(async {
        for reply in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "garbage\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Le",
        ] {
            let backend = Backend::scripted(move |mut stream, _, _| async move {
                message(&mut stream).await;
                stream.write_all(reply.as_bytes()).await.expect("written");
            })
            .await;
            let stage = Stage::before(&backend.url);
            let answer = stage.ask(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 502 "), "{reply:?}: {answer}");
            assert!(answer.contains("upstream_bad_response"), "{reply:?}: {answer}");
            assert!(!answer.contains("hyper") && !answer.contains("127.0.0.1"), "{answer}");
        }
    });
}

#[test]
fn truncation_is_passed_on_as_truncation() {
    local(async {
        for (reply, whole) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false),
            ("HTTP/1.0 200 OK\r\n\r\nhalf", true),
        ] {
            let backend = Backend::scripted(move |mut stream, _, _| async move {
                message(&mut stream).await;
                stream.write_all(reply.as_bytes()).await.expect("written");
            })
            .await;
            let stage = Stage::before(&backend.url);
            let answer = stage.ask(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert_eq!(answer.ends_with("0\r\n\r\n"), whole, "{reply:?}: {answer:?}");
        }
    });
}

#[test]
fn nobody_there_is_a_502_with_its_cause() {
    local(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        let stage = Stage::before(&url);
        let answer = stage.ask(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("upstream_unreachable"), "{answer}");
        assert!(header(&answer, "proxy-status")[0].contains("error=connection_refused;"), "{answer}");
    });
}

#[test]
fn a_silent_upstream_is_a_504_and_a_silent_client_a_408() {
    local(async {
        let backend = Backend::scripted(|mut stream, _, _| async move {
            drop(rest(&mut stream).await);
        })
        .await;
        let mut upstream = upstream(&backend.url);
        upstream.response_header_timeout = Duration::from_millis(50);
        let mut limits = limits();
        limits.body_idle_timeout = Duration::from_millis(50);
        let stage = Stage::with(&settings(upstream), limits);
        let answer = stage.ask(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("upstream_timeout"), "{answer}");
        let answer = stage.ask(&format!("POST / HTTP/1.1\r\n{CLOSE}Content-Length: 9\r\n\r\nhalf")).await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("request_timeout"), "{answer}");
    });
}

#[test]
fn a_stale_connection_costs_a_get_nothing_and_a_post_is_never_repeated() {
    local(async {
        // Each connection answers once, reads the next request, and goes away without a word.
        let backend = Backend::scripted(|mut stream, _, seen| async move {
            for turn in 0..2 {
                let Some(request) = message(&mut stream).await else { return };
                seen.borrow_mut().push(request);
                if turn == 0 {
                    stream.write_all(OK.as_bytes()).await.expect("written");
                }
            }
        })
        .await;
        let stage = Stage::before(&backend.url);
        let get = format!("GET / HTTP/1.1\r\n{CLOSE}\r\n");
        assert!(stage.ask(&get).await.starts_with("HTTP/1.1 200"));
        assert!(stage.ask(&get).await.starts_with("HTTP/1.1 200"));
        assert_eq!((backend.connections.get(), backend.seen.borrow().len()), (2, 3));
        let post = stage.ask(&format!("POST / HTTP/1.1\r\n{CLOSE}Content-Length: 2\r\n\r\nhi")).await;
        assert!(post.starts_with("HTTP/1.1 502 "), "{post}");
        assert_eq!((backend.connections.get(), backend.seen.borrow().len()), (2, 4));
    });
}

#[test]
fn an_upstream_that_closes_after_each_response_loses_nothing() {
    local(async {
        let backend = Backend::scripted(|mut stream, _, _| async move {
            if message(&mut stream).await.is_some() {
                stream.write_all(OK.as_bytes()).await.expect("written");
            }
        })
        .await;
        let stage = Stage::before(&backend.url);
        let mut client = stage.connect().await;
        for _ in 0..20 {
            client.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi").await.expect("ok");
            let reply = message(&mut client).await.expect("a reply");
            assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
        }
    });
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    local(async {
        let backend = Backend::scripted(|mut stream, _, _| async move {
            stream.read_exact(&mut [0; 64]).await.expect("a request");
            stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig").await.expect("written");
            drop(rest(&mut stream).await);
        })
        .await;
        let stage = Stage::before(&backend.url);
        let mut client = stage.connect().await;
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nsome")
            .await
            .expect("written");
        let reply = message(&mut client).await.expect("a reply");
        assert!(reply.starts_with("HTTP/1.1 413") && reply.ends_with("big"), "{reply}");
        assert_eq!(rest(&mut client).await, "", "and the connection ends");
    });
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    local(async {
        let stage = Stage::before("http://127.0.0.1:1");
        let mut client = stage.connect().await;
        client
            .write_all(b"TRACE / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n")
            .await
            .expect("written");
        client.write_all(&vec![b'x'; 200_000]).await.expect("it is read");
        let reply = message(&mut client).await.expect("a reply");
        assert!(reply.starts_with("HTTP/1.1 405"), "{reply}");
    });
}

#[test]
fn a_client_that_leaves_takes_its_upstream_request_along() {
    local(async {
        let (gone, mut noticed) = tokio::sync::mpsc::channel(1);
        let backend = Backend::scripted(move |mut stream, _, seen| {
            let gone = gone.clone();
            async move {
                let request = message(&mut stream).await.expect("a request");
                seen.borrow_mut().push(request);
                drop(rest(&mut stream).await);
                gone.send(()).await.expect("the test waits");
            }
        })
        .await;
        let stage = Stage::before(&backend.url);
        let mut client = stage.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
        while backend.seen.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        drop(client);
        noticed.recv().await.expect("the upstream sees the end");
    });
}

#[test]
fn a_response_in_progress_ends_with_its_client_too() {
    local(async {
        let (gone, mut noticed) = tokio::sync::mpsc::channel(1);
        let backend = Backend::scripted(move |mut stream, _, _| {
            let gone = gone.clone();
            async move {
                message(&mut stream).await.expect("a request");
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n").await.expect("ok");
                drop(rest(&mut stream).await);
                gone.send(()).await.expect("the test waits");
            }
        })
        .await;
        let stage = Stage::before(&backend.url);
        let mut client = stage.connect().await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("written");
        client.read_exact(&mut [0; 15]).await.expect("the response begins");
        drop(client);
        noticed.recv().await.expect("the upstream sees the end");
    });
}

#[test]
fn meeting_oneself_is_a_loop() {
    local(async {
        // Two proxies of one process in a row share their pseudonym only if they are the same; here one asks itself.
        let stage = Stage::before("http://127.0.0.1:1");
        let own = format!("http://{}", stage.address);
        let plan = crate::proxy::Plan::new(&settings(upstream(&own)), Duration::from_secs(1), &super::stage::egress())
            .expect("a plan");
        stage.routing.replace(plan);
        let answer = stage.ask(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 508 ") && answer.contains("loop_detected"), "{answer}");
    });
}

#[test]
fn at_most_so_many_connections_and_the_rest_waits() {
    local(async {
        let backend = Backend::scripted(|mut stream, _, seen| async move {
            while let Some(request) = message(&mut stream).await {
                seen.borrow_mut().push(request);
                while seen.borrow().len() < 2 {
                    // The first request is answered when the second has been seen, which must not come before.
                    if tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>()).await.is_err() {
                        break;
                    }
                }
                stream.write_all(OK.as_bytes()).await.expect("written");
            }
        })
        .await;
        let mut upstream = upstream(&backend.url);
        upstream.max_connections = 1;
        let stage = Stage::with(&settings(upstream.clone()), limits());
        let get = format!("GET / HTTP/1.1\r\n{CLOSE}\r\n");
        let (first, second) = tokio::join!(stage.ask(&get), stage.ask(&get));
        assert!(first.starts_with("HTTP/1.1 200") && second.starts_with("HTTP/1.1 200"), "{first}{second}");
        assert_eq!(backend.connections.get(), 1);

        let stuck = Backend::scripted(|mut stream, _, _| async move { drop(rest(&mut stream).await) }).await;
        upstream.url = stuck.url.parse().expect("an address");
        upstream.connect_timeout = Duration::from_millis(50);
        upstream.response_header_timeout = Duration::from_millis(500);
        let stage = Stage::with(&settings(upstream), limits());
        let (first, second) = tokio::join!(stage.ask(&get), stage.ask(&get));
        assert!(first.starts_with("HTTP/1.1 504 "), "{first}");
        assert!(second.starts_with("HTTP/1.1 503 ") && second.contains("overloaded"), "{second}");
        assert_eq!(header(&second, "retry-after").len(), 1);
    });
}
