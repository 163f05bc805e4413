//! From `[listen]` to bound sockets.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    path::Path,
};

use super::{
    Address, Endpoint, Error, Passed, Settings,
    claim::{claim, local},
};

/// Who claims addresses: the profile, and where its locks lie.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The runtime directory; made with mode 0700 where it is missing.
    pub runtime_dir: &'a Path,
    /// The profile's name, which a second instance is told.
    pub profile: &'a str,
}

/// Everything that is listened on.
#[derive(Debug)]
pub struct Bound {
    /// For `listen.proxy`; never empty.
    pub proxy: Vec<Endpoint>,
    /// For `listen.admin`; empty for `"off"`.
    pub admin: Vec<Endpoint>,
    /// The names of sockets that systemd passed and no key asks for. Clients may connect to them, and nobody answers.
    pub unused: Vec<String>,
}

/// Claims and binds all addresses of `settings`. Blocking, and to be called before workers start.
///
/// # Errors
/// The first address that cannot be had.
pub fn bind(settings: &Settings, owner: Owner<'_>, mut passed: Passed) -> Result<Bound, Error> {
    let binding = Binding { owner, allow_remote: settings.allow_remote };
    let proxy = if settings.proxy_is_default && passed.has("proxy") {
        vec![Address::Systemd("proxy".into())]
    } else {
        settings.proxy.clone()
    };
    let admin = match &settings.admin {
        Some(_) if settings.admin_is_default && passed.has("admin") => Some(Address::Systemd("admin".into())),
        admin => admin.clone(),
    };
    Ok(Bound {
        proxy: binding.all("listen.proxy", &proxy, settings.proxy_is_default, &mut passed)?,
        admin: binding.all("listen.admin", admin.as_slice(), settings.admin_is_default, &mut passed)?,
        unused: passed.names(),
    })
}

#[derive(Clone, Copy)]
struct Binding<'a> {
    owner: Owner<'a>,
    allow_remote: bool,
}

impl Binding<'_> {
    fn all(
        self,
        key: &'static str,
        addresses: &[Address],
        is_default: bool,
        passed: &mut Passed,
    ) -> Result<Vec<Endpoint>, Error> {
        let mut endpoints = Vec::new();
        let mut missing = None;
        for address in addresses {
            match address {
                Address::Unix(path) => endpoints.push(Endpoint::unix(key, path)?),
                Address::Systemd(name) => {
                    let sockets = passed.take(name);
                    if sockets.is_empty() {
                        return Err(Error::NotPassed { key, name: name.clone() });
                    }
                    for socket in sockets {
                        endpoints.push(Endpoint::passed(key, name, socket)?);
                    }
                }
                Address::Tcp { host, port } => {
                    let optional = is_default || host.eq_ignore_ascii_case("localhost");
                    for endpoint in self.tcp(key, host, *port)? {
                        match endpoint {
                            Err(error @ Error::Unavailable { .. }) if optional => {
                                tracing::info!(%address, key, "address skipped, this machine lacks its family");
                                missing = Some(error);
                            }
                            endpoint => endpoints.push(endpoint?),
                        }
                    }
                }
            }
        }
        // A family may be missing, but not all of them.
        match missing {
            Some(error) if endpoints.is_empty() => Err(error),
            _ => Ok(endpoints),
        }
    }

    fn tcp(self, key: &'static str, host: &str, port: u16) -> Result<Vec<Result<Endpoint, Error>>, Error> {
        let addresses =
            resolve(host, port).map_err(|source| Error::Resolve { key, address: format!("{host}:{port}"), source })?;
        let mut chosen = port;
        let mut endpoints = Vec::new();
        for mut address in addresses {
            if !address.ip().is_loopback() && !self.allow_remote {
                return Err(Error::Remote { key, address: address.to_string() });
            }
            // Port 0 of `localhost` is one port on both loopbacks.
            address.set_port(chosen);
            let endpoint = claim(key, address, self.owner).and_then(|(claim, socket)| {
                let failed = |source| Error::Socket { key, address: address.to_string(), source };
                chosen = local(&socket).map_err(failed)?.port();
                Endpoint::tcp(claim, &socket).map_err(failed)
            });
            endpoints.push(endpoint);
        }
        Ok(endpoints)
    }
}

/// `localhost` is both loopbacks, whatever a resolver says (RFC 6761 §6.3).
fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if host.eq_ignore_ascii_case("localhost") {
        let loopbacks = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(loopbacks.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests;
