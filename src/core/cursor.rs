//! Cursors: opaque texts that name a place, and the choice of the rows that a pull reads from there.

use std::fmt;

use super::fingerprint::Fingerprint;
use super::limits::INTEGER_MAX;

/// A place in a tenant's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The sequence number, 0 before the first operation.
    pub seq: u64,
    /// The fingerprint of the log up to this place.
    pub fingerprint: Fingerprint,
}

impl Position {
    /// The place before the first operation.
    pub const START: Self = Self { seq: 0, fingerprint: Fingerprint::START };
}

/// The state of a tenant's log as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The place of the newest operation.
    pub position: Position,
    /// The sequence number up to which compaction has removed history, 0 if it has removed nothing.
    pub horizon: u64,
}

/// The place from which a client's next pull continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// The client has every change up to this place. The next page is read from the log.
    Log(Position),
    /// The client is receiving the documents, in the order of their last operations.
    State {
        /// The client has received the documents up to this place.
        after: Position,
        /// The client receives only tombstones after this sequence number. Older ones are from before it began, so it
        /// never had these documents.
        tombstones_after: u64,
    },
}

/// The text is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this server")]
pub struct NotACursor;

impl Cursor {
    /// The place up to which the client has received something.
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            Self::Log(position) => *position,
            Self::State { after, .. } => *after,
        }
    }

    /// Reads the text that a client sent.
    ///
    /// # Errors
    /// If it is not a text that [`Cursor`]'s `Display` writes.
    pub fn parse(text: &str) -> Result<Self, NotACursor> {
        let mut parts = text.split('.');
        let cursor = match parts.next() {
            Some("l") => Self::Log(position(&mut parts)?),
            Some("s") => Self::State { after: position(&mut parts)?, tombstones_after: number(&mut parts)? },
            _ => return Err(NotACursor),
        };
        // Each cursor has exactly one text: leading zeros, capital letters and further parts are refused.
        if cursor.to_string() == text { Ok(cursor) } else { Err(NotACursor) }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { seq, fingerprint } = self.position();
        let fingerprint = fingerprint.to_number();
        match self {
            Self::Log(_) => write!(formatter, "l.{seq:x}.{fingerprint:x}"),
            Self::State { tombstones_after, .. } => write!(formatter, "s.{seq:x}.{fingerprint:x}.{tombstones_after:x}"),
        }
    }
}

fn number<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Result<u64, NotACursor> {
    let part = parts.next().ok_or(NotACursor)?;
    let number = u64::from_str_radix(part, 16).map_err(|_| NotACursor)?;
    if number <= INTEGER_MAX { Ok(number) } else { Err(NotACursor) }
}

fn position<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Result<Position, NotACursor> {
    let seq = number(parts)?;
    Ok(Position { seq, fingerprint: Fingerprint::from_number(number(parts)?) })
}

/// The `cursor` of a query. It names the documents that are older than the last one of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryCursor {
    /// The sequence number of the last operation of that document. The next page has smaller numbers.
    pub before: u64,
}

impl QueryCursor {
    /// Reads the text that a client sent.
    ///
    /// # Errors
    /// If it is not a text that [`QueryCursor`]'s `Display` writes.
    pub fn parse(text: &str) -> Result<Self, NotACursor> {
        let before = number(&mut text.strip_prefix("q.").into_iter())?;
        let cursor = Self { before };
        if cursor.to_string() == text { Ok(cursor) } else { Err(NotACursor) }
    }
}

impl fmt::Display for QueryCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "q.{:x}", self.before)
    }
}

/// The point at which a pull in the order of the log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client with cursors that has no documents. It receives the existing documents and no older tombstones.
    Nothing,
    /// A client of the original protocol that asks for everything. It may still have documents, so it receives
    /// tombstones too.
    Beginning,
    /// The place in a cursor.
    Cursor(Cursor),
}

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
        /// Tombstones up to this sequence number are left out.
        tombstones_after: u64,
    },
}

impl Scan {
    /// Chooses the rows to read. `fingerprint_there` is the log's fingerprint at the cursor's place, or `None` if the
    /// place is beyond the head. The result is `None` if the cursor belongs to another log; then the client must start
    /// again.
    ///
    /// A client that has no documents, or whose place is before the horizon, is put in state mode.
    #[must_use]
    pub fn choose(origin: Origin, head: Head, fingerprint_there: Option<Fingerprint>) -> Option<Self> {
        let cursor = match origin {
            Origin::Nothing => {
                let began = head.position.seq;
                return Some(Self::State { after: Position::START, tombstones_after: began });
            }
            Origin::Beginning => Cursor::Log(Position::START),
            Origin::Cursor(cursor) => {
                if fingerprint_there != Some(cursor.position().fingerprint) {
                    return None;
                }
                cursor
            }
        };
        match cursor {
            Cursor::Log(after) if after.seq >= head.horizon => Some(Self::Log { after }),
            Cursor::Log(after) => Some(Self::State { after, tombstones_after: after.seq }),
            Cursor::State { tombstones_after, .. } if tombstones_after > head.position.seq => None,
            Cursor::State { after, tombstones_after } => Some(Self::State { after, tombstones_after }),
        }
    }

