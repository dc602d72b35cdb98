//! The local database of an original client: its rows, its table of operations, and how an operation is applied.

use std::collections::{BTreeMap, BTreeSet};

use crate::conflicts::server::Documents;
use crate::conflicts::wire::{Clock, Data, Kind, Op, covers};

/// The most operations of a sync.
const PUSH_MAX_OPERATIONS: usize = 100;

/// A document, as the client has it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    data: Data,
    is_deleted: bool,
    /// The clock, time and author of the operation that was applied last.
    clock: Clock,
    timestamp: u64,
    client: String,
}

/// An operation in the client's table.
#[derive(Debug, Clone)]
struct Stored {
    op: Op,
    is_synced: bool,
    /// Whether it was ever in a request.
    was_sent: bool,
}

/// A local database. All tabs that show it share it.
///
/// The client has no locks. So two of its tasks can write one row, and the later one does not see the earlier one. No
/// server can repair this before the next state of the document. Such documents are marked here.
#[derive(Debug, Default)]
pub(crate) struct Database {
    rows: BTreeMap<String, Row>,
    operations: BTreeMap<String, Stored>,
    pub(crate) since: u64,
    /// How often each row was written with an operation that the server has.
    known_writes: BTreeMap<String, u64>,
    torn: BTreeSet<String>,
    /// The syncs of all tabs that are under way.
    syncs: usize,
    /// Whether two tabs have ever synced at the same time. Then one may go back to an earlier page.
    was_raced: bool,
    /// The last place in the log of an entry of each document that was applied.
    places: BTreeMap<String, usize>,
}

/// A row that was read to be written. The client does other things in between.
#[derive(Debug)]
pub(crate) struct Reading {
    row: Option<Row>,
    known_writes: u64,
}

impl Database {
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.operations.contains_key(id)
    }

    /// Keeps an operation in the table, with the mark that the server sent.
    pub(crate) fn record(&mut self, op: &Op) {
        let was_sent = self.operations.get(&op.id).is_some_and(|stored| stored.was_sent);
        let stored = Stored { op: op.clone(), is_synced: op.synced, was_sent };
        self.operations.insert(op.id.clone(), stored);
    }

    pub(crate) fn mark_synced(&mut self, id: &str) {
        if let Some(stored) = self.operations.get_mut(id) {
            stored.is_synced = true;
        }
    }

    pub(crate) fn mark_sent(&mut self, ops: &[Op]) {
        for op in ops {
            if let Some(stored) = self.operations.get_mut(&op.id) {
                stored.was_sent = true;
            }
        }
    }

    /// The operations of the next push: the oldest ones that are not synced.
    pub(crate) fn unsynced(&self) -> Vec<Op> {
        let unsynced = self.operations.values().filter(|stored| !stored.is_synced);
        let mut unsynced: Vec<Op> = unsynced.map(|stored| stored.op.clone()).collect();
        unsynced.sort_by_key(|op| op.timestamp);
        unsynced.truncate(PUSH_MAX_OPERATIONS);
        unsynced
    }

    /// The number of operations that are not synced.
    pub(crate) fn stuck(&self) -> usize {
        self.operations.values().filter(|stored| !stored.is_synced).count()
    }

    pub(crate) fn read(&self, document: &str) -> Reading {
        Reading { row: self.rows.get(document).cloned(), known_writes: self.known_writes(document) }
    }

    fn known_writes(&self, document: &str) -> u64 {
        self.known_writes.get(document).copied().unwrap_or(0)
    }

    /// Applies an operation to the row that was read before.
    pub(crate) fn write(&mut self, reading: &Reading, op: &Op, is_own: bool) {
        let was_sent = self.operations.get(&op.id).is_some_and(|stored| stored.was_sent);
        let is_behind = self.known_writes(&op.doc_id) != reading.known_writes;
        if is_own && was_sent || !is_own && is_behind {
            self.torn.insert(op.doc_id.clone());
        }
        if let Some(row) = applied(reading.row.as_ref(), op) {
            self.rows.insert(op.doc_id.clone(), row);
            if !is_own || was_sent {
                *self.known_writes.entry(op.doc_id.clone()).or_default() += 1;
            }
        }
    }

    /// The user clears the data of the page. Requests that are under way go on.
    pub(crate) fn wipe(&mut self) {
        *self = Self { syncs: self.syncs, was_raced: self.syncs > 0, ..Self::default() };
    }

    pub(crate) fn begin_sync(&mut self) {
        self.syncs += 1;
        self.was_raced |= self.syncs > 1;
    }

    pub(crate) fn end_sync(&mut self) {
        self.syncs -= 1;
    }

    /// Notes that an entry is applied, which has this place in the log. If another tab has applied a later one, the
    /// client can write the older state over it, because their clocks may be equal.
    pub(crate) fn note_place(&mut self, document: &str, place: usize) {
        let last = self.places.entry(document.to_owned()).or_insert(place);
        if self.was_raced && place < *last {
            self.torn.insert(document.to_owned());
        }
        *last = place.max(*last);
    }

    /// Notes that an operation was recorded, and is never applied.
    pub(crate) fn tear(&mut self, document: &str) {
        self.torn.insert(document.to_owned());
    }

    /// Whether only the next state of the document can repair it.
    pub(crate) fn is_torn(&self, document: &str) -> bool {
        self.torn.contains(document)
    }

    pub(crate) fn torn(&self) -> impl Iterator<Item = &String> {
        self.torn.iter()
    }

    pub(crate) fn forget_torn(&mut self) {
        self.torn.clear();
    }

    pub(crate) fn shows(&self, document: &str) -> bool {
        self.rows.get(document).is_some_and(|row| !row.is_deleted)
    }

    /// The documents that the user sees.
    pub(crate) fn documents(&self) -> Documents {
        let live = self.rows.iter().filter(|(_, row)| !row.is_deleted);
        live.map(|(document, row)| (document.clone(), row.data.clone())).collect()
    }
}

/// The row after an operation. `None` if the operation is not applied.
fn applied(row: Option<&Row>, op: &Op) -> Option<Row> {
    let data = op.data.clone().unwrap_or_default();
    let (data, is_deleted) = match row {
        None => (data, op.kind == Kind::Delete),
        Some(row) => {
            let has_seen_row = covers(&op.vector_clock, &row.clock);
            let is_before = !has_seen_row && covers(&row.clock, &op.vector_clock);
            let is_greater = (op.timestamp, &op.client_id) > (row.timestamp, &row.client);
            if is_before || !has_seen_row && !is_greater {
                return None;
            }
            match op.kind {
                Kind::Insert => (data, false),
                Kind::Update => {
                    let mut merged = row.data.clone();
                    merged.extend(data);
                    (merged, false)
                }
                Kind::Delete => (row.data.clone(), true),
            }
        }
    };
    let (clock, client) = (op.vector_clock.clone(), op.client_id.clone());
    Some(Row { data, is_deleted, clock, timestamp: op.timestamp, client })
}
