//! Pull with `since` by a client that sends its id (law 6).
//!
//! Such a client sends as next `since` the greatest timestamp of the page that it applied, and skips operations that it
//! knows.

use std::collections::HashSet;

use super::super::draft::{Draft, delete, insert, inserts, update};
use super::super::world::{BEGINNING_MS, World, ids};
use crate::core::cursor::{Cursor, Position};
use crate::core::fingerprint::Fingerprint;
use crate::core::json::Object;
use crate::core::names::ClientId;
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::core::operation::OperationKind;
use crate::core::places::Places;
use crate::limits::protocol::{
    CLIENT_FORGOTTEN_AFTER_MS, CLIENT_MAX_PLACES, DAY_MS, INTEGER_MAX, PAGE_MAX_BYTES, PAGE_MAX_OPERATIONS,
    SINCE_FOREIGN_MAX, SINCE_MAX,
};
use crate::service::PulledPage;
use crate::store::{NewMemory, Remember};

const ME: &str = "me";

/// The next `since` of a client that has applied a page.
fn next_since(page: &PulledPage) -> UnixMs {
    page.entries.iter().map(|entry| entry.timestamp).max().expect("the page has operations")
}

async fn push_at(world: &World, id: &str, timestamp: impl Into<UnixMs>) {
    world.apply([insert(id, id).at(timestamp)]).await;
}

/// Pulls from a `since` until there is no more. Returns the ids in the order in which they came, and the last `since`.
async fn pull_on(world: &World, since: impl Into<UnixMs>, max_operations: usize) -> (Vec<String>, UnixMs) {
    let mut since = since.into();
    let mut seen = Vec::new();
    loop {
        let page = world.since(ME, since, max_operations).await;
        seen.extend(page.entries.iter().map(|entry| entry.id.as_str().to_owned()));
        if !page.entries.is_empty() {
            since = next_since(&page);
        }
        if !page.has_more {
            return (seen, since);
        }
    }
}

/// From 0, the log is delivered in its own order, whatever the timestamps are.
pub async fn from_zero_the_log_is_delivered_in_its_order(world: &World) {
    for (id, at) in [("late", 9), ("early", 1), ("middle", 5)] {
        push_at(world, id, at).await;
    }
    let page = world.since(ME, 0, 9).await;
    assert_eq!(ids(&page.entries), ["late", "early", "middle"]);
    assert_eq!(page.cursor, Some(world.head().await));
    let again = world.since(ME, 0, 9).await;
    assert_eq!(again, page, "0 is the beginning whenever it comes");
}

/// An operation is pushed late, with an older timestamp than the client has already pulled. It is delivered, and also
/// to a client that sends the greatest timestamp of all pages only once.
pub async fn an_operation_that_comes_late_with_an_older_timestamp_is_delivered(world: &World) {
    push_at(world, "op-1", 100).await;
    let (_, since) = pull_on(world, 0, 9).await;
    push_at(world, "late", 3).await;
    let page = world.since(ME, since, 9).await;
    assert_eq!(ids(&page.entries), ["late", "late"], "the second with a timestamp after `since`");
    let next = next_since(&page);
    assert!(next > since, "{next}");
    assert_eq!(world.since(ME, next, 9).await.entries, []);
    assert_eq!(world.since(ME, since, 9).await, page, "the answer may be lost");
    push_at(world, "later", 2).await;
    assert_eq!(world.since(ME, next, 9).await.entries[0].id.as_str(), "later");
}

/// An operation with a timestamp in the far future hides no later operation.
pub async fn a_timestamp_in_the_far_future_hides_nothing(world: &World) {
    push_at(world, "future", INTEGER_MAX).await;
    let (_, mut since) = pull_on(world, 0, 9).await;
    for number in 1..=20 {
        let id = format!("op-{number}");
        push_at(world, &id, if number % 3 == 0 { INTEGER_MAX } else { number }).await;
        let page = world.since(ME, since, 9).await;
        assert_eq!(page.entries[0].id.as_str(), id);
        since = next_since(&page);
    }
    assert_eq!(world.since(ME, since, 9).await.entries, []);
}

