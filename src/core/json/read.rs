//! Reading: one level of a JSON text at a time, with values that stay text.
//!
//! A client may send any number of elements, entries and unknown keys. Only those that the reader asks for are kept.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::bad::BadJson;

/// The members of one object in the order of the text. Their values are not parsed.
#[derive(Debug, Default)]
pub struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    /// Parses an object one level deep.
    ///
    /// # Errors
    /// If the text is not JSON, or not an object.
    pub fn parse(text: &'a str) -> Result<Self, BadJson> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let members = deserializer.deserialize_map(MembersVisitor)?;
        deserializer.end()?;
        Ok(members)
    }

    /// The value of a key. If the object has the key several times, the last value is used, as in JavaScript.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// The keys and values in the order of the text, including keys that occur several times.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0.iter().map(|(key, value)| (&**key, *value))
    }

    /// The same, with keys that are borrowed from the text if they can be.
    pub(crate) fn into_members(self) -> impl Iterator<Item = (Cow<'a, str>, &'a str)> {
        self.0.into_iter()
    }

    /// The number of members, including keys that occur several times.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the object is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members<'de>, A::Error> {
        let mut found = Vec::new();
        while let Some(key) = members.next_key_seed(Key)? {
            found.push((key, members.next_value::<&RawValue>()?.get()));
        }
        Ok(Members(found))
    }
}

/// A key, borrowed from the text unless it has escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// The unparsed values of some keys of an object. Other members are not kept.
#[derive(Debug)]
pub(crate) struct Picked<'a, const N: usize> {
    keys: &'static [&'static str; N],
    values: [Option<&'a str>; N],
}

impl<'a, const N: usize> Picked<'a, N> {
    /// Parses an object one level deep.
    ///
    /// # Errors
    /// If the text is not JSON, or not an object.
    pub(crate) fn parse(text: &'a str, keys: &'static [&'static str; N]) -> Result<Self, BadJson> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let picked = deserializer.deserialize_map(PickedVisitor { keys })?;
        deserializer.end()?;
        Ok(picked)
    }

    /// The value of one of the keys. If the object has the key several times, the last value is used, as in JavaScript.
    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        let place = place_of(self.keys, key);
        debug_assert!(place.is_some(), "{key:?} is not picked");
        place.and_then(|place| self.values[place])
    }
}

fn place_of<const N: usize>(keys: &[&str; N], key: &str) -> Option<usize> {
    keys.iter().position(|picked| *picked == key)
}

struct PickedVisitor<const N: usize> {
    keys: &'static [&'static str; N],
}

impl<'de, const N: usize> Visitor<'de> for PickedVisitor<N> {
    type Value = Picked<'de, N>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut values = [None; N];
        while let Some(key) = members.next_key_seed(Key)? {
            match place_of(self.keys, &key) {
                Some(place) => values[place] = Some(members.next_value::<&RawValue>()?.get()),
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Picked { keys: self.keys, values })
    }
}

/// A list that may be too long. Elements beyond the limit were not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Bounded<T> {
    /// The whole list.
    Whole(T),
    /// The list has too many elements.
    TooMany,
}

/// The unparsed values of an object by key, at most `max`. If a key occurs several times, the last value is used.
///
/// # Errors
/// If the text is not JSON, or not an object.
pub(crate) fn entries(text: &str, max: usize) -> Result<Bounded<BTreeMap<Cow<'_, str>, &str>>, BadJson> {
    let mut is_too_long = false;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = deserializer.deserialize_map(EntriesVisitor { max, is_too_long: &mut is_too_long });
    if is_too_long {
        return Ok(Bounded::TooMany);
    }
    let entries = read?;
    deserializer.end()?;
    Ok(Bounded::Whole(entries))
}

struct EntriesVisitor<'f> {
    max: usize,
    is_too_long: &'f mut bool,
}

impl<'de> Visitor<'de> for EntriesVisitor<'_> {
    type Value = BTreeMap<Cow<'de, str>, &'de str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some(key) = members.next_key_seed(Key)? {
            entries.insert(key, members.next_value::<&RawValue>()?.get());
            if entries.len() > self.max {
                *self.is_too_long = true;
                return Err(A::Error::custom("too many entries"));
            }
        }
        Ok(entries)
    }
}

