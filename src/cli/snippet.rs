//! `snippet`: what to paste into a client, made from the configuration. No secret is in it: files are named, not read.

use std::{fmt::Write as _, path::Path};

use clap::{Args, ValueEnum};

use super::{Exit, Global, output};
use crate::{config::Config, listen::Address, shell::quoted_path};

/// `snippet`'s own arguments.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct SnippetArgs {
    /// The client
    #[arg(value_name = "CLIENT")]
    client: Client,
}

/// Who is to call through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Client {
    /// A command for curl
    Curl,
    /// A collection to import into Postman
    Postman,
    /// A server for the configuration of an MCP client
    Mcp,
    /// A command for grpcurl
    Grpcurl,
    /// A call from a web page
    Fetch,
    /// Variables for a shell
    Env,
}

/// The proxy, as a client has to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Target {
    /// The profile, which names entries.
    profile: String,
    /// `HOST:PORT`.
    authority: String,
    /// The socket, where it listens on no port.
    socket: Option<String>,
    /// The file with the client key, where one is asked for.
    key_file: Option<String>,
    /// The header that has to be there.
    required: Option<String>,
    /// The path of the route that looks like the one for MCP.
    mcp_path: String,
    /// Whether a web page may call.
    admits_pages: bool,
}

/// Prints the snippet; what else it takes goes to standard error.
pub(super) fn run(global: &Global, args: SnippetArgs) -> Exit {
    let config = match global.load(Vec::new()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let Some(target) = Target::of(&config) else {
        let fix = "write a port into listen.proxy, such as \"127.0.0.1:8900\"; or see the log line `listening`";
        output::error(global.is_styled(), "listen.proxy names no port that a client could be told", Some(fix));
        return Exit::Config;
    };
    if let Some(note) = note(args.client, &target) {
        output::to_stderr(&format!("note: {note}"));
    }
    let Some(text) = text(args.client, &target) else {
        let fix = "add a port to listen.proxy, such as \"127.0.0.1:8900\"";
        output::error(global.is_styled(), "this client cannot use the socket of listen.proxy", Some(fix));
        return Exit::Config;
    };
    output::to_stdout(&text)
}

impl Target {
    /// Of the first address that a client can be told.
    fn of(config: &Config) -> Option<Self> {
        let authority = config.listen.proxy.iter().find_map(authority);
        let socket = config.listen.proxy.iter().find_map(|address| match address {
            Address::Unix(path) => Some(path.display().to_string()),
            _ => None,
        });
        // A socket alone still needs a name for the Host header: the one that the guard always admits.
        let (authority, socket) = match (authority, socket) {
            (Some(authority), _) => (authority, None),
            (None, Some(socket)) => ("localhost".to_owned(), Some(socket)),
            (None, None) => return None,
        };
        let key_file = config.guard.client_key.as_ref().and_then(|_| path(config, "guard.client_key_file"));
        let mut paths = config.proxy.routes.iter().map(|route| route.path.as_str());
        Some(Self {
            profile: config.profile.clone(),
            authority,
            socket,
            key_file,
            required: config.guard.require_header.as_ref().map(|name| name.as_str().to_owned()),
            mcp_path: paths.find(|path| path.contains("mcp")).unwrap_or("/mcp").to_owned(),
            admits_pages: !config.guard.origins.is_empty(),
        })
    }

    /// The headers that every request needs: name, and value as a shell or a program would fill it in.
    fn headers(&self, key: impl Fn(&str) -> String) -> Vec<(&str, String)> {
        let key = self.key_file.iter().map(|file| ("Cognito-Proxy-Key", key(file)));
        let required = self.required.iter().map(|name| (name.as_str(), "1".to_owned()));
        key.chain(required).collect()
    }

    fn url(&self) -> String {
        format!("http://{}", self.authority)
    }
}

/// What a client on this machine writes for an address; `None` where there is no port to write.
fn authority(address: &Address) -> Option<String> {
    let Address::Tcp { host, port: port @ 1.. } = address else { return None };
    Some(match host.as_str() {
        "127.0.0.1" | "::1" | "0.0.0.0" | "::" | "localhost" => format!("localhost:{port}"),
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    })
}

/// The path that a key names, as a shell in any directory understands it.
fn path(config: &Config, key: &str) -> Option<String> {
    let effective = config.effective.iter().find(|effective| effective.key == key)?;
    let written = effective.value.as_deref()?.trim_matches(['"', '\'']);
    let base = config.file.as_deref().and_then(Path::parent);
    Some(match base {
        Some(base) if !written.starts_with("~/") => base.join(written).display().to_string(),
        _ => written.to_owned(),
    })
}

/// What a person has to know beside the text.
fn note(client: Client, target: &Target) -> Option<&'static str> {
    match client {
        Client::Fetch if !target.admits_pages => {
            Some("the page's origin has to be listed in guard.origins, such as [\"http://localhost:5173\"]")
        }
        Client::Postman if target.key_file.is_some() => {
            Some("set the collection's variable clientKey to what is in the file of guard.client_key_file")
        }
        Client::Mcp if target.key_file.is_some() => {
            Some("set COGNITO_PROXY_CLIENT_KEY where the MCP client is started, to what is in guard.client_key_file")
        }
        _ => None,
    }
}

