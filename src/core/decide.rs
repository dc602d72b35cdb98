//! The decision about pushes: which operations are applied, which are known already, and which conflict. It is a plain
//! function of its arguments.

pub mod write;

use std::collections::{HashMap, HashSet};

use super::clock::{Relation, VectorClock};
use super::document::{Document, merge};
use super::fingerprint::Fingerprint;
use super::names::{DocumentKey, OperationId};
use super::operation::{Change, Operation};
use crate::limits::protocol::{DOCUMENT_MAX_BYTES, PUSH_CONFLICTS_MAX_BYTES};

/// The basis of a decision: what the store knew at one moment about some operation ids and documents.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The requested ids that took effect before, whether or not they were compacted since.
    pub known: HashSet<OperationId>,
    /// The requested documents that exist, tombstones included.
    pub documents: HashMap<DocumentKey, Document>,
}

/// The operations of one request, and the limit for the size of its answer.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    /// The operations, in their order.
    pub operations: &'a [Operation],
    /// The limit for all documents in the answered conflicts together, in bytes.
    pub conflicts_max_bytes: usize,
}

impl<'a> From<&'a [Operation]> for Push<'a> {
    /// A push with the widest limit, [`PUSH_CONFLICTS_MAX_BYTES`].
    fn from(operations: &'a [Operation]) -> Self {
        Self { operations, conflicts_max_bytes: PUSH_CONFLICTS_MAX_BYTES }
    }
}

/// The outcome of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It changed its document.
    Applied,
    /// It took effect before. Nothing changes.
    Duplicate,
    /// Its author had not seen the document's state. Nothing changes.
    Conflict(Box<Conflict>),
}

/// The server's side of a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The relation of the operation's clock to the document's.
    pub relation: ConflictRelation,
    /// The current document.
    pub document: Document,
}

/// The two relations of clocks that are conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictRelation {
    /// The author had seen less than the document contains.
    HappensBefore,
    /// The author and the document each contain something that the other has not seen.
    Concurrent,
}

impl ConflictRelation {
    /// The name in the protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HappensBefore => "happens-before",
            Self::Concurrent => "concurrent",
        }
    }
}

/// Why a push fails as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The document would become larger than [`DOCUMENT_MAX_BYTES`].
    DocumentTooLarge {
        /// The operation's index in its push.
        index: usize,
    },
    /// The document that the operation changes is damaged in the store.
    DocumentDamaged {
        /// The operation's index in its push.
        index: usize,
    },
    /// The documents in the conflicts are too large for one answer. Fewer operations in a push help.
    ConflictsTooLarge {
        /// The limit in bytes.
        max_bytes: usize,
    },
}

/// A write of a document. It takes place only if the store still has the state that the decision saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentWrite {
    /// The collection and id of the document.
    pub key: DocumentKey,
    /// The revision that the decision saw, or `None` if it saw no document.
    pub seen_rev: Option<u64>,
    /// The new state of the document.
    pub document: Document,
    /// The index in [`Batch::entries`] of the last operation that wrote the document.
    pub entry_index: usize,
}

/// A guarded batch: either all of it is written, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The operations in the order of the log. An update that revives a tombstone is an insert here.
    pub entries: Vec<Operation>,
    /// The documents, each once. They are ordered by key, so that concurrent writers lock them in the same order.
    pub documents: Vec<DocumentWrite>,
    /// The change in the number of documents that are not deleted.
    pub live_documents_delta: i64,
    /// When the server received the operations, in milliseconds since 1970.
    pub received_at_ms: u64,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The fingerprint of the log after each entry. `before` is the one before the first entry.
    pub fn fingerprints(&self, before: Fingerprint) -> impl Iterator<Item = Fingerprint> {
        self.entries.iter().scan(before, |fingerprint, entry| {
            *fingerprint = fingerprint.extended(&entry.id);
            Some(*fingerprint)
        })
    }
}

/// The outcomes of one push, in the order of its operations, or the reason why it fails as a whole.
pub type Answer = Result<Vec<Outcome>, Refused>;

