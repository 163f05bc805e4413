//! `init`: writes an annotated configuration, and on request the units of a service manager. Dials nobody.

mod annotate;
mod ask;
mod service;

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use self::ask::Answers;
use super::{Exit, Global, output, running};
use crate::config::{Config, Destination, Environment, Request};

/// `init`'s own options. What is not given is asked for, where somebody sits at a terminal.
#[derive(Clone, Debug, Args)]
pub(super) struct InitArgs {
    /// The user pool, such as `eu-west-1_AbCdEfGhI`
    #[arg(long, value_name = "ID")]
    user_pool_id: Option<String>,
    /// The app client
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Where requests go: the address of the API
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Managed login, for signing in by browser: `https://…auth.REGION.amazoncognito.com`
    #[arg(long, value_name = "URL")]
    domain: Option<String>,
    /// Where the browser comes back to, as registered with the app client; more than one may be given
    #[arg(long = "redirect-uri", value_name = "URL", requires = "domain")]
    redirect_uris: Vec<String>,
    /// A file with the app client's secret, where it has one
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// The address of the user pools API, where it is not AWS's own: an emulator, a VPC endpoint
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The issuer that tokens name, where it does not follow from the pool
    #[arg(long, value_name = "URL", requires = "endpoint")]
    issuer: Option<String>,
    /// The app client's refresh token validity, such as `30d`
    #[arg(long, value_name = "DURATION")]
    refresh_token_validity: Option<String>,
    /// Which token the API wants
    #[arg(long, value_name = "KIND")]
    token: Option<Kind>,
    /// A local user who may use the proxy, by name or uid; more than one may be given
    #[arg(long = "allow-user", value_name = "USER")]
    users: Vec<String>,
    /// Install the units of this service manager too
    #[arg(long, value_name = "MANAGER")]
    systemd: Option<Manager>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Id,
    Access,
}

/// Whose service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Manager {
    /// The user's own
    User,
    /// The machine's
    System,
}

/// Why nothing was written, or not all of it.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{} is there already, and is not written over", path.display())]
    Exists { path: PathBuf },
    #[error("{} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("not given: {0}")]
    Missing(String),
    #[error("the answer cannot be read: {0}")]
    Ask(#[source] io::Error),
    #[error(transparent)]
    Service(#[from] service::Error),
}

/// Writes the file, and says what to do next.
pub(super) fn run(global: &Global, args: &InitArgs) -> Exit {
    let environment = Environment::current();
    let request = global.request(Vec::new());
    let destination = match Destination::find(&request, &environment) {
        Ok(destination) => destination,
        Err(error) => return global.reject(&error),
    };
    let is_system = args.systemd == Some(Manager::System);
    let file = if is_system && !destination.named { &destination.system } else { &destination.file };
    let agreed = args.systemd.map_or(Ok(()), |manager| {
        service::agrees(manager, &destination.profile, file, &environment).map_err(Error::from)
    });
    let written = agreed
        .and_then(|()| absent(file))
        .and_then(|()| ask::complete(Answers::from(args.clone()), args.systemd))
        .and_then(|answers| match judge(&answers, &destination.profile, &environment) {
            Ok(config) => write(file, &answers, is_system).map(|()| Ok((answers, config))),
            Err(error) => Ok(Err(error)),
        });
    match written {
        Ok(Ok((answers, config))) => {
            let installed = args.systemd.map(|manager| service::install(manager, &config, &environment)).transpose();
            let said = output::to_stdout(&told(file, &answers, global));
            match installed {
                Ok(None) => said,
                Ok(Some(steps)) => output::to_stdout(&steps),
                Err(error) => reject(global, &error.into()),
            }
        }
        Ok(Err(error)) => global.reject(&error),
        Err(error) => reject(global, &error),
    }
}

impl From<InitArgs> for Answers {
    fn from(args: InitArgs) -> Self {
        Self {
            user_pool_id: args.user_pool_id,
            client_id: args.client_id,
            upstream: args.upstream,
            domain: args.domain,
            redirect_uris: args.redirect_uris,
            client_secret_file: args.client_secret_file.map(|path| std::path::absolute(&path).unwrap_or(path)),
            endpoint: args.endpoint,
            issuer: args.issuer,
            refresh_token_validity: args.refresh_token_validity,
            access_token: args.token == Some(Kind::Access),
            users: args.users,
        }
    }
}

fn absent(file: &Path) -> Result<(), Error> {
    match file.symlink_metadata() {
        Ok(_) => Err(Error::Exists { path: file.to_owned() }),
        Err(_) => Ok(()),
    }
}

/// The answers as a configuration: every mistake is named by the flag that would set it.
fn judge(answers: &Answers, profile: &str, environment: &Environment) -> Result<Config, crate::config::Error> {
    // Nothing else is looked at, so that a variable or a file cannot stand in for an answer.
    let mut environment = environment.clone();
    environment.variables.retain(|name, _| !name.to_string_lossy().starts_with("COGNITO_PROXY_"));
    let request =
        Request { config: Some("/dev/null".into()), profile: Some(profile.to_owned()), overrides: answers.overrides() };
    Config::load(&request, &environment)
}

/// Never over a file that has come to be there meanwhile. A service of another user's has to be able to read it.
fn write(file: &Path, answers: &Answers, is_system: bool) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { path },
            _ => Error::Write { path, source },
        }
    };
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory).map_err(failed(directory))?;
    }
    let mode = if is_system { 0o644 } else { 0o600 };
    let mut options = OpenOptions::new();
    let mut opened = options.write(true).create_new(true).mode(mode).open(file).map_err(failed(file))?;
    let text = annotate::file(&answers.chosen());
    opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all()).map_err(failed(file))
}

/// What was written, what has to be registered with Cognito, and the next commands.
fn told(file: &Path, answers: &Answers, global: &Global) -> String {
    let mut text = format!("wrote {}\n", file.display());
    if answers.domain.is_some() {
        text.push_str("\nregister with the app client, to the letter, as an allowed callback URL:\n");
        for uri in answers.effective_redirects() {
            text.push_str("  ");
            text.push_str(&uri);
            text.push('\n');
        }
    }
    let selected = global.selection();
    text.push_str("\nnext:\n");
    for command in ["login", "run"] {
        let _ = writeln!(text, "  cognito-proxy {selected}{command}");
    }
    text
}

fn reject(global: &Global, error: &Error) -> Exit {
    let (exit, fix) = match error {
        Error::Exists { .. } => {
            (Exit::Config, Some("change it by hand, remove it, or use -p NAME for another profile".into()))
        }
        Error::Missing(_) => {
            (Exit::Usage, Some("give it on the command line, or run this at a terminal to be asked".into()))
        }
        Error::Write { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            (Exit::Refused, Some(running::with_sudo()))
        }
        Error::Service(error) => (error.exit(), error.fix()),
        Error::Write { .. } | Error::Ask(_) => (Exit::Other, None),
    };
    output::error(global.is_styled(), &error.to_string(), fix.as_deref());
    exit
}
