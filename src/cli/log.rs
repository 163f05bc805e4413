//! Logging: one line an event on standard error, or the journal's own protocol.
//!
//! Never fails and never panics: a standard error that is closed or full loses the line and nothing else. What other
//! crates say is capped at warnings, whatever the level: the SDK's own traces print request bodies, and those hold the
//! refresh token.

use std::{
    env,
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
};

use jiff::{Timestamp, tz::TimeZone};
use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{Layer, Registry, filter::Targets, layer::Context, layer::SubscriberExt, reload};

use super::{fields::Fields, journal::Journal};
use crate::{
    clock::{Clock, SystemClock, UnixTime},
    config::{Log, LogFormat, LogLevel},
};

/// Changes the level while the program runs, at a reload.
#[derive(Clone, Debug)]
pub struct Handle {
    filter: reload::Handle<Targets, Registry>,
}

impl Handle {
    /// Logs at `level` from now on.
    pub fn set_level(&self, level: LogLevel) {
        // Fails only where the subscriber is gone, and then nobody logs.
        drop(self.filter.reload(targets(level)));
    }
}

/// Sends every event of this process to where `log.format` says. A second call changes nothing.
pub(super) fn start(log: Log, styled: bool) -> Handle {
    let (filter, handle) = reload::Layer::new(targets(log.level));
    let subscriber = Registry::default().with(filter).with(Lines { sink: Sink::of(log.format, styled) });
    drop(tracing::subscriber::set_global_default(subscriber));
    Handle { filter: handle }
}

/// This program's own events at `level`, everybody else's at warnings.
fn targets(level: LogLevel) -> Targets {
    let own = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(own.min(LevelFilter::WARN))
        .with_target("cognito_proxy", own)
        // An error at every 5xx, since the SDK does not find a connection of its own to close: ours are not its to close.
        .with_target("aws_smithy_runtime::client::http::connection_poisoning", LevelFilter::OFF)
}

/// Where lines go.
#[derive(Debug)]
enum Sink {
    Pretty { styled: bool, with_time: bool },
    Json,
    Journal(Journal),
}

impl Sink {
    fn of(format: LogFormat, styled: bool) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let pretty = || Self::Pretty { styled, with_time: is_terminal };
        match format {
            LogFormat::Pretty => pretty(),
            LogFormat::Journald => Journal::open().map_or_else(|_| pretty(), Self::Journal),
            LogFormat::Auto if is_journal(env::var("JOURNAL_STREAM").ok().as_deref()) => {
                Journal::open().map_or_else(|_| pretty(), Self::Journal)
            }
            LogFormat::Auto if is_terminal => pretty(),
            LogFormat::Json | LogFormat::Auto => Self::Json,
        }
    }
}

/// Whether standard error is the journal, by the device and inode in `$JOURNAL_STREAM` (systemd.exec(5)): the
/// variable alone is inherited by children whose standard error leads elsewhere.
fn is_journal(stream: Option<&str>) -> bool {
    let Some((device, inode)) = stream.and_then(|stream| stream.split_once(':')) else { return false };
    let (Ok(device), Ok(inode)) = (device.parse::<u64>(), inode.parse::<u64>()) else { return false };
    rustix::fs::fstat(io::stderr()).is_ok_and(|stat| stat.st_dev == device && stat.st_ino == inode)
}

/// The layer that writes.
struct Lines {
    sink: Sink,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        let line = match &self.sink {
            Sink::Pretty { styled, with_time } => {
                pretty(level, &fields, *styled, with_time.then(|| SystemClock.now().wall))
            }
            Sink::Json => json(level, event.metadata().target(), &fields, SystemClock.now().wall),
            Sink::Journal(journal) => return journal.send(level, event.metadata().target(), &fields),
        };
        // One write, so that lines of several threads stay whole.
        drop(io::stderr().lock().write_all(line.as_bytes()));
    }
}

