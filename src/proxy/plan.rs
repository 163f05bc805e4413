//! Settings made ready to be used by every worker: parsed addresses, TLS settings, prepared header values.
//!
//! Made once, off the request path: reading certificates blocks.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{
    HeaderValue, Uri,
    uri::{Authority, Scheme},
};
use rustls::pki_types::ServerName;

use super::{HttpVersion, Route, Settings, Upstream};
use crate::{
    cognito::egress::{self, Egress},
    tls,
};

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The address has no host, or a scheme other than http and https.
    #[error("{url}: an upstream is http://HOST[:PORT][/PATH] or https://…")]
    Url {
        /// The address.
        url: Uri,
    },
    /// `HTTPS_PROXY` names a proxy that is not spoken to.
    #[error("HTTPS_PROXY: {host} is to be reached by http://; name it so, or list the upstream in NO_PROXY")]
    Proxy {
        /// The proxy's host.
        host: String,
    },
    /// Certificates or keys.
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// Everything that a worker needs to know to forward.
#[derive(Debug)]
pub struct Plan {
    /// Longest path first; the default route is the last.
    pub(super) rules: Vec<Arc<Rule>>,
    /// `warn.response_header`.
    pub(super) session_header: bool,
    /// `limits.body_idle_timeout`.
    pub(super) body_idle_timeout: Duration,
}

/// One route.
#[derive(Debug)]
pub(super) struct Rule {
    /// The prefix without a slash at its end; empty for the default route.
    pub(super) prefix: String,
    pub(super) route: Route,
    pub(super) target: Arc<Target>,
}

/// One upstream.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) settings: Upstream,
    /// Name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// What `Host` says.
    pub(super) authority: HeaderValue,
    /// The same, as HTTP/2 has it.
    pub(super) h2_authority: Authority,
    /// `scheme://authority`, as browsers write an origin: without a default port.
    pub(super) origin: String,
    /// The path in `url`, without a slash at its end.
    pub(super) base: String,
    pub(super) tls: Option<Tls>,
    /// The proxy to go through.
    pub(super) tunnel: Option<Tunnel>,
}

/// How TLS is spoken with an upstream.
#[derive(Debug)]
pub(super) struct Tls {
    /// With the protocols that the settings allow.
    pub(super) any: Arc<rustls::ClientConfig>,
    /// With HTTP/1.1 alone, for what is to be upgraded.
    pub(super) h1: Arc<rustls::ClientConfig>,
    pub(super) name: ServerName<'static>,
}

/// A proxy that opens tunnels.
pub(super) struct Tunnel {
    pub(super) host: String,
    pub(super) port: u16,
    authorization: Option<HeaderValue>,
}

impl Tunnel {
    /// The request for a tunnel (RFC 9112 §3.2.3).
    pub(super) fn request(&self, host: &str, port: u16) -> Vec<u8> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(authorization.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        request
    }
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Plan {
    /// Makes `settings` ready; `egress` says which upstreams are reached through a proxy. Blocking.
    ///
    /// # Errors
    /// The first upstream that cannot be used.
    pub fn new(settings: &Settings, body_idle_timeout: Duration, egress: &Egress) -> Result<Self, PlanError> {
        let mut targets: Vec<Arc<Target>> = Vec::new();
        let mut rules = Vec::with_capacity(settings.routes.len() + 1);
        for route in settings.routes.iter().chain([&settings.default_route]) {
            // Routes to the same upstream share it, and so their connections.
            let known = targets.iter().find(|target| target.settings == route.upstream).cloned();
            let target = match known {
                Some(target) => target,
                None => Arc::new(Target::new(&route.upstream, egress)?),
            };
            targets.push(Arc::clone(&target));
            rules.push(Arc::new(Rule {
                prefix: route.path.trim_end_matches('/').to_owned(),
                route: route.clone(),
                target,
            }));
        }
        // A stable sort: of two equal prefixes the first in the file wins, and the default stays last among its like.
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.prefix.len()));
        Ok(Self { rules, session_header: settings.session_header, body_idle_timeout })
    }
}

impl Target {
    fn new(settings: &Upstream, egress: &Egress) -> Result<Self, PlanError> {
        let refused = || PlanError::Url { url: settings.url.clone() };
        let is_tls = match settings.url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(refused()),
        };
        let host = settings.url.host().filter(|host| !host.is_empty()).ok_or_else(refused)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let default_port = if is_tls { 443 } else { 80 };
        let port = settings.url.port_u16().unwrap_or(default_port);
        // Without user information, which must not go upstream as a name.
        let authority = if port == default_port { host.to_owned() } else { format!("{host}:{port}") };
        let scheme = if is_tls { "https" } else { "http" };
        let tls = if is_tls { Some(tls(settings, server_name(&bare).ok_or_else(refused)?)?) } else { None };
        let tunnel = match egress.proxy(&settings.url) {
            Some(proxy) => Some(tunnel(&proxy)?),
            None => None,
        };
        Ok(Self {
            settings: settings.clone(),
            host: bare,
            port,
            origin: format!("{scheme}://{}", authority.to_ascii_lowercase()),
            h2_authority: Authority::try_from(authority.as_str()).map_err(|_| refused())?,
            authority: HeaderValue::from_str(&authority).map_err(|_| refused())?,
            base: settings.url.path().trim_end_matches('/').to_owned(),
            tls,
            tunnel,
        })
    }
}

/// A proxy that is reached by TLS itself is rare, and not supported for upstreams.
fn tunnel(proxy: &egress::Proxy) -> Result<Tunnel, PlanError> {
    let refused = || PlanError::Proxy { host: proxy.uri.host().unwrap_or_default().to_owned() };
    let host = proxy.uri.host().filter(|_| proxy.uri.scheme() == Some(&Scheme::HTTP)).ok_or_else(refused)?;
    Ok(Tunnel {
        host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: proxy.uri.port_u16().unwrap_or(80),
        authorization: proxy.authorization.clone(),
    })
}

fn tls(settings: &Upstream, name: ServerName<'static>) -> Result<Tls, tls::Error> {
    let identity = settings.client_certificate.as_ref().map(|(chain, key)| (chain.as_path(), key.as_path()));
    let mut config = tls::client_config(settings.ca_file.as_deref().map(Path::new), identity)?;
    config.alpn_protocols = match settings.http {
        HttpVersion::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        HttpVersion::H1 => vec![b"http/1.1".to_vec()],
        HttpVersion::H2 => vec![b"h2".to_vec()],
    };
    let mut h1 = config.clone();
    h1.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls { any: Arc::new(config), h1: Arc::new(h1), name })
}

fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).ok()
}

/// The plan that all workers follow, and the only thing about it that they share: replaced at a reload.
#[derive(Debug)]
pub struct Routing {
    plan: ArcSwap<Plan>,
    version: AtomicU64,
}

impl Routing {
    /// A routing that begins with `plan`.
    #[must_use]
    pub fn new(plan: Plan) -> Arc<Self> {
        Arc::new(Self { plan: ArcSwap::from_pointee(plan), version: AtomicU64::new(1) })
    }

    /// Replaces the plan: requests that begin from now on follow the new one, those in flight finish by the old one.
    pub fn replace(&self, plan: Plan) {
        self.plan.store(Arc::new(plan));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Counts replacements, so that a worker sees with one load that nothing has changed.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }
}
