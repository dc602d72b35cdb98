//! Compaction.

use std::sync::Arc;

use super::super::draft::{delete, insert, inserts, update};
use super::super::faults::FaultyStore;
use super::super::world::{BEGINNING_MS, World, ids};
use crate::core::cursor::Cursor;
use crate::core::names::ClientId;
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::core::operation::OperationKind;
use crate::core::places::Places;
use crate::core::progress::Progress;
use crate::limits::protocol::{CLIENT_FORGOTTEN_AFTER_MS, DAY_MS, INTEGER_MAX};
use crate::limits::service::{CLIENT_ACTIVE_MS, CLOCKS_APART_MAX_MS, COMPACT_STEP_MAX_ENTRIES};
use crate::service::{Host as _, PullFrom};
use crate::store::{ClientMemory, CompactStep, Compaction, FORGOTTEN_PULLED_SEQ, NewMemory, Remember};

/// Later than every time.
const END_OF_TIME: UnixMs = UnixMs::new(INTEGER_MAX);

async fn step(world: &World, received_until_ms: UnixMs, max_entries: usize) -> Compaction {
    let step = CompactStep {
        now_ms: END_OF_TIME,
        future_after_ms: END_OF_TIME,
        received_until_ms,
        forget_clients_before_ms: UnixMs::EPOCH,
        max_entries,
    };
    world.store.compact(&world.tenant, step).await.expect("the store compacts")
}

/// The server's time of reception decides: entries at the cut or before are removed.
pub async fn entries_go_that_were_received_at_the_cut_or_before(world: &World) {
    for draft in inserts(4) {
        world.apply([draft]).await;
        world.host.advance_ms(10);
    }
    // The operations were received 40, 30, 20 and 10 milliseconds ago.
    for (older_than_ms, deleted, left) in [(41, 0, 4), (40, 1, 3), (40, 0, 3), (21, 1, 2), (20, 1, 1), (0, 1, 0)] {
        assert_eq!(world.compact(older_than_ms).await, deleted, "older than {older_than_ms} ms");
        assert_eq!(world.stats().await.operations, left);
    }
}

/// The client's timestamp does not decide when an operation was received.
pub async fn the_clients_timestamps_do_not_matter(world: &World) {
    world.apply([insert("op-1", "doc-1").at(INTEGER_MAX)]).await;
    let place = world.head().await;
    world.host.advance_ms(10);
    world.apply([insert("op-2", "doc-2").at(1)]).await;
    assert_eq!(world.compact(5).await, 1);
    assert_eq!(world.stats().await.operations, 1);
    assert_eq!(ids(&world.page(Some(place), 9).await.entries), ["op-2"]);
}

/// The time of reception never runs backwards in the log, so a clock that was set back keeps no entry from the cut.
pub async fn a_clock_that_runs_backwards_keeps_the_order_of_reception(world: &World) {
    world.host.set_ms(BEGINNING_MS.plus_ms(100));
    world.apply([insert("op-1", "doc-1")]).await;
    world.host.set_ms(BEGINNING_MS);
    world.apply([insert("op-2", "doc-2")]).await;
    world.host.set_ms(BEGINNING_MS.plus_ms(200));
    world.apply([insert("op-3", "doc-3")]).await;
    assert_eq!(step(world, BEGINNING_MS.plus_ms(99), 9).await, Compaction { deleted_entries: 0, is_finished: true });
    assert_eq!(step(world, BEGINNING_MS.plus_ms(100), 9).await, Compaction { deleted_entries: 2, is_finished: true });
    assert_eq!(step(world, BEGINNING_MS.plus_ms(199), 9).await, Compaction { deleted_entries: 0, is_finished: true });
}

