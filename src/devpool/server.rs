//! One call from its first octet to its last: read, run or spoiled, recorded, answered.

use std::{io, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt, Collected, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::watch};

use super::{
    calls::{Call, Outcome},
    exception::Exception,
    fault::Fault,
    lie::Lie,
    listener::ResetSwitch,
    oauth,
    operation::{Operation, Signed},
    ops::{self, Answer},
    random,
    shared::Shared,
    state::Pool,
    tokens::RotationStep,
    wire::{self, Body},
};

/// No request of this API comes near it.
const MAX_REQUEST: usize = 1 << 20;

/// Serves one connection.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, switch: ResetSwitch) {
    let switch = Arc::new(switch);
    let service = service_fn(move |request| answer(Arc::clone(&shared), Arc::clone(&switch), request));
    let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::trace!(%error, "connection ended");
    }
}

/// A request that has been read.
struct Asked {
    operation: Operation,
    request: Value,
    signed: Signed,
}

/// A request that is none.
enum Rejection {
    /// It goes nowhere, or is too long.
    Status(StatusCode),
    /// The API does not know it.
    Exception(&'static str),
}

impl Rejection {
    fn response(&self) -> Response<Body> {
        match self {
            Self::Status(status) => wire::bare_status(*status),
            Self::Exception(name) => wire::exception(&Exception::new(name, "")),
        }
    }
}

/// What is to be said to it, before a fault spoils that.
struct Decided {
    fault: Option<Fault>,
    response: Response<Body>,
}

async fn answer(
    shared: Arc<Shared>,
    switch: Arc<ResetSwitch>,
    request: Request<Incoming>,
) -> io::Result<Response<Body>> {
    let asked = match read(&shared, request).await {
        Ok(asked) => asked,
        Err(rejection) => return Ok(rejection.response()),
    };
    let is_api = asked.operation.is_api();
    let Decided { fault, response } = decide(&shared, &asked);
    if is_api {
        until_open(shared.gate.subscribe()).await;
    }
    match fault {
        Some(Fault::Hang(_)) => std::future::pending().await,
        Some(Fault::Reset(_)) => Err(switch.reset()),
        Some(Fault::Truncated) => Ok(wire::truncated(response).await),
        Some(Fault::Drip(interval)) => Ok(wire::dripping(response, interval).await),
        _ => Ok(response),
    }
}

async fn until_open(mut gate: watch::Receiver<usize>) {
    // A gate that is gone is open.
    drop(gate.wait_for(|holders| *holders == 0).await);
}

/// Reads the request, or says at once what is wrong with it.
async fn read(shared: &Shared, request: Request<Incoming>) -> Result<Asked, Rejection> {
    let (head, body) = request.into_parts();
    let signed = signed(&head.headers);
    let asked = |operation, request| Ok(Asked { operation, request, signed });
    if let Some(operation) = oauth::operation(&head.method, head.uri.path()) {
        let form = whole(body).await?;
        return asked(operation, oauth::fields(&head.headers, head.uri.query(), &form));
    }
    let under_pool = head.uri.path().strip_prefix('/').and_then(|path| path.strip_prefix(shared.pool_id.as_str()));
    match (&head.method, under_pool) {
        (&Method::GET, Some("/.well-known/jwks.json")) => return asked(Operation::Jwks, Value::Null),
        (&Method::GET, Some("/.well-known/openid-configuration")) => return asked(Operation::Discovery, Value::Null),
        (&Method::POST, _) if head.uri.path() == "/" => {}
        _ => return Err(Rejection::Status(StatusCode::NOT_FOUND)),
    }
    let body = whole(body).await?;
    let target = head.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(name) = target.strip_prefix("AWSCognitoIdentityProviderService.") else {
        return Err(Rejection::Exception("UnknownOperationException"));
    };
    match serde_json::from_slice::<Value>(&body) {
        Ok(request) if request.is_object() => asked(Operation::of_target(name, &request), request),
        _ => Err(Rejection::Exception("SerializationException")),
    }
}

async fn whole(body: Incoming) -> Result<Bytes, Rejection> {
    let body = Limited::new(body, MAX_REQUEST).collect().await;
    body.map(Collected::to_bytes).map_err(|_| Rejection::Status(StatusCode::PAYLOAD_TOO_LARGE))
}

fn signed(headers: &HeaderMap) -> Signed {
    match headers.get(AUTHORIZATION) {
        Some(value) if value.as_bytes().starts_with(b"AWS4-HMAC-SHA256 ") => Signed::Yes,
        _ => Signed::No,
    }
}

/// Takes the call's fault, runs the call where that still happens, and records it.
fn decide(shared: &Shared, asked: &Asked) -> Decided {
    let clock = shared.clock.now().wall;
    let mut inner = shared.lock();
    let fault = inner.faults.take(&asked.operation);
    let now = clock.shifted(inner.pool.skew_millis);
    let lie = match &fault {
        Some(Fault::Lie(lie)) => Some(lie.clone()),
        _ => None,
    };
    let mut call = Call {
        at: now,
        operation: asked.operation.clone(),
        client_id: client_id(&asked.request).map(ToOwned::to_owned),
        refresh_token: presented(&asked.request).map(fingerprint),
        outcome: Outcome::Answered,
        committed: false,
        rotation: RotationStep::Off,
    };
    let response = match &fault {
        Some(Fault::Exception { exception, .. }) if asked.operation.is_oauth() => {
            oauth::Refusal::of_fault(exception).response()
        }
        Some(fault) if !fault.commits() => spoiled(fault),
        _ if asked.operation.is_oauth() => {
            match oauth::call(&mut inner.pool, now, &asked.operation, &asked.request, lie.as_ref()) {
                Ok((body, rotation)) => {
                    call.committed = true;
                    call.rotation = rotation;
                    body
                }
                Err(refusal) => {
                    call.outcome = Outcome::Refused(refusal.error.clone());
                    refusal.response()
                }
            }
        }
        _ => match run(&mut inner.pool, asked, now, lie.as_ref()) {
            Ok((body, rotation)) => {
                call.committed = true;
                call.rotation = rotation;
                body
            }
            Err(exception) => {
                call.outcome = Outcome::Refused(exception.name.clone());
                wire::exception(&exception)
            }
        },
    };
    drop(inner);
    if let Some(fault) = &fault {
        call.outcome = Outcome::Fault(fault.name());
    }
    shared.calls.push(call);
    let date = now.shifted(lie.map_or(0, |lie| lie.date_shift_millis()));
    Decided { fault, response: wire::with_date(response, date) }
}

/// The answer by the rules, and what it did to the refresh token.
fn run(
    pool: &mut Pool,
    asked: &Asked,
    now: crate::clock::UnixTime,
    lie: Option<&Lie>,
) -> Result<(Response<Body>, RotationStep), Exception> {
    let response = match asked.operation {
        Operation::Jwks => wire::document(&jwks(pool)),
        Operation::Discovery => wire::document(&discovery(pool)),
        _ => {
            let answer = ops::call(pool, now, &asked.operation, &asked.request, asked.signed)?;
            let rotation = match &answer {
                Answer::Tokens { grant, .. } => grant.rotation,
                Answer::Json(_) => RotationStep::Off,
            };
            let keys = Arc::clone(pool.keys());
            let body = match lie {
                Some(Lie::NotJson) => Bytes::from_static(b"{\"AuthenticationResult\":"),
                _ => answer.render(&keys, lie)?.to_string().into(),
            };
            return Ok((wire::api(StatusCode::OK, body), rotation));
        }
    };
    Ok((response, RotationStep::Off))
}

/// What stands in the place of an answer that never came to be.
fn spoiled(fault: &Fault) -> Response<Body> {
    match fault {
        Fault::Status { status, retry_after } => wire::with_retry_after(wire::bare_status(*status), *retry_after),
        Fault::Exception { exception, retry_after } => wire::with_retry_after(wire::exception(exception), *retry_after),
        Fault::Portal(portal) => wire::portal(*portal),
        // These say nothing at all.
        Fault::Hang(_) | Fault::Reset(_) | Fault::Truncated | Fault::Drip(_) | Fault::Lie(_) => {
            wire::bare_status(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// The key set (RFC 7517 §5).
pub(super) fn jwks(pool: &Pool) -> Value {
    let keys: Vec<Value> = pool.published_keys().flat_map(|keys| keys.jwks()).collect();
    json!({"keys": keys})
}

/// The part of `OpenID` Connect discovery that holds for a pool without a domain.
fn discovery(pool: &Pool) -> Value {
    json!({
        "issuer": pool.issuer,
        "jwks_uri": format!("{}/.well-known/jwks.json", pool.issuer),
        "id_token_signing_alg_values_supported": ["RS256"],
        "subject_types_supported": ["public"],
        "response_types_supported": ["code", "token"],
        "scopes_supported": ["openid", "email", "phone", "profile"],
    })
}

/// The app client that a call names, where it does.
fn client_id(request: &Value) -> Option<&str> {
    request.get("ClientId").or_else(|| request.get("client_id")).and_then(Value::as_str)
}

/// The refresh token that a call presents, where it does.
fn presented(request: &Value) -> Option<&str> {
    let parameter = request.get("AuthParameters").and_then(|parameters| parameters.get("REFRESH_TOKEN"));
    let fields = ["RefreshToken", "Token", "refresh_token", "token"];
    parameter.or_else(|| fields.iter().find_map(|field| request.get(field))).and_then(Value::as_str)
}

/// What the log shows in the place of a token.
pub(super) fn fingerprint(token: &str) -> String {
    random::hex(&random::sha256(token.as_bytes())[..6])
}
