//! Vector clocks: they tell whether the author of one operation had seen another.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use super::json::{BadJson, ByteCount, Members, Object, Sink as _, integer};
use super::names::{ClientId, FromStore as _};
#[cfg(any(test, feature = "sqlite", feature = "postgres", feature = "mongodb"))]
use super::text::{Text, part_of};
use crate::limits::protocol::INTEGER_MAX;

/// The relation of one clock to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// No counter is greater than the other's, and at least one is smaller.
    HappensBefore,
    /// No counter is smaller than the other's, and at least one is greater.
    HappensAfter,
    /// All counters are equal.
    Equal,
    /// Each clock has a counter that is greater than the other's.
    Concurrent,
}

/// A map from a client to a counter: how many of that client's operations the holder of the clock has seen.
///
/// Cheap to clone. A client that is not in the map has the counter 0, so `{}` and `{"a": 0}` are equal clocks with
/// different texts.
///
/// Source: F. Mattern, "Virtual Time and Global States of Distributed Systems", 1988.
#[derive(Clone, Default)]
pub struct VectorClock(Arc<Entries>);

#[derive(Clone, Default)]
struct Entries {
    counters: BTreeMap<ClientId, u64>,
    /// The clock as JSON, written when it is first needed: stores, sizes and answers share it.
    json: OnceLock<Object>,
}

impl VectorClock {
    /// The counter of a client, 0 if it has none.
    #[must_use]
    pub fn get(&self, client: &ClientId) -> u64 {
        self.0.counters.get(client).copied().unwrap_or(0)
    }

    /// The same of a client whose id is a text.
    #[must_use]
    pub(crate) fn counter_of(&self, client: &str) -> u64 {
        self.0.counters.get(client).copied().unwrap_or(0)
    }

    /// Sets the counter of a client.
    pub fn set(&mut self, client: ClientId, counter: u64) {
        self.counters_mut().insert(client, counter);
    }

    /// The entries, ordered by client.
    pub fn iter(&self) -> impl Iterator<Item = (&ClientId, u64)> {
        self.0.counters.iter().map(|(client, counter)| (client, *counter))
    }

