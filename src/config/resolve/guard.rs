//! `[guard]`: who may use the proxy.

use http::{HeaderName, header};

use super::{Context, is_visible, placed};
use crate::{
    config::{file, kinds::Item, problem::Problem, reader::Setting, url},
    guard::{ClientKey, HostPattern, Origin, Settings, UserSpec},
};

/// Resolves `[guard]`.
pub(in crate::config) fn resolve(context: &mut Context<'_, '_>, file: &file::Guard) -> Settings {
    let hosts = list(context, &file.hosts, |text| parsed(&host(text)?, HostPattern::parse));
    let origins = list(context, &file.origins, |text| parsed(&origin(text)?, Origin::parse));
    let users = file.users.value.iter().map(|item| Item { value: item.value.0.clone(), node: item.node.clone() });
    let users = Setting {
        key: file.users.key.clone(),
        value: users.collect(),
        place: file.users.place.clone(),
        section: file.users.section.clone(),
        shown: file.users.shown.clone(),
        sound: file.users.sound,
    };
    let users = list(context, &users, |text| parsed(&user(text)?, UserSpec::parse));
    let client_key = context.secret(&file.client_key_file).and_then(|content| {
        ClientKey::parse(&content)
            .map_err(|error| {
                let problem = file.client_key_file.problem(format!("names a file that holds no key: {error}"));
                context.push(problem.fix("put one line of letters and digits into it: openssl rand -hex 32"));
            })
            .ok()
    });
    let require_header = file.require_header.value.as_ref().and_then(|text| {
        let name = HeaderName::from_bytes(text.as_bytes());
        if name.is_err() {
            let problem = file.require_header.problem(format!("is not the name of a header: {text:?}"));
            context.push(problem.fix("write letters, digits and dashes: \"X-Requested-By\""));
        }
        let name = name.ok()?;
        if is_sent_anyway(&name) {
            let problem = file.require_header.problem(format!("is {text:?}, which every page's request carries"));
            context.push(problem.fix("name a header that pages do not send by themselves: \"X-Requested-By\""));
        }
        Some(name)
    });
    Settings { hosts, origins, users, client_key, require_header }
}

/// Whether a browser sends a header with a request that no page has to ask for: with the requests of forms and images,
/// which nobody is asked about (Fetch, "CORS-safelisted request-header").
fn is_sent_anyway(name: &HeaderName) -> bool {
    const SENT: [HeaderName; 17] = [
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::ACCEPT_LANGUAGE,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::DNT,
        header::HOST,
        header::ORIGIN,
        header::PRAGMA,
        header::RANGE,
        header::REFERER,
        header::TE,
        header::UPGRADE_INSECURE_REQUESTS,
        header::USER_AGENT,
    ];
    SENT.contains(name) || name.as_str().starts_with("sec-")
}

/// Every item through `check`, each mistake at its own place.
fn list<T: PartialEq>(
    context: &mut Context<'_, '_>,
    setting: &Setting<Vec<Item<String>>>,
    check: impl Fn(&str) -> Result<T, Problem>,
) -> Vec<T> {
    let mut sound: Vec<T> = Vec::new();
    for item in &setting.value {
        let checked = check(&item.value).and_then(|value| {
            if sound.contains(&value) {
                return Err(Problem::new(format!("lists {:?} twice", item.value)).fix("remove one of the two"));
            }
            Ok(value)
        });
        match checked {
            Ok(value) => sound.push(value),
            Err(problem) => context.push(placed(setting, problem.at(item.node.place.clone()))),
        }
    }
    sound
}

/// What the guard itself makes of a text that reads well.
fn parsed<T, E: std::error::Error>(text: &str, parse: impl Fn(&str) -> Result<T, E>) -> Result<T, Problem> {
    parse(text).map_err(|error| Problem::new(format!("lists {text:?}: {error}")))
}

/// HOST or HOST:PORT, in lower case and without a final dot, as requests are compared.
fn host(text: &str) -> Result<String, Problem> {
    let wrong = |why: &str, fix: String| Err(Problem::new(format!("lists {text:?}, {why}")).fix(fix));
    if text.contains('*') {
        return wrong("but hosts are exact, without patterns", "list every name by itself".into());
    }
    if let Some((_, rest)) = text.split_once("://") {
        let bare = rest.split('/').next().unwrap_or_default();
        return wrong("which is a URL", format!("write the host alone: {bare:?}"));
    }
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, rest)) => (format!("[{v6}]"), rest.strip_prefix(':').or_else(|| rest.is_empty().then_some(""))),
        None if url::address(text).is_some_and(|address| address.is_ipv6()) => {
            return wrong("an IPv6 address without brackets", format!("write \"[{text}]\""));
        }
        None => match text.split_once(':') {
            Some((name, port)) => (name.to_owned(), Some(port).filter(|port| !port.is_empty())),
            None => (text.to_owned(), Some("")),
        },
    };
    let is_port =
        |port: &str| port.is_empty() || (port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+'));
    let is_host = url::address(&name).is_some() || url::is_host_name(&name);
    if !is_host || !port.is_some_and(is_port) {
        return wrong("which is no host", "write HOST or HOST:PORT: \"api.test\", \"api.test:8900\"".into());
    }
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    Ok(match port {
        Some(port) if !port.is_empty() => format!("{name}:{port}"),
        _ => name,
    })
}

