//! Pages in the order of the log: of operations, or of documents in the order of their last operations.

use crate::core::access::View;
use crate::core::access::labels::{DamagedLabels, FormerLabels};
use crate::core::access::rules::Right;
use crate::core::cursor::{Cursor, Head, Position};
use crate::core::feed::Feed;
use crate::core::fingerprint::Fingerprint;
use crate::core::numbers::Seq;
use crate::core::operation::{Change, LogEntry};
use crate::limits::protocol::PAGE_MAX_OPERATIONS;

use super::PageBudget;

/// The rows that a store reads for a page in the order of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// Operations with a greater sequence number than the place, in the order of these numbers.
    Log {
        /// The place that the client has reached.
        after: Position,
    },
    /// Documents whose last operation has a greater sequence number than the place, in the order of these numbers.
    State {
        /// The place that the client has reached.
        after: Position,
        /// Tombstones up to this sequence number are left out. `None` leaves out all tombstones.
        tombstones_after: Option<Seq>,
    },
}

impl Scan {
    /// The rows that are probably read for a cursor, or for a client that has no documents.
    ///
    /// A store that reads rows and head in one round trip reads these rows. They are right unless compaction has passed
    /// the place; see [`Scan::once_compacted`].
    #[must_use]
    pub fn guess(cursor: Option<Cursor>, feed: &Feed) -> Self {
        match cursor {
            // The client has no documents, so it needs no tombstones.
            None => Self::State { after: Position::START, tombstones_after: None },
            Some(Cursor::Log(after)) => match feed {
                Feed::Operations => Self::Log { after },
                Feed::Documents { .. } => Self::Log { after }.once_compacted(),
            },
            Some(Cursor::State { after, tombstones_after }) => {
                Self::State { after, tombstones_after: Some(tombstones_after) }
            }
        }
    }

    /// The rows to read instead if the log no longer has every entry after the place.
    #[must_use]
    pub fn once_compacted(self) -> Self {
        match self {
            Self::Log { after } => Self::State { after, tombstones_after: Some(after.seq) },
            Self::State { .. } => self,
        }
    }

    /// Chooses the rows to read. `fingerprint_there` is the log's fingerprint at [`Head::verified_at`], or `None` if
    /// the log has none there. The result is `None` if the cursor belongs to another log, or if what follows is not all
    /// there; then the client must start again.
    ///
    /// A client that has no documents, or whose place is before the horizon, is put in state mode.
    fn choose(cursor: Option<Cursor>, feed: &Feed, head: Head, fingerprint_there: Option<Fingerprint>) -> Option<Self> {
        if let Some(cursor) = cursor {
            let there = match head.verified_at(&cursor) {
                Seq::START => Some(Fingerprint::START),
                seq if seq == head.floor.seq => Some(head.floor.fingerprint),
                _ => fingerprint_there,
            };
            let began_later =
                matches!(cursor, Cursor::State { tombstones_after, .. } if tombstones_after > head.position.seq);
            if there != Some(cursor.position().fingerprint) || began_later || !head.has_kept_what_follows(&cursor) {
                return None;
            }
        }
        let guess = Self::guess(cursor, feed);
        match guess {
            Self::Log { after } if !head.has_log_behind(after.seq) => Some(guess.once_compacted()),
            Self::Log { .. } | Self::State { .. } => Some(guess),
        }
    }

    /// The page begins after this sequence number.
    #[must_use]
    pub fn after_seq(&self) -> Seq {
        match self {
            Self::Log { after } | Self::State { after, .. } => after.seq,
        }
    }

    /// The cursor after a page. `last` is the place of its last row, or `None` if it has no rows. `has_more` says
    /// whether rows were left, and `head` is the head at the moment of the read.
    ///
    /// State mode ends only here, after a page with the last document, at the head that this page saw.
    fn next(self, last: Option<Position>, has_more: bool, head: Head) -> Cursor {
        match self {
            Self::Log { after } => Cursor::Log(last.unwrap_or(after)),
            Self::State { after, tombstones_after } if has_more => Cursor::State {
                after: last.unwrap_or(after),
                tombstones_after: tombstones_after.unwrap_or(head.position.seq).max(head.tombstones_gone),
            },
            Self::State { .. } => Cursor::Log(head.position),
        }
    }

