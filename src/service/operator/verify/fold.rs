//! The documents that result from the log, computed from its entries.

use std::collections::HashMap;

use twox_hash::XxHash64;

use crate::core::document::merge;
use crate::core::json::{BadJson, Object};
use crate::core::names::DocumentKey;
use crate::core::numbers::Seq;
use crate::core::operation::{Change, LogEntry};

/// The cost of an entry in memory in addition to its texts, in bytes.
const ENTRY_OVERHEAD_BYTES: u64 = 512;

/// One of several parts into which documents are divided by a hash of their keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) number: u64,
    pub(super) of: u64,
}

impl Part {
    /// Whether a document is in this part.
    pub(super) fn includes(self, key: &DocumentKey) -> bool {
        // No name contains a control character.
        let text = format!("{}\0{}", key.collection, key.id);
        XxHash64::oneshot(0, text.as_bytes()) % self.of == self.number
    }
}

/// The documents of a part, as far as the log explains them.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) part: Part,
    /// Whether the log reaches back to the first operation.
    is_whole: bool,
    documents: HashMap<DocumentKey, Folded>,
    bytes: u64,
}

/// The data of a document, as far as the log explains them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// They depend on entries that compaction has removed.
    Unknown,
    /// It is deleted.
    Deleted,
    /// They are these.
    Are(Object),
}

/// A document after the entries that were read.
#[derive(Debug)]
pub(super) struct Folded {
    /// The last entry, without its data.
    pub(super) last: LogEntry,
    /// The number of entries.
    pub(super) entries: u64,
    /// The data that result.
    pub(super) data: Data,
    /// Whether the store has shown the document.
    pub(super) is_seen: bool,
}

impl Fold {
    pub(super) fn new(part: Part, is_whole: bool) -> Self {
        Self { part, is_whole, documents: HashMap::new(), bytes: 0 }
    }

    /// The bytes of the documents in memory, about.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn get_mut(&mut self, key: &DocumentKey) -> Option<&mut Folded> {
        self.documents.get_mut(key)
    }

    /// The documents whose last entry is at most this one and that the store has not shown.
    pub(super) fn unseen(&self, up_to: Seq) -> impl Iterator<Item = &Folded> {
        self.documents.values().filter(move |folded| !folded.is_seen && folded.last.seq <= up_to)
    }

    /// Takes the next entry of the log.
    pub(super) fn apply(&mut self, entry: &LogEntry) -> Result<(), BadJson> {
        if !self.part.includes(&entry.key) {
            return Ok(());
        }
        let before = self.documents.remove(&entry.key);
        let before_bytes = before.as_ref().map_or(0, Folded::bytes);
        let data_before = before.as_ref().map(|before| &before.data);
        let data = match (&entry.change, data_before) {
            (Change::Delete, _) => Data::Deleted,
            (Change::Update(patch), Some(Data::Are(base))) => Data::Are(merge(base, patch)?),
            (Change::Update(_), Some(Data::Unknown)) => Data::Unknown,
            (Change::Update(_), None) if !self.is_whole => Data::Unknown,
            // An update of what does not exist creates it.
            (Change::Insert(data) | Change::Update(data), _) => Data::Are(data.detached()),
        };
        let last = LogEntry { change: Change::Delete, clock: entry.clock.detached(), ..entry.clone() };
        let (entries, is_seen) = before.map_or((0, false), |before| (before.entries, before.is_seen));
        let folded = Folded { last, entries: entries + 1, data, is_seen };
        self.bytes = self.bytes + folded.bytes() - before_bytes;
        self.documents.insert(entry.key.clone(), folded);
        Ok(())
    }
}

impl Folded {
    fn bytes(&self) -> u64 {
        let data = if let Data::Are(data) = &self.data { data.as_str().len() } else { 0 };
        (data + self.last.clock.as_str().len()) as u64 + ENTRY_OVERHEAD_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::names::{ClientId, OperationId};
    use crate::core::numbers::UnixMs;

    fn entry(seq: u64, document: &str, change: Change) -> LogEntry {
        LogEntry {
            seq: Seq::new(seq),
            id: OperationId::literal(&format!("op-{seq}")),
            change,
            key: DocumentKey::parse("todos", document).unwrap(),
            timestamp: UnixMs::new(1),
            client_id: ClientId::literal("a"),
            clock: Object::literal("{}"),
            rev: None,
            subject: None,
            resolution: None,
        }
    }

    fn data<'a>(fold: &'a mut Fold, document: &str) -> &'a Data {
        &fold.get_mut(&DocumentKey::parse("todos", document).unwrap()).expect("it is in the log").data
    }

    #[test]
    fn documents_result_from_their_entries_as_a_push_decides_them() {
        let update = |text| Change::Update(Object::literal(text));
        let changes = [
            entry(1, "a", Change::Insert(Object::literal(r#"{ "n":1}"#))),
            entry(2, "a", update(r#"{"m":2}"#)),
            entry(3, "b", update(r#"{ "n":3}"#)),
            entry(4, "c", update("{}")),
            entry(5, "c", Change::Delete),
        ];
        for (is_whole, created) in [(true, Data::Are(Object::literal(r#"{ "n":3}"#))), (false, Data::Unknown)] {
            let mut fold = Fold::new(Part { number: 0, of: 1 }, is_whole);
            for change in &changes {
                fold.apply(change).unwrap();
            }
            assert_eq!(data(&mut fold, "a"), &Data::Are(Object::literal(r#"{"n":1,"m":2}"#)));
            assert_eq!(data(&mut fold, "b"), &created);
            assert_eq!(data(&mut fold, "c"), &Data::Deleted);
            assert_eq!(fold.unseen(Seq::new(3)).count(), 2);
        }
    }

    #[test]
    fn every_document_is_in_one_part() {
        for number in 0..50 {
            let key = DocumentKey::parse("todos", &number.to_string()).unwrap();
            assert_eq!((0..3).filter(|number| Part { number: *number, of: 3 }.includes(&key)).count(), 1);
        }
    }
}
