//! Sending a request to its upstream and waiting for the response's head.

use std::{
    future::Future,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE},
    request::Parts,
    uri::{Authority, Scheme},
};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use super::{
    connect::{Protocol, Wanted},
    failure::{Failure, Unprocessed},
    plan::Target,
    pool::{Lease, Pool},
    upload::{Progress, RequestBody, Stage},
};

/// How long what may take.
#[derive(Debug)]
pub(super) struct Patience {
    /// From the request's end to the response's head.
    pub(super) response_header: Duration,
    /// Of a body that is waited for; `None` for gRPC, whose streams may be silent.
    pub(super) body_idle: Option<Duration>,
    /// How far the request's body is; `None` where it has none.
    pub(super) progress: Option<Rc<Progress>>,
}

/// A response whose body is still to come, and the connection that it comes on.
pub(super) type Answer = (Response<Incoming>, Lease);

/// How often a request is sent again that the upstream did not begin to process: it may meet one connection after
/// another just as it goes away.
const UNPROCESSED: usize = 4;

/// Sends a request.
///
/// Where a connection that was used before turns out to be gone, the request is sent once more on a new one: if it never
/// left, or if it is safe to repeat (GET, HEAD or OPTIONS without a body) and no byte of a response has come. One that
/// the upstream says it did not begin to process is sent again whatever it is, as long as its body is at hand.
pub(super) async fn send(
    pool: &Rc<Pool>,
    head: &Parts,
    body: RequestBody,
    wanted: Wanted,
    patience: &Patience,
) -> Result<Answer, Failure> {
    let has_no_body = patience.progress.is_none() && body.is_end_stream();
    let is_repeatable = has_no_body && [Method::GET, Method::HEAD, Method::OPTIONS].contains(&head.method);
    let mut lease = match wanted {
        Wanted::Any => pool.lease().await?,
        Wanted::H1 => pool.fresh(wanted).await?,
    };
    let mut may_be_stale = lease.is_reused();
    let mut unprocessed = 0;
    let mut body = body;
    loop {
        let request = request(head, body, lease.protocol(), &pool.target);
        let lost = match exchange(lease, request, patience).await {
            Ok(answer) => return Ok(answer),
            Err(lost) => lost,
        };
        let is_unprocessed = lost.failure.unprocessed().is_some() && unprocessed < UNPROCESSED;
        body = match lost.unsent {
            _ if !lost.failure.is_lost() => return Err(lost.failure),
            Some(unsent) if may_be_stale || is_unprocessed => unsent.into_body(),
            None if has_no_body && (is_unprocessed || (may_be_stale && is_repeatable && !lost.is_begun)) => {
                RequestBody::empty()
            }
            None if is_unprocessed => match patience.again().await {
                Some(body) => body,
                None => return Err(lost.failure),
            },
            _ => return Err(lost.failure),
        };
        if is_unprocessed {
            unprocessed += 1;
        } else {
            may_be_stale = false;
        }
        tracing::debug!(error = %lost.failure, "the connection takes no request any more; once more on another");
        lease = pool.fresh(wanted).await?;
    }
}

/// A request with a head like `head`, which is kept in case it must be sent again.
fn request(head: &Parts, body: RequestBody, protocol: Protocol, target: &Target) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.headers_mut() = head.headers.clone();
    match protocol {
        Protocol::H1 => for_h1(&mut request),
        Protocol::H2 => for_h2(&mut request, target),
    }
    request
}

/// Says that a body of unknown length comes in chunks: left to itself, hyper sends that of a GET or a HEAD not at all.
fn for_h1(request: &mut Request<RequestBody>) {
    let body = request.body();
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Moves `Host` into the target, and leaves out what HTTP/2 has no use for (RFC 9113 §8.2.2, §8.3.1).
fn for_h2(request: &mut Request<RequestBody>, target: &Target) {
    *request.version_mut() = Version::HTTP_2;
    for name in [CONNECTION, UPGRADE] {
        request.headers_mut().remove(name);
    }
    let host = request.headers_mut().remove(HOST);
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(if target.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    // A head that was made here has all three parts; what could not be joined is refused by hyper.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// A request without a response.
struct Lost {
    failure: Failure,
    /// The request, where it never left.
    unsent: Option<Request<RequestBody>>,
    /// Whether a response has begun to come.
    is_begun: bool,
}

impl From<Failure> for Lost {
    fn from(failure: Failure) -> Self {
        Self { failure, unsent: None, is_begun: false }
    }
}

/// One attempt on one connection, driven here.
async fn exchange(mut lease: Lease, request: Request<RequestBody>, patience: &Patience) -> Result<Answer, Lost> {
    let began = Instant::now();
    let Some(sending) = lease.send(request) else { return Err(Failure::Malformed(None).into()) };
    let mut sending = pin!(sending);
    let response = std::future::poll_fn(|cx| {
        let _ = lease.drive(cx);
        let sent = match lease.protocol() {
            // What was just driven is the only one who can complete this, so a wake-up would be one too many.
            Protocol::H1 => sending.as_mut().poll(&mut Context::from_waker(Waker::noop())),
            Protocol::H2 => sending.as_mut().poll(cx),
        };
        if let Poll::Ready(sent) = sent {
            return Poll::Ready(sent.map_err(|mut error| {
                let unsent = error.take_message();
                let failure = patience.failure(error.into_error());
                if failure.unprocessed() == Some(Unprocessed::GoingAway) {
                    lease.retire();
                }
                Lost { failure, unsent, is_begun: false }
            }));
        }
        if lease.is_due(patience.due(began), cx) {
            return Poll::Ready(Err(patience.expired().into()));
        }
        Poll::Pending
    })
    .await;
    match response {
        Ok(response) => {
            if response.version() < Version::HTTP_11 {
                lease.retire();
            }
            Ok((response, lease))
        }
        Err(lost) => Err(Lost { is_begun: lease.abandon(), ..lost }),
    }
}

impl Patience {
    fn stage(&self, began: Instant) -> Stage {
        self.progress.as_ref().map_or(Stage::Sent(began), |progress| progress.stage())
    }

    fn due(&self, began: Instant) -> Option<Instant> {
        match self.stage(began) {
            Stage::Client(since) => Some(since + self.body_idle?),
            Stage::Sent(since) => Some(since + self.response_header),
            Stage::Upstream | Stage::Malformed => None,
        }
    }

    fn expired(&self) -> Failure {
        match self.stage(Instant::now()) {
            Stage::Client(_) => Failure::ClientTimeout,
            Stage::Sent(_) | Stage::Upstream | Stage::Malformed => Failure::ResponseTimeout,
        }
    }

    /// What is at hand of the request's body, and then the rest.
    async fn again(&self) -> Option<RequestBody> {
        timeout(self.response_header, self.progress.as_ref()?.resumed()).await.ok()?
    }

    fn failure(&self, error: hyper::Error) -> Failure {
        match self.progress.as_ref().map(|progress| progress.stage()) {
            Some(Stage::Malformed) => Failure::ClientBody,
            _ => Failure::of(error),
        }
    }
}

/// Whether the upstream answers that the protocol changes.
pub(super) fn is_switching(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}