    /// The fingerprint for the cursor after a row before the floor: that of the place at which it will be
    /// [verified](Head::verified_at).
    fn fingerprint_before_floor(self, head: Head) -> Fingerprint {
        match self {
            Self::State { tombstones_after: None, .. } => head.position.fingerprint,
            // The fingerprint of the cursor is that of the same place.
            Self::State { after, tombstones_after: Some(began) } if began > head.floor.seq => after.fingerprint,
            Self::State { .. } | Self::Log { .. } => head.floor.fingerprint,
        }
    }
}

/// A page in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The operations, or documents in the form of operations.
    pub entries: Vec<LogEntry>,
    /// The cursor with which the next page begins.
    pub next: Cursor,
    /// Whether there were more rows at the moment of reading.
    pub has_more: bool,
    /// Whether the page begins at the beginning, and deletes may be missing because their tombstones are gone. A client
    /// that may have documents must not continue with it.
    pub lacks_deletes: bool,
}

/// Makes a [`LogPage`] from the rows of [`LogPageBuilder::scan`], in their order.
#[derive(Debug)]
pub struct LogPageBuilder {
    scan: Scan,
    head: Head,
    budget: PageBudget,
    entries: Vec<LogEntry>,
    /// The last row that was read, whether or not the page shows it.
    last: Option<Seq>,
    has_more: bool,
    lacks_deletes: bool,
    shows_revisions: bool,
    view: View,
}

impl LogPageBuilder {
    /// An empty page of at most `max_operations` after a cursor, or for a client that has no documents.
    ///
    /// `head` is the head of the log at the moment when the rows are read. `fingerprint_there` is the log's fingerprint
    /// at the place that [`Head::verified_at`] names, or `None` if there is none; it is not needed at [`Seq::START`].
    /// The result is `None` if the cursor belongs to another log, or if retention has removed what the client may lack.
    /// Then the client must start again.
    #[must_use]
    pub fn begin(
        cursor: Option<Cursor>,
        feed: &Feed,
        max_operations: usize,
        head: Head,
        fingerprint_there: Option<Fingerprint>,
    ) -> Option<Self> {
        let scan = Scan::choose(cursor, feed, head, fingerprint_there)?;
        let entries = Vec::with_capacity(max_operations.min(PAGE_MAX_OPERATIONS));
        let budget = PageBudget::new(max_operations);
        let shows_revisions = matches!(feed, Feed::Documents { .. });
        let view = View::default();
        let is_at_beginning = cursor.is_some_and(|cursor| cursor.position().seq == Seq::START);
        let lacks_deletes = is_at_beginning && head.tombstones_gone > Seq::START;
        Some(Self { scan, head, budget, entries, last: None, has_more: false, lacks_deletes, shows_revisions, view })
    }

    /// The page for a reader who may not see everything. Its rows must be documents, see [`Feed`].
    #[must_use]
    pub fn seen_by(self, view: &View) -> Self {
        Self { view: view.clone(), ..self }
    }

    /// The rows to read for the page. If the feed is limited to some collections, these are the rows of them alone.
    #[must_use]
    pub fn scan(&self) -> Scan {
        self.scan
    }

    /// Adds the next row, which a reader with restrictions may not see unless it is a document. Returns false if it
    /// does not fit; then the page ends, and the next one begins with this row.
    pub fn push(&mut self, entry: LogEntry) -> bool {
        let fits = self.admit(&entry);
        if fits && self.view.reads_all() {
            self.show(entry);
        }
        fits
    }

    /// Adds the next row, which is a document. `former_labels` is the stored text of its former labels. Returns false
    /// if it does not fit.
    ///
    /// Rows that the reader may not see take as much room as others. So the store reads as many rows for every reader,
    /// and a page may be empty although there is more.
    ///
    /// # Errors
    /// If the former labels are damaged.
    pub fn push_document(&mut self, entry: LogEntry, former_labels: Option<&str>) -> Result<bool, DamagedLabels> {
        let fits = self.admit(&entry);
        if fits {
            let shown = if self.view.reads_all() { Some(entry) } else { self.seen(entry, former_labels)? };
            if let Some(entry) = shown {
                self.show(entry);
            }
        }
        Ok(fits)
    }

