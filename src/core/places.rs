//! What the server remembers of a legacy client, so that a bare `since` loses nothing.
//!
//! A client of the reference's protocol sends as next `since` the greatest timestamp of the page that it applied last.
//! Timestamps are its users' clocks: they repeat, run ahead and come late, so the number alone is no place in the log.
//! The server therefore keeps, for each client, which `since` to expect after each page that it sent, and the place
//! that this `since` stands for. No `since` ever stands for two places: a page whose greatest timestamp is taken
//! already gets one of its operations repeated with a greater timestamp, which the client skips as known but counts.

use std::fmt::Write as _;

use super::cursor::{Cursor, Origin, Position};
use super::fingerprint::Fingerprint;
use super::limits::CLIENT_MAX_PLACES;
use super::operation::LogEntry;
use super::page::{LogPage, TimePage, TimePlace};

/// What a remembered `since` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A cursor like that of every other client.
    Cursor(Cursor),
    /// The client came with a `since` that the server did not know, and is being served by the reference's rule.
    CatchingUp {
        /// It has what lies up to here in the order of time.
        after: TimePlace,
        /// Where the head was when it first asked; it goes on from there once it has caught up.
        then: Position,
    },
}

impl Place {
    /// The sequence number up to which a client at this place is known to have everything.
    #[must_use]
    pub fn pulled_seq(&self) -> u64 {
        match self {
            Self::Cursor(cursor) => cursor.position().seq,
            Self::CatchingUp { .. } => 0,
        }
    }
}

/// Where the answer to a `since` begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// In the order of the log.
    Log(Origin),
    /// By the reference's rule.
    Time {
        /// What the client has, in the order of time.
        after: TimePlace,
        /// Where the head was when it first asked; nothing where that is now.
        then: Option<Position>,
    },
}

/// The places of one client, the one that was used last at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(Vec<(u64, Place)>);

/// What became of a page: whether one more entry is due, and what to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The timestamp to repeat one of the page's operations with, if one is to be repeated.
    pub repeat_with: Option<u64>,
    /// The places as they are to be remembered now.
    pub places: Places,
    /// The place that the client has once it has applied the page.
    pub place: Place,
}

impl Places {
    /// Where to begin for a client that sends this `since`.
    #[must_use]
    pub fn start(&self, since: u64) -> Start {
        if since == 0 {
            return Start::Log(Origin::Beginning);
        }
        match self.find(since) {
            Some(Place::Cursor(cursor)) => Start::Log(Origin::Cursor(cursor)),
            Some(Place::CatchingUp { after, then }) => Start::Time { after, then: Some(then) },
            None => Start::Time { after: TimePlace::after_timestamp(since), then: None },
        }
    }

    /// Remembers what a page in log order leads to.
    #[must_use]
    pub fn settle_log(self, since: u64, page: &LogPage) -> Settled {
        self.settle(since, &page.entries, Place::Cursor(page.next))
    }

    /// Remembers what a page by the reference's rule leads to; `then` is that of [`Start::Time`].
    ///
    /// A `since` that was not known is remembered itself too: when the answer is lost and the client asks again, it goes
    /// on from where the head is now, and not behind what has been pushed meanwhile.
    #[must_use]
    pub fn settle_time(mut self, since: u64, then: Option<Position>, page: &TimePage) -> Settled {
        let is_first = then.is_none();
        let then = then.unwrap_or(page.head.position);
        if is_first {
            self.remember(since, Place::CatchingUp { after: TimePlace::after_timestamp(since), then });
        }
        let place = match page.entries.last() {
            Some(last) if page.has_more => {
                let after = TimePlace { timestamp: last.timestamp, seq: last.seq };
                Place::CatchingUp { after, then }
            }
            _ => Place::Cursor(Cursor::Log(then)),
        };
        self.settle(since, &page.entries, place)
    }

    fn settle(mut self, since: u64, entries: &[LogEntry], place: Place) -> Settled {
        self.use_again(since);
        let greatest = entries.iter().map(|entry| entry.timestamp).max();
        let Some(greatest) = greatest else {
            // The client keeps its `since`. One that is known stands for the same changes as before; 0 needs no memory.
            if since != 0 && !matches!(self.find(since), Some(Place::Cursor(_))) {
                self.remember(since, place);
            }
            return Settled { repeat_with: None, places: self, place };
        };
        let mut expected = greatest;
        while self.find(expected).is_some_and(|known| known != place) {
            expected = next_integer_of_a_double(expected);
        }
        self.remember(expected, place);
        Settled { repeat_with: (expected != greatest).then_some(expected), places: self, place }
    }

    fn find(&self, since: u64) -> Option<Place> {
        self.0.iter().find(|(known, _)| *known == since).map(|(_, place)| *place)
    }

