//! Statistics, and how much a tenant keeps, exactly.

use super::super::draft::{delete, insert, inserts, key, update};
use super::super::world::{BEGINNING_MS, World, page_of};
use crate::core::cursor::Cursor;
use crate::core::decide::quota::Usage;
use crate::core::document::Document;
use crate::core::names::{ClientId, Subject, TenantId};
use crate::core::numbers::Seq;
use crate::core::operation::LogEntry;
use crate::limits::protocol::CLIENT_SEEN_PRECISION_MS;
use crate::limits::service::{CLIENT_ACTIVE_MS, CLOCKS_APART_MAX_MS};
use crate::service::{Host as _, PullFrom};
use crate::store::{ClientCounts, LoadRequest, Stats, Survey, SurveyRequest};

async fn unsynced(world: &World) -> u64 {
    world.stats().await.unsynced_operations
}

async fn pull_with_cursor(world: &World, client: &str, max_operations: usize) -> Option<Cursor> {
    page_of(world.pull(PullFrom::Cursor(None), Some(client), max_operations).await).cursor
}

/// The numbers of log entries and of documents that are not deleted. Duplicates and conflicts have no effect.
pub async fn operations_and_documents_are_counted_exactly(world: &World) {
    assert_eq!(world.stats().await, Stats::default());
    world.apply(inserts(3)).await;
    world.push([insert("op-1", "again"), insert("op-4", "doc-1").clock(&[("b", 1)])]).await;
    assert_eq!(world.stats().await, Stats { operations: 3, documents: 3, unsynced_operations: 0 });
    world.apply([delete("op-5", "doc-1"), delete("op-6", "never"), update("op-7", "doc-2")]).await;
    assert_eq!(world.stats().await, Stats { operations: 6, documents: 2, unsynced_operations: 0 });
    world.apply([update("op-8", "doc-1"), delete("op-9", "doc-1"), insert("op-10", "doc-1")]).await;
    assert_eq!(world.stats().await, Stats { operations: 9, documents: 3, unsynced_operations: 0 });
}

/// Compaction reduces the number of operations by those that it removed, and does not change the number of documents.
pub async fn a_compaction_takes_what_it_removes_off_the_operations(world: &World) {
    world.apply(inserts(4)).await;
    world.apply([delete("op-5", "doc-1")]).await;
    world.host.advance_ms(10);
    world.apply([update("op-6", "doc-2")]).await;
    world.compact(5).await;
    assert_eq!(world.stats().await, Stats { operations: 1, documents: 3, unsynced_operations: 0 });
    world.compact(0).await;
    assert_eq!(world.stats().await, Stats { operations: 0, documents: 3, unsynced_operations: 0 });
    world.apply([update("op-7", "doc-2")]).await;
    assert_eq!(world.stats().await, Stats { operations: 1, documents: 3, unsynced_operations: 0 });
}

/// The unsynced operations are those that the slowest client has not pulled.
pub async fn the_slowest_client_decides_what_is_unsynced(world: &World) {
    world.apply(inserts(5)).await;
    assert_eq!(unsynced(world).await, 0, "no client was ever seen");
    pull_with_cursor(world, "fast", 9).await;
    assert_eq!(unsynced(world).await, 0);
    let cursor = pull_with_cursor(world, "slow", 2).await;
    assert_eq!(unsynced(world).await, 3);
    world.apply([insert("op-6", "doc-6")]).await;
    assert_eq!(unsynced(world).await, 4);
    world.pull(PullFrom::Cursor(cursor), Some("slow"), 9).await;
    assert_eq!(unsynced(world).await, 1, "now the fast one is behind");
    pull_with_cursor(world, "fast", 1).await;
    assert_eq!(unsynced(world).await, 5, "a client that starts again has not pulled what it threw away");
}

/// Clients with `since` are treated like those with a cursor.
pub async fn original_clients_count_too(world: &World) {
    world.apply(inserts(5)).await;
    world.since("original", 0, 2).await;
    assert_eq!(unsynced(world).await, 3);
    world.since("original", 2, 9).await;
    assert_eq!(unsynced(world).await, 0);
    pull_with_cursor(world, "modern", 4).await;
    assert_eq!(unsynced(world).await, 1);
    pull_with_cursor(world, "modern", 9).await;
    world.since("original", 0, 1).await;
    assert_eq!(unsynced(world).await, 4);
}

/// It is not known what a client with an unknown `since` has, until it has received it again.
pub async fn a_client_with_an_unknown_since_has_pulled_what_it_is_sent_again(world: &World) {
    world.apply(inserts(5)).await;
    let page = world.since("original", 3, 1).await;
    assert_eq!(unsynced(world).await, 4);
    let next = page.entries.iter().map(|entry| entry.timestamp).max().unwrap_or_default();
    world.since("original", next, 9).await;
    assert_eq!(unsynced(world).await, 0);
}

