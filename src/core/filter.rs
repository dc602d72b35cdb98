//! Equality filters: the conditions of a query.

pub(super) mod scan;

use std::borrow::Cow;
use std::collections::BTreeMap;

use self::scan::Scanner;
use super::document::LiveDocument;
use super::json::string;
use super::text::Text;

/// A conjunction of conditions. A filter without conditions matches every document.
///
/// Values are compared by type and objects regardless of the order of their keys. Numbers are compared by their exact
/// decimal value: `1`, `1.0` and `10e-1` are equal, while `1` and `"1"` are not, nor are `12345678901234567890` and
/// `12345678901234567000`. An array also matches if it contains the value. `null` matches `null` and a missing value.
///
/// The conditions are kept as a tree of keys, so a document is read once however many conditions there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    conditions: Vec<Condition>,
    id: Vec<Expected>,
    rev: Vec<Expected>,
    data: Node,
}

/// A path and the value that is expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    path: String,
    value: Text,
}

/// The conditions on a value and on the values inside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    expected: Vec<Expected>,
    /// The conditions on the members of the value, ordered by key.
    children: Vec<(String, Node)>,
}

/// The data of a stored document is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data of a document is damaged")]
pub struct DamagedData;

impl Filter {
    /// Builds a filter from conditions.
    #[must_use]
    pub fn new(conditions: Vec<Condition>) -> Self {
        let mut filter = Self::default();
        for Condition { path, value } in &conditions {
            let expected = match path.as_str() {
                "_id" => &mut filter.id,
                "_rev" => &mut filter.rev,
                path => &mut path.split('.').fold(&mut filter.data, Node::child).expected,
            };
            expected.push(Expected::parse(value));
        }
        Self { conditions, ..filter }
    }

    /// The conditions.
    #[must_use]
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// Whether a document meets every condition. `_id` and `_rev` are those of the server, not those in `data`.
    ///
    /// # Errors
    /// If the conditions are about the document's data, and it is damaged.
    pub fn matches(&self, document: &LiveDocument) -> Result<bool, DamagedData> {
        let has_id = |expected: &Expected| matches!(expected, Expected::Text(id) if id == document.key.id.as_str());
        let may_match =
            self.id.iter().all(has_id) && self.rev.iter().all(|expected| expected.equals(&document.rev.to_string()));
        if !may_match || self.data.is_empty() {
            return Ok(may_match);
        }
        self.data.meets(&mut Scanner::new(document.data.as_str())).ok_or(DamagedData)
    }
}

impl Condition {
    /// A condition on the value at a path: the keys of nested objects with dots between them.
    ///
    /// `value` is the text of a JSON value that [`super::json::check`] has accepted. Any other text matches nothing.
    #[must_use]
    pub fn new(path: &str, value: &str) -> Self {
        Self { path: path.to_owned(), value: value.into() }
    }

    /// The keys of nested objects with dots between them.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The text of the expected value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl Node {
    fn child(&mut self, key: &str) -> &mut Self {
        let index = match self.find(key) {
            Ok(index) => index,
            Err(index) => {
                self.children.insert(index, (key.to_owned(), Self::default()));
                index
            }
        };
        &mut self.children[index].1
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.children.binary_search_by(|(name, _)| name.as_str().cmp(key))
    }

    fn is_empty(&self) -> bool {
        self.expected.is_empty() && self.children.is_empty()
    }

    /// Whether a missing value meets all conditions.
    fn is_met_by_nothing(&self) -> bool {
        self.expected.iter().all(|expected| *expected == Expected::Null) && self.is_met_by_no_members()
    }

    fn is_met_by_no_members(&self) -> bool {
        self.children.iter().all(|(_, child)| child.is_met_by_nothing())
    }

    /// Reads the next value and returns whether it meets the conditions.
    fn meets(&self, scanner: &mut Scanner<'_>) -> Option<bool> {
        let mut inside = scanner.clone();
        let is_object = inside.peek()? == b'{';
        if self.expected.is_empty() {
            if is_object {
                return self.members_meet(scanner);
            }
            scanner.skip()?;
            return Some(self.is_met_by_no_members());
        }
        let mut is_met = true;
        for expected in &self.expected {
            *scanner = inside.clone();
            is_met &= expected.is_at(scanner)?;
        }
        if !is_met || self.children.is_empty() {
            return Some(is_met);
        }
        if is_object { self.members_meet(&mut inside) } else { Some(self.is_met_by_no_members()) }
    }

