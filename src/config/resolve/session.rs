//! `[refresh]`, `[session]` and `[warn]`: when tokens are renewed, how long requests wait, when a person is told.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use http::Uri;

use super::Context;
use crate::{
    config::{
        file::{File, Warn},
        locate,
        problem::Problem,
        reader::Setting,
        units, url,
    },
    current,
    proxy::{Inject, Route},
    secret::Secret,
    session::{Settings, TokenKind},
    warn,
};

/// Beyond an hour a waiting client has left.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Held requests each keep a socket.
const MOST_HELD: u64 = 65_535;

/// A token lives a day at most (`CreateUserPoolClient`, `IdTokenValidity`).
const LONGEST_LEAD: Duration = Duration::from_secs(86_400);

/// Below a second the lock would close between two requests of one page.
const SHORTEST_LOCK: Duration = Duration::from_secs(1);

/// Resolves what the session machine is told.
pub(in crate::config) fn resolve(
    context: &mut Context<'_, '_>,
    file: &File,
    ids: (&str, &str),
    kinds: Vec<TokenKind>,
    validity: Option<Duration>,
) -> Settings {
    let refresh = &file.refresh;
    let lead = context.duration(&refresh.lead, &(Duration::from_millis(1)..=LONGEST_LEAD));
    let min_ttl = context.duration(&file.inject.min_ttl, &(Duration::ZERO..=LONGEST_LEAD));
    lead_covers_min_ttl(context, file);
    Settings {
        lead,
        min_ttl,
        mode: refresh.mode.value.0,
        last_chance: refresh.last_chance.value,
        kinds,
        validity,
        warn_before: before(context, &file.warn),
        idle_lock: lock(context, &file.session.idle_lock),
        min_remaining_at_start: file.session.min_remaining_at_start.value.0,
        user_pool_id: ids.0.to_owned(),
        client_id: ids.1.to_owned(),
    }
}

/// How long requests wait.
pub(in crate::config) fn current(context: &mut Context<'_, '_>, file: &File) -> current::Settings {
    let wait = context.duration(&file.refresh.wait, &(Duration::ZERO..=LONGEST_WAIT));
    let hold = file.session.hold.value.0.unwrap_or_default();
    if file.session.hold.sound && hold > LONGEST_WAIT {
        let problem = file.session.hold.problem(format!("is out of range: {}", file.session.hold.shown));
        context.push(problem.fix("write a duration up to \"1h\", or \"off\""));
    }
    let max_held = context.number(&file.session.max_held, 0..=MOST_HELD);
    current::Settings { wait, hold, max_held: max_held as u64 }
}

/// Through what a warning is told.
pub(in crate::config) fn warn(context: &mut Context<'_, '_>, file: &Warn) -> warn::Settings {
    warn::Settings { desktop: file.desktop.value, command: command(context, file), webhook_url: webhook(context, file) }
}

/// The URL in `webhook_url_file`. Services put their secret into its path or its query, so nothing of it is quoted.
fn webhook(context: &mut Context<'_, '_>, file: &Warn) -> Option<Secret> {
    context.secret(&file.webhook_url_file).filter(|url| {
        let (location, is_whole) = match url.expose().split_once(['?', '#']) {
            Some((location, _)) => (location, url.expose().parse::<Uri>().is_ok()),
            None => (url.expose(), true),
        };
        let is_sound = is_whole && url::parse(location).is_ok_and(|uri| url::is_safe(&uri, false));
        if !is_sound {
            let problem = file.webhook_url_file.problem("names a file whose text is no https:// URL");
            context.push(problem.fix("put the URL of the webhook alone into it"));
        }
        is_sound
    })
}

/// `command`, where there is such a program: when it is needed it is too late to find out.
fn command(context: &mut Context<'_, '_>, file: &Warn) -> Option<Vec<String>> {
    let items = file.command.value.as_ref()?;
    let problem = match items.first() {
        Some(program) => runnable(&program.value).err().map(|problem| problem.at(program.node.place.clone())),
        None => {
            Some(Problem::new("names no program").fix("write its path first, then its arguments, or remove the key"))
        }
    };
    if let Some(problem) = problem {
        context.push(super::placed(&file.command, problem));
        return None;
    }
    Some(items.iter().map(|item| item.value.clone()).collect())
}

