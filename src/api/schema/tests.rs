//! Requests are described as they are read: the same keys, the same required ones, and the same limits.
//!
//! Every test over HTTP compares its answers with the description (`tests/endpoints/contract.rs`).

mod answers;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::description;
use crate::api::endpoints::{changes, clients, compact, query};
use crate::api::error::ApiError;
use crate::api::push_body;
use crate::core::decide::ConflictRelation;
use crate::core::names::Collection;
use crate::core::operation::OperationKind;
use crate::core::wire::FORBIDDEN;
use crate::limits::api::{CLIENTS_DEFAULT_ENTRIES, COMPACT_DEFAULT_DAYS, ERROR_MAX_FAULTS, WAIT_MAX_SECONDS};
use crate::limits::protocol::{
    INTEGER_MAX, NAME_MAX_BYTES, PAGE_DEFAULT_OPERATIONS, PULL_MAX_COLLECTIONS, PUSH_MAX_OPERATIONS,
    QUERY_MAX_DOCUMENTS, SINCE_MAX,
};

fn schemas() -> Value {
    let document: Value = serde_json::from_str(description()).unwrap();
    document["components"]["schemas"].clone()
}

/// The keys that a schema describes, each with whether it is required.
fn members(schemas: &Value, schema: &Value) -> BTreeMap<String, bool> {
    if let Some(reference) = schema["$ref"].as_str() {
        return members(schemas, &schemas[reference.trim_start_matches("#/components/schemas/")]);
    }
    let is_required =
        |key: &str| schema["required"].as_array().is_some_and(|keys| keys.iter().any(|other| other == key));
    let own = schema["properties"].as_object().into_iter().flatten().map(|(key, _)| (key.clone(), is_required(key)));
    let parts = schema["allOf"].as_array().into_iter().flatten().flat_map(|part| members(schemas, part));
    own.chain(parts).collect()
}

/// A request of which every key is described and read.
struct Request<'a> {
    schema: &'a str,
    /// The keys that are read.
    keys: &'a [&'a str],
    /// The keys that are described and ignored.
    ignored: &'a [&'a str],
    /// The path of the object in the body, with a dot at its end.
    path: &'a str,
    /// An object with all keys that may stand beside each other.
    full: Value,
}

impl Request<'_> {
    /// Compares the description with what the reader does.
    fn check<T>(&self, read: impl Fn(&Value) -> Result<T, ApiError>) {
        let faults_of = |object: &Value| match read(object) {
            Ok(_) => String::new(),
            Err(ApiError::BadFields(faults)) => format!("{faults}; "),
            Err(other) => panic!("{other:?}"),
        };
        let Self { schema, keys, ignored, path, full } = self;
        let schemas = schemas();
        let described = members(&schemas, &schemas[schema]);
        let mut expected: Vec<&str> = keys.iter().chain(*ignored).copied().collect();
        expected.sort_unstable();
        expected.dedup();
        assert_eq!(described.keys().collect::<Vec<_>>(), expected, "{schema}");
        assert_eq!(faults_of(full), "", "{schema}");
        for (key, is_required) in described {
            let mut without = full.clone();
            without.as_object_mut().unwrap().remove(&key);
            let is_missed = faults_of(&without).contains(&format!("{path}{key}: is missing; "));
            assert_eq!(is_missed, is_required, "{schema}.{key}");
            let mut wrong = full.clone();
            wrong[&key] = if full[&key].is_boolean() { json!(7) } else { json!(true) };
            let is_read = faults_of(&wrong).contains(&format!("{path}{key}: "));
            assert_eq!(is_read, !ignored.contains(&key.as_str()), "{schema}.{key}");
        }
    }
}

#[test]
fn a_pull_is_described_as_it_is_read() {
    let full = json!({"since": 0, "limit": 1, "clientId": "a", "vectorClock": {}});
    let keys: Vec<&str> = changes::KEYS.into_iter().chain([changes::COLLECTIONS]).collect();
    let request = Request { schema: "ChangesRequest", keys: &keys, ignored: &[], path: "", full };
    request.check(|body| changes::read(&body.to_string()));
}

