//! The same with a real browser, which sends what it sends and not what a test thinks it does: a hostile page tries
//! every way in, also after DNS rebinding, and a listed page works.
//!
//! Where no Chromium is installed, that is said.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
    sync::Arc,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use super::scene::Scene;
use crate::support::{
    browser::{QUIET, installed},
    process::Process,
    wait::BOUND,
};

/// A page that tries everything that needs no user. `PORT` and `ADMIN` are the proxy's.
const HOSTILE: &str = r#"<!doctype html><meta charset="utf-8"><body><script>
const proxy = 'http://localhost:PORT', rebound = 'http://evil.test:PORT', admin = 'http://localhost:ADMIN';
const results = {};
const attempt = async (name, what) => { try { results[name] = await what(); } catch (error) { results[name] = error.name; } };
const text = (url, options) => async () => (await fetch(url, options)).text();
const kind = (url, options) => async () => (await fetch(url, { mode: 'no-cors', ...options })).type;
const element = (name, url) => () => new Promise(done => {
    const element = document.createElement(name);
    element.onload = () => done('loaded');
    element.onerror = () => done('failed');
    element.src = url;
    document.body.append(element);
});
const socket = url => () => new Promise(done => {
    const socket = new WebSocket(url);
    socket.onopen = () => done('open');
    socket.onerror = () => done('failed');
});
const form = url => () => new Promise(done => {
    const frame = document.createElement('iframe');
    frame.name = 'target';
    document.body.append(frame);
    const form = document.createElement('form');
    Object.assign(form, { method: 'POST', action: url, target: 'target', enctype: 'text/plain' });
    form.append(Object.assign(document.createElement('input'), { name: '{"a":"', value: '"}' }));
    document.body.append(form);
    frame.onload = () => done('loaded');
    form.submit();
});
const sandboxed = url => () => new Promise(done => {
    onmessage = event => done(event.data);
    const frame = document.createElement('iframe');
    frame.sandbox = 'allow-scripts';
    frame.srcdoc = `<script>fetch('${url}').then(answer => answer.text())
        .then(text => parent.postMessage(text, '*'), error => parent.postMessage(error.name, '*'))<\/script>`;
    document.body.append(frame);
});
(async () => {
    await attempt('fetch', text(proxy + '/fetch'));
    await attempt('fetch with credentials', text(proxy + '/credentials', { credentials: 'include' }));
    await attempt('fetch with preflight', text(proxy + '/put', { method: 'PUT', headers: { 'x-a': '1' } }));
    await attempt('null origin', sandboxed(proxy + '/sandboxed'));
    await attempt('socket', socket('ws://localhost:PORT/socket'));
    await attempt('image', element('img', proxy + '/image'));
    await attempt('script', element('script', proxy + '/script'));
    await attempt('rebound fetch', text(rebound + '/rebound'));
    await attempt('status', text(admin + '/status.json'));
    await attempt('no-cors GET', kind(proxy + '/no-cors'));
    await attempt('no-cors POST', kind(proxy + '/no-cors', { method: 'POST', body: 'a=b' }));
    await attempt('form', form(proxy + '/form'));
    await attempt('frame', element('iframe', proxy + '/frame'));
    await attempt('rebound frame', element('iframe', rebound + '/rebound'));
    await fetch('/report', { method: 'POST', body: JSON.stringify(results) });
})();
</script>"#;

/// A page that does its work.
const LISTED: &str = r#"<!doctype html><meta charset="utf-8"><body><script>
(async () => {
    const results = {};
    try {
        const url = 'http://localhost:PORT/orders';
        results.get = await (await fetch(url)).text();
        const options = { method: 'PUT', credentials: 'include', body: '{}', headers: { 'x-a': '1', 'content-type': 'application/json' } };
        results.put = await (await fetch(url, options)).text();
    } catch (error) { results.error = String(error); }
    await fetch('/report', { method: 'POST', body: JSON.stringify(results) });
})();
</script>"#;

/// A server of one page, which may report.
struct Site {
    address: SocketAddr,
    reports: mpsc::Receiver<Value>,
    serving: JoinHandle<()>,
}

