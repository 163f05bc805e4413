//! The check itself: what may become of a request, told from its head and the facts of its connection.
//!
//! Pure. The order is fixed: Host, peer, Origin and Fetch Metadata, preflight, client key, required header. A preflight
//! comes before the last two because a browser cannot put anything into it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::{
    HeaderName, Method, Response, Version,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, HOST, ORIGIN, REFERER},
};

use super::{
    ClientKey, Cors, HostPattern, Origin, Peer, Settings, Users,
    authority::{Authority, Host},
    client_key::CLIENT_KEY,
    cors, origin, refusal,
};
use crate::{
    message::{Fields, RequestHead, visible},
    reply::Refusal,
};

/// Which other pages may have asked (Fetch Metadata Request Headers, §2.3).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The facts of a connection, found out once when it is accepted. Every listener speaks plain HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Where it came in.
    pub local: Local,
    /// Who made it.
    pub peer: Peer,
}

/// Where a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// The address that the client connected to, which is more than the listener's where that is bound to all.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict {
    /// It goes on.
    Admitted(Admitted),
    /// It is a preflight, and this is its whole answer; nothing is forwarded and no token is needed.
    Preflight(Response<()>),
    /// It is answered with the refusal; nothing is forwarded.
    Refused(Refused),
}

/// A request that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The listed origin that may read the response, whoever makes it. A page that was served through the proxy
    /// itself needs none.
    pub cors: Option<Cors>,
}

/// A request that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// The listed origin that may read why.
    pub cors: Option<Cors>,
}

/// What kind of listener a guard stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Post {
    /// The proxy's: requests that go out with a token.
    Proxy,
    /// The admin listener's. No page but its own may use it, and `guard.origins` does not apply. `/livez` and `/readyz`
    /// answer anybody, since they say nothing, and an orchestrator's probe knows neither names nor keys.
    Admin,
}

/// `[guard]`, ready to check the requests of one kind of listener.
#[derive(Clone, Debug)]
pub struct Guard {
    post: Post,
    hosts: Vec<HostPattern>,
    own: Vec<HostPattern>,
    origins: Vec<Origin>,
    users: Users,
    client_key: Option<ClientKey>,
    require_header: Option<HeaderName>,
}

impl Guard {
    /// The guard of listeners that are reached as `own`: what `listen` calls each, with the port that it really has.
    #[must_use]
    pub fn new(post: Post, settings: &Settings, users: Users, own: Vec<HostPattern>) -> Self {
        Self {
            post,
            hosts: settings.hosts.clone(),
            // "0.0.0.0" is where one listens, not a name: browsers have let pages reach local servers by it.
            own: own.into_iter().filter(|pattern| !pattern.is_unspecified()).collect(),
            origins: settings.origins.clone(),
            users,
            client_key: settings.client_key.clone(),
            require_header: settings.require_header.clone(),
        }
    }

    /// What becomes of a request with this head on this connection.
    #[must_use]
    pub fn check(&self, connection: &Connection, head: &RequestHead) -> Verdict {
        let (listed, decision) = match self.post {
            Post::Proxy => {
                let listed = self.listed_origin(&head.fields);
                (listed, self.admit(connection, head, listed))
            }
            Post::Admin => (None, self.admit_admin(connection, head)),
        };
        decision.unwrap_or_else(|refusal| Verdict::Refused(Refused { refusal, cors: listed.map(Cors::new) }))
    }

    /// Takes out of a response that nobody listed asked for what would let a page read it.
    ///
    /// Such a request came from no page, or from one that needs no leave; but a browser may keep the response and show
    /// it to another page that shares its cache, without asking here again. Where origins are listed, what is kept for
    /// nobody in particular must not be shown to them either, for they need leave in it (Fetch standard, "CORS protocol
    /// and HTTP caches").
    pub fn seal(&self, fields: &mut Fields) {
        if self.post == Post::Proxy {
            fields.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
            if !self.origins.is_empty() {
                cors::vary(fields, "Origin");
            }
        }
    }

    fn admit_admin(&self, connection: &Connection, head: &RequestHead) -> Result<Verdict, Refusal> {
        let admitted = Verdict::Admitted(Admitted { cors: None });
        if matches!(head.target.path(), "/livez" | "/readyz") {
            return Ok(admitted);
        }
        let authority = self.authority(connection, head)?;
        self.check_peer(connection.peer)?;
        let is_own = |value: &[u8]| visible(value).is_some_and(|text| origin::is_own(text, &authority));
        if let Some(foreign) = head.fields.get_all(ORIGIN).find(|value| !is_own(value)) {
            return Err(refusal::admin_origin(foreign));
        }
        let is_own_page =
            |value: &[u8]| visible(value).is_some_and(|text| origin::is_own(origin::of_referer(text), &authority));
        if !is_from_here(&head.fields) || !head.fields.get_all(REFERER).all(is_own_page) {
            return Err(refusal::admin_site());
        }
        // A browser on this machine cannot send the key, and its user has been checked.
        if connection.peer == Peer::Remote {
            self.check_client_key(&head.fields)?;
        }
        Ok(admitted)
    }

    fn admit(&self, connection: &Connection, head: &RequestHead, listed: Option<&Origin>) -> Result<Verdict, Refusal> {
        // The target of CONNECT is somebody else by its nature. Extended CONNECT (RFC 8441) has a path.
        if head.method == Method::CONNECT && head.target.path_and_query().is_none() {
            return Err(refusal::connect());
        }
        let authority = self.authority(connection, head)?;
        self.check_peer(connection.peer)?;
        self.check_site(&head.fields, &authority, listed)?;
        if head.method == Method::OPTIONS
            && let Some(answer) = listed.and_then(|origin| Cors::new(origin).preflight(&head.fields))
        {
            return Ok(Verdict::Preflight(answer));
        }
        self.check_client_key(&head.fields)?;
        if let Some(required) = self.require_header.as_ref().filter(|name| !head.fields.contains(*name)) {
            return Err(refusal::header(required));
        }
        Ok(Verdict::Admitted(Admitted { cors: listed.map(Cors::new) }))
    }

