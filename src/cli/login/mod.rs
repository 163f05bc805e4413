//! `login`: signs a person in, and begins a session with what that brings.
//!
//! Owns the choice between the ways and what is common to them: that there is a place for the session before anybody is
//! asked for anything, and that it gets there. Each way is a file of its own.

mod browser;
mod password;
mod qr;
mod terminal;

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use tokio::runtime::Runtime;

use super::{
    Exit, Global, clocks,
    keeping::{self, Kept, Place},
    output, verdict,
};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    session::{Origin, Session, status::Report},
    signin::{Obtained, browser::Page},
};

const METHOD_HELP: &str = "How; auto is the browser where cognito.domain is set, else the password";

const PASSWORD_FILE_HELP: &str =
    "Read the password from the first line of this file, or of standard input, instead of asking for it";

/// `login`'s own options.
#[derive(Clone, Debug, Args)]
pub(super) struct LoginArgs {
    #[arg(long, value_name = "auto|browser|password", default_value = "auto", hide_possible_values = true, help = METHOD_HELP)]
    method: Method,
    /// Print the address instead of opening a browser; takes the pasted redirect URL too
    #[arg(long)]
    no_browser: bool,
    /// Who signs in: asked for, where a password is to be given; filled in, where the page can be told
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Give up after this long
    #[arg(long, value_name = "DURATION", value_parser = super::duration, default_value = "5m")]
    timeout: Duration,
    /// Show the address as a QR code too
    #[arg(long)]
    qr: bool,
    #[arg(long, value_name = "FILE|-", help = PASSWORD_FILE_HELP)]
    password_file: Option<PathBuf>,
}

/// The ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    /// By what is configured
    Auto,
    /// Authorization code with PKCE, in the pool's own pages
    Browser,
    /// Secure Remote Password, here in the terminal
    Password,
}

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Keeping(#[from] keeping::Error),
    #[error(transparent)]
    Browser(#[from] browser::Error),
    #[error(transparent)]
    Password(#[from] password::Error),
}

impl Error {
    fn fix(&self, config: &Config) -> Option<String> {
        match self {
            Self::Keeping(error) => error.fix(),
            Self::Browser(error) => error.fix(),
            Self::Password(error) => error.fix(config),
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Keeping(error) => error.exit(),
            Self::Browser(error) => error.exit(),
            Self::Password(error) => error.exit(),
        }
    }
}

/// Signs in. Exits 0, or 3 where what was obtained ends soon.
pub(super) fn run(global: &Global, args: &LoginArgs) -> Exit {
    let config = match global.load(Vec::new()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let _logging = global.start_logging(config.log);
    match login(&config, args) {
        Ok(report) => match output::to_stdout(&clocks::describe(&report, SystemClock.now().wall)) {
            Exit::Ok => verdict::of(&report, None),
            exit => exit,
        },
        Err(error) => {
            output::error(global.is_styled(), &error.to_string(), error.fix(&config).as_deref());
            error.exit()
        }
    }
}

fn login(config: &Config, args: &LoginArgs) -> Result<Report, Error> {
    keeping::has_place(config)?;
    let runtime = keeping::runtime()?;
    let (obtained, visitor) = match chosen(args.method, config) {
        Method::Password => (password::sign_in(config, args, &runtime)?, None),
        Method::Browser | Method::Auto => {
            let (obtained, visitor) = browser::sign_in(config, args, &runtime)?;
            (obtained, Some(visitor))
        }
    };
    let kept = keep(config, obtained, &runtime);
    if let Some(visitor) = visitor {
        runtime.block_on(visitor.tell(farewell(&kept)));
    }
    kept.map(|(report, _)| report)
}

/// Begins the session, where it belongs.
fn keep(config: &Config, obtained: Obtained, runtime: &Runtime) -> Result<(Report, Kept), Error> {
    let Obtained { grant, refresh_token, device } = obtained;
    let session = Session::begun(grant, refresh_token, Origin::Login, device, &config.session);
    // Taken only now: somebody who signs in takes minutes, and whoever refreshes meanwhile wants the store's lock.
    let kept = Place::take(config)?.keep(config, &session, runtime)?;
    Ok((keeping::report(config, session), kept))
}

/// What the browser is told.
fn farewell(kept: &Result<(Report, Kept), Error>) -> Page {
    match kept {
        Ok((report, kept)) => {
            let username = report.identity.as_ref().map(|identity| identity.username.clone()).unwrap_or_default();
            let mut facts = clocks::in_brief(report, SystemClock.now().wall);
            facts.push(("Proxy", kept.as_str().into()));
            Page::SignedIn { username, facts }
        }
        Err(error) => Page::Failed { why: error.to_string() },
    }
}

/// `auto` is what is configured.
fn chosen(method: Method, config: &Config) -> Method {
    match method {
        Method::Auto if config.signin.domain.is_some() => Method::Browser,
        Method::Auto => Method::Password,
        method => method,
    }
}
