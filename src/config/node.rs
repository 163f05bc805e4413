//! A TOML value with the place that it came from: what the file, a variable and a flag have in common.
//!
//! Knows TOML's syntax, and nothing of what any key means. Serde carries the value to the layers and back; the place
//! stays behind, and is put back on with [`Node::place_as`] or [`Node::place_at`].

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    ops::Range,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml_edit::{ImDocument, Item, TableLike, Value as TomlValue};

use super::{place::Place, problem::Problem, syntax};

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Node {
    pub(super) value: Value,
    #[serde(skip)]
    pub(super) place: Place,
}

/// A value of any layer.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Value {
    /// What a variable or a flag holds: the type of the key decides how it is read.
    #[serde(skip_deserializing)]
    Bare(String),
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A date, which serde does not know: named as the crates of TOML name it.
    Datetime {
        #[serde(rename = "$__toml_private_datetime")]
        text: String,
    },
    Array(Vec<Node>),
    #[serde(serialize_with = "serialize_entries", deserialize_with = "deserialize_entries")]
    Table(Vec<Entry>),
}

/// One `key = value` of a table, or one `[table]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Node {
    /// What a person calls a value of this type.
    pub(super) fn type_name(&self) -> &'static str {
        match self.value {
            Value::Bare(_) | Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a decimal number",
            Value::Boolean(_) => "true or false",
            Value::Datetime { .. } => "a date",
            Value::Array(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// Reads a bare text as TOML; every other value is what it is.
    pub(super) fn as_toml(&self) -> Option<Self> {
        let Value::Bare(text) = &self.value else { return Some(self.clone()) };
        let value: TomlValue = text.trim().parse().ok()?;
        Some(from_value(&value, &|_| self.place.clone()))
    }

    /// A text whose key decides how it is read; every other value is what it is.
    pub(super) fn into_bare(self) -> Self {
        match self.value {
            Value::String(text) => Self { value: Value::Bare(text), ..self },
            _ => self,
        }
    }

    /// The node at `path` below this one: keys of tables, and places in arrays, counted from 0.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |node, step| match &node.value {
            Value::Table(entries) => entries.iter().find(|entry| entry.key == *step).map(|entry| &entry.node),
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    /// Says that all of it was written at `place`.
    pub(super) fn place_at(&mut self, place: &Place) {
        self.place = place.clone();
        match &mut self.value {
            Value::Array(items) => items.iter_mut().for_each(|item| item.place_at(place)),
            Value::Table(entries) => entries.iter_mut().for_each(|entry| {
                entry.place = place.clone();
                entry.node.place_at(place);
            }),
            _ => {}
        }
    }

    /// Says that it was written where `written` was, item by item.
    pub(super) fn place_as(&mut self, written: &Self) {
        self.place = written.place.clone();
        match (&mut self.value, &written.value) {
            (Value::Array(items), Value::Array(written)) => {
                items.iter_mut().zip(written).for_each(|(item, written)| item.place_as(written));
            }
            (Value::Table(entries), Value::Table(written)) => {
                let written: BTreeMap<_, _> = written.iter().map(|entry| (&entry.key, entry)).collect();
                for entry in entries {
                    if let Some(written) = written.get(&entry.key) {
                        entry.place = written.place.clone();
                        entry.node.place_as(&written.node);
                    }
                }
            }
            _ => {}
        }
    }
}

impl fmt::Display for Node {
    /// As one writes it in TOML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Bare(text) | Value::String(text) => write!(f, "{}", quoted(text)),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number:?}"),
            Value::Boolean(truth) => write!(f, "{truth}"),
            Value::Datetime { text } => f.write_str(text),
            Value::Array(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Value::Table(entries) => {
                f.write_str("{ ")?;
                for (index, entry) in entries.iter().enumerate() {
                    write!(f, "{}{} = {}", if index == 0 { "" } else { ", " }, entry.key, entry.node)?;
                }
                f.write_str(" }")
            }
        }
    }
}

fn serialize_entries<S: Serializer>(entries: &[Entry], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(entries.iter().map(|entry| (&entry.key, &entry.node)))
}

