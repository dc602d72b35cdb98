//! Revisions in place of clocks: an operation says which revision of its document its author saw. The server derives
//! the clock.

use std::collections::{HashMap, HashSet};

use crate::core::clock::VectorClock;
use crate::core::cursor::Position;
use crate::core::fingerprint::Fingerprint;
use crate::core::names::{ClientId, DocumentKey, OperationId};
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::limits::protocol::{CLOCK_MAX_BYTES, CLOCK_MAX_ENTRIES, COUNTER_AHEAD_MAX_MS, INTEGER_MAX};

/// The revisions that the operations of a push name in place of clocks, and where their authors know them from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bases {
    /// The revision of its document that the author of each operation saw, by the operation's index. It is
    /// [`Rev::NONE`] if the author saw neither a document nor a tombstone. `None`, or no element, for an operation with
    /// a clock.
    pub revisions: Vec<Option<Rev>>,
    /// The places of the log up to which the authors know the revisions. In another log a revision stands for another
    /// state, so a push with a place of another log is refused.
    pub places: Vec<Position>,
}

/// Every operation has a clock.
pub(crate) static NO_BASES: Bases = Bases { revisions: Vec::new(), places: Vec::new() };

impl Bases {
    /// The revision that the author of an operation saw; nothing if the operation has a clock.
    #[must_use]
    pub fn of(&self, index: usize) -> Option<Rev> {
        self.revisions.get(index).copied().flatten()
    }

    /// Whether an operation has a revision in place of a clock.
    #[must_use]
    pub fn are_used(&self) -> bool {
        self.revisions.iter().any(Option::is_some)
    }

    /// Whether all places are of the log that has these fingerprints.
    pub(super) fn are_of_log(&self, fingerprints: &HashMap<Seq, Fingerprint>) -> bool {
        let is_of_log = |place: &Position| match place.seq {
            Seq::START => place.fingerprint == Fingerprint::START,
            seq => fingerprints.get(&seq) == Some(&place.fingerprint),
        };
        self.places.iter().all(is_of_log)
    }
}

/// The documents that the present push has written, each with the least revision that its next operation may name.
///
/// The author of a push has seen what the push itself wrote before. Its next operation on the document names the
/// revision that this led to, or still the one that the first operation named.
#[derive(Debug, Default)]
pub(super) struct Written<'a> {
    first: HashMap<&'a DocumentKey, Rev>,
    /// How many operations of the push on a document took effect before, and the revision that the first of them names.
    known: HashMap<&'a DocumentKey, (Rev, u64)>,
    ids: HashSet<&'a str>,
}

impl<'a> Written<'a> {
    /// Forgets the push before.
    pub(super) fn clear(&mut self) {
        self.first.clear();
        self.known.clear();
        self.ids.clear();
    }

    /// The ids of the operations of the push that took effect, now or before.
    pub(super) fn ids(&self) -> &HashSet<&'a str> {
        &self.ids
    }

    /// Notes that an operation of the push has taken effect.
    pub(super) fn note_id(&mut self, id: &'a OperationId) {
        self.ids.insert(id.as_str());
    }

    /// Notes an operation that took effect before, and whose author saw the revision `base`. Says whether all revisions
    /// since that of the first such operation are those of these operations.
    pub(super) fn note_known(&mut self, key: &'a DocumentKey, base: Rev, current: Rev) -> bool {
        let (first, count) = self.known.entry(key).or_insert((base, 0));
        *count += 1;
        first.get().saturating_add(*count) == current.get()
    }

    /// Notes that the state of a document is that of an operation of this push, whose author saw the revision `seen`.
    pub(super) fn note(&mut self, key: &'a DocumentKey, seen: Rev) {
        self.first.entry(key).or_insert(seen);
    }

    /// The revision of a document before the push, if the push has written it.
    pub(super) fn first(&self, key: &DocumentKey) -> Option<Rev> {
        self.first.get(key).copied()
    }

    /// Whether the author of an operation that names `base` has seen the document as it is.
    pub(super) fn has_seen(&self, key: &DocumentKey, base: Rev, current: Rev) -> bool {
        base == current || self.first.get(key).is_some_and(|first| (*first..current).contains(&base))
    }
}

