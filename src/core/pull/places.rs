//! The server's memory of a client of the original protocol. It makes sure that a `since` without a cursor loses
//! nothing.
//!
//! Such a client sends as `since` the greatest timestamp of the last page that it applied. Timestamps come from the
//! clocks of users: they repeat, run ahead and come late, so this number alone is not a place in the log. The server
//! therefore keeps, for each client, which `since` to expect after each page that it sent, and which place this `since`
//! stands for. A `since` that is no longer kept is answered from the beginning.
//!
//! A number is never given for two places, because one client id may have several databases: tabs, or devices that were
//! restored from a backup. If the greatest timestamp of a page cannot be used, one of its operations is repeated with a
//! greater timestamp. The client skips the operation as known, but uses the timestamp as its next `since`. Of the
//! numbers that are forgotten only the greatest is kept, and every new number is greater.
//!
//! Some clients keep the greatest timestamp of all pages. A page of late operations would not raise it, and they would
//! receive that page again and again. So the number of a page is greater than the `since` for which it was read.

use super::cursor::Cursor;
use super::page::LogPage;
use crate::core::numbers::{Seq, UnixMs};
use crate::limits::protocol::{CLIENT_MAX_PLACES, SINCE_FOREIGN_MAX};

/// The places of one client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The place that each `since` stands for. The one that was used last is at the end.
    known: Vec<(UnixMs, Cursor)>,
    /// The greatest number that may have been given and is no longer known, [`UnixMs::EPOCH`] if there is none.
    forgotten_up_to: UnixMs,
}

/// The result of a page: whether one operation is repeated, and the new memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The timestamp with which one of the page's operations is repeated, if one is.
    pub(crate) repeat_with: Option<UnixMs>,
    /// The places to remember from now on.
    pub(crate) places: Places,
}

impl Places {
    /// The cursor for a client that sends this `since`: its place if it is known, and otherwise the beginning.
    #[must_use]
    pub(crate) fn start(&self, since: UnixMs) -> Cursor {
        // Law 6: a client that starts from the beginning loses nothing. From any later place it might, because the
        // server does not know what a client with this number has.
        self.find(since).unwrap_or(Cursor::BEGINNING)
    }

    /// Remembers where the page ends that was read for this `since`.
    #[must_use]
    pub(crate) fn settle(mut self, since: UnixMs, page: &LogPage) -> Settled {
        self.use_again(since);
        // It is not known for which place an unknown number was given, so it is never given again. If the answer is
        // lost and the client repeats the request, the number is still unknown.
        let is_known = self.find(since).is_some();
        let is_plausible = is_known || since <= UnixMs::new(SINCE_FOREIGN_MAX);
        if !is_known && is_plausible {
            self.forget_up_to(since);
        }
        let greatest = page.entries.iter().map(|entry| entry.timestamp).max();
        let Some(greatest) = greatest else {
            // The client keeps its `since`, which stands for the same place as before.
            return Settled { repeat_with: None, places: self };
        };
        let expected = self.number_for(page.next, if is_plausible { greatest.max(since) } else { greatest });
        self.remember(expected, page.next);
        Settled { repeat_with: (expected != greatest).then_some(expected), places: self }
    }

    /// Whether these places can be kept instead of `others` without a difference for any client. They must stand for
    /// all that the others stand for, and must never give a number again that the others would not.
    #[must_use]
    pub(crate) fn cover(&self, others: &Self) -> bool {
        let is_known = |(since, place): &(UnixMs, Cursor)| self.find(*since) == Some(*place);
        self.forgotten_up_to >= others.forgotten_up_to && others.known.iter().all(is_known)
    }

    /// The smallest number, `least` or greater, that stands for this place or is free to do so.
    fn number_for(&self, place: Cursor, least: UnixMs) -> UnixMs {
        let given = self.known.iter().filter(|(since, known)| *known == place && *since >= least);
        if let Some(given) = given.map(|(since, _)| *since).min() {
            return given;
        }
        let mut number = least;
        if number <= self.forgotten_up_to {
            number = next_of_a_double(self.forgotten_up_to);
        }
        while self.find(number).is_some() {
            number = next_of_a_double(number);
        }
        number
    }

    fn find(&self, since: UnixMs) -> Option<Cursor> {
        self.known.iter().find(|(known, _)| *known == since).map(|(_, place)| *place)
    }

