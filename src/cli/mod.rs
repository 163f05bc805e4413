//! The command line: one file a command, and what they share.
//!
//! Data goes to standard output; errors, logs and prompts go to standard error. No secret ever stands in an argument.
//! The only room that prints.

mod check;
mod clocks;
mod cognito;
mod completions;
mod demo;
mod doctor;
mod explain;
mod fields;
mod import;
mod init;
mod journal;
mod keeping;
pub mod log;
mod login;
mod logout;
mod man;
mod offline;
pub mod output;
mod reload;
mod run;
mod running;
mod short;
mod snippet;
mod status;
mod token;
mod unlock;
mod verdict;
mod wait;

use std::{ffi::OsString, io, path::PathBuf, process::ExitCode, time::Duration};

use clap::{ArgAction, Args, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use self::{
    check::CheckArgs, completions::CompletionsArgs, demo::DemoArgs, doctor::DoctorArgs, import::ImportArgs,
    init::InitArgs, login::LoginArgs, logout::LogoutArgs, man::ManArgs, run::RunArgs, snippet::SnippetArgs,
    status::StatusArgs, token::TokenArgs, wait::WaitArgs,
};
use crate::{
    config::{self, Config, Environment, LogFormat, LogLevel, Override, Request},
    shell,
};

/// How a command ended, in the numbers that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Anything that has no number of its own.
    Other = 1,
    /// The command line, or the input, is in no form that is known.
    Usage = 2,
    /// It works, but the session ends soon.
    EndsSoon = 3,
    /// Somebody has to sign in.
    SignInNeeded = 4,
    /// Cognito or the upstream cannot be reached (`EX_UNAVAILABLE` of sysexits.h).
    Unreachable = 69,
    /// The store cannot be written (`EX_CANTCREAT`).
    StoreUnwritable = 73,
    /// Try later (`EX_TEMPFAIL`).
    TryLater = 75,
    /// Loose permissions or a foreign owner (`EX_NOPERM`).
    Refused = 77,
    /// The configuration is wrong (`EX_CONFIG`).
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        // The numbers are the discriminants.
        Self::from(exit as u8)
    }
}

/// A local proxy that injects a current Amazon Cognito token into every request.
#[derive(Debug, Parser)]
#[command(name = "cognito-proxy", version, disable_help_subcommand = true, arg_required_else_help = true)]
#[command(after_help = "A configuration is looked for in $XDG_CONFIG_HOME/cognito-proxy/PROFILE.toml and \
                        /etc/cognito-proxy/PROFILE.toml; COGNITO_PROXY_SECTION__KEY sets any of its keys.")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a configuration, and install the units of a service manager
    Init(InitArgs),
    /// Serve until SIGTERM
    Run(RunArgs),
    /// Sign in
    Login(LoginArgs),
    /// Take over tokens from JSON or from an Amplify application's local storage
    Import(ImportArgs),
    /// Show the session, and how long it lasts
    Status(StatusArgs),
    /// Judge the configuration, without the network
    Check(CheckArgs),
    /// Print a current token
    Token(TokenArgs),
    /// Forget the session
    Logout(LogoutArgs),
    /// Wait until the running proxy is ready
    Wait(WaitArgs),
    /// Open the idle lock
    Unlock,
    /// Make the running proxy read its configuration again
    Reload,
    /// Look for everything that can be wrong, and say how to mend it
    Doctor(DoctorArgs),
    /// Print what to paste into a client
    Snippet(SnippetArgs),
    /// Print what a shell needs to complete this program's words
    Completions(CompletionsArgs),
    /// Print the manual, or write all of its pages
    Man(ManArgs),
    /// Show all of it at work against a pool of its own, without an AWS account
    Demo(DemoArgs),
}

const PROFILE_HELP: &str =
    "Which session: names the configuration, its store and its sockets [env: COGNITO_PROXY_PROFILE] [default: proxy]";

