//! Pages in the order of time, for clients that say nothing but `since`.

use crate::core::cursor::Head;
use crate::core::numbers::{Seq, UnixMs};
use crate::core::operation::LogEntry;
use crate::limits::protocol::PAGE_MAX_OPERATIONS;

use super::PageBudget;

/// A place in the order of (timestamp, sequence number).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimePlace {
    /// The author's time.
    pub timestamp: UnixMs,
    /// The sequence number, which orders entries with the same timestamp.
    pub seq: Seq,
}

impl TimePlace {
    /// The place after all entries with this timestamp.
    #[must_use]
    pub fn after_timestamp(timestamp: UnixMs) -> Self {
        Self { timestamp, seq: Seq::AFTER_ALL }
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
    /// The head of the tenant's log at the moment of reading, without the floor.
    pub head: Head,
}

/// Builds a [`TimePage`] from rows in the order of (timestamp, sequence number).
#[derive(Debug)]
pub struct TimePageBuilder {
    asked: PageBudget,
    largest: PageBudget,
    entries: Vec<LogEntry>,
    follows: Option<UnixMs>,
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
    pub fn push(&mut self, mut entry: LogEntry) -> bool {
        entry.rev = None;
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
        let head = Head { position: head.position, horizon: head.horizon, ..Head::default() };
        TimePage { entries: self.entries, has_more: self.follows.is_some(), head }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::json::Object;
    use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
    use crate::core::operation::Change;

    fn entry(seq: Seq, timestamp: u64) -> LogEntry {
        LogEntry {
            seq,
            id: OperationId::literal(&format!("op-{seq}")),
            change: Change::Insert(Object::literal("{}")),
            key: DocumentKey { collection: Collection::literal("c"), id: DocumentId::literal("d") },
            timestamp: UnixMs::new(timestamp),
            client_id: ClientId::literal("a"),
            clock: Object::literal("{}"),
            rev: None,
            subject: None,
            resolution: None,
        }
    }

    fn page(timestamps: &[u64], max_operations: usize) -> TimePage {
        let mut builder = TimePageBuilder::new(max_operations);
        for (seq, timestamp) in Seq::START.following().zip(timestamps) {
            if !builder.push(entry(seq, *timestamp)) {
                break;
            }
        }
        builder.finish(Head::default())
    }

    fn timestamps(page: &TimePage) -> (Vec<u64>, bool) {
        (page.entries.iter().map(|entry| entry.timestamp.get()).collect(), page.has_more)
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
}
