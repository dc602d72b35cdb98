//! Filters and sorted pages against plain definitions, which are slow and short.

use std::cmp::Ordering;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::super::{Condition, Expression, Filter, Operator, Sort};
use super::document;
use crate::core::document::LiveDocument;
use crate::core::numbers::Seq;
use crate::core::page::{QueryPageBuilder, SortedEnd};

const VALUES: [&str; 15] = [
    "null",
    "0",
    "1",
    "1.0",
    "-2.5",
    "\"\"",
    "\"a\"",
    "\"b\"",
    "{}",
    r#"{"a":1}"#,
    "[]",
    "[1,\"a\"]",
    "[[1],null]",
    "true",
    "false",
];

const PATHS: [&str; 4] = ["a", "b", "a.a", "a.b"];

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(&VALUES[..]).prop_map(str::to_owned),
        1 => (select(&VALUES[..]), select(&VALUES[..])).prop_map(|(a, b)| format!(r#"{{"a":{a},"b":{b}}}"#)),
    ]
}

fn any_data() -> impl Strategy<Value = String> {
    vec((select(&["a", "b"][..]), any_value()), 0..3).prop_map(|members| {
        let members: Vec<String> = members.iter().map(|(key, value)| format!(r#""{key}" : {value}"#)).collect();
        format!("{{{}}}", members.join(","))
    })
}

fn any_condition() -> impl Strategy<Value = Condition> {
    use Operator::{Equal, Exists, Greater, GreaterOrEqual, In, Less, LessOrEqual};
    let scalar = select(&["null", "0", "1", "\"a\"", "true", "false"][..]);
    let list = vec(select(&VALUES[..]), 0..4).prop_map(|values| format!("[{}]", values.join(",")));
    let compared = prop_oneof![
        any_value().prop_map(|value| (Equal, value)),
        list.prop_map(|values| (In, values)),
        select(&["true", "false"][..]).prop_map(|value| (Exists, value.to_owned())),
        (select(&[Greater, GreaterOrEqual, Less, LessOrEqual][..]), scalar)
            .prop_map(|(operator, value)| (operator, value.to_owned())),
    ];
    (select(&PATHS[..]), compared).prop_map(|(path, (operator, value))| Condition::with(path, operator, &value))
}

fn any_expression() -> impl Strategy<Value = Expression> {
    any_condition().prop_map(Expression::Condition).prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Expression::All),
            vec(inner.clone(), 0..3).prop_map(Expression::Any),
            inner.prop_map(|part| Expression::Not(Box::new(part))),
        ]
    })
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("the text is JSON")
}

/// The place of a type, and the order inside it.
fn order(one: &Value, other: &Value) -> Ordering {
    let place = |value: &Value| match value {
        Value::Null => 0,
        Value::Number(_) => 1,
        Value::String(_) => 2,
        Value::Object(_) => 3,
        Value::Array(_) => 4,
        Value::Bool(_) => 5,
    };
    place(one).cmp(&place(other)).then_with(|| match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64().partial_cmp(&other.as_f64()).expect("numbers"),
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        _ => Ordering::Equal,
    })
}

fn are_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| are_equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has = |(key, value): (&String, &Value)| other.get(key).is_some_and(|other| are_equal(value, other));
            one.len() == other.len() && one.iter().all(has)
        }
        _ => order(one, other).is_eq(),
    }
}

fn value_at<'v>(data: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(data, |value, key| value.as_object()?.get(key))
}

fn condition_holds(condition: &Condition, data: &Value) -> bool {
    let (found, expected) = (value_at(data, condition.path()), parse(condition.value()));
    let has_type = |value: &Value| std::mem::discriminant(value) == std::mem::discriminant(&expected);
    let holds = |value: &Value| match condition.operator() {
        Operator::Equal => are_equal(value, &expected),
        Operator::In => expected.as_array().expect("a list").iter().any(|expected| are_equal(value, expected)),
        Operator::Greater => has_type(value) && order(value, &expected).is_gt(),
        Operator::GreaterOrEqual => has_type(value) && order(value, &expected).is_ge(),
        Operator::Less => has_type(value) && order(value, &expected).is_lt(),
        Operator::LessOrEqual => has_type(value) && order(value, &expected).is_le(),
        Operator::Exists => unreachable!("it is not about a value"),
    };
    match (condition.operator(), found) {
        (Operator::Exists, found) => found.is_some() == (expected == Value::Bool(true)),
        (Operator::Equal, None) => expected.is_null(),
        (Operator::In, None) => expected.as_array().expect("a list").contains(&Value::Null),
        (_, None) => false,
        (_, Some(value)) => holds(value) || value.as_array().is_some_and(|elements| elements.iter().any(holds)),
    }
}

fn holds(expression: &Expression, data: &Value) -> bool {
    match expression {
        Expression::All(parts) => parts.iter().all(|part| holds(part, data)),
        Expression::Any(parts) => parts.iter().any(|part| holds(part, data)),
        Expression::Not(part) => !holds(part, data),
        Expression::Condition(condition) => condition_holds(condition, data),
    }
}

proptest! {
    #[test]
    fn a_filter_matches_what_its_plain_definition_matches(expression in any_expression(), data in any_data()) {
        let expected = holds(&expression, &parse(&data));
        prop_assert_eq!(Filter::of(expression).matches(&document(&data)), Ok(expected), "{}", data);
    }

    #[test]
    fn conditions_that_are_required_hold_for_every_match(expression in any_expression(), data in any_data()) {
        let filter = Filter::of(expression);
        if filter.matches(&document(&data)) == Ok(true) {
            prop_assert!(filter.required().iter().all(|condition| condition_holds(condition, &parse(&data))));
        }
    }

    #[test]
    fn sorted_pages_are_the_sorted_documents(
        data in vec(any_data(), 0..12),
        path in select(&PATHS[..]),
        is_descending in any::<bool>(),
        max_documents in 1..5_usize,
    ) {
        let numbered = data.iter().zip(1..).map(|(data, seq)| LiveDocument { seq: Seq::new(seq), ..document(data) });
        let mut newest_first: Vec<LiveDocument> = numbered.collect();
        newest_first.reverse();
        let mut expected = newest_first.clone();
        let value = |document: &LiveDocument| {
            value_at(&parse(document.data.as_str()), path).cloned().unwrap_or(Value::Null)
        };
        // The sort is stable, so equal documents stay newest first.
        expected.sort_by(|one, other| {
            let by_value = order(&value(one), &value(other));
            if is_descending { by_value.reverse() } else { by_value }
        });
        let filter = Filter::default();
        let mut sort = Sort { path: path.to_owned(), is_descending, after: None };
        let mut found = Vec::new();
        loop {
            let mut page = QueryPageBuilder::new(&filter, Some(&sort), max_documents);
            for document in &newest_first {
                prop_assert_eq!(page.push(document.clone()), Ok(true));
            }
            let page = page.finish();
            prop_assert!(page.documents.len() <= max_documents);
            found.extend(page.documents);
            match page.sorted {
                SortedEnd::After(place) => {
                    let text = place.to_string();
                    prop_assert_eq!(super::super::SortPlace::parse(&text), Ok(place.clone()));
                    sort.after = Some(place);
                }
                SortedEnd::Nothing => break,
                SortedEnd::TooMuch => prop_assert!(false, "there are few documents"),
            }
        }
        prop_assert_eq!(found, expected);
    }
}
