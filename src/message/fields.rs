//! The fields of a head, in the order in which they came.
//!
//! A head has a dozen of them, and each is looked for once or twice: to compare names one after the other is less than
//! to hash them into a map, and nothing has to be placed, moved or grown. What each operation does, it does in one pass,
//! however often a name is there.
//!
//! What was read stays where it was read: a value is a place in the head's bytes, which the parser has looked at already.

use std::{fmt, ops::Range};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::head::MOST_FIELDS;

/// Fields by position. Names may repeat, and those that do keep their order (RFC 9110 §5.3).
#[derive(Clone, Default)]
pub struct Fields {
    /// The head that some of them are parts of.
    text: Bytes,
    list: Vec<(HeaderName, Value)>,
}

#[derive(Clone)]
enum Value {
    /// A part of the head.
    Read(Range<usize>),
    /// Made, or read elsewhere.
    Made(HeaderValue),
}

impl Value {
    #[inline]
    fn bytes<'f>(&'f self, text: &'f [u8]) -> &'f [u8] {
        match self {
            Self::Read(place) => &text[place.clone()],
            Self::Made(value) => value.as_bytes(),
        }
    }
}

/// A value as text, where all of it is visible ASCII, blanks and tabs (RFC 9110 §5.5).
#[must_use]
pub fn visible(value: &[u8]) -> Option<&str> {
    let is_visible = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    if value.iter().all(is_visible) { std::str::from_utf8(value).ok() } else { None }
}

/// Writes one field line.
#[inline]
pub(super) fn field(to: &mut Vec<u8>, name: &str, value: &[u8]) {
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(b": ");
    to.extend_from_slice(value);
    to.extend_from_slice(b"\r\n");
}

impl Fields {
    /// None, and no room for any.
    #[must_use]
    pub const fn new() -> Self {
        Self { text: Bytes::new(), list: Vec::new() }
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, more: usize) {
        self.list.reserve(more);
    }

