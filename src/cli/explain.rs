//! What `check` shows of a sound configuration, and the JSON of either kind.

use std::{fmt::Write, path::Path};

use serde_json::{Value, json};

use crate::config::{Config, Diagnostic, Effective, Error, Location, Origin};

/// The version of the JSON document.
const SCHEMA: u32 = 1;

/// One line that says that all is well, and with what.
pub(super) fn summary(config: &Config) -> String {
    format!("{}: ok, profile {}\n", source(config), config.profile)
}

/// Every key in TOML, each with where its value came from.
pub(super) fn text(config: &Config) -> String {
    let mut out = format!(
        "# configuration {}\n# profile {}\n# store {}\n# runtime {}\n",
        source(config),
        config.profile,
        config.store.path().display(),
        config.runtime_dir.display()
    );
    let lines: Vec<(String, &Effective)> = config.effective.iter().map(|one| (assignment(one), one)).collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).filter(|width| *width <= 60).max().unwrap_or(0);
    let mut section = "";
    for (line, effective) in &lines {
        let (own, _) = effective.key.rsplit_once('.').unwrap_or_default();
        if own != section {
            section = own;
            let header = if own.starts_with("route[") { "[[route]]".to_owned() } else { format!("[{own}]") };
            let _ = write!(out, "\n{header}\n");
        }
        let _ = writeln!(out, "{line:width$}  # {}", origin(effective, config.file.as_deref()));
    }
    out
}

/// The document of `check --json`.
pub(super) fn json(loaded: Result<&Config, &Error>) -> Value {
    match loaded {
        Ok(config) => {
            json!({
                "schema": SCHEMA,
                "ok": true,
                "profile": config.profile,
                "file": config.file,
                "store": config.store.path(),
                "runtime": config.runtime_dir,
                "settings": config.effective.iter().map(setting).collect::<Vec<_>>(),
                "notices": config.notices,
                "errors": [],
            })
        }
        Err(error) => json!({
            "schema": SCHEMA,
            "ok": false,
            "errors": error.diagnostics().iter().map(mistake).collect::<Vec<_>>(),
        }),
    }
}

fn source(config: &Config) -> String {
    config.file.as_ref().map_or_else(|| "the environment".into(), |file| file.display().to_string())
}

fn assignment(effective: &Effective) -> String {
    let (_, name) = effective.key.rsplit_once('.').unwrap_or(("", &effective.key));
    match &effective.value {
        Some(value) => format!("{name} = {value}"),
        None => format!("# {name}"),
    }
}

/// Where a value came from, in few words; the file's name is left out where there is one file alone.
fn origin(effective: &Effective, file: Option<&Path>) -> String {
    match &effective.origin {
        Origin::Default if effective.value.is_none() => "not set".into(),
        Origin::Default => "default".into(),
        Origin::File { path, line, .. } => {
            let name = if Some(path.as_path()) == file { path.file_name().map(Path::new) } else { None };
            format!("{}:{line}", name.unwrap_or(path).display())
        }
        Origin::Environment { variable } => format!("${variable}"),
        Origin::Flag { flag } => flag.clone(),
        Origin::Derived { from } => format!("from {from}"),
    }
}

fn setting(effective: &Effective) -> Value {
    let value = effective.value.as_deref().and_then(|text| text.parse().ok()).map(|value| from_toml(&value));
    let mut out = json!({ "key": effective.key, "value": value });
    let (kind, detail) = match &effective.origin {
        Origin::Default if effective.value.is_none() => ("unset", json!({})),
        Origin::Default => ("default", json!({})),
        Origin::File { path, line, column } => ("file", json!({ "file": path, "line": line, "column": column })),
        Origin::Environment { variable } => ("environment", json!({ "variable": variable })),
        Origin::Flag { flag } => ("flag", json!({ "flag": flag })),
        Origin::Derived { from } => ("derived", json!({ "from": from })),
    };
    out["origin"] = kind.into();
    merge(&mut out, detail);
    out
}

fn from_toml(value: &toml_edit::Value) -> Value {
    match value {
        toml_edit::Value::String(text) => text.value().as_str().into(),
        toml_edit::Value::Integer(number) => (*number.value()).into(),
        toml_edit::Value::Float(number) => (*number.value()).into(),
        toml_edit::Value::Boolean(truth) => (*truth.value()).into(),
        toml_edit::Value::Datetime(date) => date.value().to_string().into(),
        toml_edit::Value::Array(items) => items.iter().map(from_toml).collect(),
        toml_edit::Value::InlineTable(table) => {
            table.iter().map(|(key, value)| (key.to_owned(), from_toml(value))).collect()
        }
    }
}

fn mistake(diagnostic: &Diagnostic) -> Value {
    let mut out = json!({
        "key": diagnostic.key,
        "message": diagnostic.message,
        "fix": diagnostic.fix,
        "file": null,
        "line": null,
        "column": null,
    });
    merge(
        &mut out,
        match &diagnostic.location {
            Location::Nowhere => json!({}),
            Location::WholeFile(path) => json!({ "file": path }),
            Location::File { path, line, column, .. } => json!({ "file": path, "line": line, "column": column }),
            Location::Environment(variable) => json!({ "variable": variable }),
            Location::Flag(flag) => json!({ "flag": flag }),
        },
    );
    out
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}