#[test]
fn a_query_is_described_as_it_is_read() {
    let full = json!({"filter": {"a": 1}, "limit": 1, "cursor": null, "sort": {"a": 1}, "clock": false});
    let request = Request { schema: "QueryRequest", keys: &query::KEYS, ignored: &[], path: "", full };
    request.check(|body| query::read(Collection::literal("c"), &body.to_string()));
}

#[test]
fn a_compaction_is_described_as_it_is_read() {
    let full = json!({"olderThanDays": 1});
    let request = Request { schema: "CompactRequest", keys: &compact::KEYS, ignored: &[], path: "", full };
    request.check(|body| compact::read(&body.to_string(), COMPACT_DEFAULT_DAYS));
}

#[test]
fn a_page_of_clients_is_described_as_it_is_read() {
    let full = json!({"after": "a", "limit": 1});
    let request = Request { schema: "ClientsRequest", keys: &clients::KEYS, ignored: &[], path: "", full };
    request.check(|body| clients::read(&body.to_string()));
}

#[test]
fn a_push_and_its_operations_are_described_as_they_are_read() {
    let read = |body: &Value| push_body::read(&body.to_string().into()).map(drop);
    let operation = |kind: &str| {
        json!({
            "id": "op", "type": kind, "collection": "c", "docId": "d", "data": {}, "timestamp": 1, "clientId": "a",
            "synced": false, "vectorClock": {"a": 1},
        })
    };
    let full = json!({
        "clientId": "a", "operations": [operation("insert")], "partial": false, "strict": false, "cursor": "l.1.2",
        "place": "l.3.4",
    });
    let keys: Vec<&str> = push_body::KEYS.into_iter().chain(["operations"]).collect();
    Request { schema: "PushRequest", keys: &keys, ignored: &[], path: "", full }.check(read);
    for (schema, kind, ignored) in [("Write", "update", &["synced"][..]), ("Delete", "delete", &["data", "synced"])] {
        let request = Request {
            schema,
            keys: &push_body::OPERATION_KEYS,
            ignored,
            path: "operations[0].",
            full: operation(kind),
        };
        request.check(|operation| read(&json!({"clientId": "a", "operations": [operation]})));
    }
}

#[test]
fn the_described_words_are_those_of_the_protocol() {
    let schemas = schemas();
    let words = |schema: &str| schemas[schema]["enum"].clone();
    let kinds = [OperationKind::Insert, OperationKind::Update, OperationKind::Delete].map(OperationKind::as_str);
    assert_eq!(words("OperationType"), json!(kinds));
    assert_eq!(words("WriteType"), json!(kinds[..2]));
    assert_eq!(words("DeleteType"), json!(kinds[2..]));
    let relations = [ConflictRelation::HappensBefore, ConflictRelation::Concurrent].map(ConflictRelation::as_str);
    assert_eq!(words("Relation"), json!([relations[0], relations[1], FORBIDDEN]));
}

#[test]
fn the_described_limits_are_those_that_are_kept() {
    let schemas = schemas();
    for (pointer, expected) in [
        ("/Name/maxLength", json!(NAME_MAX_BYTES)),
        ("/Counter/maximum", json!(INTEGER_MAX)),
        ("/Made/properties/timestamp/maximum", json!(INTEGER_MAX)),
        ("/PushRequest/properties/operations/maxItems", json!(PUSH_MAX_OPERATIONS)),
        ("/ChangesRequest/properties/since/maximum", json!(SINCE_MAX)),
        ("/ChangesRequest/properties/limit/default", json!(PAGE_DEFAULT_OPERATIONS)),
        ("/ChangesRequest/properties/collections/maxItems", json!(PULL_MAX_COLLECTIONS)),
        ("/ChangesRequest/properties/wait/maximum", json!(WAIT_MAX_SECONDS)),
        ("/QueryRequest/properties/limit/default", json!(QUERY_MAX_DOCUMENTS)),
        ("/CompactRequest/properties/olderThanDays/default", json!(COMPACT_DEFAULT_DAYS)),
        ("/ClientsRequest/properties/limit/default", json!(CLIENTS_DEFAULT_ENTRIES)),
        ("/Error/properties/fields/maxItems", json!(ERROR_MAX_FAULTS)),
    ] {
        let described = schemas.pointer(pointer).and_then(Value::as_f64);
        assert_eq!(described, expected.as_f64(), "{pointer}");
    }
}
