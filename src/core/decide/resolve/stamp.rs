//! Stamps: who wrote a content, and when. They decide which of two writers wins.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::core::clock::VectorClock;
use crate::core::names::{ClientId, OperationId};
use crate::core::numbers::{Rev, UnixMs};
use crate::limits::protocol::STAMP_MAX_ENTRIES;

/// An operation in the order of writers: by time, then by client, then by its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredMark", into = "StoredMark")]
pub(crate) struct Mark {
    /// The author.
    pub(crate) client: String,
    /// The author's own counter in the clock of the operation.
    pub(crate) counter: u64,
    /// The author's time, bounded against the future.
    pub(crate) time_ms: u64,
    /// The id of the operation.
    pub(crate) operation: String,
}

/// The text of a mark is an array.
#[derive(Serialize, Deserialize)]
struct StoredMark(String, u64, u64, String);

impl From<StoredMark> for Mark {
    fn from(StoredMark(client, counter, time_ms, operation): StoredMark) -> Self {
        Self { client, counter, time_ms, operation }
    }
}

impl From<Mark> for StoredMark {
    fn from(Mark { client, counter, time_ms, operation }: Mark) -> Self {
        Self(client, counter, time_ms, operation)
    }
}

impl Mark {
    /// The mark of an operation with this clock.
    pub(crate) fn of(client: &ClientId, clock: &VectorClock, time_ms: UnixMs, operation: &OperationId) -> Self {
        Self {
            client: client.as_str().to_owned(),
            counter: clock.get(client),
            time_ms: time_ms.get(),
            operation: operation.as_str().to_owned(),
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        let by_time = self.time_ms.cmp(&other.time_ms);
        by_time.then_with(|| self.client.cmp(&other.client)).then_with(|| self.operation.cmp(&other.operation))
    }

    /// Whether it is later than another one. Two different operations are never equally late.
    pub(crate) fn is_later_than(&self, other: &Self) -> bool {
        self.order(other) == Ordering::Greater
    }
}

/// The author of an operation that is being decided.
pub(crate) struct Writer<'a> {
    /// The operation.
    pub(crate) mark: Mark,
    /// The operations that its author had seen.
    pub(crate) sight: Sight<'a>,
    /// The revision to which it leads.
    pub(crate) rev: Rev,
}

/// The operations that an author had seen.
#[derive(Clone, Copy)]
pub(crate) enum Sight<'a> {
    /// The operations in its clock.
    Clock(&'a VectorClock),
    /// All that the document shows.
    Everything,
    /// The operations with these ids, which are of its own push. If it has written the document already, it has led to
    /// the revisions after `own_after`. Of the deletes, the author has also seen those up to the revision `base`.
    Only { ids: &'a HashSet<&'a str>, base: Rev, own_after: Option<Rev> },
    /// None. Its clock says too much, because another device has used its counter.
    Nothing,
}

impl Writer<'_> {
    fn has_seen(&self, mark: &Mark) -> bool {
        match self.sight {
            Sight::Clock(clock) => clock.counter_of(&mark.client) >= mark.counter,
            Sight::Everything => true,
            // Everybody has seen the content that nobody wrote.
            Sight::Only { ids, .. } => mark.client.is_empty() || ids.contains(mark.operation.as_str()),
            Sight::Nothing => mark.client.is_empty(),
        }
    }

    /// Whether the author has seen a delete with this counter of a client, which led to this revision.
    pub(super) fn has_seen_delete(&self, client: &str, counter: u64, rev: Rev) -> bool {
        match self.sight {
            Sight::Clock(clock) => clock.counter_of(client) >= counter,
            Sight::Everything => true,
            Sight::Only { base, own_after, .. } => rev <= base || own_after.is_some_and(|before| rev > before),
            Sight::Nothing => false,
        }
    }
}

/// The operation that wrote a content, after the later ones that its author had seen.
///
/// **Law.** *An operation wins against those that its author had seen, whatever their times. Time decides between
/// operations of which neither has seen the other, and the order in which they arrive does not matter.*
///
/// A device whose clock is slow gives an operation an earlier time than those that it has seen. So the stamp keeps
/// these, the latest first, and each mark is earlier than the one before. An operation is compared with the first one
/// that it has not seen. Clocks that run well make stamps of one mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp(Arc<[Mark]>);

impl Stamp {
    /// The stamp of an operation that had seen nothing later.
    pub(crate) fn of(mark: Mark) -> Self {
        Self(Arc::new([mark]))
    }

    /// The stamp of a content that no operation wrote. Everybody has seen it.
    pub(crate) fn of_nobody() -> Self {
        Self::of(Mark { client: String::new(), counter: 0, time_ms: 0, operation: String::new() })
    }

    /// A stamp of stored marks; `None` if there are none.
    pub(crate) fn from_marks(marks: Vec<Mark>) -> Option<Self> {
        (!marks.is_empty()).then(|| Self(marks.into()))
    }

    /// The marks, the latest first.
    pub(crate) fn marks(&self) -> &[Mark] {
        &self.0
    }

    /// Whether the author of an operation has seen the content.
    pub(crate) fn is_seen_by(&self, writer: &Writer<'_>) -> bool {
        self.0.last().is_some_and(|mark| writer.has_seen(mark))
    }

