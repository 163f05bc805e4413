//! Both ends of the control socket, over a real one.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::oneshot,
    task::JoinHandle,
};

use super::*;
use crate::{
    admin::{
        client::{Client, ClientError},
        fixtures::{Told, issued, signed_out},
    },
    session::status::StateName,
};

fn myself() -> u32 {
    rustix::process::geteuid().as_raw()
}

struct Running {
    client: Client,
    told: Arc<Told>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

fn service(told: &Arc<Told>, owner: u32) -> Service {
    Service::new(signed_out().admin, Arc::<Told>::clone(told), owner)
}

fn start(told: Told) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/proxy.sock");
    let socket = Socket::bind(&path).unwrap();
    let told = Arc::new(told);
    let (stop, stopped) = oneshot::channel();
    let service = Arc::new(service(&told, myself()));
    let task = tokio::spawn(socket.serve(service, async { drop(stopped.await) }));
    Running { client: Client::new(path), told, stop, task, _directory: directory }
}

#[tokio::test]
async fn every_deed_arrives_and_its_answer_comes_back() {
    let running = start(Told::default());
    let client = &running.client;
    assert_eq!(client.status().await.unwrap().state, StateName::SignedOut);
    assert_eq!(client.unready().await.unwrap().unwrap().code, "login_required");
    let minute = Some(Duration::from_secs(60));
    assert_eq!(client.token(TokenKind::Access, minute).await.unwrap(), issued(TokenKind::Access));
    assert_eq!(client.token(TokenKind::Id, None).await.unwrap(), issued(TokenKind::Id));
    client.unlock().await.unwrap();
    assert_eq!(client.reload().await.unwrap().needs_restart, ["listen.proxy"]);
    client.adopt(&Secret::from("{\"a\":1}")).await.unwrap();
    client.clear().await.unwrap();
    assert_eq!(
        *running.told.deeds.lock().unwrap(),
        ["token access Some(60s)", "token id None", "unlock", "reload", "adopt {\"a\":1}", "clear"]
    );
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
    assert!(!client.path().exists());
    assert!(matches!(client.status().await.unwrap_err(), ClientError::NotRunning { .. }));
}

#[tokio::test]
async fn a_fault_comes_back_as_what_it_is() {
    let refusal = Refusal {
        code: Code::LoginRequired,
        detail: "nobody has signed in".into(),
        fix: "cognito-proxy login".into(),
        retry_after: Some(Duration::from_millis(1500)),
    };
    for (fault, status, code) in [
        (Fault::Refused(refusal), 503, "login_required"),
        (Fault::Invalid("x".into()), 400, "bad_request"),
        (Fault::OtherSession("x".into()), 409, "other_session"),
        (Fault::Store("x".into()), 507, "store_failed"),
        (Fault::Configuration("x".into()), 422, "configuration"),
    ] {
        let running = start(Told { fault: Some(fault.clone()), ..Told::default() });
        for result in [
            running.client.unlock().await,
            running.client.clear().await,
            running.client.adopt(&Secret::from("{}")).await,
            running.client.reload().await.map(|_| ()),
            running.client.token(TokenKind::Id, None).await.map(|_| ()),
        ] {
            let Err(ClientError::Refused(problem)) = result else { panic!("{result:?}") };
            assert_eq!((problem.status().as_u16(), problem.code.as_str()), (status, code));
            assert_eq!(problem.to_string(), fault.to_string());
            assert!(!problem.fix.is_empty());
        }
    }
}

async fn ask(service: &Service, peer: Option<u32>, request: http::request::Builder, body: &str) -> Response<Bytes> {
    service.answer(peer, request.body(Full::from(body.to_owned())).unwrap()).await.map(Body::into_bytes)
}

