//! Clients that send more of something than anybody needs lose their connection or wait; others are served meanwhile,
//! and the proxy's memory stays where it was: H35 to H37, and descriptors that run out.
//!
//! Frames of HTTP/2 and bytes of HTTP/1.1 are written by hand. Whether the proxy survives is not a matter of time: each
//! flood ends when the proxy ends it, or when it has been sent whole. Memory is counted, and bounded far above what is
//! normal and far below what the flood would take if it were kept.

use std::{
    fs,
    io::{Read as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use crate::support::{
    h2c::{END_HEADERS, END_STREAM, Frames, block, frame, kind, opening},
    proxy::Proxy,
    raw::{Client, Role, Step, Upstream},
    stage::Stage,
    wait::{self, BOUND},
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/x")];

/// What a flood may add to the proxy's memory, in KiB: less than any of them would take if it were kept, and 40 for each
/// of 1,000 connections.
const MAY_GROW: u64 = 40 * 1024;

struct Scene {
    proxy: Proxy,
    upstream: Upstream,
    _stage: Stage,
}

impl Scene {
    async fn new(more: &str) -> Self {
        let upstream = Upstream::doing(|_| vec![Step::Whole, Step::Say(OK.into())]).await;
        let stage = Stage::new().await;
        let proxy = stage.serve_before(&upstream.url(), more).await;
        // So that what any use takes is taken before it is counted.
        for _ in 0..50 {
            ask(&mut Client::to(proxy.address()).await).await;
        }
        Self { proxy, upstream, _stage: stage }
    }

    /// The proxy's resident memory, in KiB.
    fn memory(&self) -> u64 {
        let status =
            fs::read_to_string(format!("/proc/{}/status", self.proxy.process_id())).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Processor time that it has used, in ticks of 10 ms.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.proxy.process_id())).expect("a running process");
        let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
        fields[11].parse::<u64>().expect("user time") + fields[12].parse::<u64>().expect("system time")
    }

    /// Runs a flood beside another client, and says what it cost.
    async fn beside<T>(&self, name: &str, flood: impl Future<Output = T>) -> T {
        let (before, ticks, began) = (self.memory(), self.ticks(), Instant::now());
        let other = Other::start(&self.proxy);
        let outcome = wait::bounded(name, flood).await;
        let (served, worst) = other.stop().await;
        let (grown, ticks) = (self.memory().saturating_sub(before), self.ticks() - ticks);
        println!(
            "{name}: {grown} KiB more memory, {} ms of processor, {:?}; another client had {served} answers, the slowest \
             in {worst:?}",
            ticks * 10,
            began.elapsed()
        );
        assert!(grown < MAY_GROW, "{name}: {grown} KiB");
        self.upstream.take();
        outcome
    }
}

async fn ask(client: &mut Client) {
    client.send("GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let response = client.receive(Role::Response).await.expect("a response");
    assert_eq!(response.status(), 200);
}

/// A client that asks one thing after the other, and must be answered each time.
struct Other {
    is_over: Arc<AtomicBool>,
    task: JoinHandle<(usize, Duration)>,
}

impl Other {
    fn start(proxy: &Proxy) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (address, over) = (proxy.address(), Arc::clone(&is_over));
        let task = tokio::spawn(async move {
            let (mut client, mut served, mut worst) = (Client::to(address).await, 0, Duration::ZERO);
            while !over.load(Ordering::SeqCst) || served == 0 {
                let began = Instant::now();
                ask(&mut client).await;
                worst = worst.max(began.elapsed());
                served += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            (served, worst)
        });
        Self { is_over, task }
    }

    async fn stop(self) -> (usize, Duration) {
        self.is_over.store(true, Ordering::SeqCst);
        wait::bounded("another client's last answer", self.task).await.expect("each answered")
    }
}

/// Sends `part` after part until the proxy ends the connection or all are sent; what is said back is read and thrown
/// away. Whether the proxy ended it, and after how many. On threads of its own, so that nobody else waits for it here.
async fn flood(scene: &Scene, count: u32, mut part: impl FnMut(u32) -> Vec<u8> + Send + 'static) -> (bool, u32) {
    let address = scene.proxy.address();
    let sending = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        stream.set_write_timeout(Some(BOUND)).expect("a socket option");
        stream.write_all(&opening()).expect("it reads");
        let mut answers = stream.try_clone().expect("a descriptor");
        let reading = std::thread::spawn(move || {
            let mut sink = vec![0; 64 * 1024];
            while answers.read(&mut sink).is_ok_and(|length| length > 0) {}
        });
        let sent = (0..count).find(|number| reading.is_finished() || stream.write_all(&part(*number)).is_err());
        let outcome = (sent.is_some(), sent.unwrap_or(count));
        // It may be gone already, which is what it is to be.
        drop(stream.shutdown(std::net::Shutdown::Both));
        drop(reading.join());
        outcome
    });
    sending.await.expect("no panic")
}