    /// Moves a known `since` to the end, so that it outlives those that were not used for longer.
    fn use_again(&mut self, since: u64) {
        if let Some(index) = self.0.iter().position(|(known, _)| *known == since) {
            let place = self.0.remove(index);
            self.0.push(place);
        }
    }

    fn remember(&mut self, since: u64, place: Place) {
        self.0.retain(|(known, _)| *known != since);
        self.0.push((since, place));
        let excess = self.0.len().saturating_sub(CLIENT_MAX_PLACES);
        self.0.drain(..excess);
    }

    /// The places as a text for the store.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (since, place) in &self.0 {
            if !text.is_empty() {
                text.push(' ');
            }
            // Writing to a string cannot fail.
            let _ = match place {
                Place::Cursor(cursor) => write!(text, "{since}={cursor}"),
                Place::CatchingUp { after, then } => write!(
                    text,
                    "{since}=t.{}.{}.{}.{}",
                    after.timestamp,
                    after.seq,
                    then.seq,
                    then.fingerprint.to_number()
                ),
            };
        }
        text
    }

    /// Reads back what [`Places::to_text`] wrote; nothing where the text is damaged.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.split(' ').filter(|part| !part.is_empty()).map(parse_place).collect::<Option<_>>().map(Self)
    }
}

fn parse_place(part: &str) -> Option<(u64, Place)> {
    let (since, place) = part.split_once('=')?;
    let since = since.parse().ok()?;
    let Some(numbers) = place.strip_prefix("t.") else {
        return Some((since, Place::Cursor(Cursor::parse(place).ok()?)));
    };
    let numbers: Vec<u64> = numbers.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let [timestamp, seq, then_seq, fingerprint] = numbers[..] else { return None };
    let then = Position { seq: then_seq, fingerprint: Fingerprint::from_number(fingerprint) };
    Some((since, Place::CatchingUp { after: TimePlace { timestamp, seq }, then }))
}