/// `INFO  refreshed id_token_expires_in=1h`, with the local time of day in front where `at` says when.
fn pretty(level: Level, fields: &Fields, styled: bool, at: Option<UnixTime>) -> String {
    let colour = match level {
        Level::ERROR => "\u{1b}[1;31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    };
    let (colour, dim, reset) = if styled { (colour, "\u{1b}[2m", "\u{1b}[0m") } else { ("", "", "") };
    let mut out = String::new();
    if let Some(timestamp) = at.and_then(|at| Timestamp::from_second(at.as_secs()).ok()) {
        let local = TimeZone::system().to_datetime(timestamp);
        let _ = write!(out, "{dim}{}{reset} ", local.strftime("%H:%M:%S"));
    }
    let _ = writeln!(out, "{colour}{:<5}{reset} {}", level.as_str(), fields.line(dim, reset));
    out
}

/// One JSON object on a line, what every line has in front.
fn json(level: Level, target: &str, fields: &Fields, at: UnixTime) -> String {
    let time = Timestamp::from_millisecond(at.as_millis()).map(|time| format!("{time:.3}")).unwrap_or_default();
    let level = level.as_str().to_lowercase();
    let head = [("time", time.as_str()), ("level", &level), ("message", &fields.message), ("target", target)];
    let mut out = String::from("{");
    for (name, text) in head {
        let comma = if out.len() == 1 { "" } else { "," };
        let _ = write!(out, "{comma}\"{name}\":{}", serde_json::Value::from(text));
    }
    for (name, value) in &fields.values {
        // "session ends soon" has a level of its own.
        let prefix = if head.iter().any(|(taken, _)| taken == name) { "event_" } else { "" };
        let _ = write!(out, ",{}:{value}", serde_json::Value::from(format!("{prefix}{name}")));
    }
    out.push_str("}\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_library_says_of_its_own_connections_is_not_logged() {
        let targets = targets(LogLevel::Trace);
        let poisoning = "aws_smithy_runtime::client::http::connection_poisoning";
        assert!(!targets.would_enable(poisoning, &Level::ERROR));
        assert!(targets.would_enable("aws_smithy_runtime", &Level::WARN));
        assert!(!targets.would_enable("aws_smithy_runtime", &Level::INFO));
        assert!(targets.would_enable("cognito_proxy::proxy", &Level::TRACE));
    }

    fn fields(message: &str, values: &[(&'static str, &str)]) -> Fields {
        Fields { message: message.into(), values: values.iter().map(|(name, text)| (*name, (*text).into())).collect() }
    }

    #[test]
    fn lines_look_as_documented() {
        let refreshed = fields("refreshed", &[("id_token_expires_in", "1h"), ("session_ends_in", "29d23h")]);
        assert_eq!(
            pretty(Level::INFO, &refreshed, false, None),
            "INFO  refreshed id_token_expires_in=1h session_ends_in=29d23h\n"
        );
        let ends = fields("session ends soon", &[("level", "soon"), ("fix", "cognito-proxy login"), ("error", "")]);
        assert_eq!(
            pretty(Level::WARN, &ends, false, None),
            "WARN  session ends soon level=soon fix=\"cognito-proxy login\" error=\"\"\n"
        );
    }

    #[test]
    fn nothing_forges_a_second_line() {
        let forged = fields("refused\nERROR all is lost", &[("host", "a\r\nERROR x\u{1b}[2J")]);
        let line = pretty(Level::INFO, &forged, false, None);
        assert_eq!(line, "INFO  refused ERROR all is lost host=\"a\\r\\nERROR x\\u{1b}[2J\"\n");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let mut event = fields("refreshed\n", &[("reason", "a \"b\""), ("level", "soon")]);
        event.values.push(("attempt", 2.into()));
        let line = json(Level::WARN, "cognito_proxy::refresher", &event, UnixTime::from_millis(1_500));
        assert_eq!(line.matches('\n').count(), 1);
        let object: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(object["time"], "1970-01-01T00:00:01.500Z");
        assert_eq!((&object["level"], &object["event_level"]), (&"warn".into(), &"soon".into()));
        assert!(line.starts_with("{\"time\":"), "{line}");
        assert_eq!(object["reason"], "a \"b\"");
        assert_eq!(object["attempt"], 2);
    }

    #[test]
    fn other_crates_are_capped_at_warnings() {
        let all = targets(LogLevel::Trace);
        assert!(all.would_enable("cognito_proxy::refresher", &Level::TRACE));
        for target in ["aws_smithy_runtime::client", "hyper::proto", "h2", "rustls::client", "aws_sdk_x"] {
            assert!(all.would_enable(target, &Level::WARN), "{target}");
            assert!(!all.would_enable(target, &Level::INFO), "{target}");
        }
        assert!(!targets(LogLevel::Error).would_enable("h2", &Level::WARN));
    }

    #[test]
    fn the_journal_is_known_by_its_inode() {
        assert!(!is_journal(None) && !is_journal(Some("")) && !is_journal(Some("1:x")) && !is_journal(Some("1:1")));
        let stat = rustix::fs::fstat(io::stderr()).expect("standard error");
        assert!(is_journal(Some(&format!("{}:{}", stat.st_dev, stat.st_ino))));
    }
}
