//! The layers as providers of figment, which decides what is in force: flag over environment over file over default,
//! tables key by key, lists as a whole.
//!
//! Owns what figment is told and what it is asked, and knows nothing of what a key means. figment remembers which
//! layer each value is of, and the layer's metadata what it is called there; the bytes it never saw, and those are
//! looked up in the parsed file by the key's path.

use std::{collections::BTreeMap, path::Path};

use figment::{
    Figment, Metadata, Profile, Provider,
    value::{Dict, Map, Value as Merged},
};
use serde::Serialize;

use super::{
    node::{Node, Value},
    place::Place,
    problem::Problem,
};

/// The layers' names in figment's metadata.
const DEFAULT: &str = "default";
const FILE: &str = "file";
const VARIABLE: &str = "environment variable";
const FLAG: &str = "flag";

/// The one key that is a list of tables, and no section.
const ROUTE: &str = "route";

/// A key of a section, with its default as TOML text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) default: Option<&'static str>,
}

/// The defaults of every key of these sections. Those of a route are not among them, since figment merges no lists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults(pub(super) &'static [(&'static str, &'static [Key])]);

/// The file, parsed.
#[derive(Clone, Debug)]
pub(super) struct Document<'a> {
    /// Where it lies; `None` where there is none, and its table is empty.
    pub(super) path: Option<&'a Path>,
    /// Its root table.
    pub(super) root: Node,
}

/// The environment: `section.key`, or `route`, of each variable that is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variables<'a>(pub(super) &'a BTreeMap<String, Node>);

/// The command line: `section.key` of each flag that was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flags<'a>(pub(super) &'a BTreeMap<String, Node>);

impl Provider for Defaults {
    fn metadata(&self) -> Metadata {
        Metadata::named(DEFAULT)
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let keys = self.0.iter().filter(|(section, _)| *section != ROUTE).flat_map(|(_, keys)| *keys);
        by_section(keys.filter_map(|key| Some((format!("{}.{}", key.section, key.name), key.default_node()?))))
    }
}

impl Provider for Document<'_> {
    fn metadata(&self) -> Metadata {
        let metadata = Metadata::named(FILE);
        match self.path {
            Some(path) => metadata.source(path),
            None => metadata,
        }
    }

    /// Without what is misshapen: a text in the place of a section is a mistake that others report, and it must not
    /// take the defaults of that section's keys away.
    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        let Value::Table(entries) = &self.root.value else { return Ok(Map::new()) };
        let shaped = entries.iter().filter(|entry| match entry.node.value {
            Value::Table(_) => entry.key != ROUTE,
            Value::Array(_) => entry.key == ROUTE,
            _ => false,
        });
        let mut root = Dict::new();
        for entry in shaped {
            root.insert(entry.key.clone(), Merged::serialize(&entry.node)?);
        }
        Ok(Profile::Default.collect(root))
    }
}

impl Provider for Variables<'_> {
    fn metadata(&self) -> Metadata {
        named(VARIABLE, self.0)
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        by_section(self.0)
    }
}

impl Provider for Flags<'_> {
    fn metadata(&self) -> Metadata {
        named(FLAG, self.0)
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        by_section(self.0)
    }
}

impl Key {
    /// The default, unless there is none.
    pub(super) fn default_node(&self) -> Option<Node> {
        Node { value: Value::Bare(self.default?.to_owned()), place: Place::Unset }.as_toml()
    }
}

/// What is in force, and where it was written.
#[derive(Debug)]
pub(super) struct Layers {
    figment: Figment,
    merged: Merged,
    /// The file's root table, for the place of everything in it.
    root: Node,
}

impl Layers {
    /// Puts the layers on top of each other, the lowest first.
    ///
    /// # Errors
    /// Where figment cannot hold a value.
    pub(super) fn merge(
        defaults: Defaults,
        document: Document<'_>,
        variables: Variables<'_>,
        flags: Flags<'_>,
    ) -> Result<Self, Problem> {
        let figment = Figment::new().merge(defaults).merge(&document).merge(variables).merge(flags);
        let mut profiles =
            figment.data().map_err(|error| Problem::new(format!("the layers cannot be merged: {error}")))?;
        let merged = profiles.remove(&Profile::Default).unwrap_or_default();
        Ok(Self { figment, merged: merged.into(), root: document.root })
    }

