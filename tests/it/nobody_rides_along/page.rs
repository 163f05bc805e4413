//! Pages for a real browser, and the server that they come from and report to.

use std::{net::SocketAddr, sync::Arc};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use super::scene::Scene;
use crate::support::{process::Process, wait::BOUND};

/// A page that tries everything that needs no user. `PORT` and `ADMIN` are the proxy's; `/bounce/…` of its own server
/// redirects there.
pub(super) const HOSTILE: &str = r#"<!doctype html><meta charset="utf-8"><body><script>
const proxy = 'http://localhost:PORT', rebound = 'http://evil.test:PORT', admin = 'http://localhost:ADMIN';
const results = {};
const attempt = async (name, what) => { try { results[name] = await what(); } catch (error) { results[name] = error.name; } };
const text = (url, options) => async () => (await fetch(url, options)).text();
const kind = (url, options) => async () => (await fetch(url, { mode: 'no-cors', ...options })).type;
const element = (name, url) => () => new Promise(done => {
    const element = document.createElement(name);
    element.onload = () => done('loaded');
    element.onerror = () => done('failed');
    if (name === 'link') Object.assign(element, { rel: 'stylesheet', href: url }); else element.src = url;
    document.body.append(element);
});
const socket = url => () => new Promise(done => {
    const socket = new WebSocket(url);
    socket.onopen = () => done('open');
    socket.onerror = () => done('failed');
});
const events = url => () => new Promise(done => {
    const source = new EventSource(url, { withCredentials: true });
    source.onopen = () => { source.close(); done('open'); };
    source.onerror = () => { source.close(); done('failed'); };
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
    await attempt('fetch by redirect', text('/bounce/fetch'));
    await attempt('post by redirect', text('/bounce/post', { method: 'POST', body: 'a=b' }));
    await attempt('null origin', sandboxed(proxy + '/sandboxed'));
    await attempt('rebound fetch', text(rebound + '/rebound'));
    await attempt('status', text(admin + '/status.json'));
    await attempt('socket', socket('ws://localhost:PORT/socket'));
    await attempt('rebound socket', socket('ws://evil.test:PORT/socket'));
    await attempt('events', events(proxy + '/events'));
    await attempt('image', element('img', proxy + '/image'));
    await attempt('image by redirect', element('img', '/bounce/image'));
    await attempt('image of a rooted name', element('img', 'http://localhost.:PORT/image'));
    await attempt('script', element('script', proxy + '/script'));
    await attempt('style', element('link', proxy + '/style'));
    await attempt('no-cors GET', kind(proxy + '/no-cors'));
    await attempt('no-cors POST', kind(proxy + '/no-cors', { method: 'POST', body: 'a=b' }));
    await attempt('beacon', () => navigator.sendBeacon(proxy + '/beacon', 'a=b'));
    await attempt('form', form(proxy + '/form'));
    await attempt('frame', element('iframe', proxy + '/frame'));
    await attempt('rebound frame', element('iframe', rebound + '/rebound'));
    await fetch('/report', { method: 'POST', body: JSON.stringify(results) });
})();
</script>"#;

/// A page that does its work: it reads, it is given a cookie, and it writes with that and with a preflight.
pub(super) const LISTED: &str = r#"<!doctype html><meta charset="utf-8"><body><script>
(async () => {
    const results = {};
    try {
        const url = 'http://localhost:PORT';
        results.get = await (await fetch(url + '/orders')).text();
        results.cookie = await (await fetch(url + '/cookie', { credentials: 'include' })).text();
        const options = { method: 'PUT', credentials: 'include', body: '{}', headers: { 'x-a': '1', 'content-type': 'application/json' } };
        results.put = await (await fetch(url + '/orders', options)).text();
    } catch (error) { results.error = String(error); }
    await fetch('/report', { method: 'POST', body: JSON.stringify(results) });
})();
</script>"#;

/// A server of one page, which may report.
pub(super) struct Site {
    pub(super) address: SocketAddr,
    reports: mpsc::Receiver<Value>,
    serving: JoinHandle<()>,
}

impl Site {
    /// Listens. The page comes later: it names the proxy's ports, and the proxy names this one's.
    pub(super) async fn listen() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.expect("a listener")
    }

    pub(super) fn serve(listener: TcpListener, page: &str, scene: &Scene) -> Self {
        let port = scene.proxy.address().port();
        let ports = [("PORT", port), ("ADMIN", scene.proxy.admin().port())];
        let page = ports.iter().fold(page.to_owned(), |page, (name, port)| page.replace(name, &port.to_string()));
        let page: Arc<str> = page.into();
        let (told, reports) = mpsc::channel(1);
        let address = listener.local_addr().expect("bound");
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&page), port, told.clone()));
            }
        });
        Self { address, reports, serving }
    }

    /// What the page reports, once `browser` has opened it.
    pub(super) async fn report(&mut self, browser: &Process) -> Value {
        let Ok(report) = timeout(BOUND, self.reports.recv()).await else {
            panic!("no report:\n{}", browser.printed());
        };
        report.expect("it serves")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One request of a browser: the page, a redirect to the proxy on `port`, or the end of its report.
async fn answer(mut stream: TcpStream, page: Arc<str>, port: u16, told: mpsc::Sender<Value>) {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    let (head, body) = loop {
        let Ok(length @ 1..) = stream.read(&mut buffer).await else { return };
        request.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0usize) {
            break (head.to_owned(), body.to_owned());
        }
    };
    let path = head.split(' ').nth(1).unwrap_or_default();
    let reply = match path.strip_prefix("/bounce") {
        Some(rest) => {
            let location = format!("http://localhost:{port}{rest}");
            format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
        }
        None => format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
            page.len()
        ),
    };
    drop(stream.write_all(reply.as_bytes()).await);
    if path == "/report" {
        drop(told.send(serde_json::from_str(&body).expect("JSON")).await);
    }
}
