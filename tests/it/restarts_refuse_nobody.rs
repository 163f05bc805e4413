//! Where the service manager holds the port, a restart refuses no connection: what arrives while no proxy runs waits in
//! the kernel for the next one. `COGNITO_PROXY_LONG=1` restarts a hundred times.

use std::{
    env,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::task::JoinSet;

use crate::support::{http::Connection, stage::Stage, wait};

/// Clients that each open a connection for every request.
const CLIENTS: usize = 8;

#[tokio::test]
async fn connections_wait_in_the_kernel_for_the_next_proxy() {
    let restarts = if env::var_os("COGNITO_PROXY_LONG").is_some() { 100 } else { 10 };
    let stage = Stage::new().await;
    let toml = stage.toml("").replace("listen.proxy = [\"127.0.0.1:0\"]", "listen.proxy = [\"systemd:proxy\"]");
    stage.home.configure(&toml);
    stage.signed_in().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");

    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(one_connection_a_request(address, Arc::clone(&over), Arc::clone(&answered)));
    }
    for _ in 0..restarts {
        let proxy = stage.home.serve_on(&listener).await;
        assert_eq!(proxy.address(), address, "the socket that was passed, and no other");
        let before = answered.load(Ordering::Relaxed);
        wait::until("requests through this one", async || {
            (answered.load(Ordering::Relaxed) >= before + 2 * CLIENTS).then_some(())
        })
        .await;
        assert_eq!(proxy.stop().await.code(), 0);
    }
    let last = stage.home.serve_on(&listener).await;
    over.store(true, Ordering::Relaxed);
    let requests: usize = wait::bounded("every client's last answer", clients.join_all()).await.into_iter().sum();
    last.stop().await;
    let log = stage.upstream.log();
    println!("{restarts} restarts under {requests} connections: none refused, none reset");
    assert_eq!((log.total(), log.invalid()), (requests as u64, 0));
}

/// Connects, asks, reads the answer; any failure fails the test. Returns how many it made.
async fn one_connection_a_request(address: SocketAddr, over: Arc<AtomicBool>, answered: Arc<AtomicUsize>) -> usize {
    let mut requests = 0;
    while !over.load(Ordering::Relaxed) {
        let mut connection = Connection::to(address).await;
        connection.send("GET /orders HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        assert_eq!(connection.receive().await.status, 200);
        requests += 1;
        answered.fetch_add(1, Ordering::Relaxed);
    }
    requests
}
