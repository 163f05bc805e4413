//! Keys that are part of the interface, and whose feature this version does not have: refused, never ignored.

use super::{problem::Problem, reader::Reader};

/// The keys, each with the value that asks for nothing where one can be written. Remove a row when the feature is there.
const NOT_YET: [(&str, Option<&str>); 1] = [("store.kind", Some("\"file\""))];

/// Refuses every key of the table that asks for something.
pub(super) fn check(reader: &mut Reader<'_>) {
    for (key, nothing) in NOT_YET {
        let Some((place, shown)) = reader.written(key) else { continue };
        if nothing == Some(shown.as_str()) {
            continue;
        }
        let fix = nothing.map_or_else(|| "remove it".to_owned(), |nothing| format!("remove it, or write {nothing}"));
        let problem = Problem::new(format!("cannot be {shown}: that is not available yet"));
        reader.replace(problem.fix(fix).at(place).key(key));
    }
}

/// Whether a key is refused as a whole, so that nothing else need be said about it.
pub(super) fn is_listed(key: &str) -> bool {
    NOT_YET.iter().any(|(listed, _)| *listed == key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::unknown::keys_of;

    #[test]
    fn every_row_is_a_key_and_its_nothing_is_its_default() {
        for (key, nothing) in NOT_YET {
            let (section, name) = key.split_once('.').expect("section.key");
            let found = keys_of(section).iter().find(|key| key.name == name).expect(key);
            assert_eq!(found.default, nothing, "{key}");
        }
    }
}
