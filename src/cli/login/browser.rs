//! `login --method browser`: opens the pool's own pages, or shows where they are, and waits for what comes back.

use std::{
    env,
    io::{self, BufRead as _},
    time::Duration,
};

use http::StatusCode;
use tokio::{
    runtime::Runtime,
    signal,
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    super::{Exit, cognito, keeping, output, verdict},
    LoginArgs, qr,
};
use crate::{
    clock::Span,
    cognito::token_endpoint::RedemptionError,
    config::Config,
    session::Failure,
    signin::{
        Obtained,
        browser::{self, Arrived, Attempt, Visitor},
    },
};

/// What takes longer is announced.
const SOON: Duration = Duration::from_secs(1);

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Keeping(#[from] keeping::Error),
    #[error("the pool's key set cannot be had, without which nobody can be signed in: {0}")]
    Keys(Failure),
    #[error(transparent)]
    Attempt(#[from] browser::Error),
    #[error("nobody signed in within {}", Span(*.limit))]
    Deadline { limit: Duration, redirect_uri: String },
    #[error("stopped; nobody is signed in")]
    Interrupted,
}

impl Error {
    /// What mends it, where that can be said.
    pub(super) fn fix(&self) -> Option<String> {
        match self {
            Self::Keeping(error) => error.fix(),
            Self::Keys(_) | Self::Interrupted => None,
            Self::Deadline { redirect_uri, .. } => Some(format!(
                "run the command again, with --timeout for more time; where the page said redirect_mismatch, register \
                 {redirect_uri} with the app client, or set cognito.redirect_uris to what is registered"
            )),
            Self::Attempt(error) => fix_of(error).map(str::to_owned),
        }
    }

    /// The code to exit with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Keeping(error) => error.exit(),
            Self::Keys(failure) => verdict::of_failure(failure),
            Self::Deadline { .. } => Exit::TryLater,
            Self::Interrupted => Exit::Other,
            Self::Attempt(error) => exit_of(error),
        }
    }
}

fn fix_of(error: &browser::Error) -> Option<&'static str> {
    match error {
        browser::Error::NoDomain => Some("set cognito.domain to the pool's managed login, or use --method password"),
        browser::Error::NoPort { .. } => {
            Some("end what listens there, or register another address with the app client and list it too")
        }
        browser::Error::Denied { error, .. } | browser::Error::Redemption(RedemptionError::Refused { error, .. }) => {
            fix_of_code(error)
        }
        browser::Error::Redemption(RedemptionError::Incomplete { missing: "ID token", .. }) => {
            Some("list \"openid\" in cognito.scopes, and allow it for the app client")
        }
        browser::Error::Redemption(RedemptionError::Transport(_) | RedemptionError::Status { .. }) => {
            Some("check cognito.domain and the network, then run the command again")
        }
        browser::Error::OtherIssuer { .. } | browser::Error::Tokens(Failure::Unacceptable { .. }) => {
            Some("check that cognito.domain belongs to cognito.user_pool_id, and cognito.client_id to both")
        }
        browser::Error::Tokens(Failure::Setting { setting, .. }) => Some(setting.fix()),
        browser::Error::Nonce { .. } => Some("run the command again"),
        browser::Error::Redemption(RedemptionError::Incomplete { .. })
        | browser::Error::Listener(_)
        | browser::Error::Tokens(_) => None,
    }
}

/// What mends an OAuth error (RFC 6749 §4.1.2.1, §5.2), by the words that Cognito uses.
fn fix_of_code(error: &str) -> Option<&'static str> {
    match error {
        "invalid_client" => {
            Some("check cognito.client_id, and cognito.client_secret_file where the app client has a secret")
        }
        "invalid_scope" => Some("list in cognito.scopes only what the app client allows"),
        "unauthorized_client" | "unsupported_response_type" => {
            Some("allow the authorization code grant for the app client, and check cognito.client_id")
        }
        "invalid_request" | "redirect_mismatch" => {
            Some("check cognito.redirect_uris and cognito.scopes against what the app client allows")
        }
        "invalid_grant" | "access_denied" => Some("run the command again"),
        _ => None,
    }
}