/// An origin exactly as a browser writes it (RFC 6454 §6.2): scheme, host, and the port where it is not the default.
fn origin(text: &str) -> Result<String, Problem> {
    let wrong = |why: &str, fix: String| Err(Problem::new(format!("lists {text:?}, {why}")).fix(fix));
    if text == "null" {
        return wrong(
            "which every sandboxed page and local file sends",
            "serve the page from a port of its own, and list that".into(),
        );
    }
    if text.contains('*') {
        return wrong(
            "but origins are exact, without patterns",
            "list every origin by itself: \"http://localhost:3000\"".into(),
        );
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong("which has no scheme", format!("write \"http://{text}\" or \"https://{text}\""));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let exact = format!("{}://{}", scheme.to_ascii_lowercase(), authority.to_ascii_lowercase());
    if authority.len() < rest.len() {
        return wrong("but an origin has no path", format!("write {exact:?}"));
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (authority, None),
    };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let is_host = url::address(name).is_some() || url::is_host_name(name);
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+'));
    if !is_scheme || !is_host || !is_port {
        return wrong(
            "which is no origin",
            "write scheme, host and port as the browser does: \"http://localhost:3000\"".into(),
        );
    }
    let default_port = match scheme.to_ascii_lowercase().as_str() {
        "http" => Some("80"),
        "https" => Some("443"),
        _ => None,
    };
    if port.is_some() && port == default_port {
        let bare = exact.rsplit_once(':').map_or(exact.as_str(), |(bare, _)| bare);
        return wrong("but browsers leave the default port out", format!("write {bare:?}"));
    }
    if exact != text {
        return wrong("but browsers send it in lower case", format!("write {exact:?}"));
    }
    Ok(exact)
}

/// A name, a uid, `self` or `any`. Whether the user exists is for the machine to say, at start.
fn user(text: &str) -> Result<String, Problem> {
    if is_visible(text) && !text.contains([':', '/', ',']) {
        return Ok(text.to_owned());
    }
    Err(Problem::new(format!("lists {text:?}, which is no user"))
        .fix("write a user's name, a uid, \"self\" or \"any\", each as an item of its own"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_exact_and_normalised() {
        for (text, host_is) in [
            ("api.test", "api.test"),
            ("API.Test.:8900", "api.test:8900"),
            ("10.0.0.1", "10.0.0.1"),
            ("[fe80::1]:80", "[fe80::1]:80"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(host(text).as_deref(), Ok(host_is), "{text}");
        }
        for text in ["*", "*.test", "http://api.test", "fe80::1", "api.test:", "api.test:0", "a b", "", "a:b", "[::1]x"]
        {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn origins_are_as_browsers_write_them() {
        for text in ["http://localhost:3000", "https://app.example", "http://[::1]:3000", "chrome-extension://abcdef"] {
            assert_eq!(origin(text).as_deref(), Ok(text));
        }
        for (text, fix) in [
            ("null", "serve the page from a port of its own, and list that"),
            ("*", "list every origin by itself: \"http://localhost:3000\""),
            ("http://*.example", "list every origin by itself: \"http://localhost:3000\""),
            ("localhost:3000", "write \"http://localhost:3000\" or \"https://localhost:3000\""),
            ("http://localhost:3000/", "write \"http://localhost:3000\""),
            ("https://app.example/x", "write \"https://app.example\""),
            ("https://App.example", "write \"https://app.example\""),
            ("https://app.example:443", "write \"https://app.example\""),
            ("http://[::1]:80", "write \"http://[::1]\""),
        ] {
            assert_eq!(origin(text).expect_err(text).fix.as_deref(), Some(fix), "{text}");
        }
        for text in ["http://", "http://a b", "http://me@host", "://x", "http://h:99999"] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn users_are_words() {
        assert!(user("alice").is_ok() && user("1000").is_ok() && user("self").is_ok());
        assert!(user("alice, bob").is_err() && user("a:b").is_err());
    }
}
