//! The upstream through real sockets.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use super::*;
use crate::{
    clock::{ManualClock, UnixTime},
    devpool::{AppClient, OldKeys, Settings, Validity, random},
    secret::Secret,
};

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

struct Scene {
    pool: DevPool,
    echo: Echo,
    clock: ManualClock,
    client: Client<HttpConnector, Body>,
}

impl Scene {
    async fn begin() -> Self {
        let clock = ManualClock::at(UnixTime::from_secs(1_767_225_600));
        let validity = Validity { id: Duration::from_secs(300), ..Validity::default() };
        let client = AppClient::public(Settings::CLIENT).with_validity(validity);
        let settings = Settings::default().with_client(client);
        let pool = DevPool::start(settings, Arc::new(clock.clone())).await.expect("the pool starts");
        let echo = Echo::start(EchoSettings::default(), &pool).await.expect("the echo starts");
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { pool, echo, clock, client }
    }

    fn token(&self) -> Secret {
        self.pool.sign_in(Settings::USER, Settings::CLIENT).expect("signed in").id_token
    }

    async fn try_get(&self, target: &str, token: Option<&Secret>) -> Result<Response<Incoming>, String> {
        let mut request = Request::get(format!("{}{target}", self.echo.url()));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {}", token.expose()));
        }
        let request = request.body(full("")).expect("a request");
        self.client.request(request).await.map_err(|error| error.to_string())
    }

    async fn get(&self, target: &str, token: Option<&Secret>) -> Response<Incoming> {
        self.try_get(target, token).await.expect("an answer")
    }
}

fn full(body: &str) -> Body {
    Full::new(Bytes::copy_from_slice(body.as_bytes())).boxed_unsync()
}

async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

async fn json(response: Response<Incoming>) -> Value {
    serde_json::from_str(&text(response).await).expect("JSON")
}

#[tokio::test]
async fn it_says_what_came_and_shows_no_token() {
    let scene = Scene::begin().await;
    let tokens = scene.pool.sign_in(Settings::USER, Settings::CLIENT).expect("signed in");
    let (id, refresh) = (tokens.id_token.expose(), tokens.refresh_token.expose());
    let request = Request::post(format!("{}/a%2Fb//c?x=1&t={id}", scene.echo.url()))
        .header("authorization", format!("Bearer {id}"))
        .header("cookie", format!("refresh={refresh}; a=b"))
        .header("x-many", "1")
        .header("x-many", "2")
        .body(full("hello"))
        .expect("a request");
    let response = text(scene.client.request(request).await.expect("an answer")).await;
    assert!(!response.contains("eyJ"), "{response}");
    let shown: Value = serde_json::from_str(&response).expect("JSON");
    assert_eq!((&shown["method"], &shown["version"]), (&"POST".into(), &"HTTP/1.1".into()));
    assert_eq!(shown["target"], "/a%2Fb//c?x=1&t=[token]");
    assert_eq!(shown["headers"]["authorization"]["claims"]["iss"], scene.pool.issuer());
    assert_eq!(shown["headers"]["authorization"]["claims"]["token_use"], "id");
    assert_eq!(shown["headers"]["cookie"], "refresh=[token]; a=b");
    assert_eq!(shown["headers"]["x-many"], serde_json::json!(["1", "2"]));
    assert_eq!((&shown["token"]["verdict"], &shown["token"]["expires_in_s"]), (&"valid".into(), &300.into()));
    assert_eq!(shown["body_bytes"], 5);

    let log = scene.echo.log();
    let seen = log.last().expect("a request");
    assert_eq!(seen.target, format!("/a%2Fb//c?x=1&t={id}"));
    assert_eq!(seen.header_values("authorization"), [format!("Bearer {id}")]);
    assert_eq!((seen.body_bytes, seen.body_end), (5, BodyEnd::Complete));
    assert_eq!(seen.body_sha256.as_deref(), Some(random::hex(&random::sha256(b"hello")).as_str()));
    assert!(!format!("{log:?}{:?}", scene.echo).contains("eyJ"));
}

#[tokio::test]
async fn one_port_speaks_http_1_and_h2c() {
    let scene = Scene::begin().await;
    let h2 = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Body>();
    let bulk = "x".repeat(20_000);
    let request = Request::get(format!("{}/h2", scene.echo.url())).header("x-long", &bulk).body(full(""));
    let answer = json(h2.request(request.expect("a request")).await.expect("an answer")).await;
    assert_eq!(answer["version"], "HTTP/2.0");
    assert_eq!(answer["headers"]["x-long"], bulk);
    scene.get("/h1", None).await;
    let log = scene.echo.log();
    let arrived: Vec<_> = log.iter().map(|request| (request.version, request.target.as_str())).collect();
    assert_eq!(arrived, [(Version::HTTP_2, "/h2"), (Version::HTTP_11, "/h1")]);
    assert_eq!(log.iter().next().and_then(|request| request.authority.clone()), Some(scene.echo.address().to_string()));
    assert_eq!(log.without_token(), 2);
}

