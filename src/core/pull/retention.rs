//! Retention: how long a tenant keeps what only those clients need that were away.
//!
//! There are two kinds of it. *Tombstones* tell clients of deletes. The *remains* of an entry that compaction has
//! removed are its number, its fingerprint, its id and its time of reception. By the fingerprint a cursor is verified,
//! and by the id an operation that is pushed again is known.
//!
//! **Law.** *Nothing is removed that was received after the cut, or after a place from which a client may continue that
//! was seen lately. A client from before is told to start again.*
//!
//! - A client that continues at a place has received all tombstones up to there. So tombstones up to the first place of
//!   all clients that were seen lately are needed by none of them. Cursors before that place are refused from then on.
//! - A cursor is verified at its place, or at a later one. So fingerprints before that place are not needed either.
//! - A client that continues at a place has pushed what it had before, and was answered. If it pushes an operation
//!   again whose id is gone, the clock of the document covers the operation, also that of a tombstone. If this is gone
//!   too, the operation begins the document again. Only under the policy `reject` does a covered operation never win.

use super::cursor::Position;
use crate::core::numbers::{Seq, UnixMs};
use crate::core::places::Places;
use crate::core::progress::Progress;
use crate::limits::protocol::CLIENT_FORGOTTEN_AFTER_MS;

/// How long a tenant keeps what only clients need that were away. `None` keeps it for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How long tombstones are kept, in milliseconds.
    pub tombstones_ms: Option<u64>,
    /// How long ids are kept, in milliseconds.
    pub ids_ms: Option<u64>,
    /// How long fingerprints are kept, in milliseconds.
    pub fingerprints_ms: Option<u64>,
    /// How long the server remembers a silent client, in milliseconds.
    pub clients_ms: u64,
}

/// The cuts of retention at a moment: what was received at a cut or before may be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    /// The cut of tombstones, in milliseconds since 1970.
    pub tombstones_ms: Option<UnixMs>,
    /// The cut of the remains of entries, in milliseconds since 1970.
    pub remains_ms: Option<UnixMs>,
}

/// Whether a document that is not there may have been deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tombstones {
    /// It may not: the tombstone would be there.
    #[default]
    Kept,
    /// It may, and clients may still have its data.
    Expiring,
}

impl Tombstones {
    /// Whether those of some documents may be gone.
    pub(crate) fn may_be_gone(self) -> bool {
        self == Self::Expiring
    }
}

impl Default for Retention {
    /// Everything is kept for ever, and silent clients are remembered for [`CLIENT_FORGOTTEN_AFTER_MS`].
    fn default() -> Self {
        Self::of_clients(CLIENT_FORGOTTEN_AFTER_MS)
    }
}

impl Retention {
    /// Whether tombstones are removed after some time.
    #[must_use]
    pub fn tombstones(&self) -> Tombstones {
        if self.tombstones_ms.is_some() { Tombstones::Expiring } else { Tombstones::Kept }
    }

    /// Everything is kept for ever but clients that were silent for so long, in milliseconds.
    #[must_use]
    pub const fn of_clients(clients_ms: u64) -> Self {
        Self { tombstones_ms: None, ids_ms: None, fingerprints_ms: None, clients_ms }
    }

    /// The cuts at a moment. `None` if nothing is ever removed.
    ///
    /// The id and the fingerprint of an entry are kept in one row, so they go together: when both are old enough. They
    /// have the time of reception by which tombstones are judged, so they do not go before tombstones.
    #[must_use]
    pub fn cuts(&self, now_ms: UnixMs) -> Option<Cuts> {
        let remains_ms = self.ids_ms.zip(self.fingerprints_ms).map(|(ids_ms, fingerprints_ms)| {
            let kept_ms = ids_ms.max(fingerprints_ms).max(self.tombstones_ms.unwrap_or_default());
            now_ms.minus_ms(kept_ms)
        });
        let tombstones_ms = self.tombstones_ms.map(|kept_ms| now_ms.minus_ms(kept_ms));
        let is_any = tombstones_ms.is_some() || remains_ms.is_some();
        is_any.then_some(Cuts { tombstones_ms, remains_ms })
    }

    /// The first place from which a client may continue, if the client was seen lately.
    ///
    /// A client of the original protocol may have several databases, which continue at different places.
    #[must_use]
    pub fn needed_from(&self, progress: Progress, places: &Places, now_ms: UnixMs) -> Option<Seq> {
        let is_seen = progress.seen_at_ms > UnixMs::EPOCH && progress.seen_at_ms >= now_ms.minus_ms(self.clients_ms);
        let first = places.first().map_or(progress.pulled_seq, |first| first.min(progress.pulled_seq));
        is_seen.then_some(first)
    }
}

/// The part of a tenant's old rows that retention removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// The place before which cursors are refused from then on.
    pub floor: Position,
    /// Tombstones up to this sequence number are removed.
    pub tombstones_up_to: Seq,
    /// Remains of entries before this sequence number are removed.
    pub remains_before: Seq,
}

impl Expiry {
    /// The part up to the last places that the cuts allow. `None` if they allow nothing.
    ///
    /// The remains at the last place itself are kept, because they verify the cursors there.
    #[must_use]
    pub fn up_to(tombstones: Option<Position>, remains: Option<Position>) -> Option<Self> {
        let floor = tombstones.into_iter().chain(remains).max_by_key(|place| place.seq)?;
        let [tombstones_up_to, remains_before] = [tombstones, remains].map(|place| place.unwrap_or_default().seq);
        Some(Self { floor, tombstones_up_to, remains_before })
    }
}

