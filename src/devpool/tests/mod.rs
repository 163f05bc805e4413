//! The pool through real sockets: a plain HTTP client for what is on the wire, and the AWS SDK for what it makes of it.

mod faults;
mod oauth;
mod sdk;
mod sessions;
mod signatures;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};

use super::{AppClient, DevPool, Exception, Settings, Validity, jwt::Parts};
use crate::{
    clock::{ManualClock, UnixTime},
    secret::Secret,
};

const CLIENT: &str = Settings::CLIENT;
const USER: &str = Settings::USER;

/// 2026-01-01T00:00:00Z.
const START: UnixTime = UnixTime::from_secs(1_767_225_600);

/// An answer that arrived whole.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII")).unwrap_or_default()
    }

    /// The exception, as the body has it; the head must agree with it.
    fn exception(&self) -> Exception {
        let body = self.json();
        let field = |name: &str| body[name].as_str().expect("a string").to_owned();
        let exception = Exception::new(&field("__type"), field("message")).with_status(self.status);
        assert_eq!(self.header("x-amzn-errortype"), format!("{}:", exception.name));
        assert_eq!(self.header("x-amzn-errormessage"), exception.message);
        exception
    }

    fn refresh_token(&self) -> Option<Secret> {
        self.result("RefreshToken").map(Secret::new)
    }

    fn result(&self, field: &str) -> Option<String> {
        self.json()["AuthenticationResult"][field].as_str().map(ToOwned::to_owned)
    }

    fn claims(&self, field: &str) -> Value {
        claims(&self.result(field).expect("a token"))
    }
}

fn claims(token: &str) -> Value {
    Parts::of(token).expect("a JWT").claims
}

async fn start(settings: Settings) -> (DevPool, ManualClock) {
    let clock = ManualClock::at(START);
    let pool = DevPool::start(settings, Arc::new(clock.clone())).await.expect("the pool starts");
    (pool, clock)
}

async fn send(request: Request<Full<Bytes>>) -> Result<Answer, Box<dyn std::error::Error>> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let (head, body) = client.request(request).await?.into_parts();
    Ok(Answer { status: head.status, headers: head.headers, body: body.collect().await?.to_bytes() })
}

async fn try_call(pool: &DevPool, operation: &str, body: &Value) -> Result<Answer, Box<dyn std::error::Error>> {
    let request = Request::post(pool.endpoint())
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("AWSCognitoIdentityProviderService.{operation}"))
        .body(Full::from(body.to_string()))
        .expect("a request");
    send(request).await
}

async fn call(pool: &DevPool, operation: &str, body: &Value) -> Answer {
    try_call(pool, operation, body).await.expect("an answer")
}

async fn get(url: &str) -> Answer {
    send(Request::get(url).body(Full::default()).expect("a request")).await.expect("an answer")
}

fn refresh_body(token: &Secret) -> Value {
    json!({"RefreshToken": token.expose(), "ClientId": CLIENT})
}

async fn refresh(pool: &DevPool, token: &Secret) -> Answer {
    call(pool, "GetTokensFromRefreshToken", &refresh_body(token)).await
}

/// The default client with other validities, all in seconds.
fn client(id: u64, access: u64, refresh: u64) -> AppClient {
    let seconds = Duration::from_secs;
    AppClient::public(CLIENT).with_validity(Validity {
        id: seconds(id),
        access: seconds(access),
        refresh: seconds(refresh),
    })
}
