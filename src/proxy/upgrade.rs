//! Connections that stop being HTTP: WebSocket and its like.

use http::{HeaderValue, Response, header::UPGRADE};
use hyper::body::Incoming;

use super::{body::Body, failure::Failure, pool::Lease, respond};
use crate::{
    listen::{Rewind, Tunnel},
    reply,
};

/// The `101` for the client, with the tunnel that the server joins to the client's connection once it is out.
///
/// A tunnel has left the pool: it does not count against `max_connections`, and no timeout ends it.
///
/// # Errors
/// Where nobody asked for it: an unsolicited 101 is no response that can be passed on (RFC 9110 §15.2.2).
pub(super) async fn switch(
    response: Response<Incoming>,
    lease: Lease,
    asked: Option<&HeaderValue>,
) -> Result<Response<Body>, Failure> {
    let Some(asked) = asked else { return Err(Failure::Malformed(None)) };
    let (head, body) = response.into_parts();
    drop(body);
    let protocol = head.headers.get(UPGRADE).unwrap_or(asked).clone();
    let (first, stream) = lease.into_stream().await.ok_or(Failure::Malformed(None))?;
    let mut response = Response::from_parts(head, Body::from(reply::Body::empty()));
    response.extensions_mut().clear();
    response.extensions_mut().insert(Tunnel::new(Rewind::new(first, stream)));
    respond::switching(response.headers_mut(), protocol);
    Ok(response)
}