/// The time of reception stays monotone when all earlier entries were compacted.
pub async fn the_order_of_reception_outlives_the_entries(world: &World) {
    world.host.set_ms(BEGINNING_MS.plus_ms(100));
    world.apply([insert("op-1", "doc-1")]).await;
    assert_eq!(world.compact(0).await, 1);
    world.host.set_ms(BEGINNING_MS);
    world.apply([insert("op-2", "doc-2")]).await;
    assert_eq!(step(world, BEGINNING_MS.plus_ms(99), 9).await.deleted_entries, 0);
    assert_eq!(step(world, BEGINNING_MS.plus_ms(100), 9).await.deleted_entries, 1);
}

/// Documents, tombstones, known ids and the next sequence numbers stay the same.
pub async fn documents_and_known_ids_and_numbers_stay(world: &World) {
    world.apply(inserts(3)).await;
    world.apply([delete("op-4", "doc-1"), update("op-5", "doc-2").data(r#"{"a":1}"#)]).await;
    let before = (world.query(&[]).await, world.head().await);
    assert_eq!(world.compact(0).await, 5);
    assert_eq!((world.query(&[]).await, world.head().await), before);
    let late = world.push([insert("op-6", "doc-1").clock(&[("b", 1)])]).await;
    assert!(matches!(late[0], crate::core::decide::Outcome::Conflict(_)), "the tombstone still has its clock");
    world.apply([insert("op-7", "doc-7")]).await;
    assert_eq!(world.document("doc-7").await.map(|document| document.seq), Some(Seq::new(6)));
}

/// Each step removes at most its limit, moves the horizon exactly as far, and says whether there is more.
pub async fn a_step_removes_so_many_entries_and_moves_the_horizon_with_them(world: &World) {
    let mut places = vec![world.head().await];
    for draft in inserts(5) {
        world.apply([draft]).await;
        places.push(world.head().await);
    }
    for (deleted_entries, is_finished, horizon) in [(2, false, 2), (2, false, 4), (1, true, 5), (0, true, 5)] {
        assert_eq!(step(world, END_OF_TIME, 2).await, Compaction { deleted_entries, is_finished });
        for (seq, place) in places.iter().enumerate() {
            // One document a page: a client behind the horizon receives documents, and its cursor says so.
            let page = world.page(Some(*place), 1).await;
            let is_shown_documents = matches!(page.cursor, Some(Cursor::State { .. }));
            assert_eq!(is_shown_documents, seq < horizon && page.has_more, "{seq} with the horizon at {horizon}");
        }
    }
}

/// A step that removes exactly the rest says that it is finished.
pub async fn a_step_that_leaves_nothing_says_so(world: &World) {
    assert_eq!(step(world, END_OF_TIME, 2).await, Compaction { deleted_entries: 0, is_finished: true });
    world.apply(inserts(2)).await;
    world.host.advance_ms(10);
    world.apply([insert("op-3", "doc-3")]).await;
    assert_eq!(step(world, BEGINNING_MS, 2).await, Compaction { deleted_entries: 2, is_finished: true });
    assert_eq!(step(world, BEGINNING_MS.plus_ms(10), 1).await, Compaction { deleted_entries: 1, is_finished: true });
}

/// A compaction that runs out of time says so, and the next one continues where it stopped.
pub async fn a_compaction_without_time_does_one_step_and_is_gone_on_with(world: &World) {
    let count = COMPACT_STEP_MAX_ENTRIES as u64 + 500;
    world.apply(inserts(count)).await;
    let compact = async |time_max_ms| world.service.compact(&world.tenant, 0, time_max_ms).await.expect("it compacts");
    let first = compact(0).await;
    assert_eq!(first, Compaction { deleted_entries: COMPACT_STEP_MAX_ENTRIES as u64, is_finished: false });
    assert_eq!(world.stats().await.operations, 500);
    assert_eq!(compact(0).await, Compaction { deleted_entries: 500, is_finished: true });
    assert_eq!(world.stats().await.documents, count);
}

/// Clients that were silent for 90 days are forgotten, and others are not. The places of a `since` are never forgotten.
pub async fn silent_clients_are_forgotten(world: &World) {
    world.apply(inserts(2)).await;
    let pull = async |client: &str| world.pull(PullFrom::Cursor(None), Some(client), 9).await;
    pull("silent").await;
    world.since("original", 0, 1).await;
    let before = world.memory("original").await.expect("it is remembered");
    world.host.advance_ms(1);
    pull("seen").await;
    world.since("seen too", 0, 9).await;
    world.host.advance_ms(CLIENT_FORGOTTEN_AFTER_MS);
    world.compact(INTEGER_MAX).await;
    assert_eq!(world.memory("silent").await, None);
    let forgotten = ClientMemory { seen_at_ms: UnixMs::EPOCH, pulled_seq: FORGOTTEN_PULLED_SEQ, ..before };
    assert_eq!(world.memory("original").await, Some(forgotten.clone()));
    for client in ["seen", "seen too"] {
        assert!(world.memory(client).await.is_some_and(|memory| memory.seen_at_ms > BEGINNING_MS));
    }
    assert_eq!(world.stats().await.operations, 2, "nothing is that old");
    world.compact(INTEGER_MAX).await;
    assert_eq!(world.memory("original").await, Some(forgotten), "it is forgotten once");
    world.since("original", 0, 1).await;
    assert_eq!(world.stats().await.unsynced_operations, 1, "it came back and counts again");
}

/// A step forgets so many clients, and the last one says that none is left (law 10).
pub async fn clients_are_forgotten_in_steps_and_the_last_one_says_so(world: &World) {
    let seen_at_ms = world.host.now_ms();
    for number in 0..5 {
        let (noted, original) = (format!("noted-{number}"), format!("original-{number}"));
        let progress = Progress { pulled_seq: Seq::START, seen_at_ms: seen_at_ms.plus_ms(number) };
        world.store.note_pulled(&world.tenant, &ClientId::literal(&noted), progress).await.expect("it is noted");
        let memory =
            NewMemory { seen_revision: Rev::NONE, places: Places::default(), pulled_seq: Seq::START, seen_at_ms };
        let remembered = world.store.remember(&world.tenant, &ClientId::literal(&original), memory).await;
        assert_eq!(remembered.expect("it is remembered"), Remember::Done);
    }
    let later_ms = seen_at_ms.plus_ms(10);
    let step = CompactStep {
        now_ms: later_ms,
        future_after_ms: later_ms,
        received_until_ms: UnixMs::EPOCH,
        forget_clients_before_ms: later_ms,
        max_entries: 4,
    };
    for is_finished in [false, false, true, true] {
        let done = world.store.compact(&world.tenant, step).await.expect("the store compacts");
        assert_eq!(done, Compaction { deleted_entries: 0, is_finished });
    }
    for number in 0..5 {
        assert_eq!(world.memory(&format!("noted-{number}")).await, None);
        let original = world.memory(&format!("original-{number}")).await.expect("its places are kept");
        assert_eq!((original.seen_at_ms, original.pulled_seq), (UnixMs::EPOCH, FORGOTTEN_PULLED_SEQ));
    }
}

/// A step sets the times of so many clients that were seen in the future to now. The last step says that none is left
/// (law 10).
pub async fn clients_of_the_future_are_recalled_in_steps_and_the_last_one_says_so(world: &World) {
    let now_ms = world.host.now_ms();
    let of_the_future = async || {
        let mut left = 0;
        for number in 0..5 {
            let memory = world.memory(&format!("client-{number}")).await.expect("it is remembered");
            left += u32::from(memory.seen_at_ms > now_ms);
        }
        left
    };
    for number in 0..5 {
        let client = ClientId::literal(&format!("client-{number}"));
        let progress = Progress { pulled_seq: Seq::START, seen_at_ms: now_ms.plus_ms(1 + number) };
        world.store.note_pulled(&world.tenant, &client, progress).await.expect("it is noted");
    }
    let step = CompactStep {
        now_ms,
        future_after_ms: now_ms,
        received_until_ms: UnixMs::EPOCH,
        forget_clients_before_ms: UnixMs::EPOCH,
        max_entries: 2,
    };
    for (left, is_finished) in [(3, false), (1, false), (0, true), (0, true)] {
        let done = world.store.compact(&world.tenant, step).await.expect("the store compacts");
        assert_eq!((of_the_future().await, done), (left, Compaction { deleted_entries: 0, is_finished }));
    }
}

const TEN_YEARS_MS: u64 = 3_652 * DAY_MS;

/// A clock that ran ahead does not stop compaction: when it is right again, the entries are removed as if they were
/// received then.
pub async fn a_clock_that_ran_ahead_does_not_end_compaction(world: &World) {
    let entries = 2 * COMPACT_STEP_MAX_ENTRIES as u64 + 1;
    world.apply([insert("first", "first")]).await;
    world.host.set_ms(BEGINNING_MS.plus_ms(TEN_YEARS_MS));
    world.apply(inserts(entries)).await;
    world.host.set_ms(BEGINNING_MS.plus_ms(DAY_MS));
    world.apply([insert("last", "last")]).await;
    assert_eq!(world.compact(DAY_MS).await, 1, "the one from before the clock ran ahead");
    world.host.advance_ms(DAY_MS);
    world.apply([insert("new", "new")]).await;
    assert_eq!(world.compact(DAY_MS).await, entries + 1, "the new one was received at its own time");
    world.host.advance_ms(DAY_MS);
    assert_eq!(world.compact(DAY_MS).await, 1);
    assert_eq!(world.stats().await.operations, 0);
}

/// The times of reception are set to now in steps, and never run backwards in the log meanwhile.
pub async fn a_clock_that_ran_ahead_is_mended_in_steps_that_keep_the_order(world: &World) {
    world.host.set_ms(BEGINNING_MS.plus_ms(TEN_YEARS_MS));
    world.apply(inserts(3)).await;
    world.host.set_ms(BEGINNING_MS);
    let mend = async |future_after_ms, received_until_ms| {
        let step = CompactStep {
            now_ms: BEGINNING_MS,
            future_after_ms,
            received_until_ms,
            forget_clients_before_ms: UnixMs::EPOCH,
            max_entries: 2,
        };
        world.store.compact(&world.tenant, step).await.expect("the store compacts")
    };
    let before = BEGINNING_MS.minus_ms(1);
    assert_eq!(mend(BEGINNING_MS, before).await, Compaction { deleted_entries: 0, is_finished: false });
    world.apply([insert("op-4", "doc-4")]).await;
    assert_eq!(step(world, BEGINNING_MS, 1).await, Compaction { deleted_entries: 1, is_finished: false });
    assert_eq!(mend(BEGINNING_MS, before).await, Compaction { deleted_entries: 0, is_finished: true });
    world.host.advance_ms(5);
    world.apply([insert("op-5", "doc-5")]).await;
    world.host.advance_ms(5);
    world.apply([insert("op-6", "doc-6")]).await;
    assert_eq!(mend(BEGINNING_MS.plus_ms(10), before).await, Compaction { deleted_entries: 0, is_finished: true });
    assert_eq!(step(world, BEGINNING_MS, 9).await.deleted_entries, 3, "two were received later, by clocks that agree");
    let done = mend(BEGINNING_MS.plus_ms(9), BEGINNING_MS).await;
    assert_eq!(done, Compaction { deleted_entries: 2, is_finished: true }, "the step that mends the last also removes");
}

/// Operations that a server with a slightly fast clock pushes between the steps stay, and do not delay the compaction.
pub async fn pushes_between_the_steps_do_not_hold_up_a_compaction(world: &World) {
    let entries = 2 * COMPACT_STEP_MAX_ENTRIES as u64 + 1;
    world.apply(inserts(entries)).await;
    let store = FaultyStore::new(Arc::clone(&world.store));
    for number in 1..=3_u64 {
        let other = world.clone();
        store.meanwhile(async move {
            other.host.set_ms(BEGINNING_MS.plus_ms(number + CLOCKS_APART_MAX_MS - 3));
            other.apply([insert(&format!("late-{number}"), &format!("late-{number}"))]).await;
            other.host.set_ms(BEGINNING_MS.plus_ms(number));
        });
    }
    assert_eq!(world.over(store).compact(0).await, entries);
    assert_eq!(world.stats().await.operations, 3);
    world.host.advance_ms(CLOCKS_APART_MAX_MS);
    assert_eq!(world.compact(0).await, 3);
}

/// If a log is compacted completely under a clock that ran ahead, later entries do not inherit the time.
pub async fn a_clock_that_ran_ahead_is_forgotten_with_the_entries(world: &World) {
    world.host.set_ms(BEGINNING_MS.plus_ms(TEN_YEARS_MS));
    world.apply(inserts(2)).await;
    assert_eq!(world.compact(0).await, 2);
    world.host.set_ms(BEGINNING_MS);
    assert_eq!(world.compact(0).await, 0);
    world.apply([insert("op-3", "doc-3")]).await;
    world.host.advance_ms(1);
    assert_eq!(world.compact(1).await, 1);
}

/// A client that was seen under a clock that ran ahead is treated as one that was seen when this was corrected.
pub async fn a_client_seen_by_a_clock_that_ran_ahead_is_not_a_client_of_the_future(world: &World) {
    world.apply(inserts(2)).await;
    world.host.set_ms(BEGINNING_MS.plus_ms(TEN_YEARS_MS));
    for client in ["silent", "back"] {
        world.pull(PullFrom::Cursor(None), Some(client), 1).await;
    }
    world.since("original", 0, 1).await;
    world.host.set_ms(BEGINNING_MS);
    world.pull(PullFrom::Cursor(None), Some("back"), 1).await;
    world.compact(INTEGER_MAX).await;
    for client in ["silent", "back", "original"] {
        assert_eq!(world.memory(client).await.map(|memory| memory.seen_at_ms), Some(BEGINNING_MS), "{client}");
    }
    world.host.advance_ms(CLIENT_ACTIVE_MS);
    assert_eq!(world.stats().await.unsynced_operations, 1);
    world.host.advance_ms(1);
    assert_eq!(world.stats().await.unsynced_operations, 0);
}

/// A pull under the right clock corrects the time at which a client was seen, without a compaction.
pub async fn a_pull_corrects_the_time_of_a_clock_that_ran_ahead(world: &World) {
    world.apply(inserts(2)).await;
    world.host.set_ms(BEGINNING_MS.plus_ms(TEN_YEARS_MS));
    world.pull(PullFrom::Cursor(None), Some("modern"), 9).await;
    world.since("original", 0, 9).await;
    world.host.set_ms(BEGINNING_MS);
    world.pull(PullFrom::Cursor(None), Some("modern"), 9).await;
    world.since("original", 0, 9).await;
    for client in ["modern", "original"] {
        assert_eq!(world.memory(client).await.map(|memory| memory.seen_at_ms), Some(BEGINNING_MS), "{client}");
    }
}

/// Deletes and revivals across a compaction: the rest of the log still begins with what a client needs.
pub async fn a_revival_after_a_compaction_is_still_an_insert(world: &World) {
    world.apply([insert("op-1", "doc").data(r#"{"a":1}"#), delete("op-2", "doc")]).await;
    let head = world.head().await;
    world.compact(0).await;
    world.apply([update("op-3", "doc").data(r#"{"b":2}"#)]).await;
    let page = world.page(Some(head), 9).await;
    assert_eq!((ids(&page.entries), page.entries[0].kind()), (vec!["op-3"], OperationKind::Insert));
    assert_eq!(world.data("doc").await.as_deref(), Some(r#"{"b":2}"#));
}
