//! Reading a push: the operations with their texts as sent, or every fault with its field.

use std::collections::HashMap;

use super::error::{ApiError, Faults};
use super::fields::{Fields, name, string};
use crate::core::clock::VectorClock;
use crate::core::filter::Expected;
use crate::core::json::{self, RawJson};
use crate::core::limits::{CLOCK_MAX_ENTRIES, DATA_MAX_BYTES, INTEGER_MAX, PUSH_MAX_OPERATIONS};
use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
use crate::core::operation::{Operation, OperationKind};

/// A push that can be decided about.
pub(super) struct Push<'a> {
    /// Each operation as sent, byte for byte.
    pub(super) texts: Vec<&'a str>,
    /// The same operations, read.
    pub(super) operations: Vec<Operation>,
}

/// Reads the body of a push.
pub(super) fn read(text: &str) -> Result<Push<'_>, ApiError> {
    let mut faults = Faults::default();
    let mut fields = Fields::of_body(text, &mut faults)?;
    // It need not be the author of the operations: a client may hand on those of another of its profiles.
    let _ = fields.required("clientId", name(ClientId::parse));
    let push = fields.required("operations", elements).map(|texts| {
        let each = texts.iter().enumerate();
        let operations = each.map(|(index, text)| operation(text, &format!("operations[{index}]"), &mut faults));
        let operations: Vec<Option<Operation>> = operations.collect();
        check_ids(&operations, &mut faults);
        Push { operations: operations.into_iter().flatten().collect(), texts }
    });
    faults.unless_any(push)
}

fn elements(text: &str) -> Result<Vec<&str>, String> {
    let texts = json::elements(text).map_err(|_| "must be an array".to_owned())?;
    if texts.len() > PUSH_MAX_OPERATIONS {
        return Err(format!("must have at most {PUSH_MAX_OPERATIONS} operations"));
    }
    Ok(texts)
}

/// Notes every operation whose id an earlier one of the push has that is another operation.
///
/// An id takes effect once, so one of the two would be lost.
fn check_ids(operations: &[Option<Operation>], faults: &mut Faults) {
    let mut first_of = HashMap::new();
    for (index, operation) in operations.iter().enumerate() {
        let Some(operation) = operation else { continue };
        let first = first_of.entry(&operation.id).or_insert(First { index, operation, data: None });
        if !first.is_same(operation) {
            let problem = format!("is the id of operations[{}] too, which is another operation", first.index);
            faults.add(&format!("operations[{index}].id"), problem);
        }
    }
}

/// The first operation of a push that has its id.
struct First<'a> {
    index: usize,
    operation: &'a Operation,
    /// Its data, opened when it is first compared: others may have the same id a thousand times.
    data: Option<Expected>,
}

impl First<'_> {
    /// Whether another operation with this id is the same: all that is read of it has equal values.
    fn is_same(&mut self, other: &Operation) -> bool {
        let Operation { id: _, kind, key, data, timestamp, client_id, clock } = self.operation;
        (kind, key, timestamp, client_id, clock)
            == (&other.kind, &other.key, &other.timestamp, &other.client_id, &other.clock)
            && match (data, &other.data) {
                (Some(data), Some(other)) => {
                    data == other
                        || self.data.get_or_insert_with(|| Expected::parse(data.as_str())).equals(other.as_str())
                }
                (data, other) => data == other,
            }
    }
}

fn operation(text: &str, path: &str, faults: &mut Faults) -> Option<Operation> {
    let mut fields = Fields::of_object(text, path, faults)?;
    let id = fields.required("id", name(OperationId::parse));
    let kind = fields.required("type", kind);
    let collection = fields.required("collection", name(Collection::parse));
    let document_id = fields.required("docId", name(DocumentId::parse));
    let data = match kind {
        Some(OperationKind::Delete) => Some(None),
        Some(OperationKind::Insert | OperationKind::Update) => fields.required("data", data).map(Some),
        None => None,
    };
    let timestamp = fields.required("timestamp", timestamp);
    let client_id = fields.required("clientId", name(ClientId::parse));
    let clock = match fields.required("vectorClock", Ok::<_, String>) {
        None => None,
        Some(text) => {
            let (name, faults) = fields.inside("vectorClock");
            clock(text, &name, faults)
        }
    };
    Some(Operation {
        id: id?,
        kind: kind?,
        key: DocumentKey { collection: collection?, id: document_id? },
        data: data?,
        timestamp: timestamp?,
        client_id: client_id?,
        clock: clock?,
    })
}

