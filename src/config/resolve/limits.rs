//! `[limits]`, `[runtime]` and `[store]`: how much, how long, and where the session is kept.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use super::{Context, upstream::TIMEOUT};
use crate::{
    config::{
        file::{File, Runtime, Store},
        kinds::{StoreKind, Switch},
        problem::Problem,
    },
    server, store,
};

/// hyper reads heads of this order; below 4 KiB an ordinary browser's request would not fit.
const HEADER_BYTES: RangeInclusive<u64> = 4096..=1_048_576;

/// A descriptor each.
const CONNECTIONS: RangeInclusive<u64> = 1..=1_000_000;

/// A thread each; more than any machine that this runs on has cores.
const WORKERS: RangeInclusive<u64> = 0..=256;

/// Resolves the server's limits.
pub(in crate::config) fn resolve(context: &mut Context<'_, '_>, file: &File) -> server::Settings {
    let limits = &file.limits;
    let timeout = TIMEOUT.0..=TIMEOUT.1;
    let size = limits.max_header_bytes.value.0;
    if limits.max_header_bytes.sound && !HEADER_BYTES.contains(&size) {
        context.push(
            limits
                .max_header_bytes
                .problem(format!("is out of range: {size} bytes"))
                .fix("write a size from \"4KiB\" to \"1MiB\""),
        );
    }
    server::Settings {
        header_timeout: context.duration(&limits.header_timeout, &timeout),
        first_byte_timeout: context.duration(&limits.first_byte_timeout, &timeout),
        idle_timeout: context.duration(&limits.idle_timeout, &timeout),
        body_idle_timeout: context.duration(&limits.body_idle_timeout, &timeout),
        max_header_bytes: usize::try_from(size).unwrap_or(usize::MAX),
        max_connections: context.number(&limits.max_connections, CONNECTIONS),
        drain_timeout: context.duration(&file.runtime.drain_timeout, &(Duration::ZERO..=TIMEOUT.1)),
        access_log: file.log.access.value.0 == Switch::On,
    }
}

/// How many worker threads; 0 is for the machine to say.
pub(in crate::config) fn workers(context: &mut Context<'_, '_>, file: &Runtime) -> usize {
    context.number(&file.workers, WORKERS)
}

/// Where the session is kept.
pub(in crate::config) fn store(
    context: &mut Context<'_, '_>,
    file: &Store,
    default: Option<PathBuf>,
    profile: &str,
) -> Option<store::Settings> {
    let path = context.path(&file.path).or_else(|| file.path.sound.then_some(default).flatten());
    if path.is_none() && file.path.sound {
        context.push(
            Problem::new("has no default: neither $XDG_STATE_HOME nor $HOME is an absolute path")
                .fix("set it to where the session is to be kept, or set one of the two variables")
                .key("store.path"),
        );
    }
    let path = path?;
    context.reader.derive("store.path", format!("{:?}", path.display().to_string()), "the profile");
    Some(match file.kind.value.0 {
        StoreKind::File => store::Settings::File { path },
        StoreKind::Keyring => store::Settings::Keyring { path, profile: profile.to_owned() },
    })
}
