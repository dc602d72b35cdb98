//! JSON values that others are compared with, and the order of values.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::scan::Scanner;
use crate::core::json::{Sink as _, string};

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
    pub(super) fn is_at(&self, scanner: &mut Scanner<'_>) -> Option<bool> {
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

    /// Whether the text of another value means the same by the rules of [`super::Filter`].
    pub(crate) fn equals(&self, value: &str) -> bool {
        self.is_next(&mut Scanner::new(value)).unwrap_or(false)
    }

    /// Reads the next value and returns whether it means the same.
    pub(super) fn is_next(&self, scanner: &mut Scanner<'_>) -> Option<bool> {
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

impl Decimal {
    /// The first digits of the number, at most so many. Shortened numbers have the order of the whole ones, or are
    /// equal.
    fn shortened(mut self, max_digits: usize) -> Self {
        let dropped = self.digits.len().saturating_sub(max_digits);
        if dropped > 0 {
            self.digits.truncate(max_digits);
            let kept = self.digits.trim_end_matches('0').len();
            let zeros = max_digits - kept;
            self.digits.truncate(kept);
            self.exponent = self.exponent.saturating_add((dropped + zeros).try_into().unwrap_or(i64::MAX));
        }
        self
    }

    /// The exponent of the digit before the first one, if the number is not 0.
    fn magnitude(&self) -> i64 {
        self.exponent.saturating_add(self.digits.len().try_into().unwrap_or(i64::MAX))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = |number: &Self| match (number.digits.is_empty(), number.is_negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        sign(self).cmp(&sign(other)).then_with(|| {
            // Digits have no zeros at either end, so they are compared as the digits behind a point.
            let by_size = self.magnitude().cmp(&other.magnitude()).then_with(|| self.digits.cmp(&other.digits));
            if self.is_negative { by_size.reverse() } else { by_size }
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The place of a value in the order of JSON values.
///
/// Types come in the order of the variants. Numbers have the order of their exact values, texts that of their
/// characters, and `false` comes before `true`. All objects have the same place, and so have all arrays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Null,
    Number(Decimal),
    Text(String),
    Object,
    Array,
    Bool(bool),
}

impl Rank {
    /// The place of a value that [`crate::core::json::check`] has accepted. `None` if the text is damaged.
    pub(crate) fn of(value: &str) -> Option<Self> {
        match Scanner::new(value).peek()? {
            b'{' => Some(Self::Object),
            b'[' => Some(Self::Array),
            _ => match Expected::scalar(Scanner::new(value).scalar()?)? {
                Expected::Null => Some(Self::Null),
                Expected::Bool(value) => Some(Self::Bool(value)),
                Expected::Number(number) => Some(Self::Number(number)),
                Expected::Text(text) => Some(Self::Text(text)),
                Expected::Array(_) | Expected::Object(_) | Expected::Nothing => None,
            },
        }
    }

    /// The place by the beginning of a text, and by the first digits of a number.
    pub(crate) fn shortened(self, max_bytes: usize) -> Self {
        match self {
            Self::Text(mut text) => {
                let end = (0..=max_bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
                text.truncate(end.unwrap_or_default());
                Self::Text(text)
            }
            Self::Number(number) => Self::Number(number.shortened(max_bytes)),
            other => other,
        }
    }

    /// Whether two values have the same type.
    pub(crate) fn has_type_of(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// A value with this place, as JSON.
    pub(crate) fn to_json(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Number(Decimal { digits, .. }) if digits.is_empty() => "0".to_owned(),
            Self::Number(Decimal { is_negative, digits, exponent }) => {
                format!("{}{digits}e{exponent}", if *is_negative { "-" } else { "" })
            }
            Self::Text(text) => {
                let mut json = String::new();
                json.push_string(text);
                json
            }
            Self::Object => "{}".to_owned(),
            Self::Array => "[]".to_owned(),
            Self::Bool(value) => value.to_string(),
        }
    }
}
