//! Answers are described as their writers write them: the same keys, required if every answer has them, and nullable if
//! one answer has `null`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::schemas;
use crate::api::endpoints::push::{ReachedPlace, Refusals};
use crate::api::endpoints::{changes, push, query};
use crate::api::push_body;
use crate::core::access::labels::FormerLabels;
use crate::core::clock::VectorClock;
use crate::core::cursor::{Cursor, Position};
use crate::core::decide::{
    Conflict, ConflictRelation, OperationRefused, Outcome, Reached, Resolved, Survival, resolution_id,
};
use crate::core::document::{Document, LiveDocument};
use crate::core::json::Object;
use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId, Subject};
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::core::operation::{Change, LogEntry};
use crate::core::policy::ConflictPolicy;
use crate::core::text::Text;
use crate::service::PulledPage;
use crate::store::{QueryPage, SortedEnd};

/// A key of an object.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    is_always_there: bool,
    may_be_null: bool,
}

fn resolved<'a>(schemas: &'a Value, schema: &'a Value) -> &'a Value {
    schema["$ref"].as_str().map_or(schema, |reference| &schemas[reference.trim_start_matches("#/components/schemas/")])
}

fn is_nullable(schema: &Value) -> bool {
    let parts = ["oneOf", "anyOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten();
    let types = schema["type"].as_array().into_iter().flatten();
    types.chain(parts.map(|part| &part["type"])).any(|kind| kind == "null")
}

/// The keys of a described object.
fn described(schemas: &Value, schema: &Value) -> BTreeMap<String, Key> {
    let schema = resolved(schemas, schema);
    let is_required =
        |key: &str| schema["required"].as_array().is_some_and(|keys| keys.iter().any(|other| other == key));
    let own = schema["properties"].as_object().into_iter().flatten().map(|(key, value)| {
        let may_be_null = is_nullable(resolved(schemas, value));
        (key.clone(), Key { is_always_there: is_required(key), may_be_null })
    });
    let parts = schema["allOf"].as_array().into_iter().flatten().flat_map(|part| described(schemas, part));
    own.chain(parts).collect()
}

/// The keys of objects that a writer has written.
fn written(objects: &[Value]) -> BTreeMap<String, Key> {
    let mut keys: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for (key, value) in objects.iter().flat_map(|object| object.as_object().expect("an object")) {
        keys.entry(key.clone()).or_default().push(value);
    }
    let key = |values: Vec<&Value>| Key {
        is_always_there: values.len() == objects.len(),
        may_be_null: values.iter().any(|value| value.is_null()),
    };
    keys.into_iter().map(|(name, values)| (name, key(values))).collect()
}

#[track_caller]
fn check(schema: &str, objects: &[Value]) {
    let schemas = schemas();
    assert_eq!(written(objects), described(&schemas, &schemas[schema]), "{schema}");
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("an answer is JSON")
}

fn key() -> DocumentKey {
    DocumentKey { collection: Collection::literal("c"), id: DocumentId::literal("d") }
}

fn entry(change: Change) -> LogEntry {
    LogEntry {
        seq: Seq::new(1),
        id: OperationId::literal("op"),
        change,
        key: key(),
        timestamp: UnixMs::new(1),
        client_id: ClientId::literal("a"),
        clock: Object::literal(r#"{"a":1}"#),
        rev: None,
        subject: None,
        resolution: None,
    }
}

#[test]
fn a_page_of_changes_is_described_as_it_is_written() {
    let entries = vec![entry(Change::Insert(Object::literal("{}"))), entry(Change::Delete)];
    let page = |cursor| PulledPage { entries: entries.clone(), cursor, has_more: true, view: None };
    let pages =
        [None, Some(Cursor::BEGINNING)].map(|cursor| parse(&changes::write(&page(cursor), None, cursor.map(|_| 5))));
    check("ChangesAnswer", &pages);
    let mut objects = pages[0]["operations"].as_array().expect("operations").clone();
    let mut document = String::new();
    LogEntry { rev: Some(Rev::new(1)), ..entry(Change::Delete) }.write(&mut document);
    objects.push(parse(&document));
    let mut audited = String::new();
    LogEntry { subject: Some(Subject::literal("ann")), ..entry(Change::Delete) }.write(&mut audited);
    objects.push(parse(&audited));
    let mut resolved = String::new();
    LogEntry { resolution: Some(Object::literal("{}")), ..entry(Change::Delete) }.write(&mut resolved);
    objects.push(parse(&resolved));
    let mut removed = String::new();
    entry(Change::Delete).removed().write(&mut removed);
    objects.push(parse(&removed));
    check("PulledOperation", &objects);
}

#[test]
fn the_answer_to_a_push_is_described_as_it_is_written() {
    let conflict = |data: Option<&'static str>| {
        let document = Document {
            rev: Rev::new(1),
            data: data.map(Object::literal),
            clock: VectorClock::parse(r#"{"a":1}"#).expect("a clock"),
            operation_id: OperationId::literal("op"),
            client_id: ClientId::literal("a"),
            timestamp: UnixMs::new(1),
            former_labels: FormerLabels::default(),
        };
        Outcome::Conflict(Box::new(Conflict { relation: ConflictRelation::Concurrent, document }))
    };
    let mut operation = json!({
        "id": "op", "type": "insert", "collection": "c", "docId": "d", "data": {}, "timestamp": 1, "clientId": "a",
        "vectorClock": {"a": 1},
    });
    let without_synced = operation.to_string();
    operation["synced"] = json!(false);
    let with_synced = operation.to_string();
    let texts = [with_synced.as_str(), with_synced.as_str(), without_synced.as_str(), with_synced.as_str()];
    let outcomes = [Outcome::Applied, conflict(None), conflict(Some("{}")), Outcome::Forbidden(None)];
    let answer = parse(&push::write(&texts, &outcomes, None, None));
    let resolved = [(Survival::Won, None), (Survival::Lost, Some(Object::literal("{}")))].map(|(survival, lost)| {
        let ids = (OperationId::literal("op"), resolution_id(&OperationId::literal("op")));
        Outcome::Resolved(Box::new(Resolved::new(ids, ConflictPolicy::Merge, survival, lost)))
    });
    let resolved = parse(&push::write(&texts[..2], &resolved, None, None));
    assert_eq!(resolved["accepted"].as_array().map(Vec::len), Some(2));
    let body: Text = format!(r#"{{"clientId":"a","partial":true,"operations":[7,{with_synced},{{}}]}}"#).into();
    let refusals = Refusals::of(push_body::read(&body).ok().and_then(|push| push.partial).expect("a partial push"));
    let refused = [Outcome::Refused(OperationRefused::DocumentTooLarge)];
    let partial = parse(&push::write(&texts[..1], &refused, Some(refusals), None));
    let reached = Reached::new(true, Rev::new(1), VectorClock::parse(r#"{"a":1}"#).expect("a clock"));
    let reached = [Outcome::Reached(Box::new(reached))];
    let place = ReachedPlace(Some(Position::START));
    let by_revision = parse(&push::write(&texts[..1], &reached, None, Some(&place)));
    check("ReachedRevision", by_revision["revisions"].as_array().expect("revisions"));
    check("PushAnswer", &[answer.clone(), resolved.clone(), partial.clone(), by_revision]);
    check("ResolvedOperation", resolved["resolved"].as_array().expect("resolved"));
    check("RefusedOperation", partial["refused"].as_array().expect("refused"));
    let conflicts = answer["conflicts"].as_array().expect("conflicts");
    let details: Vec<Value> = conflicts.iter().map(|conflict| conflict["conflict"].clone()).collect();
    check("ConflictDetails", &details);
    check("Conflict", conflicts);
}

#[test]
fn a_page_of_documents_is_described_as_it_is_written() {
    let document = LiveDocument {
        key: key(),
        rev: Rev::new(1),
        seq: Seq::new(1),
        operation_id: OperationId::literal("op"),
        data: Object::literal("{}"),
        clock: None,
    };
    let page = |more_before| QueryPage { documents: vec![document.clone()], more_before, sorted: SortedEnd::Nothing };
    let pages = [None, Some(Seq::new(1))].map(|more_before| parse(&query::write(&page(more_before))));
    check("QueryAnswer", &pages);
    let mut with_clock = String::new();
    LiveDocument { clock: Some(Object::literal(r#"{"a":1}"#)), ..document.clone() }.write(&mut with_clock);
    check("Document", &[pages[0]["documents"][0].clone(), parse(&with_clock)]);
}