/// Decides about pushes that share one commit, in their order. Later operations see the effect of earlier ones.
///
/// A refused push leaves no trace in the batch, and its neighbours are decided as if it were not there.
#[must_use]
pub fn decide(pushes: &[Push<'_>], snapshot: Snapshot, now_ms: u64) -> (Vec<Answer>, Batch) {
    let mut working = WorkingSet::new(snapshot);
    let answers = pushes.iter().map(|push| working.push(*push)).collect();
    (answers, working.into_batch(now_ms))
}

/// The state that changes during a decision.
struct WorkingSet {
    known: HashSet<OperationId>,
    documents: HashMap<DocumentKey, Document>,
    /// The changed documents, with their state in the store.
    touched: HashMap<DocumentKey, Touched>,
    entries: Vec<Operation>,
}

#[derive(Clone, Copy)]
struct Touched {
    seen_rev: Option<u64>,
    was_live: bool,
    entry_index: usize,
}

/// The values that undo one applied operation.
struct Undo {
    key: DocumentKey,
    document: Option<Document>,
    touched: Option<Touched>,
}

impl WorkingSet {
    fn new(snapshot: Snapshot) -> Self {
        Self { known: snapshot.known, documents: snapshot.documents, touched: HashMap::new(), entries: Vec::new() }
    }

    fn push(&mut self, push: Push<'_>) -> Answer {
        let mut undo = Vec::new();
        let outcomes = self.operations(push, &mut undo);
        if outcomes.is_err() {
            self.take_back(undo);
        }
        outcomes
    }

    fn operations(&mut self, push: Push<'_>, undo: &mut Vec<Undo>) -> Answer {
        let Push { operations, conflicts_max_bytes: max_bytes } = push;
        let mut outcomes = Vec::with_capacity(operations.len());
        let mut conflict_bytes = 0;
        for (index, operation) in operations.iter().enumerate() {
            let outcome = self.operation(operation, undo).map_err(|problem| problem.at(index))?;
            if let Outcome::Conflict(conflict) = &outcome {
                conflict_bytes += conflict.wire_bytes();
                if conflict_bytes > max_bytes {
                    return Err(Refused::ConflictsTooLarge { max_bytes });
                }
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn operation(&mut self, operation: &Operation, undo: &mut Vec<Undo>) -> Result<Outcome, NoDocument> {
        if self.known.contains(&operation.id) {
            return Ok(Outcome::Duplicate);
        }
        let current = self.documents.get(&operation.key);
        if let Some(conflict) = current.and_then(|document| conflict(&operation.clock, document)) {
            return Ok(Outcome::Conflict(Box::new(conflict)));
        }
        let next = apply(current, operation)?;
        let revives = current.is_some_and(Document::is_deleted);

        let mut logged = operation.clone();
        if let (true, Change::Update(data)) = (revives, &operation.change) {
            // A client may keep the data of a document that it deleted, and would merge an update into them. An insert
            // replaces them.
            logged.change = Change::Insert(data.clone());
        }
        let before = Touched {
            seen_rev: current.map(|document| document.rev),
            was_live: current.is_some_and(|document| !document.is_deleted()),
            entry_index: 0,
        };
        let touched = self.touched.get(&operation.key).copied();
        let entry_index = self.entries.len();
        self.touched.insert(operation.key.clone(), Touched { entry_index, ..touched.unwrap_or(before) });
        let document = self.documents.insert(operation.key.clone(), next);
        undo.push(Undo { key: operation.key.clone(), document, touched });
        self.known.insert(operation.id.clone());
        self.entries.push(logged);
        Ok(Outcome::Applied)
    }

    fn take_back(&mut self, undo: Vec<Undo>) {
        for Undo { key, document, touched } in undo.into_iter().rev() {
            if let Some(entry) = self.entries.pop() {
                self.known.remove(&entry.id);
            }
            match touched {
                Some(touched) => self.touched.insert(key.clone(), touched),
                None => self.touched.remove(&key),
            };
            match document {
                Some(document) => self.documents.insert(key, document),
                None => self.documents.remove(&key),
            };
        }
    }

    fn into_batch(mut self, received_at_ms: u64) -> Batch {
        let mut live_documents_delta = 0;
        let mut documents = Vec::with_capacity(self.touched.len());
        for (key, Touched { seen_rev, was_live, entry_index }) in self.touched {
            let Some(document) = self.documents.remove(&key) else { continue };
            live_documents_delta += i64::from(!document.is_deleted()) - i64::from(was_live);
            documents.push(DocumentWrite { key, seen_rev, document, entry_index });
        }
        documents.sort_unstable_by(|left, right| left.key.cmp(&right.key));
        Batch { entries: self.entries, documents, live_documents_delta, received_at_ms }
    }
}

/// Why an operation makes no document.
enum NoDocument {
    /// It would be too large to be stored.
    TooLarge,
    /// The one before it is damaged.
    Damaged,
}

impl NoDocument {
    fn at(&self, index: usize) -> Refused {
        match self {
            Self::TooLarge => Refused::DocumentTooLarge { index },
            Self::Damaged => Refused::DocumentDamaged { index },
        }
    }
}

/// The conflict between an operation's clock and a document, if there is one.
fn conflict(clock: &VectorClock, document: &Document) -> Option<Conflict> {
    let relation = match clock.compare(&document.clock) {
        Relation::HappensAfter | Relation::Equal => return None,
        Relation::HappensBefore => ConflictRelation::HappensBefore,
        Relation::Concurrent => ConflictRelation::Concurrent,
    };
    Some(Conflict { relation, document: document.clone() })
}

/// The state of the document after an operation.
fn apply(current: Option<&Document>, operation: &Operation) -> Result<Document, NoDocument> {
    let data = match (&operation.change, current.and_then(|document| document.data.as_ref())) {
        (Change::Delete, _) => None,
        (Change::Update(patch), Some(base)) => Some(merge(base, patch).map_err(|_| NoDocument::Damaged)?),
        (Change::Insert(data) | Change::Update(data), _) => Some(data.clone()),
    };
    if data.as_ref().is_some_and(|data| data.as_str().len() > DOCUMENT_MAX_BYTES) {
        return Err(NoDocument::TooLarge);
    }
    Ok(Document {
        rev: current.map_or(0, |document| document.rev) + 1,
        data,
        clock: operation.clock.clone(),
        operation_id: operation.id.clone(),
        client_id: operation.client_id.clone(),
        timestamp: operation.timestamp,
    })
}

/// The ids that a decision about these pushes needs, each once.
#[must_use]
pub fn ids_of(pushes: &[Push<'_>]) -> Vec<OperationId> {
    let mut ids: Vec<OperationId> = operations_of(pushes).map(|operation| operation.id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The documents that a decision about these pushes needs, each once.
#[must_use]
pub fn keys_of(pushes: &[Push<'_>]) -> Vec<DocumentKey> {
    let mut keys: Vec<DocumentKey> = operations_of(pushes).map(|operation| operation.key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

fn operations_of<'a>(pushes: &[Push<'a>]) -> impl Iterator<Item = &'a Operation> {
    pushes.iter().flat_map(|push| push.operations)
}

#[cfg(test)]
mod tests;
