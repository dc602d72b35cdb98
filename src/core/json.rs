//! JSON that stays text. It is checked once when it arrives, passed on byte by byte, and parsed only where its content
//! is needed.

mod bad;
mod read;
mod write;

use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

pub use self::bad::BadJson;
pub(crate) use self::read::{Bounded, List, Picked, entries, pick_with_list};
pub use self::read::{Members, integer, string};
pub(crate) use self::write::{ByteCount, ObjectWriter, Sink};

use super::text::Text;
use crate::limits::protocol::JSON_MAX_LEVELS;

/// A JSON object as text, with its original bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Object(Text);

impl Object {
    /// Checks a text from outside with [`check`]. Spaces around the object are left out.
    ///
    /// # Errors
    /// If the text is not one JSON object, or [`check`] refuses it.
    pub fn parse(text: impl Into<Text>) -> Result<Self, BadJson> {
        let text = text.into();
        check(&text)?;
        let object = text.trim();
        if object.starts_with('{') { Ok(Self(text.slice_ref(object))) } else { Err(BadJson::not_an_object()) }
    }

    /// Makes an object of a text in the program itself, such as a constant.
    ///
    /// # Panics
    /// If [`Self::parse`] would refuse the text.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        Self::parse(text).unwrap_or_else(|problem| panic!("the object {text:?}: {problem}"))
    }

    /// Makes an object of a text from a store, which was checked before it was written.
    ///
    /// # Errors
    /// If the text is so damaged that it is no longer an object.
    #[cfg(any(test, feature = "sqlite", feature = "postgres", feature = "mongodb"))]
    pub(crate) fn from_store(text: impl Into<Text>) -> Result<Self, BadJson> {
        let text = text.into();
        if !(text.starts_with('{') && text.ends_with('}')) {
            return Err(BadJson::not_an_object());
        }
        debug_assert!(check(&text).is_ok(), "a store has the damaged object {text:?}");
        Ok(Self(text))
    }

    /// A copy that shares no memory with other texts, for objects that are kept for long.
    pub(crate) fn detached(&self) -> Self {
        Self(self.as_str().into())
    }

    /// Builds an object from keys and the texts of their values, which are JSON.
    pub(crate) fn from_members<K: AsRef<str>, V: AsRef<str>>(members: impl Iterator<Item = (K, V)>) -> Self {
        let mut text = String::new();
        ObjectWriter::write(&mut text, |object| {
            members.for_each(|(key, value)| object.raw_member(key.as_ref(), value.as_ref()));
        });
        // The boxed text has no spare capacity, because some values are kept for long.
        Self(text.into_boxed_str().into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the object one level deep.
    ///
    /// # Errors
    /// If the text comes from a store and is damaged.
    pub fn members(&self) -> Result<Members<'_>, BadJson> {
        Members::parse(&self.0)
    }
}

impl FromStr for Object {
    type Err = BadJson;

    fn from_str(text: &str) -> Result<Self, BadJson> {
        Self::parse(text)
    }
}

impl TryFrom<&str> for Object {
    type Error = BadJson;

    fn try_from(text: &str) -> Result<Self, BadJson> {
        Self::parse(text)
    }
}

impl AsRef<str> for Object {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Checks a value from outside in one pass, without building it.
///
/// # Errors
/// If the text is not one JSON value, or the nesting is deeper than [`JSON_MAX_LEVELS`]. Also if a string has a lone
/// surrogate or U+0000, or the double nearest to a number is infinite.
pub fn check(text: &str) -> Result<(), BadJson> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Checked { levels_left: JSON_MAX_LEVELS }.deserialize(&mut deserializer)?;
    Ok(deserializer.end()?)
}

/// Visits a value and everything in it without keeping anything.
#[derive(Clone, Copy)]
struct Checked {
    levels_left: usize,
}

impl Checked {
    fn inside<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.levels_left.checked_sub(1) {
            Some(levels_left) => Ok(Self { levels_left }),
            None => Err(E::custom(format_args!("nested deeper than {JSON_MAX_LEVELS} levels"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Checked {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if text.contains('\0') { Err(E::custom("a string contains U+0000")) } else { Ok(()) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while items.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while members.next_key_seed(inside)?.is_some() {
            members.next_value_seed(inside)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_refuses_what_no_store_could_give_back() {
        for good in [
            "{}",
            r#"{"a":[1,-2.5e3,null,true,"\u00e9\ud83d\ude00"]}"#,
            "12345678901234567890",
            "1e-400",
            "1.7976931348623157e308",
            "1.7976931348623158e308",
            "-1.797693134862315807e308",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "{",
            "{} {}",
            "{'a':1}",
            r#""\ud800""#,
            r#"{"\ud800":1}"#,
            "1e400",
            "1.797693134862315808e308",
            "-1.7976931348623159e308",
            r#""a\u0000b""#,
            r#"{"\u0000":1}"#,
            "01",
            "NaN",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_way_to_an_object_refuses_what_is_none() {
        for text in ["{}", r#"{"a": 1.0}"#] {
            assert_eq!(Object::parse(format!(" {text}\n")).unwrap().as_str(), text);
            assert_eq!(text.parse::<Object>(), Object::from_store(text));
        }
        for bad in ["", "[]", "5", "null", r#"{"a":{"b":1"#, r#"{"a":1}}"#] {
            assert!(Object::parse(bad).is_err(), "{bad}");
        }
        for damaged in ["", "[]", r#"{"a":{"b":1"#, r#""a":1}"#] {
            assert!(Object::from_store(damaged).is_err(), "{damaged}");
        }
    }

    #[test]
    fn nesting_is_bounded_with_the_outermost_level_counted() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check(&nested(JSON_MAX_LEVELS)).is_ok());
        let error = check(&nested(JSON_MAX_LEVELS + 1)).unwrap_err().to_string();
        assert!(error.contains("64 levels"), "{error}");
        assert!(check(&nested(100_000)).is_err());
    }
}
