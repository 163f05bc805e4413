//! The file that `init` writes: the shipped `proxy.toml` with its comments, and what was chosen put in.

use std::fmt::Write as _;

/// The shipped configuration holds and explains every key, which a test proves.
const SHIPPED: &str = include_str!("../../../proxy.toml");

/// A key, and its value as it stands in TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// `section.key`.
    pub(super) key: &'static str,
    /// The value, written as TOML.
    pub(super) value: String,
}

impl Chosen {
    /// A text.
    pub(super) fn text(key: &'static str, text: &str) -> Self {
        Self { key, value: quoted(text) }
    }

    /// A list of texts.
    pub(super) fn list(key: &'static str, items: &[String]) -> Self {
        let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
        Self { key, value: format!("[{}]", items.join(", ")) }
    }
}

/// The annotated file: each chosen key takes the place of its own commented line.
pub(super) fn file(chosen: &[Chosen]) -> String {
    let mut text = String::new();
    let mut section = "";
    for line in SHIPPED.lines() {
        // The example of a route is a comment as a whole, and none of its keys is anybody's choice.
        let header = line.strip_prefix("# [").or_else(|| line.strip_prefix('['));
        if let Some(name) = header.and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        }
        match commented_key(line).and_then(|key| chosen.iter().find(|one| is(one, section, key))) {
            Some(one) => {
                let (_, key) = one.key.split_once('.').unwrap_or_default();
                let _ = writeln!(text, "{key} = {}", one.value);
            }
            None => {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

/// The key of `# key = value`.
fn commented_key(line: &str) -> Option<&str> {
    let (key, _) = line.strip_prefix("# ")?.split_once(" = ")?;
    key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_').then_some(key)
}

fn is(chosen: &Chosen, section: &str, key: &str) -> bool {
    chosen.key.split_once('.') == Some((section, key))
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chosen_key_stands_where_its_comment_did_and_nothing_else_changes() {
        let chosen = [
            Chosen::text("cognito.user_pool_id", "eu-west-1_A"),
            Chosen::text("upstream.url", "https://api.example.com/\"odd\""),
            Chosen::list("guard.users", &["self".into(), "alice".into()]),
        ];
        let text = file(&chosen);
        let changed: Vec<&str> = text.lines().zip(SHIPPED.lines()).filter(|(a, b)| a != b).map(|(a, _)| a).collect();
        assert_eq!(
            changed,
            [
                "user_pool_id = \"eu-west-1_A\"",
                "url = 'https://api.example.com/\"odd\"'",
                "users = [\"self\", \"alice\"]"
            ]
        );
        assert_eq!(text.lines().count(), SHIPPED.lines().count());
        text.parse::<toml_edit::DocumentMut>().expect("TOML");
    }

    #[test]
    fn no_key_is_set_in_two_places() {
        let text = file(&[Chosen::text("cognito.client_id", "c"), Chosen::text("inject.token", "access")]);
        assert_eq!(text.matches("\nclient_id = ").count(), 1);
        assert_eq!(text.matches("\ntoken = ").count(), 1, "the route's example stays a comment");
    }
}