fn kind(text: &str) -> Result<OperationKind, &'static str> {
    let word = string(text).unwrap_or_default();
    OperationKind::parse(&word).ok_or("must be insert, update or delete")
}

fn data(text: &str) -> Result<RawJson, String> {
    if !text.starts_with('{') {
        return Err("must be an object".to_owned());
    }
    if text.len() > DATA_MAX_BYTES {
        return Err(format!("must have at most {DATA_MAX_BYTES} bytes"));
    }
    json::check(text).map_err(|problem| problem.to_string())?;
    Ok(RawJson::trusted(text))
}

fn timestamp(text: &str) -> Result<u64, String> {
    match json::integer(text, INTEGER_MAX) {
        Ok(timestamp) if timestamp > 0 => Ok(timestamp),
        _ => Err(format!("must be an integer from 1 to {INTEGER_MAX}")),
    }
}

fn clock(text: &str, name: &str, faults: &mut Faults) -> Option<VectorClock> {
    let mut fields = Fields::of_object(text, name, faults)?;
    let counters = fields.last_of_each();
    if counters.len() > CLOCK_MAX_ENTRIES {
        faults.add(name, format_args!("must have at most {CLOCK_MAX_ENTRIES} clients"));
        return None;
    }
    let mut clock = VectorClock::default();
    for (client, counter) in counters {
        match (ClientId::parse(&client), json::integer(counter, INTEGER_MAX)) {
            (Ok(client), Ok(counter)) => clock.set(client, counter),
            (Err(problem), _) => fields.fault(&client, format_args!("the client {problem}")),
            (_, Err(problem)) => fields.fault(&client, problem),
        }
    }
    Some(clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"id":"op-1","type":"insert","collection":"todos","docId":"doc-1","data":{"a":1},
        "timestamp":5,"clientId":"a","vectorClock":{"a":1}}"#;

    fn push_of(operations: &str) -> String {
        format!(r#"{{"clientId":"a","operations":[{operations}]}}"#)
    }

    fn faults_of(text: &str) -> String {
        match read(text) {
            Err(ApiError::BadFields(faults)) => faults.to_string(),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("{text} was taken"),
        }
    }

    #[test]
    fn an_operation_is_read_and_its_text_kept() {
        let text = push_of(GOOD);
        let push = read(&text).unwrap();
        assert_eq!(push.texts, [GOOD]);
        let [operation] = &push.operations[..] else { panic!("one operation") };
        assert_eq!(operation.id.as_str(), "op-1");
        assert_eq!(operation.data.as_ref().map(RawJson::as_str), Some(r#"{"a":1}"#));
        assert_eq!(operation.timestamp, 5);
        assert_eq!(operation.clock.to_json().as_str(), r#"{"a":1}"#);
    }

    #[test]
    fn integers_count_by_value_and_the_last_of_equal_keys() {
        let text = push_of(
            &GOOD
                .replace("\"timestamp\":5", "\"timestamp\":\"x\",\"timestamp\":5.0")
                .replace(r#"{"a":1}}"#, r#"{"a":"x","a":1e0}}"#),
        );
        let push = read(&text).unwrap();
        assert_eq!(push.operations[0].timestamp, 5);
        assert_eq!(push.operations[0].clock.to_json().as_str(), r#"{"a":1}"#);
    }

    #[test]
    fn a_delete_needs_no_data_and_ignores_what_it_carries() {
        for data in ["", r#""data":null,"#, r#""data":"\ud800","#] {
            let text = push_of(&GOOD.replace("insert", "delete").replace(r#""data":{"a":1},"#, data));
            assert_eq!(read(&text).unwrap().operations[0].data, None, "{data}");
        }
    }

    #[test]
    fn every_fault_of_every_operation_is_named() {
        let text = format!(
            r#"{{"operations":[{GOOD},7,{{"id":"","type":"batch","docId":5,"timestamp":0,"vectorClock":{{"":1,"b":-1}}}}]}}"#
        );
        let faults = faults_of(&text);
        for fault in [
            "clientId: is missing",
            "operations[1]: must be an object",
            "operations[2].id: must not be empty",
            "operations[2].type: must be insert, update or delete",
            "operations[2].collection: is missing",
            "operations[2].docId: must be a string",
            "operations[2].timestamp: must be an integer from 1 to 9007199254740991",
            "operations[2].clientId: is missing",
            "operations[2].vectorClock.: the client must not be empty",
            "operations[2].vectorClock.b: must be an integer from 0 to 9007199254740991",
        ] {
            assert!(faults.contains(fault), "{fault} is not in {faults}");
        }
        assert!(!faults.contains("operations[0]"), "{faults}");
    }

    #[test]
    fn data_is_a_bounded_object_that_every_store_can_keep() {
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(DATA_MAX_BYTES));
        let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        for bad in
            ["null", "[]", "5", "\"{}\"", r#"{"a":"\ud800"}"#, r#"{"a":1e400}"#, r#"{"\u0000":1}"#, &large, &deep]
        {
            let faults = faults_of(&push_of(&GOOD.replace(r#""data":{"a":1}"#, &format!("\"data\":{bad}"))));
            assert!(faults.starts_with("operations[0].data: "), "{faults}");
        }
        assert_eq!(faults_of(&push_of(&GOOD.replace(r#""data":{"a":1},"#, ""))), "operations[0].data: is missing");
    }

    #[test]
    fn one_id_stands_for_one_operation_of_a_push_however_it_is_written() {
        let same = GOOD
            .replace(r#""data":{"a":1}"#, r#""data":{"x":2, "a":1.0}"#)
            .replace(r#""timestamp":5"#, r#""timestamp":5.0,"synced":true,"more":1"#);
        let first = GOOD.replace(r#""data":{"a":1}"#, r#""data":{"a":10e-1,"x":2}"#);
        let push = push_of(&format!("{first},{same},{first}"));
        assert_eq!(read(&push).unwrap().operations.len(), 3);
        for (from, to) in [
            (r#""data":{"a":1}"#, r#""data":{"a":2}"#),
            (r#""data":{"a":1}"#, r#""data":{"a":"1"}"#),
            (r#""data":{"a":1}"#, r#""data":{"a":1,"b":null}"#),
            ("insert", "update"),
            ("insert", "delete"),
            ("todos", "other"),
            ("doc-1", "doc-2"),
            (r#""timestamp":5"#, r#""timestamp":6"#),
            (r#""clientId":"a""#, r#""clientId":"b""#),
            (r#"{"a":1}}"#, r#"{"a":2}}"#),
        ] {
            let other = GOOD.replace(from, to);
            assert_ne!(other, GOOD, "{from}");
            let faults = faults_of(&push_of(&format!("{GOOD},{GOOD},{other},{GOOD},{other}")));
            let problem = "id: is the id of operations[0] too, which is another operation";
            assert_eq!(faults, format!("operations[2].{problem}; operations[4].{problem}"));
        }
    }

    #[test]
    fn clocks_and_pushes_are_bounded() {
        let clock = |clients: usize| {
            let counters: Vec<String> = (0..clients).map(|client| format!("\"c{client}\":1")).collect();
            push_of(&GOOD.replace(r#"{"a":1}}"#, &format!("{{{}}}}}", counters.join(","))))
        };
        assert!(read(&clock(CLOCK_MAX_ENTRIES)).is_ok());
        assert!(faults_of(&clock(CLOCK_MAX_ENTRIES + 1)).starts_with("operations[0].vectorClock: "));
        let many = |operations: usize| push_of(&vec![GOOD; operations].join(","));
        assert_eq!(read(&many(PUSH_MAX_OPERATIONS)).unwrap().operations.len(), PUSH_MAX_OPERATIONS);
        assert!(faults_of(&many(PUSH_MAX_OPERATIONS + 1)).starts_with("operations: must have at most 1000"));
    }
}
