//! Reading one key after another out of the layers.
//!
//! Keeps going after a mistake, so that one load finds them all. Knows no key by name.

use super::{
    Origin,
    diagnostic::{Diagnostic, FileText, Location},
    kinds::FromNode,
    layers::{Key, Layers},
    node::Value,
    place::Place,
    problem::Problem,
};

/// Where a key is looked up: in a section, or in one route.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    Section(&'static str),
    /// A route, by its place in the list, with the place of its header.
    Route {
        index: usize,
        place: Place,
    },
}

/// A key's value with its origin.
#[derive(Clone, Debug)]
pub(super) struct Setting<T> {
    /// `section.key`, or `route[N].key`.
    pub(super) key: String,
    pub(super) value: T,
    /// Where it was written.
    pub(super) place: Place,
    /// Where to point at when it is missing: its section's header.
    pub(super) section: Place,
    /// As it was written, in TOML; nothing where nobody set it and it has no default.
    pub(super) shown: String,
    /// Whether it could be read; the value is the default where not, and no rule should be judged by it.
    pub(super) sound: bool,
}

/// One effective value, as `check --explain` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// `section.key`.
    pub key: String,
    /// As TOML; `None` where the key is not set and has no default.
    pub value: Option<String>,
    /// Where it came from.
    pub origin: Origin,
}

/// Reads keys, and remembers every mistake and every effective value.
pub(super) struct Reader<'a> {
    layers: &'a Layers,
    file: Option<&'a FileText>,
    problems: Vec<Problem>,
    effective: Vec<Effective>,
}

impl<T> Setting<T> {
    /// Whether somebody set it.
    pub(super) fn is_set(&self) -> bool {
        self.place != Place::Unset
    }

    /// A mistake in this key.
    pub(super) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(message).at(self.place.clone()).at(self.section.clone()).key(self.key.clone())
    }
}

impl<'a> Reader<'a> {
    /// A reader of `layers`, where `problems` have been found before.
    pub(super) fn new(layers: &'a Layers, file: Option<&'a FileText>, problems: Vec<Problem>) -> Self {
        Self { layers, file, problems, effective: Vec::new() }
    }

    /// The routes that are in force.
    pub(super) fn routes(&mut self) -> Vec<Scope> {
        let Some(node) = self.layers.get(&["route"]) else { return Vec::new() };
        let Value::Array(items) = &node.value else { return Vec::new() };
        let tables = items.iter().enumerate().filter(|(_, item)| matches!(item.value, Value::Table(_)));
        let scopes: Vec<_> = tables.map(|(index, item)| Scope::Route { index, place: item.place.clone() }).collect();
        if scopes.len() < items.len() {
            self.push(
                Problem::new("must be a list of tables")
                    .fix(r#"write [{ path = "/mcp", token = "access" }]"#)
                    .at(node.place.clone())
                    .key("route"),
            );
        }
        scopes
    }

    /// Reads one key.
    pub(super) fn read<T: FromNode>(&mut self, scope: &Scope, key: &Key) -> Setting<T> {
        let (full, node, section) = match scope {
            Scope::Section(section) => {
                (format!("{section}.{}", key.name), self.layers.get(&[section, key.name]), self.layers.header(section))
            }
            Scope::Route { index, place } => (
                format!("route[{index}].{}", key.name),
                self.layers.get(&["route", &index.to_string(), key.name]),
                place.clone(),
            ),
        };
        let place = node.as_ref().map_or(Place::Unset, |node| node.place.clone());
        let read = node.as_ref().map(T::from_node).transpose();
        let sound = read.is_ok();
        let value = read.unwrap_or_else(|problem| {
            self.push(problem.at(place.clone()).key(full.clone()));
            None
        });
        let shown = node.as_ref().map(ToString::to_string).or_else(|| key.default.map(ToOwned::to_owned));
        self.effective.push(Effective { key: full.clone(), value: shown.clone(), origin: self.origin(&place) });
        Setting {
            key: full,
            value: value.unwrap_or_else(|| default_of(key)),
            place,
            section,
            shown: shown.unwrap_or_default(),
            sound,
        }
    }

    /// Remembers a mistake.
    pub(super) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Whether `section.key`, or its section, was probably meant by something misspelt.
    pub(super) fn is_misspelt(&self, key: &str) -> bool {
        let section = key.split_once('.').map_or(key, |(section, _)| section);
        self.problems
            .iter()
            .any(|problem| problem.meant.as_deref().is_some_and(|meant| meant == key || meant == section))
    }

    /// States what follows from other keys, in place of "not set".
    pub(super) fn derive(&mut self, key: &str, value: String, from: &str) {
        if let Some(effective) = self.effective.iter_mut().find(|effective| effective.key == key)
            && effective.value.is_none()
        {
            effective.value = Some(value);
            effective.origin = Origin::Derived { from: from.to_owned() };
        }
    }

    /// Everything that was found, mistakes in the order of the file.
    pub(super) fn finish(self) -> (Vec<Effective>, Vec<Diagnostic>) {
        let mut problems = self.problems;
        problems.sort_by_key(|problem| match &problem.place {
            Place::File(span) => (1, span.start),
            Place::Unset => (0, 0),
            Place::Environment(_) => (2, 0),
            Place::Flag(_) => (3, 0),
        });
        problems.dedup();
        let file = self.file;
        (self.effective, problems.into_iter().map(|problem| Diagnostic::locate(problem, file)).collect())
    }

    fn origin(&self, place: &Place) -> Origin {
        let diagnostic = Diagnostic::locate(Problem::new("").at(place.clone()), self.file);
        match diagnostic.location {
            Location::File { path, line, column, .. } => Origin::File { path, line, column },
            Location::Environment(name) => Origin::Environment { variable: name },
            Location::Flag(flag) => Origin::Flag { flag },
            Location::Nowhere | Location::WholeFile(_) => Origin::Default,
        }
    }
}

/// The default of `key`.
#[expect(clippy::expect_used, reason = "a test reads the default of every key")]
fn default_of<T: FromNode>(key: &Key) -> T {
    match key.default_node() {
        None => T::unset().expect("a key without a default is an Option"),
        Some(node) => T::from_node(&node).expect("a default has the type of its key"),
    }
}