    /// How many have room here.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.list.capacity()
    }

    /// How many there are, repeated ones counted each.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Forgets all, and keeps the room.
    pub fn clear(&mut self) {
        self.text = Bytes::new();
        self.list.clear();
    }

    /// Adds a field that was read behind the others, of the head that will be [the text](Self::set_text).
    #[inline]
    pub(super) fn append_read(&mut self, name: HeaderName, place: Range<usize>) {
        self.list.push((name, Value::Read(place)));
    }

    /// Says which bytes those are that were read.
    pub(super) fn set_text(&mut self, text: Bytes) {
        self.text = text;
    }

    /// Whether there is a field of this name.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a name is a constant or a text, and said as such")]
    pub fn contains<N>(&self, name: N) -> bool
    where
        HeaderName: PartialEq<N>,
    {
        self.list.iter().any(|(known, _)| *known == name)
    }

    /// The value of the first field of this name.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a name is a constant or a text, and said as such")]
    pub fn get<N>(&self, name: N) -> Option<&[u8]>
    where
        HeaderName: PartialEq<N>,
    {
        self.iter().find(|(known, _)| **known == name).map(|(_, value)| value)
    }

    /// The same, to be kept for longer than this.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a name is a constant or a text, and said as such")]
    pub fn get_shared<N>(&self, name: N) -> Option<Bytes>
    where
        HeaderName: PartialEq<N>,
    {
        match &self.list.iter().find(|(known, _)| *known == name)?.1 {
            Value::Read(place) => Some(self.text.slice(place.clone())),
            Value::Made(value) => Some(Bytes::copy_from_slice(value.as_bytes())),
        }
    }

    /// The values of all fields of this name.
    pub fn get_all<N>(&self, name: N) -> impl Iterator<Item = &[u8]>
    where
        HeaderName: PartialEq<N>,
    {
        self.iter().filter(move |(known, _)| **known == name).map(|(_, value)| value)
    }

    /// All, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &[u8])> {
        let text = &self.text[..];
        self.list.iter().map(move |(name, value)| (name, value.bytes(text)))
    }

    /// The names of all, repeated ones each time.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.list.iter().map(|(name, _)| name)
    }

    /// Adds a field behind the others, whether its name is there already or not.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.list.push((name, Value::Made(value)));
    }

    /// Adds what `map` holds behind the others, with nothing hashed.
    pub fn extend_from(&mut self, map: HeaderMap) {
        self.list.reserve(map.len());
        for (name, value) in map {
            // A map says a name once, and then all of its values.
            let name = name.or_else(|| self.list.last().map(|(name, _)| name.clone()));
            self.list.extend(name.map(|name| (name, Value::Made(value))));
        }
    }

    /// All, as a map.
    #[must_use]
    pub fn to_map(&self) -> HeaderMap {
        self.to_map_without(|_| false)
    }

    /// All but those that `left_out` says yes to, as a map.
    #[must_use]
    pub fn to_map_without(&self, left_out: impl Fn(&HeaderName) -> bool) -> HeaderMap {
        // Room for more fields than a map has names is refused by a panic, also where they are all of one name.
        let mut map = HeaderMap::with_capacity(self.list.len().min(MOST_FIELDS));
        for (name, value) in self.list.iter().filter(|(name, _)| !left_out(name)) {
            let value = match value {
                // The parser takes for a value what the type does.
                Value::Read(place) => HeaderValue::from_maybe_shared(self.text.slice(place.clone())).ok(),
                Value::Made(value) => Some(value.clone()),
            };
            if let Some(value) = value {
                map.append(name, value);
            }
        }
        map
    }

    /// Makes this the only field of its name: in the place of the first one where there is one, else behind the others.
    pub fn insert(&mut self, name: HeaderName, value: HeaderValue) {
        let Some(first) = self.list.iter().position(|(known, _)| *known == name) else {
            return self.append(name, value);
        };
        self.list[first].1 = Value::Made(value);
        if self.list[first + 1..].iter().any(|(known, _)| *known == name) {
            self.list.extract_if(first + 1.., |(known, _)| *known == name).for_each(drop);
        }
    }

    /// Removes all fields of this name.
    ///
    /// # Returns
    /// Whether there was one.
    #[expect(clippy::needless_pass_by_value, reason = "a name is a constant or a text, and said as such")]
    pub fn remove<N>(&mut self, name: N) -> bool
    where
        HeaderName: PartialEq<N>,
    {
        let Some(first) = self.list.iter().position(|(known, _)| *known == name) else { return false };
        self.list.extract_if(first.., |(known, _)| *known == name).for_each(drop);
        true
    }

    /// Removes all that `keep` says no to.
    pub fn retain(&mut self, mut keep: impl FnMut(&HeaderName, &[u8]) -> bool) {
        let text = &self.text[..];
        self.list.retain(|(name, value)| keep(name, value.bytes(text)));
    }

    /// Puts what `as_new` makes of a value in its place, where it makes something of it.
    pub fn rewrite(&mut self, as_new: impl Fn(&HeaderName, &[u8]) -> Option<HeaderValue>) {
        for (name, value) in &mut self.list {
            if let Some(new) = as_new(name, value.bytes(&self.text)) {
                *value = Value::Made(new);
            }
        }
    }

    /// Writes those that `passes` says yes to, each on its line (RFC 9112 §5).
    pub(super) fn write(&self, to: &mut Vec<u8>, mut passes: impl FnMut(&HeaderName, &[u8]) -> bool) {
        // What was read has room then; what was made finds its own.
        to.reserve(self.text.len());
        for (name, value) in self.iter() {
            if passes(name, value) {
                field(to, name.as_str(), value);
            }
        }
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Fields {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(fields: I) -> Self {
        let list = fields.into_iter().map(|(name, value)| (name, Value::Made(value)));
        Self { text: Bytes::new(), list: list.collect() }
    }
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        let mut fields = Self::new();
        fields.extend_from(map);
        fields
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.list.iter().map(|(name, value)| match value {
            Value::Read(_) => (name, HeaderValue::from_bytes(value.bytes(&self.text)).ok()),
            Value::Made(value) => (name, Some(value.clone())),
        });
        let mut map = f.debug_map();
        for (name, value) in shown {
            map.key(name);
            match value {
                Some(value) => map.value(&value),
                None => map.value(&"?"),
            };
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use http::header::{AUTHORIZATION, HOST};
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::{super::request, *};

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

    #[test]
    fn a_map_takes_as_many_of_one_name_as_come() {
        let value = HeaderValue::from_static("a");
        let fields: Fields = std::iter::repeat_n((HeaderName::from_static("x-a"), value), 30_000).collect();
        assert_eq!(fields.to_map().len(), 30_000);
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
                    Deed::Remove(name) => prop_assert_eq!(fields.remove(&name), map.remove(&name).is_some()),
                    Deed::Retain(name, value) => {
                        fields.retain(|known, is| *known != name || is == value.as_bytes());
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
                    prop_assert_eq!(fields.get(name), map.get(name).map(HeaderValue::as_bytes));
                    prop_assert!(fields.get_all(name).eq(map.get_all(name).iter().map(HeaderValue::as_bytes)));
                }
                for same in [fields.to_map(), Fields::from(map.clone()).to_map()] {
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

    /// A line of a field as somebody might write it.
    fn line() -> impl Strategy<Value = String> {
        let name = select(vec!["Host", "host", "X-A", "x-a", "AUTHORIZATION", "x_A"]);
        let (before, after) = (select(vec![": ", ": ", ": ", ":", ":  ", ":\t"]), select(vec!["", "", " ", "\t"]));
        let end = select(vec!["\r\n", "\r\n", "\r\n", "\n"]);
        (name, before, select(vec!["", "1", "b c", "\u{e4}"]), after, end)
            .prop_map(|(name, before, value, after, end)| [name, before, value, after, end].concat())
    }

    proptest! {
        #[test]
        fn what_was_read_is_written_as_it_says(lines in vec(line(), 0..8), deeds in vec(deed(), 0..4), not in name()) {
            let text = format!("GET / HTTP/1.1\r\n{}\r\n", lines.concat());
            let taken = request::take(&mut BytesMut::from(text.as_bytes())).expect("a head").expect("all of it");
            let mut fields = taken.head.fields;
            prop_assert_eq!(fields.len(), lines.len());
            for (line, (name, value)) in lines.iter().zip(fields.iter()) {
                let (said, value_said) = line.split_once(':').expect("a colon");
                prop_assert_eq!((name.as_str(), value), (&*said.to_ascii_lowercase(), value_said.trim().as_bytes()));
            }
            for deed in deeds {
                match deed {
                    Deed::Append(name, value) => fields.append(name, value),
                    Deed::Insert(name, value) => fields.insert(name, value),
                    Deed::Remove(name) => drop(fields.remove(name)),
                    Deed::Retain(name, value) => fields.retain(|known, is| *known != name || is == value.as_bytes()),
                }
            }
            let (mut written, mut expected) = (Vec::new(), Vec::new());
            fields.write(&mut written, |name, _| *name != not);
            for (name, value) in fields.iter().filter(|(name, _)| **name != not) {
                field(&mut expected, name.as_str(), value);
            }
            prop_assert_eq!(written, expected);
            let same: Fields = fields.to_map().into();
            let (map, same_map) = (fields.to_map(), same.to_map());
            prop_assert_eq!(sorted(&same_map), sorted(&map));
            prop_assert_eq!(same.len(), fields.len());
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
