//! For the tests of this folder: a key that signs, tokens, and servers that follow a script.

use std::{sync::LazyLock, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinHandle,
};

use super::{RefreshApi, Settings, egress::Egress, transport::Transport};
use crate::tls;

/// An RSA key with a name.
pub(super) struct Signer {
    key: RsaKeyPair,
    kid: &'static str,
}

/// The pool's key. Making one takes a while, so there is one.
pub(super) static POOL: LazyLock<Signer> = LazyLock::new(|| Signer::new("pool+/="));

/// Somebody else's.
pub(super) static STRANGER: LazyLock<Signer> = LazyLock::new(|| Signer::new("stranger"));

impl Signer {
    fn new(kid: &'static str) -> Self {
        Self { key: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"), kid }
    }

    /// A JWT with these claims.
    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_with(&json!({ "alg": "RS256", "kid": self.kid }), claims)
    }

    /// A JWT with this header, signed with RS256 whatever it says.
    pub(super) fn sign_with(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Its public half, under this name.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        let public = self.key.public_key();
        json!({
            "kid": kid,
            "alg": "RS256",
            "kty": "RSA",
            "use": "sig",
            "n": URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero()),
            "e": URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero()),
        })
    }

    /// A key set of this key alone.
    pub(super) fn jwks(&self) -> String {
        json!({ "keys": [self.jwk(self.kid)] }).to_string()
    }
}

pub(super) const ISSUER: &str = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Example";

/// What an ID token says.
pub(super) fn id_claims() -> Value {
    json!({
        "sub": "4f1c", "aud": "client", "iss": ISSUER, "token_use": "id", "cognito:username": "alice",
        "auth_time": 1_000_000, "iat": 1_003_600, "exp": 1_007_200, "email": "alice@example.com",
    })
}

/// What an access token says.
pub(super) fn access_claims() -> Value {
    json!({
        "sub": "4f1c", "client_id": "client", "iss": ISSUER, "token_use": "access", "username": "alice",
        "auth_time": 1_000_000, "iat": 1_003_600, "exp": 1_007_200, "scope": "openid",
    })
}

/// Claims with one of them changed, or taken away by null.
pub(super) fn changed(mut claims: Value, name: &str, value: Value) -> Value {
    if value.is_null() {
        claims.as_object_mut().expect("an object").remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

/// Settings that dial `endpoint`.
pub(super) fn settings(endpoint: &str) -> Settings {
    Settings {
        user_pool_id: "eu-west-1_Example".into(),
        client_id: "client".into(),
        client_secret: None,
        region: "eu-west-1".into(),
        endpoint: Some(endpoint.parse().expect("a URL")),
        issuer: ISSUER.into(),
        jwks_url: format!("{endpoint}/jwks.json").parse().expect("a URL"),
        refresh_api: RefreshApi::Auto,
        verify_signature: true,
    }
}

/// A transport with the system's trust and no proxy.
pub(super) fn plain() -> Transport {
    Transport::through(tls::client_config(None, None).expect("a trust store"), Egress::new("", ""))
}

/// What a server does with one connection.
#[derive(Debug)]
pub(super) enum Act {
    /// Reads the request, writes this, closes.
    Answer(Vec<u8>),
    /// Reads the request, then never says anything.
    Hang,
    /// Reads the request, then says a byte now and then.
    Drip,
    /// Reads the request, then resets the connection.
    Reset,
    /// Reads the request, then closes.
    Close,
    /// Closes without reading.
    CloseAtOnce,
    /// Speaks first, and never reads.
    Speak(Vec<u8>),
}

/// An answer in JSON.
pub(super) fn json(status: u16, text: &str) -> Act {
    body(status, "application/x-amz-json-1.1", text)
}

/// An answer of this type.
pub(super) fn body(status: u16, content_type: &str, text: &str) -> Act {
    with_headers(status, &format!("content-type: {content_type}\r\n"), text)
}

/// An answer with these header lines.
pub(super) fn with_headers(status: u16, headers: &str, text: &str) -> Act {
    let length = text.len();
    Act::Answer(format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{text}").into_bytes())
}

/// A server that treats each connection as its script says, one after the other, and then listens no more.
pub(super) struct Scripted {
    url: String,
    requests: mpsc::UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl Scripted {
    pub(super) async fn start<const N: usize>(script: [Act; N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (seen, requests) = mpsc::unbounded_channel();
        let script = Vec::from(script);
        if script.is_empty() {
            // Nobody listens from here on.
            return Self { url, requests, task: tokio::spawn(async {}) };
        }
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            for act in script {
                let (stream, _) = listener.accept().await.expect("a connection");
                open.push(play(act, stream, &seen).await);
            }
            drop(listener);
            // Those that hang stay open until the test is over.
            std::future::pending::<()>().await;
        });
        Self { url, requests, task }
    }

    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// The requests that were read so far.
    pub(super) async fn requests(mut self) -> Vec<String> {
        self.task.abort();
        drop((&mut self.task).await);
        let mut requests = Vec::new();
        while let Some(request) = self.requests.recv().await {
            requests.push(request);
        }
        requests
    }
}

async fn play(act: Act, mut stream: TcpStream, seen: &mpsc::UnboundedSender<String>) -> Option<TcpStream> {
    match act {
        Act::CloseAtOnce => return None,
        Act::Speak(words) => {
            stream.write_all(&words).await.expect("written");
            return Some(stream);
        }
        Act::Answer(_) | Act::Hang | Act::Drip | Act::Reset | Act::Close => {}
    }
    // A TLS hello is no request: there is nothing to read to its end.
    if let Some(request) = read_request(&mut stream).await {
        seen.send(request).expect("the test listens");
    }
    match act {
        Act::Answer(bytes) => {
            stream.write_all(&bytes).await.expect("written");
            drop(stream.shutdown().await);
            None
        }
        Act::Drip => {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{}", " ".repeat(999));
            for byte in answer.bytes() {
                if stream.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            None
        }
        Act::Reset => {
            stream.set_zero_linger().expect("an option");
            None
        }
        Act::Hang => Some(stream),
        Act::Close | Act::CloseAtOnce | Act::Speak(_) => None,
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if bytes.first() == Some(&0x16) {
            return None;
        }
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().expect("a length")) {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.expect("read") == 0 {
            return None;
        }
    }
}
