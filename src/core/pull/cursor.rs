//! Cursors: opaque texts that name a place, from which a pull continues.

use std::fmt;

use super::fingerprint::Fingerprint;
use crate::core::numbers::Seq;
use crate::limits::protocol::INTEGER_MAX;

/// A place in a tenant's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The sequence number, [`Seq::START`] before the first operation.
    pub seq: Seq,
    /// The fingerprint of the log up to this place.
    pub fingerprint: Fingerprint,
}

impl Position {
    /// The place before the first operation.
    pub const START: Self = Self { seq: Seq::START, fingerprint: Fingerprint::START };
}

/// The state of a tenant's log as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The place of the newest operation.
    pub position: Position,
    /// The sequence number up to which compaction has removed history, [`Seq::START`] if it has removed
    /// nothing.
    pub horizon: Seq,
    /// The place before which cursors are refused, because retention may have removed what they need. It is
    /// [`Position::START`] if retention has removed nothing.
    pub floor: Position,
    /// Tombstones up to this sequence number may have been removed. It is not after the floor.
    pub tombstones_gone: Seq,
}

impl Head {
    /// Whether the log still has every entry after a sequence number.
    ///
    /// This decides the mode of a pull that begins there: it reads the log if this holds, and documents if not.
    #[must_use]
    pub fn has_log_behind(&self, seq: Seq) -> bool {
        seq >= self.horizon
    }

    /// The place whose fingerprint shows whether a cursor is of this log.
    ///
    /// Before the floor there may be no fingerprints, and a client that receives the documents walks over such places.
    /// Its cursor there has the fingerprint of the place where it began, or of the floor if that is later.
    #[must_use]
    pub fn verified_at(&self, cursor: &Cursor) -> Seq {
        match cursor {
            Cursor::State { after, tombstones_after } if after.seq < self.floor.seq => {
                self.floor.seq.max(*tombstones_after)
            }
            cursor => cursor.position().seq,
        }
    }

    /// Whether everything is still there that a client with this cursor may lack, the beginning excepted.
    ///
    /// A client at the beginning is told of documents and of the tombstones that are left. Its page
    /// [says](super::page::LogPage::lacks_deletes) that others are gone.
    pub(super) fn has_kept_what_follows(&self, cursor: &Cursor) -> bool {
        match cursor {
            Cursor::Log(place) => place.seq == Seq::START || place.seq >= self.floor.seq,
            Cursor::State { after, tombstones_after } => after.seq.max(*tombstones_after) >= self.tombstones_gone,
        }
    }
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
        tombstones_after: Seq,
    },
}

/// The text is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this server")]
pub struct NotACursor;

impl Cursor {
    /// The beginning of the log, for a client that asks for everything. Such a client may still have documents, so it
    /// receives tombstones too. A client that has no documents has no cursor.
    pub const BEGINNING: Self = Self::Log(Position::START);

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
            Some("s") => Self::State { after: position(&mut parts)?, tombstones_after: seq(&mut parts)? },
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

fn seq<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Result<Seq, NotACursor> {
    number(parts).map(Seq::new)
}

fn position<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Result<Position, NotACursor> {
    let seq = seq(parts)?;
    Ok(Position { seq, fingerprint: Fingerprint::from_number(number(parts)?) })
}

/// The `cursor` of a query. It names the documents that are older than the last one of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryCursor {
    /// The sequence number of the last operation of that document. The next page has smaller numbers.
    pub before: Seq,
}

impl QueryCursor {
    /// Reads the text that a client sent.
    ///
    /// # Errors
    /// If it is not a text that [`QueryCursor`]'s `Display` writes.
    pub fn parse(text: &str) -> Result<Self, NotACursor> {
        let before = seq(&mut text.strip_prefix("q.").into_iter())?;
        let cursor = Self { before };
        if cursor.to_string() == text { Ok(cursor) } else { Err(NotACursor) }
    }
}

impl fmt::Display for QueryCursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "q.{:x}", self.before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_that_is_not_a_cursor_is_refused() {
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
        assert_eq!(QueryCursor::parse("q.ff"), Ok(QueryCursor { before: Seq::new(255) }));
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_was(
            seq in 0..=INTEGER_MAX,
            fingerprint in 0_u64..1 << 48,
            began in 0..=INTEGER_MAX,
        ) {
            let position = Position { seq: Seq::new(seq), fingerprint: Fingerprint::from_number(fingerprint) };
            let began = Seq::new(began);
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