fn head(stream: u32) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block(&GET))
}

#[tokio::test]
async fn of_http_2_frames() {
    let scene = Scene::new("runtime.workers = 1").await;
    let rapid_reset = scene.beside(
        "H35 rapid reset",
        flood(&scene, 20_000, |number| {
            let stream = number * 2 + 1;
            [head(stream), frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
        }),
    );
    let (is_ended, after) = rapid_reset.await;
    println!("  ended after at most {after} streams");
    assert!(is_ended, "H35: every one of {after} resets was taken");

    let pings = scene
        .beside("H36 PING", flood(&scene, 200_000, |number| frame(kind::PING, 0, 0, &u64::from(number).to_be_bytes())));
    println!("  ended, after: {:?}", pings.await);
    let settings = scene.beside(
        "H36 SETTINGS",
        flood(&scene, 200_000, |number| {
            frame(kind::SETTINGS, 0, 0, &[&3_u16.to_be_bytes()[..], &(number + 1).to_be_bytes()].concat())
        }),
    );
    println!("  ended, after: {:?}", settings.await);
    let priorities = scene.beside(
        "H36 PRIORITY",
        flood(&scene, 200_000, |number| frame(kind::PRIORITY, 0, number * 2 + 1, &[0, 0, 0, 0, 16])),
    );
    println!("  ended, after: {:?}", priorities.await);
    let windows = scene.beside(
        "H36 WINDOW_UPDATE",
        flood(&scene, 200_000, |_| frame(kind::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
    );
    println!("  ended, after: {:?}", windows.await);
    let empty = scene.beside(
        "H36 DATA of nothing",
        flood(&scene, 200_000, |number| match number {
            0 => frame(kind::HEADERS, END_HEADERS, 1, &block(&GET)),
            _ => frame(kind::DATA, 0, 1, &[]),
        }),
    );
    println!("  ended, after: {:?}", empty.await);
}

#[tokio::test]
async fn of_header_blocks() {
    let scene = Scene::new("runtime.workers = 1").await;
    let filler = block(&[("x-filler", &"f".repeat(1000))]);
    let continuation = scene.beside(
        "H36 CONTINUATION",
        flood(&scene, 50_000, move |number| match number {
            0 => frame(kind::HEADERS, END_STREAM, 1, &block(&GET)),
            _ => frame(kind::CONTINUATION, 0, 1, &filler),
        }),
    );
    let (is_ended, after) = continuation.await;
    println!("  ended after at most {after} frames");
    assert!(is_ended, "H36: {after} frames of one block were taken");

    let nothing = scene.beside(
        "H36 CONTINUATION of nothing",
        flood(&scene, 200_000, |number| match number {
            0 => frame(kind::HEADERS, END_STREAM, 1, &block(&GET)),
            _ => frame(kind::CONTINUATION, 0, 1, &[]),
        }),
    );
    let (is_ended, after) = nothing.await;
    assert!(is_ended, "H36: {after} empty frames of one block were taken");

    // A field is put into the table once (RFC 7541 §6.2.1), and named again by one byte each, which is its place behind the
    // 61 that everybody knows: 4 kB for a byte.
    let name = block(&[("x-bomb", &"b".repeat(3900))]);
    let into_the_table = [&[0x40], &name[1..]].concat();
    let bomb = [block(&GET), into_the_table, vec![0xbe; 12_000]].concat();
    let bombs = scene.beside("H36 a header list of 47 MB in 16 kB", async {
        let mut outcomes = Vec::new();
        for _ in 0..50 {
            let mut client = Frames::to(scene.proxy.address()).await;
            client.send(frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await;
            let answer = client.next_of(&[kind::HEADERS, kind::RST_STREAM, kind::GOAWAY]).await;
            outcomes.push(answer.is_some_and(|frame| frame.kind == kind::HEADERS && frame.payload[0] == 0x88));
        }
        outcomes
    });
    assert!(bombs.await.iter().all(|is_served| !is_served), "a list beyond limits.max_header_bytes was served");
}

#[tokio::test]
async fn of_responses_that_nobody_reads() {
    let large = vec![b'x'; 1 << 20];
    let reply = [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", large.len()).as_bytes(), &large].concat();
    // Another client gets what it always gets, told apart by its path.
    let by_path = Upstream::doing(move |head| {
        let is_large = head.starts_with(b"GET /x ");
        vec![Step::Whole, Step::Say(if is_large { reply.clone() } else { OK.into() })]
    })
    .await;
    let stage = Stage::new().await;
    let proxy = stage.serve_before(&by_path.url(), "runtime.workers = 1").await;
    let scene = Scene { proxy, upstream: by_path, _stage: stage };
    scene
        .beside("H36 100 responses of 1 MB, and no window for them", async {
            let mut held = Vec::new();
            for _ in 0..4 {
                let mut stream = TcpStream::connect(scene.proxy.address()).await.expect("it listens");
                let no_window = frame(kind::SETTINGS, 0, 0, &[&4_u16.to_be_bytes()[..], &0_u32.to_be_bytes()].concat());
                let streams: Vec<u8> = (0..25).flat_map(|number| head(number * 2 + 1)).collect();
                stream.write_all(&[opening(), no_window, streams].concat()).await.expect("it reads");
                held.push(stream);
            }
            scene
                .upstream
                .sees("every request", |seen| {
                    seen.iter().filter(|seen| seen.bytes.starts_with(b"GET /x ")).count() == 100
                })
                .await;
            held
        })
        .await;
}

#[tokio::test]
async fn of_heads_that_never_end() {
    const SLOW: usize = 1_000;
    let scene = Scene::new("limits.header_timeout = \"3s\"").await;
    let ended = AtomicUsize::new(0);
    scene
        .beside("H37 1,000 slow heads", async {
            let clients = (0..SLOW).map(|number| {
                let (ended, address) = (&ended, scene.proxy.address());
                async move {
                    let mut stream = TcpStream::connect(address).await.expect("it listens");
                    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n").await.expect("it reads");
                    let (mut read, mut write) = stream.split();
                    // A field now and then, as slowhttptest does it, for as long as the connection lives.
                    let sends = async {
                        loop {
                            tokio::time::sleep(Duration::from_millis(200)).await;
                            if write.write_all(format!("X-{number}: a\r\n").as_bytes()).await.is_err() {
                                std::future::pending::<()>().await;
                            }
                        }
                    };
                    let mut said = Vec::new();
                    tokio::select! {
                        () = sends => {}
                        _ = read.read_to_end(&mut said) => {}
                    }
                    assert!(said.is_empty() || said.starts_with(b"HTTP/1.1 408"), "{said:?}");
                    ended.fetch_add(1, Ordering::SeqCst);
                }
            });
            futures_util::future::join_all(clients).await;
        })
        .await;
    assert_eq!(ended.load(Ordering::SeqCst), SLOW);
    let arrived = scene.upstream.take();
    assert!(arrived.iter().all(|seen| !seen.bytes.starts_with(b"GET /slow")), "none of them is a request");
}

#[tokio::test]
async fn of_connections_beyond_all_descriptors() {
    let mut scene = Scene::new("runtime.workers = 1").await;
    // This one has its connections, here and upstream, before there are no more.
    let mut first = Client::to(scene.proxy.address()).await;
    ask(&mut first).await;
    let pid = scene.proxy.pid();
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let whole = prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(3), maximum }).expect("our process");
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(TcpStream::connect(scene.proxy.address()).await.expect("the kernel's queue has room"));
    }
    // It says so, more and more rarely, and does not turn in a circle meanwhile.
    for pause in ["20ms", "40ms", "80ms", "160ms"] {
        scene.proxy.printed_line(&format!("\"retry_in\":\"{pause}\"")).await;
    }
    let ticks = scene.ticks();
    for _ in 0..20 {
        ask(&mut first).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("a second without descriptors: {} ms of processor, 20 answers", (scene.ticks() - ticks) * 10);
    prlimit(Some(pid), Resource::Nofile, whole).expect("our process");
    // Those who waited are served now, and those who come.
    for stream in crowd {
        ask(&mut Client { stream, received: Vec::new() }).await;
    }
    ask(&mut Client::to(scene.proxy.address()).await).await;
}
