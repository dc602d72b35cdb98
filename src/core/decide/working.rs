//! The documents of a decision while it goes on: each is read once, however many operations change it.

use std::collections::{HashMap, HashSet};

use super::base::{Derived, Written, credible_max, derive};
use super::batch::{Batch, DocumentWrite};
use super::claims::Owners;
use super::content::{NoDocument, UndoContent};
use super::outcome::{
    Conflict, ConflictRelation, Decision, OperationRefused, Outcome, Push, Reached, Refused, Snapshot,
};
use super::states::{State, Totals, Working, signed};
use crate::core::access::View;
use crate::core::access::labels::FormerLabels;
use crate::core::access::rules::Right;
use crate::core::clock::{Relation, VectorClock};
use crate::core::decide::quota::Usage;
use crate::core::document::Document;
use crate::core::document::fields::DataOfDocument;
use crate::core::names::{ClientId, DocumentKey, OperationId, Subject};
use crate::core::numbers::{Rev, UnixMs};
use crate::core::operation::{Change, Operation};
use crate::limits::protocol::{
    DOCUMENT_MAX_BYTES, FORMER_LABELS_MAX_ENTRIES, PUSH_DERIVED_CLOCKS_MAX_BYTES, PUSH_OPEN_MAX_KEYS,
    PUSH_WRITTEN_MAX_BYTES,
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
    /// The documents that the present push has written.
    written: Written<'a>,
    now_ms: UnixMs,
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
    /// The bytes of the clocks that were derived.
    derived_bytes: usize,
    /// The keys of the open objects.
    open_keys: usize,
    totals: Totals,
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
    pub(super) fn new(snapshot: &'a Snapshot, now_ms: UnixMs) -> Self {
        Self {
            snapshot,
            applied: HashSet::new(),
            documents: HashMap::new(),
            rights: HashMap::new(),
            owners: Owners::new(&snapshot.owners),
            written: Written::default(),
            now_ms,
            operations: Vec::new(),
            subjects: Vec::new(),
            pushes: 0,
            changed_bytes: 0,
            shown_bytes: 0,
            derived_bytes: 0,
            open_keys: 0,
            totals: Totals::default(),
        }
    }

    /// Decides about one push; one that is refused is taken back.
    pub(super) fn push(&mut self, push: Push<'a>) -> Decision {
        let mut undo = Vec::new();
        let (totals, operations, owners) = (self.totals, self.operations.len(), self.owners.moment());
        let derived_bytes = self.derived_bytes;
        let is_of_log = push.bases.are_of_log(&self.snapshot.fingerprints);
        let checked = if is_of_log { self.owners.check_pusher(push.claimant) } else { Err(Refused::OtherLog) };
        let decided = checked.and_then(|()| self.operations(push, &mut undo));
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
            self.derived_bytes = derived_bytes;
        }
        self.pushes += 1;
        decision
    }

    /// How many bytes the documents have that are written or only shown, and the derived clocks.
    pub(super) fn bytes(&self) -> usize {
        self.changed_bytes + self.shown_bytes + self.derived_bytes
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
        self.written.clear();
        let derived_max_bytes = self.derived_bytes + PUSH_DERIVED_CLOCKS_MAX_BYTES;
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
            let outcome = match self.operation((index, operation), push, undo) {
                Err(problem @ (NoDocument::TooLarge | NoDocument::UnknownBase)) if is_partial => {
                    self.take_back(undo.split_off(undone));
                    self.totals = totals;
                    refused_keys.insert(&operation.key);
                    Outcome::Refused(match problem {
                        NoDocument::UnknownBase => OperationRefused::UnknownBase,
                        _ => OperationRefused::DocumentTooLarge,
                    })
                }
                outcome => outcome.map_err(|problem| problem.at(index))?,
            };
            if let (true, Some(claimant)) = (outcome.is_applied(), claimant) {
                self.owners.claim_for(operation, claimant);
            }
            if outcome == Outcome::Applied {
                self.owners.note_own(operation, credible_max(self.now_ms));
            }
            conflict_bytes += outcome.conflict_bytes();
            if conflict_bytes > max_bytes {
                return Err(Refused::ConflictsTooLarge { max_bytes });
            }
            if self.derived_bytes > derived_max_bytes {
                return Err(Refused::ClocksTooLarge { max_bytes: PUSH_DERIVED_CLOCKS_MAX_BYTES });
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn operation(
        &mut self,
        (index, operation): (usize, &'a Operation),
        push: Push<'a>,
        undo: &mut Vec<Undo<'a>>,
    ) -> Result<Outcome, NoDocument> {
        let (base, current) = (push.bases.of(index), self.rev(&operation.key));
        if self.is_known(operation) {
            if !self.is_last(operation) {
                return Ok(Outcome::Duplicate);
            }
            self.written.note(&operation.key, base.unwrap_or(current));
            let is_shown = base.is_some() && self.rights(push.view, &operation.key).sees;
            return Ok(if is_shown { self.reached_before(operation) } else { Outcome::Duplicate });
        }
        let view = push.view;
        let rights = self.rights(view, &operation.key);
        if !rights.sees {
            return Ok(Outcome::Forbidden(None));
        }
        if !rights.changes {
            return Ok(Outcome::Forbidden(self.document(&operation.key).map(Box::new)));
        }
        if let Some(conflict) = self.conflict(operation, base, push.is_strict)? {
            return Ok(Outcome::Conflict(Box::new(conflict)));
        }
        let before = self.snapshot.documents.get(&operation.key);
        let working = self.documents.entry(&operation.key).or_insert_with(|| Working::of(before));

        let mut logged = operation.clone();
        let owners = &self.owners;
        let derived =
            base.map(|_| derive(&working.now.clock, &operation.client_id, |client| owners.given(client), self.now_ms));
        if let Some(derived) = &derived {
            logged.clock = derived.clock.clone();
        }
        let revives = working.now.rev > Rev::NONE && working.content.is_nothing();
        if let (true, Change::Update(data)) = (revives, &operation.change) {
            // A client may keep the data of a document that it deleted, and would merge an update into them. An insert
            // replaces them.
            logged.change = Change::Insert(data.clone());
        }
        let (totals, keys_before, kept_before) = (self.totals, working.content.open_keys(), working.kept());
        let labels_before = working.labels(view, &operation.key);
        let was_live = labels_before.is_some();
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
        let former_labels =
            if view.has_rules() { former.after_write(labels_before.as_ref(), labels.as_ref()) } else { former.clone() };
        let are_few = former_labels.lost_len() <= FORMER_LABELS_MAX_ENTRIES;
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
        let state = State { rev: working.now.rev.next(), last, clock: logged.clock.clone(), former_labels };
        let state = std::mem::replace(&mut working.now, state);
        undo.push(Undo { key: &operation.key, state, content });
        let kept = working.kept();
        self.totals.live_documents += kept.live_documents - kept_before.live_documents;
        self.totals.bytes += kept.bytes - kept_before.bytes + signed(logged.kept_bytes());
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
        if self.open_keys > PUSH_OPEN_MAX_KEYS {
            return Err(NoDocument::TooManyKeys);
        }
        self.written.note(&operation.key, current);
        let Some(Derived { clock, raised, given }) = derived else { return Ok(Outcome::Applied) };
        self.derived_bytes += clock.json().as_str().len();
        self.owners.give(raised, given);
        let raised = [(raised.clone(), clock.get(raised))].into_iter().collect();
        Ok(Outcome::Reached(Box::new(Reached { is_new: true, rev: current.next(), raised })))
    }

    /// The outcome of an operation that took effect before, and that wrote its document last.
    fn reached_before(&self, operation: &Operation) -> Outcome {
        let Some(clock) = self.clock(&operation.key) else { return Outcome::Duplicate };
        let own = [&operation.client_id, ClientId::clock()].into_iter().filter(|client| clock.contains(client));
        let raised = own.map(|client| (client.clone(), clock.get(client))).collect();
        Outcome::Reached(Box::new(Reached { is_new: false, rev: self.rev(&operation.key), raised }))
    }

    /// The clock that a document has now, if there is one.
    fn clock(&self, key: &DocumentKey) -> Option<&VectorClock> {
        match (self.documents.get(key), self.snapshot.documents.get(key)) {
            (Some(working), _) => Some(&working.now.clock),
            (None, before) => before.map(|document| &document.clock),
        }
    }

    /// The revision that a document has now.
    fn rev(&self, key: &DocumentKey) -> Rev {
        match (self.documents.get(key), self.snapshot.documents.get(key)) {
            (Some(working), _) => working.now.rev,
            (None, before) => before.map_or(Rev::NONE, |document| document.rev),
        }
    }

    /// Whether a known operation is the one that wrote its document last.
    fn is_last(&self, operation: &Operation) -> bool {
        let last = match (self.documents.get(&operation.key), self.snapshot.documents.get(&operation.key)) {
            (Some(working), _) => working.last().map(|(last, _)| &last.id),
            (None, before) => before.map(|document| &document.operation_id),
        };
        last == Some(&operation.id)
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
    fn conflict(
        &mut self,
        operation: &Operation,
        base: Option<Rev>,
        is_strict: bool,
    ) -> Result<Option<Conflict>, NoDocument> {
        let current = self.rev(&operation.key);
        let clock = match self.clock(&operation.key) {
            Some(clock) => clock,
            None if base.is_none_or(|base| base == current) => return Ok(None),
            None => return Err(NoDocument::UnknownBase),
        };
        let relation = match base {
            Some(base) if self.written.has_seen(&operation.key, base, current) => None,
            Some(_) => Some(ConflictRelation::Concurrent),
            None => conflict_relation(operation, clock, is_strict),
        };
        let Some(relation) = relation else { return Ok(None) };
        Ok(self.document(&operation.key).map(|document| Conflict { relation, document }))
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
                // A place that was learned from the store is to be stored too.
                Some(before) => before.to_stored() != document.former_labels.to_stored(),
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
