//! `[listen]`: the grammar of addresses, and what an address beyond loopback needs.

use super::{Context, is_visible, placed};
use crate::{
    config::{
        file::{Guard, Listen},
        place::Place,
        problem::Problem,
        reader::Setting,
        url,
    },
    listen::{Address, Settings},
};

/// `sun_path` holds this many bytes and a NUL (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;

/// Resolves both listeners.
pub(in crate::config) fn resolve(context: &mut Context<'_, '_>, file: &Listen, guard: &Guard) -> Settings {
    let mut proxy = Vec::new();
    if file.proxy.sound && file.proxy.value.is_empty() {
        context.push(file.proxy.problem("is empty").fix("list at least one address: [\"127.0.0.1:8900\"]"));
    }
    for item in &file.proxy.value {
        let place = item.node.place.clone();
        let at = |problem: Problem| placed(&file.proxy, problem.at(place.clone()));
        match address(context, &place, &item.value) {
            Err(problem) => {
                context.push(at(Problem { message: format!("has an item that {}", problem.message), ..problem }));
            }
            Ok(address) if is_shared(&address) && proxy.contains(&address) => {
                context.push(at(Problem::new(format!("lists {:?} twice", item.value)).fix("remove one of the two")));
            }
            Ok(address) => {
                if let Some(problem) = exposure(&address, &item.value, file, guard) {
                    context.push(at(problem));
                }
                proxy.push(address);
            }
        }
    }
    let admin = admin(context, file, guard, &proxy);
    Settings {
        proxy,
        proxy_is_default: !file.proxy.is_set(),
        admin,
        admin_is_default: !file.admin.is_set(),
        allow_remote: file.allow_remote.value,
    }
}

fn admin(context: &mut Context<'_, '_>, file: &Listen, guard: &Guard, proxy: &[Address]) -> Option<Address> {
    let text = file.admin.value.0.as_ref()?;
    let address = match address(context, &file.admin.place, text) {
        Ok(address) => address,
        Err(problem) => {
            let fix = problem.fix.clone().unwrap_or_default();
            context.push(placed(&file.admin, problem.fix(format!("{fix}, or \"off\""))));
            return None;
        }
    };
    if is_shared(&address) && proxy.contains(&address) {
        let problem = file.admin.problem(format!("is {text:?}, which `listen.proxy` has already"));
        context.push(problem.fix("give it an address of its own, or \"off\""));
    }
    if let Some(problem) = exposure(&address, text, file, guard) {
        context.push(placed(&file.admin, problem));
    }
    Some(address)
}

/// Port 0 is another port each time.
fn is_shared(address: &Address) -> bool {
    !matches!(address, Address::Tcp { port: 0, .. })
}

/// What an address beyond loopback lacks.
fn exposure(address: &Address, text: &str, file: &Listen, guard: &Guard) -> Option<Problem> {
    let Address::Tcp { host, .. } = address else { return None };
    let lacks = |setting: &Setting<bool>| !setting.value && setting.sound;
    let needs_key = !guard.client_key_file.is_set();
    if url::is_loopback(host) || !(lacks(&file.allow_remote) || needs_key) {
        return None;
    }
    let fix = match (lacks(&file.allow_remote), needs_key) {
        (true, true) => "set `listen.allow_remote = true` and `guard.client_key_file`, or listen on 127.0.0.1",
        (true, false) => "set `listen.allow_remote = true`, or listen on 127.0.0.1",
        (false, _) => "set `guard.client_key_file`, so that not everybody who reaches the port acts as the user",
    };
    Some(Problem::new(format!("has {text:?}, which other machines can reach")).fix(fix))
}

/// Reads an address, and says what was meant where it is none.
fn address(context: &Context<'_, '_>, place: &Place, text: &str) -> Result<Address, Problem> {
    match text.parse() {
        Ok(Address::Unix(path)) => {
            let path = context.path_at(place, &path);
            if path.as_os_str().len() > LONGEST_SOCKET_PATH {
                return Err(Problem::new(format!("is longer than a socket's path may be: {}", path.display()))
                    .fix(format!("use a path of at most {LONGEST_SOCKET_PATH} bytes")));
            }
            Ok(Address::Unix(path))
        }
        // systemd.socket(5), `FileDescriptorName=`.
        Ok(Address::Systemd(name)) if name.len() <= 255 && is_visible(&name) && !name.contains(':') => {
            Ok(Address::Systemd(name))
        }
        Ok(Address::Tcp { host, port }) if is_host(&host) => Ok(Address::Tcp { host, port }),
        _ => Err(no_address(text)),
    }
}