/// Whether `program` can be run as it stands, without a shell and without `PATH`.
fn runnable(program: &str) -> Result<(), Problem> {
    let path = Path::new(program);
    if program.contains('\0') {
        return Err(Problem::new("holds a NUL, which no path may"));
    }
    if !path.is_absolute() {
        return Err(Problem::new(format!("names \"{program}\", which is no absolute path"))
            .fix("write the whole path of the program; its arguments are items of their own"));
    }
    let metadata = fs::metadata(path).map_err(|error| {
        Problem::new(format!("names {program}, which cannot be run: {}", locate::reason(&error)))
            .fix("write the path of a program, and its arguments as items of their own")
    })?;
    if !metadata.is_file() {
        return Err(Problem::new(format!("names {program}, which is not a file")).fix("name a program"));
    }
    if rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_err() {
        return Err(Problem::new(format!("names {program}, which may not be executed"))
            .fix(format!("make it executable: chmod +x {program}")));
    }
    if metadata.mode() & 0o002 != 0 {
        return Err(Problem::new(format!("names {program}, which anybody may write to"))
            .fix(format!("keep others from replacing what is run: chmod o-w {program}"))
            .refused());
    }
    Ok(())
}

/// The kinds of token that any route injects, the default one first.
pub(in crate::config) fn kinds(default: &Inject, routes: &[Route]) -> Vec<TokenKind> {
    let mut kinds = vec![default.token];
    for kind in routes.iter().filter_map(|route| Some(route.inject.as_ref()?.token)) {
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds
}

/// `refresh.lead` as written is at least twice `inject.min_ttl` as written; the caps then keep it so.
fn lead_covers_min_ttl(context: &mut Context<'_, '_>, file: &File) {
    let (lead, min_ttl) = (&file.refresh.lead, &file.inject.min_ttl);
    let least = min_ttl.value.saturating_mul(2);
    if !lead.sound || !min_ttl.sound || lead.value >= least {
        return;
    }
    // Whoever set one of the two is told about that one.
    let message = if lead.is_set() {
        format!("is {}, less than twice `inject.min_ttl`, which is {}", lead.shown, min_ttl.shown)
    } else {
        format!("is {}, more than half of `refresh.lead`, which is {}", min_ttl.shown, lead.shown)
    };
    let at = if lead.is_set() { lead } else { min_ttl };
    context.push(at.problem(message).fix(format!(
        "set `refresh.lead` to \"{}\" or more, or `inject.min_ttl` to \"{}\" or less",
        units::show_duration(least),
        units::show_duration(lead.value / 2)
    )));
}

/// The thresholds, longest first.
fn before(context: &mut Context<'_, '_>, file: &Warn) -> Vec<Duration> {
    let mut thresholds: Vec<Duration> = Vec::new();
    for item in &file.before.value {
        let shown = units::show_duration(item.value);
        let problem = if item.value.is_zero() {
            Some(Problem::new("lists \"0s\", which is no time before").fix("write how long before the end to warn"))
        } else if thresholds.contains(&item.value) {
            Some(Problem::new(format!("lists \"{shown}\" twice")).fix("remove one of the two"))
        } else {
            None
        };
        match problem {
            Some(problem) => context.push(super::placed(&file.before, problem.at(item.node.place.clone()))),
            None => thresholds.push(item.value),
        }
    }
    thresholds.sort_unstable_by(|a, b| b.cmp(a));
    thresholds
}

fn lock(context: &mut Context<'_, '_>, setting: &Setting<crate::config::kinds::OffOr<Duration>>) -> Option<Duration> {
    let lock = setting.value.0?;
    if lock < SHORTEST_LOCK {
        let problem = setting.problem(format!("is out of range: {}", setting.shown));
        context.push(problem.fix("write \"1s\" or more, or \"off\""));
    }
    Some(lock)
}
