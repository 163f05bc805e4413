//! What a callback says (RFC 6749 §4.1.2, RFC 9207). Pure.

use std::{collections::HashMap, fmt};

use crate::secret::Secret;

/// Longer texts of a page are cut: they end up in a terminal.
const SHOWN: usize = 200;

/// What a callback must carry to be believed.
#[derive(Clone)]
pub(super) struct Expected {
    /// The attempt's own `state`.
    pub(super) state: String,
    /// What `iss` must be, where it is there.
    pub(super) issuer: String,
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Whose callback it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This attempt's.
    Ours(Answer),
    /// Somebody else's, or no callback at all: it decides nothing.
    Foreign,
}

/// What the page answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The authorization code.
    Code(Secret),
    /// An error.
    Denied { error: String, description: Option<String> },
    /// An answer of another issuer, which must not be redeemed.
    OtherIssuer { found: String },
}

impl Expected {
    /// Judges a query. Whoever does not know the state can neither bring a code in nor end the attempt.
    pub(super) fn judge(&self, query: &str) -> Verdict {
        let mut fields: HashMap<String, String> = HashMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            // A parameter that is there twice says nothing (RFC 6749 §3.1).
            if fields.insert(name.into_owned(), value.into_owned()).is_some() {
                return Verdict::Foreign;
            }
        }
        if fields.get("state") != Some(&self.state) {
            return Verdict::Foreign;
        }
        if let Some(found) = fields.get("iss").filter(|issuer| **issuer != self.issuer) {
            return Verdict::Ours(Answer::OtherIssuer { found: shown(found) });
        }
        match (fields.remove("error"), fields.remove("code")) {
            (Some(error), _) => Verdict::Ours(Answer::Denied {
                error: shown(&error),
                description: fields.get("error_description").map(|text| shown(text)).filter(|text| !text.is_empty()),
            }),
            (None, Some(code)) if !code.is_empty() => Verdict::Ours(Answer::Code(Secret::new(code))),
            (None, _) => Verdict::Foreign,
        }
    }
}

/// What a stranger wrote, fit for a terminal.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_attempts_own_state_is_believed() {
        let expected = Expected { state: "s1".into(), issuer: "https://idp.example/pool".into() };
        let denied = |error: &str, description: Option<&str>| {
            Verdict::Ours(Answer::Denied { error: error.into(), description: description.map(str::to_owned) })
        };
        for (query, verdict) in [
            ("code=c1&state=s1", Verdict::Ours(Answer::Code(Secret::from("c1")))),
            ("state=s1&code=a%2Bb&session_state=x", Verdict::Ours(Answer::Code(Secret::from("a+b")))),
            ("code=c1&state=s1&iss=https%3A%2F%2Fidp.example%2Fpool", Verdict::Ours(Answer::Code(Secret::from("c1")))),
            (
                "code=c1&state=s1&iss=https%3A%2F%2Fevil",
                Verdict::Ours(Answer::OtherIssuer { found: "https://evil".into() }),
            ),
            ("error=access_denied&state=s1", denied("access_denied", None)),
            ("error=invalid_scope&error_description=no+%1B[2J&state=s1", denied("invalid_scope", Some("no [2J"))),
            ("error=access_denied&code=c1&state=s1", denied("access_denied", None)),
            ("code=c1&state=s2", Verdict::Foreign),
            ("code=c1", Verdict::Foreign),
            ("error=access_denied&state=", Verdict::Foreign),
            ("state=s1", Verdict::Foreign),
            ("state=s1&code=", Verdict::Foreign),
            ("code=c1&code=c2&state=s1", Verdict::Foreign),
            ("code=c1&state=s2&state=s1", Verdict::Foreign),
            ("", Verdict::Foreign),
        ] {
            assert_eq!(expected.judge(query), verdict, "{query}");
        }
    }

    #[test]
    fn what_a_page_says_is_cut_for_a_terminal() {
        assert_eq!(shown(&format!("\u{7}{}", "x".repeat(500))), "x".repeat(SHOWN));
    }
}