/// What every command takes, before or after its name.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    #[arg(short, long, global = true, value_name = "FILE", help = "The configuration [env: COGNITO_PROXY_CONFIG]")]
    config: Option<PathBuf>,
    #[arg(short, long, global = true, value_name = "NAME", help = PROFILE_HELP)]
    profile: Option<String>,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with_all = ["quiet", "log_level"])]
    verbose: u8,
    /// Log warnings and errors alone; twice for errors alone
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "log_level")]
    quiet: u8,
    /// How much to log
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<LevelName>,
    /// How log lines look
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<FormatName>,
    /// Whether to colour what a person reads
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: When,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LevelName {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatName {
    Auto,
    Pretty,
    Json,
    Journald,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum When {
    #[default]
    Auto,
    Always,
    Never,
}

/// Runs the command that `args` (with the program's name in front) names, and says how it ended.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    let parsed = Cli::command()
        .color(usage_colors(&args))
        .try_get_matches_from(args)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(Cli { global, command }) => match command {
            Command::Run(args) => run::run(&global, &args),
            Command::Login(args) => login::run(&global, &args),
            Command::Import(args) => import::run(&global, &args),
            Command::Status(args) => status::run(&global, &args),
            Command::Check(args) => check::run(&global, &args),
            Command::Token(args) => token::run(&global, &args),
            Command::Logout(args) => logout::run(&global, &args),
            Command::Wait(args) => wait::run(&global, &args),
            Command::Init(args) => init::run(&global, &args),
            Command::Unlock => unlock::run(&global),
            Command::Reload => reload::run(&global),
            Command::Doctor(args) => doctor::run(&global, args),
            Command::Snippet(args) => snippet::run(&global, args),
            Command::Completions(args) => completions::run(&args),
            Command::Man(args) => man::run(global.is_styled(), &args),
            Command::Demo(args) => demo::run(&global, &args),
        },
        Err(error) => {
            // A reader that has left, as `--help | head -1` does, is nobody's failure.
            drop(error.print());
            if error.use_stderr() { Exit::Usage } else { Exit::Ok }
        }
    }
}

/// The whole command line.
fn definition() -> clap::Command {
    Cli::command()
}

impl Global {
    /// What these options ask of the configuration, with the flags of a command on top.
    #[must_use]
    pub fn request(&self, overrides: Vec<Override>) -> Request {
        let mut all = overrides;
        if let Some((flag, level)) = self.level() {
            all.push(Override::text(flag, "log.level", level.as_str()));
        }
        if let Some(format) = self.log_format {
            all.push(Override::text("--log-format", "log.format", LogFormat::from(format).as_str()));
        }
        Request { config: self.config.clone(), profile: self.profile.clone(), overrides: all }
    }

    /// Loads the configuration; where it is wrong, shows every mistake on standard error.
    ///
    /// # Errors
    /// The code to exit with: 78, or 77 where permissions or owners alone are at fault.
    pub fn load(&self, overrides: Vec<Override>) -> Result<Config, Exit> {
        Config::load(&self.request(overrides), &Environment::current()).map_err(|error| self.reject(&error))
    }

    /// Starts logging as `config` and these options say. To be called once.
    #[must_use]
    pub fn start_logging(&self, log: config::Log) -> log::Handle {
        log::start(log, self.is_styled())
    }

    /// How to log where no configuration is read.
    #[must_use]
    pub fn log_without_config(&self) -> config::Log {
        config::Log {
            level: self.level().map_or(LogLevel::Info, |(_, level)| level),
            format: self.log_format.map_or(LogFormat::Auto, LogFormat::from),
        }
    }

    /// Whether standard error gets colours.
    #[must_use]
    pub fn is_styled(&self) -> bool {
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => output::wants_color(),
        }
    }

    /// The options that lead another command to the same configuration, each with a space after it.
    fn selection(&self) -> String {
        let config = self.config.iter().map(|path| format!("-c {} ", shell::quoted(&path.to_string_lossy())));
        let profile = self.profile.iter().map(|name| format!("-p {} ", shell::quoted(name)));
        config.chain(profile).collect()
    }

    /// Whether data on standard output gets colours.
    fn is_colored(&self) -> bool {
        match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => output::shows_color(&io::stdout()),
        }
    }

    /// Shows what is wrong with a configuration.
    fn reject(&self, error: &config::Error) -> Exit {
        output::to_stderr(&error.render(self.is_styled(), output::width()));
        if error.is_refusal() { Exit::Refused } else { Exit::Config }
    }

    fn level(&self) -> Option<(&'static str, LogLevel)> {
        match (self.log_level, self.verbose, self.quiet) {
            (Some(level), ..) => Some(("--log-level", level.into())),
            (None, 1, _) => Some(("-v", LogLevel::Debug)),
            (None, 2.., _) => Some(("-v", LogLevel::Trace)),
            (None, _, 1) => Some(("-q", LogLevel::Warn)),
            (None, _, 2..) => Some(("-q", LogLevel::Error)),
            (None, 0, 0) => None,
        }
    }
}

