//! Words of a POSIX shell (XCU §2.2), for commands that a person is told to run.

/// `word` as one word of a shell, as it is: quoted where it has to be.
#[must_use]
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The same for the path of a file as a configuration writes it: a shell knows whose home `~/` is only where it is not
/// quoted.
#[must_use]
pub fn quoted_path(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some("") | None => quoted(path),
        Some(rest) => format!("~/{}", quoted(rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell_stay_one_word() {
        for (word, is) in [("/a/b", "/a/b"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''"), ("~/a", "'~/a'")] {
            assert_eq!(quoted(word), is);
        }
        for (path, is) in [("~/a b", "~/'a b'"), ("~/a", "~/a"), ("/a b", "'/a b'"), ("~", "'~'")] {
            assert_eq!(quoted_path(path), is);
        }
    }
}
