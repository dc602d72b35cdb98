//! Pages: which rows, and how many, are in one answer.

use super::cursor::{Cursor, Head};
use super::document::LiveDocument;
use super::filter::Filter;
use super::limits::{PAGE_MAX_BYTES, PAGE_MAX_OPERATIONS, QUERY_DOCUMENT_OVERHEAD_BYTES, QUERY_MAX_EXAMINED_BYTES};
use super::operation::LogEntry;

/// The room that is left on a page.
///
/// The first row always fits, so that a pull makes progress. The limits of operations and documents keep a single row
/// below half a page. A page for a client of the original protocol may repeat a row, so there is always room for a
/// second copy of the smallest one.
#[derive(Debug, Clone)]
pub struct PageBudget {
    rows_left: usize,
    max_bytes: usize,
    bytes: usize,
    /// The size of the smallest row, for which room is reserved. 0 if no row is repeated.
    smallest: usize,
}

impl PageBudget {
    /// A page of at most `max_rows` rows and [`PAGE_MAX_BYTES`].
    #[must_use]
    pub fn new(max_rows: usize) -> Self {
        Self { smallest: usize::MAX, ..Self::of_bytes(max_rows, PAGE_MAX_BYTES) }
    }

    /// A list of at most `max_rows` rows and `max_bytes`, without repeated rows.
    #[must_use]
    pub fn of_bytes(max_rows: usize, max_bytes: usize) -> Self {
        Self { rows_left: max_rows, max_bytes, bytes: 0, smallest: 0 }
    }

    /// Adds a row of this many bytes. Returns false if it does not fit; then the page ends.
    pub fn admit(&mut self, row_bytes: usize) -> bool {
        let bytes = self.bytes.saturating_add(row_bytes);
        let smallest = self.smallest.min(row_bytes);
        let is_first = self.bytes == 0;
        let fits = self.rows_left > 0 && (is_first || bytes.saturating_add(smallest) <= self.max_bytes);
        if fits {
            *self = Self { rows_left: self.rows_left - 1, bytes, smallest, ..*self };
        }
        fits
    }
}

/// A page of documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryPage {
    /// The documents that match, newest first.
    pub documents: Vec<LiveDocument>,
    /// Where the next page begins: with the newest document whose sequence number is less than this. `None` if no more
    /// documents match.
    pub more_before: Option<u64>,
}

/// Makes a page of the documents of a collection, beginning with the newest.
///
/// The page ends when it is full, or when [`QUERY_MAX_EXAMINED_BYTES`] were read. So a request has a bounded cost even
/// if few documents match.
#[derive(Debug)]
pub struct QueryPageBuilder<'a> {
    filter: &'a Filter,
    budget: PageBudget,
    examined_bytes: usize,
    examined_before: Option<u64>,
    page: QueryPage,
}

impl<'a> QueryPageBuilder<'a> {
    /// An empty page for at most `max_documents` matching documents.
    #[must_use]
    pub fn new(filter: &'a Filter, max_documents: usize) -> Self {
        Self {
            filter,
            budget: PageBudget::new(max_documents),
            examined_bytes: 0,
            examined_before: None,
            page: QueryPage { documents: Vec::new(), more_before: None },
        }
    }

    /// Reads the next document. Returns whether the page needs another.
    pub fn push(&mut self, document: LiveDocument) -> bool {
        let (seq, bytes) = (document.seq, document.data.as_str().len());
        if self.filter.matches(&document) {
            if !self.budget.admit(document.wire_bytes()) {
                self.page.more_before = self.examined_before;
                return false;
            }
            self.page.documents.push(document);
        }
        self.examined_before = Some(seq);
        self.examined_bytes = self.examined_bytes.saturating_add(bytes).saturating_add(QUERY_DOCUMENT_OVERHEAD_BYTES);
        if self.examined_bytes >= QUERY_MAX_EXAMINED_BYTES {
            self.page.more_before = Some(seq);
            return false;
        }
        true
    }

