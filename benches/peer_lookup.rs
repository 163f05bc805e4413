//! What it costs to find out who is at the other end of a connection on this machine, which is done once for each: by
//! `sock_diag`, whose answer does not depend on how many sockets there are, and by reading `/proc/self/net/tcp`, where a
//! sandbox forbids that.
//!
//! `cargo bench --bench peer_lookup`; Linux only. Each size is that many open TCP sockets on loopback beyond those that
//! the machine has anyway.
#![allow(clippy::expect_used, missing_docs, reason = "a benchmark fails loudly, and its harness documents nothing")]

use std::{
    hint::black_box,
    net::{SocketAddr, TcpListener, TcpStream},
};

use cognito_proxy::guard::peer::{Peer, Resolver};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many sockets are open.
const SIZES: [usize; 3] = [10, 1_000, 5_000];

/// Connections of this process to itself.
struct Crowd {
    clients: Vec<TcpStream>,
    _servers: Vec<TcpStream>,
}

impl Crowd {
    /// Two sockets a connection.
    fn of(sockets: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("bound");
        let (clients, servers) = (0..sockets / 2)
            .map(|_| {
                let client = TcpStream::connect(address).expect("a connection");
                (client, listener.accept().expect("the other end").0)
            })
            .unzip();
        Self { clients, _servers: servers }
    }

    /// The server's end and the client's of a connection in the middle.
    fn ends(&self) -> (SocketAddr, SocketAddr) {
        let client = &self.clients[self.clients.len() / 2];
        (client.peer_addr().expect("connected"), client.local_addr().expect("connected"))
    }
}

fn lookups(criterion: &mut Criterion) {
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits }).expect("the limit can be raised");
    let myself = Peer::Uid(rustix::process::geteuid().as_raw());
    let mut group = criterion.benchmark_group("peer_lookup");
    for size in SIZES {
        let crowd = Crowd::of(size);
        let (local, peer) = crowd.ends();
        for (name, resolver) in [("sock_diag", Resolver::new()), ("proc", Resolver::without_netlink())] {
            assert_eq!(resolver.tcp(local, peer), myself, "{name}");
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| resolver.tcp(black_box(local), black_box(peer)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, lookups);
criterion_main!(benches);
