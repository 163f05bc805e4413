//! `status`: the session, and how long it lasts.

use std::{
    env,
    io::{self, IsTerminal},
    thread,
    time::Duration,
};

use clap::{Args, ValueEnum};
use tokio::runtime;

use super::{Exit, Global, clocks, output, running, short, verdict};
use crate::{
    admin::client::{Client, ClientError},
    app,
    clock::{Clock, SystemClock},
    config::Config,
    session::{state::State, status::Report},
    store::{self, LoadError, RunningError},
};

/// A proxy that runs answers at once; one that does not within this time is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks.
const SECOND: Duration = Duration::from_secs(1);

/// Cursor to the upper left, and nothing below it (ECMA-48: CUP, ED).
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// `status`'s own options.
#[derive(Clone, Debug, Args)]
pub(super) struct StatusArgs {
    /// Show it as JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Show one line, as for a prompt or a bar: a mark, what is left of the token, and of the session
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Show it again whenever it changes, until interrupted; on a terminal every second
    #[arg(short, long)]
    watch: bool,
    /// Exit 3 for a session that ends within this time, as "1d"
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    warn_within: Option<Duration>,
}

/// How a status looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One line.
    Short,
}

/// Why there is no status to show.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Store(#[from] LoadError),
    #[error(transparent)]
    Running(#[from] RunningError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the system refuses a runtime: {0}")]
    Runtime(#[source] io::Error),
}

/// Shows the status: the running proxy's, or where none runs what the store says. Dials nobody.
pub(super) fn run(global: &Global, args: &StatusArgs) -> Exit {
    let config = match global.load(Vec::new()) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    if args.watch {
        return watch(global, args, &config);
    }
    match look(&config) {
        Ok(report) => show(global, args, &report),
        Err(error) => refuse(global.is_styled(), &error),
    }
}

/// Says why there is no status to show.
fn refuse(styled: bool, error: &Error) -> Exit {
    output::error(styled, &error.to_string(), error.fix().as_deref());
    error.exit()
}

impl Error {
    /// The code to exit with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Running(error) => running::exit_of_unknown(error),
            Self::Client(error) => running::exit_of(error),
            Self::Store(LoadError::Denied { .. } | LoadError::Untrusted(_)) => Exit::Refused,
            Self::Store(LoadError::Keyring(error)) if error.is_passing() => Exit::TryLater,
            Self::Store(_) | Self::Runtime(_) => Exit::Other,
        }
    }

    /// What mends it, where that can be said.
    pub(super) fn fix(&self) -> Option<String> {
        match self {
            Self::Running(error) => running::fix_of_unknown(error),
            Self::Client(error) => running::fix_of(error),
            Self::Store(LoadError::Denied { .. }) => Some(running::with_sudo()),
            Self::Store(_) | Self::Runtime(_) => None,
        }
    }
}

/// The status: the running proxy's, or where none runs what the store says. Dials nobody else.
pub(super) fn look(config: &Config) -> Result<Report, Error> {
    if store::running_pid(config.store.path())?.is_some() {
        let client = Client::new(app::socket_path(config)).within(PATIENCE);
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
        match runtime.block_on(client.status()) {
            // It is starting or ending just now, and the store is all there is to see.
            Err(ClientError::NotRunning { .. }) => {}
            report => return Ok(report?),
        }
    }
    let now = SystemClock.now();
    let stored = match config.store.open_unattended().load(now) {
        // A sign-in is what mends it, so that is what is shown.
        Err(error @ LoadError::Corrupt { .. }) => {
            output::to_stderr(&format!("warning: {error}"));
            None
        }
        loaded => loaded?,
    };
    let state = State::new(config.session.clone(), config.command("login"), 0);
    Ok(state.at_rest(Ok(stored.map(Box::new))).snapshot(now).facts.report(now, 0))
}

/// Looks every second. Ends when nobody reads any more, or where there is nothing to look at.
fn watch(global: &Global, args: &StatusArgs, config: &Config) -> Exit {
    let redraws = io::stdout().is_terminal() && !args.json;
    let mut shown = None;
    loop {
        let report = match look(config) {
            Ok(report) => report,
            Err(error) => return refuse(global.is_styled(), &error),
        };
        let text = match written(global, args, &report) {
            Ok(text) => text,
            Err(exit) => return exit,
        };
        // A bar shows the line as it is, and so gets each that differs; elsewhere what only counts down is no news.
        let news = (report.timeless(), args.format.map(|_| text.clone()));
        if redraws || shown.as_ref() != Some(&news) {
            shown = Some(news);
            let text = if redraws { format!("{CLEAR}{text}") } else { text };
            match output::try_stdout(&text) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return verdict::of(&report, args.warn_within);
                }
                Err(error) => {
                    output::to_stderr(&format!("error: standard output cannot be written: {error}"));
                    return Exit::Other;
                }
            }
        }
        thread::sleep(SECOND);
    }
}

fn show(global: &Global, args: &StatusArgs, report: &Report) -> Exit {
    let text = match written(global, args, report) {
        Ok(text) => text,
        Err(exit) => return exit,
    };
    match output::to_stdout(&text) {
        Exit::Ok => verdict::of(report, args.warn_within),
        exit => exit,
    }
}

fn written(global: &Global, args: &StatusArgs, report: &Report) -> Result<String, Exit> {
    let now = SystemClock.now().wall;
    let mood = short::mood(report);
    match (args.json, args.format) {
        // One document a line, for whoever reads them one by one.
        (true, _) => {
            let json = if args.watch { serde_json::to_string(report) } else { serde_json::to_string_pretty(report) };
            json.map(|json| json + "\n").map_err(|error| {
                output::to_stderr(&format!("error: the status cannot be written as JSON: {error}"));
                Exit::Other
            })
        }
        (false, Some(Format::Short)) => {
            let line = short::line(report, now, short::Signs::of(|name| env::var(name).ok()));
            let paint = global.is_colored();
            Ok(if paint { format!("{}{line}{}\n", mood.color(), clocks::RESET) } else { line + "\n" })
        }
        (false, None) => {
            let text = clocks::describe(report, now);
            Ok(if global.is_colored() { clocks::painted(&text, mood) } else { text })
        }
    }
}
