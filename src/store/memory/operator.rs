//! The model store for an operator: the whole log, transfers, and erasing.

use super::{Logged, Tenant, detached, logged_entry};
use crate::core::decide::{is_reserved, pushed_id};
use crate::core::json::Object;
use crate::core::names::{ClientId, FromStore as _, OperationId};
use crate::core::numbers::Seq;
use crate::core::operation::Change;
use crate::store::ClientMemory;
use crate::store::operator::{
    Audit, AuditBuilder, AuditEntry, ClientRow, Counters, Erased, Lesson, ScrubStep, merge_client_rows,
};

impl Tenant {
    pub(super) fn audit(&self, after: Seq, max_entries: usize) -> Audit {
        let mut audit = AuditBuilder::new(max_entries);
        for (seq, logged) in self.log.range(after.next()..) {
            let Some(position) = self.position(*seq) else { break };
            let entry = AuditEntry {
                entry: logged_entry(*seq, logged),
                fingerprint: position.fingerprint,
                received_at_ms: logged.received_at_ms,
                is_id_known: self.is_known(&logged.operation.id),
                kept_bytes: logged.kept.as_ref().map_or(0, |kept| kept.as_str().len()) as u64,
            };
            if !audit.push(entry) {
                break;
            }
        }
        let (usage, operations) = (self.usage(), self.log.len() as u64);
        let counters = Counters {
            operations,
            documents: usage.documents,
            bytes: usage.bytes,
            received_at_ms: self.received_at_ms,
        };
        audit.finish(self.head(), counters, self.position(after).map(|there| there.fingerprint))
    }

    /// Whether the id of an entry is known, or that of the operation that it resolves.
    fn is_known(&self, id: &OperationId) -> bool {
        self.known.contains(id) || self.known.contains(&OperationId::from_store(pushed_id(id)))
    }

    pub(super) fn operation_ids(&self, after: Option<&OperationId>, limit: usize) -> Vec<OperationId> {
        let is_listed = |id: &&OperationId| after.is_none_or(|after| *id > after) && !is_reserved(id);
        let mut ids: Vec<_> = self.known.iter().filter(is_listed).cloned().collect();
        ids.sort_unstable();
        ids.truncate(limit);
        ids
    }

    pub(super) fn client_rows(&self, after: Option<&ClientId>, limit: usize) -> Vec<ClientRow> {
        let is_behind = |client: &ClientId| after.is_none_or(|after| client > after);
        let owners = self.owners.iter().filter(|(client, _)| is_behind(client)).take(limit);
        let pulls = self.clients.iter().filter(|(client, _)| is_behind(client)).take(limit);
        let memory =
            |(client, memory): (&ClientId, &ClientMemory)| (client.clone(), memory.progress(), memory.places.clone());
        let owners = owners.map(|(client, owner)| (client.clone(), owner.clone())).collect();
        merge_client_rows(owners, pulls.map(memory).collect(), limit)
    }

    pub(super) fn learn(&mut self, lesson: Lesson) {
        self.known.extend(lesson.ids.iter().map(detached));
        for (client, learned) in lesson.owners {
            let owner = self.owners.entry(client).or_default();
            owner.subject = owner.subject.take().or(learned.subject);
            owner.counter = owner.counter.max(learned.counter);
        }
    }

    pub(super) fn scrub(&mut self, step: &ScrubStep) -> u64 {
        let mut scrubbed = 0;
        for (_, Logged { operation, kept, .. }) in self.log.range_mut(step.after.next()..=step.up_to) {
            let nothing = || Object::literal("{}");
            let has_data = operation.data().is_some_and(|data| *data != nothing());
            if operation.key != step.key || !has_data && kept.is_none() {
                continue;
            }
            *kept = None;
            operation.change = match &operation.change {
                Change::Insert(_) => Change::Insert(nothing()),
                Change::Update(_) => Change::Update(nothing()),
                Change::Delete => Change::Delete,
            };
            scrubbed += 1;
        }
        scrubbed
    }

    /// Documents go first, since a page of documents needs the fingerprints of the log.
    pub(super) fn erase(&mut self, max_rows: usize) -> Erased {
        let mut rows_left = max_rows;
        let mut erased = Erased::default();
        while rows_left > 0
            && let Some((key, (seq, _))) = self.documents.pop_first()
        {
            self.stamps.remove(&key);
            self.keys_by_seq.remove(&seq);
            (erased.documents, rows_left) = (erased.documents + 1, rows_left - 1);
        }
        while rows_left > 0
            && let Some((seq, _)) = self.log.pop_first()
        {
            self.horizon = seq;
            (erased.entries, rows_left) = (erased.entries + 1, rows_left - 1);
        }
        let ids: Vec<_> = self.known.iter().take(rows_left).cloned().collect();
        for id in ids {
            self.known.remove(&id);
            (erased.ids, rows_left) = (erased.ids + 1, rows_left - 1);
        }
        while rows_left > 0 && (self.clients.pop_first().is_some() || self.owners.pop_first().is_some()) {
            (erased.clients, rows_left) = (erased.clients + 1, rows_left - 1);
        }
        Erased { is_finished: rows_left > 0, ..erased }
    }
}
