//! What is meant by a line that is no TOML: the mistakes that people make most, each with its mending.

use std::ops::Range;

use super::{place::Place, problem::Problem};

/// Says what is wrong at `span` of `text`, of which the parser says `message`.
pub(super) fn problem(text: &str, message: &str, span: Range<usize>) -> Problem {
    let message = message.trim().replace('\n', "; ");
    let start = span.start.min(text.len());
    let from = text.get(..start).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
    let line = text.get(from..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let within = |part: Range<usize>| Place::File(from + part.start..from + part.end);
    if let Some((_, duplicate)) = message.split_once("duplicate key ") {
        let name = line.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(line.len());
        let fix = if line.starts_with('[') { "put its keys below the first one" } else { "remove one of the two" };
        let name_of = duplicate.trim_end_matches(" in document root");
        return Problem::new(format!("{name_of} is there twice")).fix(fix).at(within(0..name));
    }
    if let Some((problem, part)) = meant(line) {
        return problem.at(within(part));
    }
    Problem::new(format!("this is not valid TOML: {message}"))
        .fix("see https://toml.io for the grammar")
        .at(Place::File(start..span.end.clamp(start, from + line.len())))
}

/// What a person meant by `line`, and the part of it that is wrong.
fn meant(line: &str) -> Option<(Problem, Range<usize>)> {
    let trimmed = line.trim();
    let indent = line.len() - line.trim_start().len();
    let whole = indent..indent + trimmed.len();
    if trimmed.starts_with('[') && !trimmed.contains(['=', ']', ',']) {
        let name = trimmed.trim_matches('[').trim();
        return Some((
            Problem::new("the name of the section has no closing bracket").fix(format!("write [{name}]")),
            whole,
        ));
    }
    if trimmed.starts_with('{') {
        return Some((
            Problem::new("this looks like JSON, and the configuration is TOML")
                .fix("write [section], and key = value below"),
            whole,
        ));
    }
    let is_key = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    let Some((key, value)) = line.split_once('=') else {
        let (key, _) = trimmed.split_once(':').filter(|(key, _)| is_key(key.trim_end()))?;
        let problem = Problem::new("between a key and its value stands =");
        return Some((problem.fix(format!("write {} = …", key.trim_end())), whole));
    };
    let name = key.trim();
    if !is_key(name) {
        return None;
    }
    let start = key.len() + 1 + (value.len() - value.trim_start().len());
    let value = value.split(" #").next().unwrap_or_default().trim();
    let part = start..start + value.len();
    if value.is_empty() || value.starts_with('#') {
        let problem = Problem::new(format!("`{name}` has no value"));
        return Some((problem.fix("give it one, or remove the line"), indent..line.trim_end().len()));
    }
    if value.starts_with(['\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}']) {
        let problem = Problem::new(format!("`{name}` has curly quotes, which a word processor made"));
        return Some((problem.fix("write straight ones: \"…\""), part));
    }
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    if let Some(quote) = quote {
        let is_open = value.matches(quote).count() == 1;
        let problem = Problem::new(format!("`{name}` has no closing quote"));
        return is_open.then(|| (problem.fix(format!("end the text with {quote}")), part));
    }
    let is_bare = value.starts_with(|c: char| c.is_alphabetic() || matches!(c, '/' | '.' | '~' | ':' | '*'))
        || (value.starts_with(|c: char| c.is_ascii_digit())
            && value.contains(|c: char| c.is_ascii_alphabetic() || c == ':'));
    let problem = Problem::new(format!("`{name}` has a text without quotes"));
    // The text itself may be a secret, and is not repeated.
    is_bare.then(|| (problem.fix(format!("put it in double quotes: {name} = \"…\"")), part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_said() {
        for (line, message) in [
            ("level = info", "`level` has a text without quotes"),
            ("proxy = 127.0.0.1:8900", "`proxy` has a text without quotes"),
            ("lead = 5m", "`lead` has a text without quotes"),
            ("level = \"info", "`level` has no closing quote"),
            ("level =  # why", "`level` has no value"),
            ("level = \u{201c}info\u{201d}", "`level` has curly quotes, which a word processor made"),
            ("level: info", "between a key and its value stands ="),
            ("[log", "the name of the section has no closing bracket"),
        ] {
            let (problem, part) = meant(line).expect(line);
            assert_eq!(problem.message, message, "{line}");
            assert!(line.get(part).is_some(), "{line}");
        }
        for line in ["", "level = [\"a\"", "\u{fc}nicode", "level = \"a\" b"] {
            assert!(meant(line).is_none(), "{line}");
        }
    }
}
