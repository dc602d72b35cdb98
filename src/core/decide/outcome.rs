//! The basis of a decision about pushes, and its outcomes.

use std::collections::{HashMap, HashSet};

use super::policy::{ConflictPolicy, Policies, REJECTING};
use super::resolve::{Survival, is_reserved, resolution_id};
use crate::core::access::{EVERYTHING, View};
use crate::core::clock::VectorClock;
use crate::core::decide::base::{Bases, NO_BASES};
use crate::core::decide::owners::{Claimant, ClientOwner};
use crate::core::decide::quota::{Quota, QuotaExceeded, Usage};
use crate::core::document::Document;
use crate::core::fingerprint::Fingerprint;
use crate::core::json::Object;
use crate::core::names::{ClientId, DocumentKey, OperationId, Subject};
use crate::core::numbers::{Rev, Seq};
use crate::core::operation::Operation;
use crate::core::retention::Tombstones;
use crate::limits::protocol::PUSH_CONFLICTS_MAX_BYTES;

/// The basis of a decision: what the store knew at one moment about some operation ids and documents.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The requested ids that took effect before, whether or not they were compacted since.
    pub known: HashSet<OperationId>,
    /// The requested documents that exist, tombstones included.
    pub documents: HashMap<DocumentKey, Document>,
    /// Whether the documents have more bytes than were asked for, so that some of them are missing.
    pub is_cut: bool,
    /// The owners of the requested client ids, as far as there are any.
    pub owners: HashMap<ClientId, ClientOwner>,
    /// The fingerprints of the log at the requested places, as far as the log reaches.
    pub fingerprints: HashMap<Seq, Fingerprint>,
    /// How much the tenant keeps, if that was asked for.
    pub usage: Option<Usage>,
    /// How many client ids have owners in the tenant, if they were counted. The count may end at the limit of a quota.
    pub owned_clients: Option<u64>,
    /// The texts that the store keeps for resolutions with the requested documents, if these were asked for.
    pub stamps: HashMap<DocumentKey, StoredStamps>,
    /// The bytes of the stamps that a write of each requested document replaces or removes.
    pub stamps_bytes: HashMap<DocumentKey, usize>,
    /// The answers of the application about operations, under the policy [`ConflictPolicy::Custom`].
    pub answers: HashMap<OperationId, CustomAnswer>,
}

impl Snapshot {
    /// Whether an operation took effect before, by itself or as a resolution.
    ///
    /// Its id may be gone by retention, but a document has the id of its last operation. The clock of the document
    /// happens after those of the operations before.
    pub(super) fn knows(&self, operation: &Operation) -> bool {
        let Operation { id, key, .. } = operation;
        let is_last = |document: &Document| {
            let last = &document.operation_id;
            last == id || is_reserved(last) && *last == resolution_id(id)
        };
        // Most pushes are new as a whole.
        let is_id_known =
            !self.known.is_empty() && (self.known.contains(id) || self.known.contains(&resolution_id(id)));
        is_id_known || self.documents.get(key).is_some_and(is_last)
    }
}

/// The texts that a store keeps with a document for resolutions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredStamps {
    /// The text of [`DocumentWrite::stamps`](super::DocumentWrite::stamps) of the last write that had one.
    pub stamps: Option<String>,
    /// The object that the log keeps beside the last operation of a tombstone.
    pub kept: Option<String>,
}

impl StoredStamps {
    /// The bytes of the texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        [&self.stamps, &self.kept].into_iter().flatten().map(String::len).sum()
    }
}

/// The answer of the application to a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomAnswer {
    /// The revision of the document that the application has seen. The answer holds for no other.
    pub seen_rev: Rev,
    /// The data of the document after the operation. `None` deletes it.
    pub data: Option<Object>,
}

/// The operations of one request, and its limits.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    /// The operations, in their order.
    pub operations: &'a [Operation],
    /// The revisions that some of them name in place of clocks.
    pub bases: &'a Bases,
    /// The subject that pushes them, which the log keeps with them.
    pub subject: Option<&'a Subject>,
    /// The subject that may use only its own client ids. `None` if client ids are neither checked nor claimed.
    pub claimant: Option<Claimant<'a>>,
    /// The limit for all documents in the answered conflicts together, in bytes.
    pub conflicts_max_bytes: usize,
    /// How much the tenant may keep after it. It has no effect if the snapshot does not say how much it keeps.
    pub quota: Quota,
    /// Whether an operation whose document would become too large is refused without the rest of the push. Only the
    /// later operations on its document are refused with it.
    pub is_partial: bool,
    /// Whether a refused operation of a partial push stops no other one. A client id that belongs to another subject
    /// refuses the push as a whole.
    pub is_lenient: bool,
    /// Whether an operation is in conflict if its author's counter is not greater than in the document's clock.
    /// Otherwise it is applied if its clock is equal to the document's or happens after it.
    pub is_strict: bool,
    /// The documents that its author may see and change.
    pub view: &'a View,
    /// The policies for its conflicts. All pushes that are decided together have the same policies.
    pub policies: &'a Policies,
    /// Whether tombstones are removed after some time. If so, an update that begins a document is logged as an insert.
    pub tombstones: Tombstones,
}

impl<'a> From<&'a [Operation]> for Push<'a> {
    /// A push of the server itself with the widest limits: [`PUSH_CONFLICTS_MAX_BYTES`], no quota and no rules. It
    /// takes effect as a whole, and its conflicts are not resolved.
    fn from(operations: &'a [Operation]) -> Self {
        let (conflicts_max_bytes, quota) = (PUSH_CONFLICTS_MAX_BYTES, Quota::default());
        let (bases, subject, claimant, view) = (&NO_BASES, None, None, &EVERYTHING);
        Self {
            operations,
            bases,
            subject,
            claimant,
            conflicts_max_bytes,
            quota,
            is_partial: false,
            is_lenient: false,
            is_strict: false,
            view,
            policies: &REJECTING,
            tombstones: Tombstones::Kept,
        }
    }
}

