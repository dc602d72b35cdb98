//! BSON values as the JSON with which the Express server would answer.

use mongodb::bson::{RawArray, RawBsonRef, RawDocument};

use crate::limits::protocol::JSON_MAX_LEVELS;

/// The greatest integer up to which a double holds every one.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

const NOT_VALID: &str = "is not valid BSON";

/// An integer, which JavaScript stores as a double if it is large.
pub(super) fn whole(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(integer) => Some(integer.into()),
        RawBsonRef::Int64(integer) => Some(integer),
        RawBsonRef::Double(number) => whole_of(number),
        _ => None,
    }
}

fn whole_of(number: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "it is used only if it is whole and at most 2^53")]
    let integer = number as i64;
    (number.fract() == 0.0 && number.abs() <= WHOLE_MAX).then_some(integer)
}

/// A value as JSON.
pub(super) fn write(value: RawBsonRef<'_>) -> Result<String, &'static str> {
    let mut json = String::new();
    write_value(&mut json, value, JSON_MAX_LEVELS)?;
    Ok(json)
}

fn write_value(json: &mut String, value: RawBsonRef<'_>, levels_left: usize) -> Result<(), &'static str> {
    match value {
        RawBsonRef::Double(number) => json.push_str(&number_of(number)?),
        RawBsonRef::String(text) => json.push_str(&quoted(text)),
        RawBsonRef::Array(array) => write_array(json, array, levels_left)?,
        RawBsonRef::Document(document) => write_object(json, document, levels_left)?,
        RawBsonRef::Boolean(boolean) => json.push_str(if boolean { "true" } else { "false" }),
        RawBsonRef::Null | RawBsonRef::Undefined => json.push_str("null"),
        RawBsonRef::Int32(integer) => json.push_str(&integer.to_string()),
        RawBsonRef::Int64(integer) => json.push_str(&integer.to_string()),
        RawBsonRef::ObjectId(id) => json.push_str(&quoted(&id.to_hex())),
        RawBsonRef::DateTime(time) => {
            let time = iso(time)?;
            json.push_str(&quoted(&time));
        }
        _ => return Err("has a value that no JSON can hold"),
    }
    Ok(())
}

fn write_array(json: &mut String, array: &RawArray, levels_left: usize) -> Result<(), &'static str> {
    let inner = levels_left.checked_sub(1).ok_or("is nested too deeply")?;
    json.push('[');
    for (index, element) in array.into_iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        write_value(json, element.map_err(|_| NOT_VALID)?, inner)?;
    }
    json.push(']');
    Ok(())
}

fn write_object(json: &mut String, document: &RawDocument, levels_left: usize) -> Result<(), &'static str> {
    let inner = levels_left.checked_sub(1).ok_or("is nested too deeply")?;
    json.push('{');
    for (index, member) in document.iter().enumerate() {
        let (key, value) = member.map_err(|_| NOT_VALID)?;
        if index > 0 {
            json.push(',');
        }
        json.push_str(&quoted(key.as_str()));
        json.push(':');
        write_value(json, value, inner)?;
    }
    json.push('}');
    Ok(())
}

fn number_of(number: f64) -> Result<String, &'static str> {
    match whole_of(number) {
        Some(integer) => Ok(integer.to_string()),
        None => {
            let number = serde_json::Number::from_f64(number).ok_or("has a number that no JSON can hold")?;
            Ok(number.to_string())
        }
    }
}

/// A time as JavaScript writes it, always with milliseconds.
fn iso(time: mongodb::bson::DateTime) -> Result<String, &'static str> {
    let text = time.try_to_rfc3339_string().map_err(|_| "has a date that no text can hold")?;
    let seconds = text.trim_end_matches('Z').split('.').next().unwrap_or_default();
    Ok(format!("{seconds}.{:03}Z", time.timestamp_millis().rem_euclid(1_000)))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use mongodb::bson::oid::ObjectId;
    use mongodb::bson::{DateTime, RawDocumentBuf, doc, rawdoc};

    use super::*;

    fn written(document: &RawDocumentBuf) -> Result<String, &'static str> {
        write(RawBsonRef::Document(document))
    }

    #[test]
    fn values_become_the_json_that_javascript_would_write() {
        let row = rawdoc! {
            "i": 5, "big": 1_700_000_000_000.0, "half": 0.5, "huge": 1e300, "long": 9_007_199_254_740_993_i64,
            "text": "a\"b\n\u{1}é", "list": [1, null, { "x": true }], "empty": {},
            "at": DateTime::from_millis(1_500), "id": ObjectId::from_bytes([1; 12]),
        };
        let expected = concat!(
            r#"{"i":5,"big":1700000000000,"half":0.5,"huge":1e+300,"long":9007199254740993,"text":"a\"b\n\u0001é","#,
            r#""list":[1,null,{"x":true}],"empty":{},"at":"1970-01-01T00:00:01.500Z","id":"010101010101010101010101"}"#,
        );
        assert_eq!(written(&row).as_deref(), Ok(expected));
    }

    #[test]
    fn a_time_always_has_milliseconds() {
        for (ms, expected) in
            [(0, "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"), (61_020, "1970-01-01T00:01:01.020Z")]
        {
            assert_eq!(iso(DateTime::from_millis(ms)).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn a_value_that_no_json_can_hold_is_refused() {
        assert!(written(&rawdoc! { "n": f64::NAN }).is_err());
        assert!(written(&rawdoc! { "n": f64::INFINITY }).is_err());
        assert!(written(&rawdoc! { "b": mongodb::bson::Binary { subtype: 0.into(), bytes: vec![1] } }).is_err());
    }

    #[test]
    fn a_value_that_is_nested_too_deeply_is_refused() {
        let mut nested = doc! {};
        for _ in 0..JSON_MAX_LEVELS {
            nested = doc! { "x": nested };
        }
        let nested = RawDocumentBuf::try_from(&nested).expect("it is BSON");
        assert_eq!(written(&nested), Err("is nested too deeply"));
    }

    #[test]
    fn integers_are_whole() {
        for (value, expected) in [
            (RawBsonRef::Double(1e12), Some(1_000_000_000_000)),
            (RawBsonRef::Double(0.5), None),
            (RawBsonRef::Double(f64::NAN), None),
            (RawBsonRef::Double(1e17), None),
            (RawBsonRef::Int64(-1), Some(-1)),
            (RawBsonRef::String("1"), None),
        ] {
            assert_eq!(whole(value), expected, "{value:?}");
        }
    }
}
