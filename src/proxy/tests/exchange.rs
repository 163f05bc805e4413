//! One exchange with an upstream of HTTP/1.1: what is passed over, what is passed on as it comes, and when the connection
//! may be used again.

use std::{cell::Cell, rc::Rc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::stage::{Backend, Stage, header, local, message, rest};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// A client's connection and what it is answered.
async fn asked(client: &mut TcpStream, request: &[u8]) -> String {
    client.write_all(request).await.expect("written");
    message(client).await.expect("a reply")
}

/// Reads exactly as much as `expected`, and compares.
async fn reads(stream: &mut TcpStream, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).await.expect("it comes");
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
}

#[test]
fn interim_responses_are_passed_over_however_they_are_cut() {
    local(async {
        let backend = Backend::scripted(|mut stream, number, _| async move {
            while message(&mut stream).await.is_some() {
                let reply = format!(
                    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 9\r\n\r\n{OK}"
                );
                for piece in reply.as_bytes().chunks(if number == 0 { 1 } else { 1000 }) {
                    stream.write_all(piece).await.expect("written");
                    tokio::task::yield_now().await;
                }
            }
        })
        .await;
        let stage = Stage::before(&backend.url);
        let mut clients = [stage.connect().await, stage.connect().await];
        for client in &mut clients {
            let reply = asked(client, GET).await;
            assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.ends_with("\r\n\r\nhi"), "{reply}");
            assert!(header(&reply, "link").is_empty(), "{reply}");
        }
        assert_eq!(backend.connections.get(), 1, "the connection is whole afterwards");
    });
}

#[test]
fn what_was_not_asked_for_never_becomes_an_answer() {
    local(async {
        // With the response, and a while after it.
        let backend = Backend::scripted(|mut stream, number, seen| async move {
            let request = message(&mut stream).await.expect("a request");
            seen.borrow_mut().push(request);
            stream.write_all(OK.as_bytes()).await.expect("written");
            if number == 1 {
                // The client has its answer before this comes.
                while seen.borrow().len() < 3 {
                    tokio::task::yield_now().await;
                }
            }
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await);
            drop(rest(&mut stream).await);
        })
        .await;
        let stage = Stage::before(&backend.url);
        let mut client = stage.connect().await;
        for _ in 0..4 {
            let reply = asked(&mut client, GET).await;
            assert!(reply.ends_with("\r\n\r\nhi"), "{reply}");
            // Lets the bytes that follow arrive.
            backend.seen.borrow_mut().push(String::new());
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(backend.connections.get(), 4, "none of them is used twice");
    });
}

#[test]
fn a_connection_that_the_upstream_gives_up_is_not_used_again() {
    local(async {
        for (head, connections) in [
            ("HTTP/1.1 200 OK\r\nConnection: close\r\n", 2),
            ("HTTP/1.0 200 OK\r\n", 2),
            ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", 1),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", 1),
        ] {
            let backend = Backend::scripted(move |mut stream, _, _| async move {
                while message(&mut stream).await.is_some() {
                    let reply = format!("{head}Content-Length: 2\r\n\r\nhi");
                    stream.write_all(reply.as_bytes()).await.expect("written");
                }
            })
            .await;
            let stage = Stage::before(&backend.url);
            let mut client = stage.connect().await;
            for _ in 0..2 {
                let reply = asked(&mut client, GET).await;
                assert!(reply.ends_with("\r\n\r\nhi"), "{reply}");
                assert_eq!(header(&reply, "content-length"), ["2"]);
            }
            assert_eq!(backend.connections.get(), connections, "{head:?}");
        }
    });
}

#[test]
fn both_bodies_go_on_at_once() {
    local(async {
        let backend = Backend::scripted(|mut stream, _, _| async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a head"));
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.expect("written");
            for expected in ["1\r\na\r\n", "2\r\nbc\r\n", "0\r\n\r\n"] {
                reads(&mut stream, expected).await;
                stream.write_all(expected.as_bytes()).await.expect("written");
            }
            drop(rest(&mut stream).await);
        })
        .await;
        let stage = Stage::before(&backend.url);
        let mut client = stage.connect().await;
        let head = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.write_all(head).await.expect("written");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.expect("the response begins before the request ends"));
        }
        for piece in ["1\r\na\r\n", "2\r\nbc\r\n", "0\r\n\r\n"] {
            client.write_all(piece.as_bytes()).await.expect("written");
            reads(&mut client, piece).await;
        }
    });
}

