use std::{
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::listen::{Holder, Local, Peer, Seats, passed};

fn settings(proxy: &[&str]) -> Settings {
    Settings {
        proxy: proxy.iter().map(|text| text.parse().expect("an address")).collect(),
        proxy_is_default: false,
        admin: None,
        admin_is_default: false,
        allow_remote: false,
    }
}

fn bound(settings: &Settings, directory: &Path) -> Result<Bound, Error> {
    bind(settings, Owner { runtime_dir: directory, profile: "work" }, Passed::none())
}

fn port(endpoint: &Endpoint) -> u16 {
    match endpoint.local() {
        Local::Tcp(address) => address.port(),
        Local::Unix(path) => panic!("{}", path.display()),
    }
}

#[test]
fn a_second_instance_is_told_who_has_the_address() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = bound(&settings(&["127.0.0.1:0"]), directory.path()).expect("a free port");
    let taken = format!("127.0.0.1:{}", port(&first.proxy[0]));
    match bound(&settings(&[&taken]), directory.path()) {
        Err(error @ Error::Taken { .. }) => {
            let text = error.to_string();
            let Error::Taken { holder, next_free, .. } = error else { unreachable!() };
            let holder = holder.expect("the lock says who");
            assert_eq!(holder, Holder::Profile { profile: "work".into(), process: std::process::id() });
            assert!(next_free.is_some_and(|free| free > port(&first.proxy[0])));
            assert!(text.contains("listen.proxy") && text.contains(&taken) && text.contains("\"work\""), "{text}");
        }
        other => panic!("{other:?}"),
    }
    // Another runtime directory has no lock to find, and the bind itself refuses.
    let elsewhere = tempfile::tempdir().expect("a directory");
    assert!(matches!(bound(&settings(&[&taken]), elsewhere.path()), Err(Error::Taken { .. })));
}

#[test]
fn a_foreign_listener_is_found_even_where_it_shares_its_port() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("an option");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    socket.listen(1).expect("listening");
    let listener = TcpListener::from(socket);
    let taken = listener.local_addr().expect("bound").to_string();
    match bound(&settings(&[&taken]), directory.path()) {
        Err(Error::Taken { holder: Some(Holder::Process { process, .. }), .. }) => {
            assert_eq!(process, std::process::id());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_can_be_claimed_again_once_it_was_given_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut first = bound(&settings(&["127.0.0.1:0"]), directory.path()).expect("a free port");
    let address = format!("127.0.0.1:{}", port(&first.proxy[0]));
    drop(first.proxy[0].listeners(3).expect("three sisters"));
    drop(first);
    bound(&settings(&[&address]), directory.path()).expect("free again");
}

#[test]
fn localhost_is_one_port_on_both_loopbacks() {
    let directory = tempfile::tempdir().expect("a directory");
    let bound = bound(&settings(&["localhost:0"]), directory.path()).expect("at least one family");
    let ports: Vec<u16> = bound.proxy.iter().map(port).collect();
    assert!(!ports.is_empty() && ports.iter().all(|port| *port == ports[0]), "{ports:?}");
}

#[test]
fn addresses_beyond_loopback_need_leave() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = settings(&["0.0.0.0:0"]);
    assert!(matches!(bound(&settings, directory.path()), Err(Error::Remote { .. })));
    settings.allow_remote = true;
    bound(&settings, directory.path()).expect("with leave");
}

#[test]
fn an_address_of_another_machine_is_an_error_unless_it_is_a_default() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut settings = settings(&["127.0.0.1:0", "192.0.2.1:0"]);
    settings.allow_remote = true;
    assert!(matches!(bound(&settings, directory.path()), Err(Error::Unavailable { .. })));
    settings.proxy_is_default = true;
    assert_eq!(bound(&settings, directory.path()).expect("one is left").proxy.len(), 1);
}

#[test]
fn a_socket_that_was_not_passed_is_an_error_that_names_the_unit_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let error = bound(&settings(&["systemd:proxy"]), directory.path()).expect_err("none was passed");
    assert!(error.to_string().contains("FileDescriptorName=proxy"), "{error}");
}

#[test]
fn passed_sockets_take_the_place_of_the_default() {
    let directory = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let stray = TcpListener::bind("127.0.0.1:0").expect("a port");
    let passed = Passed::of(vec![("unknown", passed::Socket::Tcp(stray)), ("proxy", passed::Socket::Tcp(listener))]);
    let settings = Settings { proxy_is_default: true, ..settings(&["127.0.0.1:1"]) };
    let owner = Owner { runtime_dir: directory.path(), profile: "work" };
    let mut bound = bind(&settings, owner, passed).expect("passed");
    assert_eq!(bound.proxy[0].local(), &Local::Tcp(address));
    assert_eq!(bound.unused, ["unknown"], "what nobody asked for is not passed over in silence");
    assert_eq!(bound.proxy[0].listeners(2).expect("duplicates").len(), 2);
}

#[tokio::test]
async fn a_unix_socket_is_private_and_a_live_one_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("p.sock");
    let text = format!("unix:{}", path.display());
    let mut first = bound(&settings(&[&text]), directory.path()).expect("a new socket");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(bound(&settings(&[&text]), directory.path()), Err(Error::Taken { .. })));

    let listener = first.proxy[0].listeners(1).expect("one").remove(0).start().expect("a runtime");
    let mut client = tokio::net::UnixStream::connect(&path).await.expect("it listens");
    let (mut stream, connection) = loop {
        // The refused attempt above has left a connection behind, which is closed already.
        let (mut stream, connection) = listener.accept().await.expect("somebody connects");
        client.write_all(b"x").await.expect("written");
        if stream.read_u8().await.is_ok() {
            break (stream, connection);
        }
    };
    assert_eq!(connection.local, Local::Unix(path.clone()));
    assert!(matches!(connection.peer, Peer::Unix { uid, .. } if uid == rustix::process::getuid().as_raw()));
    stream.write_all(b"y").await.expect("written");
    drop((first, listener));
    assert!(!path.exists(), "it is removed with the endpoint");
}

#[test]
fn a_stale_unix_socket_goes_and_a_file_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("p.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let text = format!("unix:{}", path.display());
    drop(bound(&settings(&[&text]), directory.path()).expect("the stale one is replaced"));
    std::fs::write(&path, "precious").expect("a file");
    assert!(matches!(bound(&settings(&[&text]), directory.path()), Err(Error::NoSocket { .. })));
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "precious");
}

#[tokio::test]
async fn whoever_finds_no_seat_is_accepted_when_one_is_given_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut bound = bound(&settings(&["127.0.0.1:0"]), directory.path()).expect("a port");
    let address = (Ipv4Addr::LOCALHOST, port(&bound.proxy[0]));
    let seats = Seats::new(1);
    let listener = bound.proxy[0].listeners(1).expect("one").remove(0).within(&seats).start().expect("a runtime");
    let _clients = [TcpStream::connect(address), TcpStream::connect(address)].map(|client| client.expect("queued"));

    let (first, _) = listener.accept().await.expect("the first");
    let mut second = std::pin::pin!(listener.accept());
    // Everything that it waits for is there, but for the seat.
    assert!(futures_util::FutureExt::now_or_never(second.as_mut()).is_none());
    drop(first);
    second.await.expect("the second");
}
