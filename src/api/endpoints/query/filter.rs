//! Reads the `filter` and the `sort` of a query.

use serde_json::value::RawValue;

use crate::api::error::Faults;
use crate::api::fields::{Path, boolean};
use crate::core::filter::{Condition, Expression, Filter, Operator};
use crate::core::json::{self, Bounded, Members};
use crate::limits::protocol::{
    FILTER_LIST_MAX_VALUES, FILTER_MAX_BYTES, FILTER_MAX_CONDITIONS, FILTER_MAX_LEVELS, FILTER_PATH_MAX_BYTES,
    FILTER_PATH_MAX_KEYS, FILTER_VALUES_MAX_BYTES,
};

/// Reads a filter. Faults are recorded under the paths of the conditions.
pub(super) fn read_filter(text: &str, path: Path<'_>, faults: &mut Faults) -> Option<Filter> {
    if text.len() > FILTER_MAX_BYTES {
        faults.add(path, format_args!("must have at most {FILTER_MAX_BYTES} bytes"));
        return None;
    }
    let mut reader = FilterReader { faults, conditions: 0, values_bytes: 0 };
    let parts = reader.object(text, path, FILTER_MAX_LEVELS);
    let FilterReader { faults, conditions, values_bytes } = reader;
    if conditions > FILTER_MAX_CONDITIONS {
        faults.add(path, format_args!("must have at most {FILTER_MAX_CONDITIONS} conditions"));
        return None;
    }
    if values_bytes > FILTER_VALUES_MAX_BYTES {
        faults.add(path, format_args!("must have values of at most {FILTER_VALUES_MAX_BYTES} bytes together"));
        return None;
    }
    parts.map(|parts| Filter::of(Expression::All(parts)))
}

/// Reads the path of a sorted query, and whether the greatest value comes first.
pub(super) fn read_sort(text: &str) -> Result<(String, bool), String> {
    const SHAPE: &str = "must be an object of one path with the value 1 or -1";
    let Ok(Bounded::Whole(fields)) = json::entries(text, 1) else { return Err(SHAPE.to_owned()) };
    let (path, direction) = fields.into_iter().next().ok_or(SHAPE)?;
    check_path(&path)?;
    match direction {
        "1" => Ok((path.into_owned(), false)),
        "-1" => Ok((path.into_owned(), true)),
        _ => Err(SHAPE.to_owned()),
    }
}

/// Reads a filter, and counts its conditions and the bytes of their values.
struct FilterReader<'f> {
    faults: &'f mut Faults,
    conditions: usize,
    values_bytes: usize,
}

const NOT_AN_OPERATOR: &str = "is not an operator; keys of $ and letters are operators";

