//! `demo`: everything at work against a pool in this process, without an AWS account.
//!
//! The proxy is the real one; what stands in for AWS is `devpool`, which speaks Cognito's own protocol on a socket, and
//! what stands in for an API is its echo. Nothing outside a directory of its own is read or written.

mod once;
mod stage;

use std::{
    io::{self, BufRead, IsTerminal},
    time::Duration,
};

use clap::Args;
use tokio::{runtime::LocalRuntime, sync::mpsc};

use self::stage::{Error, Lifetimes, Stage};
use super::{Exit, Global, output, run::Signals};
use crate::{
    clock::{Clock, Span},
    config::LogFormat,
    session::status::StateName,
};

/// How long tokens and the session live where nobody says.
const ID_TOKEN_VALIDITY: Duration = Duration::from_secs(20);
/// A whole session in less than a minute needs tokens that are quicker still.
const ID_TOKEN_VALIDITY_ONCE: Duration = Duration::from_secs(6);

/// How long a request waits for a sign-in, and where nobody waits for it to be told otherwise.
const HOLD: Duration = Duration::from_secs(30);
const HOLD_ONCE: Duration = Duration::from_secs(3);

/// How long after its end a session is renewed where nobody can press Enter.
const UNATTENDED_PAUSE: Duration = Duration::from_secs(15);

/// `demo`'s own options.
#[derive(Clone, Debug, Args)]
pub(super) struct DemoArgs {
    /// Listen here; may be given more than once. Without it the next free port from 8900 on is taken
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// How long an ID token lives [default: 20s, with --once 6s]
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    id_token_validity: Option<Duration>,
    /// How long the session lives
    #[arg(long, value_name = "DURATION", value_parser = lifetime, default_value = "10m")]
    refresh_token_validity: Duration,
    /// Go through a whole session in less than a minute, then stop
    #[arg(long)]
    once: bool,
}

/// A lifetime in whole seconds, which is how a JWT states its own.
fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = super::duration(text)?;
    if lifetime < Duration::from_secs(3) || lifetime.subsec_nanos() != 0 {
        return Err("is to be 3s or more, in whole seconds".into());
    }
    Ok(lifetime)
}

/// Shows it. Reads no configuration.
pub(super) fn run(global: &Global, args: &DemoArgs) -> Exit {
    let mut log = global.log_without_config();
    if log.format == LogFormat::Auto {
        log.format = LogFormat::Pretty;
    }
    let _logging = global.start_logging(log);
    let default = if args.once { ID_TOKEN_VALIDITY_ONCE } else { ID_TOKEN_VALIDITY };
    let lifetimes = Lifetimes {
        id_token: args.id_token_validity.unwrap_or(default),
        refresh_token: args.refresh_token_validity,
        hold: if args.once { HOLD_ONCE } else { HOLD },
    };
    let shown = LocalRuntime::new()
        .map_err(Error::Runtime)
        .and_then(|runtime| runtime.block_on(show(&args.listen, lifetimes, args.once)));
    match shown {
        Ok(exit) => exit,
        // Of what the demo writes itself nothing is wrong: a flag is.
        Err(Error::Config(error)) => global.reject(&error),
        Err(error) => {
            output::error(global.is_styled(), &error.to_string(), None);
            Exit::Other
        }
    }
}

async fn show(listen: &[String], lifetimes: Lifetimes, once: bool) -> Result<Exit, Error> {
    let mut signals = Signals::new().map_err(Error::Runtime)?;
    let stage = Stage::set(listen, lifetimes).await?;
    let exit = tokio::select! {
        exit = async { if once { once::play(&stage).await } else { attend(&stage).await } } => exit,
        () = signals.next() => Exit::Ok,
    };
    stage.strike().await?;
    Ok(exit)
}

/// Says what there is to see, and signs in again when somebody presses Enter or the session has ended unattended.
async fn attend(stage: &Stage) -> Exit {
    output::to_stdout(&welcome(stage));
    let mut enter = enter_pressed();
    let mut changes = stage.current().subscribe();
    loop {
        let ended = stage.current().snapshot().facts.state == StateName::SessionEnded;
        tokio::select! {
            Some(()) = enter.recv() => {}
            () = stage.wished() => {}
            () = tokio::time::sleep(UNATTENDED_PAUSE), if ended && !io::stdin().is_terminal() => {}
            told = changes.changed() => {
                if told.is_err() {
                    return Exit::Ok;
                }
                continue;
            }
        }
        if let Err(error) = stage.sign_in().await {
            output::to_stderr(&format!("error: {error}"));
        }
    }
}

fn welcome(stage: &Stage) -> String {
    let facts = stage.current().snapshot().facts.clone();
    let left = facts.refresh_token.at.map(|at| Span(at.since(crate::clock::SystemClock.now().wall)).to_string());
    let curl = stage.curl("/hello");
    let again = if io::stdin().is_terminal() {
        "press Enter to sign in again, at any time; Ctrl-C ends the demo"
    } else {
        "the demo signs in again by itself after the end"
    };
    format!(
        "\n  cognito-proxy demo: a user pool, an API and the proxy, all in this process\n\n  \
         try it        {curl}\n  \
         what you see  the API's view of your request: a token that you never sent\n  \
         tokens        live {}, and are refreshed before they end\n  \
         the session   ends in {}, with warnings before it\n  \
         after it      requests wait up to {} for the next sign-in, and then go on\n  \
         status        {}/status, with a button that signs in\n  \
         then          {again}\n\n",
        Span(stage.lifetimes().id_token),
        left.unwrap_or_else(|| "a while".into()),
        Span(stage.lifetimes().hold),
        stage.admin_url(),
    )
}

/// Tells of each line on standard input, where that is a terminal.
fn enter_pressed() -> mpsc::Receiver<()> {
    let (tell, told) = mpsc::channel(1);
    if io::stdin().is_terminal() {
        // Reading a terminal blocks until somebody types, so that this thread ends with the process.
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                if line.is_err() || tell.blocking_send(()).is_err() {
                    return;
                }
            }
        });
    } else {
        // Kept open for ever, so that the receiver never reads as closed.
        std::mem::forget(tell);
    }
    told
}
