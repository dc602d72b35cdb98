//! Devices that behave like real clients: their documents, their clocks, and how they apply pages and answers.
//!
//! A device keeps a clock for each document, from the operations that it applied, and a counter of its own operations.
//! It pushes its operations until they are answered, and pulls only then. But a device that pulls with cursors gets its
//! first cursor before it pushes. A client without a cursor receives no tombstones that are older than its start. If
//! the server refuses an operation, the device takes the server's document and applies its later accepted operations to
//! it again. It does not change the document until it is up to date.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Map, Value};
use syncflow_server::conformance::draft::key;
use syncflow_server::core::clock::VectorClock;
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::decide::Outcome;
use syncflow_server::core::document::Document;
use syncflow_server::core::json::{Members, Object};
use syncflow_server::core::names::{ClientId, DocumentKey, OperationId};
use syncflow_server::core::numbers::UnixMs;
use syncflow_server::core::operation::{Change, LogEntry, Operation, OperationKind};
use syncflow_server::limits::protocol::INTEGER_MAX;
use syncflow_server::service::{PullFrom, PulledPage};

use super::story::{DOCUMENTS, Dialect, WallClock};

/// The data of documents, by document.
pub(crate) type Documents = BTreeMap<DocumentKey, Map<String, Value>>;

/// A document as the device has it.
#[derive(Debug, Clone, Default)]
struct Held {
    /// Devices that keep the data of deleted documents have them here.
    data: Map<String, Value>,
    is_deleted: bool,
}

/// The place at which the next pull of a device begins.
#[derive(Debug, Clone, Copy)]
enum Place {
    Cursor(Option<Cursor>),
    Since(UnixMs),
}

/// A device of one user.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    client: ClientId,
    /// The client id with which it pulls. A tab shares this id, but signs its operations with its own. Two tabs with
    /// one author would give the same clock to two operations, and another device could not tell that it lacks the
    /// second.
    pulls_as: ClientId,
    is_tab: bool,
    lives: u64,
    wall_clock: WallClock,
    place: Place,
    held: BTreeMap<DocumentKey, Held>,
    clocks: BTreeMap<DocumentKey, VectorClock>,
    clocks_used: BTreeMap<DocumentKey, Vec<VectorClock>>,
    counter: u64,
    operations_made: u64,
    known: HashSet<OperationId>,
    pending: Vec<Operation>,
    unsettled: BTreeSet<DocumentKey>,
}

impl Device {
    pub(crate) fn new(number: usize, dialect: Dialect, wall_clock: WallClock) -> Self {
        let client = ClientId::literal(&format!("device-{number}"));
        Self {
            pulls_as: client.clone(),
            is_tab: false,
            client,
            lives: 1,
            wall_clock,
            place: match dialect {
                Dialect::Cursor => Place::Cursor(None),
                Dialect::Original => Place::Since(UnixMs::EPOCH),
            },
            held: BTreeMap::new(),
            clocks: BTreeMap::new(),
            clocks_used: BTreeMap::new(),
            counter: 0,
            operations_made: 0,
            known: HashSet::new(),
            pending: Vec::new(),
            unsettled: BTreeSet::new(),
        }
    }

    /// Makes this device another tab of the one that pulls with this client id.
    pub(crate) fn into_tab_of(self, client: ClientId) -> Self {
        Self { pulls_as: client, is_tab: true, ..self }
    }

    fn dialect(&self) -> Dialect {
        match self.place {
            Place::Cursor(_) => Dialect::Cursor,
            Place::Since(_) => Dialect::Original,
        }
    }

    pub(crate) fn client(&self) -> &ClientId {
        &self.client
    }

    pub(crate) fn pulls_as(&self) -> &ClientId {
        &self.pulls_as
    }

    pub(crate) fn pending(&self) -> &[Operation] {
        &self.pending
    }

    /// Whether the device may push. A device with cursors must have pulled before.
    pub(crate) fn may_push(&self) -> bool {
        !matches!(self.place, Place::Cursor(None))
    }

    /// The documents that its user sees.
    pub(crate) fn documents(&self) -> Documents {
        let live = self.held.iter().filter(|(_, held)| !held.is_deleted);
        live.map(|(key, held)| (key.clone(), held.data.clone())).collect()
    }