    /// The page. It is complete if no document is left or `push` returned false.
    #[must_use]
    pub fn finish(self) -> QueryPage {
        self.page
    }
}

/// A page in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The operations, or documents in the form of operations.
    pub entries: Vec<LogEntry>,
    /// Where the next page begins.
    pub next: Cursor,
    /// Whether there were more rows at the moment of reading.
    pub has_more: bool,
}

/// A place in the order of (timestamp, sequence number).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimePlace {
    /// The author's time.
    pub timestamp: u64,
    /// The sequence number, which orders entries with the same timestamp.
    pub seq: u64,
}

impl TimePlace {
    /// The place after all entries with this timestamp.
    #[must_use]
    pub fn after_timestamp(timestamp: u64) -> Self {
        // Sequence numbers are smaller than this, and it fits the signed integers of every store.
        Self { timestamp, seq: i64::MAX as u64 }
    }
}

/// A page by the rule of the original protocol: operations with a greater timestamp, in the order of (timestamp,
/// sequence number).
///
/// It never ends inside a run of equal timestamps, because the timestamp is all that the client knows of its place. If
/// it is empty although there is more, the next run alone is larger than the largest page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimePage {
    /// The operations, or documents in the form of operations once history has been compacted.
    pub entries: Vec<LogEntry>,
    /// Whether there were more rows at the moment of reading.
    pub has_more: bool,
    /// The head of the tenant's log at the moment of reading.
    pub head: Head,
}

/// Builds such a page from rows in the order of (timestamp, sequence number).
#[derive(Debug)]
pub struct TimePageBuilder {
    asked: PageBudget,
    largest: PageBudget,
    entries: Vec<LogEntry>,
    follows: Option<u64>,
}

impl TimePageBuilder {
    /// A page of at most `max_operations`. It grows up to [`PAGE_MAX_OPERATIONS`] if its first run is longer.
    #[must_use]
    pub fn new(max_operations: usize) -> Self {
        Self {
            asked: PageBudget::new(max_operations),
            largest: PageBudget::new(PAGE_MAX_OPERATIONS),
            entries: Vec::new(),
            follows: None,
        }
    }

    /// Adds the next row. Returns whether the page needs another.
    pub fn push(&mut self, entry: LogEntry) -> bool {
        let bytes = entry.wire_bytes();
        let is_first_run = self.entries.first().is_none_or(|first| first.timestamp == entry.timestamp);
        let fits = self.largest.admit(bytes) && (self.asked.admit(bytes) || is_first_run);
        if fits {
            self.entries.push(entry);
        } else {
            self.follows = Some(entry.timestamp);
        }
        fits
    }

