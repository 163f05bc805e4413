//! `login --method password`: the shell around [`Dialogue`], which asks the person and calls Cognito.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use super::{
    super::{Exit, cognito, keeping, output},
    LoginArgs, qr,
    terminal::{Echo, Terminal, read_line},
};
use crate::{
    clock::{Clock, SystemClock},
    cognito::{CognitoIssuer, egress, refusal::Refusal},
    config::Config,
    secret::Secret,
    session::{Failure, Session},
    signin::{
        Obtained,
        password::{Chance, Dialogue, Event, Failed, KnownDevice, Notice, Question, Step, Terms, Turn, Way, Wire},
    },
};

/// As `sudo` and `ssh` have it.
const PASSWORDS: u8 = 3;

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The store, or the proxy that runs.
    #[error(transparent)]
    Keeping(#[from] keeping::Error),
    /// Cognito, or the pool's way to sign in.
    #[error(transparent)]
    Failed(#[from] Failed),
    /// Nobody to ask for what a command line can say.
    #[error("there is no terminal to ask for the {0}")]
    NotGiven(&'static str),
    /// Nobody to ask for what only a person can say.
    #[error("the pool asks for {what}, and there is no terminal to ask on")]
    NobodyToAsk {
        /// What.
        what: String,
    },
    /// `--password-file` cannot be read.
    #[error("{place} cannot be read: {source}")]
    Read {
        /// The file, or standard input.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// `--password-file` has an empty first line.
    #[error("{place} has no password in its first line")]
    Empty {
        /// The file, or standard input.
        place: String,
    },
    /// `--password-file` is anybody's to read.
    #[error("{} may be read or written by others: its mode is {mode:04o}", path.display())]
    Loose {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The terminal went away.
    #[error("the terminal is gone: {0}")]
    Terminal(#[source] io::Error),
    /// Ctrl-C, a signal, or the end of the input.
    #[error("stopped; nobody is signed in")]
    Interrupted,
    /// `--timeout`.
    #[error("nobody signed in within {}", crate::clock::Span(*.0))]
    TimedOut(std::time::Duration),
}

impl Error {
    /// What mends it, where that can be said.
    pub(super) fn fix(&self, config: &Config) -> Option<String> {
        match self {
            Self::Keeping(error) => error.fix(),
            // What a room below advises is the default profile's command.
            Self::Failed(failed) => {
                failed.fix().map(|fix| fix.replace("cognito-proxy login", &config.command("login")))
            }
            Self::NotGiven("user name") => Some("say who signs in: --user NAME".into()),
            Self::NotGiven(_) => {
                Some("give it in a file of your own, or on standard input: --password-file FILE".into())
            }
            Self::NobodyToAsk { .. } => Some(
                "run the command in a terminal; a code is good for one sign-in, so none is read from a file".into(),
            ),
            Self::Loose { path, .. } => Some(format!("keep it to yourself: chmod 600 {}", path.display())),
            Self::TimedOut(_) => Some("run the command again, with --timeout for more time".into()),
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("name a file that is there, or - for standard input: --password-file FILE".into())
            }
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("give it in a file of your own, or on standard input: --password-file FILE".into())
            }
            Self::Empty { .. } => Some("write the password, and nothing else, into the first line".into()),
            Self::Read { .. } | Self::Terminal(_) | Self::Interrupted => None,
        }
    }

    /// The code to exit with.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Keeping(error) => error.exit(),
            Self::Failed(Failed::Refused(refusal) | Failed::Device(refusal)) => exit_of(refusal),
            Self::Failed(Failed::PasswordInTheClear) => Exit::Config,
            Self::Failed(Failed::Proof(_) | Failed::Incomplete { .. } | Failed::OutOfOrder)
            | Self::Read { .. }
            | Self::Terminal(_)
            | Self::Interrupted => Exit::Other,
            Self::Failed(_) | Self::NobodyToAsk { .. } => Exit::SignInNeeded,
            Self::TimedOut(_) => Exit::TryLater,
            Self::NotGiven(_) | Self::Empty { .. } => Exit::Usage,
            Self::Loose { .. } => Exit::Refused,
        }
    }
}

fn exit_of(refusal: &Refusal) -> Exit {
    match refusal {
        Refusal::Throttled { .. } | Refusal::TooManyPasswords | Refusal::Other(Failure::Throttled { .. }) => {
            Exit::TryLater
        }
        Refusal::FlowNotAllowed { .. } | Refusal::Other(Failure::Setting { .. }) => Exit::Config,
        Refusal::Other(Failure::Transient { .. } | Failure::Rotated { .. }) => Exit::Unreachable,
        Refusal::Other(Failure::Unacceptable { .. }) => Exit::Other,
        _ => Exit::SignInNeeded,
    }
}

/// Signs in with a password.
pub(super) fn sign_in(config: &Config, args: &LoginArgs, runtime: &Runtime) -> Result<Obtained, Error> {
    let given = args.password_file.as_deref().map(password_from).transpose()?;
    let issuer = cognito::issuer(config)?;
    // Whatever is wrong with the record is said by whoever writes it.
    let stored = config.store.open().load(SystemClock.now()).ok().flatten().filter(|stored| is_of(stored, config));
    let desk = Desk { terminal: Terminal::open() };
    runtime.block_on(async {
        // Ended by either, a program that hides what is typed has to undo that first.
        let mut interrupted = signal(SignalKind::interrupt()).map_err(Error::Terminal)?;
        let mut terminated = signal(SignalKind::terminate()).map_err(Error::Terminal)?;
        let signing_in = timeout(args.timeout, async {
            let username = match &args.user {
                Some(username) => username.clone(),
                None => desk.username(stored.as_ref()).await?,
            };
            let terms = Terms {
                user_pool_id: config.cognito.user_pool_id.clone(),
                username,
                passwords: if given.is_some() { 1 } else { PASSWORDS },
                password: given,
                wire: wire(config),
                device: stored.and_then(known_device),
                device_name: device_name(),
            };
            converse(Dialogue::new(terms), &issuer, &desk).await
        });
        tokio::select! {
            biased;
            _ = interrupted.recv() => Err(Error::Interrupted),
            _ = terminated.recv() => Err(Error::Interrupted),
            signed_in = signing_in => signed_in.unwrap_or(Err(Error::TimedOut(args.timeout))),
        }
    })
}

async fn converse(mut dialogue: Dialogue, issuer: &CognitoIssuer, desk: &Desk) -> Result<Obtained, Error> {
    let mut event = Event::Begin;
    loop {
        let Turn { notices, step } = dialogue.step(event, SystemClock.now().wall, Chance::draw());
        for notice in &notices {
            desk.tell(notice)?;
        }
        event = match step {
            Step::Ask(question) => desk.ask(&question).await?,
            Step::Send(call) => match issuer.sign_in(&call).await {
                Ok(reply) => Event::Heard(reply),
                Err(refusal) => Event::Refused(refusal),
            },
            Step::Done(obtained) => return Ok(*obtained),
            Step::Failed(failed) => return Err(failed.into()),
        };
    }
}

/// Where the person sits, if there is one.
struct Desk {
    terminal: Option<Terminal>,
}

impl Desk {
    /// Asks who signs in; whoever did last is the default.
    async fn username(&self, stored: Option<&Session>) -> Result<String, Error> {
        let terminal = self.terminal.as_ref().ok_or(Error::NotGiven("user name"))?;
        let question = match stored {
            Some(stored) => format!("User name [{}]: ", stored.username),
            None => "User name: ".into(),
        };
        loop {
            let answer = line(terminal, &question, Echo::Shown).await?;
            match (answer.expose().trim(), stored) {
                ("", None) => {}
                ("", Some(stored)) => return Ok(stored.username.clone()),
                (name, _) => return Ok(name.to_owned()),
            }
        }
    }

    async fn ask(&self, question: &Question) -> Result<Event, Error> {
        let Some(terminal) = &self.terminal else { return Err(nobody(question)) };
        match question {
            Question::Password { username } => {
                given(terminal, &format!("Password for {username}: "), Echo::Hidden).await
            }
            Question::NewPassword => new_password(terminal).await,
            Question::Attribute { name } => given(terminal, &format!("{name}: "), Echo::Shown).await,
            Question::Code { way, destination } => {
                given(terminal, &code_question(*way, destination.as_deref()), Echo::Shown).await
            }
            Question::Choice(ways) => choice(terminal, ways).await,
        }
    }

    fn tell(&self, notice: &Notice) -> Result<(), Error> {
        output::to_stderr(&notice.to_string());
        let Notice::NewApplication { uri, secret } = notice else { return Ok(()) };
        // Standard error may be a file, and this is a secret.
        let terminal = self
            .terminal
            .as_ref()
            .ok_or_else(|| nobody(&Question::Code { way: Way::Application, destination: None }))?;
        let picture = qr::rendered(uri.expose()).unwrap_or_default();
        let text = format!("\n{picture}\n  {}\n\n", secret.expose());
        terminal.show(&text).map_err(Error::Terminal)
    }
}

fn nobody(question: &Question) -> Error {
    let what = match question {
        Question::Password { .. } => return Error::NotGiven("password"),
        Question::NewPassword => "a new password".into(),
        Question::Attribute { name } => format!("a value of {name}"),
        Question::Code { way, .. } => format!("a code ({way})"),
        Question::Choice(_) => "a choice between several ways to sign in".into(),
    };
    Error::NobodyToAsk { what }
}

fn code_question(way: Way, destination: Option<&str>) -> String {
    match (way, destination) {
        (Way::Application | Way::Password, _) => "Code from your authenticator application: ".into(),
        (way, None) => format!("Code from the {way}: "),
        (way, Some(destination)) => format!("Code from the {way} to {destination}: "),
    }
}

/// One line; the end of the input is a person who leaves.
async fn line(terminal: &Terminal, question: &str, echo: Echo) -> Result<Secret, Error> {
    terminal.ask(question, echo).await.map_err(Error::Terminal)?.ok_or(Error::Interrupted)
}

/// One line that is not empty.
async fn given(terminal: &Terminal, question: &str, echo: Echo) -> Result<Event, Error> {
    loop {
        let answer = line(terminal, question, echo).await?;
        let is_empty = match echo {
            Echo::Shown => answer.expose().trim().is_empty(),
            Echo::Hidden => answer.expose().is_empty(),
        };
        if !is_empty {
            return Ok(Event::Answered(answer));
        }
    }
}

async fn new_password(terminal: &Terminal) -> Result<Event, Error> {
    loop {
        let first = line(terminal, "New password: ", Echo::Hidden).await?;
        let second = line(terminal, "The same again: ", Echo::Hidden).await?;
        if first == second && !first.expose().is_empty() {
            return Ok(Event::Answered(first));
        }
        terminal.show("these are not the same; try again\n").map_err(Error::Terminal)?;
    }
}

async fn choice(terminal: &Terminal, ways: &[Way]) -> Result<Event, Error> {
    let lines: Vec<String> = ways.iter().enumerate().map(|(index, way)| format!("  {}  {way}", index + 1)).collect();
    terminal.show(&format!("How do you want to sign in?\n{}\n", lines.join("\n"))).map_err(Error::Terminal)?;
    loop {
        let answer = line(terminal, "Number [1]: ", Echo::Shown).await?;
        let number = match answer.expose().trim() {
            "" => Some(1),
            text => text.parse::<usize>().ok(),
        };
        match number.and_then(|number| number.checked_sub(1)).filter(|index| *index < ways.len()) {
            Some(index) => return Ok(Event::Chosen(index)),
            None => terminal.show("that is none of them\n").map_err(Error::Terminal)?,
        }
    }
}

/// The password in the first line of a file, of a pipe such as `<(pass show NAME)`, or of standard input.
fn password_from(path: &Path) -> Result<Secret, Error> {
    let is_stdin = path.as_os_str() == "-";
    let place = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let failed = |source| Error::Read { place: place.clone(), source };
    let line = if is_stdin {
        read_line(io::stdin().lock())
    } else {
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        // A pipe is nobody else's.
        if metadata.is_file() && metadata.mode() & 0o077 != 0 {
            return Err(Error::Loose { path: path.to_owned(), mode: metadata.mode() & 0o7777 });
        }
        read_line(file)
    };
    match line.map_err(failed)? {
        Some(password) if !password.expose().is_empty() => Ok(password),
        _ => Err(Error::Empty { place }),
    }
}

/// What a password would travel in.
fn wire(config: &Config) -> Wire {
    match &config.cognito.endpoint {
        Some(endpoint) if endpoint.scheme_str() == Some("http") => {
            if endpoint.host().is_some_and(egress::is_loopback) {
                Wire::Loopback
            } else {
                Wire::Open
            }
        }
        _ => Wire::Tls,
    }
}

fn is_of(stored: &Session, config: &Config) -> bool {
    stored.user_pool_id == config.cognito.user_pool_id && stored.client_id == config.cognito.client_id
}

/// The device of the last sign-in, where it can prove itself.
fn known_device(stored: Session) -> Option<KnownDevice> {
    let device = stored.device.filter(|device| device.group_key.is_some() && device.password.is_some())?;
    Some(KnownDevice { username: stored.username, device })
}

/// What the pool's administrator sees in the list of a user's devices.
fn device_name() -> String {
    let host = rustix::system::uname();
    format!("cognito-proxy on {}", host.nodename().to_string_lossy())
}
