//! `token`: a current token on standard output, in the form that another program wants.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Exit, Global, offline, output, running};
use crate::{
    admin::{IssuedToken, client::ClientError},
    config::Config,
    session::TokenKind,
};

/// What kubectl tells its credential plugins (client-go credential plugins, "Input and output formats").
const EXEC_INFO: &str = "KUBERNETES_EXEC_INFO";

/// The version that is answered where kubectl names none that is known.
const EXEC_API: &str = "client.authentication.k8s.io/v1";

/// The older version, which kubectl wants echoed where its configuration names it.
const EXEC_API_BETA: &str = "client.authentication.k8s.io/v1beta1";

const MIN_TTL_HELP: &str = "With at least this left, after one refresh at most [default: inject.min_ttl]";

/// `token`'s own options.
#[derive(Clone, Debug, Args)]
pub(super) struct TokenArgs {
    /// Which token
    #[arg(value_name = "id|access", default_value = "id", hide_possible_values = true)]
    kind: Kind,
    /// In which form
    #[arg(long, value_name = "FORMAT", default_value = "raw")]
    format: Format,
    #[arg(long, value_name = "DURATION", value_parser = super::duration, help = MIN_TTL_HELP)]
    min_ttl: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Id,
    Access,
}

impl From<Kind> for TokenKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Id => Self::Id,
            Kind::Access => Self::Access,
        }
    }
}

/// How a token is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// The token alone
    Raw,
    /// The header that requests get, as `curl -H @-` reads it
    Header,
    /// With its kind and its end
    Json,
    /// An assignment that a shell evaluates
    Env,
    /// What kubectl wants of a credential plugin
    ExecCredential,
}

/// Prints a token. Exits 4 where that takes a sign-in, 69 and 75 where Cognito cannot be reached or wants patience.
pub(super) fn run(global: &Global, args: &TokenArgs) -> Exit {
    let config = match global.load(Vec::new()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let token = match obtain(global, &config, args) {
        Ok(token) => token,
        Err(exit) => return exit,
    };
    if let Some(warning) = &token.warning {
        output::to_stderr(&format!("warning: {warning}"));
    }
    output::to_stdout(&written(&token, args.format, &config, std::env::var(EXEC_INFO).ok().as_deref()))
}

fn obtain(global: &Global, config: &Config, args: &TokenArgs) -> Result<IssuedToken, Exit> {
    let said = |title: String, exit| {
        output::error(global.is_styled(), &title, None);
        exit
    };
    let runtime =
        running::runtime().map_err(|error| said(format!("the system refuses a runtime: {error}"), Exit::Other))?;
    let kind = args.kind.into();
    match running::client(config) {
        Ok(Some(client)) => match runtime.block_on(client.token(kind, args.min_ttl)) {
            Ok(token) => Ok(token),
            Err(ClientError::NotRunning { .. }) => {
                Err(said("the proxy is just starting or stopping; try again".into(), Exit::TryLater))
            }
            Err(error) => Err(running::report(global.is_styled(), &error)),
        },
        Ok(None) => {
            let _logging = global.start_logging(config.log);
            runtime
                .block_on(offline::token(config, kind, args.min_ttl))
                .map_err(|error| offline::report(global, &error))
        }
        Err(error) => Err(running::report_unknown(global.is_styled(), &error)),
    }
}

/// The token in `format`. `exec_info` is what kubectl says about itself.
fn written(token: &IssuedToken, format: Format, config: &Config, exec_info: Option<&str>) -> String {
    let jwt = token.jwt.expose();
    match format {
        Format::Raw => format!("{jwt}\n"),
        Format::Header => header(jwt, config),
        Format::Json => {
            let document = json!({
                "kind": token.kind.as_str(),
                "token": jwt,
                "expires_at": token.expires_at.to_string(),
                "expires_in_s": token.expires_in.as_secs(),
            });
            format!("{document}\n")
        }
        // A JWT is made of letters, digits, `-`, `_` and `.` (RFC 7515 §3.1): nothing that a shell would read.
        Format::Env => format!("export COGNITO_{}_TOKEN={jwt}\n", token.kind.as_str().to_uppercase()),
        Format::ExecCredential => {
            let document = json!({
                "apiVersion": exec_api(exec_info),
                "kind": "ExecCredential",
                "status": { "token": jwt, "expirationTimestamp": token.expires_at.to_string() },
            });
            format!("{document}\n")
        }
    }
}

/// The header that requests without a route of their own get.
fn header(jwt: &str, config: &Config) -> String {
    match &config.proxy.default_route.inject {
        Some(inject) => {
            let name = in_title_case(inject.header.as_str());
            format!("{name}: {}{jwt}{}\n", inject.format.prefix, inject.format.suffix)
        }
        None => format!("Authorization: Bearer {jwt}\n"),
    }
}

/// `x-amz-security-token` as `X-Amz-Security-Token`, which is how people write it; HTTP does not mind.
fn in_title_case(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        first.to_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

fn exec_api(exec_info: Option<&str>) -> &'static str {
    let info: Option<serde_json::Value> = exec_info.and_then(|info| serde_json::from_str(info).ok());
    match info.as_ref().and_then(|info| info["apiVersion"].as_str()) {
        Some(EXEC_API_BETA) => EXEC_API_BETA,
        _ => EXEC_API,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_headers_are_written_as_people_write_them() {
        for (name, written) in
            [("authorization", "Authorization"), ("x-amz-security-token", "X-Amz-Security-Token"), ("x--y-", "X--Y-")]
        {
            assert_eq!(in_title_case(name), written);
        }
    }

    #[test]
    fn kubectl_gets_the_version_that_it_asks_for() {
        let beta = format!(r#"{{"apiVersion":"{EXEC_API_BETA}","kind":"ExecCredential","spec":{{}}}}"#);
        for (info, version) in [
            (None, EXEC_API),
            (Some("no JSON"), EXEC_API),
            (Some(r#"{"apiVersion":"client.authentication.k8s.io/v9"}"#), EXEC_API),
            (Some(beta.as_str()), EXEC_API_BETA),
        ] {
            assert_eq!(exec_api(info), version, "{info:?}");
        }
    }
}
