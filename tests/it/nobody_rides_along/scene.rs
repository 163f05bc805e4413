//! Rows of requests, sent to the binary over HTTP/1.1 and over HTTP/2, and what must come of each: for the client, and
//! at the upstream.

use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

use super::upstream::{Heard, Upstream};
use crate::support::{
    http::{self as wire, Connection},
    proxy::Proxy,
    stage::Stage,
    wait::BOUND,
};

/// The origin that `guard.origins` lists.
pub(super) const LISTED: &str = "http://localhost:3000";

/// What a proxy passes on for nobody: what is for this hop, what only a proxy may say, and how CGI would read them.
const NEVER_UPSTREAM: [&str; 16] = [
    "cognito-proxy-key",
    "cognito_proxy_key",
    "content_length",
    "expect",
    "keep-alive",
    "proxy-anything",
    "proxy_anything",
    "transfer_encoding",
    "forwarded",
    "proxy-authorization",
    "proxy_authorization",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-real-ip",
    "x_forwarded_for",
    "x_real_ip",
];

/// One request. Its lines stand below each other; `Host` alone is the proxy's own, and `PORT` the port of the listener.
pub(super) type Lines = &'static str;

/// What comes of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wants {
    /// Exactly one request upstream, with exactly one `Authorization`: the current token's.
    Forwarded,
    /// Nothing upstream, and a problem with this status, this code, and a `fix` that has this in it.
    Refused(u16, &'static str, &'static str),
    /// Nothing upstream, and a reply of the proxy's own with this status and no problem.
    Answered(u16),
}

/// What a client got.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Got {
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A running proxy with a session, before an upstream that keeps everything.
pub(super) struct Scene {
    pub(super) stage: Stage,
    pub(super) upstream: Upstream,
    pub(super) proxy: Proxy,
    /// `Bearer` and the current ID token.
    bearer: String,
}

impl Scene {
    /// With these keys beside the usual ones; `ORIGINS` among them is the listed origin.
    pub(super) async fn with(keys: &str) -> Self {
        Self::with_arguments(keys, &[]).await
    }

    pub(super) async fn with_arguments(keys: &str, arguments: &[&str]) -> Self {
        let (stage, upstream) = (Stage::new().await, Upstream::start().await);
        let listen = "listen.proxy = [\"127.0.0.1:0\"]\n";
        let mut toml = stage.toml(keys).replace(&stage.upstream.url(), &upstream.url());
        if keys.contains("listen.proxy") {
            toml = toml.replacen(listen, "", 1);
        }
        stage.home.configure(&toml);
        stage.signed_in().await;
        let mut proxy = stage.home.serve_with(arguments).await;
        proxy.ready().await;
        let printed = stage.home.run(&["token"]).await;
        assert_eq!(printed.code(), 0, "{}", printed.stderr);
        let bearer = format!("Bearer {}", printed.stdout.trim());
        Self { stage, upstream, proxy, bearer }
    }

    /// What goes upstream as `Authorization`.
    pub(super) fn bearer(&self) -> &str {
        &self.bearer
    }

    /// Sends each row over HTTP/1.1.
    pub(super) async fn http1(&self, rows: &[(&str, Lines, Wants)]) {
        for (id, lines, wants) in rows {
            let before = self.upstream.heard();
            let got = self.send(lines).await;
            self.judge(id, lines, *wants, &got, &before);
        }
        self.nothing_came_late(rows).await;
    }

    /// Sends each row over HTTP/1.1, and over HTTP/2 with `Host` as `:authority`.
    pub(super) async fn both(&self, rows: &[(&str, Lines, Wants)]) {
        self.http1(rows).await;
        for (id, lines, wants) in rows {
            let before = self.upstream.heard();
            let got = self.send_h2(lines).await;
            self.judge(&format!("{id} over h2c"), lines, *wants, &got, &before);
        }
        self.nothing_came_late(rows).await;
    }

