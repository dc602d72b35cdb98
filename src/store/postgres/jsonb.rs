//! JSON for PostgreSQL's `jsonb`, which compares by value, as filters do, but cannot represent every number.

use std::borrow::Cow;

use crate::core::filter::Decimal;
use crate::limits::store::postgres::{EXPONENT_MAX_DIGITS, NUMBER_MAX_BYTES};

/// The greatest power of ten of a stored number, in both directions. PostgreSQL accepts 16,383 digits after the point.
/// This limit leaves room for the digits themselves, and includes every value of a number that is stored unchanged.
const POWER_MAX: u64 = 10_000;

/// A JSON text that PostgreSQL accepts as `jsonb`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Indexable<'a> {
    /// The text. If `is_exact`, it has the same value as the given one.
    pub(super) text: Cow<'a, str>,
    /// Whether all numbers could be kept. A number that is left out has become `null`.
    pub(super) is_exact: bool,
}

/// Prepares a valid JSON text without U+0000.
///
/// Whether a number is left out depends on its value and not on its spelling. So a number that is kept in one text
/// never equals one that is left out of another.
pub(super) fn indexable(json: &str) -> Indexable<'_> {
    let mut rewritten: Option<String> = None;
    let mut is_exact = true;
    let mut copied = 0;
    for (start, end) in Numbers::of(json) {
        let number = &json[start..end];
        if goes_in_as_it_is(number) {
            continue;
        }
        let text = rewritten.get_or_insert_with(String::new);
        text.push_str(&json[copied..start]);
        match Decimal::parse(number).as_ref().and_then(shortened) {
            Some(shortened) => text.push_str(&shortened),
            None => {
                is_exact = false;
                text.push_str("null");
            }
        }
        copied = end;
    }
    let text = match rewritten {
        Some(text) => Cow::Owned(text + &json[copied..]),
        None => Cow::Borrowed(json),
    };
    Indexable { text, is_exact }
}

fn goes_in_as_it_is(number: &str) -> bool {
    let exponent = number.split_once(['e', 'E']).map_or("", |(_, exponent)| exponent);
    number.len() <= NUMBER_MAX_BYTES && exponent.trim_start_matches(['+', '-']).len() <= EXPONENT_MAX_DIGITS
}

/// The shortest text of a number, if PostgreSQL can represent it.
fn shortened(number: &Decimal) -> Option<String> {
    let Decimal { is_negative, digits, exponent } = number;
    if digits.is_empty() {
        return Some("0".to_owned());
    }
    let fits = digits.len() <= NUMBER_MAX_BYTES && exponent.unsigned_abs() <= POWER_MAX;
    fits.then(|| format!("{}{digits}e{exponent}", if *is_negative { "-" } else { "" }))
}

/// The positions of the numbers in a JSON text.
struct Numbers<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Numbers<'a> {
    fn of(json: &'a str) -> Self {
        Self { json: json.as_bytes(), at: 0 }
    }
}

impl Iterator for Numbers<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        while let Some(byte) = self.json.get(self.at) {
            match byte {
                b'"' => self.skip_string(),
                b'-' | b'0'..=b'9' => {
                    let start = self.at;
                    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                    self.at += self.json[start..].iter().take_while(|byte| is_part(byte)).count();
                    return Some((start, self.at));
                }
                _ => self.at += 1,
            }
        }
        None
    }
}

impl Numbers<'_> {
    fn skip_string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.json.get(self.at) {
            self.at += if *byte == b'\\' { 2 } else { 1 };
            if *byte == b'"' {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(json: &str) -> (String, bool) {
        let Indexable { text, is_exact } = indexable(json);
        (text.into_owned(), is_exact)
    }

    #[test]
    fn what_postgresql_holds_stays_as_it_is() {
        for json in [
            "{}",
            r#"{"a":[1,-2.50,1e-400,12345678901234567890,1E+5],"1e-99999":"\"1e-99999\\","b":null,"c":true}"#,
            "0.1e-999",
        ] {
            assert!(matches!(indexable(json), Indexable { text: Cow::Borrowed(text), is_exact: true } if text == json));
        }
    }

    #[test]
    fn long_texts_of_numbers_are_shortened_and_numbers_that_do_not_fit_are_left_out() {
        let one = format!("1{}e-5000", "0".repeat(5000));
        assert_eq!(rewritten(&format!("[{one},2]")), ("[1e0,2]".to_owned(), true));
        assert_eq!(rewritten("[-1.5e-5000]"), ("[-15e-5001]".to_owned(), true));
        assert_eq!(rewritten("[0e-99999,-0.0e99999]"), ("[0,0]".to_owned(), true));
        assert_eq!(rewritten(r#"{"a":1e-20000,"b":2}"#), (r#"{"a":null,"b":2}"#.to_owned(), false));
        assert_eq!(rewritten("[1e-99999999999999999999]"), ("[null]".to_owned(), false));
        let long = "1".repeat(NUMBER_MAX_BYTES + 1);
        assert_eq!(rewritten(&format!("[0.{long}]")), ("[null]".to_owned(), false));
    }

    #[test]
    fn a_value_goes_in_or_not_however_it_is_written() {
        let as_it_is = format!("0.{}1e-999", "0".repeat(NUMBER_MAX_BYTES - 8));
        let longer = format!("0.{}1", "0".repeat(NUMBER_MAX_BYTES - 8 + 999));
        assert!(goes_in_as_it_is(&as_it_is) && !goes_in_as_it_is(&longer));
        assert_eq!(Decimal::parse(&as_it_is), Decimal::parse(&longer));
        assert!(indexable(&longer).is_exact);
    }
}