#[tokio::test]
async fn it_admits_its_owner_and_root_and_nothing_that_was_passed_on() {
    let told = Arc::new(Told::default());
    let service = service(&told, 1000);
    let unlock = || Request::post("/unlock");
    for (peer, status) in [(Some(1000), 204), (Some(0), 204), (Some(1001), 403), (None, 403)] {
        assert_eq!(ask(&service, peer, unlock(), "").await.status(), status, "{peer:?}");
    }
    assert_eq!(ask(&service, Some(1001), Request::get("/status.json"), "").await.status(), 403);
    for name in FOREIGN {
        let response = ask(&service, Some(1000), unlock().header(&name, "x"), "").await;
        assert_eq!(response.status(), 403, "{name}");
    }
    assert_eq!(told.deeds.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_no_request_does_nothing() {
    let told = Arc::new(Told::default());
    let service = service(&told, 1000);
    let long = "x".repeat(MAX_BODY + 1);
    for (request, body, status) in [
        (Request::get("/token"), "", 405),
        (Request::get("/unlock"), "", 405),
        (Request::put("/session"), "{}", 405),
        (Request::post("/nothing"), "", 404),
        (Request::post("/status"), "", 405),
        (Request::post("/token"), "{\"kind\":\"refresh\"}", 400),
        (Request::post("/token"), "{\"knd\":\"id\"}", 400),
        (Request::post("/token"), "[", 400),
        (Request::post("/session"), long.as_str(), 400),
    ] {
        let response = ask(&service, Some(1000), request, body).await;
        assert_eq!(response.status(), status, "{body:.20}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
    assert!(told.deeds.lock().unwrap().is_empty());
    // Without a body it is the ID token that is meant.
    assert_eq!(ask(&service, Some(1000), Request::post("/token"), "").await.status(), 200);
    assert_eq!(*told.deeds.lock().unwrap(), ["token id None"]);
}

#[tokio::test]
async fn the_socket_is_the_owners_alone_and_takes_the_place_of_a_stale_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/proxy.sock");
    // One that nobody listens on any more stays behind a killed proxy.
    std::fs::create_dir(path.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let socket = Socket::bind(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Socket::bind(&path).unwrap_err(), BindError::Taken { .. }));
    drop(socket);
    assert!(!path.exists());

    std::fs::write(&path, "a file").unwrap();
    assert!(matches!(Socket::bind(&path).unwrap_err(), BindError::NoSocket { .. }));
    assert_eq!(std::fs::read(&path).unwrap(), b"a file");
    let long = directory.path().join("x".repeat(120));
    assert!(matches!(Socket::bind(&long).unwrap_err(), BindError::TooLong { .. }));

    let new = directory.path().join("new/proxy.sock");
    let _socket = Socket::bind(&new).unwrap();
    assert_eq!(std::fs::metadata(new.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_socket_in_whose_place_another_has_come_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxy.sock");
    let first = Socket::bind(&path).unwrap();
    std::fs::rename(&path, directory.path().join("old")).unwrap();
    let _second = Socket::bind(&path).unwrap();
    drop(first);
    assert!(path.exists());
}

#[tokio::test]
async fn a_command_that_says_nothing_does_not_keep_the_proxy_from_stopping() {
    let running = start(Told::default());
    let mut silent = UnixStream::connect(running.client.path()).await.unwrap();
    silent.write_all(b"POST /unlock HTTP/1.1\r\n").await.unwrap();
    // The silent one has been accepted once a later one is answered.
    running.client.status().await.unwrap();
    running.stop.send(()).unwrap();
    running.task.await.unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap(), 0);
}

/// What a client makes of somebody who is no proxy.
#[tokio::test]
async fn a_client_names_what_went_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("s");
    let client = Client::new(path.clone()).within(Duration::from_millis(50));
    assert!(matches!(client.status().await.unwrap_err(), ClientError::NotRunning { .. }));

    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    // Nobody accepts: the kernel connects it, and nothing comes.
    assert!(matches!(client.status().await.unwrap_err(), ClientError::Timeout { .. }));
    drop(listener.accept().await.unwrap());

    let client = Client::new(path);
    for (answer, is_expected) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}",
            (|e| matches!(e, ClientError::Protocol { .. })) as fn(&_) -> _,
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n<>", |e| matches!(e, ClientError::Malformed { .. })),
        ("HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\n{}", |e| matches!(e, ClientError::Malformed { .. })),
        ("SSH-2.0-x\r\n", |e| matches!(e, ClientError::Protocol { .. })),
        ("", |e| matches!(e, ClientError::Protocol { .. })),
    ] {
        let (result, ()) = tokio::join!(client.status(), serve_once(&listener, answer));
        let error = result.unwrap_err();
        assert!(is_expected(&error), "{answer:?}: {error:?}");
    }
}

async fn serve_once(listener: &tokio::net::UnixListener, answer: &str) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let _ = stream.read(&mut [0; 1024]).await;
    let _ = stream.write_all(answer.as_bytes()).await;
}