    /// The page. `head` is the head of the tenant's log at the moment when the rows were read.
    #[must_use]
    pub fn finish(mut self, head: Head) -> TimePage {
        if let Some(follows) = self.follows {
            let last_of_another = self.entries.iter().rposition(|entry| entry.timestamp != follows);
            self.entries.truncate(last_of_another.map_or(0, |index| index + 1));
        }
        TimePage { entries: self.entries, has_more: self.follows.is_some(), head }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::filter::Condition;
    use crate::core::json::RawJson;
    use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
    use crate::core::operation::OperationKind;

    fn entry(seq: u64, timestamp: u64) -> LogEntry {
        LogEntry {
            seq,
            id: OperationId::trusted(&format!("op-{seq}")),
            kind: OperationKind::Insert,
            key: DocumentKey { collection: Collection::trusted("c"), id: DocumentId::trusted("d") },
            data: Some(RawJson::trusted("{}")),
            timestamp,
            client_id: ClientId::trusted("a"),
            clock: RawJson::trusted("{}"),
        }
    }

    fn page(timestamps: &[u64], max_operations: usize) -> TimePage {
        let mut builder = TimePageBuilder::new(max_operations);
        for (seq, timestamp) in (1..).zip(timestamps) {
            if !builder.push(entry(seq, *timestamp)) {
                break;
            }
        }
        builder.finish(Head::default())
    }

    fn timestamps(page: &TimePage) -> (Vec<u64>, bool) {
        (page.entries.iter().map(|entry| entry.timestamp).collect(), page.has_more)
    }

    #[test]
    fn a_page_of_whole_runs_never_ends_inside_one() {
        assert_eq!(timestamps(&page(&[1, 2, 2, 3], 2)), (vec![1], true));
        assert_eq!(timestamps(&page(&[1, 2, 2, 3], 3)), (vec![1, 2, 2], true));
        assert_eq!(timestamps(&page(&[1, 2, 2], 3)), (vec![1, 2, 2], false));
        assert_eq!(timestamps(&page(&[], 3)), (vec![], false));
    }

    #[test]
    fn a_page_grows_for_its_first_run_up_to_the_largest_page() {
        assert_eq!(timestamps(&page(&[2, 2, 2, 3], 2)), (vec![2, 2, 2], true));
        let most = vec![2; PAGE_MAX_OPERATIONS];
        assert_eq!(timestamps(&page(&most, 2)), (most.clone(), false));
        let too_many = vec![2; PAGE_MAX_OPERATIONS + 1];
        assert_eq!(timestamps(&page(&too_many, 2)), (vec![], true));
    }

    #[test]
    fn a_page_is_bounded_in_rows_and_bytes_and_never_empty() {
        let mut budget = PageBudget::new(2);
        assert!(budget.admit(PAGE_MAX_BYTES * 2), "the first row always goes in");
        assert!(!budget.admit(1), "but it uses the page up");
        let mut budget = PageBudget::new(2);
        assert!(budget.admit(1) && budget.admit(PAGE_MAX_BYTES - 2));
        assert!(!budget.admit(0), "a third row is one too many");
        let mut budget = PageBudget::new(9);
        assert!(budget.admit(1) && !budget.admit(PAGE_MAX_BYTES - 1), "the first row would not fit a second time");
        let mut budget = PageBudget::new(9);
        assert!(budget.admit(PAGE_MAX_BYTES / 3) && budget.admit(PAGE_MAX_BYTES / 3));
        assert!(!budget.admit(PAGE_MAX_BYTES / 3), "two rows and one of them again fill the page");
        assert!(budget.admit(0), "an empty row takes no room, not even again");
        let mut list = PageBudget::of_bytes(9, 3);
        assert!(list.admit(1) && list.admit(2) && !list.admit(1), "a list repeats nothing");
    }

    #[test]
    fn a_page_of_a_query_ends_when_it_has_looked_at_enough() {
        let filter = Filter::new(vec![Condition::new("wanted", "true")]);
        let document = |seq: u64, is_wanted: bool| {
            let data = format!(r#"{{"wanted":{is_wanted},"text":"{}"}}"#, "x".repeat(1024 * 1024));
            LiveDocument {
                key: DocumentKey { collection: Collection::trusted("c"), id: DocumentId::trusted("d") },
                rev: 1,
                seq,
                operation_id: OperationId::trusted("op"),
                data: RawJson::trusted(&data),
            }
        };
        let mut page = QueryPageBuilder::new(&filter, 10);
        assert!((38..100).rev().all(|seq| page.push(document(seq, seq == 70))), "62 of 64 MiB");
        assert!(page.push(document(37, false)));
        assert!(!page.push(document(36, false)));
        let page = page.finish();
        assert_eq!(page.documents.iter().map(|document| document.seq).collect::<Vec<_>>(), [70]);
        assert_eq!(page.more_before, Some(36));
        let mut page = QueryPageBuilder::new(&filter, 1);
        assert!(page.push(document(9, true)));
        assert!(page.push(document(8, false)));
        assert!(!page.push(document(7, true)));
        assert_eq!(page.finish().more_before, Some(8), "what was looked at is not looked at again");
    }
}
