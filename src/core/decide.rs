//! The decision about pushes: which operations are applied, which are known already, and which conflict. It is a plain
//! function of its arguments.

mod working;
pub mod write;

use std::collections::{HashMap, HashSet};

use self::working::WorkingSet;
use super::document::Document;
use super::fingerprint::Fingerprint;
use super::names::{DocumentKey, OperationId};
use super::numbers::{Rev, UnixMs};
use super::operation::Operation;
use crate::limits::protocol::{PUSH_CONFLICTS_MAX_BYTES, PUSH_WRITTEN_MAX_BYTES};

/// The basis of a decision: what the store knew at one moment about some operation ids and documents.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The requested ids that took effect before, whether or not they were compacted since.
    pub known: HashSet<OperationId>,
    /// The requested documents that exist, tombstones included.
    pub documents: HashMap<DocumentKey, Document>,
    /// Whether the documents have more bytes than were asked for, so that some of them are missing.
    pub is_cut: bool,
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
    /// The document would become larger than [`DOCUMENT_MAX_BYTES`](crate::limits::protocol::DOCUMENT_MAX_BYTES).
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
    /// The documents that the push changes have more bytes, before or after it, than a push may load or write; fewer
    /// operations at a time will do.
    DocumentsTooLarge {
        /// How many bytes they may be.
        max_bytes: usize,
    },
    /// The documents that the push updates have too many keys together. Fewer operations in a push help.
    TooManyKeys {
        /// The limit.
        max_keys: usize,
    },
    /// The store took too long over the push alone; fewer operations at a time are likelier to work.
    TooSlow,
}

/// A write of a document. It takes place only if the store still has the state that the decision saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentWrite {
    /// The collection and id of the document.
    pub key: DocumentKey,
    /// The revision that the decision saw, or `None` if it saw no document.
    pub seen_rev: Option<Rev>,
    /// The new state of the document.
    pub document: Document,
    /// The index in [`Batch::operations`] of the last operation that wrote the document.
    pub operation_index: usize,
}

/// A guarded batch: either all of it is written, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The operations in the order of the log. An update that revives a tombstone is an insert here.
    pub operations: Vec<Operation>,
    /// The documents, each once. They are ordered by key, so that concurrent writers lock them in the same order.
    pub documents: Vec<DocumentWrite>,
    /// The change in the number of documents that are not deleted.
    pub live_documents_delta: i64,
    /// When the server received the operations, in milliseconds since 1970.
    pub received_at_ms: UnixMs,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The fingerprint of the log after each operation. `before` is the one before the first operation.
    pub fn fingerprints(&self, before: Fingerprint) -> impl Iterator<Item = Fingerprint> {
        self.operations.iter().scan(before, |fingerprint, operation| {
            *fingerprint = fingerprint.extended(&operation.id);
            Some(*fingerprint)
        })
    }
}

/// The outcomes of one push, in the order of its operations, or the reason why it fails as a whole.
pub type Decision = Result<Vec<Outcome>, Refused>;

/// Decides about pushes that share one commit, in their order. Later operations see the effect of earlier ones.
///
/// A refused push leaves no trace in the batch, and its neighbours are decided as if it were not there.
///
/// There may be fewer decisions than pushes, but at least one. The function ends when the documents that it writes and
/// shows have more than [`PUSH_WRITTEN_MAX_BYTES`], or those that are updated have too many keys. The other pushes
/// belong in the next commit.
#[must_use]
pub fn decide(pushes: &[Push<'_>], snapshot: &Snapshot, now_ms: UnixMs) -> (Vec<Decision>, Batch) {
    let mut working = WorkingSet::new(snapshot);
    let mut decisions = Vec::with_capacity(pushes.len());
    for push in pushes {
        if working.bytes() > PUSH_WRITTEN_MAX_BYTES {
            break;
        }
        let decision = working.push(*push);
        if !decisions.is_empty() && matches!(decision, Err(Refused::TooManyKeys { .. })) {
            // The keys may be those of the pushes before it.
            break;
        }
        decisions.push(decision);
    }
    (decisions, working.into_batch(now_ms))
}

/// How many bytes a decision reads: the documents that the store had, and the data of the operations.
#[must_use]
pub fn read_bytes(pushes: &[Push<'_>], snapshot: &Snapshot) -> usize {
    let data = operations_of(pushes).filter_map(|operation| operation.change.data());
    let stored = snapshot.documents.values().filter_map(|document| document.data.as_ref());
    data.chain(stored).map(|data| data.as_str().len()).sum()
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
