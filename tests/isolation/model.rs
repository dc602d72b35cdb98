//! The documents with their pasts, and the people who may see them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use syncflow_server::core::access::Role;
use syncflow_server::core::access::rules::Right;
use syncflow_server::core::operation::OperationKind;

use super::history::COLLECTIONS;
use super::markers::{in_text, of_document, of_operation};
use super::rules::{Person, RuleSet};

/// A document: the index of its collection, and its own.
pub(super) type Key = (usize, usize);

/// A state of a document.
#[derive(Debug, Clone)]
struct State {
    /// The first place of the log at which the document was in this state.
    from: u64,
    /// Nothing for a tombstone.
    data: Option<Map<String, Value>>,
    /// The labels of a deleted document at the time of its deletion.
    last_labels: BTreeSet<String>,
    /// The number and the clock of the operation that made the state.
    operation: u64,
    clock: u64,
}

/// An operation with a number of its own.
#[derive(Debug, Clone)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) kind: OperationKind,
    pub(super) key: Key,
    /// The counter that its clock has for every client.
    pub(super) clock: u64,
    /// The text of its data.
    pub(super) text: String,
    pub(super) data: Map<String, Value>,
}

/// The outcome that an operation must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Accepted,
    /// It is in conflict with a document that its author may see.
    Conflict,
    /// Its author may not do this.
    Forbidden {
        /// Whether the author may see the document.
        is_shown: bool,
    },
}

/// All documents, with their pasts.
#[derive(Debug, Default)]
pub(super) struct Model {
    documents: BTreeMap<Key, Vec<State>>,
    known: BTreeSet<u64>,
    /// The number of operations in the log.
    pub(super) head: u64,
}

/// A person under the rules that are in force.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) rules: Option<&'a RuleSet>,
    pub(super) who: &'a Person,
}

impl Judge<'_> {
    fn may_do_everything(self) -> bool {
        self.rules.is_none() || self.who.role == Role::Service
    }

    pub(super) fn sees_all(self) -> bool {
        self.may_do_everything() || self.rules.is_some_and(|rules| rules.shows_all_to(self.who))
    }

    fn may(self, right: Right, collection: usize, data: &Map<String, Value>) -> bool {
        let Some(rules) = self.rules.filter(|_| !self.may_do_everything()) else { return true };
        rules.permits(right, self.who, COLLECTIONS[collection], &Value::Object(data.clone()))
    }

    fn may_in_general(self, right: Right, collection: usize) -> bool {
        let Some(rules) = self.rules.filter(|_| !self.may_do_everything()) else { return true };
        rules.permits_in_general(right, self.who, COLLECTIONS[collection])
    }

    fn sees(self, (collection, _): Key, state: &State) -> bool {
        match (&state.data, self.rules) {
            (Some(data), _) => self.may(Right::Read, collection, data),
            (None, Some(rules)) if !self.may_in_general(Right::Read, collection) => {
                !state.last_labels.is_disjoint(&rules.labels_held_by(self.who))
            }
            (None, _) => true,
        }
    }
}

impl Model {
    fn state(&self, key: Key) -> Option<&State> {
        self.documents.get(&key)?.last()
    }

    /// The document, if it is there and the person may see it.
    pub(super) fn document(&self, judge: Judge<'_>, key: Key) -> Option<&Map<String, Value>> {
        let state = self.state(key).filter(|state| judge.sees(key, state))?;
        state.data.as_ref()
    }

    /// All documents that the person may see.
    pub(super) fn visible(&self, judge: Judge<'_>) -> BTreeMap<Key, &Map<String, Value>> {
        self.documents.keys().filter_map(|key| Some((*key, self.document(judge, *key)?))).collect()
    }

    /// The markers of all documents and tombstones that the person may see now.
    pub(super) fn markers(&self, judge: Judge<'_>) -> BTreeSet<String> {
        let mut markers = BTreeSet::new();
        for (key, states) in &self.documents {
            let Some(state) = states.last().filter(|state| judge.sees(*key, state)) else { continue };
            markers.extend([of_document(*key), of_operation(state.operation)]);
            markers.extend(state.data.iter().flat_map(|data| in_text(&Value::Object(data.clone()).to_string())));
        }
        markers
    }

    /// Whether the person could see the document at this place of the log or later. Its device may have it then.
    pub(super) fn could_see_since(&self, judge: Judge<'_>, key: Key, place: u64) -> bool {
        let states = self.documents.get(&key).map(Vec::as_slice).unwrap_or_default();
        let ends = states.iter().skip(1).map(|next| next.from).chain([u64::MAX]);
        states.iter().zip(ends).any(|(state, end)| end > place && judge.sees(key, state))
    }

    /// Decides about an operation, and does what it says.
    pub(super) fn take(&mut self, judge: Judge<'_>, operation: &Numbered) -> Expected {
        if self.known.contains(&operation.number) {
            return Expected::Accepted;
        }
        let key = operation.key;
        let before = self.state(key).cloned();
        if let Some(state) = &before {
            let sees = judge.sees(key, state);
            let changes = sees && state.data.as_ref().is_none_or(|data| judge.may(Right::Write, key.0, data));
            if !changes {
                return Expected::Forbidden { is_shown: sees };
            }
            if operation.clock < state.clock {
                return Expected::Conflict;
            }
        }
        let live = before.as_ref().and_then(|state| state.data.as_ref());
        let data = match (operation.kind, live) {
            (OperationKind::Delete, _) => None,
            (OperationKind::Update, Some(data)) => {
                let mut data = data.clone();
                data.extend(operation.data.clone());
                Some(data)
            }
            (OperationKind::Insert | OperationKind::Update, _) => Some(operation.data.clone()),
        };
        let is_permitted = match (&data, live) {
            (Some(data), Some(_)) => judge.may(Right::Write, key.0, data),
            (Some(data), None) => judge.may(Right::Create, key.0, data),
            (None, Some(_)) => true,
            (None, None) => judge.may_in_general(Right::Create, key.0),
        };
        if !is_permitted {
            return Expected::Forbidden { is_shown: before.is_some() };
        }
        let last_labels = match (judge.rules, live) {
            (Some(rules), Some(data)) if operation.kind == OperationKind::Delete => {
                rules.labels_of(Right::Read, COLLECTIONS[key.0], &Value::Object(data.clone()))
            }
            (Some(_), _) if data.is_some() => BTreeSet::new(),
            // A tombstone that is written again keeps them, and without rules nothing changes them.
            _ => before.as_ref().map(|state| state.last_labels.clone()).unwrap_or_default(),
        };
        self.head += 1;
        self.known.insert(operation.number);
        let state = State { from: self.head, data, last_labels, operation: operation.number, clock: operation.clock };
        self.documents.entry(key).or_default().push(state);
        Expected::Accepted
    }
}