/// The snippet; `None` where the client cannot reach a socket that is no port.
fn text(client: Client, target: &Target) -> Option<String> {
    if target.socket.is_some() && !matches!(client, Client::Curl | Client::Grpcurl) {
        return None;
    }
    Some(match client {
        Client::Curl => curl(target),
        Client::Grpcurl => grpcurl(target),
        Client::Postman => json(&postman(target)),
        Client::Mcp => json(&mcp(target)),
        Client::Fetch => fetch(target),
        Client::Env => env(target),
    })
}

fn curl(target: &Target) -> String {
    let mut line = "curl".to_owned();
    if let Some(socket) = &target.socket {
        let _ = write!(line, " --unix-socket {}", quoted_path(socket));
    }
    shell_headers(&mut line, target);
    let _ = writeln!(line, " {}/", target.url());
    line
}

fn grpcurl(target: &Target) -> String {
    let mut line = "grpcurl -plaintext".to_owned();
    if target.socket.is_some() {
        line.push_str(" -unix");
    }
    shell_headers(&mut line, target);
    let address = target.socket.as_ref().map_or_else(|| target.authority.clone(), |socket| quoted_path(socket));
    let _ = writeln!(line, " {address} list");
    line
}

/// The key is read by the shell when the line runs, and is in no history.
fn shell_headers(line: &mut String, target: &Target) {
    for (name, value) in target.headers(|file| format!("$(cat {})", quoted_path(file))) {
        let _ = write!(line, " -H \"{name}: {value}\"");
    }
}

