//! Pull with a cursor in log mode.

use super::super::draft::{clock, delete, insert, inserts, key, update};
use super::super::world::{World, ids, page_of};
use crate::core::cursor::{Cursor, Position};
use crate::core::fingerprint::Fingerprint;
use crate::core::json::Object;
use crate::core::names::{ClientId, OperationId};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::operation::{Change, LogEntry};
use crate::limits::protocol::{INTEGER_MAX, PAGE_MAX_BYTES};
use crate::service::{PullFrom, Pulled};

const START: Option<Cursor> = Some(Cursor::Log(Position::START));

/// The place after all operations of a log with these ids.
fn position(ids: &[&str]) -> Position {
    let fingerprint = ids.iter().fold(Fingerprint::START, |sum, id| sum.extended(&OperationId::literal(id)));
    Position { seq: Seq::START.plus(ids.len() as u64), fingerprint }
}

async fn is_reset(world: &World, cursor: Cursor) -> bool {
    world.pull(PullFrom::Cursor(Some(cursor)), None, 9).await == Pulled::Reset
}

/// Every field of an operation is returned as it was pushed.
pub async fn an_operation_is_delivered_as_it_was_pushed(world: &World) {
    let data = r#"{ "b" : 1.0, "a":[1e2, "\u00e9é" ] , "b":null}"#;
    let drafts = [
        insert("op-1", "doc").data(data).clock(&[("z", 3), ("a", 0), ("m", INTEGER_MAX)]).at(INTEGER_MAX),
        delete("op-2", "doc-2").client("somebody").clock(&[]),
    ];
    world.apply(drafts).await;
    let page = world.page(START, 9).await;
    let expected = LogEntry {
        seq: Seq::new(1),
        id: OperationId::literal("op-1"),
        change: Change::Insert(Object::literal(data)),
        key: key("doc"),
        timestamp: UnixMs::new(INTEGER_MAX),
        client_id: ClientId::literal("z"),
        clock: clock(&[("z", 3), ("a", 0), ("m", INTEGER_MAX)]).json().clone(),
        rev: None,
        subject: None,
        resolution: None,
    };
    assert_eq!(page.entries[0], expected);
    assert_eq!(page.entries[1].data(), None);
    assert_eq!(page.entries[1].clock.as_str(), "{}");
    assert_eq!(page.cursor, Some(Cursor::Log(position(&["op-1", "op-2"]))));
    assert!(!page.has_more);
}

/// Pages follow each other in the order of commits, whatever the timestamps are, without gaps and overlaps.
pub async fn pages_follow_the_log_and_say_whether_there_is_more(world: &World) {
    let mut expected = Vec::new();
    for (number, timestamp) in (1..).zip([9, 2, INTEGER_MAX, 2, 1, 9, 9]) {
        let id = format!("op-{number}");
        world.apply([insert(&id, "doc").at(timestamp)]).await;
        expected.push(id);
    }
    for max_operations in 1..=8 {
        let (mut cursor, mut seen) = (START, Vec::new());
        loop {
            let page = world.page(cursor, max_operations).await;
            assert!(page.entries.len() <= max_operations);
            seen.extend(page.entries.iter().map(|entry| entry.id.as_str().to_owned()));
            assert_eq!(page.has_more, seen.len() < expected.len());
            cursor = page.cursor;
            if !page.has_more {
                break;
            }
            assert_eq!(page.entries.len(), max_operations, "a page is full if there is more");
        }
        assert_eq!(seen, expected);
        assert_eq!(cursor, Some(world.head().await));
    }
}

/// An empty page does not move the cursor, and later operations are found after it.
pub async fn a_client_that_has_everything_goes_on_from_the_head(world: &World) {
    let page = world.page(START, 9).await;
    assert_eq!((page.entries.len(), page.has_more, page.cursor), (0, false, START));
    world.apply(inserts(2)).await;
    let page = world.page(page.cursor, 9).await;
    assert_eq!(ids(&page.entries), ["op-1", "op-2"]);
    let again = world.page(page.cursor, 9).await;
    assert_eq!((again.entries.len(), again.has_more, again.cursor), (0, false, page.cursor));
    world.apply([insert("late", "doc-1").at(1)]).await;
    assert_eq!(ids(&world.page(page.cursor, 9).await.entries), ["late"]);
}

/// A client also receives its own operations.
pub async fn own_operations_are_returned_too(world: &World) {
    world.apply([insert("op-1", "doc").client("me")]).await;
    let page = page_of(world.pull(PullFrom::Cursor(START), Some("me"), 9).await);
    assert_eq!(ids(&page.entries), ["op-1"]);
}