fn no_address(text: &str) -> Problem {
    let problem = Problem::new(format!("is not an address: {text:?}"));
    if text.starts_with("unix:") {
        return problem.fix("name a path: \"unix:/run/user/1000/cognito-proxy/http.sock\"");
    }
    if text.starts_with("systemd:") {
        return problem.fix("name the unit's FileDescriptorName: \"systemd:proxy\"");
    }
    match meant(text) {
        Some(meant) => problem.fix(format!("write {meant:?}")),
        None => problem.fix("write HOST:PORT as in \"127.0.0.1:8900\", unix:PATH or systemd:NAME"),
    }
}

/// Whether a listener can be bound there: `127.1` and `256.0.0.1` are neither an address that is meant as one nor a
/// name.
fn is_host(host: &str) -> bool {
    let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    let is_numeric = last.chars().all(|c| c.is_ascii_digit());
    url::address(host).is_some() || (url::is_host_name(host) && !is_numeric)
}

/// What people write for an address, and what they mean by it.
fn meant(text: &str) -> Option<String> {
    let text = text.trim();
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    let candidate = if !bare.is_empty() && bare.chars().all(|c| c.is_ascii_digit()) {
        format!("127.0.0.1:{bare}")
    } else if let Some(port) = bare.strip_prefix("*:") {
        format!("0.0.0.0:{port}")
    } else if bare.matches(':').count() > 1 && !bare.starts_with('[') {
        let (host, port) = bare.rsplit_once(':')?;
        format!("[{host}]:{port}")
    } else if let Some(port) = bare.strip_prefix(':') {
        format!("127.0.0.1:{port}")
    } else if bare.starts_with('/') {
        return Some(format!("unix:{bare}"));
    } else if bare.contains(':') {
        bare.to_owned()
    } else if bare == "off" {
        return None;
    } else {
        format!("{bare}:8900")
    };
    matches!(candidate.parse(), Ok(Address::Tcp { host, .. }) if is_host(&host)).then_some(candidate)
}

/// The listener that `host` and `port` lead back to, if one of ours does.
pub(in crate::config) fn own<'a>(settings: &'a Settings, host: &str, port: u16) -> Option<&'a Address> {
    settings.proxy.iter().chain(settings.admin.as_ref()).find(|address| match address {
        Address::Tcp { host: ours, port: our_port } => *our_port == port && port != 0 && meets(ours, host),
        Address::Unix(_) | Address::Systemd(_) => false,
    })
}

/// Whether a connection to `host` reaches a listener on `ours`.
fn meets(ours: &str, host: &str) -> bool {
    if ours.eq_ignore_ascii_case(host.trim_start_matches('[').trim_end_matches(']')) {
        return true;
    }
    match (url::address(ours), url::address(host)) {
        (Some(ours), Some(host)) => ours == host || (ours.is_unspecified() && host.is_loopback()),
        // A name for loopback leads to either family.
        (Some(ours), None) => url::is_loopback(host) && (ours.is_loopback() || ours.is_unspecified()),
        (None, Some(host)) => url::is_loopback(ours) && host.is_loopback(),
        (None, None) => url::is_loopback(ours) && url::is_loopback(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_can_be_bound() {
        for host in ["127.0.0.1", "::1", "localhost", "my-host.example", "0.0.0.0"] {
            assert!(is_host(host), "{host}");
        }
        for host in ["127.1", "256.0.0.1", "2130706433", "-a", "a..b"] {
            assert!(!is_host(host), "{host}");
        }
    }

    #[test]
    fn what_was_meant() {
        for (text, meaning) in [
            ("8900", "127.0.0.1:8900"),
            (":8900", "127.0.0.1:8900"),
            ("*:8900", "0.0.0.0:8900"),
            ("::1:8900", "[::1]:8900"),
            ("http://127.0.0.1:8900/", "127.0.0.1:8900"),
            ("localhost", "localhost:8900"),
            ("/run/x.sock", "unix:/run/x.sock"),
        ] {
            assert_eq!(meant(text).as_deref(), Some(meaning), "{text}");
        }
        for text in ["a b", "off"] {
            assert_eq!(meant(text), None, "{text}");
        }
    }

    #[test]
    fn an_upstream_that_is_the_proxy_itself_is_recognised() {
        for (ours, host, same) in [
            ("127.0.0.1", "localhost", true),
            ("::1", "localhost", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("0.0.0.0", "127.0.0.1", true),
            ("::1", "[::1]", true),
            ("localhost", "127.0.0.1", true),
            ("127.0.0.1", "[::1]", false),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "api.example", false),
        ] {
            assert_eq!(meets(ours, host), same, "{ours} {host}");
        }
    }
}
