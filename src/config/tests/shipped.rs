//! The `proxy.toml` that ships: complete, and true.

use std::{collections::BTreeMap, fmt::Write};

use super::{Bench, MINIMAL};
use crate::config::{file::SECTIONS, node, reader::Effective};

const SHIPPED: &str = include_str!("../../../proxy.toml");

/// A `# key = value` of the file, with the comment above it.
struct Line {
    section: String,
    key: String,
    value: String,
    comment: String,
}

/// Every key that the file shows.
fn lines() -> Vec<Line> {
    let mut lines = Vec::new();
    let mut section = String::new();
    let mut comment = String::new();
    for text in SHIPPED.lines() {
        let bare = text.strip_prefix("# ").unwrap_or(text);
        if bare.starts_with('[') && bare.ends_with(']') {
            section = bare.trim_matches(['[', ']']).to_owned();
            comment.clear();
        } else if let Some((key, value)) = text.strip_prefix("# ").and_then(|text| text.split_once(" = "))
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            let line = Line {
                section: section.clone(),
                key: key.to_owned(),
                value: value.to_owned(),
                comment: std::mem::take(&mut comment),
            };
            lines.push(line);
        } else {
            comment.push_str(bare);
            comment.push(' ');
        }
    }
    lines
}

#[test]
fn every_key_is_in_the_shipped_file_once_and_in_order() {
    let shown: Vec<String> = lines().iter().map(|line| format!("{}.{}", line.section, line.key)).collect();
    let known: Vec<String> = SECTIONS
        .iter()
        .flat_map(|(section, keys)| keys.iter().map(move |key| format!("{section}.{}", key.name)))
        .collect();
    assert_eq!(shown, known);
}

#[test]
fn keys_with_a_default_are_at_it_and_the_others_say_that_they_are_examples() {
    for line in lines() {
        let (_, keys) = SECTIONS.iter().find(|(section, _)| *section == line.section).expect("a section");
        let key = keys.iter().find(|key| key.name == line.key).expect("a key");
        let name = format!("{}.{}", line.section, line.key);
        match key.default {
            Some(default) => assert_eq!(line.value, default, "{name}"),
            None => assert!(line.comment.to_lowercase().contains("example"), "{name}: {}", line.comment),
        }
    }
}

#[test]
fn uncommented_defaults_change_nothing() {
    let required = ["user_pool_id", "client_id", "url"];
    let mut text = String::new();
    let mut section = String::new();
    for line in lines().iter().filter(|line| line.section != "route") {
        let (_, keys) = SECTIONS.iter().find(|(section, _)| *section == line.section).expect("a section");
        let has_default = keys.iter().any(|key| key.name == line.key && key.default.is_some());
        if section != line.section {
            section.clone_from(&line.section);
            let _ = writeln!(text, "[{section}]");
        }
        if has_default {
            let _ = writeln!(text, "{} = {}", line.key, line.value);
        } else if required.contains(&line.key.as_str()) {
            // The examples of these are for people to replace.
            let value = MINIMAL.lines().find_map(|minimal| minimal.strip_prefix(&format!("{} = ", line.key)));
            let _ = writeln!(text, "{} = {}", line.key, value.expect("a required key"));
        }
    }
    let values = |text: &str| -> BTreeMap<String, Option<String>> {
        let config = Bench::with(text).load().unwrap_or_else(|error| panic!("{error}"));
        let is_of_bench = |effective: &Effective| effective.key == "store.path";
        config.effective.into_iter().filter(|one| !is_of_bench(one)).map(|one| (one.key, one.value)).collect()
    };
    assert_eq!(values(&text), values(MINIMAL));
}

#[test]
fn the_file_is_toml_as_it_is_and_with_every_key_uncommented() {
    assert!(node::parse_document(SHIPPED).is_ok());
    let uncommented: String = SHIPPED
        .lines()
        .map(|text| match text.strip_prefix("# ") {
            Some(bare)
                if bare.starts_with("[[") || bare.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) =>
            {
                format!("{bare}\n")
            }
            _ => format!("{text}\n"),
        })
        .collect();
    let entries = node::parse_document(&uncommented).unwrap_or_else(|problem| panic!("{problem:?}"));
    assert_eq!(entries.len(), SECTIONS.len());
}
