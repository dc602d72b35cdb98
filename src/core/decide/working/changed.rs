//! A document in the course of a decision, and a step of it.

use std::sync::Arc;

use crate::core::access::View;
use crate::core::access::labels::{FormerLabels, Labels};
use crate::core::clock::{Relation, VectorClock};
use crate::core::decide::base::Derived;
use crate::core::decide::content::{Content, UndoContent};
use crate::core::decide::outcome::{ConflictRelation, Outcome};
use crate::core::decide::resolve::kept::Gone;
use crate::core::decide::resolve::pushed_id;
use crate::core::decide::resolve::stamp::Mark;
use crate::core::decide::resolve::stamps::Stamps;
use crate::core::document::Document;
use crate::core::json::Object;
use crate::core::names::{ClientId, DocumentKey, OperationId};
use crate::core::numbers::{Rev, UnixMs};
use crate::core::operation::{Change, Operation};

/// How the pushes so far change what the tenant keeps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) live_documents: i64,
    pub(super) bytes: i64,
    /// The bytes of all resolutions in the log.
    pub(super) resolutions: usize,
    /// How many operations do not make room, see [`Working::makes_room`].
    pub(super) others: usize,
}

/// A document that was changed.
pub(super) struct Working<'a> {
    pub(super) before: Option<&'a Document>,
    pub(super) now: State<'a>,
    pub(super) content: Content<'a>,
    /// The last push that changed it for good, and how many bytes it had then.
    pub(super) counted: Option<(usize, usize)>,
    /// The bytes of the stamps that the store keeps with it.
    stored_stamps_bytes: usize,
    /// The text of its stamps after the last push that changed it for good, see [`Working::stamps`].
    pub(super) counted_stamps: Option<String>,
}

/// The part of a document that an operation replaces as a whole.
pub(super) struct State<'a> {
    pub(super) rev: Rev,
    /// The operation that wrote it last; nothing before the first one.
    pub(super) last: Option<Last<'a>>,
    /// Its clock; without entries if there is no document.
    pub(super) clock: VectorClock,
    pub(super) former_labels: FormerLabels,
    /// The memory for resolutions; nothing if it follows from the last operation.
    pub(super) memory: Option<Arc<Memory>>,
}

/// The memory of a document for resolutions.
pub(super) struct Memory {
    pub(super) stamps: Stamps,
    /// The data of a tombstone.
    pub(super) gone: Option<Gone>,
}

/// The operation that wrote a document last.
pub(super) struct Last<'a> {
    pub(super) pushed: &'a Operation,
    /// Its place in the log has this instead.
    pub(super) resolution: Option<Operation>,
    /// The index among the operations.
    pub(super) index: usize,
}

/// A change of a document that is decided. By default, the operation takes effect as it was pushed.
#[derive(Default)]
pub(super) struct Step {
    pub(super) memory: Option<Arc<Memory>>,
    pub(super) resolution: Option<Settled>,
}

/// The basis of an operation that names a revision in place of a clock.
#[derive(Clone, Copy)]
pub(super) struct Based<'b, 'a> {
    /// Its clock.
    pub(super) derived: &'b Derived<'a>,
    /// The revision.
    pub(super) base: Rev,
    /// Whether its author has seen all that the document shows, and not only what the push itself has written.
    pub(super) has_seen: bool,
}

/// The resolution of an operation.
pub(super) struct Settled {
    /// The resolution as the log has it.
    pub(super) operation: Operation,
    pub(super) outcome: Outcome,
    /// The object that the log keeps beside it.
    pub(super) kept: Option<Object>,
    /// The data that were kept of a tombstone, if these are back or still kept.
    pub(super) below: Option<Object>,
    pub(super) has_recovered: bool,
}

impl Step {
    /// Whether it brings data back that were deleted.
    pub(super) fn has_recovered(&self) -> bool {
        self.resolution.as_ref().is_some_and(|settled| settled.has_recovered)
    }

    /// The data that were kept of a tombstone, if these are back or still kept.
    pub(super) fn below(&self) -> Option<&Object> {
        self.resolution.as_ref()?.below.as_ref()
    }

    /// The data that are kept of a tombstone now, if they were others before.
    pub(super) fn moved_below(&self) -> Option<&Object> {
        let (before, after) = (self.below()?, &self.memory.as_ref()?.gone.as_ref()?.data);
        (before != after).then_some(after)
    }
}

/// How to take one applied operation back.
pub(super) struct Undo<'a> {
    pub(super) key: &'a DocumentKey,
    pub(super) state: State<'a>,
    pub(super) content: UndoContent<'a>,
}

