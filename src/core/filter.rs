//! Equality filters: which documents a query asks for.

use std::borrow::Cow;

use super::document::LiveDocument;
use super::json::{Members, RawJson, elements, member, string};

/// A conjunction of conditions; the empty one matches every document.
///
/// Values are compared by type, numbers by their exact decimal value (`1`, `1.0` and `10e-1` are equal, `1` and `"1"`
/// are not, `12345678901234567890` and `12345678901234567000` are not), objects whatever the order of their keys.
/// An array also matches if it contains the value. `null` matches `null` and what is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    conditions: Vec<Condition>,
}

/// One path and the value that is expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    path: String,
    value: RawJson,
    expected: Expected,
}

impl Filter {
    /// Builds a filter from conditions.
    #[must_use]
    pub fn new(conditions: Vec<Condition>) -> Self {
        Self { conditions }
    }

    /// The conditions.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Whether a document meets every condition. `_id` and `_rev` are those of the server.
    #[must_use]
    pub fn matches(&self, document: &LiveDocument) -> bool {
        self.conditions.iter().all(|condition| condition.matches(document))
    }
}

impl Condition {
    /// A condition on the value at a path: keys of nested objects with dots between them.
    ///
    /// `value` is the text of a JSON value that [`super::json::check`] has passed; anything else matches nothing.
    #[must_use]
    pub fn new(path: &str, value: &str) -> Self {
        Self { path: path.to_owned(), value: RawJson::trusted(value), expected: Expected::parse(value) }
    }

    /// Keys of nested objects with dots between them.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The text of the value that is expected there.
    #[must_use]
    pub fn value(&self) -> &str {
        self.value.as_str()
    }

    fn matches(&self, document: &LiveDocument) -> bool {
        match self.path.as_str() {
            "_id" => matches!(&self.expected, Expected::Text(id) if id == document.key.id.as_str()),
            "_rev" => self.expected.is_at(Some(&document.rev.to_string())),
            path => {
                let mut value = Some(document.data.as_str());
                for key in path.split('.') {
                    value = value.and_then(|object| member(object, key));
                }
                self.expected.is_at(value)
            }
        }
    }
}

/// A JSON value, opened once so that many others can be compared with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Null,
    Bool(bool),
    Number(Decimal),
    Text(String),
    Array(Vec<Expected>),
    /// Keys in order, each once.
    Object(Vec<(String, Expected)>),
    /// Text that was no JSON: equal to nothing.
    Nothing,
}

impl Expected {
    /// Opens a value that [`super::json::check`] has passed.
    pub(crate) fn parse(text: &str) -> Self {
        let text = text.trim();
        match text.as_bytes().first() {
            Some(b'n') => Self::Null,
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'"') => string(text).map_or(Self::Nothing, |text| Self::Text(text.into_owned())),
            Some(b'[') => elements(text)
                .map_or(Self::Nothing, |elements| Self::Array(elements.into_iter().map(Self::parse).collect())),
            Some(b'{') => Members::parse(text).map_or(Self::Nothing, |members| {
                let values = last_of_each(&members);
                Self::Object(values.into_iter().map(|(key, value)| (key.to_owned(), Self::parse(value))).collect())
            }),
            Some(_) => Decimal::parse(text).map_or(Self::Nothing, Self::Number),
            None => Self::Nothing,
        }
    }

    /// Whether a condition that expects this is met by the value at its path.
    fn is_at(&self, value: Option<&str>) -> bool {
        let Some(value) = value else { return *self == Self::Null };
        self.equals(value) || elements(value).is_ok_and(|elements| elements.iter().any(|element| self.equals(element)))
    }

    /// Whether the text of another value means the same, as a [`Filter`] compares.
    pub(crate) fn equals(&self, value: &str) -> bool {
        match self {
            Self::Null => value == "null",
            Self::Bool(expected) => value == if *expected { "true" } else { "false" },
            Self::Number(expected) => Decimal::parse(value).is_some_and(|number| number == *expected),
            Self::Text(expected) => value.starts_with('"') && string(value).is_ok_and(|text| text == *expected),
            Self::Array(expected) => {
                value.starts_with('[')
                    && elements(value).is_ok_and(|elements| {
                        elements.len() == expected.len()
                            && expected.iter().zip(elements).all(|(expected, element)| expected.equals(element))
                    })
            }
            Self::Object(expected) => {
                value.starts_with('{')
                    && Members::parse(value).is_ok_and(|members| {
                        let members = last_of_each(&members);
                        members.len() == expected.len()
                            && expected.iter().zip(members).all(|((expected_key, expected), (key, value))| {
                                expected_key == key && expected.equals(value)
                            })
                    })
            }
            Self::Nothing => false,
        }
    }
}

/// The members of an object in the order of their keys; of equal keys the last one.
fn last_of_each<'m, 'a>(members: &'m Members<'a>) -> Vec<(&'m str, &'a str)> {
    let mut sorted: Vec<(&str, &str)> = members.iter().collect();
    // The sort is stable, so the last of equal keys is still the last.
    sorted.sort_by_key(|(key, _)| *key);
    sorted.reverse();
    sorted.dedup_by_key(|(key, _)| *key);
    sorted.reverse();
    sorted
}

