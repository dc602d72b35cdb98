//! Pages: which rows one answer carries, and where the next one begins.
//!
//! Every store reads rows and hands them to a builder of this module. The builder decides which of them the page has.
//!
//! ```text
//! the request                 what a store reads             who makes the page     the page
//!
//! cursor, or nothing ───────┐
//!                           ├─► Option<Cursor> ─► Scan ────► LogPageBuilder ──────► LogPage, with the next Cursor
//! since and a client's id ──┘   Places::start
//! since alone ────────────────► TimePlace ─────────────────► TimePageBuilder ─────► TimePage
//! a query ────────────────────► QueryCursor ───────────────► QueryPageBuilder ────► QueryPage
//! ```
//!
//! - A [`Position`](super::cursor::Position) is a sequence number with the fingerprint of the log up to there.
//! - A [`Cursor`](super::cursor::Cursor) is what a client holds: a position, and the mode that the client is in.
//! - A [`Scan`] is what a store reads for a cursor: the same two, once the mode is checked against the log's head.
//! - A [`TimePlace`] is a place in the order of time, which original clients without an id send.
//!
//! A pull is in one of two modes: it reads the log, or the documents once compaction has removed what it would read.
//! [`Head::has_log_behind`](super::cursor::Head::has_log_behind) is the one function that decides between them.

mod log;
mod query;
mod time;
mod top;

pub use log::{LogPage, LogPageBuilder, Scan};
pub use query::{QueryPage, QueryPageBuilder, SortedEnd};
pub use time::{TimePage, TimePageBuilder, TimePlace};

use crate::limits::protocol::PAGE_MAX_BYTES;

/// The room that is left on a page.
///
/// The first row always fits, so that a pull makes progress. The limits of operations and documents keep a single row
/// below half a page. A page for an original client may repeat a row, so there is always room for a second copy of the
/// smallest one.
#[derive(Debug, Clone)]
pub(crate) struct PageBudget {
    rows_left: usize,
    max_bytes: usize,
    bytes: usize,
    /// The size of the smallest row, for which room is reserved. 0 if no row is repeated.
    smallest: usize,
}

impl PageBudget {
    /// A page of at most `max_rows` rows and [`PAGE_MAX_BYTES`].
    #[must_use]
    pub(crate) fn new(max_rows: usize) -> Self {
        Self { smallest: usize::MAX, ..Self::of_bytes(max_rows, PAGE_MAX_BYTES) }
    }

    /// A list of at most `max_rows` rows and `max_bytes`, without repeated rows.
    #[must_use]
    pub(crate) fn of_bytes(max_rows: usize, max_bytes: usize) -> Self {
        Self { rows_left: max_rows, max_bytes, bytes: 0, smallest: 0 }
    }

    /// Adds a row of this many bytes. Returns false if it does not fit; then the page ends.
    pub(crate) fn admit(&mut self, row_bytes: usize) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