fn exit_of(error: &browser::Error) -> Exit {
    match error {
        browser::Error::NoDomain => Exit::Config,
        browser::Error::NoPort { .. } => Exit::TryLater,
        browser::Error::Denied { error, .. } => exit_of_code(error),
        browser::Error::Redemption(error) => match error {
            RedemptionError::Refused { error, .. } => exit_of_code(error),
            RedemptionError::Transport(_) => Exit::Unreachable,
            RedemptionError::Status { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS => Exit::TryLater,
            RedemptionError::Status { status, .. } if status.is_server_error() => Exit::Unreachable,
            RedemptionError::Status { .. } | RedemptionError::Incomplete { .. } => Exit::Config,
        },
        browser::Error::Tokens(failure) => verdict::of_failure(failure),
        browser::Error::Listener(_) | browser::Error::OtherIssuer { .. } | browser::Error::Nonce { .. } => Exit::Other,
    }
}

fn exit_of_code(error: &str) -> Exit {
    match error {
        "access_denied" | "invalid_grant" => Exit::SignInNeeded,
        "server_error" | "temporarily_unavailable" => Exit::TryLater,
        "invalid_client"
        | "invalid_scope"
        | "unauthorized_client"
        | "unsupported_response_type"
        | "invalid_request"
        | "redirect_mismatch"
        | "unsupported_grant_type" => Exit::Config,
        _ => Exit::Other,
    }
}

/// Signs in in a browser. Whoever brought the callback waits for a page until it is told how it went.
pub(super) fn sign_in(config: &Config, args: &LoginArgs, runtime: &Runtime) -> Result<(Obtained, Visitor), Error> {
    runtime.block_on(async {
        tokio::select! {
            done = attempt(config, args) => done,
            _ = signal::ctrl_c() => Err(Error::Interrupted),
        }
    })
}

async fn attempt(config: &Config, args: &LoginArgs) -> Result<(Obtained, Visitor), Error> {
    let (transport, issuer) = (cognito::transport()?, cognito::issuer(config)?);
    let mut attempt = Attempt::begin(&config.signin, &config.cognito, args.user.as_deref()).await?;
    // Nobody is to sign in only to learn that what they get cannot be verified.
    announced("fetching the pool's keys", issuer.ready()).await.map_err(Error::Keys)?;
    let pasted = show(&attempt, args);
    let redirect_uri = attempt.redirect_uri().to_owned();
    let Ok(arrived) = timeout(args.timeout, arrival(&mut attempt, pasted)).await else {
        return Err(Error::Deadline { limit: args.timeout, redirect_uri });
    };
    let finish = attempt.finish(arrived?, &config.signin, &config.cognito, &transport, &issuer);
    Ok(announced("redeeming the code", finish).await?)
}

/// Waits for the callback, or for somebody to paste its address.
async fn arrival(attempt: &mut Attempt, mut pasted: mpsc::Receiver<String>) -> Result<Arrived, Error> {
    loop {
        tokio::select! {
            arrived = attempt.callback() => return Ok(arrived?),
            Some(line) = pasted.recv() => match attempt.pasted(&line) {
                Ok(arrived) => return Ok(arrived),
                Err(error) => output::to_stderr(&error.to_string()),
            },
        }
    }
}

/// Opens a browser, or shows the address and takes pasted ones.
fn show(attempt: &Attempt, args: &LoginArgs) -> mpsc::Receiver<String> {
    let address = attempt.address();
    let (tell, pasted) = mpsc::channel(1);
    let opened = if args.no_browser { Err(None) } else { opened(address) };
    match &opened {
        Ok(()) => output::to_stderr(&format!("sign in in the browser that opens; if none does, at\n\n  {address}\n")),
        Err(why) => {
            let why = why.as_ref().map(|why| format!("no browser is opened: {why}\n")).unwrap_or_default();
            output::to_stderr(&format!("{why}sign in at\n\n  {address}\n"));
        }
    }
    if args.qr
        && let Some(code) = qr::rendered(address)
    {
        output::to_stderr(&code);
    }
    let left = Span(args.timeout);
    if opened.is_err() {
        output::to_stderr(&format!(
            "waiting for it up to {left}; where the browser cannot reach {}, paste here the address that it ends on:",
            attempt.redirect_uri()
        ));
        // Reading blocks until there is a line, so that this thread ends with the process.
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok).filter(|line| !line.trim().is_empty()) {
                if tell.blocking_send(line).is_err() {
                    return;
                }
            }
        });
    } else {
        output::to_stderr(&format!("waiting for it up to {left}; Ctrl-C gives up"));
    }
    pasted
}

/// Opens a browser, and never waits for it. The error is why none is opened.
fn opened(address: &str) -> Result<(), Option<String>> {
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    if is_set("SUDO_USER") {
        return Err(Some("this runs under sudo, and the browser would be root's".into()));
    }
    let needs_display = cfg!(not(any(target_os = "macos", target_os = "windows")));
    if needs_display && !["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"].into_iter().any(is_set) {
        return Err(Some("there is no display".into()));
    }
    open::that_detached(address).map_err(|error| Some(error.to_string()))
}

/// Says what is under way where it takes more than a moment.
async fn announced<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = sleep(SOON) => output::to_stderr(&format!("{what} …")),
    }
    work.await
}