/// Operations that share a timestamp are not lost at the boundary of a page, however many they are.
pub async fn equal_timestamps_are_not_lost_at_a_page_boundary(world: &World) {
    let same = (1..=12).map(|number| insert(&format!("op-{number}"), &format!("{number}")).at(7));
    world.apply(same).await;
    let expected: Vec<String> = (1..=12).map(|number| format!("op-{number}")).collect();
    for max_operations in [1, 2, 5, 12] {
        let (mut seen, _) = pull_on(world, 0, max_operations).await;
        let mut known = HashSet::new();
        seen.retain(|id| known.insert(id.clone()));
        assert_eq!(seen, expected, "pages of {max_operations}");
    }
}

/// If the greatest timestamp of a page already stands for another place, an operation is repeated with a greater one.
pub async fn no_since_stands_for_two_places(world: &World) {
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(1_000));
    world.apply([insert("op-1", "1").at(7)]).await;
    let first = world.since(ME, 0, 9).await;
    assert_eq!(first.entries.len(), 1);
    world
        .apply([
            insert("op-2", "2").at(7).data(&large),
            insert("op-3", "3").at(5),
            insert("op-4", "4").at(6).data(&large),
        ])
        .await;
    let second = world.since(ME, 7, 9).await;
    assert_eq!(ids(&second.entries), ["op-2", "op-3", "op-4", "op-3"], "the smallest one is repeated");
    let (original, repeated) = (&second.entries[1], &second.entries[3]);
    assert_eq!(repeated.timestamp, UnixMs::new(8));
    assert_eq!(
        (repeated.data(), &repeated.clock, repeated.kind()),
        (original.data(), &original.clock, original.kind())
    );
    world.apply([insert("op-5", "5").at(8)]).await;
    let third = world.since(ME, 8, 9).await;
    assert_eq!(ids(&third.entries), ["op-5", "op-5"]);
    assert_eq!(next_since(&third), UnixMs::new(9));
    for (since, expected) in [(7, &["op-2", "op-3", "op-4", "op-5"][..]), (8, &["op-5"])] {
        let page = world.since(ME, since, 9).await;
        assert_eq!(ids(&page.entries[..expected.len()]), expected, "{since} still stands for its place");
    }
    assert_eq!(world.since(ME, 9, 9).await.entries, []);
}

/// At the greatest timestamp, the raised numbers are integers that a JavaScript number can tell apart.
pub async fn places_at_the_greatest_timestamp_are_told_apart_by_doubles(world: &World) {
    let mut since = UnixMs::EPOCH;
    for number in 1..=12 {
        push_at(world, &format!("op-{number}"), INTEGER_MAX).await;
        let page = world.since(ME, since, 9).await;
        let next = next_since(&page);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the point"
        )]
        let through_a_double = next.get() as f64 as u64;
        assert_eq!(through_a_double, next.get());
        assert_ne!(next, since);
        assert_eq!(page.entries[0].id.as_str(), format!("op-{number}"));
        since = next;
    }
}

/// If an answer is lost, the client repeats its request and receives the same page, with newer operations.
pub async fn a_lost_answer_is_given_again(world: &World) {
    world.apply(inserts(4)).await;
    let first = world.since(ME, 0, 2).await;
    let since = next_since(&first);
    let lost = world.since(ME, since, 1).await;
    assert_eq!(ids(&lost.entries), ["op-3"]);
    assert_eq!(ids(&world.since(ME, since, 1).await.entries), ["op-3"]);
    push_at(world, "late", 1).await;
    assert_eq!(ids(&world.since(ME, since, 9).await.entries), ["op-3", "op-4", "late"]);
    assert_eq!(ids(&world.since(ME, since, 9).await.entries), ["op-3", "op-4", "late"]);
}

/// Answers are lost repeatedly while the log grows. The place that is used is never forgotten for the unused ones.
pub async fn a_since_in_use_outlives_many_lost_answers(world: &World) {
    push_at(world, "op-0", 1_000).await;
    let since = next_since(&world.since(ME, 0, 9).await);
    let mut expected = Vec::new();
    for number in 1..=(3 * CLIENT_MAX_PLACES as u64) {
        let id = format!("op-{number}");
        push_at(world, &id, number).await;
        expected.push(id);
        let page = world.since(ME, since, 100).await;
        assert_eq!(ids(&page.entries)[..expected.len()], expected);
    }
}