/// A client has pulled all of an empty log, and later operations are unsynced for it.
pub async fn a_client_of_an_empty_log_counts_from_the_first_operation(world: &World) {
    world.since("original", 0, 9).await;
    pull_with_cursor(world, "modern", 9).await;
    assert_eq!(unsynced(world).await, 0);
    world.apply(inserts(2)).await;
    assert_eq!(unsynced(world).await, 2);
}

/// Only entries in the log are unsynced, not those that were compacted.
pub async fn compacted_operations_are_not_unsynced(world: &World) {
    world.apply(inserts(4)).await;
    pull_with_cursor(world, "slow", 1).await;
    assert_eq!(unsynced(world).await, 3);
    world.host.advance_ms(10);
    world.apply([insert("op-5", "doc-5")]).await;
    world.compact(5).await;
    assert_eq!(unsynced(world).await, 1);
}

/// A client is active until 30 days of silence have passed, and again when it comes back.
pub async fn a_client_counts_for_30_days(world: &World) {
    world.apply(inserts(3)).await;
    pull_with_cursor(world, "silent", 1).await;
    world.host.advance_ms(CLIENT_ACTIVE_MS);
    assert_eq!(unsynced(world).await, 2);
    pull_with_cursor(world, "other", 2).await;
    world.host.advance_ms(1);
    assert_eq!(unsynced(world).await, 1, "the silent one has no effect any more");
    world.host.advance_ms(CLIENT_ACTIVE_MS);
    assert_eq!(unsynced(world).await, 0, "none is left");
    pull_with_cursor(world, "silent", 1).await;
    assert_eq!(unsynced(world).await, 2);
}

/// A client that only polls, because nothing changes, is also active.
pub async fn a_client_that_only_polls_is_active(world: &World) {
    world.apply(inserts(3)).await;
    let cursor = pull_with_cursor(world, "modern", 9).await;
    world.since("original", 0, 9).await;
    for _ in 0..40 {
        world.host.advance_ms(CLIENT_ACTIVE_MS / 20 + CLIENT_SEEN_PRECISION_MS);
        world.pull(PullFrom::Cursor(cursor), Some("modern"), 9).await;
        world.since("original", 3, 9).await;
    }
    world.apply([insert("op-4", "doc-4")]).await;
    assert_eq!(unsynced(world).await, 1);
    world.since("original", 3, 9).await;
    assert_eq!(unsynced(world).await, 1, "the modern one still counts");
    world.pull(PullFrom::Cursor(cursor), Some("modern"), 9).await;
    assert_eq!(unsynced(world).await, 0);
}

/// A silent client that was seen by a clock that ran ahead is not active until then.
pub async fn a_silent_client_of_the_future_has_no_effect(world: &World) {
    world.host.advance_ms(CLOCKS_APART_MAX_MS + 1);
    pull_with_cursor(world, "silent", 9).await;
    world.host.set_ms(BEGINNING_MS);
    world.apply(inserts(2)).await;
    assert_eq!(unsynced(world).await, 0, "its time is further ahead than clocks are apart");
    world.host.advance_ms(1);
    assert_eq!(unsynced(world).await, 2);
}

/// The bytes of some documents, and of the entries in the log from a place on.
async fn kept_bytes(world: &World, documents: &[&str], horizon: Cursor) -> u64 {
    let request = LoadRequest { keys: documents.iter().map(|id| key(id)).collect(), ..LoadRequest::default() };
    let snapshot = world.store.load(&world.tenant, request).await.expect("the store loads");
    assert_eq!(snapshot.usage, None, "the store was not asked for it");
    let of_documents: usize = snapshot.documents.values().map(Document::bytes).sum();
    let entries = world.changes(Some(horizon), 100).await.entries;
    let text = |entry: &LogEntry| entry.data().map_or(0, |data| data.as_str().len()) + entry.clock.as_str().len();
    (of_documents + entries.iter().map(text).sum::<usize>()) as u64
}