    fn members_meet(&self, scanner: &mut Scanner<'_>) -> Option<bool> {
        let mut met = vec![None; self.children.len()];
        scanner.members(|scanner, key| {
            match self.find(key) {
                Ok(index) => met[index] = Some(self.children[index].1.meets(scanner)?),
                Err(_) => scanner.skip()?,
            }
            Some(())
        })?;
        let mut children = self.children.iter().zip(met);
        Some(children.all(|((_, child), met)| met.unwrap_or_else(|| child.is_met_by_nothing())))
    }
}

/// A JSON value that is parsed once, so that many others can be compared with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Null,
    Bool(bool),
    Number(Decimal),
    Text(String),
    Array(Vec<Expected>),
    /// The members, ordered by key, each key once.
    Object(Vec<(String, Expected)>),
    /// A text that is not JSON, which equals no value.
    Nothing,
}

impl Expected {
    /// Parses a value that [`super::json::check`] has accepted.
    pub(crate) fn parse(text: &str) -> Self {
        Self::read(&mut Scanner::new(text)).unwrap_or(Self::Nothing)
    }

    fn read(scanner: &mut Scanner<'_>) -> Option<Self> {
        match scanner.peek()? {
            b'[' => {
                let mut elements = Vec::new();
                scanner.elements(|scanner, _| {
                    elements.push(Self::read(scanner)?);
                    Some(())
                })?;
                Some(Self::Array(elements))
            }
            b'{' => {
                let mut members = Vec::new();
                scanner.members(|scanner, key| {
                    members.push((key.to_owned(), Self::read(scanner)?));
                    Some(())
                })?;
                // The sort is stable, so the last of several equal keys is still the last one.
                members.sort_by(|(one, _), (other, _)| one.cmp(other));
                members.reverse();
                members.dedup_by(|(one, _), (other, _)| one == other);
                members.reverse();
                Some(Self::Object(members))
            }
            _ => Self::scalar(scanner.scalar()?),
        }
    }

    fn scalar(text: &str) -> Option<Self> {
        match text {
            "null" => Some(Self::Null),
            "true" => Some(Self::Bool(true)),
            "false" => Some(Self::Bool(false)),
            text if text.starts_with('"') => Some(Self::Text(string(text).ok()?.into_owned())),
            text => Decimal::parse(text).map(Self::Number),
        }
    }

    /// Reads the next value and returns whether it is this one or an array that contains this one.
    fn is_at(&self, scanner: &mut Scanner<'_>) -> Option<bool> {
        let mut inside = scanner.clone();
        if self.is_next(scanner)? {
            return Some(true);
        }
        let mut contains = false;
        if inside.peek()? == b'[' {
            inside.elements(|scanner, _| {
                contains |= self.is_next(scanner)?;
                Some(())
            })?;
        }
        Some(contains)
    }

    /// Whether the text of another value means the same by the rules of [`Filter`].
    pub(crate) fn equals(&self, value: &str) -> bool {
        self.is_next(&mut Scanner::new(value)).unwrap_or(false)
    }

    /// Reads the next value and returns whether it means the same.
    fn is_next(&self, scanner: &mut Scanner<'_>) -> Option<bool> {
        let is_string = |text: &str| text.starts_with('"');
        match (self, scanner.peek()?) {
            (Self::Array(expected), b'[') => {
                let (mut are_equal, mut count) = (true, 0);
                scanner.elements(|scanner, index| {
                    count = index + 1;
                    match expected.get(index).filter(|_| are_equal) {
                        Some(expected) => are_equal = expected.is_next(scanner)?,
                        None => scanner.skip()?,
                    }
                    Some(())
                })?;
                Some(are_equal && count == expected.len())
            }
            (Self::Object(expected), b'{') => {
                // By the index of the expected member, and no larger than what the value has: it may be written often.
                let mut are_equal = BTreeMap::new();
                let mut has_others = false;
                scanner.members(|scanner, key| {
                    match expected.binary_search_by(|(name, _)| name.as_str().cmp(key)) {
                        Ok(index) => {
                            let is_equal = expected[index].1.is_next(scanner)?;
                            are_equal.insert(index, is_equal);
                        }
                        Err(_) => {
                            has_others = true;
                            scanner.skip()?;
                        }
                    }
                    Some(())
                })?;
                Some(
                    !has_others
                        && are_equal.len() == expected.len()
                        && are_equal.into_values().all(|is_equal| is_equal),
                )
            }
            (_, b'[' | b'{') | (Self::Array(_) | Self::Object(_) | Self::Nothing, _) => {
                scanner.skip()?;
                Some(false)
            }
            (Self::Null, _) => Some(scanner.scalar()? == "null"),
            (Self::Bool(expected), _) => Some(scanner.scalar()? == if *expected { "true" } else { "false" }),
            (Self::Number(expected), _) => {
                let text = scanner.scalar()?;
                Some(!is_string(text) && Decimal::parse(text).is_some_and(|number| number == *expected))
            }
            (Self::Text(expected), _) => {
                let text = scanner.scalar()?;
                Some(is_string(text) && string(text).is_ok_and(|text| text == *expected))
            }
        }
    }
}

