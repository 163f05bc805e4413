//! HTTP/2 on either side, and gRPC through both.

use std::{cell::Cell, convert::Infallible, future::Future, rc::Rc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2 as client,
    server::conn::http2 as server,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, sync::mpsc};

use super::stage::{Backend, Stage, header, limits, local, settings, upstream};
use crate::proxy::HttpVersion;

type BoxBody = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Clone, Copy)]
struct Exec;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Exec {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// An HTTP/2 upstream by prior knowledge, which takes `streams` at a time on each connection.
async fn backend<S, F>(streams: u32, service: S) -> (String, Rc<Cell<usize>>)
where
    S: Fn(Request<Incoming>) -> F + Clone + 'static,
    F: Future<Output = Response<BoxBody>> + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let connections = Rc::new(Cell::new(0));
    let count = Rc::clone(&connections);
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.set(count.get() + 1);
            let service = service.clone();
            let service = service_fn(move |request| {
                let response = service(request);
                async move { Ok::<_, Infallible>(response.await) }
            });
            let mut http = server::Builder::new(Exec);
            http.max_concurrent_streams(streams);
            tokio::task::spawn_local(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    (url, connections)
}

async fn connect(stage: &Stage) -> client::SendRequest<BoxBody> {
    let stream = stage.connect().await;
    let (sender, connection) = client::handshake(Exec, TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::task::spawn_local(connection);
    sender
}

fn full(text: &'static str) -> BoxBody {
    Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync()
}

fn empty() -> BoxBody {
    Empty::new().boxed_unsync()
}

fn h2_settings(url: &str) -> crate::proxy::Settings {
    let mut upstream = upstream(url);
    upstream.http = HttpVersion::H2;
    settings(upstream)
}

#[test]
fn http2_comes_in_on_the_same_port_and_goes_up_as_http1() {
    local(async {
        let backend =
            Backend::replying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x\r\nX: y\r\n\r\nhi").await;
        let stage = Stage::before(&backend.url);
        let mut client = connect(&stage).await;
        let request = Request::builder()
            .uri(format!("http://localhost:{}/a//b?c", stage.address.port()))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("authorization", "mine")
            .body(empty())
            .expect("a request");
        let response = client.send_request(request).await.expect("a response");
        assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
        assert_eq!(response.headers()["x-decorated"], "yes");
        assert_eq!(response.into_body().collect().await.expect("a body").to_bytes(), "hi");
        let request = backend.only();
        assert!(request.starts_with("GET /a//b?c HTTP/1.1\r\n"), "{request}");
        assert_eq!(header(&request, "host"), [backend.url.trim_start_matches("http://")]);
        assert_eq!(header(&request, "cookie"), ["a=1; b=2"]);
        assert_eq!(header(&request, "authorization"), ["Bearer eyJ.first"]);
        // And HTTP/1.1 beside it.
        let reply = stage.ask("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        assert!(reply.starts_with("HTTP/1.1 200 OK"), "{reply}");
    });
}

#[test]
fn http1_goes_up_as_http2_by_prior_knowledge() {
    local(async {
        let (url, connections) = backend(100, |request| async move {
            let headers = request.headers();
            let text = format!(
                "{} {} {:?} {:?} {:?}",
                request.uri(),
                headers["authorization"].to_str().expect("text"),
                headers.get("host"),
                headers.get("connection"),
                request.version(),
            );
            let body = request.into_body().collect().await.expect("a body").to_bytes();
            let text = format!("{text} {}", String::from_utf8_lossy(&body));
            Response::new(Full::new(Bytes::from(text)).boxed_unsync())
        })
        .await;
        let stage = Stage::with(&h2_settings(&url), limits());
        let request = "POST /a?b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTE: trailers\r\n\
                       Content-Length: 5\r\n\r\nhello";
        let (first, second) = tokio::join!(stage.ask(request), stage.ask(request));
        let expected = format!("{url}/a?b Bearer eyJ.first None None HTTP/2.0 hello");
        for reply in [first, second] {
            assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.ends_with(&expected), "{reply}");
        }
        assert_eq!(connections.get(), 1, "requests share the connection, also when it is not open yet");
        assert_eq!(stage.figure("cognito_proxy_upstream_connections{state=\"active\"}"), "1");
    });
}

#[test]
fn another_connection_is_opened_when_the_streams_run_out() {
    local(async {
        let release = Rc::new(tokio::sync::Semaphore::new(0));
        let gate = Rc::clone(&release);
        let waiting = Rc::new(Cell::new(0));
        let count = Rc::clone(&waiting);
        let (url, connections) = backend(2, move |_| {
            let (gate, count) = (Rc::clone(&gate), Rc::clone(&count));
            async move {
                count.set(count.get() + 1);
                gate.acquire().await.expect("open").forget();
                Response::new(full("done"))
            }
        })
        .await;
        let stage = Stage::with(&h2_settings(&url), limits());
        // The first tells the proxy how many streams there may be.
        release.add_permits(1);
        let get = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        assert!(stage.ask(get).await.ends_with("done"));
        let all = async { futures_util::future::join_all((0..5).map(|_| stage.ask(get))).await };
        let (replies, ()) = tokio::join!(all, async {
            while waiting.get() < 6 {
                tokio::task::yield_now().await;
            }
            assert_eq!(connections.get(), 3);
            release.add_permits(5);
        });
        assert!(replies.iter().all(|reply| reply.ends_with("done")), "{replies:?}");
    });
}

#[test]
fn grpc_streams_both_ways_with_its_trailers() {
    local(async {
        let (url, _) = backend(100, |request| async move {
            assert_eq!(request.headers()["te"], "trailers");
            assert_eq!(request.headers()["authorization"], "Bearer eyJ.first");
            let mut body = request.into_body();
            let (sender, receiver) = mpsc::channel::<Frame<Bytes>>(1);
            tokio::task::spawn_local(async move {
                // Each message is answered before the next one comes.
                while let Some(frame) = body.frame().await {
                    let Ok(data) = frame.expect("whole").into_data() else { continue };
                    sender.send(Frame::data(data)).await.expect("read");
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                sender.send(Frame::trailers(trailers)).await.expect("read");
            });
            let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
                let frame = receiver.recv().await?;
                Some((Ok::<_, Infallible>(frame), receiver))
            });
            let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            response
        })
        .await;
        let mut limits = limits();
        // gRPC streams may be silent.
        limits.body_idle_timeout = Duration::from_millis(1);
        let stage = Stage::with(&h2_settings(&url), limits);
        let (sender, receiver) = mpsc::channel::<Frame<Bytes>>(1);
        let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
            let frame = receiver.recv().await?;
            Some((Ok::<_, Infallible>(frame), receiver))
        });
        let request = Request::builder()
            .method("POST")
            .uri(format!("http://localhost:{}/pkg.Echo/Chat", stage.address.port()))
            .header("content-type", "application/grpc+proto")
            .header("te", "trailers")
            .body(StreamBody::new(frames).boxed_unsync())
            .expect("a request");
        let mut client = connect(&stage).await;
        let response = client.send_request(request).await.expect("a response before any message");
        assert_eq!(response.headers()["content-type"], "application/grpc");
        let mut body = response.into_body();
        for message in ["one", "two", "three"] {
            sender.send(Frame::data(Bytes::from_static(message.as_bytes()))).await.expect("sent");
            let frame = body.frame().await.expect("an answer").expect("whole");
            assert_eq!(frame.into_data().expect("data"), message);
        }
        drop(sender);
        let frame = body.frame().await.expect("trailers").expect("whole");
        assert_eq!(frame.into_trailers().expect("trailers")["grpc-status"], "0");
    });
}