/// How much a tenant keeps is counted exactly, whatever pushes and compactions do.
pub async fn usage_is_counted_exactly(world: &World) {
    const DOCUMENTS: [&str; 3] = ["doc-1", "doc-2", "doc-3"];
    assert_eq!(world.usage().await, Usage::default());
    let pushes = [
        vec![insert("op-1", "doc-1").data(r#"{"a":"ä€😀","b":1.50}"#), insert("op-2", "doc-2")],
        vec![update("op-3", "doc-1").data(r#"{"b":"\u00e4","c":null}"#).clock(&[("a", 1), ("ä", 7)])],
        vec![delete("op-4", "doc-1").clock(&[("a", 2), ("ä", 7)]), delete("op-5", "doc-3")],
        vec![update("op-6", "doc-1").data(r#"{"new":[1,2]}"#).clock(&[("a", 3), ("ä", 7)]), delete("op-7", "doc-2")],
        vec![update("op-8", "doc-1").data(r#"{"x":1}"#).clock(&[("a", 4), ("ä", 7)]), insert("op-1", "doc-9")],
        vec![insert("op-9", "doc-1").clock(&[("c", 1)])],
    ];
    let mut cursors = Vec::new();
    for (index, drafts) in pushes.into_iter().enumerate() {
        world.push(drafts).await;
        let head = world.head().await;
        let expected = Usage {
            documents: world.stats().await.documents,
            bytes: kept_bytes(world, &DOCUMENTS, Cursor::BEGINNING).await,
            operation_ids: head.position().seq.entries_since(Seq::START),
        };
        assert_eq!(world.usage().await, expected, "after push {index}");
        cursors.push(head);
        world.host.advance_ms(10);
    }
    for (older_than_ms, last_removed) in [(45, 1), (25, 3), (0, 5)] {
        let before = world.usage().await;
        assert!(world.compact(older_than_ms).await > 0);
        let after = world.usage().await;
        assert_eq!(after, Usage { bytes: kept_bytes(world, &DOCUMENTS, cursors[last_removed]).await, ..before });
        assert!(after.bytes < before.bytes);
    }
    let another = world.as_tenant("another");
    assert_eq!(another.usage().await, Usage::default());
    another.apply([insert("op-1", "doc-1")]).await;
    assert_eq!(another.usage().await, Usage { documents: 1, bytes: 2 * "{}{\"a\":1}".len() as u64, operation_ids: 1 });
}

/// Clients are counted up to a limit, each once, whatever the server remembers of them.
pub async fn clients_are_counted(world: &World) {
    let count = async |max| world.store.count_clients(&world.tenant, max).await.expect("they are counted");
    let counts = |remembered, owned| ClientCounts { remembered, owned };
    assert_eq!((count(0).await, count(9).await), (counts(0, 0), counts(0, 0)));
    world.apply(inserts(2)).await;
    for client in ["a", "b", "a"] {
        pull_with_cursor(world, client, 9).await;
    }
    world.since("c", 0, 1).await;
    for (max, remembered) in [(0, 0), (1, 1), (2, 2), (3, 3), (9, 3)] {
        assert_eq!(count(max).await, counts(remembered, 0), "{max}");
    }
    for client in ["d", "b", "d"] {
        let (client, subject) = (ClientId::literal(client), Subject::literal("ann"));
        world.store.claim(&world.tenant, &client, &subject).await.expect("it is claimed");
    }
    assert_eq!((count(1).await, count(9).await), (counts(1, 1), counts(3, 2)));
    let others = world.store.count_clients(&TenantId::literal("another"), 9).await;
    assert_eq!(others.ok(), Some(counts(0, 0)));
}

/// A survey has the ends of the log, the age of its oldest entry, and the clients that have pulled least.
pub async fn a_survey_has_the_log_and_how_far_active_clients_have_pulled(world: &World) {
    let survey = async |max_clients| {
        let now_ms = world.host.now_ms();
        let active_ms = now_ms.minus_ms(CLIENT_ACTIVE_MS)..=now_ms.plus_ms(CLOCKS_APART_MAX_MS);
        world.store.survey(&world.tenant, SurveyRequest { active_ms, max_clients }).await.expect("it is answered")
    };
    assert_eq!(survey(9).await, Survey::default());
    pull_with_cursor(world, "gone", 9).await;
    assert_eq!(survey(9).await, Survey::default(), "nothing was committed");
    world.host.advance_ms(CLIENT_ACTIVE_MS + 1);
    world.apply(inserts(3)).await;
    let first_ms = world.host.now_ms();
    world.host.advance_ms(10);
    world.apply([update("op-4", "doc-1")]).await;
    for (client, max_operations) in [("far", 9), ("near", 1), ("middle", 2)] {
        pull_with_cursor(world, client, max_operations).await;
    }
    let pulled = |seqs: &[u64]| seqs.iter().copied().map(Seq::new).collect::<Vec<_>>();
    let surveyed = survey(9).await;
    assert_eq!((surveyed.head, surveyed.horizon), (Seq::new(4), Seq::START));
    assert_eq!(surveyed.oldest_received_ms, Some(first_ms));
    assert_eq!(surveyed.pulled.len(), 3, "{surveyed:?}");
    assert!(surveyed.pulled.is_sorted() && surveyed.pulled[0] < surveyed.pulled[2], "{surveyed:?}");
    assert_eq!(survey(1).await.pulled, surveyed.pulled[..1]);
    assert_eq!(survey(0).await.pulled, pulled(&[]));
    world.compact(5).await;
    let surveyed = survey(9).await;
    assert_eq!((surveyed.head, surveyed.horizon), (Seq::new(4), Seq::new(3)));
    assert_eq!(surveyed.oldest_received_ms, Some(first_ms.plus_ms(10)));
    world.compact(0).await;
    assert_eq!(survey(9).await.oldest_received_ms, None);
}