/// Finds the last of some consecutive places that fulfils a condition, if every place before that fulfils it too.
#[cfg(any(feature = "sqlite", feature = "mongodb"))]
#[derive(Debug)]
pub(crate) struct Bisection {
    fulfils: Seq,
    fails: Seq,
}

#[cfg(any(feature = "sqlite", feature = "mongodb"))]
impl Bisection {
    /// Among the places up to this one.
    pub(crate) fn up_to(last: Seq) -> Self {
        Self { fulfils: Seq::START, fails: last.next() }
    }

    /// The place to look at next. `None` if the last place is found.
    pub(crate) fn asks(&self) -> Option<Seq> {
        let left = self.fails.entries_since(self.fulfils);
        (left > 1).then(|| self.fulfils.plus(left / 2))
    }

    /// Takes the answer for the place that was asked for.
    pub(crate) fn answer(&mut self, place: Seq, fulfils: bool) {
        *(if fulfils { &mut self.fulfils } else { &mut self.fails }) = place;
    }

    /// The last place that fulfils the condition, or [`Seq::START`].
    pub(crate) fn found(self) -> Seq {
        self.fulfils
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fingerprint::Fingerprint;

    const NOW: UnixMs = UnixMs::new(1_000);

    fn at(seq: u64) -> Position {
        Position { seq: Seq::new(seq), fingerprint: Fingerprint::from_number(seq + 100) }
    }

    #[test]
    fn nothing_is_cut_unless_it_is_asked_for() {
        let nothing = Retention::of_clients(100);
        assert_eq!(nothing.cuts(NOW), None);
        assert_eq!(Retention { ids_ms: Some(1), ..nothing }.cuts(NOW), None, "the fingerprint stands beside the id");
        assert_eq!(Retention { fingerprints_ms: Some(1), ..nothing }.cuts(NOW), None);
    }

    #[test]
    fn remains_go_when_all_of_them_are_old_and_not_before_tombstones() {
        let retention = |[tombstones_ms, ids_ms, fingerprints_ms]: [Option<u64>; 3]| {
            let cuts = Retention { tombstones_ms, ids_ms, fingerprints_ms, clients_ms: 100 }.cuts(NOW);
            cuts.map(|cuts| [cuts.tombstones_ms, cuts.remains_ms].map(|cut| cut.map(UnixMs::get)))
        };
        assert_eq!(retention([Some(10), None, None]), Some([Some(990), None]));
        assert_eq!(retention([None, Some(20), Some(30)]), Some([None, Some(970)]));
        assert_eq!(retention([Some(10), Some(40), Some(30)]), Some([Some(990), Some(960)]));
        assert_eq!(retention([Some(50), Some(40), Some(30)]), Some([Some(950), Some(950)]));
    }

    #[test]
    fn a_client_needs_what_follows_the_first_of_its_places_as_long_as_it_is_remembered() {
        let retention = Retention::of_clients(100);
        let seen = |seen_at_ms| Progress { pulled_seq: Seq::new(7), seen_at_ms: UnixMs::new(seen_at_ms) };
        let needed = |seen_at_ms| retention.needed_from(seen(seen_at_ms), &Places::default(), NOW);
        assert_eq!([0, 899, 900, 2_000].map(needed), [None, None, Some(Seq::new(7)), Some(Seq::new(7))]);
        let places = Places::parse("5=l.3.4 9=l.9.5").expect("places");
        assert_eq!(retention.needed_from(seen(1_000), &places, NOW), Some(Seq::new(3)));
        let later = Places::parse("9=l.9.5").expect("places");
        assert_eq!(retention.needed_from(seen(1_000), &later, NOW), Some(Seq::new(7)));
        assert_eq!(Retention::of_clients(u64::MAX).needed_from(seen(0), &places, NOW), None, "it was never seen");
    }

    #[test]
    fn cursors_are_refused_before_the_later_of_both_places() {
        assert_eq!(Expiry::up_to(None, None), None);
        let expiry = |floor, tombstones_up_to, remains_before| {
            let (tombstones_up_to, remains_before) = (Seq::new(tombstones_up_to), Seq::new(remains_before));
            Some(Expiry { floor: at(floor), tombstones_up_to, remains_before })
        };
        assert_eq!(Expiry::up_to(Some(at(3)), None), expiry(3, 3, 0));
        assert_eq!(Expiry::up_to(None, Some(at(4))), expiry(4, 0, 4));
        assert_eq!(Expiry::up_to(Some(at(5)), Some(at(4))), expiry(5, 5, 4));
    }

    #[cfg(any(feature = "sqlite", feature = "mongodb"))]
    #[test]
    fn a_bisection_finds_the_last_place_that_fulfils_the_condition() {
        for last in 0..20_u64 {
            for limit in 0..=last {
                let mut bisection = Bisection::up_to(Seq::new(last));
                let mut questions = 0;
                while let Some(place) = bisection.asks() {
                    assert!(place > Seq::START && place <= Seq::new(last));
                    bisection.answer(place, place <= Seq::new(limit));
                    questions += 1;
                }
                assert_eq!(bisection.found(), Seq::new(limit));
                assert!(questions <= 5);
            }
        }
    }
}