    /// The page begins after this sequence number.
    #[must_use]
    pub fn after_seq(&self) -> u64 {
        match self {
            Self::Log { after } | Self::State { after, .. } => after.seq,
        }
    }

    /// The cursor after a page. `last` is the place of its last row, or `None` if it has no rows. `more` says whether
    /// rows were left, and `head` is the head at the moment of the read.
    ///
    /// State mode ends only here, after a page with the last document, at the head that this page saw.
    #[must_use]
    pub fn next(&self, last: Option<Position>, more: bool, head: Head) -> Cursor {
        match (*self, more) {
            (Self::Log { after }, _) => Cursor::Log(last.unwrap_or(after)),
            (Self::State { after, tombstones_after }, true) => {
                Cursor::State { after: last.unwrap_or(after), tombstones_after }
            }
            (Self::State { .. }, false) => Cursor::Log(head.position),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seq: u64) -> Position {
        Position { seq, fingerprint: Fingerprint::from_number(seq * 1_000_003) }
    }

    fn head(seq: u64, horizon: u64) -> Head {
        Head { position: at(seq), horizon }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in [
            "",
            "l",
            "l.",
            "l.1",
            "l.1.2.3",
            "L.1.2",
            "l.01.2",
            "l.1.A",
            "s.1.2",
            "x.1.2",
            "l.-1.2",
            "l.+1.2",
            "l.ffffffffffffffff.1",
            "l.1.fffffffffffff",
            "q.1",
            "l.1.2 ",
            "drop table",
        ] {
            assert_eq!(Cursor::parse(text), Err(NotACursor), "{text}");
            assert!(text == "q.1" || QueryCursor::parse(text).is_err(), "{text}");
        }
        assert_eq!(QueryCursor::parse("q.ff"), Ok(QueryCursor { before: 255 }));
    }

    #[test]
    fn a_client_from_nothing_gets_the_state_without_the_tombstones_from_before_it_began() {
        let scan = Scan::choose(Origin::Nothing, head(9, 0), None);
        assert_eq!(scan, Some(Scan::State { after: Position::START, tombstones_after: 9 }));
    }

    #[test]
    fn a_legacy_client_from_the_beginning_gets_the_log_while_it_is_whole_and_then_the_state_with_tombstones() {
        let scan = |horizon| Scan::choose(Origin::Beginning, head(9, horizon), None);
        assert_eq!(scan(0), Some(Scan::Log { after: Position::START }));
        assert_eq!(scan(1), Some(Scan::State { after: Position::START, tombstones_after: 0 }));
    }

    #[test]
    fn a_cursor_behind_the_horizon_is_put_in_state_mode_and_one_at_it_is_not() {
        let scan = |seq, horizon| {
            let fingerprint = Some(at(seq).fingerprint);
            Scan::choose(Origin::Cursor(Cursor::Log(at(seq))), head(9, horizon), fingerprint)
        };
        assert_eq!(scan(4, 4), Some(Scan::Log { after: at(4) }));
        assert_eq!(scan(4, 5), Some(Scan::State { after: at(4), tombstones_after: 4 }));
    }

    #[test]
    fn a_cursor_of_another_log_is_none_of_ours() {
        let cursor = Origin::Cursor(Cursor::Log(at(4)));
        assert_eq!(Scan::choose(cursor, head(9, 0), Some(at(5).fingerprint)), None);
        assert_eq!(Scan::choose(cursor, head(3, 0), None), None);
        let from_the_future = Origin::Cursor(Cursor::State { after: at(4), tombstones_after: 10 });
        assert_eq!(Scan::choose(from_the_future, head(9, 0), Some(at(4).fingerprint)), None);
    }

    #[test]
    fn state_mode_ends_with_the_page_that_shows_the_last_document() {
        let scan = Scan::State { after: at(2), tombstones_after: 5 };
        assert_eq!(scan.next(Some(at(4)), true, head(9, 0)), Cursor::State { after: at(4), tombstones_after: 5 });
        assert_eq!(scan.next(Some(at(9)), false, head(9, 0)), Cursor::Log(at(9)));
        assert_eq!(scan.next(None, false, head(9, 0)), Cursor::Log(at(9)));
        assert_eq!(Scan::Log { after: at(2) }.next(None, false, head(2, 0)), Cursor::Log(at(2)));
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_was(seq in 0..=INTEGER_MAX, fingerprint in 0_u64..1 << 48, began in 0..=INTEGER_MAX) {
            let position = Position { seq, fingerprint: Fingerprint::from_number(fingerprint) };
            for cursor in [Cursor::Log(position), Cursor::State { after: position, tombstones_after: began }] {
                prop_assert_eq!(Cursor::parse(&cursor.to_string()), Ok(cursor));
            }
        }

        #[test]
        fn parsing_never_panics(text in ".*") {
            let _ = Cursor::parse(&text);
            let _ = QueryCursor::parse(&text);
        }
    }
}