    /// The authority that a request is for, where it is one of ours.
    ///
    /// An absolute target counts with HTTP/1.1 as well, and must then be what Host says: stricter than RFC 9112
    /// §3.2.2, which ignores Host, because nobody honest sends two that differ.
    fn authority<'h>(&self, connection: &Connection, head: &'h RequestHead) -> Result<Authority<'h>, Refusal> {
        let is_h2 = head.version >= Version::HTTP_2;
        let host = host_header(&head.fields)?;
        let target = match head.target.authority() {
            Some(target) => Some(Authority::parse(target.as_str()).map_err(refusal::bad_host)?),
            None => None,
        };
        let authority = match (target, host) {
            (Some(target), Some(host)) if target != host && is_h2 => return Err(refusal::authority_differs()),
            (Some(target), Some(host)) if target != host => return Err(refusal::target_differs()),
            (_, Some(host)) => host,
            (Some(target), None) if is_h2 => target,
            (_, None) => return Err(refusal::no_host()),
        };
        if self.is_ours(connection.local, &authority) { Ok(authority) } else { Err(refusal::host(&authority)) }
    }

    fn is_ours(&self, local: Local, authority: &Authority<'_>) -> bool {
        let port = authority.port;
        let reached_by = |own: &HostPattern| {
            let here = matches!(local, Local::Tcp(address) if port == Some(address.port()));
            own.host() == authority.host && (port.is_none() || port == own.port() || here)
        };
        let implied = match local {
            Local::Tcp(address) => {
                (is_localhost(authority.host) || authority.host == Host::Ip(address.ip().to_canonical()))
                    && port.is_none_or(|port| port == address.port())
            }
            // A Unix socket has no port; a forwarder before it may have that of a listener.
            Local::Unix => {
                is_localhost(authority.host) && (port.is_none() || self.own.iter().any(|own| own.port() == port))
            }
        };
        implied || self.own.iter().any(reached_by) || self.hosts.iter().any(|pattern| pattern.admits(authority))
    }

    fn check_peer(&self, peer: Peer) -> Result<(), Refusal> {
        match peer {
            Peer::Uid(uid) if !self.users.admits(uid) => Err(refusal::user(uid)),
            Peer::Unknown if !self.users.is_any() => Err(refusal::unknown_user()),
            Peer::Remote if self.client_key.is_none() => Err(refusal::remote()),
            Peer::Uid(_) | Peer::Unknown | Peer::Remote | Peer::Unnamed => Ok(()),
        }
    }

    /// The entry of `guard.origins` that sent this request, letter for letter.
    fn listed_origin(&self, fields: &Fields) -> Option<&Origin> {
        if self.origins.is_empty() {
            return None;
        }
        self.listed(single(fields, &ORIGIN)?)
    }

    fn listed(&self, origin: &[u8]) -> Option<&Origin> {
        self.origins.iter().find(|listed| listed.as_str().as_bytes() == origin)
    }

    /// Whether the page that made this request, if one did, may make it. Safe methods are no exception: here a GET
    /// reads what the token opens.
    fn check_site(&self, fields: &Fields, authority: &Authority<'_>, listed: Option<&Origin>) -> Result<(), Refusal> {
        // Most requests come from no page. One look at each name is less than a search for one.
        let says_who_asks = |name: &HeaderName| *name == ORIGIN || *name == SEC_FETCH_SITE;
        if listed.is_some() || !fields.names().any(says_who_asks) {
            return Ok(());
        }
        if let Some(value) = fields.get(ORIGIN) {
            let own = single(fields, &ORIGIN).and_then(visible);
            return if own.is_some_and(|text| origin::is_own(text, authority)) {
                Ok(())
            } else {
                Err(refusal::origin(value))
            };
        }
        if is_from_here(fields) {
            return Ok(());
        }
        // A page can withhold its Referer but not forge it.
        let referer = single(fields, &REFERER).and_then(visible);
        let listed = referer.and_then(|referer| self.listed(origin::of_referer(referer).as_bytes()));
        listed.map(|_| ()).ok_or_else(refusal::cross_site)
    }

    fn check_client_key(&self, fields: &Fields) -> Result<(), Refusal> {
        match &self.client_key {
            Some(key) if !key.is_in(fields) => Err(refusal::client_key(fields.contains(CLIENT_KEY))),
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether Fetch Metadata, where a browser sends it, says that no other site asks. A word that is not known yet counts
/// as another site.
fn is_from_here(fields: &Fields) -> bool {
    fields.get_all(SEC_FETCH_SITE).all(|site| matches!(site, b"same-origin" | b"none"))
}

/// The value of a header that is there exactly once.
fn single<'h>(fields: &'h Fields, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = fields.get_all(name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

fn is_localhost(host: Host<'_>) -> bool {
    match host {
        Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
        Host::Ip(address) => address == IpAddr::V4(Ipv4Addr::LOCALHOST) || address == IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

fn host_header(fields: &Fields) -> Result<Option<Authority<'_>>, Refusal> {
    let mut values = fields.get_all(HOST);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(refusal::many_hosts());
    }
    let text = visible(value).ok_or_else(refusal::odd_host)?;
    Authority::parse(text).map(Some).map_err(refusal::bad_host)
}

#[cfg(test)]
mod promises;
#[cfg(test)]
mod tests;