fn deserialize_entries<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
    let table = BTreeMap::<String, Node>::deserialize(deserializer)?;
    Ok(table.into_iter().map(|(key, node)| Entry { key, place: Place::Unset, node }).collect())
}

/// `text` as a TOML string: quoted, escaped, on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            control if control.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// The file's text as entries, or the first place at which it is no TOML.
pub(super) fn parse_document(text: &str) -> Result<Vec<Entry>, Problem> {
    let document = ImDocument::parse(text)
        .map_err(|error| syntax::problem(text, error.message(), error.span().unwrap_or_default()))?;
    Ok(entries(document.as_table(), &|span| span.map_or(Place::Unset, Place::File)))
}

type Placing<'a> = &'a dyn Fn(Option<Range<usize>>) -> Place;

fn entries(table: &dyn TableLike, placing: Placing<'_>) -> Vec<Entry> {
    table
        .iter()
        .map(|(name, item)| {
            let place = placing(table.key(name).and_then(toml_edit::Key::span));
            let mut node = from_item(item, placing);
            if node.place == Place::Unset {
                // Tables that dotted keys imply have no place of their own.
                node.place = place.clone();
            }
            Entry { key: name.to_owned(), place, node }
        })
        .collect()
}

fn from_item(item: &Item, placing: Placing<'_>) -> Node {
    let value = match item {
        Item::Value(value) => return from_value(value, placing),
        Item::Table(table) => Value::Table(entries(table, placing)),
        Item::ArrayOfTables(tables) => Value::Array(
            tables
                .iter()
                .map(|table| Node { value: Value::Table(entries(table, placing)), place: placing(table.span()) })
                .collect(),
        ),
        Item::None => Value::Table(Vec::new()),
    };
    Node { value, place: placing(item.span()) }
}

fn from_value(value: &TomlValue, placing: Placing<'_>) -> Node {
    let converted = match value {
        TomlValue::String(text) => Value::String(text.value().clone()),
        TomlValue::Integer(number) => Value::Integer(*number.value()),
        TomlValue::Float(number) => Value::Float(*number.value()),
        TomlValue::Boolean(truth) => Value::Boolean(*truth.value()),
        TomlValue::Datetime(date) => Value::Datetime { text: date.value().to_string() },
        TomlValue::Array(array) => Value::Array(array.iter().map(|item| from_value(item, placing)).collect()),
        TomlValue::InlineTable(table) => Value::Table(entries(table, placing)),
    };
    Node { value: converted, place: placing(value.span()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_values() {
        let text = "[refresh]\nlead = \"5m\" # why\nwarn.before = [\"1d\"]\n";
        let entries = parse_document(text).expect("valid TOML");
        let Value::Table(refresh) = &entries[0].node.value else { panic!("a table") };
        assert!(matches!(entries[0].node.place, Place::File(ref span) if span.start == 0));
        assert_eq!(refresh[0].place, Place::File(10..14));
        assert_eq!(refresh[0].node.place, Place::File(17..21));
        assert_eq!(refresh[1].key, "warn");
        assert!(matches!(refresh[1].node.place, Place::File(_)));
    }

    #[test]
    fn bare_text_reads_as_toml_where_it_is_toml() {
        let bare = |text: &str| Node { value: Value::Bare(text.into()), place: Place::Flag("--x".into()) };
        let node = bare(r#"[{path="/mcp", inject = false}]"#).as_toml().expect("TOML");
        assert_eq!(node.to_string(), r#"[{ path = "/mcp", inject = false }]"#);
        assert_eq!(bare("127.0.0.1:8900").as_toml(), None);
    }

    #[test]
    fn strings_are_quoted_so_that_they_read_back() {
        for text in ["plain", "a\"b\\c", "tab\tnewline\nbell\u{7}", "é"] {
            let value: TomlValue = quoted(text).parse().expect("a TOML value");
            assert_eq!(value.as_str(), Some(text));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(text in "[\\[\\]a-c=\"'{}#:.,\\n 0-9\u{e9}\u{201c}]{0,60}") {
            drop(parse_document(&text));
        }
    }
}