#[test]
fn trailers_carry_no_credentials_either_way() {
    fn with_trailers(lines: &[(&'static str, &'static str)]) -> UnsyncBoxBody<Bytes, Infallible> {
        let trailers =
            lines.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        let frames = [Frame::data(Bytes::from_static(b"x")), Frame::trailers(trailers.collect())];
        StreamBody::new(futures_util::stream::iter(frames.map(Ok))).boxed_unsync()
    }
    fn names(trailers: &HeaderMap) -> Vec<String> {
        trailers.keys().map(ToString::to_string).collect()
    }
    local(async {
        let (url, _) = backend(100, |request| async move {
            assert_eq!(request.headers()["authorization"], "Bearer eyJ.first");
            let trailers = request.into_body().collect().await.expect("a body").trailers().cloned();
            let named = names(&trailers.unwrap_or_default()).join(",");
            let body = [("authorization", "Bearer leaked"), ("set-cookie", "a=b; Domain=x"), ("checksum", "1")];
            let mut response = Response::new(with_trailers(&body));
            response.headers_mut().insert("x-named", named.parse().expect("a value"));
            response
        })
        .await;
        let stage = Stage::with(&h2_settings(&url), limits());
        let lines = [
            ("authorization", "Bearer mine"),
            ("cognito-proxy-key", "k"),
            ("x-forwarded-for", "1.2.3.4"),
            ("cookie", "a=b"),
            ("checksum", "1"),
        ];
        let request = Request::builder()
            .method("POST")
            .uri(format!("http://localhost:{}/x", stage.address.port()))
            .header("te", "trailers")
            .body(with_trailers(&lines))
            .expect("a request");
        let response = connect(&stage).await.send_request(request).await.expect("a response");
        assert_eq!(response.headers()["x-named"], "checksum");
        let trailers = response.into_body().collect().await.expect("a body").trailers().cloned();
        assert_eq!(names(&trailers.expect("trailers")), ["checksum"]);
    });
}

