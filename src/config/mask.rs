//! Keeps secrets that were written where none belongs out of the lines that errors show.

use std::ops::Range;

/// Words in a key that no key of ours has, and whose value somebody may want kept.
const SECRET_WORDS: [&str; 6] = ["secret", "password", "passwd", "token", "credential", "authorization"];

/// What stands in a secret's place.
const MASK: &str = "[redacted]";

/// A line of that length or more without `=` is no TOML, and may be a token in a file that is no configuration.
const LONG_WORD: usize = 24;

/// `lines` with the values of secret-looking keys masked, and `span` moved along.
pub(super) fn excerpt(lines: &str, span: Range<usize>) -> (String, Range<usize>) {
    let mut shown = String::with_capacity(lines.len());
    let mut moved = span.clone();
    let mut at = 0;
    for line in lines.split_inclusive('\n') {
        let content = line.trim_end_matches(['\n', '\r']);
        if let Some(hidden) = secret_part(content) {
            let hidden = at + hidden.start..at + hidden.end;
            moved.start = shifted(moved.start, span.start, &hidden, shown.len() + (hidden.start - at));
            moved.end = shifted(moved.end, span.end, &hidden, shown.len() + (hidden.start - at) + MASK.len());
            shown.push_str(&lines[at..hidden.start]);
            shown.push_str(MASK);
            shown.push_str(&lines[hidden.end..at + line.len()]);
        } else {
            shown.push_str(line);
        }
        at += line.len();
    }
    let end = moved.end.min(shown.len());
    (shown, moved.start.min(end)..end)
}

/// Where `index` of the original goes: nowhere before the mask, to `inside` within it, and along with the text after.
fn shifted(now: usize, index: usize, hidden: &Range<usize>, inside: usize) -> usize {
    if index <= hidden.start {
        now
    } else if index <= hidden.end {
        inside
    } else {
        (now + MASK.len()).saturating_sub(hidden.len())
    }
}

/// The part of a line that must not be shown.
fn secret_part(line: &str) -> Option<Range<usize>> {
    let end = line.trim_end().len();
    let mut keys = line.match_indices('=').map(|(at, _)| (&line[..at], at + 1)).peekable();
    if keys.peek().is_none() {
        let word = line.trim();
        // Comments, tables, and the items of a list that goes on over several lines.
        let is_toml = word.starts_with(['#', '[', '"', '\'', ']', '{', '}']);
        let is_secret = looks_like_token(word) || (!is_toml && word.len() >= LONG_WORD && !word.contains(' '));
        return is_secret.then_some(line.len() - line.trim_start().len()..end);
    }
    let value_from = |at: usize| at + (line[at..].len() - line[at..].trim_start().len());
    keys.find(|(before, at)| is_secret_key(before) || looks_like_token(&line[*at..]))
        .map(|(_, at)| value_from(at).min(end)..end)
}

/// Whether the key at the end of `before`, which an `=` follows, is one whose value somebody may want kept.
fn is_secret_key(before: &str) -> bool {
    let before = before.trim_end().trim_end_matches(['"', '\'']);
    let start = before.rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-')).map_or(0, |at| at + 1);
    // `rfind` gives the first byte of a character that may be longer than one.
    let name = before.get(start..).unwrap_or_default().to_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
        && !name.ends_with("_file")
        && !matches!(name.as_str(), "token" | "refresh_token_validity")
}

/// Whether a JWT (`eyJ` is `{"` in base64url, RFC 7519 §3) or a URL with a password stands in `text`.
fn looks_like_token(text: &str) -> bool {
    text.contains("eyJ")
        || text.split_once("://").is_some_and(|(_, rest)| {
            rest.split(['/', '?', '#', '"', '\'']).next().is_some_and(|authority| authority.contains('@'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(line: &str) -> String {
        excerpt(line, 0..0).0
    }

    #[test]
    fn secrets_are_hidden_and_settings_are_not() {
        assert_eq!(masked(r#"client_secret = "abc""#), "client_secret = [redacted]");
        assert_eq!(masked(r#"cognito.client_secret="abc" # mine"#), "cognito.client_secret=[redacted]");
        assert_eq!(masked(r#"refresh_token = "eyJabc""#), "refresh_token = [redacted]");
        assert_eq!(masked(r#"url = "https://me:pw@host/x""#), "url = [redacted]");
        assert_eq!(
            masked(r#"cognito = { client_id = "a", client_secret = "b" }"#),
            "cognito = { client_id = \"a\", client_secret = [redacted]"
        );
        assert_eq!(masked("  eyJhbGciOiJSUzI1NiJ9.x.y"), "  [redacted]");
        for line in [
            r#"client_secret_file = "/run/secret""#,
            r#"token = "access""#,
            r#"refresh_token_validity = "30d""#,
            r#"lead = "5m""#,
            "[[a_rather_long_table_header_here]]",
            r#"  "http://localhost:3000/a/long/item"]"#,
        ] {
            assert_eq!(masked(line), line);
        }
    }

    #[test]
    fn the_span_follows_the_text() {
        let line = r#"client_secret = "a much longer secret than the mask" "#;
        let (shown, span) = excerpt(line, 16..52);
        assert_eq!(&shown[span], "[redacted]");
        let (shown, span) = excerpt(line, 0..13);
        assert_eq!(&shown[span], "client_secret");
        let two = "client_secret = \"abc\"\nlead = 5";
        let (shown, span) = excerpt(two, 29..30);
        assert_eq!(&shown[span], "5");
    }

    proptest::proptest! {
        #[test]
        fn any_span_stays_within_the_text(line in "[a-z_=\" \n]{0,40}", start in 0_usize..40, length in 0_usize..40) {
            let start = start.min(line.len());
            let end = (start + length).min(line.len());
            let (shown, span) = excerpt(&line, start..end);
            proptest::prop_assert!(shown.get(span).is_some());
        }
    }
}
