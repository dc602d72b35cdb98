//! Following the log: every operation in its order, whatever is removed or restored meanwhile.

use super::super::draft::{insert, inserts, update};
use super::super::world::{World, ids};
use crate::core::cursor::Cursor;
use crate::service::{Followed, FollowedBatch, Follower};

fn follow(world: &World, cursor: Option<Cursor>) -> Follower<'_> {
    world.service.follow(world.tenant.clone(), cursor)
}

async fn next(follower: &mut Follower<'_>) -> Followed {
    follower.next_batch().await.expect("the store answers")
}

async fn operations(follower: &mut Follower<'_>) -> FollowedBatch {
    match next(follower).await {
        Followed::Operations(batch) => batch,
        other => panic!("no operations but {other:?}"),
    }
}

/// The ids of all documents that come, and where the log continues behind them.
async fn documents(follower: &mut Follower<'_>) -> (Vec<String>, Cursor) {
    let mut all = Vec::new();
    loop {
        let Followed::Documents(batch) = next(follower).await else {
            panic!("the documents end with a place in the log")
        };
        all.extend(batch.entries.iter().map(|entry| entry.key.id.to_string()));
        if let Cursor::Log(_) = batch.cursor {
            return (all, batch.cursor);
        }
    }
}

/// An empty log has nothing to say, and the first operation comes when it is there.
pub async fn a_follower_of_an_empty_log_gets_the_first_operation(world: &World) {
    let mut follower = follow(world, None);
    assert_eq!(next(&mut follower).await, Followed::UpToDate);
    world.apply([insert("op-1", "doc")]).await;
    assert_eq!(ids(&operations(&mut follower).await.entries), ["op-1"]);
    assert_eq!(next(&mut follower).await, Followed::UpToDate);
}

/// Operations come in the order of the log, each once, and a stored cursor continues behind them.
pub async fn a_follower_gets_every_operation_in_order_and_continues_behind_its_cursor(world: &World) {
    world.apply(inserts(3)).await;
    let batch = operations(&mut follow(world, None)).await;
    assert_eq!(ids(&batch.entries), ["op-1", "op-2", "op-3"]);
    world.apply([update("op-4", "doc-1"), update("op-5", "doc-1")]).await;
    let stored = Cursor::parse(&batch.cursor.to_string()).expect("a cursor survives as text");
    assert_eq!(ids(&operations(&mut follow(world, Some(stored))).await.entries), ["op-4", "op-5"]);
}

/// A process that is killed between its reaction and its cursor sees the batch again, and misses nothing.
pub async fn a_follower_that_dies_before_its_cursor_is_stored_sees_the_batch_again(world: &World) {
    let (mut stored, mut reactions) = (None, Vec::new());
    for life in 1..=6 {
        world.apply([insert(&format!("op-{life}"), "doc").at(life)]).await;
        let batch = operations(&mut follow(world, stored)).await;
        reactions.extend(batch.entries.iter().map(|entry| entry.id.to_string()));
        // Every other life ends here.
        if life % 2 == 0 {
            stored = Some(batch.cursor);
        }
    }
    assert_eq!(reactions, ["op-1", "op-1", "op-2", "op-3", "op-3", "op-4", "op-5", "op-5", "op-6"]);
}

/// A follower behind removed history is told, and starts again from the documents.
pub async fn a_follower_is_told_that_history_was_removed_and_starts_again(world: &World) {
    world.apply(inserts(3)).await;
    let seen_all = operations(&mut follow(world, None)).await.cursor;
    world.apply([update("op-4", "doc-1"), update("op-5", "doc-1")]).await;
    world.compact(0).await;
    for cursor in [None, Some(seen_all)] {
        let mut follower = follow(world, cursor);
        assert_eq!(next(&mut follower).await, Followed::HistoryRemoved);
        assert_eq!(next(&mut follower).await, Followed::HistoryRemoved, "it stays where it is");
        follower.restart();
        let (documents, cursor) = documents(&mut follower).await;
        assert_eq!(documents, ["doc-2", "doc-3", "doc-1"]);
        assert_eq!(next(&mut follower).await, Followed::UpToDate);
        assert_eq!(next(&mut follow(world, Some(cursor))).await, Followed::UpToDate);
    }
    let mut follower = follow(world, None);
    follower.restart();
    let (_, cursor) = documents(&mut follower).await;
    world.apply([update("op-6", "doc-2")]).await;
    assert_eq!(ids(&operations(&mut follow(world, Some(cursor))).await.entries), ["op-6"]);
}

/// A compaction of what the follower has seen changes nothing for it.
pub async fn a_follower_that_has_seen_what_is_removed_continues(world: &World) {
    world.apply(inserts(3)).await;
    let mut follower = follow(world, None);
    operations(&mut follower).await;
    world.compact(0).await;
    assert_eq!(next(&mut follower).await, Followed::UpToDate);
    world.apply([update("op-4", "doc-1"), insert("op-5", "doc-4")]).await;
    assert_eq!(ids(&operations(&mut follower).await.entries), ["op-4", "op-5"]);
}

/// A cursor of another log is not taken for a place in this one: the database was restored.
pub async fn a_follower_of_a_restored_log_starts_again(world: &World) {
    let lost = world.as_tenant("lost");
    lost.apply(["op-1", "lost-2", "lost-3"].map(|id| insert(id, id))).await;
    let cursor = operations(&mut follow(&lost, None)).await.cursor;
    world.apply([insert("op-1", "doc")]).await;
    for more in ["op-2", "op-3", "op-4"] {
        let mut follower = follow(world, Some(cursor));
        assert_eq!(next(&mut follower).await, Followed::LogReplaced);
        follower.restart();
        assert!(documents(&mut follower).await.0.contains(&"doc".to_owned()));
        world.apply([insert(more, more)]).await;
    }
}

/// A tenant whose documents are all deleted, or that has none, can be started again from.
pub async fn a_follower_starts_again_from_no_documents(world: &World) {
    let mut follower = follow(world, None);
    follower.restart();
    assert_eq!(documents(&mut follower).await.0, [""; 0]);
    world.apply([insert("op-1", "doc")]).await;
    assert_eq!(ids(&operations(&mut follower).await.entries), ["op-1"]);
}
