//! Statistics, exactly.

use super::super::draft::{delete, insert, inserts, update};
use super::super::world::{World, page_of};
use crate::limits::protocol::CLIENT_SEEN_PRECISION_MS;
use crate::limits::service::CLIENT_ACTIVE_MS;
use crate::service::PullFrom;
use crate::store::Stats;

async fn unsynced(world: &World) -> u64 {
    world.stats().await.unsynced_operations
}

async fn pull_with_cursor(world: &World, client: &str, max_operations: usize) -> Option<crate::core::cursor::Cursor> {
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
pub async fn legacy_clients_count_too(world: &World) {
    world.apply(inserts(5)).await;
    world.since("legacy", 0, 2).await;
    assert_eq!(unsynced(world).await, 3);
    world.since("legacy", 2, 9).await;
    assert_eq!(unsynced(world).await, 0);
    pull_with_cursor(world, "modern", 4).await;
    assert_eq!(unsynced(world).await, 1);
    pull_with_cursor(world, "modern", 9).await;
    world.since("legacy", 0, 1).await;
    assert_eq!(unsynced(world).await, 4);
}

/// It is not known what a client with an unknown `since` has, until it has received it again.
pub async fn a_client_with_an_unknown_since_has_pulled_what_it_is_sent_again(world: &World) {
    world.apply(inserts(5)).await;
    let page = world.since("legacy", 3, 1).await;
    assert_eq!(unsynced(world).await, 4);
    let next = page.entries.iter().map(|entry| entry.timestamp).max().unwrap_or_default();
    world.since("legacy", next, 9).await;
    assert_eq!(unsynced(world).await, 0);
}

/// A client has pulled all of an empty log, and later operations are unsynced for it.
pub async fn a_client_of_an_empty_log_counts_from_the_first_operation(world: &World) {
    world.since("legacy", 0, 9).await;
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
    assert_eq!(unsynced(world).await, 1, "the silent one does not count any more");
    world.host.advance_ms(CLIENT_ACTIVE_MS);
    assert_eq!(unsynced(world).await, 0, "none is left");
    pull_with_cursor(world, "silent", 1).await;
    assert_eq!(unsynced(world).await, 2);
}

/// A client that only polls, because nothing changes, is also active.
pub async fn a_client_that_only_polls_is_active(world: &World) {
    world.apply(inserts(3)).await;
    let cursor = pull_with_cursor(world, "modern", 9).await;
    world.since("legacy", 0, 9).await;
    for _ in 0..40 {
        world.host.advance_ms(CLIENT_ACTIVE_MS / 20 + CLIENT_SEEN_PRECISION_MS);
        world.pull(PullFrom::Cursor(cursor), Some("modern"), 9).await;
        world.since("legacy", 3, 9).await;
    }
    world.apply([insert("op-4", "doc-4")]).await;
    assert_eq!(unsynced(world).await, 1);
    world.since("legacy", 3, 9).await;
    assert_eq!(unsynced(world).await, 1, "the modern one still counts");
    world.pull(PullFrom::Cursor(cursor), Some("modern"), 9).await;
    assert_eq!(unsynced(world).await, 0);
}
