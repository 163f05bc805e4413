//! Sending a request to its upstream and waiting for the response's head.

use std::{rc::Rc, task::Poll, time::Duration};

use http::{
    Method, Request, Uri, Version,
    header::{CONNECTION, HOST, UPGRADE},
    uri::{Authority, Scheme},
};
use http_body::Body as _;
use tokio::time::{Instant, timeout};

use super::{
    connect::{Protocol, Wanted},
    failure::{Failure, Unprocessed},
    h1,
    h2::{self, Download, Exchange},
    plan::Target,
    pool::{Lease, Pool},
    upload::{Progress, RequestBody, Stage},
};
use crate::message::{RequestHead, Response};

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

/// A response whose body is still to come, and the connection that it comes on: with the body where that is a stream
/// of HTTP/2, with nothing where the connection itself is asked for it.
pub(super) type Answer = (Response<Option<Download>>, Lease);

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
    head: &RequestHead,
    body: RequestBody,
    wanted: Wanted,
    patience: &Patience,
) -> Result<Answer, Failure> {
    let has_no_body = patience.progress.is_none() && body.is_end_stream();
    let is_repeatable = has_no_body && [Method::GET, Method::HEAD, Method::OPTIONS].contains(&head.method);
    let mut lease = match wanted {
        Wanted::Any => match pool.lease() {
            Some(lease) => lease,
            // Boxed, as everything here that few requests need: each would carry the room for it.
            None => Box::pin(pool.fresh(wanted)).await?,
        },
        Wanted::H1 => Box::pin(pool.fresh(wanted)).await?,
    };
    let mut may_be_stale = lease.is_reused();
    let mut unprocessed = 0;
    let mut body = body;
    loop {
        let exchanged = match lease.protocol() {
            Protocol::H1 => exchange_h1(lease, head, body, patience).await,
            Protocol::H2 => Box::pin(exchange_h2(lease, h2_request(head, &pool.target), body, patience)).await,
        };
        let lost = match exchanged {
            Ok(answer) => return Ok(answer),
            Err(lost) => lost,
        };
        let is_unprocessed = lost.failure.unprocessed().is_some() && unprocessed < UNPROCESSED;
        body = match lost.unsent {
            _ if !lost.failure.is_lost() => return Err(lost.failure),
            Some(unsent) if may_be_stale || is_unprocessed => unsent,
            None if has_no_body && (is_unprocessed || (may_be_stale && is_repeatable)) => RequestBody::empty(),
            None if is_unprocessed => match Box::pin(patience.again()).await {
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
        lease = Box::pin(pool.fresh(wanted)).await?;
    }
}

/// A request with a head like `head`, which is kept in case it must be sent again. `Host` moves into the target, and what
/// HTTP/2 has no use for is left out (RFC 9113 §8.2.2, §8.3.1).
fn h2_request(head: &RequestHead, target: &Target) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = head.fields.to_map_without(|name| matches!(*name, CONNECTION | UPGRADE | HOST));
    let host = head.fields.get(HOST);
    let mut parts = head.target.clone().into_parts();
    parts.scheme = Some(if target.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = host.and_then(|host| {
        if target.authority == *host {
            return Some(target.h2_authority.clone());
        }
        Authority::try_from(host).ok()
    });
    // A head that was made here has all three parts; what could not be joined is no request.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    request
}

/// A request without a response.
struct Lost {
    failure: Failure,
    /// The request's body, where the request never left.
    unsent: Option<RequestBody>,
}

impl From<Failure> for Lost {
    fn from(failure: Failure) -> Self {
        Self { failure, unsent: None }
    }
}

/// One attempt on one connection, driven here.
async fn exchange_h1(
    mut lease: Lease,
    head: &RequestHead,
    body: RequestBody,
    patience: &Patience,
) -> Result<Answer, Lost> {
    let began = Instant::now();
    lease.h1().ok_or(Failure::Malformed(None))?.begin(head, body);
    let head = std::future::poll_fn(|cx| {
        let Some(connection) = lease.h1() else { return Poll::Ready(Err(Failure::Malformed(None).into())) };
        match connection.poll_head(cx) {
            Poll::Ready(Ok(head)) => Poll::Ready(Ok(head)),
            Poll::Ready(Err(fault)) => {
                let unsent = connection.unsent();
                Poll::Ready(Err(Lost { failure: failure(fault), unsent }))
            }
            Poll::Pending if lease.is_due(patience.due(began), cx) => Poll::Ready(Err(patience.expired().into())),
            Poll::Pending => Poll::Pending,
        }
    })
    .await?;
    Ok((Response { head, body: None }, lease))
}

/// Why an exchange of HTTP/1.1 came to no response.
fn failure(fault: h1::Fault) -> Failure {
    match fault {
        h1::Fault::Malformed(_) => Failure::Malformed(Some(fault.into())),
        h1::Fault::Closed | h1::Fault::Io(_) => Failure::Lost(fault.into()),
        h1::Fault::Truncated | h1::Fault::Broken(_) => Failure::Incomplete(fault.into()),
        h1::Fault::Body => Failure::ClientBody,
    }
}

/// One attempt on one stream, driven here; a task drives its connection.
async fn exchange_h2(
    mut lease: Lease,
    request: Request<()>,
    body: RequestBody,
    patience: &Patience,
) -> Result<Answer, Lost> {
    let began = Instant::now();
    let stream = lease.h2().ok_or(Failure::Malformed(None))?;
    let mut exchange = Exchange::begin(stream, request, body).map_err(|(error, body)| {
        let failure = lost(error, &lease);
        Lost { failure, unsent: Some(body) }
    })?;
    let response = std::future::poll_fn(|cx| {
        let Some(stream) = lease.h2() else { return Poll::Ready(Err(Failure::Malformed(None))) };
        match exchange.poll_head(stream, cx) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
            Poll::Ready(Err(h2::Fault::Stream(error))) => Poll::Ready(Err(lost(error, &lease))),
            Poll::Ready(Err(h2::Fault::Body(error))) => {
                tracing::debug!(error = &*error as &dyn std::error::Error, "a request's body broke off");
                Poll::Ready(Err(Failure::ClientBody))
            }
            Poll::Pending if lease.is_due(patience.due(began), cx) => Poll::Ready(Err(patience.expired())),
            Poll::Pending => Poll::Pending,
        }
    })
    .await?;
    Ok((response.map(|body| Some(exchange.into_download(body))), lease))
}

/// Why a stream came to no response.
fn lost(error: ::h2::Error, lease: &Lease) -> Failure {
    let failure = Failure::of(error);
    if failure.unprocessed() == Some(Unprocessed::GoingAway) {
        lease.retire();
    }
    failure
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
}
