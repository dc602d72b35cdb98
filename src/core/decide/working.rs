//! The documents of a decision while it goes on: each is read once, however many operations change it.

use std::collections::{HashMap, HashSet};

use super::batch::{Batch, DocumentWrite};
use super::claims::Owners;
use super::content::{Content, NoDocument, UndoContent};
use super::outcome::{Conflict, ConflictRelation, Decision, OperationRefused, Outcome, Push, Refused, Snapshot};
use crate::core::access::View;
use crate::core::access::labels::{FormerLabels, Labels};
use crate::core::access::rules::Right;
use crate::core::clock::{Relation, VectorClock};
use crate::core::decide::quota::Usage;
use crate::core::document::Document;
use crate::core::document::fields::DataOfDocument;
use crate::core::names::{DocumentKey, OperationId, Subject};
use crate::core::numbers::{Rev, UnixMs};
use crate::core::operation::{Change, Operation};
use crate::limits::protocol::{
    DOCUMENT_MAX_BYTES, FORMER_LABELS_MAX_ENTRIES, PUSH_OPEN_MAX_KEYS, PUSH_WRITTEN_MAX_BYTES,
};

/// The state that a decision walks over: what the store had, and the documents that were changed since.
pub(super) struct WorkingSet<'a> {
    snapshot: &'a Snapshot,
    /// The ids of the operations.
    applied: HashSet<&'a OperationId>,
    documents: HashMap<&'a DocumentKey, Working<'a>>,
    /// The rights of the author of the present push to documents that did not change since they were found.
    rights: HashMap<&'a DocumentKey, Rights>,
    owners: Owners<'a>,
    /// The operations to write.
    operations: Vec<Operation>,
    /// The subjects that pushed them.
    subjects: Vec<Option<Subject>>,
    /// How many pushes came before this one.
    pushes: usize,
    /// The bytes of the changed documents.
    changed_bytes: usize,
    /// The bytes of the states of documents that were written only because a conflict shows them.
    shown_bytes: usize,
    /// The keys of the open objects.
    open_keys: usize,
    totals: Totals,
}

/// How the pushes so far change what the tenant keeps.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    live_documents: i64,
    bytes: i64,
}

/// A document that was changed.
struct Working<'a> {
    before: Option<&'a Document>,
    now: State<'a>,
    content: Content<'a>,
    /// The last push that changed it for good, and how many bytes it had then.
    counted: Option<(usize, usize)>,
}

/// The part of a document that an operation replaces as a whole.
struct State<'a> {
    rev: Rev,
    /// The operation that wrote it last, and its index among the operations; nothing before the first one.
    last: Option<(&'a Operation, usize)>,
    former_labels: FormerLabels,
}

/// The rights of a push's author to a document as it is.
#[derive(Clone, Copy)]
struct Rights {
    /// Whether the author may see it. If there is neither a document nor a tombstone, there is nothing to hide.
    sees: bool,
    /// Whether the author may change it, which needs the right to see it.
    changes: bool,
}

/// How to take one applied operation back.
struct Undo<'a> {
    key: &'a DocumentKey,
    state: State<'a>,
    content: UndoContent<'a>,
}