fn postman(target: &Target) -> serde_json::Value {
    let header: Vec<_> = target
        .headers(|_| "{{clientKey}}".into())
        .into_iter()
        .map(|(key, value)| serde_json::json!({"key": key, "value": value}))
        .collect();
    let mut variables = vec![serde_json::json!({"key": "baseUrl", "value": target.url()})];
    if target.key_file.is_some() {
        variables.push(serde_json::json!({"key": "clientKey", "value": "", "type": "secret"}));
    }
    serde_json::json!({
        "info": {
            "name": format!("cognito-proxy ({})", target.profile),
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        // The proxy sets the credential.
        "auth": {"type": "noauth"},
        "variable": variables,
        "item": [{
            "name": "first request",
            "request": {"method": "GET", "header": header, "url": "{{baseUrl}}/"},
        }],
    })
}

fn mcp(target: &Target) -> serde_json::Value {
    let mut server = serde_json::json!({"type": "http", "url": format!("{}{}", target.url(), target.mcp_path)});
    let headers: serde_json::Map<_, _> = target
        .headers(|_| "${COGNITO_PROXY_CLIENT_KEY}".into())
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    if !headers.is_empty() {
        server["headers"] = headers.into();
    }
    serde_json::json!({"mcpServers": {target.profile.as_str(): server}})
}

fn fetch(target: &Target) -> String {
    let headers: Vec<String> = target
        .headers(|_| "clientKey".into())
        .into_iter()
        .map(|(name, value)| if value == "1" { format!("\"{name}\": \"1\"") } else { format!("\"{name}\": {value}") })
        .collect();
    let headers = if headers.is_empty() { String::new() } else { format!(" headers: {{ {} }},", headers.join(", ")) };
    format!(
        "const response = await fetch(\"{}/\", {{{headers} credentials: \"include\" }});\n\
         console.log(response.status, await response.text());\n",
        target.url()
    )
}

/// A proxy that the environment names (`HTTP_PROXY`) is not to be asked for this machine.
fn env(target: &Target) -> String {
    let mut text = format!("export API_URL={}\n", target.url());
    if let Some(file) = &target.key_file {
        let _ = writeln!(text, "export API_CLIENT_KEY=\"$(cat {})\"", quoted_path(file));
    }
    text.push_str(
        "export NO_PROXY=\"${NO_PROXY:+$NO_PROXY,}localhost,127.0.0.1,::1\"\nexport no_proxy=\"$NO_PROXY\"\n",
    );
    text
}

fn json(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            profile: "work".into(),
            authority: "localhost:8900".into(),
            mcp_path: "/mcp".into(),
            ..Target::default()
        }
    }

    fn guarded() -> Target {
        Target { key_file: Some("/etc/a key".into()), required: Some("x-requested-by".into()), ..target() }
    }

    #[test]
    fn nothing_that_is_not_asked_for_is_in_a_command() {
        assert_eq!(text(Client::Curl, &target()).expect("a line"), "curl http://localhost:8900/\n");
        assert_eq!(text(Client::Grpcurl, &target()).expect("a line"), "grpcurl -plaintext localhost:8900 list\n");
    }

    #[test]
    fn a_key_is_named_by_its_file_and_a_socket_by_its_path() {
        let socket = Target { authority: "localhost".into(), socket: Some("/run/p.sock".into()), ..guarded() };
        assert_eq!(
            text(Client::Curl, &socket).expect("a line"),
            "curl --unix-socket /run/p.sock -H \"Cognito-Proxy-Key: $(cat '/etc/a key')\" -H \"x-requested-by: 1\" \
             http://localhost/\n"
        );
        assert_eq!(text(Client::Fetch, &socket), None, "a page has no Unix sockets");
    }

    #[test]
    fn documents_are_what_their_clients_read() {
        let mcp: serde_json::Value = serde_json::from_str(&text(Client::Mcp, &guarded()).expect("text")).expect("JSON");
        assert_eq!(mcp["mcpServers"]["work"]["url"], "http://localhost:8900/mcp");
        assert_eq!(mcp["mcpServers"]["work"]["headers"]["Cognito-Proxy-Key"], "${COGNITO_PROXY_CLIENT_KEY}");
        let postman = postman(&target());
        assert_eq!(postman["variable"][0]["value"], "http://localhost:8900");
        assert_eq!(postman["item"][0]["request"]["url"], "{{baseUrl}}/");
    }

    #[test]
    fn a_port_that_the_system_chooses_can_be_told_to_nobody() {
        let address = |text: &str| text.parse().ok().as_ref().and_then(authority);
        assert_eq!(address("127.0.0.1:0"), None);
        assert_eq!(address("unix:/run/p.sock"), None);
        assert_eq!(address("[::1]:8900").as_deref(), Some("localhost:8900"));
        assert_eq!(address("192.0.2.7:80").as_deref(), Some("192.0.2.7:80"));
        assert_eq!(address("[2001:db8::1]:80").as_deref(), Some("[2001:db8::1]:80"));
    }
}
