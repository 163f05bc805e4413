//! One thing that was looked at, and what there is to say about it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::cli::Exit;

/// The version of the JSON document.
const SCHEMA: u32 = 1;

/// What came of looking at one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What was looked at, in a word or two.
    pub(super) check: &'static str,
    /// What it is like.
    pub(super) verdict: Verdict,
    /// What was seen.
    pub(super) message: String,
}

/// What it is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As it should be.
    Sound,
    /// Nothing wrong, but good to know, with what would make it better.
    Notable(Option<String>),
    /// Wrong.
    Wrong {
        /// The code to exit with.
        exit: Exit,
        /// What mends it.
        fix: String,
    },
}

impl Finding {
    pub(super) fn sound(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Sound, message: message.into() }
    }

    pub(super) fn notable(check: &'static str, message: impl Into<String>, better: Option<&str>) -> Self {
        Self { check, verdict: Verdict::Notable(better.map(str::to_owned)), message: message.into() }
    }

    pub(super) fn wrong(check: &'static str, exit: Exit, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Wrong { exit, fix: fix.into() }, message: message.into() }
    }

    fn word(&self) -> &'static str {
        match self.verdict {
            Verdict::Sound => "ok",
            Verdict::Notable(_) => "note",
            Verdict::Wrong { .. } => "wrong",
        }
    }

    fn fix(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Sound | Verdict::Notable(None) => None,
            Verdict::Notable(Some(fix)) | Verdict::Wrong { fix, .. } => {
                Some(fix).filter(|fix| !fix.is_empty()).map(String::as_str)
            }
        }
    }
}

/// The code of the gravest finding: what has to be mended first, since the rest stands on it.
pub(super) fn exit_of(findings: &[Finding]) -> Exit {
    let exits = findings.iter().filter_map(|finding| match finding.verdict {
        Verdict::Wrong { exit, .. } => Some(exit),
        Verdict::Sound | Verdict::Notable(_) => None,
    });
    exits.min_by_key(|exit| rank(*exit)).unwrap_or(Exit::Ok)
}

/// The gravest is 0.
fn rank(exit: Exit) -> usize {
    let order = [
        Exit::Config,
        Exit::Refused,
        Exit::StoreUnwritable,
        Exit::Unreachable,
        Exit::SignInNeeded,
        Exit::TryLater,
        Exit::Other,
        Exit::Usage,
        Exit::EndsSoon,
    ];
    order.iter().position(|one| *one == exit).unwrap_or(order.len())
}

/// For a person: a line each, and a line below it with what mends it.
pub(super) fn text(findings: &[Finding], styled: bool) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let mut out = String::new();
    for finding in findings {
        let word = finding.word();
        let mark = match (&finding.verdict, styled) {
            (_, false) => format!("{word:5}"),
            // Green, yellow and red of the terminal's own palette (ECMA-48, SGR).
            (Verdict::Sound, true) => format!("\u{1b}[32m{word:5}\u{1b}[0m"),
            (Verdict::Notable(_), true) => format!("\u{1b}[33m{word:5}\u{1b}[0m"),
            (Verdict::Wrong { .. }, true) => format!("\u{1b}[1;31m{word:5}\u{1b}[0m"),
        };
        let _ = writeln!(out, "{mark}  {:width$}  {}", finding.check, finding.message);
        if let Some(fix) = finding.fix() {
            let _ = writeln!(out, "{:5}  {:width$}  fix: {fix}", "", "");
        }
    }
    let wrong = findings.iter().filter(|finding| matches!(finding.verdict, Verdict::Wrong { .. })).count();
    let _ = match wrong {
        0 => writeln!(out, "\nnothing is wrong"),
        1 => writeln!(out, "\n1 thing is wrong"),
        many => writeln!(out, "\n{many} things are wrong"),
    };
    out
}

/// For a program.
pub(super) fn json(findings: &[Finding]) -> Value {
    let all: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "check": finding.check,
                "verdict": finding.word(),
                "message": finding.message,
                "fix": finding.fix(),
            })
        })
        .collect();
    json!({"schema": SCHEMA, "ok": exit_of(findings) == Exit::Ok, "findings": all})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_finding_decides_and_notes_do_not() {
        let wrong = |exit| Finding::wrong("a", exit, "m", "f");
        assert_eq!(exit_of(&[Finding::sound("a", "m"), Finding::notable("b", "m", Some("f"))]), Exit::Ok);
        assert_eq!(
            exit_of(&[wrong(Exit::EndsSoon), wrong(Exit::Unreachable), wrong(Exit::SignInNeeded)]),
            Exit::Unreachable
        );
        assert_eq!(exit_of(&[wrong(Exit::Unreachable), wrong(Exit::Config)]), Exit::Config);
    }

    #[test]
    fn a_fix_stands_below_what_it_mends() {
        let findings = [Finding::sound("clock", "right"), Finding::wrong("upstream", Exit::Config, "no", "yes")];
        assert_eq!(
            text(&findings, false),
            "ok     clock     right\nwrong  upstream  no\n                 fix: yes\n\n1 thing is wrong\n"
        );
        assert_eq!(json(&findings)["findings"][1]["fix"], "yes");
    }
}
