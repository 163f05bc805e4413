//! Connections that stop being HTTP: WebSocket and its like.

use http::{HeaderValue, header::UPGRADE};

use super::{body::Body, failure::Failure, pool::Lease, respond};
use crate::{
    listen::{Rewind, Tunnel},
    message::{Response, ResponseHead},
    reply,
};

/// The `101` for the client, with the tunnel that the server joins to the client's connection once it is out.
///
/// A tunnel has left the pool: it does not count against `max_connections`, and no timeout ends it.
///
/// # Errors
/// Where nobody asked for it, or for another protocol (RFC 9110 §7.8: the server must not switch to one that was not
/// asked for): such a 101 is no response that can be passed on.
pub(super) fn switch(
    mut head: Box<ResponseHead>,
    lease: Lease,
    asked: Option<&HeaderValue>,
) -> Result<Response<Body>, Failure> {
    let Some(asked) = asked else { return Err(Failure::Malformed(None)) };
    let protocol = head.fields.get(UPGRADE).map_or_else(|| Ok(asked.clone()), HeaderValue::from_bytes);
    let protocol = protocol.map_err(|_| Failure::Malformed(None))?;
    if !is_among(&protocol, asked) {
        return Err(Failure::Malformed(None));
    }
    let (first, stream) = lease.into_stream().ok_or(Failure::Malformed(None))?;
    head.reason = None;
    head.extensions.insert(Tunnel::new(Rewind::new(first, stream)));
    respond::switching(&mut head.fields, protocol);
    Ok(Response { head, body: Body::from(reply::Body::empty()) })
}

/// Whether `protocol` is one of those `asked` for, versions and case aside.
fn is_among(protocol: &HeaderValue, asked: &HeaderValue) -> bool {
    let name = |text: &str| text.split('/').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (Ok(protocol), Ok(asked)) = (protocol.to_str(), asked.to_str()) else { return false };
    asked.split(',').any(|asked| name(asked) == name(protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_switched_to() {
        for (protocol, asked, expected) in [
            ("websocket", "websocket", true),
            ("WebSocket", "websocket", true),
            ("b/2", "a, b/1", true),
            ("other", "websocket", false),
            ("", "websocket", false),
        ] {
            let value = HeaderValue::from_static;
            assert_eq!(is_among(&value(protocol), &value(asked)), expected, "{protocol} for {asked}");
        }
    }
}
