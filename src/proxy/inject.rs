//! The head that goes upstream. The token goes in last, so that nothing a client sends can take its place.

use std::{cell::RefCell, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Version,
    header::{CONNECTION, COOKIE, EXPECT, FORWARDED, HOST, MAX_FORWARDS, ORIGIN, REFERER, TE, UPGRADE, VIA},
};

use super::{
    Format,
    check::{self, Rare},
    hop,
    plan::Rule,
    route,
};
use crate::{
    listen::{Connection, Peer},
    message::{Fields, RequestHead, visible},
    reply::{Code, Refusal},
    session::{TokenKind, snapshot::Snapshot},
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What a request said for this hop, which the response needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Hop {
    /// The client takes trailers.
    pub(super) wants_trailers: bool,
    /// The protocol that it would switch to.
    pub(super) upgrade: Option<HeaderValue>,
    /// What the client calls us.
    pub(super) host: Option<Bytes>,
}

impl Hop {
    /// The origin that the client knows us by: `http://` and its Host.
    pub(super) fn local_origin(&self) -> Option<String> {
        local_origin(self.host.as_ref()?)
    }
}

/// What we add to `Via`: by which version of HTTP a message came, and who took it (RFC 9110 §7.6.3). Prepared, one for
/// each version.
#[derive(Debug)]
pub(super) struct Mark([HeaderValue; 3]);

impl Mark {
    /// For a process that calls itself `pseudonym`.
    pub(super) fn new(pseudonym: &str) -> Self {
        // Made of letters, digits and dashes: a header value for certain, and another one would only weaken `Via`.
        Self(["1.0", "1.1", "2.0"].map(|version| {
            HeaderValue::try_from(format!("{version} {pseudonym}"))
                .unwrap_or(HeaderValue::from_static("1.1 cognito-proxy"))
        }))
    }

    fn of(&self, version: Version) -> HeaderValue {
        let [old, http1, http2] = &self.0;
        match version {
            Version::HTTP_2 => http2.clone(),
            Version::HTTP_11 => http1.clone(),
            _ => old.clone(),
        }
    }
}

/// Turns a client's head into the upstream's, without the token.
pub(super) fn head(
    head: &mut RequestHead,
    rare: Rare,
    rule: &Rule,
    connection: &Connection,
    mark: &Mark,
) -> Result<Hop, Refusal> {
    let injected = rule.route.inject.as_ref().map(|inject| &inject.header);
    let host = host(head);
    let removed = hop::strip_request(&mut head.fields, injected);
    if removed.disguised > 0 {
        tracing::debug!(count = removed.disguised, "fields with an underscore were dropped");
    }
    head.target = route::target(rule, &head.target)
        .ok_or_else(|| Refusal::new(Code::BadRequest, "the request target is too long", "shorten it"))?;
    if let Some(left) = check::forwards_left(head) {
        head.fields.insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
    // The server answers the client's `100-continue`, when the body is first asked for.
    if rare.expect {
        head.fields.remove(EXPECT);
    }
    let upstream = &rule.target.settings;
    let sent_host = match &host {
        Some(host) if upstream.preserve_host => value(host)?,
        _ => rule.target.authority.clone(),
    };
    if (rare.origin || rare.referer)
        && !upstream.preserve_host
        && let Some(local) = host.as_ref().and_then(|host| local_origin(host))
    {
        rewrite_origin(&mut head.fields, rule, &local);
    }
    head.fields.insert(HOST, sent_host);
    head.fields.append(VIA, mark.of(head.version));
    if upstream.forwarded {
        forwarded(&mut head.fields, connection, host.as_ref());
    }
    let upgrade = removed.upgrade.filter(|protocol| is_tunnelled(head, protocol));
    reannounce(&mut head.fields, removed.wants_trailers, upgrade.as_ref());
    if head.version >= Version::HTTP_2 {
        join_cookies(&mut head.fields);
    }
    head.version = Version::HTTP_11;
    Ok(Hop { wants_trailers: removed.wants_trailers, upgrade, host })
}

fn local_origin(host: &[u8]) -> Option<String> {
    Some(format!("http://{}", visible(host)?))
}

/// What a client said, said again.
fn value(text: &Bytes) -> Result<HeaderValue, Refusal> {
    // A value for certain: it was one.
    HeaderValue::from_maybe_shared(text.clone())
        .map_err(|_| Refusal::new(Code::BadRequest, "the Host is no value of a header", "send another Host"))
}

/// What the client called us: the target's authority (HTTP/2, absolute-form), else `Host`.
fn host(head: &RequestHead) -> Option<Bytes> {
    match head.target.authority() {
        Some(authority) => Some(Bytes::copy_from_slice(authority.as_str().as_bytes())),
        None => head.fields.get_shared(HOST),
    }
}

/// `h2c` is not a tunnel: the request is served as HTTP/1.1 (RFC 9110 §7.8 lets a server ignore it).
fn is_tunnelled(head: &RequestHead, protocol: &HeaderValue) -> bool {
    head.version == Version::HTTP_11
        && !protocol.as_bytes().split(|byte| *byte == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

/// HTTP/2 may split `Cookie`; everywhere else it is one line (RFC 9113 §8.2.3).
fn join_cookies(fields: &mut Fields) {
    if fields.get_all(COOKIE).nth(1).is_none() {
        return;
    }
    let joined = fields.get_all(COOKIE).collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(cookie) = HeaderValue::from_bytes(&joined) {
        fields.insert(COOKIE, cookie);
    }
}

/// Says again, for the next hop, what was said for this one.
fn reannounce(fields: &mut Fields, wants_trailers: bool, upgrade: Option<&HeaderValue>) {
    if wants_trailers {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    match (upgrade, wants_trailers) {
        (Some(protocol), _) => {
            fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            fields.insert(UPGRADE, protocol.clone());
        }
        (None, true) => {
            fields.insert(CONNECTION, HeaderValue::from_static("te"));
        }
        (None, false) => {}
    }
}

/// A page that was served through the proxy has the proxy's origin; to the upstream that is its own.
fn rewrite_origin(fields: &mut Fields, rule: &Rule, local: &str) {
    let target = &rule.target;
    if fields.get(ORIGIN).is_some_and(|origin| origin.eq_ignore_ascii_case(local.as_bytes()))
        && let Ok(origin) = HeaderValue::from_str(&target.origin)
    {
        fields.insert(ORIGIN, origin);
    }
    let rewritten = fields.get(REFERER).and_then(|referer| {
        let path = visible(referer)?.strip_prefix(local)?;
        if !path.is_empty() && !path.starts_with('/') {
            return None;
        }
        HeaderValue::from_str(&format!("{}{}{path}", target.origin, target.base)).ok()
    });
    if let Some(referer) = rewritten {
        fields.insert(REFERER, referer);
    }
}

fn forwarded(fields: &mut Fields, connection: &Connection, host: Option<&Bytes>) {
    let address = match connection.peer {
        Peer::Tcp(address) => Some(address.ip()),
        Peer::Unix { .. } => None,
    };
    // RFC 7239 §6: an IPv6 address is quoted and bracketed, and who has no address is "unknown".
    let node = match address {
        Some(std::net::IpAddr::V6(address)) => format!("\"[{address}]\""),
        Some(address) => address.to_string(),
        None => "unknown".into(),
    };
    let host_text = host.and_then(|host| visible(host));
    let text = match host_text {
        Some(host) => format!("for={node};proto=http;host=\"{host}\""),
        None => format!("for={node};proto=http"),
    };
    if let Ok(value) = HeaderValue::from_str(&text) {
        fields.insert(FORWARDED, value);
    }
    if let Some(value) = address.and_then(|address| HeaderValue::from_str(&address.to_string()).ok()) {
        fields.insert(X_FORWARDED_FOR, value);
    }
    if let Some(host) = host.and_then(|host| value(host).ok()) {
        fields.insert(X_FORWARDED_HOST, host);
    }
    fields.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
}

/// The value to inject, prepared once for each published snapshot.
#[derive(Debug, Default)]
pub(super) struct Prepared(RefCell<Option<(Arc<Snapshot>, HeaderValue)>>);

impl Prepared {
    /// The value that `format` makes of the token of `kind`.
    pub(super) fn value(
        &self,
        snapshot: &Arc<Snapshot>,
        kind: TokenKind,
        format: &Format,
    ) -> Result<HeaderValue, Refusal> {
        let mut prepared = self.0.borrow_mut();
        if let Some((of, value)) = &*prepared
            && Arc::ptr_eq(of, snapshot)
        {
            return Ok(value.clone());
        }
        let refused =
            || Refusal::new(Code::RefreshFailing, "the token cannot be put into a header", snapshot.command("status"));
        let token = snapshot.token(kind).ok_or_else(refused)?;
        let text = [format.prefix.as_str(), token.jwt.expose(), format.suffix.as_str()].concat();
        let mut value = HeaderValue::try_from(text).map_err(|_| refused())?;
        value.set_sensitive(true);
        *prepared = Some((Arc::clone(snapshot), value.clone()));
        Ok(value)
    }
}