/// The outcome of one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It changed its document.
    Applied,
    /// Its author had not seen the document's content, and the server has resolved the conflict. The operation itself
    /// is known now, and the log has its resolution.
    Resolved(Box<Resolved>),
    /// It took effect before. Nothing changes.
    Duplicate,
    /// It changed its document, now or before, and named the revision that its author saw. The document is as it left
    /// it.
    Reached(Box<Reached>),
    /// Its author had not seen the document's state. Nothing changes.
    Conflict(Box<Conflict>),
    /// Its author may not do this, and nothing changes. The document is there if the author may see it.
    Forbidden(Option<Box<Document>>),
    /// It is refused, and changes nothing. Only a partial push has such operations.
    Refused(OperationRefused),
}

/// A conflict that the server has resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resolved {
    /// The id of the operation.
    pub id: OperationId,
    /// The id of the resolution in the log.
    pub operation_id: OperationId,
    /// The policy of the collection.
    pub policy: ConflictPolicy,
    /// How much of the operation survived.
    pub survival: Survival,
    /// The values of the operation that did not survive. `None` if there are none, or if they would make the answer of
    /// the push too large.
    pub lost: Option<Object>,
}

impl Resolved {
    /// The resolution of an operation. The first id is that of the operation, the second that of the resolution.
    #[must_use]
    pub fn new(
        (id, operation_id): (OperationId, OperationId),
        policy: ConflictPolicy,
        survival: Survival,
        lost: Option<Object>,
    ) -> Self {
        Self { id, operation_id, policy, survival, lost }
    }
}

impl Outcome {
    /// Whether the operation took effect now.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        matches!(self, Self::Applied | Self::Resolved(_)) || matches!(self, Self::Reached(reached) if reached.is_new)
    }

    /// Whether the operation took effect, now or before.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        matches!(self, Self::Applied | Self::Resolved(_) | Self::Duplicate | Self::Reached(_))
    }
}

/// The state to which an operation has led that names a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reached {
    /// Whether the operation took effect now, and not before.
    pub is_new: bool,
    /// The revision of the document.
    pub rev: Rev,
    /// The entries by which the clock of the document is greater than that of the named revision. An operation
    /// that took effect before may have equal ones.
    pub raised: VectorClock,
}

impl Reached {
    /// The state to which an operation has led.
    #[must_use]
    pub fn new(is_new: bool, rev: Rev, raised: VectorClock) -> Self {
        Self { is_new, rev, raised }
    }
}

/// Why one operation of a partial push is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperationRefused {
    /// The document would become larger than [`DOCUMENT_MAX_BYTES`](crate::limits::protocol::DOCUMENT_MAX_BYTES).
    DocumentTooLarge,
    /// The clock of the document would have too many bytes or clients.
    ClockTooLarge,
    /// An earlier operation of the push on the same document is refused, and this one may build on it.
    BuildsOnRefused,
    /// Its author belongs to another subject than the one that pushes.
    ForeignClient,
    /// It names a revision of a document that does not exist.
    UnknownBase,
    /// The application does not allow it. The text says why, for the author of the client.
    Invalid(String),
}

/// The server's side of a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The relation of the operation's clock to the document's.
    pub relation: ConflictRelation,
    /// The current document.
    pub document: Document,
}

impl Conflict {
    /// The conflict of an operation with a document.
    #[must_use]
    pub fn new(relation: ConflictRelation, document: Document) -> Self {
        Self { relation, document }
    }
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
#[non_exhaustive]
pub enum Refused {
    /// The document would become larger than [`DOCUMENT_MAX_BYTES`](crate::limits::protocol::DOCUMENT_MAX_BYTES).
    DocumentTooLarge {
        /// The operation's index in its push.
        index: usize,
    },
    /// The clock of the document would have more than [`CLOCK_MAX_BYTES`](crate::limits::protocol::CLOCK_MAX_BYTES) or
    /// [`CLOCK_MAX_ENTRIES`](crate::limits::protocol::CLOCK_MAX_ENTRIES).
    ClockTooLarge {
        /// The operation's index in its push.
        index: usize,
    },
    /// The client id belongs to another subject than the one that pushes.
    ForeignClient {
        /// The index of the operation whose author it is, or `None` for the client that pushes.
        index: Option<usize>,
    },
    /// The operation names a revision of a document that does not exist.
    UnknownBase {
        /// The operation's index in its push.
        index: usize,
    },
    /// The authors know the revisions from another log, see [`Bases::places`].
    OtherLog,
    /// The clocks that the server would derive are too large together. Fewer operations in a push help.
    ClocksTooLarge {
        /// The limit in bytes.
        max_bytes: usize,
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
    /// The documents that the push changes have more bytes, before or after it, than a push may load or write. Fewer
    /// operations at a time may fit.
    DocumentsTooLarge {
        /// How many bytes they may be.
        max_bytes: usize,
    },
    /// The documents that the push updates have too many keys together. Fewer operations in a push help.
    TooManyKeys {
        /// The limit.
        max_keys: usize,
    },
    /// The tenant would keep more than it may.
    QuotaExceeded(QuotaExceeded),
    /// The store took too long over the push alone; fewer operations at a time are likelier to work.
    TooSlow,
}

/// The outcomes of one push, in the order of its operations, or the reason why it fails as a whole.
pub type Decision = Result<Vec<Outcome>, Refused>;