impl From<LevelName> for LogLevel {
    fn from(name: LevelName) -> Self {
        match name {
            LevelName::Error => Self::Error,
            LevelName::Warn => Self::Warn,
            LevelName::Info => Self::Info,
            LevelName::Debug => Self::Debug,
            LevelName::Trace => Self::Trace,
        }
    }
}

impl From<FormatName> for LogFormat {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Auto => Self::Auto,
            FormatName::Pretty => Self::Pretty,
            FormatName::Json => Self::Json,
            FormatName::Journald => Self::Journald,
        }
    }
}

/// A duration on the command line, in the grammar of the configuration.
fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text)
}

/// Whether usage errors are coloured: `--color` counts before the line is understood.
fn usage_colors(args: &[OsString]) -> ColorChoice {
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    let split = words.windows(2).find(|pair| pair[0] == "--color").map(|pair| pair[1]);
    match split.or_else(|| words.iter().find_map(|word| word.strip_prefix("--color="))) {
        Some("always") => ColorChoice::Always,
        Some("never") => ColorChoice::Never,
        _ => ColorChoice::Auto,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in [
            "cognito-proxy -c a.toml -p work --log-level debug --color never check --explain",
            "cognito-proxy check --explain -c a.toml -p work --log-level debug --color never",
            "cognito-proxy -c a.toml check -p work --explain --log-level=debug --color=never",
        ] {
            let Cli { global, command } = parse(line).expect(line);
            assert_eq!(global.config, Some("a.toml".into()), "{line}");
            assert_eq!(global.profile.as_deref(), Some("work"), "{line}");
            assert_eq!(global.log_level, Some(LevelName::Debug), "{line}");
            assert_eq!(global.color, When::Never, "{line}");
            assert!(matches!(command, Command::Check(args) if args.explain), "{line}");
        }
    }

    #[test]
    fn a_command_that_a_person_is_told_to_run_leads_to_the_same_configuration() {
        let selection = |words: &[&str]| {
            let words = ["cognito-proxy"].iter().chain(words).chain(&["check"]);
            Cli::try_parse_from(words).expect("a command").global.selection()
        };
        assert_eq!(selection(&[]), "");
        assert_eq!(selection(&["-c", "/a/b.toml", "-p", "work"]), "-c /a/b.toml -p work ");
        assert_eq!(selection(&["-c", "/my files/it's.toml"]), r"-c '/my files/it'\''s.toml' ");
    }

    #[test]
    fn v_and_q_say_how_much_to_log() {
        for (line, level) in [
            ("cognito-proxy -v run", Some(LogLevel::Debug)),
            ("cognito-proxy run -vv", Some(LogLevel::Trace)),
            ("cognito-proxy run -q", Some(LogLevel::Warn)),
            ("cognito-proxy run -qqq", Some(LogLevel::Error)),
            ("cognito-proxy run --log-level error", Some(LogLevel::Error)),
            ("cognito-proxy run", None),
        ] {
            assert_eq!(parse(line).expect(line).global.level().map(|(_, level)| level), level, "{line}");
        }
        for line in
            ["cognito-proxy run -v -q", "cognito-proxy run -v --log-level info", "cognito-proxy run --log-level x"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_usage_error_is_2_and_help_is_0() {
        let end_of = |line: &str| run(line.split(' ').map(OsString::from));
        assert_eq!(end_of("cognito-proxy nonsense"), Exit::Usage);
        assert_eq!(end_of("cognito-proxy run --workers"), Exit::Usage);
        assert_eq!(end_of("cognito-proxy --version"), Exit::Ok);
    }
}
