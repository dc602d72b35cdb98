//! The documents of a decision while it goes on: each is read once, however many operations change it.

mod changed;
mod resolving;
mod revisions;
mod rights;

use std::collections::{HashMap, HashSet};

use self::changed::{Based, Last, State, Step, Totals, Undo, Working, conflict_relation, signed};
use self::rights::{Rights, permits_step};
use super::base::{Derived, Written, credible_max, derive};
use super::batch::{Batch, DocumentWrite, Resolution};
use super::claims::Owners;
use super::content::NoDocument;
use super::outcome::{
    Conflict, ConflictRelation, Decision, OperationRefused, Outcome, Push, Reached, Refused, Snapshot,
};
use crate::core::access::View;
use crate::core::access::labels::FormerLabels;
use crate::core::decide::quota::Usage;
use crate::core::document::Document;
use crate::core::document::fields::DataOfDocument;
use crate::core::names::{DocumentKey, OperationId, Subject};
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
    /// The resolutions among the operations.
    resolutions: Vec<Resolution>,
    /// The bytes of the resolutions of earlier pushes.
    resolutions_before: usize,
    now_ms: UnixMs,
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
            operations: Vec::new(),
            subjects: Vec::new(),
            pushes: 0,
            changed_bytes: 0,
            shown_bytes: 0,
            derived_bytes: 0,
            open_keys: 0,
            totals: Totals::default(),
            resolutions: Vec::new(),
            resolutions_before: 0,
            now_ms,
        }
    }

    /// Decides about one push; one that is refused is taken back.
    pub(super) fn push(&mut self, push: Push<'a>) -> Decision {
        let mut undo = Vec::new();
        self.resolutions_before = self.totals.resolutions;
        let (totals, operations, owners) = (self.totals, self.operations.len(), self.owners.moment());
        let derived_bytes = self.derived_bytes;
        let is_of_log = push.bases.are_of_log(&self.snapshot.fingerprints);
        let checked = if is_of_log { self.owners.check_pusher(push.claimant) } else { Err(Refused::OtherLog) };
        let decided = checked.and_then(|()| self.operations(push, &mut undo));
        let decision = decided.and_then(|outcomes| {
            let stamps = self.count_stamps(&undo);
            self.check_quota(push, totals, operations)?;
            self.owners.check_quota(&push.quota, self.snapshot.owned_clients, owners)?;
            self.count_changed(&undo)?;
            for (key, text) in stamps {
                if let Some(working) = self.documents.get_mut(key) {
                    working.counted_stamps = text;
                }
            }
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

    /// How many bytes the documents and resolutions have that are written or only shown, and the derived clocks.
    pub(super) fn bytes(&self) -> usize {
        self.changed_bytes + self.shown_bytes + self.derived_bytes + self.totals.resolutions
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
        let only_deletes = self.totals.others == totals_before.others;
        let before = after(totals_before, operations_before);
        let exceeded = push.quota.exceeded(before, after(self.totals, self.operations.len()), only_deletes);
        exceeded.map_or(Ok(()), |exceeded| Err(Refused::QuotaExceeded(exceeded)))
    }

    fn operations(&mut self, push: Push<'a>, undo: &mut Vec<Undo<'a>>) -> Decision {
        let Push { operations, conflicts_max_bytes: max_bytes, claimant, is_partial, is_lenient, .. } = push;
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
                if !is_partial || is_lenient {
                    return Err(Refused::ForeignClient { index: Some(index) });
                }
                refused_keys.insert(&operation.key);
                outcomes.push(Outcome::Refused(OperationRefused::ForeignClient));
                continue;
            }
            let (totals, undone) = (self.totals, undo.len());
            let mut outcome = match self.operation((index, operation), push, undo) {
                Err(problem @ (NoDocument::TooLarge | NoDocument::ClockTooLarge | NoDocument::UnknownBase))
                    if is_partial =>
                {
                    self.take_back(undo.split_off(undone));
                    self.totals = totals;
                    if !is_lenient {
                        refused_keys.insert(&operation.key);
                    }
                    Outcome::Refused(match problem {
                        NoDocument::ClockTooLarge => OperationRefused::ClockTooLarge,
                        NoDocument::UnknownBase => OperationRefused::UnknownBase,
                        _ => OperationRefused::DocumentTooLarge,
                    })
                }
                outcome => outcome.map_err(|problem| problem.at(index))?,
            };
            if let (true, Some(claimant)) = (outcome.is_applied(), claimant) {
                self.owners.claim_for(operation, claimant);
            }
            if outcome.is_applied() && push.bases.of(index).is_none() {
                self.owners.note_own(operation, credible_max(self.now_ms));
            }
            if let Outcome::Resolved(resolved) = &mut outcome
                && conflict_bytes + resolved.wire_bytes() > max_bytes
            {
                // The author has the values in its operation.
                resolved.lost = None;
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
        let base = push.bases.of(index);
        if self.is_known(operation) {
            return Ok(self.known(operation, base, push.view));
        }
        let view = push.view;
        let rights = self.rights(view, &operation.key);
        if !rights.sees {
            return Ok(Outcome::Forbidden(None));
        }
        if !rights.changes {
            return Ok(Outcome::Forbidden(self.document(&operation.key).map(Box::new)));
        }
        let has_seen = base.map(|base| self.has_seen(&operation.key, base)).transpose()?;
        let policy = push.policies.of(&operation.key.collection);
        if !policy.0.resolves()
            && let Some(conflict) = self.conflict(operation, has_seen, push.is_strict)
        {
            return Ok(Outcome::Conflict(Box::new(conflict)));
        }
        let (current, owners) = (self.rev(&operation.key), &self.owners);
        let before = self.clock(&operation.key).cloned().unwrap_or_default();
        let derived = base.map(|_| derive(&before, &operation.client_id, |client| owners.given(client), self.now_ms));
        let mut made = operation.clone();
        if let Some(derived) = &derived {
            made.clock = derived.clock.clone();
        }
        let step = if policy.0.resolves() {
            let based = derived.as_ref().zip(base).zip(has_seen);
            let based = based.map(|((derived, base), has_seen)| Based { derived, base, has_seen });
            self.resolution(&made, based, push, policy)?
        } else {
            Some(Step::default())
        };
        let Some(step) = step else {
            let relation = conflict_relation(operation, &before, push.is_strict).filter(|_| base.is_none());
            let relation = relation.unwrap_or(ConflictRelation::Concurrent);
            let conflict = self.document(&operation.key).map(|document| Conflict { relation, document });
            return Ok(conflict.map_or(Outcome::Duplicate, |conflict| Outcome::Conflict(Box::new(conflict))));
        };
        let outcome = self.take_step((operation, made), push, step, undo)?;
        if !outcome.is_applied() {
            return Ok(outcome);
        }
        self.written.note(&operation.key, current);
        self.written.note_id(&operation.id);
        let Some(Derived { clock, raised, given }) = derived else { return Ok(outcome) };
        self.derived_bytes += clock.json().as_str().len();
        self.owners.give(raised, given);
        // The revision of a document that its author has not seen would say nothing to it.
        if outcome != Outcome::Applied || has_seen != Some(true) {
            return Ok(outcome);
        }
        let raised = [(raised.clone(), clock.get(raised))].into_iter().collect();
        Ok(Outcome::Reached(Box::new(Reached { is_new: true, rev: current.next(), raised })))
    }

    /// Changes the document, or finds that this is forbidden. `made` is the operation with its clock.
    fn take_step(
        &mut self,
        (operation, made): (&'a Operation, Operation),
        push: Push<'a>,
        step: Step,
        undo: &mut Vec<Undo<'a>>,
    ) -> Result<Outcome, NoDocument> {
        let view = push.view;
        let before = self.snapshot.documents.get(&operation.key);
        let stamps_bytes = self.snapshot.stamps_bytes.get(&operation.key).copied().unwrap_or_default();
        let working = self.documents.entry(&operation.key).or_insert_with(|| Working::of(before, stamps_bytes));

        let revives = working.now.rev > Rev::NONE && working.content.is_nothing();
        let may_revive = revives || push.tombstones.may_be_gone() && working.content.is_nothing();
        let logged = match (&step.resolution, &operation.change) {
            (Some(settled), _) => settled.operation.clone(),
            // A client may keep the data of a document that it deleted, and would merge an update into them. An insert
            // replaces them.
            (None, Change::Update(data)) if may_revive => Operation { change: Change::Insert(data.clone()), ..made },
            (None, _) => made,
        };
        let (totals, keys_before, kept_before) = (self.totals, working.content.open_keys(), working.kept());
        let labels_before = working.labels(view, &operation.key);
        let was_live = labels_before.is_some();
        let changed = match &step.resolution {
            Some(settled) => Ok(working.content.replace(settled.operation.data().cloned())),
            None => working.content.change(&operation.change),
        };
        let content = match changed {
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
            // The holders of the labels of data below a tombstone may see the tombstone.
            let labels_below = step.moved_below().map(|data| view.labels_of_data(&operation.key.collection, data));
            former.after_write(labels_before.or(labels_below).as_ref(), labels.as_ref())
        } else {
            former.clone()
        };
        let are_few = former_labels.lost_len() <= FORMER_LABELS_MAX_ENTRIES;
        let is_permitted = (are_few || view.may_do_everything())
            && permits_step(view, &operation.key.collection, &step, (was_live, revives), working.content.data());
        let index = self.operations.len();
        let Step { memory, resolution } = step;
        let (outcome, kept) = match &resolution {
            Some(settled) => (settled.outcome.clone(), settled.kept.as_ref().map_or(0, |kept| kept.as_str().len())),
            None => (Outcome::Applied, 0),
        };
        let last = Last { pushed: operation, resolution: resolution.as_ref().map(|_| logged.clone()), index };
        let (rev, clock) = (working.now.rev.next(), logged.clock.clone());
        let state = State { rev, last: Some(last), clock, former_labels, memory };
        let state = std::mem::replace(&mut working.now, state);
        undo.push(Undo { key: &operation.key, state, content });
        let after = working.kept();
        self.totals.others += usize::from(!working.makes_room(&operation.change, was_live));
        self.totals.live_documents += after.live_documents - kept_before.live_documents;
        self.totals.bytes += after.bytes - kept_before.bytes + signed(logged.kept_bytes() + kept);
        if let Some(settled) = resolution {
            self.totals.resolutions += logged.kept_bytes() + kept;
            let (pushed_id, kept) = (operation.id.clone(), settled.kept);
            self.resolutions.push(Resolution { operation_index: index, pushed_id, kept });
        }
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
        if self.totals.resolutions - self.resolutions_before > PUSH_WRITTEN_MAX_BYTES {
            return Err(NoDocument::ResolutionsTooLarge);
        }
        if self.open_keys > PUSH_OPEN_MAX_KEYS { Err(NoDocument::TooManyKeys) } else { Ok(outcome) }
    }

    /// Whether an operation has taken effect.
    fn is_known(&self, operation: &Operation) -> bool {
        self.applied.contains(&operation.id) || self.snapshot.knows(operation)
    }

    /// The rights of the author of a push to a document as it is now. They are found once for each state, because it
    /// takes a pass over the document.
    fn rights(&mut self, view: &View, key: &'a DocumentKey) -> Rights {
        if view.may_do_everything() {
            return Rights::OF_NOTHING;
        }
        if let Some(rights) = self.rights.get(key) {
            return *rights;
        }
        let of_tombstone = |former: &FormerLabels| Rights::of_tombstone(view, &key.collection, former);
        let of_data = |data: &DataOfDocument<'_, '_>| Rights::of_data(view, &key.collection, data);
        let rights = match (self.documents.get(key), self.snapshot.documents.get(key)) {
            (Some(working), _) => match working.content.data() {
                Some(data) => of_data(&data),
                None => of_tombstone(&working.now.former_labels),
            },
            (None, Some(document)) => match &document.data {
                Some(data) => of_data(&DataOfDocument::Text(data)),
                None => of_tombstone(&document.former_labels),
            },
            (None, None) => Rights::OF_NOTHING,
        };
        self.rights.insert(key, rights);
        rights
    }

    /// The conflict of an operation with its document as it is now, if there is one. `has_seen` says whether the author
    /// of an operation that names a revision has seen the document.
    fn conflict(&mut self, operation: &Operation, has_seen: Option<bool>, is_strict: bool) -> Option<Conflict> {
        let relation = match has_seen {
            Some(true) => return None,
            Some(false) => ConflictRelation::Concurrent,
            None => conflict_relation(operation, self.clock(&operation.key)?, is_strict)?,
        };
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

    /// Adds the stamps of the documents that a push has changed to the totals. Returns the texts of all with stamps.
    fn count_stamps(&mut self, undo: &[Undo<'a>]) -> Vec<(&'a DocumentKey, Option<String>)> {
        let mut texts = Vec::new();
        for key in undo.iter().map(|undo| undo.key).collect::<HashSet<_>>() {
            let Some(working) = self.documents.get(key) else { continue };
            if !working.has_or_had_stamps() {
                continue;
            }
            let text = working.stamps();
            let bytes = text.as_ref().map_or(0, String::len);
            self.totals.bytes += signed(bytes) - signed(working.counted_stamps_bytes());
            texts.push((key, text));
        }
        texts
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
            if let Some(Last { pushed, resolution, .. }) = &working.now.last {
                self.applied.remove(&pushed.id);
                if resolution.is_some() {
                    self.resolutions.pop();
                }
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
        let Totals { live_documents: live_documents_delta, bytes: bytes_delta, .. } = self.totals;
        let mut documents = Vec::with_capacity(self.documents.len());
        for (key, mut working) in self.documents {
            let Some((_, operation_index)) = working.last() else { continue };
            let Some(document) = working.document() else { continue };
            let stamps = working.counted_stamps.take();
            let seen_rev = working.before.map(|before| before.rev);
            let labels_before = working.before.map(|before| &before.former_labels);
            let changes_labels = match labels_before {
                // A place that was learned from the store is to be stored too.
                Some(before) => before.to_stored() != document.former_labels.to_stored(),
                None => !document.former_labels.is_empty(),
            };
            let key = key.clone();
            documents.push(DocumentWrite { key, seen_rev, document, operation_index, changes_labels, stamps });
        }
        documents.sort_unstable_by(|left, right| left.key.cmp(&right.key));
        Batch {
            operations: self.operations,
            documents,
            subjects: self.subjects,
            resolutions: self.resolutions,
            owners: self.owners.into_writes(),
            live_documents_delta,
            bytes_delta,
            received_at_ms,
        }
    }
}