#[test]
fn an_upload_that_was_answered_early_leaves_no_connection_behind() {
    local(async {
        let backend = Backend::scripted(|mut stream, number, _| async move {
            if number == 0 {
                stream.read_exact(&mut [0; 64]).await.expect("a request");
                stream.write_all(OK.as_bytes()).await.expect("written");
                drop(rest(&mut stream).await);
                return;
            }
            while message(&mut stream).await.is_some() {
                stream.write_all(OK.as_bytes()).await.expect("written");
            }
        })
        .await;
        let stage = Stage::before(&backend.url);
        let mut client = stage.connect().await;
        let request = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nsome";
        assert!(asked(&mut client, request).await.ends_with("\r\n\r\nhi"));
        assert!(asked(&mut stage.connect().await, GET).await.ends_with("\r\n\r\nhi"));
        assert_eq!(backend.connections.get(), 2);
    });
}

#[test]
fn an_answer_is_heard_from_an_upstream_that_stopped_to_listen() {
    local(async {
        let backend = Backend::scripted(|mut stream, _, _| async move {
            stream.read_exact(&mut [0; 64]).await.expect("a request");
            stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig").await.expect("written");
            stream.shutdown().await.expect("no more is said");
            // Reads on a little, as servers do lest a reset overtake the answer, and then no more.
            drop(stream.read_exact(&mut vec![0; 100_000]).await);
        })
        .await;
        let stage = Stage::before(&backend.url);
        let mut client = stage.connect().await;
        client.write_all(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n").await.expect("ok");
        let (mut reading, mut writing) = client.split();
        let upload = async {
            // It is cut off somewhere.
            drop(writing.write_all(&vec![b'x'; 4_000_000]).await);
            std::future::pending::<()>().await;
        };
        let mut reply = [0; 12];
        tokio::select! {
            () = upload => {}
            read = reading.read_exact(&mut reply) => drop(read.expect("an answer")),
        }
        assert_eq!(&reply, b"HTTP/1.1 413");
    });
}

/// Runs `moving` until `moved` has stood still for a while, and returns where.
async fn standstill(moving: impl Future<Output = ()>, moved: &Cell<usize>) -> usize {
    let still = async {
        loop {
            let before = moved.get();
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            if moved.get() == before && before > 0 {
                return before;
            }
        }
    };
    tokio::select! {
        () = moving => panic!("all {} bytes went through", moved.get()),
        stood = still => stood,
    }
}

/// More than the sockets' own buffers take.
const MUCH: usize = 64 * 1024 * 1024;

#[test]
fn a_response_that_is_not_read_is_not_fetched() {
    local(async {
        let sent = Rc::new(Cell::new(0));
        let count = Rc::clone(&sent);
        let backend = Backend::scripted(move |mut stream, _, _| {
            let count = Rc::clone(&count);
            async move {
                message(&mut stream).await.expect("a request");
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.expect("written");
                while let Ok(length) = stream.write(&[b'x'; 16 * 1024]).await {
                    count.set(count.get() + length);
                }
            }
        })
        .await;
        let stage = Stage::before(&backend.url);
        let mut client = stage.connect().await;
        client.write_all(GET).await.expect("written");
        let stood = standstill(std::future::pending(), &sent).await;
        assert!(stood < MUCH / 2, "{stood} bytes were fetched");
    });
}

#[test]
fn a_request_that_is_not_read_is_not_fetched() {
    local(async {
        let backend = Backend::scripted(|mut stream, _, _| async move {
            stream.read_exact(&mut [0; 64]).await.expect("a request");
            std::future::pending::<()>().await;
        })
        .await;
        let stage = Stage::before(&backend.url);
        let mut client = stage.connect().await;
        let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MUCH}\r\n\r\n");
        client.write_all(head.as_bytes()).await.expect("written");
        let sent = Cell::new(0);
        let upload = async {
            while sent.get() < MUCH {
                sent.set(sent.get() + client.write(&[b'x'; 16 * 1024]).await.expect("it is open"));
            }
        };
        let stood = standstill(upload, &sent).await;
        assert!(stood < MUCH / 2, "{stood} bytes were taken");
    });
}

#[test]
fn trailers_of_a_request_go_up_where_they_were_announced() {
    local(async {
        let backend = Backend::replying(OK).await;
        let stage = Stage::before(&backend.url);
        let request =
            b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTrailer: X-End, Authorization\r\n\
                        \r\n2;a=b\r\nhi\r\n0\r\nX-End: 1\r\nAuthorization: mine\r\nX-Other: 2\r\n\r\n";
        assert!(asked(&mut stage.connect().await, request).await.ends_with("\r\n\r\nhi"));
        let seen = backend.only();
        assert!(seen.ends_with("\r\n\r\n2\r\nhi\r\n0\r\nx-end: 1\r\n\r\n"), "{seen}");
        assert_eq!(header(&seen, "transfer-encoding"), ["chunked"]);
    });
}
