//! Fields of a document that labels are made of.

use std::borrow::Cow;

use super::content::OpenObject;
use crate::core::filter::scan::Scanner;
use crate::core::json::{Object, string};
use crate::limits::protocol::{LABEL_MAX_VALUES, LABEL_VALUE_MAX_BYTES};

/// The data of a document, as text or while operations change it.
pub(crate) enum DataOfDocument<'d, 'a> {
    /// The text.
    Text(&'d Object),
    /// An object that something was put over.
    Open(&'d OpenObject<'a>),
}

impl DataOfDocument<'_, '_> {
    /// The value of a key at the top, as text.
    fn member(&self, key: &str) -> Option<&str> {
        match self {
            Self::Text(object) => member(object.as_str(), key),
            Self::Open(object) => object.get(key),
        }
    }
}

/// The values at a path that can be those of a label: a text, an integer, or those in an array.
///
/// Of an array only the first [`LABEL_MAX_VALUES`] elements are read, so a document never has more labels. Other
/// values, empty texts and texts of more than [`LABEL_VALUE_MAX_BYTES`] give no label.
pub(crate) fn values_at(data: &DataOfDocument<'_, '_>, path: &str) -> Vec<String> {
    let mut values = Vec::new();
    any_value_at(data, path, |value| {
        values.push(value.to_owned());
        false
    });
    values
}

/// Whether one of the values at a path, see [`values_at`], is a wanted one. The values after it are not read.
pub(crate) fn any_value_at(data: &DataOfDocument<'_, '_>, path: &str, is_wanted: impl FnMut(&str) -> bool) -> bool {
    let mut keys = path.split('.');
    let mut value = keys.next().and_then(|key| data.member(key));
    for key in keys {
        value = value.and_then(|value| member(value, key));
    }
    value.is_some_and(|value| any_value_in(value, is_wanted))
}

/// Whether a text can be the value of a label: it has no control characters, and is neither empty nor too long.
pub(crate) fn is_label_value(text: &str) -> bool {
    (1..=LABEL_VALUE_MAX_BYTES).contains(&text.len()) && !text.contains(char::is_control)
}

/// The value of a key in the text of an object. Of equal keys the last one is used.
fn member<'t>(object: &'t str, wanted: &str) -> Option<&'t str> {
    let mut scanner = Scanner::new(object);
    let mut found = None;
    scanner.members(|scanner, key| {
        let value = scanner.skip_text()?;
        if key == wanted {
            found = Some(value);
        }
        Some(())
    })?;
    found
}

fn any_value_in(text: &str, mut is_wanted: impl FnMut(&str) -> bool) -> bool {
    let mut scanner = Scanner::new(text);
    let mut is_found = |scanner: &mut Scanner<'_>| Some(is_wanted(&value_in(scanner.skip_text()?)?));
    match scanner.peek() {
        Some(b'[') => {
            let mut is_any = false;
            // It ends early, as with a damaged text, when there are enough.
            let _ = scanner.elements(|scanner, index| {
                if index >= LABEL_MAX_VALUES || is_any {
                    return None;
                }
                is_any = is_found(scanner).unwrap_or(false);
                Some(())
            });
            is_any
        }
        _ => is_found(&mut scanner).unwrap_or(false),
    }
}

fn value_in(text: &str) -> Option<Cow<'_, str>> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let value = match text.as_bytes().first()? {
        b'"' => match text.strip_prefix('"')?.strip_suffix('"')? {
            plain if !plain.contains('\\') => Cow::Borrowed(plain),
            _ => string(text).ok()?,
        },
        _ if is_integer => Cow::Borrowed(text),
        _ => return None,
    };
    is_label_value(&value).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(data: &str, path: &str) -> Vec<String> {
        let data = Object::literal(data);
        let from_text = values_at(&DataOfDocument::Text(&data), path);
        let open = OpenObject::open(&data).unwrap();
        assert_eq!(values_at(&DataOfDocument::Open(&open), path), from_text);
        from_text
    }

    #[test]
    fn values_are_texts_integers_and_arrays_of_these() {
        assert_eq!(values(r#"{"a":"x"}"#, "a"), ["x"]);
        assert_eq!(values(r#"{"a":[ 1 , "\u00e9", -7]}"#, "a"), ["1", "é", "-7"]);
        assert_eq!(values(r#"{"a":{"b":{"c":"x"}}}"#, "a.b.c"), ["x"]);
        assert_eq!(values(r#"{"a":"1","a":"2"}"#, "a"), ["2"], "the last one");
        for none in [
            "{}",
            r#"{"a":null}"#,
            r#"{"a":true}"#,
            r#"{"a":1.5}"#,
            r#"{"a":1e3}"#,
            r#"{"a":{"b":1}}"#,
            r#"{"a":""}"#,
            r#"{"a":[[1],{"a":2},null]}"#,
            r#"{"b":"x"}"#,
        ] {
            assert!(values(none, "a").is_empty(), "{none}");
        }
        assert!(values(r#"{"a":"x"}"#, "a.b").is_empty());
        assert!(values(r#"{"a.b":"x"}"#, "a.b").is_empty());
    }

    #[test]
    fn there_are_so_many_values_and_no_longer_ones() {
        let long = "x".repeat(LABEL_VALUE_MAX_BYTES);
        assert_eq!(values(&format!(r#"{{"a":"{long}"}}"#), "a"), [long.as_str()]);
        assert!(values(&format!(r#"{{"a":"{long}y"}}"#), "a").is_empty());
        let many: Vec<String> = (0..2 * LABEL_MAX_VALUES).map(|value| value.to_string()).collect();
        assert_eq!(values(&format!(r#"{{"a":[{}]}}"#, many.join(",")), "a"), many[..LABEL_MAX_VALUES]);
    }
}