/// The next greater integer that a double holds, so that a JavaScript client keeps it apart from this one.
///
/// Only timestamps at the very limit get beyond 2^53, and only by a few: at most one step for each remembered place.
fn next_integer_of_a_double(integer: u64) -> u64 {
    const GAPS_BEGIN: u64 = 1 << 53;
    if integer < GAPS_BEGIN { integer + 1 } else { integer + 2 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::cursor::Head;
    use crate::core::json::RawJson;
    use crate::core::limits::INTEGER_MAX;
    use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
    use crate::core::operation::OperationKind;

    fn at(seq: u64) -> Position {
        Position { seq, fingerprint: Fingerprint::from_number(seq + 100) }
    }

    fn log(seq: u64) -> Cursor {
        Cursor::Log(at(seq))
    }

    fn entries(timestamps: &[u64]) -> Vec<LogEntry> {
        let entry = |(seq, timestamp): (u64, &u64)| LogEntry {
            seq,
            id: OperationId::trusted(&format!("op-{seq}")),
            kind: OperationKind::Insert,
            key: DocumentKey { collection: Collection::trusted("c"), id: DocumentId::trusted("d") },
            data: Some(RawJson::trusted("{}")),
            timestamp: *timestamp,
            client_id: ClientId::trusted("a"),
            clock: RawJson::trusted("{}"),
        };
        (1..).zip(timestamps).map(entry).collect()
    }

    fn page(timestamps: &[u64], next: Cursor) -> LogPage {
        LogPage { entries: entries(timestamps), next, has_more: false }
    }

    #[test]
    fn zero_is_the_beginning_whatever_is_remembered() {
        let settled = Places::default().settle_log(0, &page(&[5], log(1)));
        assert_eq!(settled.places.start(0), Start::Log(Origin::Beginning));
    }

    #[test]
    fn the_expected_since_and_the_one_before_lead_to_their_places() {
        let first = Places::default().settle_log(0, &page(&[5, 9, 2], log(3)));
        assert_eq!(first.repeat_with, None);
        let second = first.places.settle_log(9, &page(&[4], log(4)));
        assert_eq!(second.repeat_with, None, "the next since may be smaller than the one before");
        assert_eq!(second.places.start(4), Start::Log(Origin::Cursor(log(4))));
        assert_eq!(second.places.start(9), Start::Log(Origin::Cursor(log(3))));
    }

    #[test]
    fn a_since_that_is_taken_is_told_apart_by_a_repeated_operation() {
        let first = Places::default().settle_log(0, &page(&[9], log(1)));
        let second = first.places.settle_log(9, &page(&[9], log(2)));
        assert_eq!(second.repeat_with, Some(10));
        let third = second.places.settle_log(10, &page(&[9, 10], log(4)));
        assert_eq!(third.repeat_with, Some(11));
        for (since, seq) in [(9, 1), (10, 2), (11, 4)] {
            assert_eq!(third.places.start(since), Start::Log(Origin::Cursor(log(seq))));
        }
    }

    #[test]
    fn the_same_page_again_stands_for_the_same_place() {
        let first = Places::default().settle_log(0, &page(&[9], log(1)));
        let again = first.places.clone().settle_log(0, &page(&[9], log(1)));
        assert_eq!((again.repeat_with, &again.places), (None, &first.places));
    }

    #[test]
    fn timestamps_at_the_limit_are_told_apart_by_integers_that_a_double_holds() {
        let mut settled = Places::default().settle_log(0, &page(&[INTEGER_MAX], log(1)));
        let mut since = INTEGER_MAX;
        for seq in 2..40 {
            settled = settled.places.settle_log(since, &page(&[INTEGER_MAX], log(seq)));
            let next = settled.repeat_with.unwrap_or(INTEGER_MAX);
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the point"
            )]
            let through_a_double = next as f64 as u64;
            assert_eq!(through_a_double, next);
            assert_ne!(next, since);
            assert!(next <= INTEGER_MAX + 2 * CLIENT_MAX_PLACES as u64 + 2);
            assert_eq!(settled.places.start(next), Start::Log(Origin::Cursor(log(seq))));
            since = next;
        }
    }

    #[test]
    fn only_so_many_places_are_remembered_and_the_one_in_use_is_kept() {
        let mut places = Places::default().settle_log(0, &page(&[1_000], log(1))).places;
        for seq in 2..50 {
            places = places.settle_log(1_000, &page(&[1_000 + seq], log(seq))).places;
            assert!(places.0.len() <= CLIENT_MAX_PLACES);
            assert_eq!(places.start(1_000), Start::Log(Origin::Cursor(log(1))));
            assert_eq!(places.start(1_000 + seq), Start::Log(Origin::Cursor(log(seq))));
        }
        assert!(matches!(places.start(1_002), Start::Time { then: None, .. }), "the eldest is forgotten");
    }

    #[test]
    fn an_unknown_since_is_served_by_time_and_then_from_where_the_head_was_when_it_first_asked() {
        let places = Places::default();
        assert_eq!(places.start(7), Start::Time { after: TimePlace::after_timestamp(7), then: None });
        let head = |seq| Head { position: at(seq), horizon: 0 };
        let first = TimePage { entries: entries(&[8, 9]), has_more: true, head: head(5) };
        let settled = places.settle_time(7, None, &first);
        let start = settled.places.start(9);
        assert_eq!(start, Start::Time { after: TimePlace { timestamp: 9, seq: 2 }, then: Some(at(5)) });
        let last = TimePage { entries: entries(&[12]), has_more: false, head: head(8) };
        let settled = settled.places.settle_time(9, Some(at(5)), &last);
        assert_eq!(settled.places.start(12), Start::Log(Origin::Cursor(log(5))));
    }

    #[test]
    fn an_unknown_since_that_comes_again_goes_on_from_where_the_head_was_when_it_first_came() {
        let page =
            |seq| TimePage { entries: entries(&[8]), has_more: false, head: Head { position: at(seq), horizon: 0 } };
        let lost = Places::default().settle_time(7, None, &page(5));
        let start = lost.places.start(7);
        assert_eq!(start, Start::Time { after: TimePlace::after_timestamp(7), then: Some(at(5)) });
        let settled = lost.places.settle_time(7, Some(at(5)), &page(6));
        assert_eq!(settled.places.start(8), Start::Log(Origin::Cursor(log(5))));
    }

    #[test]
    fn an_unknown_since_with_nothing_behind_it_is_known_from_then_on() {
        let page_of_none = TimePage { entries: vec![], has_more: false, head: Head { position: at(5), horizon: 0 } };
        let settled = Places::default().settle_time(7, None, &page_of_none);
        assert_eq!(settled.places.start(7), Start::Log(Origin::Cursor(log(5))));
    }

    #[test]
    fn an_empty_page_leaves_the_places_as_they_were() {
        let places = Places::default().settle_log(0, &page(&[9], log(1))).places;
        assert_eq!(places.clone().settle_log(9, &page(&[], log(1))).places, places);
    }

    #[test]
    fn places_come_back_from_their_text() {
        let catching_up = Place::CatchingUp { after: TimePlace { timestamp: 3, seq: 4 }, then: at(5) };
        let state = Cursor::State { after: at(1), tombstones_after: 2 };
        let places = Places(vec![(9, Place::Cursor(log(3))), (10, catching_up), (11, Place::Cursor(state))]);
        assert_eq!(Places::parse(&places.to_text()), Some(places));
        assert_eq!(Places::parse(""), Some(Places::default()));
        for damaged in ["9", "9=", "x=l.1.2", "9=t.1.2.3", "9=t.1.2.3.4.5", "9=x"] {
            assert_eq!(Places::parse(damaged), None, "{damaged}");
        }
    }
}