impl FilterReader<'_> {
    /// The conditions of a filter, which must all hold.
    fn object(&mut self, text: &str, path: Path<'_>, levels_left: usize) -> Option<Vec<Expression>> {
        let members = match json::entries(text, FILTER_MAX_CONDITIONS) {
            Ok(Bounded::Whole(members)) => members,
            Ok(Bounded::TooMany) => {
                self.conditions = usize::MAX;
                return None;
            }
            Err(_) => return self.fault(path, "must be an object"),
        };
        let mut parts = Some(Vec::with_capacity(members.len()));
        for (key, value) in &members {
            if self.is_too_large() {
                return None;
            }
            let part = self.member(key, value, path.key(key), levels_left);
            parts = parts.zip(part).map(|(mut parts, part)| {
                parts.push(part);
                parts
            });
        }
        parts
    }

    fn member(&mut self, key: &str, value: &str, path: Path<'_>, levels_left: usize) -> Option<Expression> {
        match key {
            "$and" => self.group(value, path, levels_left).map(Expression::All),
            "$or" => self.group(value, path, levels_left).map(Expression::Any),
            "$not" => self.part(value, path, levels_left).map(|part| Expression::Not(Box::new(part))),
            _ if is_operator(key) => self.fault(path, NOT_AN_OPERATOR),
            _ => self.field(key, value, path, levels_left),
        }
    }

    /// The filters in the list of `$and` or `$or`.
    fn group(&mut self, text: &str, path: Path<'_>, levels_left: usize) -> Option<Vec<Expression>> {
        let filters = match elements(text) {
            Ok(filters) if !filters.is_empty() => filters,
            _ => return self.fault(path, "must be an array of at least one filter"),
        };
        // Each filter has a condition, so there are not more filters than conditions.
        let mut parts = Some(Vec::with_capacity(filters.len().min(FILTER_MAX_CONDITIONS)));
        for (index, filter) in filters.into_iter().enumerate() {
            if self.is_too_large() {
                return None;
            }
            let part = self.part(filter.get(), path.index(index), levels_left);
            parts = parts.zip(part).map(|(mut parts, part)| {
                parts.push(part);
                parts
            });
        }
        parts
    }

    /// A filter inside of another one.
    fn part(&mut self, text: &str, path: Path<'_>, levels_left: usize) -> Option<Expression> {
        let Some(levels_left) = levels_left.checked_sub(1) else { return self.fault(path, TOO_DEEP) };
        match self.object(text, path, levels_left)? {
            parts if parts.is_empty() => self.fault(path, "must have a condition"),
            parts => Some(Expression::All(parts)),
        }
    }

    /// The conditions on the value at a path.
    fn field(&mut self, field: &str, value: &str, path: Path<'_>, levels_left: usize) -> Option<Expression> {
        if let Err(problem) = check_path(field) {
            return self.fault(path, problem);
        }
        match has_operators(value) {
            Err(problem) => self.fault(path, problem),
            Ok(false) => self.condition(field, Operator::Equal, value, path),
            Ok(true) => self.operators(field, value, path, levels_left),
        }
    }

    fn operators(&mut self, field: &str, text: &str, path: Path<'_>, levels_left: usize) -> Option<Expression> {
        let Ok(Bounded::Whole(members)) = json::entries(text, FILTER_MAX_CONDITIONS) else {
            self.conditions = usize::MAX;
            return None;
        };
        let mut parts = Some(Vec::with_capacity(members.len()));
        for (operator, value) in &members {
            if self.is_too_large() {
                return None;
            }
            let part = self.operator(field, (operator, value), path.key(operator), levels_left);
            parts = parts.zip(part).map(|(mut parts, part)| {
                parts.push(part);
                parts
            });
        }
        parts.map(Expression::All)
    }

    fn operator(
        &mut self,
        field: &str,
        (operator, value): (&str, &str),
        path: Path<'_>,
        levels_left: usize,
    ) -> Option<Expression> {
        let not = |part: Expression| Expression::Not(Box::new(part));
        match operator {
            "$eq" => self.condition(field, Operator::Equal, value, path),
            "$ne" => self.condition(field, Operator::Equal, value, path).map(not),
            "$in" => self.condition(field, Operator::In, value, path),
            "$nin" => self.condition(field, Operator::In, value, path).map(not),
            "$gt" => self.condition(field, Operator::Greater, value, path),
            "$gte" => self.condition(field, Operator::GreaterOrEqual, value, path),
            "$lt" => self.condition(field, Operator::Less, value, path),
            "$lte" => self.condition(field, Operator::LessOrEqual, value, path),
            "$exists" => self.condition(field, Operator::Exists, value, path),
            "$not" => {
                let Some(levels_left) = levels_left.checked_sub(1) else { return self.fault(path, TOO_DEEP) };
                match has_operators(value) {
                    Ok(true) => self.operators(field, value, path, levels_left).map(not),
                    Ok(false) => self.fault(path, "must be an object of operators"),
                    Err(problem) => self.fault(path, problem),
                }
            }
            _ => self.fault(path, NOT_AN_OPERATOR),
        }
    }

    fn condition(&mut self, field: &str, operator: Operator, value: &str, path: Path<'_>) -> Option<Expression> {
        self.conditions = self.conditions.saturating_add(1);
        self.values_bytes = self.values_bytes.saturating_add(value.len());
        if self.is_too_large() {
            return None;
        }
        match self.check_value(operator, value) {
            Ok(()) => Some(Expression::Condition(Condition::with(field, operator, value))),
            Err(problem) => self.fault(path, problem),
        }
    }

    fn check_value(&mut self, operator: Operator, value: &str) -> Result<(), String> {
        json::check(value).map_err(|problem| problem.to_string())?;
        match operator {
            Operator::Equal => Ok(()),
            Operator::Exists => Ok(boolean(value).map(drop)?),
            Operator::In => {
                let values = elements(value).map_err(|_| "must be an array")?;
                if values.len() > FILTER_LIST_MAX_VALUES {
                    return Err(format!("must have at most {FILTER_LIST_MAX_VALUES} values"));
                }
                // They are compared one by one, as conditions are.
                let composites = values.iter().filter(|value| value.get().starts_with(['{', '['])).count();
                self.conditions = self.conditions.saturating_add(composites);
                Ok(())
            }
            Operator::Greater | Operator::GreaterOrEqual | Operator::Less | Operator::LessOrEqual => {
                if value.starts_with(['{', '[']) {
                    return Err("must be a number, string, boolean or null".to_owned());
                }
                Ok(())
            }
        }
    }

    fn is_too_large(&self) -> bool {
        self.conditions > FILTER_MAX_CONDITIONS || self.values_bytes > FILTER_VALUES_MAX_BYTES
    }

    fn fault<T>(&mut self, path: Path<'_>, problem: impl std::fmt::Display) -> Option<T> {
        self.faults.add(path, problem);
        None
    }
}

