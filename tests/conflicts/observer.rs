//! An observer of the log, which compares the answers to pushes with it and notices faults that no client can notice.
//!
//! It can also plant bugs: it knows what stands behind each resolution, and so what a server with a bug would show.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::{AuditedEntry, Clock, Kind, Op, PullAnswer, PushAnswer, Resolved, join};

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A resolution has only the clock of the operation.
    ClockOfOperation,
    /// A resolution has only the clock of the document before.
    ClockOfDocument,
    /// A resolution is an update with the whole document.
    ResolutionIsUpdate,
    /// The answer to a push has the resolution.
    ResolutionInAnswer,
    /// There is no resolution if the operation lost.
    NothingIfLost,
    /// The server adds a counter of its own to the clock, which counts the writes of this document.
    BumpPerDocument,
    /// The stamp of a content does not remember the later operations that its author had seen.
    StampWithoutCausality,
}

/// A reader of the whole log.
#[derive(Debug)]
pub(crate) struct Observer {
    /// The beginning of the ids of resolutions. The id of the operation follows.
    prefix: &'static str,
    pub(crate) cursor: Option<String>,
    clocks: BTreeMap<String, (Clock, u64)>,
    /// The places of the entries in the log.
    places: BTreeMap<String, usize>,
    pushed: BTreeSet<String>,
    faults: Vec<String>,
    /// The entries as a server with a bug shows them.
    falsified: BTreeMap<String, Op>,
}

impl Observer {
    pub(crate) fn new(prefix: &'static str) -> Self {
        Self {
            prefix,
            cursor: None,
            clocks: BTreeMap::new(),
            places: BTreeMap::new(),
            pushed: BTreeSet::new(),
            faults: Vec::new(),
            falsified: BTreeMap::new(),
        }
    }

    /// The faults of the answers to pushes.
    pub(crate) fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The place of an entry in the log.
    pub(crate) fn place(&self, id: &str) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// Compares the answer to a push with the entries that the log has got by it. Every value of a new operation must
    /// be in its entry, or be listed as lost.
    pub(crate) fn observe(&mut self, ops: &[Op], answer: &PushAnswer, entries: &[Op], bug: Option<Bug>) {
        let own: BTreeSet<&str> = ops.iter().map(|op| op.id.as_str()).collect();
        let in_answer = answer.accepted.iter().chain(&answer.conflicts);
        let strange = in_answer.filter(|op| !own.contains(op.id.as_str()));
        self.faults.extend(strange.map(|op| format!("the answer has {op:?}")));
        for entry in entries {
            self.places.insert(entry.id.clone(), self.places.len());
            let (clock, rev) = self.clocks.entry(entry.doc_id.clone()).or_default();
            let before = clock.clone();
            join(clock, &entry.vector_clock);
            *rev += 1;
            let (is_whole, rev) = (*clock == entry.vector_clock, *rev);
            if !is_whole {
                self.faults.push(format!("{entry:?} has not seen {before:?}, which is in the log before it"));
            }
            let op = entry.id.strip_prefix(self.prefix).and_then(|id| ops.iter().find(|op| op.id == id));
            if let (Some(bug), Some(op)) = (bug, op) {
                let resolved = answer.resolved.iter().find(|resolved| resolved.id == op.id);
                let shown = falsified(bug, entry, op, resolved, (&before, rev));
                self.falsified.insert(entry.id.clone(), shown);
            }
        }
        for op in ops {
            if !answer.accepted.contains(op) {
                self.faults.push(format!("not accepted as sent: {op:?}"));
            }
            if self.pushed.insert(op.id.clone()) {
                let resolved = answer.resolved.iter().find(|resolved| resolved.id == op.id);
                let id = format!("{}{}", self.prefix, op.id);
                let entry = entries.iter().find(|entry| entry.id == id || entry.id == op.id);
                let is_right = resolved.is_none_or(|resolved| resolved.operation == id);
                if !is_right || !entry.is_some_and(|entry| is_accounted(op, entry, resolved)) {
                    self.faults.push(format!("{op:?} became {entry:?}, and the answer says {resolved:?}"));
                }
            }
        }
    }

