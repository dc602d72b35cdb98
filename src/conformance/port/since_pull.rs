//! Pull with `since` and without a client id: the rule of the original protocol.

use super::super::draft::{delete, insert, update};
use super::super::world::{World, ids, page_of};
use crate::core::json::Object;
use crate::core::numbers::{Seq, UnixMs};
use crate::core::operation::OperationKind;
use crate::core::page::TimePlace;
use crate::limits::protocol::{INTEGER_MAX, PAGE_MAX_BYTES, PAGE_MAX_OPERATIONS};
use crate::service::{PullFrom, Pulled};
use crate::store::TimeRequest;

/// Applies operations with these timestamps, `op-1` and so on.
async fn apply_at(world: &World, timestamps: &[u64]) {
    let drafts =
        (1..).zip(timestamps).map(|(number, at)| insert(&format!("op-{number}"), &format!("{number}")).at(*at));
    world.apply(drafts).await;
}

/// The page has operations with a greater timestamp, ordered by timestamp and then by commit, and no cursor.
pub async fn a_page_has_the_operations_with_a_greater_timestamp_in_its_order(world: &World) {
    apply_at(world, &[5, 3, INTEGER_MAX, 3, 1]).await;
    let page = world.since_of_nobody(0, 9).await;
    assert_eq!(ids(&page.entries), ["op-5", "op-2", "op-4", "op-1", "op-3"]);
    assert_eq!((page.has_more, page.cursor), (false, None));
    assert_eq!(ids(&world.since_of_nobody(3, 9).await.entries), ["op-1", "op-3"]);
    assert_eq!(ids(&world.since_of_nobody(4, 9).await.entries), ["op-1", "op-3"]);
    assert_eq!(world.since_of_nobody(INTEGER_MAX, 9).await.entries, []);
    assert_eq!(world.as_tenant("empty").since_of_nobody(0, 9).await.entries, []);
}

/// A page never ends inside a run of equal timestamps, because its client knows only the timestamp of its place.
pub async fn a_page_never_ends_inside_a_run_of_equal_timestamps(world: &World) {
    apply_at(world, &[1, 2, 2, 2, 3, 4, 4]).await;
    for (since, max_operations, expected, has_more) in [
        (0, 1, &["op-1"][..], true),
        (0, 3, &["op-1"], true),
        (0, 4, &["op-1", "op-2", "op-3", "op-4"], true),
        (0, 6, &["op-1", "op-2", "op-3", "op-4", "op-5"], true),
        (0, 7, &["op-1", "op-2", "op-3", "op-4", "op-5", "op-6", "op-7"], false),
        (1, 1, &["op-2", "op-3", "op-4"], true),
        (1, 2, &["op-2", "op-3", "op-4"], true),
        (3, 1, &["op-6", "op-7"], false),
    ] {
        let page = world.since_of_nobody(since, max_operations).await;
        assert_eq!((ids(&page.entries), page.has_more), (expected.to_vec(), has_more), "{since} {max_operations}");
    }
}

/// A run at the beginning of a page may exceed the requested limit, up to the largest page.
pub async fn a_run_that_fits_the_largest_page_is_delivered_whole(world: &World) {
    let mut timestamps = vec![7; PAGE_MAX_OPERATIONS];
    timestamps.push(8);
    apply_at(world, &timestamps).await;
    let page = world.since_of_nobody(0, 1).await;
    assert_eq!((page.entries.len(), page.has_more), (PAGE_MAX_OPERATIONS, true));
    let page = world.since_of_nobody(7, 1).await;
    assert_eq!((page.entries.len(), page.has_more), (1, false));
}

