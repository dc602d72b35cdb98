//! Tests of filters.

mod plain;

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
        clock: None,
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

#[test]
fn operators_compare_values_of_one_type_and_elements_of_arrays() {
    use Operator::{Exists, Greater, GreaterOrEqual, In, Less, LessOrEqual};
    let holds = |operator, value: &str, data: &str| {
        let filter = Filter::new(vec![Condition::with("x", operator, value)]);
        filter.matches(&document(data)).expect("the data is JSON")
    };
    for (operator, value, data) in [
        (Greater, "1", r#"{"x":1.5}"#),
        (Greater, "-2", r#"{"x":-1}"#),
        (Greater, "12345678901234567890", r#"{"x":12345678901234567891}"#),
        (Greater, "-0.001", r#"{"x":0}"#),
        (Less, "1e3", r#"{"x":999.9}"#),
        (Less, "-1", r#"{"x":-12}"#),
        (GreaterOrEqual, "10e-1", r#"{"x":1}"#),
        (LessOrEqual, "\"é\"", r#"{"x":"\u00e9"}"#),
        (Greater, "\"a\"", r#"{"x":"ab"}"#),
        (Greater, "\"\u{ffff}\"", r#"{"x":"\ud83d\ude00"}"#),
        (Greater, "false", r#"{"x":true}"#),
        (GreaterOrEqual, "null", r#"{"x":null}"#),
        (Greater, "1", r#"{"x":[0,[9],2]}"#),
        (In, "[1,\"a\",{\"b\":[]}]", r#"{"x":{"b":[]}}"#),
        (In, "[3,2,1]", r#"{"x":[5,2.0]}"#),
        (In, "[[1]]", r#"{"x":[1]}"#),
        (In, "[null]", "{}"),
        (Exists, "true", r#"{"x":null}"#),
        (Exists, "false", "{}"),
    ] {
        assert!(holds(operator, value, data), "{operator:?} {value} {data}");
    }
    for (operator, value, data) in [
        (Greater, "1", r#"{"x":"2"}"#),
        (Greater, "1", r#"{"x":true}"#),
        (Greater, "1", "{}"),
        (LessOrEqual, "null", "{}"),
        (Less, "0", r#"{"x":null}"#),
        (Greater, "12345678901234567890", r#"{"x":12345678901234567890.0}"#),
        (Greater, "1", r#"{"x":[[2]]}"#),
        (Greater, "[1]", r#"{"x":[2]}"#),
        (In, "[]", r#"{"x":[]}"#),
        (In, "[1]", "{}"),
        (In, "1", r#"{"x":1}"#),
        (Exists, "false", r#"{"x":null}"#),
        (Exists, "true", "{}"),
    ] {
        assert!(!holds(operator, value, data), "{operator:?} {value} {data}");
    }
}

#[test]
fn what_is_compared_often_costs_as_much() {
    let document = document(&format!(r#"{{"x":[{}]}}"#, "1,".repeat(999) + "1"));
    let cost = |condition| Filter::new(vec![condition]).examine(&document).expect("the data is JSON").compared_bytes;
    let once = cost(Condition::new("x", "2"));
    assert!(once >= 2_000);
    assert_eq!(cost(Condition::with("x", Operator::In, "[2,3,4]")), once);
    assert_eq!(cost(Condition::with("x", Operator::In, "[[],{},4]")), 3 * once);
}
