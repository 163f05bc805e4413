//! Tokens in text: found, and kept out of what is shown.

use http::HeaderMap;
use serde_json::{Map, Value, json};

use crate::devpool::jwt::Parts;

/// Headers for showing: a value, or a list of them where a header came more than once.
pub(super) fn headers(headers: &HeaderMap) -> Value {
    let mut object = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let mut values: Vec<Value> = values.map(|value| shown(&String::from_utf8_lossy(value.as_bytes()))).collect();
        let value = if values.len() == 1 { values.swap_remove(0) } else { Value::Array(values) };
        object.insert(name.as_str().to_owned(), value);
    }
    Value::Object(object)
}

/// A header value that is a token, with the scheme before it.
pub(super) fn split(value: &str) -> Option<(Option<&str>, &str)> {
    let (scheme, token) = match value.trim().split_once(' ') {
        Some((scheme, token)) => (Some(scheme), token.trim()),
        None => (None, value.trim()),
    };
    is_token(token).then_some((scheme, token))
}

/// A JWT or a JWE: base64url of `{"`, and dots.
fn is_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.contains('.') && text.chars().all(is_token_char)
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=')
}

/// A header value for showing: a token becomes its claims, and inside other text a word.
pub(super) fn shown(value: &str) -> Value {
    match split(value).map(|(scheme, token)| (scheme, Parts::of(token))) {
        Some((scheme, Some(parts))) => {
            let claim = |name: &str| parts.claims.get(name).cloned().unwrap_or_default();
            let names = ["iss", "sub", "token_use", "iat", "exp", "jti"];
            let claims: Value = names.into_iter().map(|name| (name, claim(name))).collect();
            json!({"scheme": scheme, "claims": claims})
        }
        _ => json!(redacted(value)),
    }
}

/// `text` without tokens. Whatever begins like one counts, also where it is cut short.
pub(super) fn redacted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c| !is_token_char(c) || c == '=') {
        let end = piece.len()
            - piece.chars().next_back().filter(|c| !is_token_char(*c) || *c == '=').map_or(0, char::len_utf8);
        match piece[..end].find("eyJ") {
            Some(start) => {
                shown.push_str(&piece[..start]);
                shown.push_str("[token]");
                shown.push_str(&piece[end..]);
            }
            None => shown.push_str(piece),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_ever_shown() {
        let jwt = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzIiwianRpIjoiaiJ9.";
        assert_eq!(shown(&format!("Bearer {jwt}"))["claims"]["sub"], "s");
        assert_eq!(shown(&format!("Bearer {jwt}"))["scheme"], "Bearer");
        assert_eq!(shown(jwt)["claims"]["jti"], "j");
        let table = [
            (format!("a=1; idToken={jwt}; b=2"), "a=1; idToken=[token]; b=2"),
            ("eyJjdHki.a.b.c.d".to_owned(), "[token]"),
            ("/x?token=eyJhbGci&y=ü".to_owned(), "/x?token=[token]&y=ü"),
            ("plain text".to_owned(), "plain text"),
        ];
        for (text, expected) in table {
            assert_eq!(shown(&text), expected);
        }
    }
}
