//! `[refresh]`, `[session]` and `[warn]`: when tokens are renewed, how long requests wait, when a person is told.

use std::time::Duration;

use super::Context;
use crate::{
    config::{
        file::{File, Warn},
        not_yet,
        problem::Problem,
        reader::Setting,
        units, url,
    },
    current,
    proxy::{Inject, Route},
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

/// What happens when a warning is raised.
pub(in crate::config) fn warn(context: &mut Context<'_, '_>, file: &Warn) -> warn::Settings {
    let webhook_url = context.secret(&file.webhook_url_file).filter(|url| {
        // Services put their secret into the path or the query, so nothing of it is quoted.
        let parsed = url::parse(url.expose().split(['?', '#']).next().unwrap_or_default());
        let is_sound = parsed.is_ok_and(|uri| url::is_safe(&uri, false));
        if !is_sound {
            let problem = file.webhook_url_file.problem("names a file whose text is no https:// URL");
            context.push(problem.fix("put the URL of the webhook alone into it"));
        }
        is_sound
    });
    let command = file.command.value.as_ref();
    warn::Settings {
        desktop: file.desktop.value,
        command: command.map(|items| items.iter().map(|item| item.value.clone()).collect()),
        webhook_url,
    }
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
    if lock < SHORTEST_LOCK && !not_yet::is_listed(&setting.key) {
        let problem = setting.problem(format!("is out of range: {}", setting.shown));
        context.push(problem.fix("write \"1s\" or more, or \"off\""));
    }
    Some(lock)
}
