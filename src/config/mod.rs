//! The configuration: `proxy.toml`, the environment and the flags, judged as a whole.
//!
//! Owns the file's grammar and every rule that can be checked without the network; knows every room's settings, and no
//! room knows it. Layering is flag over environment over file over default, key by key.
//!
//! figment layers: defaults, file, environment and flags are providers of it, it decides which value is in force, and it
//! is asked where that came from. The judging is ours, because figment's extraction stops at the first mistake and
//! knows no lines: each value is read by the type of its key, every mistake of a load is reported, and each in the file
//! has its line and column.

mod diagnostic;
mod environment;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod kinds;
mod layers;
mod locate;
mod mask;
mod node;
mod place;
mod problem;
mod reader;
mod resolve;
mod secret_file;
mod syntax;
mod units;
mod unknown;
mod url;

#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub use diagnostic::{Diagnostic, Error, Excerpt, Location};
pub use environment::Environment;
pub use reader::Effective;

use self::{
    diagnostic::FileText,
    file::{File, SECTIONS},
    layers::{Defaults, Document, Flags, Layers, Variables},
    locate::Located,
    node::{Node, Value},
    place::Place,
    problem::Problem,
    reader::Reader,
    resolve::Context,
};
use crate::{cognito, current, guard, listen, proxy, server, session, signin, store, warn};

/// A configuration that has been found sound, with what each room is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The profile: names the store, the sockets and the unit.
    pub profile: String,
    /// The file that was read, absolute; `None` where the environment said it all.
    pub file: Option<PathBuf>,
    /// The options that lead a command line here, as [`Config::command`] puts them behind the command.
    options: String,
    /// Where the control socket and the locks lie. Not made yet.
    pub runtime_dir: PathBuf,
    /// `[cognito]`, `[verify]`.
    pub cognito: cognito::Settings,
    /// `[cognito]`, for a sign-in by browser.
    pub signin: signin::Settings,
    /// `[listen]`.
    pub listen: listen::Settings,
    /// `[upstream]`, `[inject]`, `[[route]]`.
    pub proxy: proxy::Settings,
    /// `[refresh]`, `[session]`, `[warn] before`.
    pub session: session::Settings,
    /// `[refresh] wait`, `[session] hold`.
    pub current: current::Settings,
    /// `[warn]`.
    pub warn: warn::Settings,
    /// `[guard]`.
    pub guard: guard::Settings,
    /// `[store]`.
    pub store: store::Settings,
    /// `[limits]`, `[runtime] drain_timeout`, `[log] access`.
    pub server: server::Settings,
    /// `runtime.workers`; 0 is one per core, at most 4.
    pub workers: usize,
    /// `[log]`.
    pub log: Log,
    /// What has to be announced at every start, one sentence each.
    pub notices: Vec<String>,
    /// Every key with its value and its origin, in the order of the file. Holds no secret.
    pub effective: Vec<Effective>,
}

/// `[log]`, resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// `level`.
    pub level: LogLevel,
    /// `format`.
    pub format: LogFormat,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What has gone wrong for good.
    Error,
    /// What a person should look at.
    Warn,
    /// One line a change of state.
    Info,
    /// What led to it.
    Debug,
    /// Everything of this program's own; never a body or a token.
    Trace,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// By where standard error leads.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
    /// The journal's own protocol, with fields.
    Journald,
}

