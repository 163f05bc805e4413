//! From what was parsed to the rooms' settings: every rule that can be checked without the network.
//!
//! Each function resolves one section, says all that is wrong with it, and goes on.

pub(super) mod cognito;
pub(super) mod guard;
pub(super) mod limits;
pub(super) mod listen;
pub(super) mod route;
pub(super) mod session;
pub(super) mod upstream;

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    environment::Environment,
    kinds::RawPath,
    locate,
    place::Place,
    problem::Problem,
    reader::{Reader, Setting},
    secret_file, units,
};
use crate::secret::Secret;

/// What every rule works with.
pub(super) struct Context<'r, 'a> {
    pub(super) reader: &'r mut Reader<'a>,
    pub(super) environment: &'r Environment,
    /// The file that was read.
    pub(super) file: Option<&'r Path>,
    /// What is announced at every start.
    pub(super) notices: Vec<String>,
}

impl Context<'_, '_> {
    /// Remembers a mistake.
    pub(super) fn push(&mut self, problem: Problem) {
        self.reader.push(problem);
    }

    /// The value of a key that has to be set. Without any file one error speaks for all of them, and is said elsewhere.
    pub(super) fn required<T: Clone>(&mut self, setting: &Setting<Option<T>>, example: &str) -> Option<T> {
        if setting.value.is_none() && setting.sound && self.file.is_some() && !self.reader.is_misspelt(&setting.key) {
            self.push(setting.problem("is not set, and has no default").fix(format!("add it: {example}")));
        }
        setting.value.clone()
    }

    /// A number within `range`.
    pub(super) fn number(&mut self, setting: &Setting<u64>, range: RangeInclusive<u64>) -> usize {
        if setting.sound && !range.contains(&setting.value) {
            let (least, most) = (range.start(), range.end());
            self.push(
                setting
                    .problem(format!("is out of range: {}", setting.value))
                    .fix(format!("write a number from {least} to {most}")),
            );
        }
        usize::try_from(setting.value).unwrap_or(usize::MAX)
    }

    /// A duration within `range`.
    pub(super) fn duration(&mut self, setting: &Setting<Duration>, range: &RangeInclusive<Duration>) -> Duration {
        if setting.sound && !range.contains(&setting.value) {
            self.push(setting.problem(format!("is out of range: {}", setting.shown)).fix(within(range)));
        }
        setting.value
    }

    /// The absolute path that a key names: relative to the file where the file says so, else to the working directory.
    pub(super) fn path(&self, setting: &Setting<Option<RawPath>>) -> Option<PathBuf> {
        let RawPath(path) = setting.value.as_ref()?;
        Some(self.path_at(&setting.place, path))
    }

    pub(super) fn path_at(&self, place: &Place, path: &Path) -> PathBuf {
        let base = match (place, self.file.and_then(Path::parent)) {
            (Place::File(_), Some(parent)) => parent,
            _ => &self.environment.directory,
        };
        locate::resolve(base, path, self.environment)
    }

    /// The secret in the file that a key names.
    pub(super) fn secret(&mut self, setting: &Setting<Option<RawPath>>) -> Option<Secret> {
        let path = self.path(setting)?;
        match secret_file::read(&path, self.environment) {
            Ok(secret) => Some(secret),
            Err(problem) => {
                self.push(placed(setting, problem));
                None
            }
        }
    }
}

/// `problem`, which knows neither its key nor its place, as one of `setting`.
pub(super) fn placed<T>(setting: &Setting<T>, problem: Problem) -> Problem {
    problem.at(setting.place.clone()).at(setting.section.clone()).key(setting.key.clone())
}

fn within(range: &RangeInclusive<Duration>) -> String {
    let show = |duration: &Duration| units::show_duration(*duration);
    format!("write a duration from \"{}\" to \"{}\"", show(range.start()), show(range.end()))
}

/// Whether all characters are visible ASCII, as in names, ids and header values without spaces.
fn is_visible(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_graphic())
}