/// A `since` that the server never gave, or does not remember, is answered from the beginning. From the present place,
/// or in the order of time, a client would miss what was pushed late before its request.
pub async fn an_unknown_since_is_answered_from_the_beginning(world: &World) {
    for (id, at) in [("a", 30), ("b", 10), ("c", 20), ("d", 20), ("e", 40)] {
        push_at(world, id, at).await;
    }
    let page = world.since(ME, 15, 3).await;
    assert_eq!((ids(&page.entries), page.has_more), (vec!["a", "b", "c"], true));
    push_at(world, "late", 12).await;
    let page = world.since(ME, next_since(&page), 3).await;
    assert_eq!((ids(&page.entries[..3]), page.has_more), (vec!["d", "e", "late"], false));
    assert_eq!(page.cursor, Some(world.head().await));
    push_at(world, "later", 1).await;
    assert_eq!(ids(&world.since(ME, next_since(&page), 9).await.entries)[..1], ["later"]);
}

/// With an empty log, an unknown `since` is as good as the beginning.
pub async fn an_unknown_since_of_an_empty_log_hides_nothing(world: &World) {
    let page = world.since(ME, 50, 9).await;
    assert_eq!((page.entries.len(), page.has_more), (0, false));
    push_at(world, "late", 20).await;
    let page = world.since(ME, 50, 9).await;
    assert_eq!(ids(&page.entries)[..1], ["late"]);
    assert_eq!(world.since(ME, next_since(&page), 9).await.entries, []);
}

/// If the answer to an unknown `since` is lost, the same number comes again, and stands for no other place meanwhile.
pub async fn a_lost_answer_to_an_unknown_since_hides_nothing(world: &World) {
    push_at(world, "op-1", 15).await;
    push_at(world, "op-2", 15).await;
    let lost = world.since(ME, 15, 1).await;
    assert_eq!(ids(&lost.entries)[..1], ["op-1"]);
    push_at(world, "late", 3).await;
    let page = world.since(ME, 15, 2).await;
    assert_eq!(ids(&page.entries)[..2], ["op-1", "op-2"]);
    assert_eq!(ids(&world.since(ME, next_since(&page), 9).await.entries)[..1], ["late"]);
}