impl<'a> Working<'a> {
    /// A document as the store has it, with the bytes of the stamps that are kept with it.
    pub(super) fn of(before: Option<&'a Document>, stored_stamps_bytes: usize) -> Self {
        let data = before.and_then(|document| document.data.as_ref());
        Self {
            before,
            now: State {
                rev: before.map_or(Rev::NONE, |document| document.rev),
                last: None,
                clock: before.map_or_else(VectorClock::default, |document| document.clock.clone()),
                former_labels: before.map_or_else(FormerLabels::default, |document| document.former_labels.clone()),
                memory: None,
            },
            content: data.map_or(Content::Nothing, Content::Text),
            counted: None,
            stored_stamps_bytes,
            counted_stamps: None,
        }
    }

    /// The last operation, as the log has it but for its clock, and its index.
    pub(super) fn last(&self) -> Option<(&Operation, usize)> {
        let last = self.now.last.as_ref()?;
        Some((last.resolution.as_ref().unwrap_or(last.pushed), last.index))
    }

    pub(super) fn bytes(&self) -> usize {
        self.content.bytes() + self.clock_bytes()
    }

    /// The labels by which it can be seen. `None` if there is no document or a tombstone.
    pub(super) fn labels(&self, view: &View, key: &DocumentKey) -> Option<Labels> {
        self.content.data().map(|data| view.labels_of(&key.collection, &data))
    }

    /// The part of the tenant's usage that belongs to it.
    pub(super) fn kept(&self) -> Totals {
        Totals {
            live_documents: i64::from(!self.content.is_nothing()),
            bytes: signed(self.content.bytes() + self.clock_bytes()),
            ..Totals::default()
        }
    }

    /// Whether an operation makes room that has led to this: it deletes, and keeps no data but those of a document that
    /// `was_live`.
    pub(super) fn makes_room(&self, change: &Change, was_live: bool) -> bool {
        let keeps_data = self.now.memory.as_ref().is_some_and(|memory| memory.gone.is_some());
        matches!(change, Change::Delete) && self.content.is_nothing() && (was_live || !keeps_data)
    }

    fn clock_bytes(&self) -> usize {
        if self.now.rev == Rev::NONE { 0 } else { self.now.clock.json().as_str().len() }
    }

    /// The document as its last operation left it.
    pub(super) fn document(&mut self) -> Option<Document> {
        let data = self.content.text();
        let (last, _) = self.last()?;
        Some(Document {
            rev: self.now.rev,
            data,
            clock: self.now.clock.clone(),
            operation_id: last.id.clone(),
            client_id: last.client_id.clone(),
            timestamp: last.timestamp,
            former_labels: self.now.former_labels.clone(),
        })
    }

    /// The bytes of its stamps that are in the totals.
    pub(super) fn counted_stamps_bytes(&self) -> usize {
        self.counted_stamps.as_ref().map_or(self.stored_stamps_bytes, String::len)
    }

    /// Whether it may have stamps that do not follow from its last operation, or had some.
    pub(super) fn has_or_had_stamps(&self) -> bool {
        self.now.memory.is_some() || self.counted_stamps_bytes() > 0
    }

    /// The text of the stamps, if they do not follow from the last operation. It is empty if they do, and the store has
    /// others.
    pub(super) fn stamps(&self) -> Option<String> {
        let (last, _) = self.last()?;
        let mark = mark_of((&last.client_id, &self.now.clock, last.timestamp, &last.id));
        let follows = Stamps::of_last(mark, self.content.is_nothing(), self.now.rev);
        let stamps = self.now.memory.as_ref().map(|memory| &memory.stamps).filter(|stamps| **stamps != follows);
        let text = stamps.map(|stamps| stamps.to_stored(self.now.rev));
        text.or_else(|| (self.stored_stamps_bytes > 0).then(String::new))
    }
}

/// The mark of the last operation of a document, which stands for stamps if there are none.
pub(super) fn mark_of(last: (&ClientId, &VectorClock, UnixMs, &OperationId)) -> Mark {
    let (client_id, clock, timestamp, operation_id) = last;
    let pushed = pushed_id(operation_id).to_owned();
    Mark { operation: pushed, ..Mark::of(client_id, clock, timestamp, operation_id) }
}

/// A number of bytes in memory, which always fits.
pub(super) fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// How an operation's clock is in conflict with a document's, if it is.
///
/// If two devices use one client id, both give the same counters. The clock of one then seems to have seen what the
/// other one wrote. So in a strict push, the author's counter must be greater than its last one in the document.
pub(super) fn conflict_relation(
    operation: &Operation,
    document: &VectorClock,
    is_strict: bool,
) -> Option<ConflictRelation> {
    let Operation { clock, .. } = operation;
    match clock.compare(document) {
        Relation::HappensAfter | Relation::Equal => {
            (is_strict && is_counted_twice(operation, document)).then_some(ConflictRelation::Concurrent)
        }
        Relation::HappensBefore => Some(ConflictRelation::HappensBefore),
        Relation::Concurrent => Some(ConflictRelation::Concurrent),
    }
}

/// Whether the author's counter is not greater than its last one in the document.
pub(super) fn is_counted_twice(operation: &Operation, document: &VectorClock) -> bool {
    operation.clock.get(&operation.client_id) <= document.get(&operation.client_id)
}