impl<'a> WorkingSet<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            applied: HashSet::new(),
            documents: HashMap::new(),
            rights: HashMap::new(),
            owners: Owners::new(&snapshot.owners),
            operations: Vec::new(),
            subjects: Vec::new(),
            pushes: 0,
            changed_bytes: 0,
            shown_bytes: 0,
            open_keys: 0,
            totals: Totals::default(),
        }
    }

    /// Decides about one push; one that is refused is taken back.
    pub(super) fn push(&mut self, push: Push<'a>) -> Decision {
        let mut undo = Vec::new();
        let (totals, operations, owners) = (self.totals, self.operations.len(), self.owners.moment());
        let decided = self.owners.check_pusher(push.claimant).and_then(|()| self.operations(push, &mut undo));
        let decision = decided.and_then(|outcomes| {
            self.check_quota(push, totals, operations)?;
            self.owners.check_quota(&push.quota, self.snapshot.owned_clients, owners)?;
            self.count_changed(&undo)?;
            Ok(outcomes)
        });
        if decision.is_err() {
            self.take_back(undo);
            self.totals = totals;
            self.owners.return_to(owners);
        }
        self.pushes += 1;
        decision
    }

    /// How many bytes the documents have that are written or only shown.
    pub(super) fn bytes(&self) -> usize {
        self.changed_bytes + self.shown_bytes
    }

    /// Refuses a push after which the tenant would keep more than it may. The totals and the number of operations are
    /// those before the push.
    fn check_quota(&self, push: Push<'a>, totals_before: Totals, operations_before: usize) -> Result<(), Refused> {
        let Some(usage) = self.snapshot.usage else { return Ok(()) };
        let after = |totals: Totals, operations: usize| Usage {
            documents: usage.documents.saturating_add_signed(totals.live_documents),
            bytes: usage.bytes.saturating_add_signed(totals.bytes),
            operation_ids: usage.operation_ids.saturating_add(operations as u64),
        };
        let only_deletes =
            self.operations[operations_before..].iter().all(|operation| matches!(operation.change, Change::Delete));
        let before = after(totals_before, operations_before);
        let exceeded = push.quota.exceeded(before, after(self.totals, self.operations.len()), only_deletes);
        exceeded.map_or(Ok(()), |exceeded| Err(Refused::QuotaExceeded(exceeded)))
    }

    fn operations(&mut self, push: Push<'a>, undo: &mut Vec<Undo<'a>>) -> Decision {
        let Push { operations, conflicts_max_bytes: max_bytes, claimant, is_partial, .. } = push;
        self.rights.clear();
        let mut outcomes = Vec::with_capacity(operations.len());
        let mut conflict_bytes = 0;
        // Each document is read in vain at most once.
        let mut refused_keys = HashSet::new();
        for (index, operation) in operations.iter().enumerate() {
            if refused_keys.contains(&operation.key) && !self.is_known(operation) {
                outcomes.push(Outcome::Refused(OperationRefused::BuildsOnRefused));
                continue;
            }
            let is_foreign = claimant.is_some_and(|claimant| self.owners.is_foreign(&operation.client_id, claimant));
            if is_foreign && !self.is_known(operation) {
                if !is_partial {
                    return Err(Refused::ForeignClient { index: Some(index) });
                }
                refused_keys.insert(&operation.key);
                outcomes.push(Outcome::Refused(OperationRefused::ForeignClient));
                continue;
            }
            let (totals, undone) = (self.totals, undo.len());
            let outcome = match self.operation(operation, push, undo) {
                Err(NoDocument::TooLarge) if is_partial => {
                    self.take_back(undo.split_off(undone));
                    self.totals = totals;
                    refused_keys.insert(&operation.key);
                    Outcome::Refused(OperationRefused::DocumentTooLarge)
                }
                outcome => outcome.map_err(|problem| problem.at(index))?,
            };
            if let (Outcome::Applied, Some(claimant)) = (&outcome, claimant) {
                self.owners.claim_for(operation, claimant);
            }
            conflict_bytes += outcome.conflict_bytes();
            if conflict_bytes > max_bytes {
                return Err(Refused::ConflictsTooLarge { max_bytes });
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn operation(
        &mut self,
        operation: &'a Operation,
        push: Push<'a>,
        undo: &mut Vec<Undo<'a>>,
    ) -> Result<Outcome, NoDocument> {
        if self.is_known(operation) {
            return Ok(Outcome::Duplicate);
        }
        let view = push.view;
        let rights = self.rights(view, &operation.key);
        if !rights.sees {
            return Ok(Outcome::Forbidden(None));
        }
        if !rights.changes {
            return Ok(Outcome::Forbidden(self.document(&operation.key).map(Box::new)));
        }
        if let Some(conflict) = self.conflict(operation, push.is_strict) {
            return Ok(Outcome::Conflict(Box::new(conflict)));
        }
        let before = self.snapshot.documents.get(&operation.key);
        let working = self.documents.entry(&operation.key).or_insert_with(|| Working::of(before));

        let mut logged = operation.clone();
        let revives = working.now.rev > Rev::NONE && working.content.is_nothing();
        if let (true, Change::Update(data)) = (revives, &operation.change) {
            // A client may keep the data of a document that it deleted, and would merge an update into them. An insert
            // replaces them.
            logged.change = Change::Insert(data.clone());
        }
        let (totals, keys_before, kept_before) = (self.totals, working.content.open_keys(), working.kept());
        let labels_before = working.labels(view, &operation.key);
        let was_live = !working.content.is_nothing();
        let content = match working.content.change(&operation.change) {
            Ok(content) => content,
            Err(problem) => {
                if working.last().is_none() {
                    self.documents.remove(&operation.key);
                }
                return Err(problem);
            }
        };
        let labels = working.labels(view, &operation.key);
        let former = &working.now.former_labels;
        let former_labels = if view.has_rules() {
            former.after_write(&labels_before, &labels, working.content.is_nothing())
        } else {
            former.clone()
        };
        let are_few = former_labels.earlier.len() <= FORMER_LABELS_MAX_ENTRIES;
        let is_permitted = (are_few || view.may_do_everything())
            && match working.content.data() {
                Some(data) => {
                    let right = if was_live { Right::Write } else { Right::Create };
                    view.permits_content(right, &operation.key.collection, &data)
                }
                // A tombstone says nothing about who may see it, unless there was a document before.
                None => was_live || view.permits_in_general(Right::Create, &operation.key.collection),
            };
        let last = Some((operation, self.operations.len()));
        let state = State { rev: working.now.rev.next(), last, former_labels };
        let state = std::mem::replace(&mut working.now, state);
        undo.push(Undo { key: &operation.key, state, content });
        let kept = working.kept();
        self.totals.live_documents += kept.live_documents - kept_before.live_documents;
        self.totals.bytes += kept.bytes - kept_before.bytes + signed(operation.kept_bytes());
        self.applied.insert(&operation.id);
        self.operations.push(logged);
        self.rights.remove(&operation.key);
        self.subjects.push(push.subject.cloned());
        self.open_keys = self.open_keys + working.content.open_keys() - keys_before;
        if !is_permitted {
            self.take_back(undo.split_off(undo.len() - 1));
            self.totals = totals;
            return Ok(Outcome::Forbidden(self.document(&operation.key).map(Box::new)));
        }
        if working.content.bytes() > DOCUMENT_MAX_BYTES {
            return Err(NoDocument::TooLarge);
        }
        if self.open_keys > PUSH_OPEN_MAX_KEYS { Err(NoDocument::TooManyKeys) } else { Ok(Outcome::Applied) }
    }

    /// Whether an operation has taken effect.
    fn is_known(&self, operation: &Operation) -> bool {
        self.snapshot.known.contains(&operation.id) || self.applied.contains(&operation.id)
    }

    /// The rights of the author of a push to a document as it is now. They are found once for each state, because it
    /// takes a pass over the document.
    fn rights(&mut self, view: &View, key: &'a DocumentKey) -> Rights {
        if view.may_do_everything() {
            return Rights { sees: true, changes: true };
        }
        if let Some(rights) = self.rights.get(key) {
            return *rights;
        }
        let collection = &key.collection;
        let of_tombstone = |former: &FormerLabels| {
            let sees = view.permits_tombstone(collection, former);
            Rights { sees, changes: sees }
        };
        let of_data = |data: &DataOfDocument<'_, '_>| {
            let sees = view.permits_content(Right::Read, collection, data);
            Rights { sees, changes: sees && view.permits_content(Right::Write, collection, data) }
        };
        let rights = match (self.documents.get(key), self.snapshot.documents.get(key)) {
            (Some(working), _) => match working.content.data() {
                Some(data) => of_data(&data),
                None => of_tombstone(&working.now.former_labels),
            },
            (None, Some(document)) => match &document.data {
                Some(data) => of_data(&DataOfDocument::Text(data)),
                None => of_tombstone(&document.former_labels),
            },
            (None, None) => Rights { sees: true, changes: true },
        };
        self.rights.insert(key, rights);
        rights
    }

    /// The conflict of an operation with its document as it is now, if there is one.
    fn conflict(&mut self, operation: &Operation, is_strict: bool) -> Option<Conflict> {
        let clock = match self.documents.get(&operation.key) {
            Some(working) => &working.last()?.0.clock,
            None => &self.snapshot.documents.get(&operation.key)?.clock,
        };
        let relation = conflict_relation(operation, clock, is_strict)?;
        Some(Conflict { relation, document: self.document(&operation.key)? })
    }

    /// A document as it is now, to be shown.
    fn document(&mut self, key: &DocumentKey) -> Option<Document> {
        let Some(working) = self.documents.get_mut(key) else { return self.snapshot.documents.get(key).cloned() };
        if !working.content.is_written() {
            self.shown_bytes += working.content.bytes();
        }
        working.document()
    }

    /// Counts the bytes of the documents that a push has changed; too many refuse it.
    fn count_changed(&mut self, undo: &[Undo<'a>]) -> Result<(), Refused> {
        let mut bytes = 0;
        let mut counted = Vec::with_capacity(undo.len());
        for Undo { key, .. } in undo {
            let Some(working) = self.documents.get_mut(key) else { continue };
            let (last_push, bytes_before) = working.counted.unwrap_or((usize::MAX, 0));
            if last_push != self.pushes {
                working.counted = Some((self.pushes, working.bytes()));
                bytes += working.bytes();
                counted.push((*key, last_push, bytes_before));
            }
        }
        if bytes > PUSH_WRITTEN_MAX_BYTES {
            for (key, last_push, bytes_before) in counted {
                let Some(working) = self.documents.get_mut(key) else { continue };
                working.counted = (last_push != usize::MAX).then_some((last_push, bytes_before));
            }
            return Err(Refused::DocumentsTooLarge { max_bytes: PUSH_WRITTEN_MAX_BYTES });
        }
        let bytes_before: usize = counted.iter().map(|(_, _, bytes_before)| bytes_before).sum();
        self.changed_bytes = self.changed_bytes + bytes - bytes_before;
        Ok(())
    }

    fn take_back(&mut self, undo: Vec<Undo<'a>>) {
        for Undo { key, state, content } in undo.into_iter().rev() {
            self.operations.pop();
            self.subjects.pop();
            let Some(working) = self.documents.get_mut(key) else { continue };
            if let Some((operation, _)) = working.now.last {
                self.applied.remove(&operation.id);
            }
            let is_first = state.last.is_none();
            working.now = state;
            self.rights.remove(key);
            let keys_before = working.content.open_keys();
            working.content.take_back(content);
            self.open_keys = self.open_keys + working.content.open_keys() - keys_before;
            if is_first {
                self.documents.remove(key);
            }
        }
    }

    /// The batch to write.
    pub(super) fn into_batch(self, received_at_ms: UnixMs) -> Batch {
        let Totals { live_documents: live_documents_delta, bytes: bytes_delta } = self.totals;
        let mut documents = Vec::with_capacity(self.documents.len());
        for (key, mut working) in self.documents {
            let (Some((_, operation_index)), Some(document)) = (working.now.last, working.document()) else { continue };
            let seen_rev = working.before.map(|before| before.rev);
            let labels_before = working.before.map(|before| &before.former_labels);
            let changes_labels = match labels_before {
                Some(before) => *before != document.former_labels,
                None => !document.former_labels.is_empty(),
            };
            documents.push(DocumentWrite { key: key.clone(), seen_rev, document, operation_index, changes_labels });
        }
        documents.sort_unstable_by(|left, right| left.key.cmp(&right.key));
        Batch {
            operations: self.operations,
            documents,
            subjects: self.subjects,
            owners: self.owners.into_writes(),
            live_documents_delta,
            bytes_delta,
            received_at_ms,
        }
    }
}

impl<'a> Working<'a> {
    fn of(before: Option<&'a Document>) -> Self {
        let data = before.and_then(|document| document.data.as_ref());
        Self {
            before,
            now: State {
                rev: before.map_or(Rev::NONE, |document| document.rev),
                last: None,
                former_labels: before.map_or_else(FormerLabels::default, |document| document.former_labels.clone()),
            },
            content: data.map_or(Content::Nothing, Content::Text),
            counted: None,
        }
    }

    fn last(&self) -> Option<(&'a Operation, usize)> {
        self.now.last
    }

    fn bytes(&self) -> usize {
        self.content.bytes() + self.last().map_or(0, |(last, _)| last.clock.json().as_str().len())
    }

    /// The labels by which it can be seen.
    fn labels(&self, view: &View, key: &DocumentKey) -> Labels {
        self.content.data().map_or_else(Labels::default, |data| view.labels_of(&key.collection, &data))
    }

    /// The part of the tenant's usage that belongs to it.
    fn kept(&self) -> Totals {
        let clock = self.last().map(|(last, _)| &last.clock).or(self.before.map(|before| &before.clock));
        let clock_bytes = clock.map_or(0, |clock| clock.json().as_str().len());
        Totals {
            live_documents: i64::from(!self.content.is_nothing()),
            bytes: signed(self.content.bytes() + clock_bytes),
        }
    }

    /// The document as its last operation left it.
    fn document(&mut self) -> Option<Document> {
        let (last, _) = self.last()?;
        Some(Document {
            rev: self.now.rev,
            data: self.content.text(),
            clock: last.clock.clone(),
            operation_id: last.id.clone(),
            client_id: last.client_id.clone(),
            timestamp: last.timestamp,
            former_labels: self.now.former_labels.clone(),
        })
    }
}

/// A number of bytes in memory, which always fits.
fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// How an operation's clock is in conflict with a document's, if it is.
///
/// If two devices use one client id, both give the same counters. The clock of one then seems to have seen what the
/// other one wrote. So in a strict push, the author's counter must be greater than its last one in the document.
fn conflict_relation(operation: &Operation, document: &VectorClock, is_strict: bool) -> Option<ConflictRelation> {
    let Operation { clock, client_id, .. } = operation;
    match clock.compare(document) {
        Relation::HappensAfter | Relation::Equal => {
            let is_counted_twice = is_strict && clock.get(client_id) <= document.get(client_id);
            is_counted_twice.then_some(ConflictRelation::Concurrent)
        }
        Relation::HappensBefore => Some(ConflictRelation::HappensBefore),
        Relation::Concurrent => Some(ConflictRelation::Concurrent),
    }
}
