//! Converts between JSON and the types of the devices and the checker.

use serde_json::{Map, Value, json};
use syncflow_server::core::access::labels::FormerLabels;
use syncflow_server::core::clock::VectorClock;
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::decide::{Conflict, ConflictRelation, Outcome};
use syncflow_server::core::document::Document;
use syncflow_server::core::json::Object;
use syncflow_server::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
use syncflow_server::core::numbers::{Rev, Seq, UnixMs};
use syncflow_server::core::operation::{Change, LogEntry, Operation, OperationKind};
use syncflow_server::service::{PullFrom, PulledPage};

use crate::history::Found;

/// The body of a push.
pub(super) fn push(client: &str, operations: &[Operation]) -> Value {
    let operation = |operation: &Operation| {
        json!({
            "id": operation.id.as_str(),
            "type": operation.kind().as_str(),
            "collection": operation.key.collection.as_str(),
            "docId": operation.key.id.as_str(),
            "data": operation.data().map(value),
            "timestamp": operation.timestamp.get(),
            "clientId": operation.client_id.as_str(),
            "vectorClock": value(operation.clock.json()),
        })
    };
    json!({"clientId": client, "operations": operations.iter().map(operation).collect::<Vec<_>>()})
}

/// The body of a pull.
pub(super) fn pull(client: &str, from: &PullFrom, limit: usize) -> Value {
    let text = |cursor: &Option<Cursor>| cursor.map(|cursor| cursor.to_string());
    match from {
        PullFrom::Cursor(cursor) => json!({"clientId": client, "limit": limit, "cursor": text(cursor)}),
        PullFrom::Documents { after, collections } => {
            let mut body = json!({"clientId": client, "limit": limit, "cursor": text(after), "as": "documents"});
            if let Some(collections) = collections {
                body["collections"] = collections.iter().map(Collection::as_str).collect();
            }
            body
        }
        PullFrom::Since(since) => json!({"clientId": client, "limit": limit, "since": since.get()}),
    }
}

/// The outcomes of the operations, in their order. An operation that is in neither list of the answer has no outcome.
pub(super) fn outcomes(operations: &[Operation], answer: &Value) -> Option<Vec<Outcome>> {
    let (accepted, conflicts) = (answer["accepted"].as_array()?, answer["conflicts"].as_array()?);
    let outcome = |operation: &Operation| {
        let is_it = |other: &&Value| other["id"] == operation.id.as_str();
        match (accepted.iter().find(is_it), conflicts.iter().find(is_it)) {
            (Some(_), None) => Some(Outcome::Applied),
            (None, Some(told)) => Some(Outcome::Conflict(Box::new(conflict(told)?))),
            _ => None,
        }
    };
    // A missing outcome makes the list shorter, which the checker notices.
    Some(operations.iter().filter_map(outcome).collect())
}

fn conflict(told: &Value) -> Option<Conflict> {
    let document = &told["conflict"];
    let relation = match document["relation"].as_str()? {
        "happens-before" => ConflictRelation::HappensBefore,
        "concurrent" => ConflictRelation::Concurrent,
        _ => return None,
    };
    let document = Document {
        rev: Rev::new(document["rev"].as_u64()?),
        data: raw(&told["data"]),
        clock: VectorClock::parse(&told["vectorClock"].to_string()).ok()?,
        operation_id: OperationId::literal(document["operationId"].as_str()?),
        client_id: ClientId::literal(document["clientId"].as_str()?),
        timestamp: UnixMs::new(document["timestamp"].as_u64()?),
        former_labels: FormerLabels::default(),
    };
    Some(Conflict::new(relation, document))
}

/// A page of a pull, or `None` if the answer is not a page.
pub(super) fn page(answer: &Value) -> Option<PulledPage> {
    let entries = answer["operations"].as_array()?.iter().map(entry).collect::<Option<_>>()?;
    let cursor = answer["cursor"].as_str().and_then(|text| Cursor::parse(text).ok());
    Some(PulledPage { entries, cursor, has_more: answer["hasMore"].as_bool()?, view: None })
}

fn entry(operation: &Value) -> Option<LogEntry> {
    let text = |key: &str| operation[key].as_str();
    let kind = OperationKind::parse(text("type")?).ok()?;
    Some(LogEntry {
        // The protocol does not send sequence numbers.
        seq: Seq::START,
        id: OperationId::literal(text("id")?),
        change: Change::new(kind, raw(&operation["data"]))?,
        key: key(text("collection")?, text("docId")?),
        timestamp: UnixMs::new(operation["timestamp"].as_u64()?),
        client_id: ClientId::literal(text("clientId")?),
        clock: VectorClock::parse(&operation["vectorClock"].to_string()).ok()?.json().clone(),
        rev: operation["rev"].as_u64().map(Rev::new),
        subject: None,
        resolution: None,
    })
}

/// A document and its id, as they were read.
pub(super) fn document(document: &Value) -> Option<(String, Found)> {
    let mut data: Map<String, Value> = document.as_object()?.clone();
    let (id, rev) = (data.remove("_id")?, data.remove("_rev")?);
    Some((id.as_str()?.to_owned(), Found { rev: Rev::new(rev.as_u64()?), data }))
}

fn key(collection: &str, document: &str) -> DocumentKey {
    DocumentKey { collection: Collection::literal(collection), id: DocumentId::literal(document) }
}

fn raw(data: &Value) -> Option<Object> {
    data.is_object().then(|| Object::literal(&data.to_string()))
}

fn value(json: &Object) -> Value {
    serde_json::from_str(json.as_str()).expect("it is JSON")
}