impl Site {
    /// Listens. The page comes later: it names the proxy's ports, and the proxy names this one's.
    async fn listen() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.expect("a listener")
    }

    fn serve(listener: TcpListener, page: &str, scene: &Scene) -> Self {
        let ports = [("PORT", scene.proxy.address().port()), ("ADMIN", scene.proxy.admin().port())];
        let page = ports.iter().fold(page.to_owned(), |page, (name, port)| page.replace(name, &port.to_string()));
        let page: Arc<str> = page.into();
        let (told, reports) = mpsc::channel(1);
        let address = listener.local_addr().expect("bound");
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&page), told.clone()));
            }
        });
        Self { address, reports, serving }
    }

    /// What the page reports once a browser has opened it under this name.
    async fn visited_as(&mut self, browser: &str, host: &str) -> Value {
        let profile = TempDir::new().expect("a directory");
        let mut command = Command::new(browser);
        command
            .args(QUIET)
            .arg("--host-resolver-rules=MAP evil.test 127.0.0.1")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("http://{host}:{}/", self.address.port()))
            .stdin(Stdio::null());
        let process = Process::spawn(browser, &mut command).expect("found before");
        let Ok(report) = timeout(BOUND, self.reports.recv()).await else {
            panic!("no report:\n{}", process.printed());
        };
        report.expect("it serves")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One request of a browser: the page, or the end of its report.
async fn answer(mut stream: TcpStream, page: Arc<str>, told: mpsc::Sender<Value>) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    let body = loop {
        let Ok(length @ 1..) = stream.read(&mut buffer).await else { return };
        request.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0usize) {
            break head.starts_with("POST /report ").then(|| body.to_owned());
        }
    };
    let reply = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    drop(stream.write_all(reply.as_bytes()).await);
    if let Some(body) = body {
        drop(told.send(serde_json::from_str(&body).expect("JSON")).await);
    }
}

#[tokio::test]
async fn a_hostile_page_in_a_browser_gets_nothing_and_a_listed_one_works() {
    let Some(browser) = installed("what a real browser does") else { return };
    let (hostile, listed) = (Site::listen().await, Site::listen().await);
    let origin = format!("http://localhost:{}", listed.local_addr().expect("bound").port());
    let scene = Scene::with(&format!("guard.origins = [{origin:?}]")).await;

    let mut hostile = Site::serve(hostile, HOSTILE, &scene);
    // Another site, and the same site from another port.
    for host in ["evil.test", "localhost"] {
        let mut before = Vec::new();
        for code in CODES {
            before.push(scene.refused_total(code).await);
        }
        let report = hostile.visited_as(browser, host).await;
        let tried = report.as_object().expect("an object").len();
        assert_eq!(tried, 14, "{host}: {report}");
        for name in
            ["fetch", "fetch with credentials", "fetch with preflight", "null origin", "rebound fetch", "status"]
        {
            assert_eq!(report[name], "TypeError", "{host}: {report}");
        }
        for name in ["socket", "image", "script"] {
            assert_eq!(report[name], "failed", "{host}: {report}");
        }
        // The page sees that an answer came, and nothing of it; that it is a refusal is seen below.
        for name in ["no-cors GET", "no-cors POST"] {
            assert_eq!(report[name], "opaque", "{host}: {report}");
        }
        let mut refused = 0;
        for (code, before) in CODES.into_iter().zip(before) {
            let more = scene.refused_total(code).await - before;
            assert!(more > 0, "{host}: nothing was refused as {code}");
            refused += more;
        }
        assert!(refused >= 14, "{host}: {refused} of 14 reached the proxy");
        assert_eq!(scene.upstream.heard().connections, 0, "{host}: {:?}", scene.upstream.heard().heads);
    }

    let report = Site::serve(listed, LISTED, &scene).visited_as(browser, "localhost").await;
    assert_eq!(report, serde_json::json!({"get": "ok", "put": "ok"}));
    let heard = scene.upstream.heard();
    assert_eq!(heard.heads.len(), 2, "the preflight was not for the upstream: {:?}", heard.heads);
    assert!(heard.heads[1].starts_with("PUT /orders HTTP/1.1\r\n"), "{:?}", heard.heads);
    assert_eq!(heard.values("authorization"), [scene.bearer()]);
}

/// Everything that a page can be refused for.
const CODES: [&str; 3] = ["host_not_allowed", "origin_not_allowed", "cross_site"];