/// The clock that the server derives for an operation whose author has seen the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Derived<'a> {
    pub(super) clock: VectorClock,
    /// The client whose counter is new: the author, or [`ClientId::clock`].
    pub(super) raised: &'a ClientId,
    /// The greatest counter that the server has given this client from now on.
    pub(super) given: u64,
}

/// Derives the clock of an operation by `author` that has seen everything of a document with the clock `current`.
/// `given` says which counter is the greatest one that the server has given a client of the tenant, 0 for none.
///
/// The clock is `current` with one entry raised, so it *happens after* `current`. The entry is the author's. If the
/// author has none and the clock is full, it is that of [`ClientId::clock`], for which every clock has a place. So a
/// full clock refuses no author, and none of its entries is lost.
///
/// An author that has not seen the operation has no clock that happens after this one or is equal to it. The server
/// gives each counter of the raised entry once in a tenant, and later ones are greater. The row of the client is
/// written in the same commit. So every clock that was made without this operation has a smaller counter there. The
/// other entries do not matter. This is also why one counter is enough for all documents of a tenant. A client of the
/// original protocol keeps one clock for all of them. A counter that it has from one document must say nothing about
/// another.
///
/// The counter is at least the time. So it is greater than the author's own counters before, also after a restore from
/// a backup. Only a client that made up a counter can have put one into `current` that is far ahead of the time. Such
/// a counter does not become that of the row, and the entry of the server is raised instead. If that is made up too,
/// it is raised in this document alone. There is room for this, because clients may send at most half of
/// [`INTEGER_MAX`] there.
pub(super) fn derive<'a>(
    current: &VectorClock,
    author: &'a ClientId,
    given: impl Fn(&ClientId) -> u64,
    now_ms: UnixMs,
) -> Derived<'a> {
    let fresh = |client: &ClientId| given(client).saturating_add(1).max(now_ms.get().min(INTEGER_MAX / 2));
    let credible_max = credible_max(now_ms);
    let mut clock = current.clone();
    let counter = fresh(author).max(current.get(author).saturating_add(1));
    if has_room(current, author, counter) && (current.get(author) < fresh(author) || counter <= credible_max) {
        clock.set(author.clone(), counter);
        return Derived { clock, raised: author, given: counter };
    }
    let server = ClientId::clock();
    let counter = fresh(server).max(current.get(server).saturating_add(1)).min(INTEGER_MAX);
    clock.set(server.clone(), counter);
    let given = if counter <= credible_max { counter } else { fresh(server) };
    Derived { clock, raised: server, given }
}

/// The greatest counter that a client may have counted to by itself, as far as the server believes it.
pub(super) fn credible_max(now_ms: UnixMs) -> u64 {
    now_ms.plus_ms(COUNTER_AHEAD_MAX_MS).get().min(INTEGER_MAX / 2)
}

/// Whether a clock has a place for a counter of a client beside that of [`ClientId::clock`].
fn has_room(clock: &VectorClock, client: &ClientId, counter: u64) -> bool {
    let has_place = clock.contains(client) || clock.client_entries() < CLOCK_MAX_ENTRIES;
    let before = if clock.contains(client) { VectorClock::entry_bytes(client, clock.get(client)) } else { 0 };
    has_place && clock.client_bytes() - before + VectorClock::entry_bytes(client, counter) <= CLOCK_MAX_BYTES
}

/// Whether a clock is small enough to be stored. The entry of [`ClientId::clock`] has no effect.
pub(crate) fn fits(clock: &VectorClock) -> bool {
    clock.client_entries() <= CLOCK_MAX_ENTRIES && clock.client_bytes() <= CLOCK_MAX_BYTES
}

#[cfg(test)]
mod tests;