/// The exact value of a JSON number: `digits * 10^exponent`, without zeros at either end of the digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) is_negative: bool,
    pub(crate) digits: String,
    pub(crate) exponent: i64,
}

impl Decimal {
    /// Reads the text of a JSON number. Returns `None` if it is not one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (is_negative, unsigned) = match text.strip_prefix('-') {
            Some(unsigned) => (true, unsigned),
            None => (false, text),
        };
        if !unsigned.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            // An exponent that does not fit is negative, because numbers beyond a double are refused. Then only the
            // digits matter.
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
    use crate::core::json::Object;
    use crate::core::names::{Collection, DocumentId, DocumentKey, OperationId};
    use crate::core::numbers::{Rev, Seq};

    fn matches(path: &str, value: &str, data: &str) -> bool {
        Filter::new(vec![Condition::new(path, value)]).matches(&document(data)).expect("the data is JSON")
    }

    fn document(data: &str) -> LiveDocument {
        LiveDocument {
            key: DocumentKey { collection: Collection::literal("c"), id: DocumentId::literal("d") },
            rev: Rev::new(3),
            seq: Seq::new(1),
            operation_id: OperationId::literal("op"),
            data: Object::literal(data),
        }
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
    fn conditions_on_an_object_and_inside_of_it_must_all_hold() {
        let all = |conditions: &[(&str, &str)], data: &str| {
            let conditions = conditions.iter().map(|(path, value)| Condition::new(path, value)).collect();
            Filter::new(conditions).matches(&document(data)).expect("the data is JSON")
        };
        let data = r#"{"a":{"b":1,"c":{"d":[2]}},"e":null}"#;
        assert!(all(&[("a", r#"{"c":{"d":[2]},"b":1}"#), ("a.b", "1"), ("a.c.d", "2"), ("e", "null")], data));
        assert!(!all(&[("a", r#"{"c":{"d":[2]},"b":1}"#), ("a.b", "2")], data));
        assert!(!all(&[("a", r#"{"b":1}"#), ("a.b", "1")], data));
        assert!(all(&[("a.x", "null"), ("e.y", "null"), ("a.b", "1.0")], data));
        assert!(!all(&[("a.b", "1"), ("a.c", "null")], data));
        assert!(all(&[("a", "null"), ("a.b", "null")], r#"{"a":null}"#));
        assert!(all(&[("a", "null"), ("a.b", "null")], "{}"));
        assert!(!all(&[("a", "1"), ("a.b", "null")], r#"{"a":{"b":null}}"#));
        assert!(all(&[("a", "1"), ("a.b", "null")], r#"{"a":[1,{"b":2}]}"#));
        assert!(!all(&[("a.b", "1")], r#"{"a":{"b":1},"a":2}"#), "of equal keys the last one counts");
        assert!(all(&[("a.b", "1")], r#"{"a":{"b":2},"a":{"b":0,"b":1}}"#));
    }

    /// However many and deep the conditions are, no byte of a document is read more than a few times.
    #[test]
    fn the_work_for_a_document_grows_with_its_bytes_alone() {
        const LEVELS: usize = 60;
        let data = format!("{}1{}{}", "{\"a\":".repeat(LEVELS), " ".repeat(1_000_000), "}".repeat(LEVELS));
        let path = |levels: usize, last: &str| vec!["a"; levels].join(".") + last;
        let conditions = (1..LEVELS).flat_map(|levels| [(path(levels, ".b"), "null"), (path(levels, ".c"), "null")]);
        let conditions: Vec<Condition> = conditions.map(|(path, value)| Condition::new(&path, value)).collect();
        let filter = Filter::new(conditions);
        let document = document(&data);
        // One pass for each condition and level would read a megabyte 7,000 times.
        assert!((0..5).all(|_| filter.matches(&document) == Ok(true)));
    }

    #[test]
    fn id_and_revision_are_those_of_the_server() {
        assert!(matches("_id", "\"d\"", r#"{"_id":"other"}"#));
        assert!(!matches("_id", "\"other\"", r#"{"_id":"other"}"#));
        assert!(matches("_rev", "3.0", r#"{"_rev":1}"#));
        assert!(!matches("_rev", "null", "{}"));
    }
}