/// A JSON number by its exact value: `digits * 10^exponent`, without zeros at either end of the digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) is_negative: bool,
    pub(crate) digits: String,
    pub(crate) exponent: i64,
}

impl Decimal {
    /// Reads the text of a JSON number; nothing where it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (is_negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text),
        };
        if !unsigned.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            // An exponent that does not fit is that of a number so small that its digits are all that is left of it.
            Some((mantissa, exponent)) => (mantissa, exponent.parse().unwrap_or(i64::MIN / 2)),
            None => (unsigned, 0_i64),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: Cow<'_, str> =
            if fraction.is_empty() { Cow::Borrowed(whole) } else { Cow::Owned(format!("{whole}{fraction}")) };
        let significant = digits.trim_start_matches('0');
        let trimmed = significant.trim_end_matches('0');
        if trimmed.is_empty() {
            return Some(Self { is_negative: false, digits: String::new(), exponent: 0 });
        }
        let dropped_zeros = i64::try_from(significant.len() - trimmed.len()).ok()?;
        let shift = dropped_zeros - i64::try_from(fraction.len()).ok()?;
        Some(Self { is_negative, digits: trimmed.to_owned(), exponent: exponent.saturating_add(shift) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::json::RawJson;
    use crate::core::names::{Collection, DocumentId, DocumentKey, OperationId};

    fn matches(path: &str, value: &str, data: &str) -> bool {
        Filter::new(vec![Condition::new(path, value)]).matches(&LiveDocument {
            key: DocumentKey { collection: Collection::trusted("c"), id: DocumentId::trusted("d") },
            rev: 3,
            seq: 1,
            operation_id: OperationId::trusted("op"),
            data: RawJson::trusted(data),
        })
    }

    #[test]
    fn values_are_compared_by_type_and_numbers_by_value() {
        for (value, data) in [
            ("1", "1"),
            ("1", "1.0"),
            ("1", "10e-1"),
            ("100", "1E2"),
            ("-0", "0"),
            ("0", "0.000e7"),
            ("0.1", "0.10"),
            ("12345678901234567890", "12345678901234567890.0"),
            ("\"é\"", "\"\\u00e9\""),
            ("true", "true"),
            ("[1,{\"a\":2}]", "[1.0, {\"a\": 2}]"),
            ("{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}"),
            ("{}", "{}"),
            ("{\"a\":2}", "{\"a\":1,\"a\":2}"),
            ("null", "null"),
            ("1e-99999999999999999999", "1e-99999999999999999999"),
        ] {
            assert!(matches("x", value, &format!("{{\"x\":{data}}}")), "{value} {data}");
        }
        for (value, data) in [
            ("1", "\"1\""),
            ("\"1\"", "1"),
            ("1", "true"),
            ("0", "null"),
            ("0", "false"),
            ("\"\"", "null"),
            ("1", "-1"),
            ("12345678901234567890", "12345678901234567000"),
            ("{\"a\":1}", "{\"a\":1,\"b\":2}"),
            ("[1,2]", "[2,1]"),
            ("{\"$ne\":1}", "2"),
            ("\"null\"", "null"),
            ("10", "1"),
            ("{}", "[]"),
        ] {
            assert!(!matches("x", value, &format!("{{\"x\":{data}}}")), "{value} {data}");
        }
    }

    #[test]
    fn an_array_matches_what_it_equals_and_what_it_contains() {
        for (value, data) in
            [("1", "[2,1.0]"), ("[1]", "[[1],2]"), ("[1]", "[1]"), ("null", "[null]"), ("{\"a\":1}", "[{\"a\":1}]")]
        {
            assert!(matches("x", value, &format!("{{\"x\":{data}}}")), "{value} {data}");
        }
        assert!(!matches("x", "1", r#"{"x":[[1]]}"#));
        assert!(!matches("x", "null", r#"{"x":[]}"#));
    }

    #[test]
    fn null_matches_null_and_what_is_missing() {
        assert!(matches("x", "null", "{}"));
        assert!(matches("x.y", "null", r#"{"x":1}"#));
        assert!(matches("x.y", "null", r#"{"x":{"y":null}}"#));
        assert!(!matches("x", "null", r#"{"x":0}"#));
    }

    #[test]
    fn paths_go_into_objects_only() {
        assert!(matches("x.y.z", "1", r#"{"x":{"y":{"z":1}}}"#));
        assert!(!matches("x.y", "1", r#"{"x":[{"y":1}]}"#));
        assert!(!matches("x.0", "1", r#"{"x":[1]}"#));
        assert!(!matches("x.y", "1", r#"{"x.y":1}"#));
        assert!(matches("", "1", r#"{"":1}"#));
        assert!(matches("x", "2", r#"{"x":1,"x":2}"#), "of equal keys the last one counts");
    }

    #[test]
    fn id_and_revision_are_those_of_the_server() {
        assert!(matches("_id", "\"d\"", r#"{"_id":"other"}"#));
        assert!(!matches("_id", "\"other\"", r#"{"_id":"other"}"#));
        assert!(matches("_rev", "3.0", r#"{"_rev":1}"#));
        assert!(!matches("_rev", "null", "{}"));
    }
}