    /// The value that is in force at `path`: keys of tables, and places in lists, counted from 0.
    pub(super) fn get(&self, path: &[&str]) -> Option<Node> {
        let merged = find(&self.merged, path)?;
        // All that a layer holds is TOML, which a node can hold.
        let mut node: Node = merged.deserialize().ok()?;
        let metadata = self.figment.get_metadata(merged.tag())?;
        let name = || metadata.interpolate(&Profile::Default, path);
        match &*metadata.name {
            FILE => node.place_as(self.root.at(path)?),
            VARIABLE => node.place_at(&Place::Environment(name())),
            FLAG => node.place_at(&Place::Flag(name())),
            _ => {}
        }
        let is_one_setting = matches!(path, [section, _] if *section != ROUTE);
        if is_one_setting && matches!(node.place, Place::Environment(_) | Place::Flag(_)) {
            node = node.into_bare();
        }
        Some(node)
    }

    /// The section's header in the file.
    pub(super) fn header(&self, section: &str) -> Place {
        self.root.at(&[section]).map_or(Place::Unset, |node| node.place.clone())
    }
}

fn find<'a>(merged: &'a Merged, path: &[&str]) -> Option<&'a Merged> {
    path.iter().try_fold(merged, |value, step| match value {
        Merged::Dict(_, dict) => dict.get(*step),
        Merged::Array(_, items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Settings by `section.key` as tables by section.
#[expect(clippy::result_large_err, reason = "the error is figment's own")]
fn by_section(
    settings: impl IntoIterator<Item = (impl AsRef<str>, impl Serialize)>,
) -> figment::Result<Map<Profile, Dict>> {
    let mut sections: Map<String, Dict> = Map::new();
    let mut root = Dict::new();
    for (key, node) in settings {
        let value = Merged::serialize(node)?;
        match key.as_ref().split_once('.') {
            Some((section, name)) => sections.entry(section.to_owned()).or_default().insert(name.to_owned(), value),
            None => root.insert(key.as_ref().to_owned(), value),
        };
    }
    root.extend(sections.into_iter().map(|(section, keys)| (section, keys.into())));
    Ok(Profile::Default.collect(root))
}

/// Metadata that says what each setting, and all within it, is called in its layer.
fn named(layer: &'static str, settings: &BTreeMap<String, Node>) -> Metadata {
    let name = |node: &Node| match &node.place {
        Place::Environment(name) | Place::Flag(name) => name.clone(),
        Place::Unset | Place::File(_) => String::new(),
    };
    let names: BTreeMap<String, String> = settings.iter().map(|(key, node)| (key.clone(), name(node))).collect();
    Metadata::named(layer).interpolater(move |_, path: &[&str]| {
        let name = (1..=path.len()).find_map(|length| names.get(&path[..length].join(".")));
        name.cloned().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{file::SECTIONS, node};

    fn settings(settings: &[(&str, &str)], place: fn(String) -> Place) -> BTreeMap<String, Node> {
        let node =
            |key: &str, text: &str| Node { value: Value::Bare(text.into()), place: place(format!("NAME OF {key}")) };
        settings.iter().map(|(key, text)| ((*key).to_owned(), node(key, text))).collect()
    }

    fn layers(file: &str, variables: &BTreeMap<String, Node>, flags: &BTreeMap<String, Node>) -> Layers {
        let entries = node::parse_document(file).expect("TOML");
        let root = Node { value: Value::Table(entries), place: Place::Unset };
        let document = Document { path: Some(Path::new("/proxy.toml")), root };
        Layers::merge(Defaults(&SECTIONS), document, Variables(variables), Flags(flags)).expect("layers")
    }

    #[test]
    fn the_layer_is_figments_and_the_bytes_are_the_files() {
        let variables = settings(&[("refresh.mode", "on-demand"), ("log.level", "debug")], Place::Environment);
        let flags = settings(&[("log.level", "trace")], Place::Flag);
        let layers = layers("[refresh]\nlead = \"7m\"\nmode = \"ahead\"\n", &variables, &flags);
        let found = |section, key| {
            let node = layers.get(&[section, key]).expect(key);
            (node.to_string(), node.place)
        };
        assert_eq!(found("log", "level"), ("\"trace\"".into(), Place::Flag("NAME OF log.level".into())));
        assert_eq!(
            found("refresh", "mode"),
            ("\"on-demand\"".into(), Place::Environment("NAME OF refresh.mode".into()))
        );
        assert_eq!(found("refresh", "lead"), ("\"7m\"".into(), Place::File(17..21)));
        assert_eq!(found("refresh", "wait"), ("\"10s\"".into(), Place::Unset));
        assert_eq!(layers.get(&["cognito", "region"]), None);
        let metadata = |key: &str| layers.figment.find_metadata(key).expect(key);
        assert_eq!(metadata("log.level").name, FLAG);
        assert_eq!(metadata("refresh.lead").source, Some(Path::new("/proxy.toml").into()));
    }

    #[test]
    fn lists_are_replaced_as_a_whole_and_know_each_item() {
        let file =
            "[[route]]\npath = \"/a\"\n[[route]]\npath = \"/b\"\ntoken = \"id\"\n[warn]\nbefore = [\"1d\", \"1h\"]\n";
        let none = BTreeMap::new();
        let of_file = layers(file, &none, &none);
        assert_eq!(of_file.get(&["route", "1", "path"]).expect("b").place, Place::File(39..43));
        let Value::Array(before) = of_file.get(&["warn", "before"]).expect("before").value else { panic!("a list") };
        assert_eq!(before.iter().map(|item| &file[span(&item.place)]).collect::<Vec<_>>(), ["\"1d\"", "\"1h\""]);

        let mut variables = settings(&[("route", "[{ path = \"/c\" }]")], Place::Environment);
        for node in variables.values_mut() {
            *node = node.as_toml().expect("TOML");
        }
        let replaced = layers(file, &variables, &none);
        let path = replaced.get(&["route", "0", "path"]).expect("c");
        assert_eq!((path.value, path.place), (Value::String("/c".into()), Place::Environment("NAME OF route".into())));
        assert_eq!((replaced.get(&["route", "0", "token"]), replaced.get(&["route", "1"])), (None, None));
    }

    fn span(place: &Place) -> std::ops::Range<usize> {
        let Place::File(span) = place else { panic!("a place in the file: {place:?}") };
        span.clone()
    }

    #[test]
    fn a_text_in_the_place_of_a_section_takes_no_default_away() {
        let none = BTreeMap::new();
        let layers = layers("refresh = \"5m\"\n[route]\npath = \"/a\"\n[[log]]\nlevel = \"warn\"\n", &none, &none);
        assert_eq!(layers.get(&["refresh", "lead"]).expect("a default").to_string(), "\"5m\"");
        assert_eq!(layers.get(&["refresh", "lead"]).expect("a default").place, Place::Unset);
        assert_eq!(layers.get(&["route"]), None);
        assert_eq!(layers.get(&["log", "level"]).expect("a default").to_string(), "\"info\"");
    }

    #[test]
    fn every_kind_of_value_comes_back_as_it_was_written() {
        let none = BTreeMap::new();
        for value in [
            "\"x\"",
            "-1",
            "9223372036854775807",
            "1.5",
            "2.0",
            "true",
            "2026-07-01",
            "[1, \"a\", [true]]",
            "{ a = 1, b = {  } }",
        ] {
            let layers = layers(&format!("[log]\nx = {value}\n"), &none, &none);
            let found = layers.get(&["log", "x"]).expect(value);
            assert_eq!(found.to_string(), value);
            assert_eq!(Some(&found), layers.root.at(&["log", "x"]), "{value}");
        }
    }

    #[test]
    fn names_that_figment_gives_a_meaning_have_none_here() {
        let none = BTreeMap::new();
        let file = "[default]\nx = 1\n[global.log]\nlevel = \"warn\"\n[log]\n___figment_value_id = 1\n";
        let layers = layers(file, &none, &none);
        assert_eq!(layers.get(&["log", "level"]).expect("a default").to_string(), "\"info\"");
        assert_eq!(layers.get(&["log", "___figment_value_id"]).expect("a key").to_string(), "1");
    }
}
