//! The fields of a head, in the order in which they came.
//!
//! A head has a dozen of them, and each is looked for once or twice: to compare names one after the other is less than
//! to hash them into a map, and nothing has to be placed, moved or grown. What each operation does, it does in one pass,
//! however often a name is there.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields by position. Names may repeat, and those that do keep their order (RFC 9110 §5.3).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(HeaderName, HeaderValue)>);

impl Fields {
    /// None, and no room for any.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        self.0.reserve(more);
    }

    /// How many have room here.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// How many there are, repeated ones counted each.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets all, and keeps the room.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether there is a field of this name.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a name is a constant or a text, and said as such")]
    pub fn contains<N>(&self, name: N) -> bool
    where
        HeaderName: PartialEq<N>,
    {
        self.0.iter().any(|(known, _)| *known == name)
    }

    /// The value of the first field of this name.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a name is a constant or a text, and said as such")]
    pub fn get<N>(&self, name: N) -> Option<&HeaderValue>
    where
        HeaderName: PartialEq<N>,
    {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The values of all fields of this name.
    pub fn get_all<N>(&self, name: N) -> impl Iterator<Item = &HeaderValue>
    where
        HeaderName: PartialEq<N>,
    {
        self.0.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All, in their order.
    pub fn iter(&self) -> Iter<'_> {
        self.into_iter()
    }

    /// All, with values that may be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&HeaderName, &mut HeaderValue)> {
        self.0.iter_mut().map(|(name, value)| (&*name, value))
    }

    /// The names of all, repeated ones each time.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|(name, _)| name)
    }

    /// Adds a field behind the others, whether its name is there already or not.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value));
    }

    /// Adds what `map` holds behind the others, with nothing hashed.
    pub fn extend_from(&mut self, map: HeaderMap) {
        self.0.reserve(map.len());
        for (name, value) in map {
            // A map says a name once, and then all of its values.
            let name = name.or_else(|| self.0.last().map(|(name, _)| name.clone()));
            self.0.extend(name.map(|name| (name, value)));
        }
    }

    /// Takes all out, into a map.
    #[must_use]
    pub fn drain(&mut self) -> HeaderMap {
        // A map takes more than any head that is let in can hold.
        let mut map = HeaderMap::with_capacity(self.len());
        for (name, value) in self.0.drain(..) {
            map.append(name, value);
        }
        map
    }

    /// Makes this the only field of its name: in the place of the first one where there is one, else behind the others.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        let Some(first) = self.0.iter().position(|(known, _)| *known == name) else {
            return self.0.push((name, value));
        };
        self.0[first].1 = value;
        if self.0[first + 1..].iter().any(|(known, _)| *known == name) {
            self.0.extract_if(first + 1.., |(known, _)| *known == name).for_each(drop);
        }
    }

    /// Removes all fields of this name.
    ///
    /// # Returns
    /// The value of the first.
    #[expect(clippy::needless_pass_by_value, reason = "a name is a constant or a text, and said as such")]
    pub fn remove<N>(&mut self, name: N) -> Option<HeaderValue>
    where
        HeaderName: PartialEq<N>,
    {
        let first = self.0.iter().position(|(known, _)| *known == name)?;
        let mut removed = self.0.extract_if(first.., |(known, _)| *known == name).map(|(_, value)| value);
        let value = removed.next();
        removed.for_each(drop);
        value
    }

    /// Removes all that `keep` says no to.
    pub fn retain(&mut self, mut keep: impl FnMut(&HeaderName, &mut HeaderValue) -> bool) {
        self.0.retain_mut(|(name, value)| keep(name, value));
    }
}