    /// The number of clients in the clock.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.counters.len()
    }

    /// Whether the clock has an entry for a client, even if its counter is 0.
    pub(crate) fn contains(&self, client: &ClientId) -> bool {
        self.0.counters.contains_key(client)
    }

    /// How many entries it has beside that of [`ClientId::clock`].
    pub(crate) fn client_entries(&self) -> usize {
        self.len() - usize::from(self.contains(ClientId::clock()))
    }

    /// How many bytes it has without the entry of [`ClientId::clock`].
    pub(crate) fn client_bytes(&self) -> usize {
        let server = ClientId::clock();
        let own = if self.contains(server) { Self::entry_bytes(server, self.get(server)) } else { 0 };
        self.json().as_str().len().saturating_sub(own)
    }

    /// How many bytes an entry has in a clock with others.
    pub(crate) fn entry_bytes(client: &ClientId, counter: u64) -> usize {
        ByteCount::of(|count| {
            count.push_string(client.as_str());
            count.push_json(":,");
            count.push_number(counter);
        })
    }

    /// Whether the clock has no clients.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.counters.is_empty()
    }

    /// Compares this clock with `other` over the union of their clients, in one pass over both.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Relation {
        let (mut smaller, mut greater) = (false, false);
        let (mut ours, mut theirs) = (self.0.counters.iter().peekable(), other.0.counters.iter().peekable());
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => break,
                (Some((our_client, _)), Some((their_client, _))) => our_client.cmp(their_client),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            };
            let our_counter = if order.is_le() { ours.next().map_or(0, |(_, counter)| *counter) } else { 0 };
            let their_counter = if order.is_ge() { theirs.next().map_or(0, |(_, counter)| *counter) } else { 0 };
            smaller |= our_counter < their_counter;
            greater |= our_counter > their_counter;
            if smaller && greater {
                return Relation::Concurrent;
            }
        }
        match (smaller, greater) {
            (false, false) => Relation::Equal,
            (true, _) => Relation::HappensBefore,
            (false, true) => Relation::HappensAfter,
        }
    }

    /// Takes the greater counter of each client. The result is the clock of a client that has seen all that both have
    /// seen.
    pub fn merge(&mut self, other: &Self) {
        let merged = self.counters_mut();
        for (client, counter) in &other.0.counters {
            match merged.get_mut(client) {
                Some(ours) => *ours = (*ours).max(*counter),
                None => {
                    merged.insert(client.clone(), *counter);
                }
            }
        }
    }

    /// The clock as the JSON object of the protocol, ordered by client. It is written once and shared by all clones.
    #[must_use]
    pub fn json(&self) -> &Object {
        let counters = &self.0.counters;
        let write = || Object::from_members(counters.iter().map(|(client, counter)| (client, counter.to_string())));
        self.0.json.get_or_init(write)
    }

    /// Reads a clock that comes from outside.
    ///
    /// # Errors
    /// When the text is not an object of integers, or one of its keys is not a name.
    pub fn parse(text: &str) -> Result<Self, BadJson> {
        let members = Members::parse(text)?;
        let entry = |(client, counter): (&str, &str)| {
            let client = ClientId::parse(client).map_err(|problem| BadJson::of_member(client, &problem))?;
            Ok((client, integer(counter, INTEGER_MAX)?))
        };
        members.iter().map(entry).collect()
    }

    /// Reads what a store has kept of [`VectorClock::json`]. The clock shares the memory of the text.
    ///
    /// # Errors
    /// When the text is damaged.
    #[cfg(any(test, feature = "sqlite", feature = "postgres", feature = "mongodb"))]
    pub(crate) fn from_store(text: impl Into<Text>) -> Result<Self, BadJson> {
        let text = text.into();
        let members = Members::parse(&text)?.into_members();
        let entry =
            |(client, counter)| Ok((ClientId::from_store(part_of(&text, client)), integer(counter, INTEGER_MAX)?));
        let counters = members.map(entry).collect::<Result<_, BadJson>>()?;
        Ok(Self(Arc::new(Entries { counters, json: Object::from_store(text)?.into() })))
    }

    /// A copy that shares no memory with other texts, for what is kept for long.
    pub(crate) fn detached(&self) -> Self {
        let counters = self.iter().map(|(client, counter)| (ClientId::from_store(client.as_str()), counter));
        Self(Arc::new(Entries { counters: counters.collect(), json: self.json().detached().into() }))
    }

    fn counters_mut(&mut self) -> &mut BTreeMap<ClientId, u64> {
        let entries = Arc::make_mut(&mut self.0);
        entries.json.take();
        &mut entries.counters
    }
}

impl PartialEq for VectorClock {
    fn eq(&self, other: &Self) -> bool {
        self.0.counters == other.0.counters
    }
}

impl Eq for VectorClock {}

impl fmt::Debug for VectorClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.counters, formatter)
    }
}

impl FromStr for VectorClock {
    type Err = BadJson;

    fn from_str(text: &str) -> Result<Self, BadJson> {
        Self::parse(text)
    }
}

