//! Durations and sizes as people write them: `"1h30m"`, `"64KiB"`.

use std::{fmt::Write, time::Duration};

use super::problem::Problem;

/// Units in falling order, in milliseconds. A year is 365 days, as Cognito's limit of ten years counts it.
const DURATION_UNITS: [(&str, u64); 7] = [
    ("y", 31_536_000_000),
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Spellings that people try.
const DURATION_ALIASES: [(&str, &str); 19] = [
    ("sec", "s"),
    ("secs", "s"),
    ("second", "s"),
    ("seconds", "s"),
    ("min", "m"),
    ("mins", "m"),
    ("minute", "m"),
    ("minutes", "m"),
    ("hr", "h"),
    ("hrs", "h"),
    ("hour", "h"),
    ("hours", "h"),
    ("day", "d"),
    ("days", "d"),
    ("week", "w"),
    ("weeks", "w"),
    ("year", "y"),
    ("years", "y"),
    ("msec", "ms"),
];

const SIZE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

const SIZE_ALIASES: [(&str, &str); 12] = [
    ("k", "KiB"),
    ("K", "KiB"),
    ("kB", "KiB"),
    ("kb", "KiB"),
    ("KB", "KiB"),
    ("kib", "KiB"),
    ("M", "MiB"),
    ("MB", "MiB"),
    ("mb", "MiB"),
    ("G", "GiB"),
    ("GB", "GiB"),
    ("b", "B"),
];

/// The longest duration that is understood, a century: longer ones are slips, and would overflow timers.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Reads one or more whole numbers with units, the larger first.
pub(super) fn duration(text: &str) -> Result<Duration, Problem> {
    let wrong = |fix: String| Problem::new(format!("is not a duration: {text:?}")).fix(fix);
    let general = "write whole numbers with a unit: \"90s\", \"5m\", \"1h30m\", \"30d\"";
    let parts = parts(text).ok_or_else(|| wrong(general.into()))?;
    if let [(number, "")] = parts[..] {
        return Err(wrong(format!("a number needs a unit: \"{number}s\"")));
    }
    let mut millis: u64 = 0;
    let mut rank = None;
    for (number, unit) in &parts {
        let Some(position) = DURATION_UNITS.iter().position(|(name, _)| name == unit) else {
            return Err(wrong(mended(&parts, &DURATION_UNITS, &DURATION_ALIASES).unwrap_or_else(|| general.into())));
        };
        if rank.is_some_and(|before| before >= position) {
            return Err(wrong("each unit stands once, the larger first: \"1h30m\"".into()));
        }
        rank = Some(position);
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(DURATION_UNITS[position].1));
        let sum = part.and_then(|part| millis.checked_add(part));
        millis = sum.ok_or_else(|| wrong("that is too long; the longest is \"100y\"".into()))?;
    }
    let duration = Duration::from_millis(millis);
    if duration > LONGEST { Err(wrong("that is too long; the longest is \"100y\"".into())) } else { Ok(duration) }
}

/// Reads one whole number with a unit.
pub(super) fn size(text: &str) -> Result<u64, Problem> {
    let wrong = |fix: String| Problem::new(format!("is not a size: {text:?}")).fix(fix);
    let general = "write a whole number with a unit: \"512B\", \"64KiB\", \"1MiB\"";
    let parts = parts(text).ok_or_else(|| wrong(general.into()))?;
    let [(number, unit)] = parts[..] else { return Err(wrong(general.into())) };
    if unit.is_empty() {
        return Err(wrong(format!("a number needs a unit: \"{number}B\"")));
    }
    let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(wrong(mended(&parts, &SIZE_UNITS, &SIZE_ALIASES).unwrap_or_else(|| general.into())));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| wrong("that is too much".into()))
}

/// `duration` in the largest units that say it exactly.
pub(super) fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut shown = String::new();
    // Weeks and years read worse than the days that people think in.
    for (unit, millis) in &DURATION_UNITS[2..] {
        if rest >= *millis {
            let _ = write!(shown, "{}{unit}", rest / millis);
            rest %= millis;
        }
    }
    if shown.is_empty() { "0s".into() } else { shown }
}

/// Splits `"1h30m"` into `(1, h)` and `(30, m)`; `None` where it does not consist of such pairs.
fn parts(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut rest = text.trim();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        if number.is_empty() || (unit.is_empty() && !next.is_empty()) {
            return None;
        }
        parts.push((number, unit));
        rest = next.trim_start();
    }
    (!parts.is_empty()).then_some(parts)
}

/// `5 minutes` written as `write "5m"`, where every unit is one that people try.
fn mended(parts: &[(&str, &str)], units: &[(&'static str, u64)], aliases: &[(&str, &'static str)]) -> Option<String> {
    let mut out = String::new();
    for (number, unit) in parts {
        let lower = unit.to_lowercase();
        let known = units.iter().map(|(name, _)| *name).find(|name| *name == *unit || *name == lower);
        let alias = || aliases.iter().find(|(alias, _)| *alias == *unit || *alias == lower).map(|(_, name)| *name);
        out.push_str(number);
        out.push_str(known.or_else(alias)?);
    }
    Some(format!("write {out:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_mean_them() {
        for (text, millis) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("30d", 2_592_000_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("250ms", 250),
            ("2w", 1_209_600_000),
            ("0s", 0),
            ("10y", 315_360_000_000),
            ("1s500ms", 1500),
        ] {
            assert_eq!(duration(text).map(|d| d.as_millis()), Ok(millis), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_what_would_be() {
        for (text, fix) in [
            ("90", r#"a number needs a unit: "90s""#),
            ("5 minutes", r#"write "5m""#),
            ("1 hour 30 min", r#"write "1h30m""#),
            ("5M", r#"write "5m""#),
            ("30m1h", r#"each unit stands once, the larger first: "1h30m""#),
            ("1h1h", r#"each unit stands once, the larger first: "1h30m""#),
            ("99999999999999y", r#"that is too long; the longest is "100y""#),
            ("101y", r#"that is too long; the longest is "100y""#),
        ] {
            let problem = duration(text).expect_err(text);
            assert_eq!(problem.fix.as_deref(), Some(fix), "{text}");
        }
        for text in ["", "soon", "-5m", "1.5h", "m", "5m3", "٣s"] {
            let problem = duration(text).expect_err(text);
            assert!(problem.fix.is_some_and(|fix| fix.starts_with("write whole numbers")), "{text}");
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("1MiB", 1_048_576), ("2GiB", 2_147_483_648)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for (text, fix) in [
            ("64", r#"a number needs a unit: "64B""#),
            ("64k", r#"write "64KiB""#),
            ("64KB", r#"write "64KiB""#),
            ("1mb", r#"write "1MiB""#),
            ("99999999999999GiB", "that is too much"),
        ] {
            assert_eq!(size(text).expect_err(text).fix.as_deref(), Some(fix), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_shown_duration_reads_back(millis in 0_u64..3_153_600_000_000) {
            let shown = show_duration(Duration::from_millis(millis));
            proptest::prop_assert_eq!(duration(&shown), Ok(Duration::from_millis(millis)));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,20}") {
            drop(duration(&text));
            drop(size(&text));
        }
    }
}
