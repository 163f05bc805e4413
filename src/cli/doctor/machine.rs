//! What can be seen on this machine: the configuration, the store, the ports, the session's clocks.

use std::{io, net::TcpListener};

use super::finding::Finding;
use crate::{
    cli::{Exit, clocks, status, verdict},
    clock::{Clock as _, SystemClock},
    config::Config,
    listen::Address,
    session::{
        Basis,
        status::{Report, StateName},
    },
    store,
};

/// All of it.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut all = vec![configuration(config)];
    all.extend(config.notices.iter().map(|notice| Finding::notable("configuration", notice.clone(), None)));
    let is_running = store::running_pid(config.store.path());
    match &is_running {
        Ok(Some(pid)) => all.push(Finding::sound("proxy", format!("runs, process id {pid}"))),
        Ok(None) => {
            all.push(Finding::notable("proxy", "does not run", Some(&config.command("run"))));
            all.extend(ports(config));
        }
        // What is wrong with the place is the store's to say.
        Err(_) => {}
    }
    all.extend(session(config));
    let store = config.store.open();
    all.extend(store.caveat().map(|caveat| doubtful(&store.location(), caveat)));
    if config.signin.domain.is_some() {
        all.push(redirects(&config.signin.redirect_uris));
    }
    all
}

fn configuration(config: &Config) -> Finding {
    let source = config.file.as_ref().map_or_else(|| "the environment".into(), |file| file.display().to_string());
    Finding::sound("configuration", format!("{source}, profile {}", config.profile))
}

/// Whether what is to be listened on can be had.
fn ports(config: &Config) -> Vec<Finding> {
    let addresses = config.listen.proxy.iter().chain(config.listen.admin.as_ref());
    let mut taken: Vec<Finding> = addresses.filter_map(port).collect();
    if taken.is_empty() {
        taken.push(Finding::sound("ports", "free"));
    }
    taken
}

fn port(address: &Address) -> Option<Finding> {
    let Address::Tcp { host, port } = address else { return None };
    match TcpListener::bind((host.as_str(), *port)) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Some(Finding::wrong(
            "ports",
            Exit::Config,
            format!("{address} is taken by another program"),
            "stop it, or set listen.proxy and listen.admin to other ports",
        )),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(Finding::wrong(
            "ports",
            Exit::Config,
            format!("{address} is not for this user: {error}"),
            "choose a port from 1024 on",
        )),
        // A family that the machine lacks is for `run` to judge.
        Ok(_) | Err(_) => None,
    }
}

/// The clocks, and the store that they are in.
fn session(config: &Config) -> Vec<Finding> {
    let report = match status::look(config) {
        Ok(report) => report,
        Err(error) => {
            let fix = error.fix().unwrap_or_else(|| "see the message".into());
            return vec![Finding::wrong("store", error.exit(), error.to_string(), fix)];
        }
    };
    let now = SystemClock.now().wall;
    let exit = verdict::of(&report, None);
    // Nobody's session has no clocks.
    let clocks = report.identity.as_ref().map(|_| clocks::in_brief(&report, now)).unwrap_or_default();
    let said = clocks.iter().map(|(name, said)| format!("{}: {said}", name.to_lowercase()));
    let short = [report.state.as_str().replace('_', " ")].into_iter().chain(said).collect::<Vec<_>>().join(", ");
    let mut all = vec![match exit {
        Exit::Ok => Finding::sound("session", short),
        exit => {
            let fix = report.warning.fix.clone().unwrap_or_else(|| config.command("login"));
            let fix = if report.state == StateName::Locked { config.command("unlock") } else { fix };
            Finding::wrong("session", exit, short, fix)
        }
    }];
    all.extend(basis(&report));
    if report.unpersisted_rotation {
        let fix = format!("make room for, or allow writing to, {}", config.store.path().display());
        all.push(Finding::wrong("store", Exit::StoreUnwritable, "a rotated refresh token is in memory alone", fix));
    }
    all
}

/// A place that may be used, and is not the best: what the proxy says of it at its start.
fn doubtful(store: &str, caveat: &str) -> Finding {
    match caveat.split_once(": ") {
        Some((what, fix)) => Finding::notable("store", format!("{store}: {what}"), Some(fix)),
        None => Finding::notable("store", format!("{store}: {caveat}"), None),
    }
}

/// How the end of the session is known.
fn basis(report: &Report) -> Option<Finding> {
    let better = "set cognito.refresh_token_validity to the app client's setting";
    let said = match report.refresh_token.basis {
        _ if report.state == StateName::SignedOut => return None,
        Basis::Assumed => "the session's end is assumed: 30 days after the sign-in, which is Cognito's default",
        Basis::Unknown => "the session's end is not known",
        Basis::Configured | Basis::PoolSetting | Basis::Observed => return None,
    };
    Some(Finding::notable("session", said, Some(better)))
}

/// Whether a browser could come back from a sign-in.
fn redirects(uris: &[String]) -> Finding {
    let port_of = |uri: &String| uri.parse::<http::Uri>().ok()?.port_u16();
    let free = uris.iter().find(|uri| port_of(uri).is_none_or(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()));
    match free {
        Some(uri) => {
            Finding::sound("redirect", format!("{uri}; it has to be registered with the app client, to the letter"))
        }
        None => Finding::wrong(
            "redirect",
            Exit::Other,
            format!("the ports of {} are taken", uris.join(", ")),
            "stop what listens there, or register another redirect URI and add it to cognito.redirect_uris",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_doubtful_about_the_store_is_a_note_with_its_fix() {
        let said = "it lies on a network file system: set store.path to a local disk";
        let better = "set store.path to a local disk";
        let seen = "/home/a/proxy.json: it lies on a network file system";
        assert_eq!(doubtful("/home/a/proxy.json", said), Finding::notable("store", seen, Some(better)));
        assert_eq!(doubtful("the keyring", "odd"), Finding::notable("store", "the keyring: odd", None));
    }
}