/// A longer run cannot be delivered to a client whose place in it is not remembered. The answer says so, and drops
/// nothing.
pub async fn a_run_that_does_not_fit_the_largest_page_is_said_to_be_too_long(world: &World) {
    let mut timestamps = vec![7; PAGE_MAX_OPERATIONS + 1];
    timestamps[0] = 6;
    apply_at(world, &timestamps).await;
    world.apply([insert("one-more", "doc").at(7)]).await;
    let page = world.since_of_nobody(0, PAGE_MAX_OPERATIONS).await;
    assert_eq!((ids(&page.entries), page.has_more), (vec!["op-1"], true), "what lies before it is delivered");
    assert_eq!(world.pull(PullFrom::Since(UnixMs::new(6)), None, PAGE_MAX_OPERATIONS).await, Pulled::RunTooLong);
    assert_eq!(world.pull(PullFrom::Since(UnixMs::new(6)), None, 1).await, Pulled::RunTooLong);
    let served = page_of(world.pull(PullFrom::Since(UnixMs::new(6)), Some("client"), PAGE_MAX_OPERATIONS).await);
    assert_eq!((served.entries.len(), served.has_more), (PAGE_MAX_OPERATIONS, true));
}

/// Law 10: the bytes of a run are bounded too.
pub async fn a_run_of_more_bytes_than_the_largest_page_is_said_to_be_too_long(world: &World) {
    let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(PAGE_MAX_BYTES / 5));
    for (number, at) in (1..).zip([6, 7, 7, 7, 8, 8, 8, 8]) {
        world.apply([insert(&format!("op-{number}"), &format!("{number}")).at(at).data(&data)]).await;
    }
    let page = world.since_of_nobody(0, 100).await;
    assert_eq!((ids(&page.entries), page.has_more), (vec!["op-1"], true));
    let page = world.since_of_nobody(6, 100).await;
    assert_eq!((ids(&page.entries), page.has_more), (vec!["op-2", "op-3", "op-4"], true));
    assert_eq!(world.pull(PullFrom::Since(UnixMs::new(7)), None, 100).await, Pulled::RunTooLong);
}

/// After a compaction, documents are returned instead of operations, including tombstones.
pub async fn documents_stand_in_for_a_history_that_is_gone(world: &World) {
    world
        .apply([
            insert("op-1", "doc-1").at(4).data(r#"{"a":1}"#),
            insert("op-2", "doc-2").at(3),
            update("op-3", "doc-1").at(2).data(r#"{"b":1}"#),
            delete("op-4", "doc-2").at(9),
            insert("op-5", "doc-3").at(2),
        ])
        .await;
    world.host.advance_ms(10);
    assert_eq!(world.compact(5).await, 5);
    world.apply([insert("op-6", "doc-4").at(5)]).await;
    let page = world.since_of_nobody(0, 9).await;
    assert_eq!(ids(&page.entries), ["op-3", "op-5", "op-6", "op-4"]);
    let whole = &page.entries[0];
    assert_eq!((whole.kind(), whole.seq), (OperationKind::Insert, Seq::new(3)));
    assert_eq!(whole.data().map(Object::as_str), Some(r#"{"a":1,"b":1}"#));
    assert_eq!(page.entries[3].kind(), OperationKind::Delete);
    assert_eq!(ids(&world.since_of_nobody(2, 9).await.entries), ["op-6", "op-4"]);
    let page = world.since_of_nobody(0, 1).await;
    assert_eq!((ids(&page.entries), page.has_more), (vec!["op-3", "op-5"], true), "runs of documents are whole too");
}

/// The port can continue after any place in the order of (timestamp, sequence number).
pub async fn a_page_goes_on_behind_any_place(world: &World) {
    apply_at(world, &[2, 1, 2, 2, 3]).await;
    for is_compacted in [false, true] {
        if is_compacted {
            world.compact(0).await;
        }
        let head = world.head().await.position();
        let places = [(0, 0, 5), (1, 2, 4), (2, 0, 4), (2, 1, 3), (2, 3, 2), (2, 4, 1), (3, 4, 1), (3, 5, 0)];
        for (timestamp, seq, left) in places {
            let after = TimePlace { timestamp: UnixMs::new(timestamp), seq: Seq::new(seq) };
            let request = TimeRequest { after, max_operations: 9 };
            let page = world.store.changes_by_time(&world.tenant, request).await.expect("the store reads changes");
            assert_eq!((page.head.position, page.head.horizon), (head, Seq::new(if is_compacted { 5 } else { 0 })));
            let all = ["op-2", "op-1", "op-3", "op-4", "op-5"];
            assert_eq!((ids(&page.entries), page.has_more), (all[5 - left..].to_vec(), false));
        }
    }
}