impl LogLevel {
    /// The word of the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl LogFormat {
    /// The word of the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Pretty => "pretty",
            Self::Json => "json",
            Self::Journald => "journald",
        }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
    },
    /// A variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A flag.
    Flag {
        /// As it is typed.
        flag: String,
    },
    /// It follows from something else.
    Derived {
        /// The key, or what it is called.
        from: String,
    },
}

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--profile`.
    pub profile: Option<String>,
    /// Flags that set keys.
    pub overrides: Vec<Override>,
}

/// A flag that sets a key.
#[derive(Clone, Debug)]
pub struct Override {
    flag: &'static str,
    key: &'static str,
    value: Value,
}

impl Override {
    /// `flag` sets `key` to `text`, which is read by the key's type.
    #[must_use]
    pub fn text(flag: &'static str, key: &'static str, text: impl Into<String>) -> Self {
        Self { flag, key, value: Value::Bare(text.into()) }
    }

    /// `flag` was given once or more, and sets a list.
    #[must_use]
    pub fn list(flag: &'static str, key: &'static str, items: impl IntoIterator<Item = String>) -> Self {
        let place = Place::Flag(flag.to_owned());
        let items = items.into_iter().map(|item| Node { value: Value::String(item), place: place.clone() }).collect();
        Self { flag, key, value: Value::Array(items) }
    }
}

/// Where a configuration that is not written yet would be read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The profile that it is for.
    pub profile: String,
    /// The file that was named, or else the user's own.
    pub file: PathBuf,
    /// Whether a person named it.
    pub named: bool,
    /// The machine's, for a service of the system.
    pub system: PathBuf,
}

impl Destination {
    /// What `request` leads to.
    ///
    /// # Errors
    /// Where no profile can be made of it, or nobody's home is known.
    pub fn find(request: &Request, environment: &Environment) -> Result<Self, Error> {
        let alone = |problem| Error::new(vec![Diagnostic::locate(problem, None)]);
        let located =
            locate::locate(request.config.as_deref(), request.profile.as_deref(), environment).map_err(alone)?;
        let own = if located.named { located.file } else { located.searched.first().cloned() };
        let file = own.ok_or_else(|| alone(Problem::new("names no file").fix("write --config FILE")))?;
        let system = environment.etc.join("cognito-proxy").join(format!("{}.toml", located.profile));
        Ok(Self { profile: located.profile, file, named: located.named, system })
    }
}

impl Config {
    /// Finds, reads and judges the configuration.
    ///
    /// # Errors
    /// Every mistake in it, each with its place and its mending.
    pub fn load(request: &Request, environment: &Environment) -> Result<Self, Error> {
        let alone = |problem| Error::new(vec![Diagnostic::locate(problem, None)]);
        let located =
            locate::locate(request.config.as_deref(), request.profile.as_deref(), environment).map_err(alone)?;
        let text = located.file.as_deref().map(read).transpose()?;
        Self::of(text.as_ref(), &located, request, environment)
    }

    /// Reads and judges `text`, which is what `located.file` holds.
    fn of(
        text: Option<&FileText>,
        located: &Located,
        request: &Request,
        environment: &Environment,
    ) -> Result<Self, Error> {
        let alone = |problem| Error::new(vec![Diagnostic::locate(problem, None)]);
        let (variables, mut problems) = environment.settings();
        let entries = text.map(|file| node::parse_document(&file.text)).transpose();
        let entries = entries.map(Option::unwrap_or_default).map_err(|problem| {
            problems.insert(0, problem);
            let located = problems.iter().map(|problem| Diagnostic::locate(problem.clone(), text));
            Error::new(located.collect())
        })?;
        let flag = |one: &Override| Node { value: one.value.clone(), place: Place::Flag(one.flag.to_owned()) };
        let flags = request.overrides.iter().map(|one| (one.key.to_owned(), flag(one))).collect();
        problems.extend(unknown::problems(&entries, variables.get("route")));
        let root = Node { value: Value::Table(entries), place: Place::Unset };
        let document = Document { path: located.file.as_deref(), root };
        let layers = Layers::merge(Defaults(&SECTIONS), document, Variables(&variables), Flags(&flags));
        let layers = layers.map_err(alone)?;
        judge(Reader::new(&layers, text, problems), located, environment)
    }

    /// Looks up on this machine what only it knows: the users of `guard.users`.
    ///
    /// # Errors
    /// A user that is not here. `run` refuses to start for it; other commands have no use for it.
    pub fn check_here(&self) -> Result<(), Error> {
        let Err(guard::UsersError::NoSuchUser(name)) = guard::Users::resolve(&self.guard.users) else { return Ok(()) };
        let location = match (self.origin_of("guard.users"), &self.file) {
            (Some(Origin::Environment { variable }), _) => Location::Environment(variable.clone()),
            (_, Some(file)) => Location::WholeFile(file.clone()),
            (_, None) => Location::Nowhere,
        };
        let diagnostic = Diagnostic {
            key: Some("guard.users".into()),
            location,
            message: format!("lists {name:?}, and /etc/passwd has no such user"),
            fix: Some(format!(
                "make that user, or write the uid, which `id -u {name}` prints where another source knows it"
            )),
            refused: false,
        };
        Err(Error::new(vec![diagnostic]))
    }

    /// `cognito-proxy WORDS` as a shell takes it in whatever directory, with the options that lead to this profile and
    /// file: none for the default profile whose file is where it is looked for.
    #[must_use]
    pub fn command(&self, words: &str) -> String {
        format!("cognito-proxy {words}{}", self.options)
    }

    /// The sections that differ from `new` and take effect only at a restart.
    #[must_use]
    pub fn restart_needed(&self, new: &Self) -> Vec<&'static str> {
        let values = |config: &Self, section: &str| -> Vec<_> {
            let below = format!("{section}.");
            let keys = config.effective.iter().filter(|effective| effective.key.starts_with(&below));
            keys.map(|effective| (effective.key.clone(), effective.value.clone())).collect()
        };
        ["listen", "runtime", "store"]
            .into_iter()
            .filter(|section| values(self, section) != values(new, section))
            .collect()
    }

    /// Where the effective value of `section.key` came from.
    #[must_use]
    pub fn origin_of(&self, key: &str) -> Option<&Origin> {
        self.effective.iter().find(|effective| effective.key == key).map(|effective| &effective.origin)
    }
}

/// Reads a duration as the configuration writes it, for the flags that hold one.
///
/// # Errors
/// What is wrong with it, and how to mend it, in one sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|problem| match problem.fix {
        Some(fix) => format!("it {}; {fix}", problem.message),
        None => problem.message,
    })
}

/// `duration` as the configuration writes it: `1h30m`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    units::show_duration(duration)
}

fn read(path: &Path) -> Result<FileText, Error> {
    let bytes = locate::read(path).map_err(|problem| {
        let mut diagnostic = Diagnostic::locate(problem, None);
        diagnostic.location = Location::WholeFile(path.to_owned());
        Error::new(vec![diagnostic])
    })?;
    let path = path.to_owned();
    String::from_utf8(bytes).map(|text| FileText { path: path.clone(), text }).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let problem = Problem::new("this is not valid UTF-8, which TOML is written in")
            .fix("save the file as UTF-8")
            .at(Place::File(at..at + char::REPLACEMENT_CHARACTER.len_utf8()));
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        Error::new(vec![Diagnostic::locate(problem, Some(&FileText { path, text }))])
    })
}

/// Reads every key, resolves every section, and puts the sound whole together.
fn judge(mut reader: Reader<'_>, located: &Located, environment: &Environment) -> Result<Config, Error> {
    let file = File::read(&mut reader);
    if located.file.is_none() {
        locate::missing(&mut reader, &file, located, environment);
    }
    let (default_store, runtime_dir) = locate::places(located, environment);
    let mut context = Context { reader: &mut reader, environment, file: located.file.as_deref(), notices: Vec::new() };
    let context = &mut context;
    let cognito = resolve::cognito::resolve(context, &file.cognito, &file.verify);
    let validity = resolve::cognito::validity(context, &file.cognito);
    let signin = resolve::cognito::signin(context, &file.cognito);
    let listen = resolve::listen::resolve(context, &file.listen, &file.guard);
    let upstream = resolve::upstream::resolve(context, &file.upstream, &listen);
    let inject = resolve::route::inject(context, &file.inject);
    let defaults = upstream.as_ref().zip(inject.as_ref());
    let routes = resolve::route::routes(context, &file.routes, &file.upstream, &listen, defaults);
    let kinds = inject.as_ref().map(|inject| resolve::session::kinds(inject, routes.as_deref().unwrap_or_default()));
    let ids = cognito.as_ref().map_or(("", ""), |pool| (pool.user_pool_id.as_str(), pool.client_id.as_str()));
    let session = resolve::session::resolve(context, &file, ids, kinds.unwrap_or_default(), validity);
    let current = resolve::session::current(context, &file);
    let warn = resolve::session::warn(context, &file.warn);
    let guard = resolve::guard::resolve(context, &file.guard);
    let store = resolve::limits::store(context, &file.store, default_store, &located.profile);
    let server = resolve::limits::resolve(context, &file);
    let workers = resolve::limits::workers(context, &file.runtime);
    let notices = std::mem::take(&mut context.notices);
    let runtime_dir = runtime_dir.or_else(|| store.as_ref()?.path().parent().map(Path::to_owned));
    let (effective, diagnostics) = reader.finish();
    let (true, Some(cognito), Some(upstream), Some(inject), Some(routes), Some(store), Some(runtime_dir)) =
        (diagnostics.is_empty(), cognito, upstream, inject, routes, store, runtime_dir)
    else {
        return Err(Error::new(diagnostics));
    };
    let default_route = proxy::Route { path: "/".into(), upstream, inject: Some(inject), strip_prefix: false };
    let session_header = file.warn.response_header.value.0 == kinds::Switch::On;
    Ok(Config {
        profile: located.profile.clone(),
        file: located.file.clone(),
        options: located.options.clone(),
        runtime_dir,
        cognito,
        signin,
        listen,
        proxy: proxy::Settings { routes, default_route, session_header },
        session,
        current,
        warn,
        guard,
        store,
        server,
        workers,
        log: Log { level: file.log.level.value.0, format: file.log.format.value.0 },
        notices,
        effective,
    })
}
