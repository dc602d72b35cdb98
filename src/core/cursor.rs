//! Cursors: opaque texts that name a place, and where a pull goes on from one.

use std::fmt;

use super::fingerprint::Fingerprint;
use super::limits::INTEGER_MAX;

/// A place in a tenant's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The sequence number, 0 before the first operation.
    pub seq: u64,
    /// The fingerprint of the log up to there.
    pub fingerprint: Fingerprint,
}

impl Position {
    /// Before the first operation.
    pub const START: Self = Self { seq: 0, fingerprint: Fingerprint::START };
}

/// What a store knows of a tenant's log as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The place of the newest operation.
    pub position: Position,
    /// The sequence number up to which compaction has removed history, 0 where it has not.
    pub horizon: u64,
}

/// What a client sends back to go on from a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// The client has every change up to here; what follows is read from the log.
    Log(Position),
    /// The client is being shown the documents, in the order of their last operations.
    State {
        /// It has seen the documents up to here.
        after: Position,
        /// It is shown the tombstones that are newer than this sequence number: older ones are from before it began.
        tombstones_after: u64,
    },
}

/// A text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this server")]
pub struct NotACursor;

impl Cursor {
    /// The place up to which the client has seen something.
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
    /// When the text is not one that [`Cursor`]'s `Display` writes.
    pub fn parse(text: &str) -> Result<Self, NotACursor> {
        let mut parts = text.split('.');
        let cursor = match parts.next() {
            Some("l") => Self::Log(position(&mut parts)?),
            Some("s") => Self::State { after: position(&mut parts)?, tombstones_after: number(&mut parts)? },
            _ => return Err(NotACursor),
        };
        // One text for one cursor: leading zeros, capitals and further parts are refused.
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

/// What a query's `cursor` names: the documents older than one that was answered last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryCursor {
    /// The sequence number of that document's last operation; what follows has smaller ones.
    pub before: u64,
}

impl QueryCursor {
    /// Reads the text that a client sent.
    ///
    /// # Errors
    /// When the text is not one that [`QueryCursor`]'s `Display` writes.
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

/// Where a pull in log order begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client with a cursor that has nothing: it is shown the documents that exist.
    Nothing,
    /// A legacy client that asks for everything; it may still hold documents, so tombstones are shown to it too.
    Beginning,
    /// The place that a cursor names.
    Cursor(Cursor),
}

/// What a store is to read for a page in log order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// Operations with a greater sequence number, in its order.
    Log {
        /// The place that the client has.
        after: Position,
    },
    /// Documents whose last operation has a greater sequence number, in its order.
    State {
        /// The place that the client has.
        after: Position,
        /// Tombstones up to this sequence number are left out.
        tombstones_after: u64,
    },
}

impl Scan {
    /// Chooses what to read, from a head and the fingerprint that the log has at the cursor's place (nothing where the
    /// place is beyond the head). The result is nothing when the cursor is not of this log: the client must begin anew.
    ///
    /// A client that starts from nothing, or whose place lies behind the horizon, is put in state mode.
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

    /// The sequence number that the page begins behind.
    #[must_use]
    pub fn after_seq(&self) -> u64 {
        match self {
            Self::Log { after } | Self::State { after, .. } => after.seq,
        }
    }

    /// The cursor behind a page: `last` is the place of its last row (nothing where it has none), `more` whether rows
    /// were left, `head` the head in the same moment.
    ///
    /// State mode ends only here: when a page has shown the last document, at the head that the page saw.
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