    fn admit(&mut self, entry: &LogEntry) -> bool {
        let fits = self.budget.admit(entry.wire_bytes());
        if fits {
            self.last = Some(entry.seq);
        } else {
            self.has_more = true;
        }
        fits
    }

    fn show(&mut self, entry: LogEntry) {
        let rev = entry.rev.filter(|_| self.shows_revisions);
        self.entries.push(LogEntry { rev, ..entry });
    }

    /// A document as the reader may see it: as it is, or as removed if the reader may have seen it earlier.
    fn seen(&self, entry: LogEntry, former_labels: Option<&str>) -> Result<Option<LogEntry>, DamagedLabels> {
        let collection = &entry.key.collection;
        if let Change::Insert(data) = &entry.change
            && self.view.permits(Right::Read, collection, data)
        {
            return Ok(Some(entry));
        }
        let former = FormerLabels::from_stored(former_labels, entry.seq)?;
        if matches!(entry.change, Change::Delete) && self.view.permits_tombstone(collection, &former) {
            return Ok(Some(entry));
        }
        // A reader that has nothing yet, or was in sync later, does not have the document.
        let may_have_it = match self.scan {
            Scan::State { tombstones_after: Some(in_sync), .. } => self.view.has_lost_after(in_sync, &former),
            Scan::State { tombstones_after: None, .. } | Scan::Log { .. } => false,
        };
        Ok(may_have_it.then(|| entry.removed()))
    }

