//! What is wrong with a value, before anybody has looked up the line that it stands on.

use super::place::Place;

/// A mistake in the configuration: what is wrong, where, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The key at fault, `section.key`.
    pub(super) key: Option<Box<str>>,
    /// Where it was written.
    pub(super) place: Place,
    /// What is wrong; reads on from the key, where there is one.
    pub(super) message: String,
    /// How to mend it.
    pub(super) fix: Option<String>,
    /// Whether a file's permissions or owner are at fault, rather than what the configuration says.
    pub(super) refused: bool,
    /// The key or the section that was probably meant: that it is missing then need not be said too.
    pub(super) meant: Option<Box<str>>,
}

impl Problem {
    /// A problem that nobody has placed yet.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { key: None, place: Place::Unset, message: message.into(), fix: None, refused: false, meant: None }
    }

    /// Says how to mend it.
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Says where it is, unless that was said more exactly before.
    pub(super) fn at(mut self, place: Place) -> Self {
        if self.place == Place::Unset {
            self.place = place;
        }
        self
    }

    /// Says which key is at fault.
    pub(super) fn key(mut self, key: impl Into<Box<str>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Says what was probably meant.
    pub(super) fn meant(mut self, name: impl Into<Box<str>>) -> Self {
        self.meant = Some(name.into());
        self
    }

    /// Says that permissions are at fault.
    pub(super) fn refused(mut self) -> Self {
        self.refused = true;
        self
    }
}

/// The candidate that `word` was meant to be, where one is near enough.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (nearness(&word, &candidate.to_lowercase()), candidate))
        .filter(|(score, _)| *score > 0.0)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Above 0 where one may have been meant by the other.
fn nearness(word: &str, candidate: &str) -> f64 {
    let letters = word.chars().count().max(candidate.chars().count());
    // One slip in three letters: a letter too many, too few, wrong, or two exchanged.
    let is_slip = strsim::damerau_levenshtein(word, candidate) <= (letters / 3).max(1);
    // A word left out or added: Jaro-Winkler favours a common beginning.
    let likeness = strsim::jaro_winkler(word, candidate);
    if is_slip {
        1.0 + strsim::normalized_damerau_levenshtein(word, candidate)
    } else if likeness > 0.85 {
        likeness
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_finds_none() {
        let keys = ["user_pool_id", "client_id", "client_secret_file", "region"];
        assert_eq!(nearest("user_pol_id", keys), Some("user_pool_id"));
        assert_eq!(nearest("Region", keys), Some("region"));
        assert_eq!(nearest("clientid", keys), Some("client_id"));
        assert_eq!(nearest("zebra", keys), None);
        assert_eq!(nearest("ulr", ["http", "url", "ca_file"]), Some("url"));
        assert_eq!(nearest("client_secret", keys), Some("client_secret_file"));
    }
}