/// A member of an object that should be an array.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum List<'a> {
    /// The object does not have the key.
    Missing,
    /// The value is not an array.
    NotAnArray,
    /// The array has too many elements, of which none was kept.
    TooMany,
    /// The unparsed elements.
    Elements(Vec<&'a str>),
}

/// The unparsed values of some keys of an object, and the unparsed elements of one of its arrays, in one pass. The
/// array may have at most `max` elements, and of equal keys the last one is used.
///
/// # Errors
/// If the text is not JSON, or not an object.
pub(crate) fn pick_with_list<'a, const N: usize>(
    text: &'a str,
    keys: &'static [&'static str; N],
    list_key: &'static str,
    max: usize,
) -> Result<(Picked<'a, N>, List<'a>), BadJson> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let found = deserializer.deserialize_map(WithListVisitor { keys, list_key, list: ListSeed { max } })?;
    deserializer.end()?;
    Ok(found)
}

struct WithListVisitor<const N: usize> {
    keys: &'static [&'static str; N],
    list_key: &'static str,
    list: ListSeed,
}

impl<'de, const N: usize> Visitor<'de> for WithListVisitor<N> {
    type Value = (Picked<'de, N>, List<'de>);

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut values = [None; N];
        let mut list = List::Missing;
        while let Some(key) = members.next_key_seed(Key)? {
            if key == self.list_key {
                list = members.next_value_seed(self.list)?;
                continue;
            }
            match place_of(self.keys, &key) {
                Some(place) => values[place] = Some(members.next_value::<&RawValue>()?.get()),
                None => drop(members.next_value::<IgnoredAny>()?),
            }
        }
        Ok((Picked { keys: self.keys, values }, list))
    }
}

#[derive(Clone, Copy)]
struct ListSeed {
    max: usize,
}

impl<'de> DeserializeSeed<'de> for ListSeed {
    type Value = List<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<List<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ListSeed {
    type Value = List<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<List<'de>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = items.next_element::<&RawValue>()? {
            if elements.len() == self.max {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(List::TooMany);
            }
            elements.push(element.get());
        }
        Ok(List::Elements(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<List<'de>, A::Error> {
        IgnoredAny.visit_map(members).map(|_| List::NotAnArray)
    }

    fn visit_unit<E>(self) -> Result<List<'de>, E> {
        Ok(List::NotAnArray)
    }

    fn visit_bool<E>(self, _: bool) -> Result<List<'de>, E> {
        Ok(List::NotAnArray)
    }

    fn visit_i64<E>(self, _: i64) -> Result<List<'de>, E> {
        Ok(List::NotAnArray)
    }

    fn visit_u64<E>(self, _: u64) -> Result<List<'de>, E> {
        Ok(List::NotAnArray)
    }

    fn visit_f64<E>(self, _: f64) -> Result<List<'de>, E> {
        Ok(List::NotAnArray)
    }

    fn visit_str<E>(self, _: &str) -> Result<List<'de>, E> {
        Ok(List::NotAnArray)
    }
}

/// The content of a JSON string.
///
/// # Errors
/// If the text is not a JSON string, or has a lone surrogate.
pub fn string(text: &str) -> Result<Cow<'_, str>, BadJson> {
    Ok(Key.deserialize(&mut serde_json::Deserializer::from_str(text))?)
}