    /// The user changes a document, unless the device is being brought up to date.
    ///
    /// A device that has lost its clocks does not give a document the same clock twice either. The server would accept
    /// such an operation, as the protocol requires. Another device that has the first one could not tell that it lacks
    /// the second.
    pub(crate) fn edit(&mut self, key: &DocumentKey, kind: OperationKind, field: &str, now_ms: UnixMs) {
        if self.unsettled.contains(key) {
            return;
        }
        let is_deleted = self.held.get(key).is_some_and(|held| held.is_deleted);
        let kind = match (kind, self.dialect()) {
            // An update of a deleted document would begin with the data that an original client kept, so its user
            // inserts the document again.
            (OperationKind::Update, Dialect::Original) if is_deleted => OperationKind::Insert,
            _ => kind,
        };
        let mut clock = self.clocks.get(key).cloned().unwrap_or_default();
        self.counter = self.counter.max(clock.get(&self.client)) + 1;
        clock.set(self.client.clone(), self.counter);
        let used = self.clocks_used.entry(key.clone()).or_default();
        if used.contains(&clock) {
            return;
        }
        used.push(clock.clone());
        self.operations_made += 1;
        let data = || Object::literal(&format!(r#"{{"{field}":"{}-{}"}}"#, self.client, self.operations_made));
        let change = match kind {
            OperationKind::Insert => Change::Insert(data()),
            OperationKind::Update => Change::Update(data()),
            OperationKind::Delete => Change::Delete,
        };
        let operation = Operation {
            id: OperationId::literal(&format!("{}-{}", self.client, self.operations_made)),
            change,
            key: key.clone(),
            timestamp: self.time(now_ms),
            client_id: self.client.clone(),
            clock: clock.clone(),
        };
        self.clocks.insert(key.clone(), clock);
        self.known.insert(operation.id.clone());
        self.apply_own(&operation);
        self.pending.push(operation);
    }

    fn time(&self, now_ms: UnixMs) -> UnixMs {
        match self.wall_clock {
            WallClock::True => now_ms,
            WallClock::Stopped => UnixMs::new(5),
            WallClock::FarFuture => UnixMs::new(INTEGER_MAX),
            WallClock::Backwards => UnixMs::new(1_000_000 - self.operations_made),
            WallClock::Cycling => UnixMs::new(1 + self.operations_made % 3),
        }
    }

    /// The device loses everything that is only in memory.
    pub(crate) fn reload(&mut self) {
        self.clocks.clear();
        self.counter = 0;
    }

    /// The device loses everything, and is a new client from now on.
    pub(crate) fn restart(&mut self, number: usize) {
        let lives = self.lives + 1;
        let fresh = Self::new(number, self.dialect(), self.wall_clock);
        let client = ClientId::literal(&format!("device-{number}-{lives}"));
        let pulls_as = if self.is_tab { self.pulls_as.clone() } else { client.clone() };
        *self = Self { client, pulls_as, is_tab: self.is_tab, lives, ..fresh };
    }

    /// The device is restored from a backup. Its operation ids are random, so none is repeated, and no document gets
    /// the same clock twice. The user changes nothing until the device is up to date, because it lacks some of its own
    /// operations.
    pub(crate) fn put_back(&mut self, backup: &Self) {
        *self = Self {
            operations_made: self.operations_made,
            clocks_used: std::mem::take(&mut self.clocks_used),
            unsettled: DOCUMENTS.map(key).into(),
            ..backup.clone()
        };
    }

    /// Applies the server's answer to the pending operations.
    pub(crate) fn pushed(&mut self, outcomes: &[Outcome]) {
        let operations = std::mem::take(&mut self.pending);
        assert_eq!(operations.len(), outcomes.len(), "every operation has an outcome");
        let mut replaced = BTreeSet::new();
        for (operation, outcome) in operations.iter().zip(outcomes) {
            match outcome {
                Outcome::Conflict(conflict) => {
                    self.take_over(&operation.key, &conflict.document);
                    replaced.insert(&operation.key);
                    self.unsettled.insert(operation.key.clone());
                }
                Outcome::Applied | Outcome::Duplicate | Outcome::Resolved(_) if replaced.contains(&operation.key) => {
                    self.apply_own(operation);
                    self.learn(&operation.key, &operation.clock);
                }
                Outcome::Applied | Outcome::Duplicate | Outcome::Resolved(_) => {}
                other => panic!("an unknown outcome: {other:?}"),
            }
        }
    }

    fn take_over(&mut self, key: &DocumentKey, document: &Document) {
        let held = self.held.entry(key.clone()).or_default();
        held.is_deleted = document.is_deleted();
        if let Some(data) = &document.data {
            held.data = parse(data);
        }
        self.learn(key, &document.clock);
    }

    fn learn(&mut self, key: &DocumentKey, clock: &VectorClock) {
        self.clocks.entry(key.clone()).or_default().merge(clock);
    }

    /// Applies an operation of this device. An update of a deleted document begins without data.
    fn apply_own(&mut self, operation: &Operation) {
        let held = self.held.entry(operation.key.clone()).or_default();
        if held.is_deleted && operation.kind() != OperationKind::Delete {
            held.data.clear();
        }
        apply(held, operation.kind(), operation.data());
    }

    pub(crate) fn pull_from(&self) -> PullFrom {
        match self.place {
            Place::Cursor(cursor) => PullFrom::Cursor(cursor),
            Place::Since(since) => PullFrom::Since(since),
        }
    }

    /// Whether it takes no operation of its own from a page, as original clients do.
    pub(crate) fn skips_what_it_knows(&self) -> bool {
        self.dialect() == Dialect::Original
    }

    /// Applies a page. Returns whether there was news in it.
    ///
    /// A client of the original protocol skips the operations that it knows. A client with a cursor applies its own
    /// operations too, and keeps those on top that it has not pushed.
    pub(crate) fn pulled(&mut self, page: &PulledPage) -> bool {
        let is_cursor = !self.skips_what_it_knows();
        let mut is_news = false;
        for entry in &page.entries {
            let is_new = self.known.insert(entry.id.clone());
            if is_new || is_cursor {
                self.apply_pulled(entry);
            }
            is_news |= is_new;
        }
        if is_cursor {
            for operation in self.pending.clone() {
                self.apply_own(&operation);
            }
        }
        match &mut self.place {
            Place::Cursor(cursor) => *cursor = page.cursor,
            Place::Since(since) => {
                let greatest = page.entries.iter().map(|entry| through_a_double(entry.timestamp)).max();
                *since = greatest.unwrap_or(*since);
            }
        }
        if !page.has_more {
            self.unsettled.clear();
        }
        is_news
    }

    fn apply_pulled(&mut self, entry: &LogEntry) {
        let is_cursor = self.dialect() == Dialect::Cursor;
        let held = self.held.entry(entry.key.clone()).or_default();
        apply(held, entry.kind(), entry.data());
        if held.is_deleted && is_cursor {
            held.data.clear();
        }
        let clock = Members::parse(entry.clock.as_str()).expect("a clock is an object");
        let counter = |text: &str| text.parse().expect("a counter is a number");
        let clock = clock.iter().map(|(client, number)| (ClientId::literal(client), counter(number))).collect();
        self.learn(&entry.key, &clock);
    }
}

/// Applies an operation to a document, by the rules of the protocol alone.
fn apply(held: &mut Held, kind: OperationKind, data: Option<&Object>) {
    match kind {
        OperationKind::Insert => held.data = data.map(parse).unwrap_or_default(),
        OperationKind::Update => held.data.extend(data.map(parse).unwrap_or_default()),
        OperationKind::Delete => {}
    }
    held.is_deleted = kind == OperationKind::Delete;
}

/// A JSON object as a map.
pub(crate) fn parse(data: &Object) -> Map<String, Value> {
    serde_json::from_str(data.as_str()).expect("data is an object")
}

/// A timestamp as a JavaScript client reads it.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the point")]
fn through_a_double(timestamp: UnixMs) -> UnixMs {
    UnixMs::new(timestamp.get() as f64 as u64)
}
