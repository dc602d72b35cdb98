//! Vector clocks: they tell whether the author of one operation had seen another.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::json::{Members, RawJson, integer};
use super::limits::INTEGER_MAX;
use super::names::ClientId;

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VectorClock(Arc<BTreeMap<ClientId, u64>>);

impl VectorClock {
    /// The counter of a client, 0 if it has none.
    #[must_use]
    pub fn get(&self, client: &ClientId) -> u64 {
        self.0.get(client).copied().unwrap_or(0)
    }

    /// Sets the counter of a client.
    pub fn set(&mut self, client: ClientId, counter: u64) {
        Arc::make_mut(&mut self.0).insert(client, counter);
    }

    /// The entries, ordered by client.
    pub fn iter(&self) -> impl Iterator<Item = (&ClientId, u64)> {
        self.0.iter().map(|(client, counter)| (client, *counter))
    }

    /// The number of clients in the clock.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the clock has no clients.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares this clock with `other` over the union of their clients, in one pass over both.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Relation {
        let (mut smaller, mut greater) = (false, false);
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
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
        let merged = Arc::make_mut(&mut self.0);
        for (client, counter) in &*other.0 {
            match merged.get_mut(client) {
                Some(ours) => *ours = (*ours).max(*counter),
                None => {
                    merged.insert(client.clone(), *counter);
                }
            }
        }
    }

    /// The clock as the JSON object of the protocol, ordered by client.
    #[must_use]
    pub fn to_json(&self) -> RawJson {
        RawJson::from_object(self.0.iter().map(|(client, counter)| (client.as_str(), counter.to_string())))
    }

    /// Reads the text that [`VectorClock::to_json`] wrote. Returns `None` if the text is damaged.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let members = Members::parse(text).ok()?;
        let entry = |(client, counter)| Some((ClientId::trusted(client), integer(counter, INTEGER_MAX).ok()?));
        members.iter().map(entry).collect()
    }
}

impl FromIterator<(ClientId, u64)> for VectorClock {
    fn from_iter<T: IntoIterator<Item = (ClientId, u64)>>(entries: T) -> Self {
        Self(Arc::new(entries.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clock(entries: &[(&str, u64)]) -> VectorClock {
        entries.iter().map(|(client, counter)| (ClientId::trusted(client), *counter)).collect()
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
        assert_eq!(written.to_json().as_str(), r#"{"a":0,"b\"":2}"#);
        assert_eq!(VectorClock::parse(written.to_json().as_str()), Some(written));
        for damaged in ["", "[]", "{", r#"{"a":-1}"#, r#"{"a":"1"}"#] {
            assert_eq!(VectorClock::parse(damaged), None, "{damaged}");
        }
    }

    fn any_clock() -> impl Strategy<Value = VectorClock> {
        proptest::collection::btree_map("[a-d]", 0_u64..3, 0..4)
            .prop_map(|entries| entries.into_iter().map(|(client, n)| (ClientId::trusted(&client), n)).collect())
    }

    /// The definition, written as plainly as possible.
    fn compare_by_definition(ours: &VectorClock, theirs: &VectorClock) -> Relation {
        let clients = ["a", "b", "c", "d"].map(ClientId::trusted);
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
            for client in ["a", "b", "c", "d"].map(ClientId::trusted) {
                prop_assert_eq!(merged.get(&client), ours.get(&client).max(theirs.get(&client)));
            }
            prop_assert!(matches!(merged.compare(&ours), Relation::HappensAfter | Relation::Equal));
            prop_assert!(matches!(merged.compare(&theirs), Relation::HappensAfter | Relation::Equal));
        }
    }
}