#[test]
fn a_grpc_client_is_told_in_its_own_words() {
    local(async {
        let stage = Stage::before("http://127.0.0.1:1");
        stage.publisher.publish(super::stage::signed_out());
        let mut client = connect(&stage).await;
        let request = Request::builder()
            .method("POST")
            .uri(format!("http://localhost:{}/pkg.Echo/Chat", stage.address.port()))
            .header("content-type", "application/grpc")
            .body(empty())
            .expect("a request");
        let response = client.send_request(request).await.expect("a response");
        assert_eq!(
            (response.status(), &response.headers()["grpc-status"]),
            (StatusCode::OK, &"14".parse().expect("ok"))
        );
        assert!(response.headers()["grpc-message"].to_str().expect("text").contains("cognito-proxy login"));
    });
}

#[test]
fn a_broken_stream_is_broken_for_the_client_too() {
    local(async {
        let (url, _) = backend(100, |_| async move {
            let frames = futures_util::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"half")))]);
            // Longer than what comes: the server resets the stream.
            let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
            response.headers_mut().insert("content-length", HeaderValue::from_static("10"));
            response
        })
        .await;
        let stage = Stage::with(&h2_settings(&url), limits());
        let reply = stage.ask("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        assert!(!reply.contains("\r\n\r\nhalf") || header(&reply, "content-length") == ["10"], "{reply}");
        let mut client = connect(&stage).await;
        let request = Request::builder()
            .uri(format!("http://localhost:{}/", stage.address.port()))
            .body(empty())
            .expect("a request");
        match client.send_request(request).await {
            Ok(response) if response.status() == StatusCode::OK => {
                response.into_body().collect().await.expect_err("it is not whole");
            }
            Ok(response) => assert_eq!(response.status(), StatusCode::BAD_GATEWAY),
            Err(_) => {}
        }
    });
}

#[test]
fn draining_tells_http2_clients_to_go_away_and_finishes_their_streams() {
    local(async {
        let release = Rc::new(tokio::sync::Semaphore::new(0));
        let gate = Rc::clone(&release);
        let (asked, mut heard) = mpsc::channel(1);
        let (url, _) = backend(100, move |_| {
            let (gate, asked) = (Rc::clone(&gate), asked.clone());
            async move {
                asked.send(()).await.expect("the test waits");
                gate.acquire().await.expect("open").forget();
                Response::new(full("done"))
            }
        })
        .await;
        let stage = Stage::with(&h2_settings(&url), limits());
        let mut client = connect(&stage).await;
        let request = Request::builder()
            .uri(format!("http://localhost:{}/", stage.address.port()))
            .body(empty())
            .expect("a request");
        let response = client.send_request(request);
        let (response, ()) = tokio::join!(response, async {
            heard.recv().await.expect("it is in flight");
            stage.shutdown.begin();
            release.add_permits(1);
        });
        let body = response.expect("a response").into_body().collect().await.expect("whole").to_bytes();
        assert_eq!(body, "done");
        assert_eq!(stage.serving.await.expect("no panic"), 0);
    });
}

#[test]
fn draining_waits_for_a_client_that_reads_slowly() {
    // The last piece is begun within the window, and ends far beyond it.
    const LENGTH: usize = 110_000;
    local(async {
        let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n{}", "x".repeat(LENGTH));
        let backend = Backend::replying(Box::leak(reply.into_boxed_str())).await;
        let stage = Stage::before(&backend.url);
        let mut builder = client::Builder::new(Exec);
        builder.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
        let (mut client, connection) = builder.handshake(TokioIo::new(stage.connect().await)).await.expect("HTTP/2");
        tokio::task::spawn_local(connection);
        let request = Request::builder()
            .uri(format!("http://localhost:{}/", stage.address.port()))
            .body(empty())
            .expect("a request");
        let response = client.send_request(request).await.expect("a response");
        stage.shutdown.begin();
        // Longer than an idle connection has to leave, during which all that is not read lies with the proxy.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let body = response.into_body().collect().await.expect("whole").to_bytes();
        assert_eq!(body.len(), LENGTH);
        drop(client);
        assert_eq!(stage.serving.await.expect("no panic"), 0);
    });
}
