//! The documents that result from the log, by the rules of the protocol alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};
use syncflow_server::core::clock::VectorClock;
use syncflow_server::core::decide::resolution_id;
use syncflow_server::core::json::Object;
use syncflow_server::core::names::ClientId;
use syncflow_server::core::names::{DocumentKey, OperationId};
use syncflow_server::core::numbers::{Rev, Seq};
use syncflow_server::core::operation::{Change, Operation};

use crate::conflicts::rule::{Causality, Doc, Setting};
use crate::conflicts::wire::{Kind, Op, Resolved};

/// A time of reception that no device is ahead of.
const LATE_MS: u64 = u64::MAX / 2;

/// A state that a document had.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The sequence number of the operation that made this state.
    pub(super) seq: Seq,
    pub(super) operation_id: OperationId,
    pub(super) rev: Rev,
    /// `None` for a tombstone.
    pub(super) data: Option<Map<String, Value>>,
    pub(super) clock: VectorClock,
    /// The entry of the log, if the server settles conflicts.
    pub(super) entry: Option<Op>,
    /// The part of the answer that the author must get, if it had not seen the content.
    pub(super) resolved: Option<Resolved>,
}

/// The states of every document, in their order.
#[derive(Debug, Default)]
pub(super) struct Replay {
    states: BTreeMap<DocumentKey, Vec<State>>,
    /// The index of the state that an operation made, among the states of its document.
    indexes: HashMap<OperationId, usize>,
    /// The documents in whose states there may be data that a compaction has removed before they were needed.
    pub(super) uncertain: BTreeSet<DocumentKey>,
}

impl Replay {
    /// Plays operations in the order of the log, under a policy if there is one. Compactions have removed no entry
    /// behind `horizon`.
    pub(super) fn of<'h>(
        setting: Option<Setting>,
        horizon: Seq,
        log: impl IntoIterator<Item = (Seq, &'h Operation)>,
    ) -> Self {
        match setting {
            None => Self::rejected(log),
            Some(setting) => Self::settled(setting, horizon, log),
        }
    }

    fn settled<'h>(setting: Setting, horizon: Seq, log: impl IntoIterator<Item = (Seq, &'h Operation)>) -> Self {
        let mut docs: HashMap<&DocumentKey, Doc> = HashMap::new();
        let mut deleted_at: HashMap<&DocumentKey, Seq> = HashMap::new();
        let mut replay = Self::default();
        for (seq, operation) in log {
            let op = Op::from(operation);
            let states = replay.states.entry(operation.key.clone()).or_default();
            let before = docs.get(&operation.key);
            let id = resolution_id(&operation.id).to_string();
            let after = |before: &Doc| {
                let (doc, resolved) = before.after(&op, LATE_MS, setting, Causality(true));
                let entry = doc.resolution(&op, id.clone());
                (doc, entry, (!before.is_seen_by(&op, setting)).then_some(resolved))
            };
            let (doc, entry, resolved) = match before {
                None => {
                    let doc = Doc::begun_by(&op, LATE_MS, setting);
                    let is_state = op.kind == Kind::Update;
                    let entry = if is_state { doc.resolution(&op, id) } else { Op { synced: true, ..op } };
                    (doc, entry, None)
                }
                Some(before) => {
                    let after_retention = {
                        let mut before = before.clone();
                        before.compact(u64::MAX);
                        after(&before)
                    };
                    let (doc, entry, resolved) = after(before);
                    let is_same = (&after_retention.1, &after_retention.2) == (&entry, &resolved);
                    if !is_same && deleted_at.get(&operation.key).is_some_and(|seq| *seq <= horizon) {
                        replay.uncertain.insert(operation.key.clone());
                    }
                    (doc, entry, resolved)
                }
            };
            if entry.kind == Kind::Delete {
                deleted_at.entry(&operation.key).or_insert(seq);
            } else {
                deleted_at.remove(&operation.key);
            }
            let counter = |(client, counter): (&String, &u64)| (ClientId::literal(client), *counter);
            replay.indexes.insert(operation.id.clone(), states.len());
            states.push(State {
                seq,
                operation_id: operation.id.clone(),
                rev: states.last().map_or(Rev::NONE, |state| state.rev).next(),
                data: entry.data.clone(),
                clock: entry.vector_clock.iter().map(counter).collect(),
                entry: Some(entry),
                resolved,
            });
            docs.insert(&operation.key, doc);
        }
        replay
    }

    fn rejected<'h>(log: impl IntoIterator<Item = (Seq, &'h Operation)>) -> Self {
        let mut states: BTreeMap<DocumentKey, Vec<State>> = BTreeMap::new();
        let mut indexes = HashMap::new();
        for (seq, operation) in log {
            let states = states.entry(operation.key.clone()).or_default();
            let (rev, data) = states.last().map_or((Rev::NONE, None), |state| (state.rev, state.data.as_ref()));
            indexes.insert(operation.id.clone(), states.len());
            states.push(State {
                seq,
                operation_id: operation.id.clone(),
                rev: rev.next(),
                data: behind(data, operation),
                clock: operation.clock.clone(),
                entry: None,
                resolved: None,
            });
        }
        Self { states, indexes, uncertain: BTreeSet::new() }
    }

    /// The state that an operation made of a document.
    pub(super) fn state_by(&self, key: &DocumentKey, id: &OperationId) -> Option<&State> {
        self.states(key).get(*self.indexes.get(id)?)
    }

    /// The states of a document.
    pub(super) fn states(&self, key: &DocumentKey) -> &[State] {
        self.states.get(key).map_or(&[], Vec::as_slice)
    }

    /// Every document that was ever written, with its states.
    pub(super) fn documents(&self) -> impl Iterator<Item = (&DocumentKey, &[State])> {
        self.states.iter().map(|(key, states)| (key, states.as_slice()))
    }
}

fn behind(before: Option<&Map<String, Value>>, operation: &Operation) -> Option<Map<String, Value>> {
    match (&operation.change, before) {
        (Change::Delete, _) => None,
        (Change::Insert(sent), _) | (Change::Update(sent), None) => Some(object(sent)),
        (Change::Update(sent), Some(before)) => {
            let mut data = before.clone();
            data.extend(object(sent));
            Some(data)
        }
    }
}

/// A JSON object as a map.
pub(super) fn object(data: &Object) -> Map<String, Value> {
    serde_json::from_str(data.as_str()).expect("data is an object")
}
