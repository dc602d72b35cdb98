//! JSON that stays text. It is checked once when it arrives, passed on byte by byte, and parsed only where its content
//! is needed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::limits::JSON_MAX_LEVELS;
use super::text::Text;

/// A JSON value as text. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct RawJson(Text);

impl RawJson {
    /// Makes a value of a text that was checked before, such as one from a store.
    #[must_use]
    pub fn trusted(text: &str) -> Self {
        Self(text.into())
    }

    /// The same without a copy of the text.
    #[must_use]
    pub fn shared(text: Text) -> Self {
        Self(text)
    }

    /// Builds an object from keys and the texts of their values.
    pub(crate) fn from_object<K: AsRef<str>, V: AsRef<str>>(members: impl Iterator<Item = (K, V)>) -> Self {
        let mut text = String::from("{");
        for (key, value) in members {
            if text.len() > 1 {
                text.push(',');
            }
            push_string(&mut text, key.as_ref());
            text.push(':');
            text.push_str(value.as_ref());
        }
        text.push('}');
        // The boxed text has no spare capacity, because some values are kept for long.
        Self(text.into_boxed_str().into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Appends a text as a JSON string.
pub fn push_string(out: &mut String, text: &str) {
    // The characters are counted to the end of the text, because the compiler vectorises a loop that has no early exit.
    let escapes = text.bytes().filter(|byte| *byte < b' ' || matches!(byte, b'"' | b'\\')).count();
    if escapes > 0 {
        out.push_str(&serde_json::Value::from(text).to_string());
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

/// The size of a text as a JSON string with its quotes, in bytes.
///
/// It is exact for texts without control characters, such as names.
#[must_use]
pub fn string_bytes(text: &str) -> usize {
    text.len() + 2 + escape_bytes(text)
}

/// How many bytes the escapes add to a text as a JSON string; see [`string_bytes`].
pub(super) fn escape_bytes(text: &str) -> usize {
    text.bytes().filter(|byte| matches!(byte, b'"' | b'\\')).count()
}

/// Why a text is not JSON that this server accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadJson(String);

/// Checks a value from outside in one pass, without building it.
///
/// # Errors
/// If the text is not one JSON value, if a string has a lone surrogate or U+0000, if the double nearest to a number is
/// infinite, or if the nesting is deeper than [`JSON_MAX_LEVELS`].
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

/// The elements of an array. They are not parsed.
///
/// # Errors
/// If the text is not JSON, or not an array.
pub fn elements(text: &str) -> Result<Vec<&str>, BadJson> {
    let elements: Vec<&RawValue> = serde_json::from_str(text)?;
    Ok(elements.into_iter().map(RawValue::get).collect())
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

impl From<serde_json::Error> for BadJson {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
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
    fn nesting_is_bounded_with_the_outermost_level_counted() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check(&nested(JSON_MAX_LEVELS)).is_ok());
        let error = check(&nested(JSON_MAX_LEVELS + 1)).unwrap_err().to_string();
        assert!(error.contains("64 levels"), "{error}");
        assert!(check(&nested(100_000)).is_err());
    }

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
    fn the_size_of_a_string_is_exact_for_names() {
        for text in ["", "plain", "quo\"te", "back\\slash", "Zoë 📱"] {
            let mut quoted = String::new();
            push_string(&mut quoted, text);
            assert_eq!(string_bytes(text), quoted.len(), "{text}");
        }
    }
}
