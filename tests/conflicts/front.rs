//! The rule in front of a server that rejects conflicts: it settles them itself, and pushes only resolutions.

use std::collections::{BTreeMap, BTreeSet};

use super::rule::{Causality, Doc, Setting};
use super::wire::{Kind, Op, PushAnswer, Resolved};

/// The documents and the known ids of a server that settles conflicts.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    /// The beginning of the ids of resolutions.
    prefix: &'static str,
    setting: Setting,
    causality: Causality,
    docs: BTreeMap<String, Doc>,
    known: BTreeSet<String>,
}

impl Front {
    pub(crate) fn new(prefix: &'static str, setting: Setting, causality: Causality) -> Self {
        Self { prefix, setting, causality, docs: BTreeMap::new(), known: BTreeSet::new() }
    }

    /// Settles the operations of a push, and pushes the results.
    pub(crate) fn push(
        &mut self,
        ops: &[Op],
        now_ms: u64,
        through: impl FnOnce(&[Op]) -> Option<PushAnswer>,
    ) -> Option<PushAnswer> {
        let mut next = self.clone();
        let (logged, resolved) = next.settle_all(ops, now_ms);
        if !logged.is_empty() {
            let answer = through(&logged)?;
            assert_eq!(answer.conflicts, [], "a resolution has seen everything");
        }
        *self = next;
        // Original clients skip these, because they know the ids.
        let conflicts = ops.iter().filter(|op| resolved.iter().any(|one: &Resolved| one.id == op.id));
        Some(PushAnswer { accepted: ops.to_vec(), conflicts: conflicts.cloned().collect(), resolved })
    }

    /// The log forgets what it received up to a time.
    pub(crate) fn compact(&mut self, until_ms: u64) {
        self.docs.values_mut().for_each(|doc| doc.compact(until_ms));
    }

    /// Changes the policy.
    pub(crate) fn set(&mut self, setting: Setting) {
        self.setting = setting;
    }

    /// The new entries of the log after a push, and what its author must be told.
    pub(crate) fn settle_all(&mut self, ops: &[Op], now_ms: u64) -> (Vec<Op>, Vec<Resolved>) {
        let (mut logged, mut resolved) = (Vec::new(), Vec::new());
        for op in ops {
            if self.known.insert(op.id.clone()) {
                let (entry, resolution) = self.settle(op, now_ms);
                logged.push(entry);
                resolved.extend(resolution);
            }
        }
        (logged, resolved)
    }

    /// The entry of the log for an operation, and how the operation fared if its author had not seen everything.
    fn settle(&mut self, op: &Op, now_ms: u64) -> (Op, Option<Resolved>) {
        let id = format!("{}{}", self.prefix, op.id);
        let (doc, resolved) = match self.docs.get(&op.doc_id) {
            None => (Doc::begun_by(op, now_ms, self.setting), None),
            Some(before) => {
                let (doc, resolved) = before.after(op, now_ms, self.setting, self.causality);
                (doc, (!before.is_seen_by(op, self.setting)).then_some(Resolved { operation: id.clone(), ..resolved }))
            }
        };
        let is_begin = !self.docs.contains_key(&op.doc_id) && op.kind != Kind::Update;
        let entry = if is_begin { Op { synced: true, ..op.clone() } } else { doc.resolution(op, id) };
        self.docs.insert(op.doc_id.clone(), doc);
        (entry, resolved)
    }
}
