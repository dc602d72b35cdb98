//! The deletes of a document that an edit must have seen if deletes win.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::stamp::{Mark, Writer};
use crate::core::numbers::Rev;
use crate::limits::protocol::DELETES_MAX_ENTRIES;

/// The deletes of a document that took effect. They are remembered also after an edit has begun the document again.
///
/// **Law.** *If deletes win, an edit loses to each delete that its author had not seen. The order in which they arrive
/// does not matter, nor do edits that began the document again.*
///
/// A delete replaces those that its author had seen: an operation that has seen the newer one has seen these too. So
/// there are several only if nobody had seen them all. If there are too many, the oldest one is forgotten. Time then
/// decides about an edit from before it, as about any other one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct PastDeletes(BTreeMap<String, PastDelete>);

/// The counter of a delete in the clock of its author, and the revision that it led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
struct PastDelete {
    counter: u64,
    rev: Rev,
}

impl From<(u64, u64)> for PastDelete {
    fn from((counter, rev): (u64, u64)) -> Self {
        Self { counter, rev: Rev::new(rev) }
    }
}

impl From<PastDelete> for (u64, u64) {
    fn from(PastDelete { counter, rev }: PastDelete) -> Self {
        (counter, rev.get())
    }
}

impl PastDelete {
    fn is_seen_by(self, client: &str, writer: &Writer<'_>) -> bool {
        writer.has_seen_delete(client, self.counter, self.rev)
    }
}

impl PastDeletes {
    /// A single delete.
    pub(crate) fn of(mark: &Mark, rev: Rev) -> Self {
        Self([(mark.client.clone(), PastDelete { counter: mark.counter, rev })].into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the author of an operation has seen all of them.
    pub(crate) fn are_seen_by(&self, writer: &Writer<'_>) -> bool {
        self.0.iter().all(|(client, delete)| delete.is_seen_by(client, writer))
    }

    /// The deletes to remember after another one.
    pub(crate) fn followed_by(&self, writer: &Writer<'_>) -> Self {
        let mut after = self.clone();
        after.0.retain(|client, delete| !delete.is_seen_by(client, writer));
        let Mark { client, counter, .. } = &writer.mark;
        after.0.insert(client.clone(), PastDelete { counter: *counter, rev: writer.rev });
        if after.len() > DELETES_MAX_ENTRIES {
            let oldest = after.0.iter().min_by_key(|(_, delete)| delete.rev).map(|(client, _)| client.clone());
            oldest.and_then(|client| after.0.remove(&client));
        }
        after
    }
}

#[cfg(test)]
mod tests {
    use super::super::stamp::Sight;
    use super::*;
    use crate::core::clock::VectorClock;

    fn writer<'a>(client: &str, counter: u64, rev: u64, sight: Sight<'a>) -> Writer<'a> {
        let mark = Mark { client: client.to_owned(), counter, time_ms: 1, operation: format!("{client}-{counter}") };
        Writer { mark, sight, rev: Rev::new(rev) }
    }

    #[test]
    fn a_delete_replaces_those_that_it_has_seen() {
        let nothing = VectorClock::default();
        let first = PastDeletes::default().followed_by(&writer("a", 1, 2, Sight::Clock(&nothing)));
        let both = first.followed_by(&writer("b", 5, 3, Sight::Clock(&nothing)));
        assert_eq!(serde_json::to_string(&both).unwrap(), r#"{"a":[1,2],"b":[5,3]}"#);
        let seen = VectorClock::parse(r#"{"a":1,"b":4}"#).unwrap();
        assert!(first.are_seen_by(&writer("c", 1, 4, Sight::Clock(&seen))));
        assert!(!both.are_seen_by(&writer("c", 1, 4, Sight::Clock(&seen))));
        let after = both.followed_by(&writer("c", 1, 4, Sight::Clock(&seen)));
        assert_eq!(serde_json::to_string(&after).unwrap(), r#"{"b":[5,3],"c":[1,4]}"#);
    }

    #[test]
    fn the_author_of_an_operation_that_names_a_revision_has_seen_the_deletes_up_to_it_and_its_own() {
        let nothing = VectorClock::default();
        let delete = PastDeletes::default().followed_by(&writer("a", 1, 7, Sight::Clock(&nothing)));
        let ids = std::collections::HashSet::new();
        let is_seen = |base, own_after: Option<u64>| {
            let (base, own_after) = (Rev::new(base), own_after.map(Rev::new));
            delete.are_seen_by(&writer("b", 1, 9, Sight::Only { ids: &ids, base, own_after }))
        };
        assert!(is_seen(7, None) && !is_seen(6, None), "the revision that it led to");
        assert!(is_seen(2, Some(6)) && !is_seen(2, Some(7)), "its own push has led to the revisions after this one");
        assert!(delete.are_seen_by(&writer("b", 1, 9, Sight::Everything)));
        assert!(!delete.are_seen_by(&writer("b", 1, 9, Sight::Nothing)));
    }

    #[test]
    fn the_oldest_of_too_many_deletes_is_forgotten() {
        let nothing = VectorClock::default();
        let count = DELETES_MAX_ENTRIES as u64 + 1;
        let deletes = (1..=count).fold(PastDeletes::default(), |deletes, number| {
            deletes.followed_by(&writer(&format!("client-{number}"), 1, number, Sight::Clock(&nothing)))
        });
        assert_eq!(deletes.len(), DELETES_MAX_ENTRIES);
        let all_but_the_first =
            (2..=count).map(|number| format!("\"client-{number}\":1")).collect::<Vec<_>>().join(",");
        let clock = VectorClock::parse(&format!("{{{all_but_the_first}}}")).unwrap();
        assert!(deletes.are_seen_by(&writer("late", 1, count, Sight::Clock(&clock))));
    }
}
