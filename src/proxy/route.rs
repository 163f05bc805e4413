//! Which way a path leads, and what it is called there. Bytes in, the same bytes out: nothing is normalised.

use http::uri::{PathAndQuery, Uri};

use super::plan::{Rule, Target};

/// Whether `path` is `prefix` or lies below it. An empty prefix is the root.
pub(super) fn matches(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The request target to send upstream (origin-form, RFC 9112 §3.2.1), or `None` where it would be too long to write
/// (RFC 9110 §4.1 has no bound, the `http` crate has: 64 KiB).
pub(super) fn target(rule: &Rule, original: &Uri) -> Option<Uri> {
    let path_and_query = original.path_and_query()?;
    let stripped = if rule.route.strip_prefix { rule.prefix.len() } else { 0 };
    let joined = join(&rule.target.base, path_and_query, stripped)?;
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(joined);
    Uri::from_parts(parts).ok()
}

/// `base`, which does not end in a slash, before `path_and_query` without its first `stripped` bytes.
fn join(base: &str, path_and_query: &PathAndQuery, stripped: usize) -> Option<PathAndQuery> {
    let rest = path_and_query.as_str().get(stripped..)?;
    // What comes in absolute-form may be a query alone.
    if base.is_empty() && stripped == 0 && rest.starts_with('/') {
        return Some(path_and_query.clone());
    }
    let slash = if rest.starts_with('/') { "" } else { "/" };
    PathAndQuery::try_from([base, slash, rest].concat()).ok()
}

/// What a client calls `path` of the upstream, where the upstream names one of its own (in `Location`, in a cookie's
/// `Path`): the base path is removed, and a prefix that was stripped is put back. `None` for a path outside the base.
pub(super) fn local_path(rule: &Rule, path: &str) -> Option<String> {
    let Target { base, .. } = &*rule.target;
    let prefix = if rule.route.strip_prefix { rule.prefix.as_str() } else { "" };
    let end = path.find(['?', '#']).unwrap_or(path.len());
    if !matches(base, &path[..end]) {
        return None;
    }
    let rest = &path[base.len()..];
    let slash = if rest.starts_with('/') || (!prefix.is_empty() && rest.is_empty()) { "" } else { "/" };
    Some([prefix, slash, rest].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixes_end_at_segments() {
        for (prefix, path, expected) in [
            ("/mcp", "/mcp", true),
            ("/mcp", "/mcp/", true),
            ("/mcp", "/mcp/a", true),
            ("/mcp", "/mcpx", false),
            ("/mcp", "/", false),
            ("/mcp", "/MCP", false),
            ("", "/anything", true),
        ] {
            assert_eq!(matches(prefix, path), expected, "{prefix} {path}");
        }
    }

    #[test]
    fn paths_are_joined_without_a_doubled_slash_and_without_a_change() {
        for (base, stripped, given, expected) in [
            ("", 0, "/x", "/x"),
            ("/prod", 0, "/x", "/prod/x"),
            ("/prod", 0, "/", "/prod/"),
            ("/prod", 0, "//evil/x", "/prod//evil/x"),
            ("", 0, "?q", "/?q"),
            ("/prod", 0, "?q", "/prod/?q"),
            ("", 4, "/mcp", "/"),
            ("", 4, "/mcp?q=1", "/?q=1"),
            ("", 4, "/mcp/a/../b;c?%2f", "/a/../b;c?%2f"),
            ("/v1", 4, "/mcp/", "/v1/"),
        ] {
            let path = PathAndQuery::from_static(given);
            let joined = join(base, &path, stripped).expect("short");
            assert_eq!(joined.as_str(), expected, "{base} {stripped} {given}");
        }
    }

    proptest! {
        #[test]
        fn without_a_base_every_target_is_byte_identical(path in "/[!-~&&[^#?\"<>`{}]]{0,40}(\\?[!-~&&[^#\"<>]]{0,20})?") {
            let Ok(given) = PathAndQuery::try_from(path.as_str()) else { return Ok(()) };
            let alone = join("", &given, 0).expect("short");
            prop_assert_eq!(alone.as_str(), path.as_str());
            let based = join("/prod", &given, 0).expect("short");
            prop_assert_eq!(based.as_str(), format!("/prod{path}"));
        }
    }
}