    /// Checks that the server keeps each operation of which something was lost, also for an author that never gets the
    /// answer.
    pub(crate) fn check_kept(&mut self, ops: &[Op], answer: &PushAnswer, entries: &[AuditedEntry]) {
        for resolved in &answer.resolved {
            let kept = entries.iter().find(|entry| entry.op.id == resolved.operation);
            let kept = kept.and_then(|entry| entry.resolution.as_ref());
            let op = ops.iter().find(|op| op.id == resolved.id);
            let is_right = kept.zip(op).is_some_and(|(kept, op)| {
                let data = kept["operation"]["data"].as_object();
                let is_whole = resolved.outcome == "won" || data == op.data.as_ref();
                kept["id"] == resolved.id.as_str() && kept["outcome"] == resolved.outcome.as_str() && is_whole
            });
            if !is_right {
                self.faults.push(format!("{resolved:?} is kept as {kept:?}"));
            }
        }
    }

    /// Compares what a push has added to the log, and what its answer tells, with what the rule makes of it.
    pub(crate) fn compare(&mut self, given: (&[Op], &[Resolved]), expected: (&[Op], &[Resolved])) {
        let entries = given.0.iter().map(Some).chain([None]).zip(expected.0.iter().map(Some).chain([None]));
        let resolved = given.1.iter().map(Some).chain([None]).zip(expected.1.iter().map(Some).chain([None]));
        if let Some((given, expected)) = entries.into_iter().find(|(given, expected)| given != expected) {
            self.faults.push(format!("the server made {given:?}, and the rule {expected:?}"));
        } else if let Some((given, expected)) = resolved.into_iter().find(|(given, expected)| given != expected) {
            self.faults.push(format!("the server told {given:?}, and the rule {expected:?}"));
        }
    }

    /// A page as a server with a bug shows it. The times stay, with which original clients say where they are.
    pub(crate) fn falsify_page(&self, page: &mut PullAnswer) {
        for entry in &mut page.operations {
            if let Some(shown) = self.falsified.get(&entry.id) {
                *entry = Op { timestamp: entry.timestamp, ..shown.clone() };
            }
        }
    }

    /// The answer of a server that has resolutions in it.
    pub(crate) fn falsify_answer(&self, answer: &mut PushAnswer, entries: &[Op]) {
        answer.conflicts.extend(entries.iter().filter(|entry| entry.id.starts_with(self.prefix)).cloned());
    }
}

/// Whether nothing of an operation vanished in silence.
fn is_accounted(op: &Op, entry: &Op, resolved: Option<&Resolved>) -> bool {
    if entry.id == op.id {
        // The server makes the clock of an operation that names a revision.
        let clock = if op.vector_clock.is_empty() { &entry.vector_clock } else { &op.vector_clock };
        return resolved.is_none() && *entry == Op { synced: true, vector_clock: clock.clone(), ..op.clone() };
    }
    let lost = resolved.map(|resolved| resolved.lost.clone()).unwrap_or_default();
    let (sent, shown) = (op.data.clone().unwrap_or_default(), entry.data.clone().unwrap_or_default());
    let is_said = sent.iter().all(|(key, value)| [shown.get(key), lost.get(key)].contains(&Some(value)));
    let is_own = lost.iter().all(|(key, value)| sent.get(key) == Some(value));
    let has_delete_lost = op.kind == Kind::Delete && entry.kind != Kind::Delete;
    let says_lost = resolved.is_some_and(|resolved| resolved.outcome == "lost");
    let is_state = entry.kind != Kind::Update && entry.collection == op.collection && entry.doc_id == op.doc_id;
    is_said && is_own && is_state && (!has_delete_lost || says_lost)
}

/// An entry as a server with a bug shows it.
fn falsified(bug: Bug, entry: &Op, op: &Op, resolved: Option<&Resolved>, (before, rev): (&Clock, u64)) -> Op {
    let mut shown = entry.clone();
    match bug {
        Bug::ClockOfOperation => shown.vector_clock.clone_from(&op.vector_clock),
        Bug::ClockOfDocument => shown.vector_clock.clone_from(before),
        Bug::ResolutionIsUpdate if entry.kind == Kind::Insert => shown.kind = Kind::Update,
        // The document as it was before tells nobody anything.
        Bug::NothingIfLost if resolved.is_some_and(|resolved| resolved.outcome == "lost") => {
            shown.vector_clock.clone_from(before);
        }
        Bug::BumpPerDocument => {
            shown.vector_clock.insert("syncflow-server".to_owned(), rev);
        }
        _ => {}
    }
    shown
}
