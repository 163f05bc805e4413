//! Real sockets: who the kernel says is at the other end, by either way of asking.

use std::{
    io::Read,
    net::{Shutdown, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::Instant,
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::*;

fn myself() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Both ways, as far as this machine has them: a resolver with netlink, and one that reads `/proc`.
fn resolvers() -> Vec<Resolver> {
    let mut resolvers = vec![Resolver { diag: None }];
    let quick = Resolver::new();
    if quick.diag.is_some() {
        resolvers.push(quick);
    }
    resolvers
}

/// Every resolver's verdict on the other end of `stream`, which must be one.
fn verdict(stream: &TcpStream) -> Peer {
    let (local, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
    let verdicts: Vec<Peer> = resolvers().iter().map(|resolver| resolver.tcp(local, peer)).collect();
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
    verdicts[0]
}

/// A listener at `address`, or `None` where this machine lacks the family.
fn listen(address: &str) -> Option<TcpListener> {
    let address: SocketAddr = address.parse().unwrap();
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).ok()?;
    if address.is_ipv6() {
        socket.set_only_v6(false).unwrap();
    }
    socket.bind(&address.into()).ok()?;
    socket.listen(8).unwrap();
    Some(socket.into())
}

#[test]
fn a_process_of_ours_is_ourselves_over_every_family() {
    for (listener, client) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("127.0.0.1:0", "::ffff:127.0.0.1"),
        ("[::1]:0", "::1"),
        ("[::]:0", "127.0.0.1"),
        ("[::]:0", "::1"),
        ("127.0.0.2:0", "127.0.0.2"),
    ] {
        let Some(listener) = listen(listener) else { continue };
        let address = SocketAddr::new(client.parse().unwrap(), listener.local_addr().unwrap().port());
        let _client = TcpStream::connect(address).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(verdict(&accepted), Peer::Uid(myself()), "{client} to {listener:?}");
    }
}

/// A process of another user that connects and then waits for the end of the connection.
fn stranger(address: SocketAddr, uid: u32) -> std::process::Child {
    let script = format!("exec 3<>/dev/tcp/{}/{}; read -r line <&3; true", address.ip(), address.port());
    Command::new("bash")
        .args(["-c", &script])
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::null())
        .uid(uid)
        .gid(uid)
        .spawn()
        .expect("bash starts")
}

/// Only root may start a process of another user; elsewhere there is nobody to test with.
#[test]
fn another_user_is_told_from_us() {
    if myself() != 0 {
        return;
    }
    for (address, uid) in [("127.0.0.1:0", 65_534), ("[::1]:0", 65_534), ("127.0.0.1:0", 12_345)] {
        let Some(listener) = listen(address) else { continue };
        let mut child = stranger(listener.local_addr().unwrap(), uid);
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(verdict(&accepted), Peer::Uid(uid));
        drop(accepted);
        child.wait().unwrap();
    }
}

#[test]
fn a_client_that_has_gone_is_unknown() {
    let listener = listen("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();

    // Closed in order: its end waits for ours, and belongs to nobody.
    let client = TcpStream::connect(address).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    drop(client);
    assert_eq!(verdict(&accepted), Peer::Unknown);

    // Half closed: its process is still there and waits for the answer.
    let client = TcpStream::connect(address).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(verdict(&accepted), Peer::Uid(myself()));

    // Reset: its end is gone altogether.
    let (local, peer) = (accepted.local_addr().unwrap(), accepted.peer_addr().unwrap());
    reset(client);
    for resolver in resolvers() {
        assert_eq!(resolver.tcp(local, peer), Peer::Unknown);
    }
}

fn reset(client: TcpStream) {
    let client = Socket::from(client);
    client.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(client);
}

/// The kernel's lookup falls back to listeners. A listener where the client was is somebody else.
#[test]
fn a_listener_in_the_clients_place_is_not_the_client() {
    let listener = listen("127.0.0.1:0").unwrap();
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    client.set_reuse_address(true).unwrap();
    client.bind(&SockAddr::from(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
    client.connect(&listener.local_addr().unwrap().into()).unwrap();
    let (accepted, peer) = listener.accept().unwrap();
    let local = accepted.local_addr().unwrap();
    reset(client.into());

    let usurper = TcpListener::bind(peer).unwrap();
    for resolver in resolvers() {
        assert_eq!(resolver.tcp(local, peer), Peer::Unknown, "{usurper:?}");
    }
}

#[test]
fn other_machines_are_told_from_our_own_addresses() {
    let resolver = Resolver::new();
    // TEST-NET-1 (RFC 5737) and the documentation prefix (RFC 3849) are nobody's.
    for (local, peer) in [("127.0.0.1:8900", "192.0.2.7:40000"), ("[::1]:8900", "[2001:db8::7]:40000")] {
        assert_eq!(resolver.tcp(local.parse().unwrap(), peer.parse().unwrap()), Peer::Remote);
    }
    // The address that this machine would speak to others from is its own, whichever was connected to.
    let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
    if probe.connect("192.0.2.7:9").is_ok() {
        let own = SocketAddr::new(probe.local_addr().unwrap().ip(), 40_000);
        assert_eq!(resolver.tcp("127.0.0.1:8900".parse().unwrap(), own), Peer::Unknown);
    }
}

#[tokio::test]
async fn a_unix_socket_names_its_peer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let _client = tokio::net::UnixStream::connect(&path).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    assert_eq!(of_unix(&accepted), Peer::Uid(myself()));
}

/// Prints what a verdict costs; asserts only that it is the same every time.
#[test]
fn a_verdict_is_cheap_enough_for_every_connection() {
    let listener = listen("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let (local, peer) = (accepted.local_addr().unwrap(), accepted.peer_addr().unwrap());
    for resolver in resolvers() {
        // The text of a table with tens of thousands of rows takes milliseconds each time.
        let (way, times) = if resolver.diag.is_some() { ("sock_diag", 1000) } else { ("/proc/self/net/tcp", 10) };
        let began = Instant::now();
        for _ in 0..times {
            assert_eq!(resolver.tcp(local, peer), Peer::Uid(myself()));
        }
        println!("{way}: {:?} a verdict", began.elapsed() / times);
    }
    drop(accepted);
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
}
