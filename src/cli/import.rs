//! `import`: takes over the tokens that somebody has, proves them by one refresh, and stores the session.

use std::{
    fs, io,
    io::{IsTerminal, Read},
    path::PathBuf,
};

use clap::Args;

use super::{
    Exit, Global, clocks, cognito,
    keeping::{self, Place},
    output, verdict,
};
use crate::{
    clock::{Clock, SystemClock},
    cognito::{Issuer, RefreshRequest},
    config::Config,
    secret::Secret,
    session::{Failure, Grant, LastRefresh, Origin, Outcome, Session, status::Report},
    signin::{self, import::Imported},
};

/// Nobody pastes more: an Amplify dump with several users is a few dozen kilobytes.
const MAX_INPUT: u64 = 4 * 1024 * 1024;

/// What it takes.
const FORMS: &str = "give {\"refresh_token\": \"…\"}, the output of `aws cognito-idp initiate-auth`, or a dump of an \
                     Amplify application's local storage";

/// `import`'s own options.
#[derive(Clone, Debug, Args)]
pub(super) struct ImportArgs {
    /// Tokens as JSON, or what an Amplify application keeps in a browser; `-`, or nothing, is standard input
    #[arg(value_name = "FILE|-")]
    file: Option<PathBuf>,
}

impl ImportArgs {
    /// The file to read; `None` for standard input.
    fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref().filter(|path| path.as_os_str() != "-")
    }
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{input} cannot be read: {source}")]
    Read { input: String, source: io::Error },
    #[error("{input}: it is no UTF-8 text, or longer than 4 MiB")]
    NoText { input: String },
    #[error("{input}: {source}")]
    Input { input: String, source: signin::import::Error },
    #[error("Cognito refuses the token: {0}")]
    Refused(Failure),
    #[error("the token could not be proved, and nothing was stored: {0}")]
    Unproved(Failure),
    #[error(transparent)]
    Keeping(#[from] keeping::Error),
}

/// Imports.
pub(super) fn run(global: &Global, args: &ImportArgs) -> Exit {
    let config = match global.load(Vec::new()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let _logging = global.start_logging(config.log);
    match import(&config, args) {
        Ok(report) => match output::to_stdout(&clocks::describe(&report, SystemClock.now().wall)) {
            Exit::Ok => verdict::of(&report, None),
            exit => exit,
        },
        Err(error) => {
            output::error(global.is_styled(), &error.to_string(), fix_of(&error).as_deref());
            exit_of(&error)
        }
    }
}

fn import(config: &Config, args: &ImportArgs) -> Result<Report, Error> {
    let (input, text) = read(args)?;
    let imported = signin::import::parse(text.expose(), &config.cognito.client_id)
        .map_err(|source| Error::Input { input, source })?;
    if imported.is_shared_with_browser {
        tracing::warn!("this token is shared with a browser: where it rotates, whoever refreshes second is signed out");
    }
    // Before a token is spent that rotates: what it brings must have a place.
    let place = Place::take(config)?;
    keeping::not_over_another(config)?;
    let runtime = keeping::runtime()?;
    let grant = runtime.block_on(prove(config, &imported))?;
    let origin = Origin::Import;
    let mut session = Session::begun(grant, imported.refresh_token, origin, imported.device, &config.session);
    session.notes.last_refresh = Some(LastRefresh { at: SystemClock.now().wall, outcome: Outcome::Ok, error: None });
    place.keep(config, &session, &runtime)?;
    Ok(keeping::report(config, session))
}

/// The input's name and its text, which is a secret.
fn read(args: &ImportArgs) -> Result<(String, Secret), Error> {
    let input = args.file().map_or_else(|| "standard input".into(), |path| path.display().to_string());
    let mut text = String::new();
    let took = if let Some(path) = args.file() {
        fs::File::open(path).and_then(|file| file.take(MAX_INPUT + 1).read_to_string(&mut text))
    } else {
        if io::stdin().is_terminal() {
            output::to_stderr("paste the tokens, as JSON or as a browser's cookies, then press Ctrl-D");
        }
        io::stdin().lock().take(MAX_INPUT + 1).read_to_string(&mut text)
    };
    let text = Secret::new(text);
    match took {
        Ok(length) if length as u64 <= MAX_INPUT => Ok((input, text)),
        Ok(_) => Err(Error::NoText { input }),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Error::NoText { input }),
        Err(source) => Err(Error::Read { input, source }),
    }
}

/// One refresh, whose answer is final.
pub(super) async fn prove(config: &Config, imported: &Imported) -> Result<Grant, Error> {
    let issuer = cognito::issuer(config)?;
    let request = |refresh_token: Secret| RefreshRequest {
        refresh_token,
        username: imported.username.clone(),
        subject: None,
        device: imported.device.clone(),
        jwks: None,
    };
    let proved = match issuer.refresh(request(imported.refresh_token.clone())).await {
        // The token that was given is spent, and only its successor can still bring tokens: once more, with that.
        Err(Failure::Rotated { rotated, .. }) => issuer.refresh(request(rotated.clone())).await.map(|mut grant| {
            grant.refresh_token.get_or_insert(rotated);
            grant
        }),
        proved => proved,
    };
    proved.map_err(|failure| match failure {
        Failure::Terminal { .. } | Failure::Ambiguous { .. } => Error::Refused(failure),
        failure => Error::Unproved(failure),
    })
}

fn fix_of(error: &Error) -> Option<String> {
    match error {
        Error::Input { source: signin::import::Error::NotJson { .. }, .. } => Some(FORMS.into()),
        Error::Refused(_) => Some("sign in again, and import the new tokens".into()),
        Error::Unproved(Failure::Setting { setting, .. }) => Some(setting.fix().into()),
        Error::Keeping(error) => error.fix(),
        _ => None,
    }
}

fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Input { .. } | Error::NoText { .. } => Exit::Usage,
        Error::Refused(failure) | Error::Unproved(failure) => verdict::of_failure(failure),
        Error::Keeping(error) => error.exit(),
        Error::Read { .. } => Exit::Other,
    }
}