#[tokio::test]
async fn tokens_are_judged_by_the_pools_keys_and_clock() {
    let scene = Scene::begin().await;
    let (first, second) = (scene.token(), scene.token());
    for token in [&first, &first, &second] {
        scene.get("/", Some(token)).await;
    }
    scene.clock.advance(Duration::from_secs(300));
    scene.get("/", Some(&first)).await;
    let fresh = scene.token();
    scene.pool.set_skew(-60);
    scene.get("/", Some(&fresh)).await;
    scene.pool.set_skew(0);
    scene.pool.rotate_keys(OldKeys::AreWithdrawn).expect("new keys");
    scene.get("/", Some(&fresh)).await;
    let log = scene.echo.log();
    let verdicts: Vec<_> = log.iter().filter_map(|request| Some(request.bearer.as_ref()?.verdict)).collect();
    let valid = Verdict::Valid;
    assert_eq!(verdicts, [valid, valid, valid, Verdict::Expired, Verdict::NotYetValid, Verdict::BadSignature]);
    assert_eq!((log.total(), log.expired_on_arrival(), log.invalid()), (6, 1, 3));
    assert_eq!(log.distinct_tokens().len(), 3);
}

#[tokio::test]
async fn a_token_without_a_scheme_in_a_header_of_its_own_counts_too() {
    let scene = Scene::begin().await;
    let request = Request::get(scene.echo.url()).header("x-token", scene.token().expose()).body(full(""));
    scene.client.request(request.expect("a request")).await.expect("an answer");
    let log = scene.echo.log();
    let bearer = log.last().and_then(|request| request.bearer.clone()).expect("a token");
    assert_eq!((bearer.header.as_str(), bearer.scheme, bearer.verdict), ("x-token", None, Verdict::Valid));
}

#[tokio::test]
async fn a_401_lasts_until_a_new_token_comes() {
    let scene = Scene::begin().await;
    let (old, new) = (scene.token(), scene.token());
    let status = async |target: &str, token| scene.get(target, Some(token)).await.status().as_u16();
    assert_eq!(status("/", &old).await, 200);
    scene.echo.refuse_seen_tokens();
    let refused = scene.get("/anything", Some(&old)).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers()["www-authenticate"], "Bearer error=\"invalid_token\"");
    assert_eq!(status("/", &new).await, 200);
    scene.echo.behave_normally();
    assert_eq!(status("/", &old).await, 200);

    assert_eq!(scene.get("/until-new-token", None).await.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(status("/until-new-token", &old).await, 401);
    assert_eq!(status("/until-new-token", &new).await, 200);
    assert_eq!(status("/until-new-token", &old).await, 401);
}

#[tokio::test]
async fn commands_go_before_paths() {
    let scene = Scene::begin().await;
    scene.echo.behave_next(1, &Behaviour::Status(StatusCode::IM_A_TEAPOT));
    scene.echo.behave_always(Behaviour::Status(StatusCode::BAD_GATEWAY));
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(scene.get("/status/204", None).await.status().as_u16());
    }
    scene.echo.behave_normally();
    statuses.push(scene.get("/status/204", None).await.status().as_u16());
    assert_eq!(statuses, [418, 502, 204]);
    let redirect = scene.get("/redirect?to=http%3A%2F%2Felsewhere%2F", None).await;
    assert_eq!(
        (redirect.status().as_u16(), &redirect.headers()["location"]),
        (302, &"http://elsewhere/".parse().expect("a value"))
    );
    let cookies = scene.get("/response-headers?Set-Cookie=a%3Db&Set-Cookie=c%3Dd", None).await;
    assert_eq!(cookies.headers().get_all("set-cookie").iter().count(), 2);
}

#[tokio::test]
async fn downloads_are_as_long_as_they_say_or_break_off() {
    let scene = Scene::begin().await;
    let download = scene.get("/bytes/100001", None).await;
    assert_eq!(download.headers()["content-length"], "100001");
    assert_eq!(text(download).await.len(), 100_001);
    let broken = scene.get("/truncated/100000", None).await;
    let mut body = broken.into_body();
    let mut arrived = 0;
    let error = loop {
        match body.frame().await.expect("an error before the end") {
            Ok(frame) => arrived += frame.into_data().map_or(0, |data| data.len()),
            Err(error) => break error,
        }
    };
    assert_eq!(arrived, 50_000, "{error}");
}

#[tokio::test]
async fn events_stream_by_count_and_by_command() {
    let scene = Scene::begin().await;
    let counted = scene.get("/sse?count=3&interval=1", None).await;
    assert_eq!(counted.headers()["content-type"], "text/event-stream");
    assert_eq!(text(counted).await, "data: 0\n\ndata: 1\n\ndata: 2\n\n");

    let mut body = scene.get("/events", None).await.into_body();
    for event in ["first", "second"] {
        assert_eq!(scene.echo.push_event(event), 1);
        let frame = body.frame().await.expect("an event").expect("no error");
        assert_eq!(frame.into_data().expect("data"), format!("data: {event}\n\n"));
    }
}

