//! The batch that a store writes: all of it, or nothing.

use crate::core::decide::owners::OwnerWrite;
use crate::core::decide::resolve::tells_pushed_id;
use crate::core::document::Document;
use crate::core::fingerprint::Fingerprint;
use crate::core::json::Object;
use crate::core::names::{DocumentKey, OperationId, Subject};
use crate::core::numbers::{Rev, UnixMs};
use crate::core::operation::Operation;

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
    /// Whether the write changes the former labels of the document.
    pub changes_labels: bool,
    /// The text that says who wrote the content of the document, if this does not follow from its last operation. A
    /// store keeps it with the document, and gives it back as it is. An empty text removes the one that is kept.
    pub stamps: Option<String>,
}

/// An operation of a batch that is the resolution of a pushed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The index of the resolution in [`Batch::operations`].
    pub operation_index: usize,
    /// The id of the operation that was pushed. It becomes known in place of the resolution's own.
    pub pushed_id: OperationId,
    /// An object that the log keeps beside the resolution, until compaction removes both.
    pub kept: Option<Object>,
}

/// A guarded batch: either all of it is written, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The operations in the order of the log. An update that revives a tombstone is an insert here.
    pub operations: Vec<Operation>,
    /// The documents, each once. They are ordered by key, so that concurrent writers lock them in the same order.
    pub documents: Vec<DocumentWrite>,
    /// The subject that pushed each operation, by the operation's index. `None`, or no element, if there is none.
    pub subjects: Vec<Option<Subject>>,
    /// The resolutions among the operations, in their order.
    pub resolutions: Vec<Resolution>,
    /// The owners of client ids, each once and ordered by client id.
    pub owners: Vec<OwnerWrite>,
    /// The change in the number of documents that are not deleted.
    pub live_documents_delta: i64,
    /// The change in the bytes that the tenant keeps, see [`Usage::bytes`](crate::core::decide::quota::Usage::bytes).
    pub bytes_delta: i64,
    /// When the server received the operations, in milliseconds since 1970.
    pub received_at_ms: UnixMs,
}

impl Batch {
    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The ids that become known, each once. They are those of the operations as they were pushed, and those of
    /// resolutions that do not tell what they resolve.
    pub fn known_ids(&self) -> impl Iterator<Item = &OperationId> {
        let operations = self.operations.iter().map(|operation| &operation.id);
        let pushed = self.resolutions.iter().map(|resolution| &resolution.pushed_id);
        operations.filter(|id| !tells_pushed_id(id)).chain(pushed)
    }

    /// The objects that the log keeps beside operations, with the indexes of these.
    pub fn kept(&self) -> impl Iterator<Item = (usize, &Object)> {
        self.resolutions.iter().filter_map(|resolution| Some((resolution.operation_index, resolution.kept.as_ref()?)))
    }

    /// The subject that pushed the operation with this index.
    #[must_use]
    pub fn subject(&self, operation_index: usize) -> Option<&Subject> {
        self.subjects.get(operation_index)?.as_ref()
    }

    /// The fingerprint of the log after each operation. `before` is the one before the first operation.
    pub fn fingerprints(&self, before: Fingerprint) -> impl Iterator<Item = Fingerprint> {
        self.operations.iter().scan(before, |fingerprint, operation| {
            *fingerprint = fingerprint.extended(&operation.id);
            Some(*fingerprint)
        })
    }
}
