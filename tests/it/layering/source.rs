//! Just enough of Rust's grammar to know what a file imports: which text is code, and what a `use` tree names.

/// A file without what is not shipped.
pub(super) struct Shipped {
    /// Without comments, without what strings hold, and without `#[cfg(test)]` modules.
    pub(super) code: String,
    /// The test modules that are files of their own (`#[cfg(test)] mod tests;`).
    pub(super) test_files: Vec<String>,
}

/// Takes out of a file what is not shipped.
pub(super) fn shipped(source: &str) -> Shipped {
    const MARK: &str = "#[cfg(test)]";
    let mut shipped = Shipped { code: String::new(), test_files: Vec::new() };
    let code = code_of(source);
    let mut rest = code.as_str();
    while let Some((before, item)) = rest.split_once(MARK) {
        shipped.code.push_str(before);
        rest = match test_module(item) {
            Some((Some(name), after)) => {
                shipped.test_files.push(name.to_owned());
                after
            }
            Some((None, after)) => after,
            // Some other item for tests: it stays, and so do the rules for what it imports.
            None => item,
        };
    }
    shipped.code.push_str(rest);
    shipped
}

/// What follows a module, and its name where it is a file of its own; None where no module begins here.
fn test_module(item: &str) -> Option<(Option<&str>, &str)> {
    let after_visibility =
        item.find("mod ").filter(|at| item[..*at].trim().is_empty() || is_visibility(&item[..*at]))?;
    let name = &item[after_visibility + "mod ".len()..];
    let end = name.find([';', '{'])?;
    if name[end..].starts_with(';') {
        return Some((Some(name[..end].trim()), &name[end + 1..]));
    }
    let mut depth = 0_usize;
    for (at, next) in name[end..].char_indices() {
        match next {
            '{' => depth += 1,
            '}' if depth == 1 => return Some((None, &name[end + at + 1..])),
            '}' => depth -= 1,
            _ => {}
        }
    }
    Some((None, ""))
}

fn is_visibility(text: &str) -> bool {
    text.trim().starts_with("pub") && !text.contains([';', '{', '}', '='])
}

/// The source with comments taken out, and literals emptied of their content.
fn code_of(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        let (kept, length) = match next {
            '/' if rest.starts_with("//") => ("", rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (" ", block_comment(rest)),
            '"' => ("\"\"", quoted(rest, '"')),
            'r' if raw_string(rest).is_some() && !ends_in_word(&code) => ("\"\"", raw_string(rest).unwrap_or(1)),
            '\'' if is_character(rest) => ("' '", quoted(rest, '\'')),
            _ => (&rest[..next.len_utf8()], next.len_utf8()),
        };
        code.push_str(kept);
        rest = &rest[length..];
    }
    code
}

fn ends_in_word(code: &str) -> bool {
    // `br"…"` and `cr"…"` are raw strings too; any other word that ends before an `r` is an identifier.
    let word: String = code.chars().rev().take_while(|last| last.is_alphanumeric() || *last == '_').collect();
    !matches!(word.as_str(), "" | "b" | "c")
}

/// Comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

/// The length of a literal with its quotes, escapes minded.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, next) in text.char_indices().skip(1) {
        match next {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if next == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of `r"…"` or `r#"…"#`, if that is what begins here.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let content = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - content.len();
    Some(content.find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// A character literal, and not a lifetime.
fn is_character(text: &str) -> bool {
    let mut characters = text.chars().skip(1);
    let first = characters.next();
    first == Some('\\') || characters.next() == Some('\'')
}

/// Every path that stands in the code after `prefix`, with groups spread out: `prefix{a::B, c}` is `[a, B]` and `[c]`.
pub(super) fn paths_after(prefix: &str, code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        // `super::` within `super::super::`, `crate::` within `my_crate::`.
        let inner =
            code[..at].ends_with("super::") || code[..at].ends_with(|last: char| last.is_alphanumeric() || last == '_');
        if !inner {
            tree(&code[at + prefix.len()..], &[], &mut paths);
        }
    }
    paths
}

/// Reads one `use` tree after `before`, and returns what follows it.
fn tree<'a>(text: &'a str, before: &[String], paths: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = tree(rest, before, paths).trim_start();
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let length = text.find(|next: char| !next.is_alphanumeric() && next != '_').unwrap_or(text.len());
    let (word, rest) = text.split_at(length);
    if word.is_empty() {
        // `*`, or the end of a group after a last comma.
        return rest.strip_prefix('*').unwrap_or(rest);
    }
    let path = [before, &[word.to_owned()]].concat();
    let Some(more) = rest.trim_start().strip_prefix("::") else {
        paths.push(path);
        return renamed(rest);
    };
    let known = paths.len();
    let after = tree(more, &path, paths);
    if paths.len() == known {
        // `d::*` names `d`.
        paths.push(path);
    }
    after
}

/// What follows ` as name`.
fn renamed(text: &str) -> &str {
    let Some(name) = text.trim_start().strip_prefix("as ") else { return text };
    name.trim_start().trim_start_matches(|next: char| next.is_alphanumeric() || next == '_')
}

#[test]
fn only_code_is_code() {
    for (source, code) in [
        ("a // b\nc", "a \nc"),
        ("a /* b /* c */ d */ e", "a   e"),
        ("f(\"http://x\", 'c', '\"', '\\'') // g", "f(\"\", ' ', ' ', ' ') "),
        ("r#\"a \" b\"# + br\"c\" + for\"d\"", "\"\" + b\"\" + for\"\""),
        ("fn f<'a>(x: &'a str) -> &'a str", "fn f<'a>(x: &'a str) -> &'a str"),
        ("let s = \"\\\" // still\"; x", "let s = \"\"; x"),
    ] {
        assert_eq!(code_of(source), code, "{source}");
    }
}

#[test]
fn test_modules_are_not_shipped_wherever_they_stand() {
    let source = "a;\n#[cfg(test)]\nmod tests;\nb;\n#[cfg(test)]\npub(crate) mod fixtures;\n#[cfg(test)]\nfn c() {}\n\
                  #[cfg(test)]\nmod d { fn e() { \"}\" } }\nf;";
    let Shipped { code, test_files } = shipped(source);
    assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), "a; b; fn c() {} f;");
    assert_eq!(test_files, ["tests", "fixtures"]);
}

#[test]
fn a_use_tree_is_spread_out() {
    let paths = |code| paths_after("crate::", code).iter().map(|path| path.join("::")).collect::<Vec<_>>();
    assert_eq!(paths("use crate::a;"), ["a"]);
    assert_eq!(paths("use crate::{a::{self, B as C}, d::*, e,};"), ["a::self", "a::B", "d", "e"]);
    assert_eq!(
        paths("use crate::{\n    a::b::{C, d::E},\n    f,\n};\nuse crate::g::H;"),
        ["a::b::C", "a::b::d::E", "f", "g::H"]
    );
    assert_eq!(paths("crate::a::b(crate::c::D) + my_crate::e::f"), ["a::b", "c::D"]);
    assert_eq!(paths_after("super::", "use super::super::a; use super::b;"), [vec!["super", "a"], vec!["b"]]);
}