    /// Moves a known `since` to the end, so that it is kept longer than those that were used before it.
    fn use_again(&mut self, since: UnixMs) {
        if let Some(index) = self.known.iter().position(|(known, _)| *known == since) {
            let place = self.known.remove(index);
            self.known.push(place);
        }
    }

    fn remember(&mut self, since: UnixMs, place: Cursor) {
        self.known.retain(|(known, _)| *known != since);
        self.known.push((since, place));
        let excess = self.known.len().saturating_sub(CLIENT_MAX_PLACES);
        let eldest: Vec<_> = self.known.drain(..excess).collect();
        for (since, _) in eldest {
            self.forget_up_to(since);
        }
    }

    fn forget_up_to(&mut self, since: UnixMs) {
        self.forgotten_up_to = self.forgotten_up_to.max(since);
    }

    /// The first place of the log at which one of the client's databases may continue, if any place is known.
    #[must_use]
    pub(crate) fn first(&self) -> Option<Seq> {
        self.known.iter().map(|(_, place)| place.position().seq).min()
    }

    /// The greatest number that the server may have given the client, [`UnixMs::EPOCH`] if it has given none.
    #[must_use]
    pub fn greatest_given(&self) -> UnixMs {
        let known = self.known.iter().map(|(since, _)| *since);
        known.max().unwrap_or_default().max(self.forgotten_up_to)
    }

    /// No places, and the numbers up to this one are never given. A client that sends one of them is answered from the
    /// beginning.
    #[must_use]
    pub fn forgotten_up_to(since: UnixMs) -> Self {
        Self { known: Vec::new(), forgotten_up_to: since }
    }

    /// The same places, and no other number up to this one is given.
    #[must_use]
    pub fn never_up_to(mut self, since: UnixMs) -> Self {
        self.forget_up_to(since);
        self
    }

    /// The places as a text for the store.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut parts: Vec<String> = self.known.iter().map(|(since, place)| format!("{since}={place}")).collect();
        if self.forgotten_up_to > UnixMs::EPOCH || self.is_full() {
            // Earlier versions forget the first places first, so they keep this one longest.
            parts.push(format!("{}={FORGOTTEN}", self.forgotten_up_to));
        }
        parts.join(" ")
    }

    /// Reads the text that [`Places::to_text`] wrote. Returns `None` if the text is damaged.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mut places, mut says_what_is_forgotten) = (Self::default(), false);
        for part in text.split(' ').filter(|part| !part.is_empty()) {
            let (since, place) = part.split_once('=')?;
            let since = UnixMs::new(since.parse().ok()?);
            if let Some(numbers) = place.strip_prefix("t.") {
                parse_numbers(numbers)?;
                places.forget_up_to(since);
                says_what_is_forgotten = true;
            } else {
                places.known.push((since, Cursor::parse(place).ok()?));
            }
        }
        if places.is_full() && !says_what_is_forgotten {
            // Earlier versions did not keep the numbers that they had forgotten.
            let greatest = places.known.iter().map(|(since, _)| *since).max();
            places.forget_up_to(greatest.unwrap_or(UnixMs::EPOCH));
        }
        Some(places)
    }

    /// Whether an old place is forgotten when the next one is remembered.
    fn is_full(&self) -> bool {
        self.known.len() >= CLIENT_MAX_PLACES
    }
}

/// The text in place of a cursor after a number that is no longer known.
///
/// Earlier versions wrote such a place, with other numbers in it, for a client that they served by its `since` in the
/// order of time. They read this one as a client that has nothing. They can run beside this version for a while: after
/// eight further pages they have forgotten it.
const FORGOTTEN: &str = "t.0.0.0.0";