/// An integer by its value: `5`, `5.0` and `5e0` are the same.
///
/// # Errors
/// If the text is not a JSON number, or is negative, has a fraction, or is greater than `max`.
pub fn integer(text: &str, max: u64) -> Result<u64, BadJson> {
    let refused = || BadJson(format!("must be an integer from 0 to {max}"));
    if let Ok(integer) = text.parse::<u64>() {
        return if integer <= max { Ok(integer) } else { Err(refused()) };
    }
    let number: f64 = serde_json::from_str(text).map_err(|_| refused())?;
    #[expect(clippy::cast_precision_loss, reason = "the bound is checked again after the conversion")]
    if number.fract() != 0.0 || number < 0.0 || number > max as f64 {
        return Err(refused());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
    let integer = number as u64;
    if integer <= max { Ok(integer) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_borrow_their_values_and_the_last_of_equal_keys_counts() {
        let members = Members::parse(r#" {"a": 1 , "\u0062":[ 2 ],"a":{"x" :3}} "#).unwrap();
        assert_eq!(members.get("a"), Some(r#"{"x" :3}"#));
        assert_eq!(members.get("b"), Some("[ 2 ]"));
        assert_eq!(members.get("c"), None);
        assert_eq!(members.len(), 3);
        assert!(Members::parse("[1]").is_err());
        assert!(Members::parse("{} x").is_err());
    }

    #[test]
    fn integers_count_by_value() {
        for (text, value) in
            [("0", 0), ("5", 5), ("5.0", 5), ("5e0", 5), ("50e-1", 5), ("9007199254740991", (1 << 53) - 1)]
        {
            assert_eq!(integer(text, (1 << 53) - 1), Ok(value), "{text}");
        }
        for bad in ["-1", "1.5", "\"1\"", "null", "9007199254740992", "1e300", "18446744073709551616", "[]", "true"] {
            assert!(integer(bad, (1 << 53) - 1).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_picked_keys_are_kept_and_the_last_of_equal_ones_counts() {
        let picked = Picked::parse(r#" {"a": 1 , "x":[2],"\u0062":2,"a":{"x" :3}} "#, &["a", "b", "c"]).unwrap();
        assert_eq!((picked.get("a"), picked.get("b"), picked.get("c")), (Some(r#"{"x" :3}"#), Some("2"), None));
        assert!(Picked::parse("[1]", &["a"]).is_err());
        assert!(Picked::parse("{} x", &["a"]).is_err());
    }

    #[test]
    fn no_more_is_kept_than_may_be_there() {
        let expected = BTreeMap::from([(Cow::from("a"), "2"), (Cow::from("b"), "1")]);
        assert_eq!(entries(r#"{"a":1,"b":1,"a":2}"#, 2), Ok(Bounded::Whole(expected)));
        assert_eq!(entries(r#"{"a":1,"b":1,"c":2}"#, 2), Ok(Bounded::TooMany));
        assert!(entries("[]", 2).is_err());
    }

    #[test]
    fn a_list_is_read_with_the_object_that_has_it() {
        fn list_of(text: &str) -> (Option<&str>, List<'_>) {
            let (picked, list) =
                pick_with_list(text, &["a"], "list", 2).unwrap_or_else(|problem| panic!("{text}: {problem}"));
            (picked.get("a"), list)
        }
        let elements = |elements: &[&'static str]| List::Elements(elements.to_vec());
        for (text, expected) in [
            (r#"{"list": [1, {} ] ,"a":5}"#, (Some("5"), elements(&["1", "{}"]))),
            (r#"{"list":7,"b":[1,2,3],"\u006cist":["x"]}"#, (None, elements(&["\"x\""]))),
            (r#"{"list":["x"],"list":{"y":[]},"a":1,"a":[2]}"#, (Some("[2]"), List::NotAnArray)),
            ("{}", (None, List::Missing)),
        ] {
            assert_eq!(list_of(text), expected, "{text}");
        }
        for other in ["null", "true", "-1", "1", "1.5", "\"[]\"", "{}"] {
            let text = format!(r#"{{"list":{other}}}"#);
            assert_eq!(list_of(&text), (None, List::NotAnArray), "{other}");
        }
        assert_eq!(list_of(r#"{"list":[1,2,3,4],"a":1}"#), (Some("1"), List::TooMany));
        assert_eq!(list_of(r#"{"list":[1,2,3],"list":[]}"#), (None, elements(&[])));
        for bad in ["[]", "{} x", r#"{"list":[1,]}"#, r#"{"list":[1}"#] {
            assert!(pick_with_list(bad, &["a"], "list", 2).is_err(), "{bad}");
        }
    }
}