    /// Whether an operation wins against the content: its author has seen it, or it is later.
    pub(crate) fn yields_to(&self, writer: &Writer<'_>) -> bool {
        self.is_seen_by(writer)
            || self.0.iter().find(|mark| !writer.has_seen(mark)).is_none_or(|mark| writer.mark.is_later_than(mark))
    }

    /// The stamp of an operation that has won against the content.
    pub(crate) fn followed_by(&self, writer: &Writer<'_>) -> Self {
        let seen = self.0.iter().take_while(|mark| writer.has_seen(mark) && mark.is_later_than(&writer.mark));
        seen.take(STAMP_MAX_ENTRIES - 1).chain([&writer.mark]).cloned().collect::<Vec<_>>().into()
    }

    /// Which of two stamps is later, mark by mark.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let different =
            self.0.iter().zip(&*other.0).map(|(ours, theirs)| ours.order(theirs)).find(|order| order.is_ne());
        different.unwrap_or(self.0.len().cmp(&other.0.len()))
    }
}

impl From<Vec<Mark>> for Stamp {
    fn from(marks: Vec<Mark>) -> Self {
        Self(marks.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An operation of a client of its own, which has seen some of those before it.
    #[derive(Debug, Clone)]
    struct Event {
        mark: Mark,
        clock: VectorClock,
    }

    impl Event {
        fn writer(&self) -> Writer<'_> {
            Writer { mark: self.mark.clone(), sight: Sight::Clock(&self.clock), rev: Rev::NONE }
        }
    }

    /// Events with these times. Each has seen those in its list, and what these have seen.
    fn events(plan: &[(u64, Vec<usize>)]) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        for (index, (time_ms, seen)) in plan.iter().enumerate() {
            let client = ClientId::literal(&format!("client-{index}"));
            let mut clock: VectorClock = [(client.clone(), 1)].into_iter().collect();
            for seen in seen.iter().filter(|seen| **seen < index) {
                clock.merge(&events[*seen].clock);
            }
            let operation = OperationId::literal(&format!("op-{index}"));
            events.push(Event { mark: Mark::of(&client, &clock, UnixMs::new(*time_ms), &operation), clock });
        }
        events
    }

    /// The content after events have arrived in an order.
    fn winner(events: &[Event], order: &[usize]) -> String {
        let mut stamp: Option<Stamp> = None;
        for index in order {
            let writer = events[*index].writer();
            stamp = match stamp {
                None => Some(Stamp::of(writer.mark)),
                Some(stamp) if stamp.yields_to(&writer) => Some(stamp.followed_by(&writer)),
                Some(stamp) => Some(stamp),
            };
        }
        stamp.unwrap().marks().last().unwrap().operation.clone()
    }

    /// All orders in which nothing arrives before something that its author had seen.
    fn orders(events: &[Event]) -> Vec<Vec<usize>> {
        fn go_on(events: &[Event], order: &mut Vec<usize>, found: &mut Vec<Vec<usize>>) {
            if order.len() == events.len() {
                found.push(order.clone());
            }
            for next in 0..events.len() {
                let has_seen = |other: &usize| {
                    *other != next && events[next].clock.get(&ClientId::literal(&format!("client-{other}"))) > 0
                };
                let is_possible = (0..events.len()).filter(has_seen).all(|seen| order.contains(&seen));
                if !order.contains(&next) && is_possible {
                    order.push(next);
                    go_on(events, order, found);
                    order.pop();
                }
            }
        }
        let mut found = Vec::new();
        go_on(events, &mut Vec::new(), &mut found);
        found
    }

    #[test]
    fn an_operation_that_saw_another_wins_although_its_device_is_slow() {
        // The third one has seen neither of the others.
        let events = events(&[(10, vec![]), (3, vec![0]), (5, vec![])]);
        let orders = orders(&events);
        assert_eq!(orders.len(), 3);
        for order in orders {
            assert_eq!(winner(&events, &order), "op-1", "{order:?}");
        }
    }

    #[test]
    fn of_two_operations_that_saw_a_later_one_the_later_of_the_two_wins_in_any_order() {
        let events = events(&[(10, vec![]), (3, vec![0]), (4, vec![0])]);
        for order in orders(&events) {
            assert_eq!(winner(&events, &order), "op-2", "{order:?}");
        }
    }

    #[test]
    fn a_stamp_is_bounded() {
        let plan: Vec<_> = (0..20_usize).map(|index| (100 - index as u64, (0..index).collect())).collect();
        let events = events(&plan);
        let stamp = events.iter().skip(1).fold(Stamp::of(events[0].mark.clone()), |stamp, event| {
            assert!(stamp.yields_to(&event.writer()));
            stamp.followed_by(&event.writer())
        });
        assert_eq!(stamp.marks().len(), STAMP_MAX_ENTRIES);
        assert_eq!(stamp.marks().last().unwrap().operation, "op-19");
    }

    fn any_plan() -> impl Strategy<Value = Vec<(u64, Vec<usize>)>> {
        let event = (1_u64..5, proptest::collection::vec(0_usize..5, 0..3));
        proptest::collection::vec(event, 1..6)
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_does_not_matter(plan in any_plan()) {
            let events = events(&plan);
            let mut orders = orders(&events).into_iter();
            let expected = winner(&events, &orders.next().unwrap());
            for order in orders {
                prop_assert_eq!(&winner(&events, &order), &expected, "{:?}", order);
            }
        }
    }
}
