//! The JSON of the protocol, as clients write and read it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use syncflow_server::core::json::Object;
use syncflow_server::core::operation::{LogEntry, Operation, OperationKind};

/// A vector clock.
pub(crate) type Clock = BTreeMap<String, u64>;

/// The data of a document.
pub(crate) type Data = Map<String, Value>;

/// The collection of all documents.
pub(crate) const COLLECTION: &str = "todos";

/// The kind of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Insert,
    Update,
    Delete,
}

/// An operation.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Op {
    pub(crate) id: String,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    pub(crate) collection: String,
    pub(crate) doc_id: String,
    #[serde(default)]
    pub(crate) data: Option<Data>,
    pub(crate) timestamp: u64,
    pub(crate) client_id: String,
    pub(crate) synced: bool,
    /// It is empty if the operation names a revision in place of a clock.
    #[serde(default)]
    pub(crate) vector_clock: Clock,
}

/// The revisions that the operations of a push name in place of clocks, and the cursor up to which its author has them.
#[derive(Debug, Clone)]
pub(crate) struct Bases {
    pub(crate) cursor: Option<String>,
    pub(crate) revs: Vec<u64>,
}

impl fmt::Debug for Op {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Insert => "insert",
            Kind::Update => "update",
            Kind::Delete => "delete",
        };
        let (data, clock) = (json(&self.data), json(&self.vector_clock));
        let Self { id, doc_id, timestamp, client_id, .. } = self;
        write!(formatter, "{id} {kind} {doc_id} {data} @{timestamp} by {client_id} {clock}")
    }
}

impl From<&Operation> for Op {
    fn from(operation: &Operation) -> Self {
        let clock = operation.clock.iter().map(|(client, counter)| (client.to_string(), counter));
        Self {
            id: operation.id.to_string(),
            kind: operation.kind().into(),
            collection: operation.key.collection.to_string(),
            doc_id: operation.key.id.to_string(),
            data: operation.data().map(object),
            timestamp: operation.timestamp.get(),
            client_id: operation.client_id.to_string(),
            synced: true,
            vector_clock: clock.collect(),
        }
    }
}

impl From<&LogEntry> for Op {
    fn from(entry: &LogEntry) -> Self {
        Self {
            id: entry.id.to_string(),
            kind: entry.kind().into(),
            collection: entry.key.collection.to_string(),
            doc_id: entry.key.id.to_string(),
            data: entry.data().map(object),
            timestamp: entry.timestamp.get(),
            client_id: entry.client_id.to_string(),
            synced: true,
            vector_clock: serde_json::from_str(entry.clock.as_str()).expect("a clock"),
        }
    }
}

impl From<OperationKind> for Kind {
    fn from(kind: OperationKind) -> Self {
        match kind {
            OperationKind::Insert => Self::Insert,
            OperationKind::Update => Self::Update,
            OperationKind::Delete => Self::Delete,
        }
    }
}

fn object(data: &Object) -> Data {
    serde_json::from_str(data.as_str()).expect("data is an object")
}

/// A value as JSON.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("it is JSON")
}

/// The answer to a push.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PushAnswer {
    pub(crate) accepted: Vec<Op>,
    pub(crate) conflicts: Vec<Op>,
    #[serde(default)]
    pub(crate) resolved: Vec<Resolved>,
}

/// How the server settled one operation of a push.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Resolved {
    /// The pushed operation.
    pub(crate) id: String,
    /// The resolution, which the log has in its place.
    pub(crate) operation: String,
    /// `won`, `lost` or `merged`.
    pub(crate) outcome: String,
    /// The values of the operation that did not survive.
    #[serde(default)]
    pub(crate) lost: Data,
}

/// A page of changes.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PullAnswer {
    pub(crate) operations: Vec<Op>,
    #[serde(default)]
    pub(crate) cursor: Option<String>,
    #[serde(default)]
    pub(crate) has_more: bool,
}

/// An entry of the log as an admin sees it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AuditedEntry {
    #[serde(flatten)]
    pub(crate) op: Op,
    /// How a conflict was resolved.
    #[serde(default)]
    pub(crate) resolution: Option<Value>,
}

/// A page of changes as an admin sees it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditedPage {
    pub(crate) operations: Vec<AuditedEntry>,
    pub(crate) cursor: Option<String>,
    pub(crate) has_more: bool,
}

/// Takes the greater counter of each client.
pub(crate) fn join(clock: &mut Clock, other: &Clock) {
    for (client, counter) in other {
        let ours = clock.entry(client.clone()).or_default();
        *ours = (*ours).max(*counter);
    }
}

/// Whether a clock has no counter that is smaller than the other's.
pub(crate) fn covers(clock: &Clock, other: &Clock) -> bool {
    other.iter().all(|(client, counter)| clock.get(client).copied().unwrap_or(0) >= *counter)
}