impl FromIterator<(ClientId, u64)> for VectorClock {
    fn from_iter<T: IntoIterator<Item = (ClientId, u64)>>(entries: T) -> Self {
        Self(Arc::new(Entries { counters: entries.into_iter().collect(), json: OnceLock::new() }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clock(entries: &[(&str, u64)]) -> VectorClock {
        entries.iter().map(|(client, counter)| (ClientId::literal(client), *counter)).collect()
    }

    #[test]
    fn the_four_relations() {
        assert_eq!(clock(&[]).compare(&clock(&[])), Relation::Equal);
        assert_eq!(clock(&[("a", 0)]).compare(&clock(&[])), Relation::Equal);
        assert_eq!(clock(&[("a", 1)]).compare(&clock(&[("a", 2)])), Relation::HappensBefore);
        assert_eq!(clock(&[]).compare(&clock(&[("a", 2)])), Relation::HappensBefore);
        assert_eq!(clock(&[("a", 2), ("b", 1)]).compare(&clock(&[("a", 2)])), Relation::HappensAfter);
        assert_eq!(clock(&[("a", 1)]).compare(&clock(&[("b", 1)])), Relation::Concurrent);
        assert_eq!(clock(&[("a", 2), ("c", 1)]).compare(&clock(&[("a", 1), ("b", 1)])), Relation::Concurrent);
    }

    #[test]
    fn a_clock_is_written_with_its_clients_in_order_and_read_back() {
        let written = clock(&[("b\"", 2), ("a", 0)]);
        assert_eq!(written.json().as_str(), r#"{"a":0,"b\"":2}"#);
        assert_eq!(VectorClock::parse(written.json().as_str()), Ok(written.clone()));
        let kept = VectorClock::from_store(written.json().as_str()).unwrap();
        assert_eq!((&kept, kept.json()), (&written, written.json()));
        for damaged in ["", "[]", "{", r#"{"a":-1}"#, r#"{"a":"1"}"#] {
            assert!(VectorClock::parse(damaged).is_err(), "{damaged}");
            assert!(VectorClock::from_store(damaged).is_err(), "{damaged}");
        }
        assert!(VectorClock::parse(r#"{"":1}"#).is_err());
    }

    #[test]
    fn the_text_of_a_clock_is_shared_by_its_clones_and_follows_its_changes() {
        let first = clock(&[("a", 1)]);
        let mut second = first.clone();
        assert_eq!(first.json().as_str().as_ptr(), second.json().as_str().as_ptr());
        second.set(ClientId::literal("b"), 2);
        assert_eq!((first.json().as_str(), second.json().as_str()), (r#"{"a":1}"#, r#"{"a":1,"b":2}"#));
        second.merge(&clock(&[("a", 3)]));
        assert_eq!(second.json().as_str(), r#"{"a":3,"b":2}"#);
    }

    fn any_clock() -> impl Strategy<Value = VectorClock> {
        proptest::collection::btree_map("[a-d]", 0_u64..3, 0..4)
            .prop_map(|entries| entries.into_iter().map(|(client, n)| (ClientId::literal(&client), n)).collect())
    }

    /// The definition, written as plainly as possible.
    fn compare_by_definition(ours: &VectorClock, theirs: &VectorClock) -> Relation {
        let clients = ["a", "b", "c", "d"].map(ClientId::literal);
        let smaller = clients.iter().any(|client| ours.get(client) < theirs.get(client));
        let greater = clients.iter().any(|client| ours.get(client) > theirs.get(client));
        match (smaller, greater) {
            (false, false) => Relation::Equal,
            (true, false) => Relation::HappensBefore,
            (false, true) => Relation::HappensAfter,
            (true, true) => Relation::Concurrent,
        }
    }

    proptest! {
        #[test]
        fn compare_is_its_definition(ours in any_clock(), theirs in any_clock()) {
            prop_assert_eq!(ours.compare(&theirs), compare_by_definition(&ours, &theirs));
        }

        #[test]
        fn merge_is_the_least_clock_that_has_seen_both(ours in any_clock(), theirs in any_clock()) {
            let mut merged = ours.clone();
            merged.merge(&theirs);
            for client in ["a", "b", "c", "d"].map(ClientId::literal) {
                prop_assert_eq!(merged.get(&client), ours.get(&client).max(theirs.get(&client)));
            }
            prop_assert!(matches!(merged.compare(&ours), Relation::HappensAfter | Relation::Equal));
            prop_assert!(matches!(merged.compare(&theirs), Relation::HappensAfter | Relation::Equal));
        }
    }
}