/// Law 10: a page ends where the next operation would make it larger than its limit in bytes.
pub async fn a_page_is_bounded_in_bytes(world: &World) {
    let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(PAGE_MAX_BYTES / 5));
    for number in 1..=7 {
        world.apply([insert(&format!("op-{number}"), &format!("doc-{number}")).data(&data)]).await;
    }
    for start in [START, None] {
        let first = world.page(start, 100).await;
        assert_eq!(ids(&first.entries), ["op-1", "op-2", "op-3"], "four of them and one of them again are too many");
        assert!(first.entries.iter().map(LogEntry::wire_bytes).sum::<usize>() <= PAGE_MAX_BYTES);
        assert!(first.has_more);
        let second = world.page(first.cursor, 100).await;
        assert_eq!(ids(&second.entries), ["op-4", "op-5", "op-6"]);
        assert!(second.has_more);
    }
}

/// The clocks are included in the bytes of a page, because they can be larger than the data.
pub async fn the_bytes_of_a_page_include_its_clocks(world: &World) {
    let clients: Vec<String> = (0..1_000).map(|number| format!("{number:0>250}")).collect();
    let entries: Vec<(&str, u64)> = clients.iter().map(|client| (client.as_str(), 1)).collect();
    for number in 1..=18 {
        world.apply([insert(&format!("op-{number}"), &format!("doc-{number}")).clock(&entries)]).await;
    }
    for start in [START, None] {
        let page = world.page(start, 100).await;
        assert!(page.has_more);
        let bytes: usize = page.entries.iter().map(LogEntry::wire_bytes).sum();
        assert!(bytes <= PAGE_MAX_BYTES && page.entries.len() > 10, "{} entries of {bytes}", page.entries.len());
    }
}

/// A place beyond the head belongs to a log that was lost, not to this one.
pub async fn a_cursor_beyond_the_head_is_reset(world: &World) {
    world.apply(inserts(3)).await;
    let head = world.head().await.position();
    let beyond = Position { seq: head.seq.next(), ..head };
    assert!(is_reset(world, Cursor::Log(beyond)).await);
    assert!(is_reset(world, Cursor::State { after: beyond, tombstones_after: Seq::new(1) }).await);
    assert!(is_reset(world, Cursor::State { after: head, tombstones_after: head.seq.next() }).await);
    assert!(is_reset(world, Cursor::Log(Position { seq: Seq::new(INTEGER_MAX), ..head })).await);
    assert!(!is_reset(world, Cursor::Log(head)).await);
    let empty = world.as_tenant("empty");
    assert!(is_reset(&empty, Cursor::Log(head)).await);
    assert!(is_reset(&empty, Cursor::Log(Position { seq: Seq::START, fingerprint: head.fingerprint })).await);
    assert!(!is_reset(&empty, Cursor::Log(Position::START)).await);
}

/// A log that was restored from a backup and then changed refuses the cursors from after the backup.
pub async fn a_cursor_of_another_history_is_reset(world: &World) {
    let shared = ["op-1", "op-2", "op-3"];
    let restored = world.as_tenant("restored");
    for log in [world, &restored] {
        log.apply(inserts(3)).await;
    }
    world.apply([insert("lost", "doc"), insert("both", "doc")]).await;
    restored.apply([insert("other", "doc"), insert("both", "doc"), insert("more", "doc")]).await;
    for taken in 0..=shared.len() {
        let cursor = Cursor::Log(position(&shared[..taken]));
        assert!(!is_reset(&restored, cursor).await, "both have the first {taken}");
    }
    let lost = [shared.as_slice(), &["lost"]].concat();
    let both = [shared.as_slice(), &["lost", "both"]].concat();
    for history in [&lost, &both] {
        let after = position(history);
        assert!(!is_reset(world, Cursor::Log(after)).await);
        assert!(is_reset(&restored, Cursor::Log(after)).await, "{history:?}");
        assert!(is_reset(&restored, Cursor::State { after, tombstones_after: Seq::new(1) }).await, "{history:?}");
    }
}

/// The fingerprints stay when log entries are removed, so cursors of another log are also refused behind the horizon.
pub async fn a_cursor_behind_the_horizon_is_still_told_from_another_history(world: &World) {
    world.apply(inserts(4)).await;
    world.compact(0).await;
    world.apply([insert("op-5", "doc-5")]).await;
    for taken in 0..=5 {
        let history = ["op-1", "op-2", "op-3", "op-4", "op-5"];
        assert!(!is_reset(world, Cursor::Log(position(&history[..taken]))).await, "{taken}");
        let other = ["op-1", "other", "op-3", "op-4", "op-5"];
        assert_eq!(is_reset(world, Cursor::Log(position(&other[..taken]))).await, taken >= 2, "{taken}");
    }
}

/// A position is the same in the log, in the documents and in the head.
pub async fn every_page_names_its_place_by_the_same_fingerprint(world: &World) {
    world.apply([insert("op-1", "doc-1"), insert("op-2", "doc-2"), update("op-3", "doc-1")]).await;
    assert_eq!(world.head().await, Cursor::Log(position(&["op-1", "op-2", "op-3"])));
    let log = world.changes(Some(Cursor::BEGINNING), 2).await;
    assert_eq!(log.next, Cursor::Log(position(&["op-1", "op-2"])));
    let state = world.changes(None, 1).await;
    assert_eq!(state.next, Cursor::State { after: position(&["op-1", "op-2"]), tombstones_after: Seq::new(3) });
}
