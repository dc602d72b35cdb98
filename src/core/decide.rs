//! The decision about pushes: what is applied, what is known already, what conflicts. A plain function of its arguments.

use std::collections::{HashMap, HashSet};

use super::clock::{Relation, VectorClock};
use super::document::{Document, merge};
use super::fingerprint::Fingerprint;
use super::json::{RawJson, string_bytes};
use super::limits::{DOCUMENT_MAX_BYTES, PUSH_CONFLICTS_MAX_BYTES};
use super::names::{DocumentKey, OperationId};
use super::operation::{Operation, OperationKind};

/// What a decision stands on: what the store knew of some operation ids and documents at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Those of the asked ids that took effect before, compacted since or not.
    pub known: HashSet<OperationId>,
    /// Those of the asked documents that exist, tombstones included.
    pub documents: HashMap<DocumentKey, Document>,
}

/// The operations of one request, and how much its answer may have to say about them.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    /// What was pushed, in order.
    pub operations: &'a [Operation],
    /// Most bytes that the server's documents may take in the conflicts that are answered.
    pub conflicts_max_bytes: usize,
}

impl<'a> From<&'a [Operation]> for Push<'a> {
    /// A push with the widest limit, [`PUSH_CONFLICTS_MAX_BYTES`].
    fn from(operations: &'a [Operation]) -> Self {
        Self { operations, conflicts_max_bytes: PUSH_CONFLICTS_MAX_BYTES }
    }
}

/// What became of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It changed its document.
    Applied,
    /// It took effect before; nothing changes.
    Duplicate,
    /// Its author had not seen the document's state; nothing changes.
    Conflict(Box<Conflict>),
}

/// The server's side of a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// How the operation's clock stands to the document's.
    pub relation: ConflictRelation,
    /// The document as it is.
    pub document: Document,
}

/// The two relations that are conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictRelation {
    /// The author had seen less than the document has.
    HappensBefore,
    /// The author and the document have each seen what the other has not.
    Concurrent,
}

impl ConflictRelation {
    /// The word of the protocol.
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
    /// The document that the operation makes would be larger than [`DOCUMENT_MAX_BYTES`].
    DocumentTooLarge {
        /// The operation's index in its push.
        index: usize,
    },
    /// The documents of the conflicts would be more than the push may answer; fewer operations at a time will do.
    ConflictsTooLarge {
        /// How many bytes they may be.
        max_bytes: usize,
    },
}

/// A document that is written, if the store still has what the decision saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentWrite {
    /// What identifies it.
    pub key: DocumentKey,
    /// The revision that the decision saw; nothing where it saw no document.
    pub seen_rev: Option<u64>,
    /// The document as it shall be.
    pub document: Document,
    /// The index in [`Batch::entries`] of the operation that wrote it last.
    pub entry_index: usize,
}

/// A guarded batch: all of it is written, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The operations, in the order of the log; an update that revives a tombstone is an insert here.
    pub entries: Vec<Operation>,
    /// The documents, each once, in the order of their keys so that concurrent writers lock them in one order.
    pub documents: Vec<DocumentWrite>,
    /// By how much the number of documents that are not deleted changes.
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

    /// The fingerprint of the log behind each entry, given the one before the first.
    pub fn fingerprints(&self, before: Fingerprint) -> impl Iterator<Item = Fingerprint> {
        self.entries.iter().scan(before, |fingerprint, entry| {
            *fingerprint = fingerprint.extended(&entry.id);
            Some(*fingerprint)
        })
    }
}

/// The outcomes of one push, in the order of its operations, or why it fails as a whole.
pub type Answer = Result<Vec<Outcome>, Refused>;

/// Decides about pushes that share one commit, in their order: later operations see what earlier ones did.
///
/// A push that is refused leaves no trace in the batch, and its neighbours are decided as if it had not been there.
#[must_use]
pub fn decide(pushes: &[Push<'_>], snapshot: Snapshot, now_ms: u64) -> (Vec<Answer>, Batch) {
    let mut working = WorkingSet::new(snapshot);
    let answers = pushes.iter().map(|push| working.push(*push)).collect();
    (answers, working.into_batch(now_ms))
}

/// The state that a decision walks over.
struct WorkingSet {
    known: HashSet<OperationId>,
    documents: HashMap<DocumentKey, Document>,
    /// The documents that were changed, with what the store had of them.
    touched: HashMap<DocumentKey, Touched>,
    entries: Vec<Operation>,
}

#[derive(Clone, Copy)]
struct Touched {
    seen_rev: Option<u64>,
    was_live: bool,
    entry_index: usize,
}

/// How to take one applied operation back.
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
            let outcome = self.operation(operation, undo).map_err(|TooLarge| Refused::DocumentTooLarge { index })?;
            if let Outcome::Conflict(conflict) = &outcome {
                conflict_bytes += answered_bytes(&conflict.document);
                if conflict_bytes > max_bytes {
                    return Err(Refused::ConflictsTooLarge { max_bytes });
                }
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn operation(&mut self, operation: &Operation, undo: &mut Vec<Undo>) -> Result<Outcome, TooLarge> {
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
        if revives && logged.kind == OperationKind::Update {
            // Clients keep the data of what they deleted and would merge into it; an insert replaces it.
            logged.kind = OperationKind::Insert;
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

/// The document that an operation makes would be too large to be stored.
struct TooLarge;

/// The conflict of an operation's clock with a document, if there is one.
fn conflict(clock: &VectorClock, document: &Document) -> Option<Conflict> {
    let relation = match clock.compare(&document.clock) {
        Relation::HappensAfter | Relation::Equal => return None,
        Relation::HappensBefore => ConflictRelation::HappensBefore,
        Relation::Concurrent => ConflictRelation::Concurrent,
    };
    Some(Conflict { relation, document: document.clone() })
}

/// How many bytes of a conflict's answer are about the server's document, at most.
fn answered_bytes(document: &Document) -> usize {
    // "data":null,"synced":false,"vectorClock":,"conflict":{"relation":"happens-before","rev":9007199254740991,
    // "deleted":false,"timestamp":9007199254740991,"operationId":,"clientId":}
    const FRAME_BYTES: usize = 180;
    FRAME_BYTES
        + document.data.as_ref().map_or(0, |data| data.as_str().len())
        + document.clock.to_json().as_str().len()
        + string_bytes(document.operation_id.as_str())
        + string_bytes(document.client_id.as_str())
}

/// The document behind an operation.
fn apply(current: Option<&Document>, operation: &Operation) -> Result<Document, TooLarge> {
    let data = match (operation.kind, &operation.data, current.and_then(|document| document.data.as_ref())) {
        (OperationKind::Delete, _, _) => None,
        (OperationKind::Update, Some(patch), Some(base)) => Some(merge(base, patch)),
        (_, data, _) => Some(data.clone().unwrap_or_else(|| RawJson::trusted("{}"))),
    };
    if data.as_ref().is_some_and(|data| data.as_str().len() > DOCUMENT_MAX_BYTES) {
        return Err(TooLarge);
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

/// The ids that a decision about these pushes must be told about, each once.
#[must_use]
pub fn ids_of(pushes: &[Push<'_>]) -> Vec<OperationId> {
    let mut ids: Vec<OperationId> = operations_of(pushes).map(|operation| operation.id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The documents that a decision about these pushes must be told about, each once.
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