    /// One row over HTTP/1.1, to the proxy.
    pub(super) async fn send(&self, lines: &str) -> Got {
        let port = self.proxy.address().port();
        exchange(self.proxy.connect().await, &octets(lines, port)).await
    }

    /// One row over HTTP/1.1, to the admin listener.
    pub(super) async fn send_admin(&self, lines: &str) -> Got {
        let admin = self.proxy.admin();
        exchange(Connection::to(admin).await, &octets(lines, admin.port())).await
    }

    /// One row to a Unix socket.
    pub(super) async fn send_unix(&self, path: &Path, lines: &str) -> Got {
        exchange(Connection::to_socket(path).await, &octets(lines, self.proxy.address().port())).await
    }

    /// One row over HTTP/2 by prior knowledge.
    pub(super) async fn send_h2(&self, lines: &str) -> Got {
        let port = self.proxy.address().port();
        let text = filled(lines, port);
        let mut lines = text.lines();
        let (method, path) = lines.next().and_then(|line| line.split_once(' ')).expect("METHOD PATH");
        let mut fields: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
        let host = fields.iter().position(|(name, _)| *name == "Host").map(|index| fields.remove(index).1.trim());
        let uri = format!("http://{}{path}", host.expect("an authority"));
        let mut request = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
        for (name, value) in fields {
            request = request.header(name.to_ascii_lowercase(), value.trim());
        }
        let stream = TcpStream::connect(self.proxy.address()).await.expect("it listens");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("a connection");
        let request = request.body(Full::<Bytes>::default()).expect("a request");
        let asking = async move {
            let (head, body) = sender.send_request(request).await.expect("a response").into_parts();
            Got {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.collect().await.expect("a whole body").to_bytes().to_vec(),
            }
        };
        timeout(BOUND, async { tokio::join!(asking, connection) }).await.expect("an answer in time").0
    }

    /// How often a code was counted, on either listener.
    pub(super) async fn refused_total(&self, code: &str) -> u64 {
        let metrics = wire::get(self.proxy.admin(), "/metrics").await;
        let text = String::from_utf8_lossy(metrics.body()).into_owned();
        let name = format!("cognito_proxy_refused_total{{reason=\"{code}\"}} ");
        text.lines()
            .find_map(|line| line.strip_prefix(&name)?.parse().ok())
            .unwrap_or_else(|| panic!("{name}in {text}"))
    }

    fn judge(&self, id: &str, lines: &str, wants: Wants, got: &Got, before: &Heard) {
        let row = format!("{id}: {lines:?}");
        let after = self.upstream.heard();
        let came = after.heads.len() - before.heads.len();
        cors(&row, lines, wants, got);
        match wants {
            Wants::Forwarded => {
                let is_through = matches!(got.status, 101 | 200 | 302);
                assert!(is_through && came == 1, "{row}: {came} upstream, {} {}", got.status, text(&got.body));
                assert_eq!(after.values("authorization"), [self.bearer.as_str()], "{row}");
                for name in NEVER_UPSTREAM {
                    assert!(after.values(name).is_empty(), "{row}: {name} went upstream");
                }
                assert!(!got.headers.contains_key("authorization"), "{row}");
            }
            Wants::Refused(status, code, fix) => {
                assert_eq!(
                    (got.status, text(&got.body).contains("eyJ")),
                    (status, false),
                    "{row}: {}",
                    text(&got.body)
                );
                problem(&row, status, code, fix, got);
                assert_eq!((after.octets, after.connections), (before.octets, before.connections), "{row}");
            }
            Wants::Answered(status) => {
                assert_eq!(got.status, status, "{row}: {}", text(&got.body));
                assert_eq!((after.octets, after.connections), (before.octets, before.connections), "{row}");
            }
        }
    }