const TOO_DEEP: &str = "is nested too deep: $and, $or and $not have at most 8 levels";
const _: () = assert!(FILTER_MAX_LEVELS == 8, "the text says the limit");

/// Whether a value consists of operators. Otherwise it is the value itself that is expected.
fn has_operators(value: &str) -> Result<bool, String> {
    if !value.starts_with('{') {
        return Ok(false);
    }
    let members = Members::parse(value).map_err(|problem| problem.to_string())?;
    match members.iter().filter(|(key, _)| is_operator(key)).count() {
        0 => Ok(false),
        operators if operators == members.len() => Ok(true),
        _ => Err("must have either operators or other keys; {\"$eq\": …} compares with such an object".to_owned()),
    }
}

/// Whether a key has the form of an operator, known or not. Other keys with `$` are those of documents.
fn is_operator(key: &str) -> bool {
    key.strip_prefix('$').is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic()))
}

fn elements(text: &str) -> serde_json::Result<Vec<&RawValue>> {
    serde_json::from_str(text)
}

fn check_path(path: &str) -> Result<(), String> {
    if path.len() > FILTER_PATH_MAX_BYTES {
        return Err(format!("must have a path of at most {FILTER_PATH_MAX_BYTES} bytes of UTF-8"));
    }
    if path.split('.').count() > FILTER_PATH_MAX_KEYS {
        return Err(format!("must have a path of at most {FILTER_PATH_MAX_KEYS} keys"));
    }
    if path.contains('\0') {
        return Err("must not have U+0000 in its path".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(filter: &str) -> String {
        let mut faults = Faults::default();
        let read = read_filter(filter, Path::BODY.key("filter"), &mut faults);
        assert_eq!(read.is_some(), faults.is_empty(), "{filter}");
        faults.to_string()
    }

    #[test]
    fn operators_are_read_wherever_they_may_stand() {
        for filter in [
            "{}",
            r#"{"a":{}}"#,
            r#"{"a":{"b":{"$gt":1}}}"#,
            r#"{"a":{"$eq":{"$gt":1}}}"#,
            r#"{"a":{"\u0024gt":1,"$lte":"x"},"b.c":{"$in":[]},"c":{"$nin":[{},[null]]}}"#,
            r#"{"$and":[{"a":1},{"$or":[{"b":{"$ne":null}},{"$not":{"c":{"$exists":true}}}]}]}"#,
            r#"{"a":{"$not":{"$gte":false,"$not":{"$lt":null}}}}"#,
            r#"{"a.$b":1,"$":2,"$1":3,"b":{"$1":4}}"#,
        ] {
            assert_eq!(faults_of(filter), "", "{filter}");
        }
    }

    #[test]
    fn a_fault_names_its_condition() {
        for (filter, path) in [
            ("7", "filter: "),
            (r#"{"$where":1}"#, "filter.$where: "),
            (r#"{"a":{"$regex":"x"}}"#, "filter.a.$regex: "),
            (r#"{"a":{"$gt":1,"b":2}}"#, "filter.a: "),
            (r#"{"a":{"$gt":1,"$1":2}}"#, "filter.a: "),
            (r#"{"a":{"$gt":{}}}"#, "filter.a.$gt: "),
            (r#"{"a":{"$lte":[1]}}"#, "filter.a.$lte: "),
            (r#"{"a":{"$in":1}}"#, "filter.a.$in: "),
            (r#"{"a":{"$exists":1}}"#, "filter.a.$exists: "),
            (r#"{"a":{"$not":1}}"#, "filter.a.$not: "),
            (r#"{"a":{"$not":{}}}"#, "filter.a.$not: "),
            (r#"{"a":{"$not":{"$or":[]}}}"#, "filter.a.$not.$or: "),
            (r#"{"$and":[]}"#, "filter.$and: "),
            (r#"{"$and":{"a":1}}"#, "filter.$and: "),
            (r#"{"$or":[{"a":1},{}]}"#, "filter.$or[1]: "),
            (r#"{"$or":[{"a":{"$x":1}}]}"#, "filter.$or[0].a.$x: "),
            (r#"{"$not":{}}"#, "filter.$not: "),
            (r#"{"a":{"$eq":"\ud800"}}"#, "filter.a.$eq: "),
        ] {
            assert!(faults_of(filter).starts_with(path), "{filter}: {}", faults_of(filter));
        }
    }

    #[test]
    fn conditions_levels_and_lists_are_bounded_however_they_are_written() {
        let conditions = |count: usize| vec![r#"{"a":{"$gt":1}}"#; count].join(",");
        let or = |count: usize| format!(r#"{{"$or":[{}]}}"#, conditions(count));
        assert_eq!(faults_of(&or(FILTER_MAX_CONDITIONS)), "");
        assert!(faults_of(&or(FILTER_MAX_CONDITIONS + 1)).contains("100 conditions"));
        let list = |value: &str, count: usize| format!(r#"{{"a":{{"$in":[{}]}}}}"#, vec![value; count].join(","));
        assert_eq!(faults_of(&list("1", FILTER_LIST_MAX_VALUES)), "");
        assert!(faults_of(&list("1", FILTER_LIST_MAX_VALUES + 1)).starts_with("filter.a.$in: "));
        assert_eq!(faults_of(&list("{}", FILTER_MAX_CONDITIONS - 1)), "");
        assert!(faults_of(&list("{}", FILTER_MAX_CONDITIONS)).contains("100 conditions"));
        let nested = |levels: usize| format!("{}{{\"a\":1}}{}", "{\"$not\":".repeat(levels), "}".repeat(levels));
        assert_eq!(faults_of(&nested(FILTER_MAX_LEVELS)), "");
        assert!(faults_of(&nested(FILTER_MAX_LEVELS + 1)).contains("nested too deep"));
        let deep = format!("{}{}", "{\"$and\":[".repeat(40_000), "]}".repeat(40_000));
        assert!(faults_of(&deep).contains("nested too deep"));
        let large = format!(r#"{{"$or":[{{"a":"{0}"}},{{"b":"{0}"}}]}}"#, "x".repeat(FILTER_VALUES_MAX_BYTES / 2));
        assert!(faults_of(&large).contains("65536 bytes together"));
    }

    #[test]
    fn a_sort_is_one_path_and_a_direction() {
        assert_eq!(read_sort(r#"{"a.b":-1}"#), Ok(("a.b".to_owned(), true)));
        assert_eq!(read_sort(r#" { "_id" : 1 } "#), Ok(("_id".to_owned(), false)));
        for bad in ["null", "1", "{}", r#"{"a":1,"b":1}"#, r#"{"a":0}"#, r#"{"a":true}"#, r#"["a"]"#, r#"{"\u0000":1}"#]
        {
            assert!(read_sort(bad).is_err(), "{bad}");
        }
    }
}