fn parse_numbers(numbers: &str) -> Option<[u64; 4]> {
    let numbers: Vec<u64> = numbers.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

/// The next greater timestamp that a double can hold, so that a JavaScript client can tell it from this one.
///
/// Only timestamps at the very limit pass 2^53, by one step for each page.
fn next_of_a_double(timestamp: UnixMs) -> UnixMs {
    const GAPS_BEGIN: u64 = 1 << 53;
    let integer = timestamp.get();
    UnixMs::new(if integer < GAPS_BEGIN { integer + 1 } else { (integer + 2) & !1 })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::core::cursor::Position;
    use crate::core::fingerprint::Fingerprint;
    use crate::core::json::Object;
    use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
    use crate::core::operation::{Change, LogEntry};
    use crate::limits::protocol::{INTEGER_MAX, SINCE_MAX};

    fn ms(timestamp: u64) -> UnixMs {
        UnixMs::new(timestamp)
    }

    fn at(seq: u64) -> Position {
        Position { seq: Seq::new(seq), fingerprint: Fingerprint::from_number(seq + 100) }
    }

    fn log(seq: u64) -> Cursor {
        Cursor::Log(at(seq))
    }

    fn entries(timestamps: &[u64]) -> Vec<LogEntry> {
        let entry = |(seq, timestamp): (Seq, &u64)| LogEntry {
            seq,
            id: OperationId::literal(&format!("op-{seq}")),
            change: Change::Insert(Object::literal("{}")),
            key: DocumentKey { collection: Collection::literal("c"), id: DocumentId::literal("d") },
            timestamp: ms(*timestamp),
            client_id: ClientId::literal("a"),
            clock: Object::literal("{}"),
            rev: None,
            subject: None,
            resolution: None,
        };
        Seq::START.following().zip(timestamps).map(entry).collect()
    }

    fn page(timestamps: &[u64], next: Cursor) -> LogPage {
        LogPage { entries: entries(timestamps), next, has_more: false, lacks_deletes: false }
    }

    fn is_a_double(number: u64) -> bool {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the point"
        )]
        let through_a_double = number as f64 as u64;
        through_a_double == number
    }

    #[test]
    fn zero_is_the_beginning_whatever_is_remembered() {
        let settled = Places::default().settle(ms(0), &page(&[5], log(1)));
        assert_eq!(settled.places.start(ms(0)), Cursor::BEGINNING);
        let settled = settled.places.settle(ms(0), &page(&[0], log(2)));
        assert_eq!(settled.repeat_with, Some(ms(1)), "0 can stand for no other place");
        assert_eq!(settled.places.start(ms(0)), Cursor::BEGINNING);
    }

    #[test]
    fn the_expected_since_and_the_one_before_lead_to_their_places() {
        let first = Places::default().settle(ms(0), &page(&[5, 9, 2], log(3)));
        assert_eq!(first.repeat_with, None);
        let second = first.places.settle(ms(9), &page(&[12], log(4)));
        assert_eq!(second.repeat_with, None);
        assert_eq!(second.places.start(ms(12)), log(4));
        assert_eq!(second.places.start(ms(9)), log(3));
    }

    #[test]
    fn a_page_of_late_operations_has_a_greater_number_than_the_page_before() {
        let first = Places::default().settle(ms(0), &page(&[5, 9, 2], log(3)));
        let second = first.places.settle(ms(9), &page(&[4], log(4)));
        assert_eq!(second.repeat_with, Some(ms(10)));
        assert_eq!(second.places.start(ms(10)), log(4));
        assert_eq!(second.places.start(ms(9)), log(3), "the answer may be lost");
        assert_eq!(second.places.start(ms(4)), Cursor::BEGINNING, "the page did not end with it");
    }

    #[test]
    fn a_since_that_is_taken_is_told_apart_by_a_repeated_operation() {
        let first = Places::default().settle(ms(0), &page(&[9], log(1)));
        let second = first.places.settle(ms(9), &page(&[9], log(2)));
        assert_eq!(second.repeat_with, Some(ms(10)));
        let third = second.places.settle(ms(10), &page(&[9, 10], log(4)));
        assert_eq!(third.repeat_with, Some(ms(11)));
        for (since, seq) in [(9, 1), (10, 2), (11, 4)] {
            assert_eq!(third.places.start(ms(since)), log(seq));
        }
    }

    #[test]
    fn the_same_page_again_stands_for_the_same_place() {
        let first = Places::default().settle(ms(0), &page(&[9], log(1)));
        let again = first.places.clone().settle(ms(0), &page(&[9], log(1)));
        assert_eq!((again.repeat_with, &again.places), (None, &first.places));
    }

    #[test]
    fn a_page_that_leads_to_a_known_place_keeps_the_number_of_that_place() {
        let mut places = Places::default().settle(ms(0), &page(&[100], log(1))).places;
        for seq in 2..=9 {
            places = places.settle(ms(0), &page(&[seq], log(seq))).places;
        }
        let kept = places.clone().settle(ms(0), &page(&[9], log(9)));
        assert_eq!(kept.repeat_with, None, "9 stands for this place, although 100 is forgotten");
        assert_eq!(places.settle(ms(0), &page(&[9], log(10))).repeat_with, Some(ms(101)));
    }

    #[test]
    fn timestamps_at_the_limit_are_told_apart_by_integers_that_a_double_holds() {
        let mut settled = Places::default().settle(ms(0), &page(&[INTEGER_MAX], log(1)));
        let mut since = INTEGER_MAX;
        for seq in 2..2_000 {
            settled = settled.places.settle(ms(since), &page(&[INTEGER_MAX], log(seq)));
            let next = settled.repeat_with.map_or(INTEGER_MAX, UnixMs::get);
            assert!(is_a_double(next), "{next}");
            assert!(next > since && next <= INTEGER_MAX + 2 * seq);
            assert_eq!(settled.places.start(ms(next)), log(seq));
            since = next;
        }
    }

    #[test]
    fn no_since_that_a_client_may_send_brings_numbers_that_it_may_not_send() {
        for since in [SINCE_FOREIGN_MAX - 1, SINCE_FOREIGN_MAX, SINCE_FOREIGN_MAX + 1, SINCE_MAX] {
            let mut places = Places::default();
            for seq in 1..100 {
                let settled = places.settle(ms(since), &page(&[INTEGER_MAX], log(seq)));
                let next = settled.repeat_with.map_or(INTEGER_MAX, UnixMs::get);
                assert!(next < SINCE_FOREIGN_MAX + 500 && is_a_double(next), "{next}");
                places = settled.places;
            }
        }
    }

    #[test]
    fn only_so_many_places_are_remembered_and_the_one_in_use_is_kept() {
        let mut places = Places::default().settle(ms(0), &page(&[1_000], log(1))).places;
        for seq in 2..50 {
            places = places.settle(ms(1_000), &page(&[1_000 + seq], log(seq))).places;
            assert!(places.known.len() <= CLIENT_MAX_PLACES);
            assert_eq!(places.start(ms(1_000)), log(1));
            assert_eq!(places.start(ms(1_000 + seq)), log(seq));
        }
        assert_eq!(places.start(ms(1_002)), Cursor::BEGINNING, "the eldest is forgotten");
    }

    #[test]
    fn a_forgotten_number_is_never_given_again() {
        let mut places = Places::default().settle(ms(0), &page(&[1_000], log(1))).places;
        for seq in 2..=9 {
            places = places.settle(ms(0), &page(&[seq], log(seq))).places;
        }
        assert_eq!(places.start(ms(1_000)), Cursor::BEGINNING);
        let settled = places.settle(ms(0), &page(&[1_000], log(50)));
        assert_eq!(settled.repeat_with, Some(ms(1_001)));
        assert_eq!(settled.places.start(ms(1_000)), Cursor::BEGINNING);
    }

    #[test]
    fn a_client_whose_places_are_forgotten_is_given_greater_numbers() {
        let places = Places::default().settle(ms(0), &page(&[5, 9], log(2))).places;
        let places = places.settle(ms(9), &page(&[7], log(3))).places;
        assert_eq!(places.greatest_given(), ms(10));
        let forgotten = Places::forgotten_up_to(places.greatest_given());
        assert_eq!((forgotten.start(ms(9)), forgotten.start(ms(7))), (Cursor::BEGINNING, Cursor::BEGINNING));
        assert_eq!(forgotten.greatest_given(), ms(10));
        assert_eq!(forgotten.settle(ms(7), &page(&[7], log(3))).repeat_with, Some(ms(11)));
        let raised = places.clone().never_up_to(ms(20));
        assert_eq!((raised.start(ms(9)), raised.greatest_given()), (log(2), ms(20)));
        assert_eq!(places.never_up_to(ms(1)).greatest_given(), ms(10));
    }

    #[test]
    fn an_unknown_since_stands_for_no_place_but_the_beginning() {
        let places = Places::default();
        assert_eq!(places.start(ms(7)), Cursor::BEGINNING);
        let settled = places.settle(ms(7), &page(&[3, 7], log(2)));
        assert_eq!(settled.repeat_with, Some(ms(8)), "the answer may be lost, and 7 comes again");
        assert_eq!(settled.places.start(ms(7)), Cursor::BEGINNING);
        assert_eq!(settled.places.start(ms(8)), log(2));
    }

    #[test]
    fn places_in_another_order_say_nothing_new() {
        let first = Places::default().settle(ms(0), &page(&[5], log(1))).places;
        let second = first.clone().settle(ms(5), &page(&[9], log(2))).places;
        let again = second.clone().settle(ms(0), &page(&[5], log(1))).places;
        assert_ne!(again, second);
        assert!(second.cover(&again) && second.cover(&first) && !first.cover(&second));
        let unknown = second.clone().settle(ms(7), &page(&[], log(2))).places;
        assert!(!second.cover(&unknown), "7 is never given from now on");
    }

    #[test]
    fn an_empty_page_leaves_the_places_as_they_were() {
        let places = Places::default().settle(ms(0), &page(&[9], log(1))).places;
        assert_eq!(places.clone().settle(ms(9), &page(&[], log(1))).places, places);
    }

    #[test]
    fn places_come_back_from_their_text() {
        let state = Cursor::State { after: at(1), tombstones_after: Seq::new(2) };
        for forgotten_up_to in [0, 5, 10].map(ms) {
            let places = Places { known: vec![(ms(9), log(3)), (ms(11), state)], forgotten_up_to };
            assert_eq!(Places::parse(&places.to_text()), Some(places));
            let full = Places { known: (20..).map(ms).zip([log(1); CLIENT_MAX_PLACES]).collect(), forgotten_up_to };
            assert_eq!(Places::parse(&full.to_text()), Some(full));
            let none = Places { known: Vec::new(), forgotten_up_to };
            assert_eq!(Places::parse(&none.to_text()), Some(none));
        }
        assert_eq!(Places::parse(""), Some(Places::default()));
        for damaged in ["9", "9=", "x=l.1.2", "9=t.1.2.3", "9=t.1.2.3.4.5", "9=x"] {
            assert_eq!(Places::parse(damaged), None, "{damaged}");
        }
    }

    #[test]
    fn a_place_in_the_order_of_time_that_an_earlier_version_kept_is_an_unknown_since() {
        let places = Places::parse("9=l.3.4 10=t.3.4.5.6").expect("the text of an earlier version");
        assert_ne!(places.start(ms(9)), Cursor::BEGINNING);
        assert_eq!(places.start(ms(10)), Cursor::BEGINNING);
        assert_eq!(places.settle(ms(9), &page(&[10], log(4))).repeat_with, Some(ms(11)), "10 was given before");
        let full = Places::parse("8=l.1.1 9=l.2.2 1=l.3.3 2=l.4.4 3=l.5.5 4=l.6.6 5=l.7.7 6=l.8.8").expect("places");
        assert_eq!(
            full.settle(ms(6), &page(&[7], log(9))).repeat_with,
            Some(ms(10)),
            "others were given and forgotten"
        );
    }

    proptest! {
        /// Several databases share a client id, and some are restored from backups. Each receives a page, or loses it
        /// on the way. No database ever continues at a place beyond what it has.
        #[test]
        fn no_number_stands_for_a_place_beyond_what_a_database_has(
            timestamps in vec(0..20_u64, 1..60),
            pulls in vec((0..4_usize, 1..4_usize, 0..8_u8, 1..60_u64), 1..150),
        ) {
            // For each database: the `since` that it sends, and the sequence number up to which it has the log. The
            // last two send the greatest timestamp of all pages.
            let mut databases = [(0, 0); 4];
            let mut backups = databases;
            let mut places = Places::default();
            for (database, max_entries, fate, head) in pulls {
                let (since, has) = databases[database];
                let after = places.start(ms(since)).position().seq.get();
                prop_assert!(after <= has, "{} stands for {}, the database has {}", since, after, has);
                let begin = usize::try_from(after).unwrap_or(usize::MAX);
                let head = usize::try_from(head).unwrap_or(0);
                let end = (begin + max_entries).min(timestamps.len()).min(head).max(begin);
                let read = &timestamps[begin..end];
                let page = page(read, log(end as u64));
                let Settled { repeat_with, places: settled } = places.clone().settle(ms(since), &page);
                places = settled;
                match fate {
                    0 => {}
                    1 => backups[database] = databases[database],
                    2 => databases[database] = backups[database],
                    3 => places = Places::parse(&places.to_text()).expect("the text is whole"),
                    _ => {
                        let next = read.iter().copied().chain(repeat_with.map(UnixMs::get)).max().unwrap_or(since);
                        let next = if database < 2 { next } else { next.max(since) };
                        databases[database] = (next, has.max(end as u64));
                        let goes_on = end == begin || places.start(ms(next)).position().seq.get() >= end as u64;
                        prop_assert!(goes_on, "the page after {} comes again for {}", since, next);
                    }
                }
            }
        }
    }
}