/// The fields of a head, by name and value.
pub type Iter<'f> = std::iter::Map<
    std::slice::Iter<'f, (HeaderName, HeaderValue)>,
    fn(&'f (HeaderName, HeaderValue)) -> (&'f HeaderName, &'f HeaderValue),
>;

impl<'f> IntoIterator for &'f Fields {
    type Item = (&'f HeaderName, &'f HeaderValue);
    type IntoIter = Iter<'f>;

    fn into_iter(self) -> Iter<'f> {
        self.0.iter().map(|(name, value)| (name, value))
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Fields {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(fields: I) -> Self {
        Self(Vec::from_iter(fields))
    }
}

impl Extend<(HeaderName, HeaderValue)> for Fields {
    fn extend<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(&mut self, fields: I) {
        self.0.extend(fields);
    }
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        let mut fields = Self::new();
        fields.extend_from(map);
        fields
    }
}

impl From<Fields> for HeaderMap {
    fn from(mut fields: Fields) -> Self {
        fields.drain()
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, HOST};
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// What may be done to fields.
    #[derive(Clone, Debug)]
    enum Deed {
        Append(HeaderName, HeaderValue),
        Insert(HeaderName, HeaderValue),
        Remove(HeaderName),
        /// Keeps what has another name, or this value.
        Retain(HeaderName, HeaderValue),
    }

    fn name() -> impl Strategy<Value = HeaderName> {
        select(vec!["host", "authorization", "set-cookie", "x-a", "x-b", "x_a"]).prop_map(HeaderName::from_static)
    }

    fn value() -> impl Strategy<Value = HeaderValue> {
        select(vec!["", "1", "2", "3"]).prop_map(HeaderValue::from_static)
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            4 => (name(), value()).prop_map(|(name, value)| Deed::Append(name, value)),
            2 => (name(), value()).prop_map(|(name, value)| Deed::Insert(name, value)),
            1 => name().prop_map(Deed::Remove),
            1 => (name(), value()).prop_map(|(name, value)| Deed::Retain(name, value)),
        ]
    }

    /// What a map holds under each of its names, which have no order of their own.
    fn sorted(map: &HeaderMap) -> Vec<(&str, Vec<&HeaderValue>)> {
        let mut all: Vec<_> = map.keys().map(|name| (name.as_str(), map.get_all(name).iter().collect())).collect();
        all.sort_unstable();
        all
    }

    proptest! {
        #[test]
        fn fields_hold_what_a_map_would(deeds in vec(deed(), 0..40)) {
            let (mut fields, mut map) = (Fields::new(), HeaderMap::new());
            for deed in deeds {
                match deed {
                    Deed::Append(name, value) => {
                        fields.append(name.clone(), value.clone());
                        map.append(name, value);
                    }
                    Deed::Insert(name, value) => {
                        fields.insert(name.clone(), value.clone());
                        map.insert(name, value);
                    }
                    Deed::Remove(name) => prop_assert_eq!(fields.remove(&name), map.remove(&name)),
                    Deed::Retain(name, value) => {
                        fields.retain(|known, is| *known != name || *is == value);
                        let kept: Vec<_> = map.get_all(&name).iter().filter(|is| **is == value).cloned().collect();
                        map.remove(&name);
                        for value in kept {
                            map.append(name.clone(), value);
                        }
                    }
                }
                prop_assert_eq!((fields.len(), fields.is_empty()), (map.len(), map.is_empty()));
                for name in ["host", "authorization", "set-cookie", "x-a", "x-b", "x_a", "x-c"] {
                    prop_assert_eq!(fields.contains(name), map.contains_key(name));
                    prop_assert_eq!(fields.get(name), map.get(name));
                    prop_assert!(fields.get_all(name).eq(map.get_all(name)));
                }
                for same in [HeaderMap::from(fields.clone()), Fields::from(map.clone()).into()] {
                    prop_assert_eq!(sorted(&same), sorted(&map));
                }
            }
        }

        #[test]
        fn what_is_not_touched_stays_in_its_order(all in vec((name(), value()), 0..12), gone in name()) {
            let expected: Vec<_> = all.iter().filter(|(name, _)| *name != gone).cloned().collect();
            let mut fields = Fields::from_iter(all);
            let first = fields.names().position(|name| *name == gone);
            fields.insert(gone.clone(), HeaderValue::from_static("new"));
            prop_assert_eq!(fields.names().position(|name| *name == gone), Some(first.unwrap_or(expected.len())));
            fields.remove(&gone);
            prop_assert_eq!(fields, Fields::from_iter(expected));
        }
    }

    #[test]
    fn what_is_secret_is_not_shown() {
        let mut token = HeaderValue::from_static("Bearer token");
        token.set_sensitive(true);
        let fields = Fields::from_iter([(AUTHORIZATION, token), (HOST, HeaderValue::from_static("a"))]);
        assert_eq!(format!("{fields:?}"), r#"{"authorization": Sensitive, "host": "a"}"#);
    }
}