    /// Whatever a refused request might have sent behind its refusal is there by now: the last request of all comes
    /// after it.
    async fn nothing_came_late(&self, rows: &[(&str, Lines, Wants)]) {
        let before = self.upstream.heard().heads.len();
        assert!(rows.iter().any(|(_, _, wants)| !matches!(wants, Wants::Forwarded)) || before > 0);
        let lines = "GET /last\nHost\nCognito-Proxy-Key: s3cret-key\nX-Requested-By: test";
        assert_eq!(self.send(lines).await.status, 200);
        let heard = self.upstream.heard();
        assert_eq!(heard.heads.len(), before + 1, "{:?}", heard.heads.last());
    }
}

/// What a problem of the proxy's own is made of (RFC 9457, RFC 9209).
pub(super) fn problem(row: &str, status: u16, code: &str, fix: &str, got: &Got) {
    assert_eq!(got.values("content-type"), ["application/problem+json"], "{row}");
    let proxy_status = got.values("proxy-status");
    let [proxy_status] = proxy_status[..] else { panic!("{row}: {proxy_status:?}") };
    assert!(proxy_status.starts_with("cognito-proxy; error="), "{row}: {proxy_status}");
    assert!(proxy_status.ends_with(&format!("; details=\"{code}\"")), "{row}: {proxy_status}");
    let document = got.json();
    assert_eq!((&document["code"], &document["status"]), (&Value::from(code), &Value::from(status)), "{row}");
    assert!(document["fix"].as_str().is_some_and(|text| text.contains(fix)), "{row}: {fix:?} in {document}");
    assert!(!document["detail"].as_str().unwrap_or_default().is_empty(), "{row}: {document}");
}

/// The listed origin, and nobody else, may read what the proxy answers.
fn cors(row: &str, lines: &str, wants: Wants, got: &Got) {
    let origins: Vec<&str> = lines.lines().filter_map(|line| line.strip_prefix("Origin: ")).collect();
    let allowed = got.values("access-control-allow-origin");
    if origins == [LISTED] {
        assert_eq!(allowed, [LISTED], "{row}");
        assert_eq!(got.values("access-control-allow-credentials"), ["true"], "{row}");
        let vary = got.values("vary").join(",").to_ascii_lowercase();
        assert!(vary.contains("origin"), "{row}: {vary}");
        if got.status != 204 {
            assert!(!got.headers.contains_key("access-control-allow-methods"), "{row}");
            let exposed = got.values("access-control-expose-headers").join(", ");
            for name in ["Retry-After", "Cognito-Proxy-Session", "Proxy-Status"] {
                assert!(exposed.contains(name), "{row}: {exposed}");
            }
        }
    } else {
        let is_opened = |name: &&HeaderName| {
            let name = name.as_str();
            name == "access-control-allow-origin"
                || (!matches!(wants, Wants::Forwarded) && name.starts_with("access-control-"))
        };
        let opened = got.headers.keys().find(is_opened);
        assert_eq!(opened, None, "{row}");
    }
}

/// The lines with the names that only the running proxy knows.
fn filled(lines: &str, port: u16) -> String {
    let host = format!("Host: localhost:{port}");
    let named = lines.lines().map(|line| if line == "Host" { host.as_str() } else { line });
    named.collect::<Vec<_>>().join("\n").replace("PORT", &port.to_string())
}

/// The request as it is written to an HTTP/1.1 connection.
fn octets(lines: &str, port: u16) -> String {
    let text = filled(lines, port);
    let (first, fields) = text.split_once('\n').unwrap_or((&text, ""));
    let fields: String = fields.lines().flat_map(|line| [line, "\r\n"]).collect();
    format!("{first} HTTP/1.1\r\n{fields}\r\n")
}

async fn exchange(mut connection: Connection, request: &str) -> Got {
    connection.send(request).await;
    let response = connection.receive().await;
    let mut headers = HeaderMap::new();
    for (name, value) in &response.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    Got { status: response.status, headers, body: response.body }
}

pub(super) fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}
