//! The port: `load` and `commit`.

use std::collections::HashMap;

use futures_util::FutureExt as _;

use super::super::draft::{Draft, delete, insert, inserts, key, update};
use super::super::world::{World, ids};
use crate::core::cursor::{Cursor, Position};
use crate::core::decide::Batch;
use crate::core::document::Document;
use crate::core::fingerprint::Fingerprint;
use crate::core::names::{DocumentKey, OperationId};
use crate::core::numbers::{Rev, Seq};
use crate::limits::protocol::{CLOCK_MAX_ENTRIES, INTEGER_MAX};
use crate::limits::service::GROUP_MAX_OPERATIONS;
use crate::store::{Commit, LoadRequest};

/// Law 3, if two decisions saw the same document.
pub async fn of_two_decisions_on_one_revision_only_the_first_is_written(world: &World) {
    world.apply([insert("op-1", "doc").data(r#"{"n":1}"#)]).await;
    let first = world.decide([update("op-2", "doc").data(r#"{"n":2}"#)]).await;
    let second = world.decide([update("op-3", "doc").data(r#"{"n":3}"#)]).await;
    assert_eq!(world.commit(first).await, Commit::Done);
    assert_eq!(world.commit(second).await, Commit::Contended);
    assert_eq!(world.data("doc").await.as_deref(), Some(r#"{"n":2}"#));
    assert_eq!(ids(&world.log().await), ["op-1", "op-2"]);
}

/// Law 3, if two decisions saw no document.
pub async fn of_two_decisions_to_create_a_document_only_the_first_is_written(world: &World) {
    let first = world.decide([insert("op-1", "doc").data(r#"{"n":1}"#)]).await;
    let second = world.decide([insert("op-2", "doc").data(r#"{"n":2}"#)]).await;
    assert_eq!(world.commit(first).await, Commit::Done);
    assert_eq!(world.commit(second).await, Commit::Contended);
    assert_eq!(world.data("doc").await.as_deref(), Some(r#"{"n":1}"#));
    assert_eq!(world.document("doc").await.map(|document| document.rev), Some(Rev::new(1)));
}

/// Law 3: a tombstone is a revision like any other.
pub async fn a_decision_that_did_not_see_a_tombstone_is_contended(world: &World) {
    let created = world.decide([insert("op-1", "new")]).await;
    world.apply([delete("op-2", "new")]).await;
    assert_eq!(world.commit(created).await, Commit::Contended);

    world.apply([insert("op-3", "old")]).await;
    let changed = world.decide([update("op-4", "old")]).await;
    world.apply([delete("op-5", "old")]).await;
    assert_eq!(world.commit(changed).await, Commit::Contended);
    assert_eq!(world.query(&[]).await, []);
}

/// Law 3: a revision that was seen but does not exist is treated like a different one.
pub async fn a_decision_that_saw_a_document_which_is_not_there_is_contended(world: &World) {
    world.apply([insert("op-1", "doc")]).await;
    let elsewhere = world.as_tenant("elsewhere");
    let batch = world.decide([update("op-2", "doc")]).await;
    assert_eq!(elsewhere.commit(batch).await, Commit::Contended);
    assert_eq!(elsewhere.log().await, []);
    assert_eq!(elsewhere.stats().await.documents, 0);
}

/// Law 2: two pushes of one operation, with the same document or different ones.
pub async fn an_id_that_was_pushed_since_the_decision_is_contended(world: &World) {
    let first = world.decide([insert("op-1", "doc-1")]).await;
    let second = world.decide([insert("op-0", "doc-0"), insert("op-1", "doc-2"), insert("op-2", "doc-3")]).await;
    assert_eq!(world.commit(first).await, Commit::Done);
    assert_eq!(world.commit(second).await, Commit::Contended);
    assert_eq!(ids(&world.log().await), ["op-1"]);
    assert_eq!(world.stats().await.documents, 1);
}

/// Law 2: it makes no difference whether the log entry was compacted since.
pub async fn an_id_that_was_compacted_away_since_the_decision_is_contended(world: &World) {
    let second = world.decide([insert("op-1", "doc-2")]).await;
    world.apply([insert("op-1", "doc-1")]).await;
    assert_eq!(world.compact(0).await, 1);
    assert_eq!(world.commit(second).await, Commit::Contended);
    assert_eq!(world.document("doc-2").await, None);
}

/// Laws 3 and 7: all or nothing, wherever in the batch the contention is.
pub async fn a_contended_batch_writes_none_of_its_documents(world: &World) {
    let documents = ["doc-1", "doc-2", "doc-3"];
    world.apply(documents.map(|id| insert(&format!("first-{id}"), id))).await;
    for contended in documents {
        let mine = documents.map(|id| update(&format!("mine-{contended}-{id}"), id).data(r#"{"mine":true}"#));
        let created = insert(&format!("created-{contended}"), &format!("zz-{contended}"));
        let batch = world.decide(mine.into_iter().chain([created])).await;
        world.apply([update(&format!("theirs-{contended}"), contended)]).await;
        let before = (world.log().await, world.query(&[]).await, world.stats().await);
        assert_eq!(world.commit(batch.clone()).await, Commit::Contended);
        let after = (world.log().await, world.query(&[]).await, world.stats().await);
        assert_eq!(before, after, "contended at {contended}");
        let request = LoadRequest {
            ids: batch.operations.into_iter().map(|operation| operation.id).collect(),
            keys: vec![],
            ..LoadRequest::default()
        };
        let snapshot = world.store.load(&world.tenant, request).await.expect("the store loads");
        assert!(snapshot.known.is_empty(), "a contended batch leaves no id known: {:?}", snapshot.known);
    }
}

/// Law 4: a contended batch leaves no gap, and every place has the fingerprint of all operations up to it.
pub async fn numbers_are_dense_and_fingerprints_chained_across_contended_batches(world: &World) {
    let mut position = Position::START;
    for round in 0..4 {
        let batch = |name: &str| {
            let first = insert(&format!("{name}-{round}-1"), "doc");
            [first, insert(&format!("{name}-{round}-2"), &format!("{name}-{round}"))]
        };
        let (won, lost) = (world.decide(batch("won")).await, world.decide(batch("lost")).await);
        assert_eq!(world.commit(won.clone()).await, Commit::Done);
        assert_eq!(world.commit(lost).await, Commit::Contended);
        for operation in &won.operations {
            let fingerprint = position.fingerprint.extended(&operation.id);
            position = Position { seq: position.seq.next(), fingerprint };
        }
        assert_eq!(world.head().await, Cursor::Log(position));
    }
    let numbers: Vec<u64> = world.log().await.iter().map(|entry| entry.seq.get()).collect();
    assert_eq!(numbers, (1..=8).collect::<Vec<u64>>());
}

/// The operations of a batch take the next numbers in its order. A document gets the number of its last operation.
pub async fn a_batch_takes_the_next_numbers_in_its_order(world: &World) {
    world.apply([insert("op-1", "doc-1")]).await;
    world.apply([insert("op-9", "doc-2"), insert("op-2", "doc-1"), update("op-5", "doc-2")]).await;
    let log = world.log().await;
    assert_eq!(ids(&log), ["op-1", "op-9", "op-2", "op-5"]);
    assert_eq!(log.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3, 4].map(Seq::new));
    let of_document = |document: Option<crate::core::document::LiveDocument>| {
        document.map(|document| (document.seq.get(), document.rev.get(), document.operation_id.as_str().to_owned()))
    };
    assert_eq!(of_document(world.document("doc-1").await), Some((3, 2, "op-2".to_owned())));
    assert_eq!(of_document(world.document("doc-2").await), Some((4, 2, "op-5".to_owned())));
}

/// Every field of a document is loaded as it was decided, also that of a tombstone.
pub async fn a_document_is_loaded_as_it_was_decided(world: &World) {
    let many: Vec<(String, u64)> = (0..CLOCK_MAX_ENTRIES as u64).map(|number| (format!("c{number}"), number)).collect();
    let many: Vec<(&str, u64)> = many.iter().map(|(client, counter)| (client.as_str(), *counter)).collect();
    let drafts = [
        insert("op-1", "plain").data(r#"{"a": 1.0, "b":[ ]}"#),
        insert("op-2", "empty-clock").clock(&[]),
        insert("op-3", "zeros").clock(&[("a", 0), ("b", 0)]),
        insert("op-4", "greatest").clock(&[("a", INTEGER_MAX)]).at(INTEGER_MAX),
        insert("op-5", "many").clock(&many),
        insert("op-6", "by-another").client("somebody"),
        delete("op-7", "tombstone").clock(&[("b", 7)]).at(99),
    ];
    let batch = world.decide(drafts).await;
    let expected = batch.documents.clone();
    assert_eq!(world.commit(batch).await, Commit::Done);
    let keys = expected.iter().map(|write| write.key.clone()).collect();
    let request = LoadRequest { ids: vec![], keys, ..LoadRequest::default() };
    let mut snapshot = world.store.load(&world.tenant, request).await.expect("the store loads");
    for write in expected {
        assert_eq!(snapshot.documents.remove(&write.key), Some(write.document), "{:?}", write.key);
    }
    assert!(snapshot.documents.is_empty());
}

/// A snapshot has the requested ids that are known and the requested documents that exist, and nothing else.
pub async fn a_load_answers_what_was_asked_and_exists(world: &World) {
    world.apply(inserts(3)).await;
    world.apply([delete("op-4", "doc-3")]).await;
    let request = LoadRequest {
        ids: ["op-0", "op-2", "op-4", "op-5"].map(OperationId::literal).to_vec(),
        keys: ["doc-0", "doc-1", "doc-3"].map(key).to_vec(),
        ..LoadRequest::default()
    };
    let snapshot = world.store.load(&world.tenant, request).await.expect("the store loads");
    let mut known: Vec<&str> = snapshot.known.iter().map(OperationId::as_str).collect();
    known.sort_unstable();
    assert_eq!(known, ["op-2", "op-4"]);
    assert_eq!(snapshot.documents.len(), 2);
    assert!(!snapshot.documents[&key("doc-1")].is_deleted());
    assert!(snapshot.documents[&key("doc-3")].is_deleted());

    let nothing = world.store.load(&world.tenant, LoadRequest::default()).await.expect("the store loads nothing");
    assert!(nothing.known.is_empty() && nothing.documents.is_empty());
}

/// A load whose documents have more bytes than were asked for says so, and one that has just as many is whole (law 10).
pub async fn a_load_is_bounded_in_bytes(world: &World) {
    let clock = &[("a", 1)][..];
    let data = format!(r#"{{"text":"{}"}}"#, "x".repeat(50_000));
    world
        .apply((0..10).map(|number| insert(&format!("op-{number}"), &format!("doc-{number}")).data(&data).clock(clock)))
        .await;
    world.apply([delete("op-10", "doc-9").clock(&[("a", 2)])]).await;
    let clock_bytes = r#"{"a":1}"#.len();
    let bytes = 9 * data.len() + 10 * clock_bytes;
    let keys: Vec<DocumentKey> = (0..11).map(|number| key(&format!("doc-{number}"))).collect();
    for (max_bytes, is_cut) in [(bytes, false), (bytes - 1, true), (data.len(), true), (0, true)] {
        let request = LoadRequest { keys: keys.clone(), max_bytes, ..LoadRequest::default() };
        let snapshot = world.store.load(&world.tenant, request).await.expect("the store loads");
        assert_eq!(snapshot.is_cut, is_cut, "{max_bytes}");
        let loaded_bytes: usize = snapshot.documents.values().map(Document::bytes).sum();
        assert!(loaded_bytes <= max_bytes + data.len() + clock_bytes, "{loaded_bytes} of {max_bytes}");
        assert!(is_cut || snapshot.documents.len() == 10);
    }
    let request = LoadRequest { ids: vec![OperationId::literal("op-3")], max_bytes: 0, ..LoadRequest::default() };
    let snapshot = world.store.load(&world.tenant, request).await.expect("the store loads");
    assert_eq!((snapshot.known.len(), snapshot.is_cut), (1, false), "ids are not documents");
}

/// The largest group of pushes is one batch, so no store may have a smaller limit for what it loads and writes at once.
pub async fn the_largest_group_is_written_at_once(world: &World) {
    let count = GROUP_MAX_OPERATIONS as u64;
    let drafts = inserts(count);
    world.apply(drafts.clone()).await;
    let stats = world.stats().await;
    assert_eq!((stats.operations, stats.documents), (count, count));
    let head = world.head().await.position();
    let fingerprint = drafts
        .into_iter()
        .map(Draft::done)
        .fold(Fingerprint::START, |fingerprint, operation| fingerprint.extended(&operation.id));
    assert_eq!(head, Position { seq: Seq::new(count), fingerprint });
    let again = world.push(inserts(count)).await;
    assert!(again.iter().all(|outcome| *outcome == crate::core::decide::Outcome::Duplicate));
}

/// The number of documents follows the decisions, upwards and downwards.
pub async fn the_number_of_live_documents_follows_every_batch(world: &World) {
    for (drafts, documents) in [
        (vec![insert("1", "x"), insert("2", "y")], 2),
        (vec![insert("3", "x"), delete("4", "y"), delete("5", "never")], 1),
        (vec![delete("6", "y"), update("7", "y"), delete("8", "x")], 1),
        (vec![delete("9", "y")], 0),
        (vec![insert("10", "never"), delete("11", "never"), insert("12", "never")], 1),
    ] {
        world.apply(drafts).await;
        assert_eq!(world.stats().await.documents, documents);
        assert_eq!(world.query(&[]).await.len() as u64, documents);
    }
}

/// A commit whose future was dropped has had its whole effect or none, and does not block others.
pub async fn a_commit_whose_future_is_dropped_has_its_whole_effect_or_none(world: &World) {
    for round in 0..8 {
        let drafts = || (0..3).map(move |number| insert(&format!("op-{round}-{number}"), &format!("{round}-{number}")));
        let batch = world.decide(drafts()).await;
        let _ = world.store.commit(&world.tenant, batch).now_or_never();
        let outcomes = world.push(drafts()).await;
        assert!(outcomes.windows(2).all(|two| two[0] == two[1]), "half a batch was written: {outcomes:?}");
        let log = world.log().await;
        assert_eq!(log.len(), (round + 1) * 3);
        assert!(Seq::START.following().zip(&log).all(|(seq, entry)| entry.seq == seq));
    }
}

/// If a batch changes one document several times, it is written once, in the state after the last operation.
pub async fn a_batch_may_change_one_document_many_times(world: &World) {
    world.apply([insert("op-0", "doc")]).await;
    let updates = (1..=50).map(|number| update(&format!("op-{number}"), "doc").data(&format!(r#"{{"n":{number}}}"#)));
    let batch: Batch = world.decide(updates).await;
    assert_eq!(batch.documents.len(), 1);
    assert_eq!(world.commit(batch).await, Commit::Done);
    let document = world.document("doc").await.expect("the document exists");
    assert_eq!((document.rev, document.seq, document.data.as_str()), (Rev::new(51), Seq::new(51), r#"{"n":50}"#));
    let states = world.changes(None, 10).await;
    assert_eq!(ids(&states.entries), ["op-50"]);
}

/// The fingerprints of the log are loaded for the requested places, whether or not the entries are still there.
pub async fn fingerprints_are_loaded_for_places_compacted_or_not(world: &World) {
    let drafts = inserts(5);
    world.apply(drafts[..3].to_vec()).await;
    assert_eq!(world.compact(0).await, 3);
    world.host.advance_ms(1);
    world.apply(drafts[3..].to_vec()).await;
    let chained = drafts.into_iter().map(Draft::done).scan(Fingerprint::START, |fingerprint, operation| {
        *fingerprint = fingerprint.extended(&operation.id);
        Some(*fingerprint)
    });
    let expected: HashMap<Seq, Fingerprint> = Seq::START.following().zip(chained).collect();
    for (with_usage, with_labels) in [(false, false), (true, false), (false, true), (true, true)] {
        let places = [2, 3, 4, 5, 6, 99].map(Seq::new).to_vec();
        let request =
            LoadRequest { places, keys: vec![key("doc-1")], with_usage, with_labels, ..LoadRequest::default() };
        let snapshot = world.store.load(&world.tenant, request).await.expect("the store loads");
        let found: Vec<Seq> = [1, 2, 3, 4, 5, 6].map(Seq::new).to_vec();
        for seq in found {
            let there = (seq > Seq::new(1)).then(|| expected.get(&seq)).flatten();
            assert_eq!(snapshot.fingerprints.get(&seq), there, "{seq}");
        }
        assert_eq!((snapshot.fingerprints.len(), snapshot.documents.len()), (4, 1));
        assert_eq!(snapshot.usage.is_some(), with_usage);
    }
}
