//! What an event of the log says, as one line.

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};

/// What an event says.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) values: Vec<(&'static str, serde_json::Value)>,
}

impl Fields {
    /// The message and its fields on one line: `refreshed id_token_expires_in=1h`.
    pub(super) fn line(&self, dim: &str, reset: &str) -> String {
        let mut out = single_line(&self.message);
        for (name, value) in &self.values {
            let _ = write!(out, " {dim}{name}={reset}{}", shown(value));
        }
        out
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.values.push((field.name(), value.into()));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.values.push((field.name(), value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.values.push((field.name(), value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.values.push((field.name(), value.into()));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.values.push((field.name(), value.into()));
    }
}

/// A value as it stands in a line: quoted where it would not be one word.
fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => {
            let is_quoted = text.len() > 1 && text.starts_with('"') && text.ends_with('"');
            let is_word = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"');
            if is_word || (is_quoted && !text.contains(char::is_control)) { text.clone() } else { format!("{text:?}") }
        }
        other => other.to_string(),
    }
}

/// Without line ends and other control characters: what an upstream sends must not forge a line or move a cursor.
fn single_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
