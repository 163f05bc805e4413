//! What holds for configurations, whatever bytes come: looked for by the fuzzer, and run on the seeds by a test. Only in
//! those builds.
#![allow(clippy::missing_panics_doc, clippy::panic, reason = "a property that does not hold fails loudly")]

use std::{collections::BTreeMap, path::PathBuf};

use super::{Config, Environment, Location, Request, diagnostic::FileText, locate::Located, url};
use crate::listen::Address;

/// A property by its name, with inputs to begin from.
pub type Target = (&'static str, fn(&[u8]), &'static [&'static str]);

/// Every property of this room.
pub const TARGETS: [Target; 1] = [("config", text, TEXTS)];

const TEXTS: &[&str] = &[
    include_str!("../../proxy.toml"),
    "cognito.user_pool_id = \"eu-west-1_AbCdEfGhI\"\ncognito.client_id = \"c\"\nupstream.url = \"http://127.0.0.1:1/prod\"\n\
     guard = { hosts = [\"api.test:80\"], origins = [\"http://localhost:3000\"], users = [\"self\", 0] }\n",
    "[cognito]\nuser_pool_id = \"eu-west-1_AbCdEfGhI\"\nclient_id = \"c\"\nendpoint = \"http://127.0.0.1:9229\"\n\
     [upstream]\nurl = \"https://api.example.com\"\n[[route]]\npath = \"/mcp\"\nupstream = \"http://10.0.0.1\"\n\
     [listen]\nproxy = [\"0.0.0.0:0\", \"unix:/x\", \"systemd:y\"]\nallow_remote = true\n[refresh]\nlead = \"1h30m\"\n",
    "level = info\n[log\n",
    "[guard]\norigins = [\"null\", \"*\"]\nhosts = \"*.example\"\n[limits]\nmax_header_bytes = \"64KiB\"\nheader_timeout = \"-1s\"",
    "\u{feff}[upstream]\r\nurl = 'http://\u{fc}:0@x/'\r\nurl = 3\r\n",
];

/// Every mistake has its place in the text and can be shown, and what is sound keeps the promises on which the rest
/// stands: no upstream in plain text beyond this machine, no listener beyond it without a key, no origin of everybody's.
pub fn text(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let nowhere = PathBuf::from("/nonexistent");
    let file = nowhere.join("proxy.toml");
    let environment =
        Environment { variables: BTreeMap::new(), directory: nowhere.clone(), uid: 1000, etc: nowhere.join("etc") };
    let located = Located {
        profile: "proxy".into(),
        file: Some(file.clone()),
        named: true,
        searched: Vec::new(),
        options: String::new(),
    };
    let file = FileText { path: file, text: text.to_owned() };
    let config = match Config::of(Some(&file), &located, &Request::default(), &environment) {
        Ok(config) => config,
        Err(error) => {
            assert!(!error.diagnostics().is_empty() && !error.render(false, 80).is_empty());
            for diagnostic in error.diagnostics() {
                if let Location::File { line, column, .. } = &diagnostic.location {
                    let length = text.split('\n').nth(line - 1).map(|line| line.chars().count());
                    assert!(length.is_some_and(|length| *column <= length + 1), "{text:?}: {diagnostic:?}");
                }
            }
            return;
        }
    };
    let allows = |key: &str| config.effective.iter().any(|one| one.key == key && one.value.as_deref() == Some("true"));
    for route in config.proxy.routes.iter().chain([&config.proxy.default_route]) {
        let url = &route.upstream.url;
        let is_safe = url.scheme_str() == Some("https") || url.host().is_some_and(url::is_loopback);
        assert!(is_safe || allows("upstream.allow_plaintext"), "{url}");
    }
    for address in config.listen.proxy.iter().chain(&config.listen.admin) {
        if let Address::Tcp { host, .. } = address {
            let is_guarded = config.listen.allow_remote && config.guard.client_key.is_some();
            assert!(is_guarded || url::is_loopback(host), "{host}");
        }
    }
    for origin in &config.guard.origins {
        assert!(origin.as_str() != "null" && !origin.as_str().contains('*') && origin.as_str().contains("://"));
    }
    for host in &config.guard.hosts {
        assert!(!host.to_string().contains('*') && !host.to_string().starts_with("0.0.0.0"), "{host}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_seed_holds() {
        for (_, property, seeds) in super::TARGETS {
            for seed in seeds {
                property(seed.as_bytes());
            }
        }
    }
}