/// A request body that the test sends piece by piece.
fn piecewise() -> (mpsc::UnboundedSender<&'static str>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel::<&'static str>();
    let frames = stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((Ok(Frame::data(Bytes::from_static(piece.as_bytes()))), receiver))
    });
    (sender, StreamBody::new(frames).boxed_unsync())
}

#[tokio::test]
async fn an_upload_is_recorded_while_it_arrives_and_when_it_breaks_off() {
    let scene = Scene::begin().await;
    let (sender, body) = piecewise();
    let request = Request::post(format!("{}/sink", scene.echo.url())).body(body).expect("a request");
    let answer = tokio::spawn(scene.client.request(request));
    sender.send("12345").expect("sent");
    let log = scene.echo.wait_for(|log| log.last().is_some_and(|request| request.body_bytes == 5)).await;
    assert_eq!(log.last().map(|request| request.body_end), Some(BodyEnd::Open));
    sender.send("67").expect("sent");
    drop(sender);
    let answer = json(answer.await.expect("no panic").expect("an answer")).await;
    assert_eq!(answer["body_bytes"], 7);
    assert_eq!(answer["body_sha256"], random::hex(&random::sha256(b"1234567")));

    let (sender, body) = piecewise();
    let request = Request::post(format!("{}/sink", scene.echo.url())).body(body).expect("a request");
    let asking = scene.client.request(request);
    sender.send("1").expect("sent");
    tokio::select! {
        answer = asking => panic!("answered before the body ended: {answer:?}"),
        _ = scene.echo.wait_for(|log| log.last().is_some_and(|request| request.body_bytes == 1)) => {}
    }
    scene.echo.wait_for(|log| log.last().is_some_and(|request| request.body_end == BodyEnd::Broken)).await;
}

#[tokio::test]
async fn a_duplex_reply_comes_back_while_the_request_is_still_open() {
    let scene = Scene::begin().await;
    let h2 = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Body>();
    let (sender, body) = piecewise();
    let request = Request::post(format!("{}/duplex", scene.echo.url())).body(body).expect("a request");
    let mut reply = h2.request(request).await.expect("an answer before the body").into_body();
    for piece in ["there", "and back"] {
        sender.send(piece).expect("sent");
        assert_eq!(reply.frame().await.expect("a frame").expect("no error").into_data().expect("data"), piece);
    }
    drop(sender);
    assert_eq!(reply.collect().await.expect("its end").to_bytes(), "", "and nothing after the request's end");
    let complete = |log: &EchoLog| log.last().is_some_and(|request| request.body_end == BodyEnd::Complete);
    assert_eq!(scene.echo.wait_for(complete).await.last().map(|request| request.body_bytes), Some(13));
}

#[tokio::test]
async fn an_early_reply_comes_before_the_body_and_a_reset_instead_of_one() {
    let scene = Scene::begin().await;
    let (_sender, body) = piecewise();
    let request = Request::post(format!("{}/early/413", scene.echo.url())).body(body).expect("a request");
    assert_eq!(scene.client.request(request).await.expect("an answer").status().as_u16(), 413);
    assert_eq!(scene.echo.log().last().map(|request| request.body_end), Some(BodyEnd::Ignored));

    let mut stream = TcpStream::connect(scene.echo.address()).await.expect("a connection");
    stream.write_all(b"GET /reset HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
    let error = stream.read(&mut [0; 16]).await.expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn an_upgraded_connection_gives_its_octets_back() {
    let scene = Scene::begin().await;
    let mut stream = TcpStream::connect(scene.echo.address()).await.expect("a connection");
    stream
        .write_all(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await
        .expect("written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    stream.write_all(b"ping").await.expect("written");
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.expect("echoed");
    assert_eq!(&back, b"ping");
    stream.shutdown().await.expect("closed");
    assert_eq!(stream.read(&mut back).await.expect("the other side closes too"), 0);
}

#[tokio::test]
async fn held_replies_wait_and_connections_are_counted() {
    let scene = Scene::begin().await;
    let held = scene.echo.hold_replies();
    let mut asking = Box::pin(scene.get("/", None));
    tokio::select! {
        answer = &mut asking => panic!("answered while held: {answer:?}"),
        _ = scene.echo.wait_for(|log| log.total() == 1) => {}
    }
    assert_eq!(scene.echo.open_connections(), 1);
    drop(held);
    assert_eq!(asking.await.status(), StatusCode::OK);
    let Scene { echo, client, .. } = scene;
    drop(client);
    echo.wait_for_connections(|open| *open == 0).await;
    let address = echo.address();
    echo.stop().await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
