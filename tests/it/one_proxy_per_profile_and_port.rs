//! No two proxies share a profile or a port unnoticed: the second one says who was first, and what to do instead.

use std::{net::SocketAddr, process::Stdio};

use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

use crate::support::{http as wire, process::Finished, proxy::Proxy, stage::Stage};

/// The port that a refusal offers instead, which must be free indeed.
fn offered(finished: &Finished) -> u16 {
    let said = &finished.stderr;
    let rest = said.split("port ").nth(1).unwrap_or_else(|| panic!("no port in {said}"));
    let port = rest.split(' ').next().and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("no port: {said}"));
    let free = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port));
    assert!(free.is_ok(), "{port} is offered and taken: {said}");
    port
}

#[tokio::test]
async fn a_second_one_of_the_same_profile_is_refused_with_the_firsts_process_id() {
    let stage = Stage::new().await;
    let proxy = stage.serve("").await;
    let second = stage.home.run(&["run"]).await;
    assert_eq!((second.code(), second.stdout.as_str()), (1, ""), "{second:?}");
    assert!(second.stderr.contains(&format!("process id {}", proxy.process_id())), "{}", second.stderr);
    assert!(second.stderr.contains("-p NAME"), "{}", second.stderr);
    assert_eq!(wire::get(proxy.address(), "/").await.status(), 200, "the first one goes on");
    proxy.stop().await;
    let third = stage.home.serve_with(&[]).await;
    third.stop().await;
}

#[tokio::test]
async fn a_proxy_that_was_killed_is_in_nobodys_way() {
    let stage = Stage::new().await;
    let mut proxy = stage.serve("").await;
    let address = proxy.address().to_string();
    proxy.signal(Signal::KILL);
    proxy.gone().await;
    // Its locks, its control socket and its port are free again.
    let next = stage.home.serve_with(&["--listen", &address]).await;
    assert_eq!(next.address().to_string(), address);
    assert_eq!(wire::get(next.address(), "/").await.status(), 200);
    assert_eq!(stage.home.run(&["status"]).await.code(), 0);
    next.stop().await;
}

#[tokio::test]
async fn a_port_of_another_profile_is_refused_by_name() {
    let stage = Stage::new().await;
    let proxy = stage.serve("").await;
    let address = proxy.address();
    let file = stage.home.write("work.toml", &stage.toml(""));
    let file = file.to_str().expect("plain");
    let refused = stage.home.run(&["run", "-c", file, "--listen", &address.to_string()]).await;
    assert_eq!(refused.code(), 1, "{refused:?}");
    let said = &refused.stderr;
    for words in ["listen.proxy", &address.to_string(), "\"proxy\"", &proxy.process_id().to_string()] {
        assert!(said.contains(words), "{words} in {said}");
    }
    let port = offered(&refused);
    let second = stage.home.serve_with(&["-c", file, "--listen", &format!("127.0.0.1:{port}")]).await;
    assert_eq!(second.address().port(), port);
    second.stop().await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_port_of_any_other_process_is_refused_even_where_it_would_share() {
    let stage = Stage::new().await;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("SO_REUSEPORT");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    socket.listen(1).expect("a listener");
    let address = socket.local_addr().expect("bound").as_socket().expect("TCP");
    for key in ["proxy", "admin"] {
        let value = if key == "proxy" { format!("[\"{address}\"]") } else { format!("\"{address}\"") };
        let other = if key == "proxy" { "admin = \"off\"" } else { "proxy = [\"127.0.0.1:0\"]" };
        let plain = stage.toml("").lines().filter(|line| !line.starts_with("listen.")).collect::<Vec<_>>().join("\n");
        stage.home.configure(&format!("{plain}\nlisten.{key} = {value}\nlisten.{other}\n"));
        let refused = stage.home.run(&["run"]).await;
        assert_eq!(refused.code(), 1, "{refused:?}");
        let said = &refused.stderr;
        let us = std::process::id().to_string();
        for words in [&format!("listen.{key}"), &address.to_string(), &us] {
            assert!(said.contains(words.as_str()), "{words} in {said}");
        }
        offered(&refused);
    }
}

#[tokio::test]
async fn of_many_that_start_at_once_one_serves() {
    let stage = Stage::new().await;
    stage.configure("");
    let starts = (0..6).map(|_| {
        let mut command = stage.home.command(&["run"]);
        command.stdin(Stdio::null());
        async move { Proxy::listening_or_not(&mut command).await }
    });
    let started = futures_util::future::join_all(starts).await;
    let (serving, refused): (Vec<_>, Vec<_>) = started.into_iter().partition(Result::is_ok);
    assert_eq!(serving.len(), 1, "{} of them serve", serving.len());
    for refused in refused.into_iter().filter_map(Result::err) {
        assert_eq!(refused.code(), 1);
        assert!(refused.stderr.contains("already runs"), "{}", refused.stderr);
    }
    for proxy in serving.into_iter().flatten() {
        assert_eq!(wire::get(proxy.address(), "/").await.status(), 503, "nobody has signed in");
        proxy.stop().await;
    }
}