    /// The page. It is complete if no row is left or `push` returned false. `fingerprint_at` reads the log's
    /// fingerprint at its last row, unless that is before the floor.
    ///
    /// # Errors
    /// If `fingerprint_at` fails.
    pub fn finish<E>(self, fingerprint_at: impl FnOnce(Seq) -> Result<Fingerprint, E>) -> Result<LogPage, E> {
        let Self { scan, head, entries, last, has_more, lacks_deletes, .. } = self;
        let last = match last {
            Some(seq) if seq < head.floor.seq => {
                Some(Position { seq, fingerprint: scan.fingerprint_before_floor(head) })
            }
            Some(seq) => Some(Position { seq, fingerprint: fingerprint_at(seq)? }),
            None => None,
        };
        Ok(LogPage { next: scan.next(last, has_more, head), entries, has_more, lacks_deletes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::core::json::Object;
    use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
    use crate::core::numbers::{Rev, UnixMs};
    use crate::core::operation::Change;

    fn at(seq: u64) -> Position {
        Position { seq: Seq::new(seq), fingerprint: Fingerprint::from_number(seq * 1_000_003) }
    }

    fn head(seq: u64, horizon: u64) -> Head {
        Head { position: at(seq), horizon: Seq::new(horizon), ..Head::default() }
    }

    fn entry(seq: u64) -> LogEntry {
        LogEntry {
            seq: Seq::new(seq),
            id: OperationId::literal(&format!("op-{seq}")),
            change: Change::Insert(Object::literal("{}")),
            key: DocumentKey { collection: Collection::literal("c"), id: DocumentId::literal("d") },
            timestamp: UnixMs::new(7),
            client_id: ClientId::literal("a"),
            clock: Object::literal("{}"),
            rev: Some(Rev::new(1)),
            subject: None,
            resolution: None,
        }
    }

    /// The page of rows with these sequence numbers; their fingerprints are those of [`at`].
    fn page(cursor: Option<Cursor>, head: Head, rows: &[u64], max_operations: usize) -> LogPage {
        let there = cursor.map(|cursor| at(cursor.position().seq.get()).fingerprint);
        let mut page = LogPageBuilder::begin(cursor, &Feed::Operations, max_operations, head, there)
            .expect("the cursor is of this log");
        let _ = rows.iter().all(|seq| page.push(entry(*seq)));
        page.finish(|seq| Ok::<_, ()>(at(seq.get()).fingerprint)).expect("the fingerprints are there")
    }

    #[test]
    fn a_client_from_nothing_gets_the_state_without_the_tombstones_from_before_it_began() {
        let scan = Scan::choose(None, &Feed::Operations, head(9, 0), None);
        assert_eq!(scan, Some(Scan::State { after: Position::START, tombstones_after: None }));
        let first = page(None, head(9, 0), &[2, 5, 7], 2);
        assert_eq!(first.next, Cursor::State { after: at(5), tombstones_after: Seq::new(9) });
        assert!(first.has_more && first.entries.len() == 2);
    }

    #[test]
    fn an_original_client_from_the_beginning_gets_the_log_while_it_is_whole_and_then_the_state_with_tombstones() {
        let scan = |horizon| Scan::choose(Some(Cursor::BEGINNING), &Feed::Operations, head(9, horizon), None);
        assert_eq!(scan(0), Some(Scan::Log { after: Position::START }));
        assert_eq!(scan(1), Some(Scan::State { after: Position::START, tombstones_after: Some(Seq::START) }));
    }

    #[test]
    fn a_cursor_behind_the_horizon_is_put_in_state_mode_and_one_at_it_is_not() {
        let scan = |seq, horizon| {
            let fingerprint = Some(at(seq).fingerprint);
            Scan::choose(Some(Cursor::Log(at(seq))), &Feed::Operations, head(9, horizon), fingerprint)
        };
        assert_eq!(scan(4, 4), Some(Scan::Log { after: at(4) }));
        assert_eq!(scan(4, 5), Some(Scan::State { after: at(4), tombstones_after: Some(Seq::new(4)) }));
    }

    #[test]
    fn a_cursor_of_another_log_is_refused() {
        let cursor = Some(Cursor::Log(at(4)));
        assert_eq!(Scan::choose(cursor, &Feed::Operations, head(9, 0), Some(at(5).fingerprint)), None);
        assert_eq!(Scan::choose(cursor, &Feed::Operations, head(3, 0), None), None);
        let from_the_future = Some(Cursor::State { after: at(4), tombstones_after: Seq::new(10) });
        assert_eq!(Scan::choose(from_the_future, &Feed::Operations, head(9, 0), Some(at(4).fingerprint)), None);
        let start_of_another = Position { seq: Seq::START, fingerprint: Fingerprint::from_number(5) };
        assert_eq!(Scan::choose(Some(Cursor::Log(start_of_another)), &Feed::Operations, head(9, 0), None), None);
    }

    #[test]
    fn the_feed_of_documents_shows_documents_and_tombstones_behind_any_cursor_and_leads_to_the_head() {
        let cursor = Some(Cursor::Log(at(4)));
        let page = |rows: &[u64], max_operations| {
            let there = Some(at(4).fingerprint);
            let mut page = LogPageBuilder::begin(cursor, &Feed::DOCUMENTS, max_operations, head(9, 0), there).unwrap();
            assert_eq!(page.scan(), Scan::State { after: at(4), tombstones_after: Some(Seq::new(4)) });
            let _ = rows.iter().all(|seq| page.push(entry(*seq)));
            page.finish(|seq| Ok::<_, ()>(at(seq.get()).fingerprint)).unwrap()
        };
        let first = page(&[6, 9], 1);
        assert_eq!(first.next, Cursor::State { after: at(6), tombstones_after: Seq::new(4) });
        assert!(first.has_more && first.entries[0].rev == Some(Rev::new(1)));
        assert_eq!(page(&[6], 2).next, Cursor::Log(at(9)), "what follows is not of the feed");
    }

    #[test]
    fn state_mode_ends_with_the_page_that_shows_the_last_document() {
        let cursor = Some(Cursor::State { after: at(2), tombstones_after: Seq::new(5) });
        let next = |rows: &[u64], max_operations| page(cursor, head(9, 9), rows, max_operations).next;
        assert_eq!(next(&[4, 6], 1), Cursor::State { after: at(4), tombstones_after: Seq::new(5) });
        assert_eq!(next(&[8, 9], 2), Cursor::Log(at(9)));
        assert_eq!(next(&[], 2), Cursor::Log(at(9)));
    }

    #[test]
    fn a_page_of_the_log_leads_to_its_last_row_and_an_empty_one_to_where_it_began() {
        let cursor = Some(Cursor::Log(at(2)));
        let full = page(cursor, head(9, 0), &[3, 4, 5], 2);
        assert_eq!((full.next, full.has_more, full.entries.len()), (Cursor::Log(at(4)), true, 2));
        let last = page(cursor, head(4, 0), &[3, 4], 2);
        assert_eq!((last.next, last.has_more), (Cursor::Log(at(4)), false));
        assert_eq!(page(cursor, head(2, 0), &[], 2).next, Cursor::Log(at(2)));
    }

    /// A head whose floor and removed tombstones are at these places.
    fn retained(seq: u64, floor: u64, tombstones_gone: u64) -> Head {
        Head { floor: at(floor), tombstones_gone: Seq::new(tombstones_gone), ..head(seq, floor) }
    }

    #[test]
    fn a_cursor_before_the_floor_is_refused_and_one_at_it_is_not() {
        let begin = |cursor: Cursor, head: Head| {
            let there = Some(at(head.verified_at(&cursor).get()).fingerprint);
            LogPageBuilder::begin(Some(cursor), &Feed::Operations, 9, head, there).is_some()
        };
        let is_served = |seq| begin(Cursor::Log(at(seq)), retained(9, 4, 4));
        assert_eq!([3, 4, 5].map(is_served), [false, true, true]);
        let walk = |after: u64, began: u64, fingerprint_of: u64| {
            let after = Position { seq: Seq::new(after), ..at(fingerprint_of) };
            Cursor::State { after, tombstones_after: Seq::new(began) }
        };
        assert!(begin(walk(2, 7, 7), retained(9, 4, 4)), "the client has begun after the floor");
        assert!(!begin(walk(2, 7, 2), retained(9, 4, 4)), "the fingerprint must be that of the place where it began");
        assert!(begin(walk(2, 3, 4), retained(9, 4, 3)), "all tombstones after 3 are there");
        assert!(!begin(walk(2, 3, 4), retained(9, 4, 4)));
        assert!(begin(walk(5, 3, 5), retained(9, 4, 4)), "the client has all up to 5");
    }

    #[test]
    fn a_walk_over_documents_from_before_the_floor_continues_with_the_cursors_that_it_is_given() {
        for (cursor, began) in [(None, 9), (Some(Cursor::BEGINNING), 4)] {
            let head = retained(9, 5, 4);
            let page = |cursor: Option<Cursor>, rows: &[u64], head: Head| {
                let there = cursor.map(|cursor| at(head.verified_at(&cursor).get()).fingerprint);
                let mut page = LogPageBuilder::begin(cursor, &Feed::Operations, 1, head, there).expect("it continues");
                let _ = rows.iter().all(|seq| page.push(entry(*seq)));
                page.finish(|seq| Ok::<_, ()>(at(seq.get()).fingerprint)).expect("the fingerprints are there")
            };
            let first = page(cursor, &[1, 2], head);
            assert_eq!(first.lacks_deletes, cursor.is_some());
            let second = page(Some(first.next), &[2, 6], head);
            assert!(!second.lacks_deletes);
            let verified = Position { seq: Seq::new(2), ..at(began.max(5)) };
            assert_eq!(second.next, Cursor::State { after: verified, tombstones_after: Seq::new(began) });
            let later = Head { position: at(12), ..head };
            let third = page(Some(second.next), &[6, 8], later);
            assert_eq!(third.next, Cursor::State { after: at(6), tombstones_after: Seq::new(began) });
            assert_eq!(page(Some(third.next), &[8], later).next, Cursor::Log(at(12)));
        }
    }

    proptest! {
        /// A store that asks for the guess and looks at the horizon afterwards reads what was chosen.
        #[test]
        fn guess_and_choice_agree(
            seq in 0..6_u64,
            began in option::of(0..6_u64),
            has_cursor in any::<bool>(),
            newest in 0..6_u64,
            horizon in 0..6_u64,
            is_of_documents in any::<bool>(),
        ) {
            let feed = if is_of_documents { Feed::DOCUMENTS } else { Feed::Operations };
            let after = if seq == 0 { Position::START } else { at(seq) };
            let state = |tombstones_after| Cursor::State { after, tombstones_after: Seq::new(tombstones_after) };
            let cursor = has_cursor.then(|| began.map_or(Cursor::Log(after), state));
            let head = head(newest, horizon.min(newest));
            let there = (seq <= newest).then_some(after.fingerprint);
            let guess = Scan::guess(cursor, &feed);
            let read = if head.has_log_behind(guess.after_seq()) { guess } else { guess.once_compacted() };
            let is_of_this_log = !has_cursor || seq <= newest && began.is_none_or(|began| began <= newest);
            prop_assert_eq!(Scan::choose(cursor, &feed, head, there), is_of_this_log.then_some(read));
        }
    }
}
