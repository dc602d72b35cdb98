//! Pull with a cursor in state mode: first syncs, and clients that are behind the horizon.

use super::super::draft::{clock, delete, insert, inserts, update};
use super::super::replica::Replica;
use super::super::world::{BEGINNING_MS, World, ids};
use crate::core::cursor::{Cursor, Head, Position};
use crate::core::feed::{Collections, Feed};
use crate::core::json::Object;
use crate::core::names::Collection;
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::core::operation::{LogEntry, OperationKind};
use crate::core::page::{LogPageBuilder, Scan, TimePlace};
use crate::limits::protocol::INTEGER_MAX;
use crate::service::PulledPage;
use crate::store::{CompactStep, TimeRequest};

fn feed_of(collections: &[&str]) -> Feed {
    let collections = collections.iter().copied().map(Collection::literal);
    Feed::Documents { collections: Some(Collections::new(collections).expect("some collections")) }
}

fn is_state(page: &PulledPage) -> bool {
    matches!(page.cursor, Some(Cursor::State { .. }))
}

/// A document is returned as an insert with all of its data, and with the id, author, time and clock of its last
/// operation.
pub async fn a_client_from_nothing_gets_whole_documents_in_the_order_of_their_last_operations(world: &World) {
    world
        .apply([
            insert("op-1", "doc-1").data(r#"{"a":1}"#),
            insert("op-2", "doc-2").data(r#"{"b":1}"#),
            update("op-3", "doc-1").data(r#"{"c":1}"#).clock(&[("b", 1), ("a", 1)]).at(5),
        ])
        .await;
    let page = world.page(None, 9).await;
    assert_eq!(ids(&page.entries), ["op-2", "op-3"]);
    let whole = &page.entries[1];
    assert_eq!((whole.kind(), whole.seq, whole.timestamp), (OperationKind::Insert, Seq::new(3), UnixMs::new(5)));
    assert_eq!(whole.data().map(Object::as_str), Some(r#"{"a":1,"c":1}"#));
    assert_eq!((whole.client_id.as_str(), whole.clock.clone()), ("b", clock(&[("a", 1), ("b", 1)]).json().clone()));
    assert_eq!((page.cursor, page.has_more), (Some(world.head().await), false));
}

/// A client that begins without a cursor receives no tombstones from before it began, and all later ones.
pub async fn a_client_from_nothing_gets_only_the_tombstones_from_after_it_began(world: &World) {
    world.apply(inserts(4)).await;
    world.apply([delete("old", "doc-1")]).await;
    let first = world.page(None, 1).await;
    assert_eq!(ids(&first.entries), ["op-2"]);
    assert!(first.has_more);
    world.apply([delete("new", "doc-2"), delete("newer", "doc-4")]).await;
    let second = world.page(first.cursor, 9).await;
    assert_eq!(ids(&second.entries), ["op-3", "new", "newer"]);
    assert_eq!(second.entries[1].kind(), OperationKind::Delete);
    assert_eq!(second.entries[1].data(), None);
    assert_eq!(second.cursor, Some(world.head().await));
}

/// A tombstone from before the client began is not returned, and is not treated as a row that is left.
pub async fn tombstones_that_are_not_shown_take_no_place_in_a_page(world: &World) {
    world.apply(inserts(4)).await;
    world.apply([delete("op-5", "doc-2"), delete("op-6", "doc-3"), delete("op-7", "doc-4")]).await;
    let page = world.page(None, 1).await;
    assert_eq!((ids(&page.entries), page.has_more), (vec!["op-1"], false));
    assert_eq!(page.cursor, Some(world.head().await));
    world.apply([delete("op-8", "doc-1")]).await;
    let page = world.page(None, 1).await;
    assert_eq!((page.entries.len(), page.has_more, page.cursor), (0, false, Some(world.head().await)));
}

/// The mode lasts until a page has returned the last document of its moment. Only then follows the log.
///
/// One page earlier, the client would receive updates of documents that it does not have.
pub async fn a_client_is_shown_documents_until_a_page_has_shown_the_last_one(world: &World) {
    world
        .apply((1..=4).map(|number| insert(&format!("op-{number}"), &format!("doc-{number}")).data(r#"{"n":1}"#)))
        .await;
    let mut page = world.page(None, 1).await;
    assert_eq!(ids(&page.entries), ["op-1"]);
    for round in 1..=6 {
        assert!(is_state(&page) && page.has_more, "round {round}");
        // An update moves a document after all others.
        let moved = format!("doc-{}", (round % 4) + 1);
        world.apply([update(&format!("patch-{round}"), &moved).data(&format!(r#"{{"round":{round}}}"#))]).await;
        page = world.page(page.cursor, 1).await;
        assert_eq!(page.entries[0].kind(), OperationKind::Insert, "what is shown is the whole document");
        assert!(page.entries[0].data().is_some_and(|data| data.as_str().contains(r#""n":1"#)));
    }
    let last = world.page(page.cursor, 100).await;
    assert_eq!((is_state(&last), last.has_more, last.cursor), (false, false, Some(world.head().await)));
    world.apply([update("after", "doc-1").data(r#"{"after":1}"#)]).await;
    let log = world.page(last.cursor, 9).await;
    assert_eq!(log.entries[0].kind(), OperationKind::Update, "from then on it is the log that is read");
}

/// The page with the last document ends the mode at the head, even if the page is full.
pub async fn a_full_page_that_shows_the_last_document_ends_the_mode(world: &World) {
    world.apply(inserts(3)).await;
    world.apply([delete("op-4", "doc-1")]).await;
    let page = world.page(None, 2).await;
    assert_eq!((ids(&page.entries), page.has_more), (vec!["op-2", "op-3"], false));
    assert_eq!(page.cursor, Some(world.head().await));
}

/// A cursor at the horizon has every later entry. With one behind it, the documents since then are returned, deleted or
/// not.
pub async fn a_cursor_behind_the_horizon_is_shown_the_documents_that_changed_since(world: &World) {
    world.apply(inserts(3)).await;
    let three = world.head().await;
    world.apply([update("op-4", "doc-1"), delete("op-5", "doc-2")]).await;
    let five = world.head().await;
    world.host.advance_ms(10);
    world.apply([update("op-6", "doc-1"), insert("op-7", "doc-7")]).await;
    assert_eq!(world.compact(5).await, 5);

    let page = world.page(Some(five), 9).await;
    assert_eq!(ids(&page.entries), ["op-6", "op-7"]);
    assert_eq!(page.entries[0].kind(), OperationKind::Update, "at the horizon the log is whole");
    let page = world.page(Some(three), 9).await;
    assert_eq!(ids(&page.entries), ["op-5", "op-6", "op-7"]);
    let kinds = [OperationKind::Delete, OperationKind::Insert, OperationKind::Insert];
    assert_eq!(page.entries.iter().map(LogEntry::kind).collect::<Vec<_>>(), kinds);
    assert_eq!(page.cursor, Some(world.head().await));
}

/// If the horizon passes a client in the middle of the log, it receives the tombstones of documents that it may have.
pub async fn the_horizon_may_pass_a_client_between_two_pages(world: &World) {
    world.apply(inserts(4)).await;
    let first = world.page(Some(Cursor::Log(Position::START)), 2).await;
    assert_eq!(ids(&first.entries), ["op-1", "op-2"]);
    world.apply([delete("op-5", "doc-1"), delete("op-6", "doc-4")]).await;
    assert_eq!(world.compact(0).await, 6);
    let second = world.page(first.cursor, 1).await;
    assert_eq!(ids(&second.entries), ["op-3"]);
    let third = world.page(second.cursor, 9).await;
    assert_eq!(ids(&third.entries), ["op-5", "op-6"]);
    assert_eq!(third.cursor, Some(world.head().await));
}

/// Law 5, for all cases of a small history: wherever a client stopped, wherever the horizon is, and however small the
/// pages are.
pub async fn a_client_at_any_cursor_reaches_the_documents_after_any_compaction(world: &World) {
    let history = || {
        [
            insert("op-1", "doc-1").data(r#"{"a":1}"#),
            insert("op-2", "doc-2").data(r#"{"a":2}"#),
            update("op-3", "doc-1").data(r#"{"b":3}"#),
            delete("op-4", "doc-2"),
            update("op-5", "doc-2").data(r#"{"b":5}"#),
            insert("op-6", "doc-3").data(r#"{"a":6}"#),
            delete("op-7", "doc-1"),
            update("op-8", "doc-3").data(r#"{"b":8}"#),
        ]
    };
    let length = history().len();
    for horizon in 0..=length {
        let tenant = world.as_tenant(&format!("horizon-{horizon}"));
        let mut clients = vec![(None, Replica::default())];
        for (number, draft) in history().into_iter().enumerate() {
            let mut client = Replica::default();
            let page = tenant.page(Some(Cursor::Log(Position::START)), length).await;
            client.apply(&page.entries);
            clients.push((page.cursor, client));
            if number == horizon {
                tenant.host.advance_ms(1);
            }
            tenant.apply([draft]).await;
        }
        let removed = tenant.compact(1).await;
        assert_eq!(removed, if horizon == length { 0 } else { horizon as u64 });
        let documents = Replica::of_server(&tenant).await;
        for (stopped, (cursor, client)) in clients.iter().enumerate() {
            for max_operations in 1..=4 {
                let mut client = client.clone();
                client.pull_everything(&tenant, *cursor, max_operations).await;
                assert_eq!(client, documents, "horizon {horizon}, stopped at {stopped}, pages of {max_operations}");
            }
        }
    }
}

/// An original client that asks for everything may still have documents, so it receives every tombstone.
pub async fn the_beginning_shows_tombstones_if_history_is_gone(world: &World) {
    world.apply(inserts(2)).await;
    world.apply([delete("op-3", "doc-1")]).await;
    assert_eq!(ids(&world.changes(Some(Cursor::BEGINNING), 9).await.entries), ["op-1", "op-2", "op-3"]);
    world.compact(0).await;
    let page = world.changes(Some(Cursor::BEGINNING), 9).await;
    assert_eq!(ids(&page.entries), ["op-2", "op-3"]);
    assert_eq!(page.next, world.head().await);
}

/// Every page is read in the mode that the core chooses, and cut by it, wherever the client and the horizon are.
pub async fn every_page_is_in_the_mode_that_the_core_chooses(world: &World) {
    world.apply([insert("op-1", "a"), update("op-2", "a"), insert("op-3", "b"), delete("op-4", "b")]).await;
    world.apply([insert("op-5", "c"), update("op-6", "c").in_collection("others")]).await;
    let log = world.log().await;
    let mut places = vec![Position::START];
    for max_operations in 1..=log.len() {
        places.push(world.changes(Some(Cursor::BEGINNING), max_operations).await.next.position());
    }
    let everything = Cursor::State { after: Position::START, tombstones_after: Seq::START };
    let states = world.changes_of(&Feed::DOCUMENTS, Some(everything), 9).await.entries;
    let feeds = [Feed::Operations, Feed::DOCUMENTS, feed_of(&["todos"]), feed_of(&["none", "others", "todos"])];
    let mut cursors: Vec<Option<Cursor>> = places.iter().map(|place| Some(Cursor::Log(*place))).collect();
    cursors.push(None);
    for (after, tombstones_after) in [(0, 0), (0, 4), (3, 3), (3, 6), (6, 6)] {
        cursors.push(Some(Cursor::State { after: places[after], tombstones_after: Seq::new(tombstones_after) }));
    }

    for horizon in 0..=log.len() as u64 {
        let head = Head { position: places[log.len()], horizon: Seq::new(horizon), ..Head::default() };
        let sizes = cursors.iter().flat_map(|cursor| [(*cursor, 2), (*cursor, 200)]);
        for ((cursor, max_operations), feed) in sizes.flat_map(|size| feeds.iter().map(move |feed| (size, feed))) {
            // A page takes long through a pooler, so the other feeds are read at some horizons alone.
            if *feed != Feed::Operations && (max_operations > 2 || !horizon.is_multiple_of(3)) {
                continue;
            }
            let there = cursor.map(|cursor| cursor.position().fingerprint);
            let page = LogPageBuilder::begin(cursor, feed, max_operations, head, there);
            let mut page = page.expect("the cursor is of this log");
            let scan = page.scan();
            let is_shown = |entry: &&LogEntry| match scan {
                Scan::Log { after } => entry.seq > after.seq,
                Scan::State { after, tombstones_after } => {
                    let is_live = entry.kind() != OperationKind::Delete;
                    let is_new = entry.seq > after.seq && feed.includes(&entry.key.collection);
                    is_new && (is_live || tombstones_after.is_some_and(|seq| entry.seq > seq))
                }
            };
            let rows = if matches!(scan, Scan::Log { .. }) { &log } else { &states };
            let _ = rows.iter().filter(is_shown).all(|entry| page.push(entry.clone()));
            let place_of = |seq: Seq| places.iter().find(|place| place.seq == seq).map(|place| place.fingerprint);
            let expected = page.finish(|seq| place_of(seq).ok_or(seq)).expect("the place was seen");
            let found = world.changes_of(feed, cursor, max_operations).await;
            assert_eq!(found, expected, "horizon {horizon}, {cursor:?}, {feed:?}, at most {max_operations}");
        }
        let request = TimeRequest { after: TimePlace::after_timestamp(UnixMs::EPOCH), max_operations: 9 };
        let by_time = world.store.changes_by_time(&world.tenant, request).await.expect("the store reads changes");
        let states: Vec<LogEntry> = states.iter().map(|entry| LogEntry { rev: None, ..entry.clone() }).collect();
        let expected = if head.has_log_behind(Seq::START) { &log } else { &states };
        assert_eq!(&by_time.entries, expected, "horizon {horizon}");
        let step = CompactStep {
            now_ms: BEGINNING_MS,
            future_after_ms: UnixMs::new(INTEGER_MAX),
            received_until_ms: UnixMs::new(INTEGER_MAX),
            forget_clients_before_ms: UnixMs::EPOCH,
            max_entries: 1,
        };
        let compaction = world.store.compact(&world.tenant, step).await.expect("the store compacts");
        assert_eq!(compaction.deleted_entries, u64::from(horizon < log.len() as u64));
    }
}

/// With a feed of documents, a client behind any cursor receives each changed document once, whole and with its
/// revision. Deletes are tombstones.
pub async fn a_feed_of_documents_returns_each_changed_document_once_with_its_revision(world: &World) {
    world.apply([insert("op-1", "a"), insert("op-2", "b").data(r#"{"n":1}"#), insert("op-3", "c")]).await;
    let seen = world.head().await;
    world.apply([update("op-4", "b").data(r#"{"m":2}"#), delete("op-5", "c"), insert("op-6", "new")]).await;
    world.apply([update("op-7", "b").data(r#"{"m":3}"#)]).await;
    let first = world.changes_of(&Feed::DOCUMENTS, Some(seen), 2).await;
    assert_eq!((ids(&first.entries), first.has_more), (vec!["op-5", "op-6"], true));
    assert_eq!(first.entries[0].kind(), OperationKind::Delete);
    let second = world.changes_of(&Feed::DOCUMENTS, Some(first.next), 2).await;
    assert_eq!((second.next, second.has_more), (world.head().await, false));
    let [b] = &*second.entries else { panic!("one document is left: {second:?}") };
    assert_eq!((b.kind(), b.id.as_str(), b.rev), (OperationKind::Insert, "op-7", Some(Rev::new(3))));
    assert_eq!(b.data().map(Object::as_str), Some(r#"{"n":1,"m":3}"#));
    let nothing = world.changes_of(&Feed::DOCUMENTS, Some(second.next), 2).await;
    assert_eq!((nothing.entries.len(), nothing.next, nothing.has_more), (0, second.next, false));
    let from_nothing = world.changes_of(&Feed::DOCUMENTS, None, 9).await.entries;
    assert_eq!(ids(&from_nothing), ["op-1", "op-6", "op-7"], "without the tombstone");
    let revs: Vec<Option<Rev>> = from_nothing.iter().map(|entry| entry.rev).collect();
    assert_eq!(revs, [1, 1, 3].map(|rev| Some(Rev::new(rev))));
}

/// A feed of some collections has the documents of these alone, in the order of their last changes. Its cursor moves
/// over all others, at once to the head of the log if nothing follows.
pub async fn a_feed_of_some_collections_moves_over_the_others(world: &World) {
    let draft = |number: u64| insert(&format!("op-{number}"), "doc").in_collection(&format!("c-{}", number % 150));
    world.apply((1..=140).map(draft)).await;
    let gone = (3..=4).map(|number| delete(&format!("gone-{number}"), "doc").in_collection(&format!("c-{number}")));
    let began = world.changes_of(&feed_of(&["c-3"]), None, 9).await;
    assert_eq!((ids(&began.entries), began.next), (vec!["op-3"], world.head().await));
    world.apply(gone).await;
    let ended = world.changes_of(&feed_of(&["c-3", "c-5"]), Some(began.next), 9).await;
    assert_eq!((ids(&ended.entries), ended.next), (vec!["gone-3"], world.head().await));
    let others = world.changes_of(&feed_of(&["c-9", "nobody's"]), Some(began.next), 9).await;
    assert_eq!((others.entries.len(), others.has_more, others.next), (0, false, world.head().await));

    let hundred: Vec<String> = (1..=100).map(|number| format!("c-{number}")).collect();
    let hundred = feed_of(&hundred.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut cursor, mut found) = (Some(Cursor::BEGINNING), Vec::new());
    loop {
        let page = world.changes_of(&hundred, cursor, 30).await;
        found.extend(page.entries.iter().map(|entry| entry.id.as_str().to_owned()));
        cursor = Some(page.next);
        if !page.has_more {
            break;
        }
    }
    let inserted = (1..=100).filter(|number| ![3, 4].contains(number)).map(|number| format!("op-{number}"));
    let expected: Vec<String> = inserted.chain(["gone-3".to_owned(), "gone-4".to_owned()]).collect();
    assert_eq!(found, expected);
}

/// A page of a feed of some collections is bounded in bytes too.
pub async fn a_page_of_some_collections_is_bounded_in_bytes(world: &World) {
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(900_000));
    for number in 1..=6 {
        let collection = format!("c-{}", number % 2);
        world
            .apply([insert(&format!("op-{number}"), &format!("doc-{number}")).data(&large).in_collection(&collection)])
            .await;
    }
    let feed = feed_of(&["c-0", "c-1"]);
    let first = world.changes_of(&feed, None, 9).await;
    assert!(first.has_more && first.entries.len() < 6, "{} rows", first.entries.len());
    let second = world.changes_of(&feed, Some(first.next), 9).await;
    assert!(!second.has_more);
    assert_eq!(ids(&[first.entries, second.entries].concat()), ["op-1", "op-2", "op-3", "op-4", "op-5", "op-6"]);
}