/// If history was compacted, a client with an unknown `since` receives the documents with tombstones, and then the log.
pub async fn an_unknown_since_is_answered_with_all_documents_after_a_compaction(world: &World) {
    world
        .apply([
            insert("op-1", "doc-1").at(10).data(r#"{"a":1}"#),
            update("op-2", "doc-1").at(30).data(r#"{"b":2}"#),
            insert("op-3", "doc-2").at(20),
            delete("op-4", "doc-3").at(40),
        ])
        .await;
    world.compact(0).await;
    let (mut seen, since) = pull_on(world, 15, 1).await;
    seen.dedup();
    assert_eq!(seen, ["op-2", "op-3", "op-4"]);
    world.apply([update("op-5", "doc-1").at(1).data(r#"{"c":3}"#)]).await;
    let page = world.since(ME, since, 9).await;
    assert_eq!((page.entries[0].id.as_str(), page.entries[0].kind()), ("op-5", OperationKind::Update));
}

/// Timestamps of 0 do not make a client begin repeatedly.
pub async fn timestamps_of_0_lead_beyond_the_beginning(world: &World) {
    for number in 1..=3 {
        push_at(world, &format!("op-{number}"), 0).await;
    }
    let (mut seen, since) = pull_on(world, 0, 1).await;
    seen.dedup();
    assert_eq!(seen, ["op-1", "op-2", "op-3"]);
    assert_eq!(world.since(ME, since, 9).await.entries, []);
}

/// A forgotten number is not given for another place, because some database may still send it.
pub async fn a_forgotten_number_is_not_given_again(world: &World) {
    push_at(world, "op-0", 500).await;
    let mut since = next_since(&world.since(ME, 0, 9).await);
    assert_eq!(since, UnixMs::new(500));
    for number in 1..=CLIENT_MAX_PLACES as u64 {
        push_at(world, &format!("op-{number}"), number).await;
        since = next_since(&world.since(ME, since, 9).await);
    }
    push_at(world, "same", 500).await;
    let page = world.since(ME, since, 9).await;
    assert_eq!((ids(&page.entries), next_since(&page)), (vec!["same", "same"], UnixMs::new(since.get() + 1)));
    assert_eq!(ids(&world.since(ME, 500, 2).await.entries)[..2], ["op-0", "op-1"]);
}

/// Numbers may become greater than every timestamp. They stay integers that a JavaScript number can hold, and are
/// known.
pub async fn numbers_beyond_the_greatest_timestamp_are_accepted(world: &World) {
    let mut since = UnixMs::new(SINCE_FOREIGN_MAX);
    for number in 1..=3 * CLIENT_MAX_PLACES as u64 {
        let id = format!("op-{number}");
        push_at(world, &id, number).await;
        let page = world.since(ME, since, 100).await;
        let next = next_since(&page);
        assert!(next > since && next.get() <= SINCE_MAX && next.get().is_multiple_of(2), "{next}");
        assert_eq!(page.entries.iter().any(|entry| entry.id.as_str() == "op-1"), number == 1);
        since = next;
    }
}

/// If history was compacted, 0 returns the documents and also the tombstones, because the client may have these
/// documents.
pub async fn from_zero_the_documents_are_delivered_if_history_is_gone(world: &World) {
    world.apply([insert("op-1", "doc-1"), insert("op-2", "doc-2"), insert("op-3", "doc-3")]).await;
    world.apply([update("op-4", "doc-1").data(r#"{"a":1}"#), delete("op-5", "doc-2")]).await;
    world.compact(0).await;
    let first = world.since(ME, 0, 1).await;
    assert_eq!((ids(&first.entries), first.has_more), (vec!["op-3"], true));
    let (seen, since) = pull_on(world, next_since(&first), 1).await;
    let mut distinct = seen;
    distinct.dedup();
    assert_eq!(distinct, ["op-4", "op-5"]);
    push_at(world, "op-6", 1).await;
    assert_eq!(world.since(ME, since, 9).await.entries[0].id.as_str(), "op-6");
}

/// A client whose remembered place is behind the horizon receives the documents that changed since, and misses none.
pub async fn the_horizon_may_pass_a_remembered_place(world: &World) {
    world.apply([insert("op-1", "doc-1").at(5).data(r#"{"a":1}"#), insert("op-2", "doc-2").at(6)]).await;
    let since = next_since(&world.since(ME, 0, 9).await);
    world.apply([update("op-3", "doc-1").at(3).data(r#"{"b":1}"#), delete("op-4", "doc-2").at(2)]).await;
    world.apply([insert("op-5", "doc-3").at(1)]).await;
    world.compact(0).await;
    let first = world.since(ME, since, 2).await;
    assert_eq!((ids(&first.entries[..2]), first.has_more), (vec!["op-3", "op-4"], true));
    assert_eq!(first.entries[0].kind(), OperationKind::Insert);
    assert_eq!(first.entries[0].data().map(Object::as_str), Some(r#"{"a":1,"b":1}"#));
    let (mut seen, since) = pull_on(world, next_since(&first), 2).await;
    seen.dedup();
    assert_eq!(seen, ["op-5"]);
    world.apply([update("op-6", "doc-3").at(1)]).await;
    let page = world.since(ME, since, 9).await;
    assert_eq!((page.entries[0].id.as_str(), page.entries[0].kind()), ("op-6", OperationKind::Update));
}

/// The last places are remembered. A forgotten one is an unknown `since`, which is answered from the beginning.
pub async fn the_last_places_are_remembered(world: &World) {
    let mut places = vec![UnixMs::EPOCH];
    for number in 1..=20 {
        push_at(world, &format!("op-{number}"), number * 10).await;
        let since = places[places.len() - 1];
        places.push(next_since(&world.since(ME, since, 9).await));
    }
    push_at(world, "last", 5).await;
    let eldest = places.len() - CLIENT_MAX_PLACES;
    let page = world.since(ME, places[eldest], 100).await;
    let expected: Vec<String> =
        (eldest + 1..=20).map(|number| format!("op-{number}")).chain(["last".to_owned()]).collect();
    assert_eq!(ids(&page.entries[..expected.len()]), expected);
    let (seen, _) = pull_on(world, places[3], 100).await;
    for number in 1..=20 {
        assert!(seen.contains(&format!("op-{number}")), "{seen:?}");
    }
    assert!(seen.contains(&"last".to_owned()));
}

/// The places of a client are kept however long it is silent. Without them, the server would not know which numbers it
/// gave.
pub async fn a_silent_client_is_never_forgotten(world: &World) {
    push_at(world, "op-1", 100).await;
    let since = next_since(&world.since(ME, 0, 9).await);
    for id in ["late", "later"] {
        world.host.advance_ms(2 * CLIENT_FORGOTTEN_AFTER_MS);
        world.compact(INTEGER_MAX).await;
        push_at(world, id, 3).await;
    }
    assert_eq!(ids(&world.since(ME, since, 9).await.entries)[..2], ["late", "later"]);
}

/// A client that polls is remembered as long as it polls, even if nothing changes.
pub async fn a_client_that_polls_is_never_forgotten(world: &World) {
    push_at(world, "op-1", 100).await;
    let since = next_since(&world.since(ME, 0, 9).await);
    for _ in 0..5 {
        world.host.advance_ms(CLIENT_FORGOTTEN_AFTER_MS - DAY_MS);
        assert_eq!(world.since(ME, since, 9).await.entries, []);
        world.compact(CLIENT_FORGOTTEN_AFTER_MS * 100).await;
    }
    push_at(world, "late", 3).await;
    assert_eq!(ids(&world.since(ME, since, 9).await.entries)[..1], ["late"]);
}

/// Each client has its own memory.
pub async fn clients_have_places_of_their_own(world: &World) {
    push_at(world, "op-1", 7).await;
    world.since("one", 0, 9).await;
    push_at(world, "op-2", 7).await;
    world.since("two", 0, 9).await;
    push_at(world, "op-3", 7).await;
    assert_eq!(ids(&world.since("one", 7, 9).await.entries)[..2], ["op-2", "op-3"]);
    assert_eq!(ids(&world.since("two", 7, 9).await.entries)[..1], ["op-3"]);
}

/// Law 10: a page has room for the operation that it repeats.
pub async fn a_repeated_operation_keeps_a_page_below_the_limit(world: &World) {
    let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(1_000_000));
    let large = |number: u64| insert(&format!("op-{number}"), &format!("{number}")).at(7).data(&data);
    let mut since = UnixMs::EPOCH;
    for number in 1..=6 {
        world.apply([large(2 * number), large(2 * number + 1)]).await;
        let page = world.since(ME, since, PAGE_MAX_OPERATIONS).await;
        let bytes: usize = page.entries.iter().map(crate::core::operation::LogEntry::wire_bytes).sum();
        assert!(bytes <= PAGE_MAX_BYTES, "{bytes}");
        since = next_since(&page);
    }
}

/// A client with a memory can pass a run of one timestamp that no page can hold.
pub async fn a_run_longer_than_the_largest_page_is_delivered_in_parts(world: &World) {
    let count = PAGE_MAX_OPERATIONS + 1;
    let drafts: Vec<Draft> = inserts(count as u64).into_iter().map(|draft| draft.at(7)).collect();
    world.apply(drafts).await;
    for since in [0, 6] {
        let (mut seen, _) = pull_on(world, since, PAGE_MAX_OPERATIONS).await;
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}

/// A memory of another log than the store has now is good only for a start from the beginning.
pub async fn places_of_another_log_lead_to_the_beginning(world: &World) {
    world.apply([insert("op-1", "doc-1").at(5), insert("op-2", "doc-2").at(6)]).await;
    let elsewhere = Position { seq: Seq::new(1), fingerprint: Fingerprint::from_number(1) };
    let beyond = Position { seq: Seq::new(9), ..elsewhere };
    for (since, place) in [(50, elsewhere), (60, beyond)] {
        let seen_revision = world.memory(ME).await.map_or(Rev::NONE, |memory| memory.revision);
        let places = Places::parse(&format!("{since}={}", Cursor::Log(place))).expect("the text is that of places");
        let memory = NewMemory { seen_revision, places, pulled_seq: place.seq, seen_at_ms: BEGINNING_MS };
        let remembered = world.store.remember(&world.tenant, &ClientId::literal(ME), memory).await;
        assert_eq!(remembered.expect("the store remembers"), Remember::Done);
        let page = world.since(ME, since, 9).await;
        assert_eq!(ids(&page.entries[..2]), ["op-1", "op-2"]);
        push_at(world, &format!("late-{since}"), 1).await;
        let page = world.since(ME, next_since(&page), 9).await;
        assert_eq!(page.entries[0].id.as_str(), format!("late-{since}"));
    }
}
