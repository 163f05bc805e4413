//! `[upstream]`: where requests go, and how.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use http::Uri;

use super::{Context, listen, placed};
use crate::{
    config::{file, kinds::RawPath, locate::reason, problem::Problem, reader::Setting, secret_file, url},
    listen::{Address, Settings as Listeners},
    proxy::Upstream,
    tls,
};

/// A connection that takes longer than this is none.
const CONNECT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(600));

/// Beyond a day a timeout is a slip of the unit.
pub(super) const TIMEOUT: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(86_400));

/// Sockets are few: more to one upstream, of each worker, is more than any machine has ports for.
const CONNECTIONS: (u64, u64) = (1, 65_535);

/// Resolves `[upstream]`; `None` where it has no usable URL.
pub(in crate::config) fn resolve(
    context: &mut Context<'_, '_>,
    file: &file::Upstream,
    listeners: &Listeners,
) -> Option<Upstream> {
    let timeout = TIMEOUT.0..=TIMEOUT.1;
    let connect_timeout = context.duration(&file.connect_timeout, &(CONNECT.0..=CONNECT.1));
    let response_header_timeout = context.duration(&file.response_header_timeout, &timeout);
    let idle_timeout = context.duration(&file.idle_timeout, &timeout);
    let max_connections = context.number(&file.max_connections, CONNECTIONS.0..=CONNECTIONS.1);
    let ca_file = certificates(context, &file.ca_file);
    let client_certificate = client_certificate(context, file);
    usable(context, file, ca_file.as_deref(), client_certificate.as_ref());
    let text = context.required(&file.url, "url = \"https://api.example.com\"")?;
    let url = address(context, &file.url, &text, file, listeners)?;
    Some(Upstream {
        url,
        http: file.http.value.0,
        preserve_host: file.preserve_host.value,
        forwarded: file.forwarded.value,
        ca_file,
        client_certificate,
        connect_timeout,
        response_header_timeout,
        idle_timeout,
        max_connections,
        cookies: file.cookies.value.0,
        rewrite_location: file.rewrite_location.value,
    })
}

/// A URL to send requests to, of `[upstream]` or of a route.
pub(super) fn address<T>(
    context: &mut Context<'_, '_>,
    setting: &Setting<T>,
    text: &str,
    file: &file::Upstream,
    listeners: &Listeners,
) -> Option<Uri> {
    let uri = match url::parse(text) {
        Ok(uri) => uri,
        Err(problem) => {
            context.push(placed(setting, problem));
            return None;
        }
    };
    if !url::is_safe(&uri, file.allow_plaintext.value) {
        context.push(
            setting
                .problem("is plain http:// to a host beyond this machine: everybody on the way could read the token")
                .fix("write https://, or set `upstream.allow_plaintext = true`"),
        );
        return None;
    }
    if !url::is_safe(&uri, false) {
        context.notices.push(format!("upstream.allow_plaintext = true: tokens go to {uri} in plain text"));
    }
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    if let Some(Address::Tcp { host, port }) = listen::own(listeners, uri.host().unwrap_or_default(), port) {
        context.push(
            setting
                .problem(format!("leads back to this proxy, which listens on {host} port {port}"))
                .fix("name the service itself, or listen elsewhere"),
        );
        return None;
    }
    Some(uri)
}

/// Whether TLS can be made of these files: a certificate that is none, a key that belongs to another certificate.
fn usable(
    context: &mut Context<'_, '_>,
    file: &file::Upstream,
    ca_file: Option<&Path>,
    identity: Option<&(PathBuf, PathBuf)>,
) {
    if ca_file.is_none() && identity.is_none() {
        return;
    }
    let identity = identity.map(|(chain, key)| (chain.as_path(), key.as_path()));
    // A machine without a trust store is no mistake in the configuration, and is found at start.
    if let Err(tls::Error::File { path, problem }) = tls::client_config(ca_file, identity) {
        let setting = match identity {
            Some((chain, _)) if path == chain => &file.client_cert_file,
            Some((_, key)) if path == key => &file.client_key_file,
            _ => &file.ca_file,
        };
        let problem = setting.problem(format!("names {}, which is of no use: {problem}", path.display()));
        context.push(problem.fix("name the right PEM file"));
    }
}

fn client_certificate(context: &mut Context<'_, '_>, file: &file::Upstream) -> Option<(PathBuf, PathBuf)> {
    let certificate = certificates(context, &file.client_cert_file);
    let key = private_key(context, &file.client_key_file);
    for (one, other) in
        [(&file.client_cert_file, &file.client_key_file), (&file.client_key_file, &file.client_cert_file)]
    {
        if one.is_set() && !other.is_set() {
            let problem = one.problem(format!("needs `{}` beside it", other.key));
            context.push(problem.fix("set both, or neither"));
        }
    }
    certificate.zip(key)
}

/// A file of PEM certificates.
fn certificates(context: &mut Context<'_, '_>, setting: &Setting<Option<RawPath>>) -> Option<PathBuf> {
    let path = context.path(setting)?;
    let shown = path.display();
    let problem = match fs::read(&path) {
        Ok(bytes) if String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----") => return Some(path),
        Ok(_) => Problem::new(format!("names {shown}, which holds no PEM certificate"))
            .fix("name a file with -----BEGIN CERTIFICATE-----"),
        Err(error) => Problem::new(format!("names {shown}, which cannot be read: {}", reason(&error)))
            .fix("name a file that this user can read"),
    };
    context.push(placed(setting, problem));
    None
}

/// A file with a PEM private key, kept as a secret is.
fn private_key(context: &mut Context<'_, '_>, setting: &Setting<Option<RawPath>>) -> Option<PathBuf> {
    let path = context.path(setting)?;
    let problem = match secret_file::guarded(&path, context.environment) {
        Ok(text) if text.contains("PRIVATE KEY-----") => return Some(path),
        Ok(_) => Problem::new(format!("names {}, which holds no PEM private key", path.display()))
            .fix("name a file with -----BEGIN PRIVATE KEY-----"),
        Err(problem) => problem,
    };
    context.push(placed(setting, problem));
    None
}
