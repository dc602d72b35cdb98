//! Push, case by case of the protocol.

use super::super::draft::{Draft, clock, delete, insert, key, update};
use super::super::world::{World, ids, operations};
use crate::core::access::{Principal, Role};
use crate::core::decide::{Conflict, ConflictRelation, Outcome, Refused};
use crate::core::json::Object;
use crate::core::names::{ClientId, Subject};
use crate::core::numbers::{Rev, UnixMs};
use crate::core::operation::{LogEntry, OperationKind};
use crate::limits::protocol::{DOCUMENT_MAX_BYTES, INTEGER_MAX, PUSH_LOADED_MAX_BYTES, PUSH_WRITTEN_MAX_BYTES};
use crate::service::{PushRequest, Pushed};

/// Everything that a push could change, for a comparison.
async fn everything(world: &World) -> impl PartialEq + std::fmt::Debug + use<> {
    (world.log().await, world.query(&[]).await, world.stats().await, world.head().await)
}

fn conflict(outcome: &Outcome) -> &Conflict {
    match outcome {
        Outcome::Conflict(conflict) => conflict,
        other => panic!("no conflict but {other:?}"),
    }
}

/// One outcome for each operation, in their order (law 7).
pub async fn every_operation_of_a_push_has_an_outcome_in_its_place(world: &World) {
    world.apply([insert("op-1", "doc").clock(&[("b", 1)])]).await;
    let outcomes = world.push([insert("op-2", "other"), insert("op-3", "doc"), insert("op-1", "doc")]).await;
    assert_eq!(outcomes[0], Outcome::Applied);
    assert_eq!(conflict(&outcomes[1]).relation, ConflictRelation::Concurrent);
    assert_eq!(outcomes[2..], [Outcome::Duplicate]);
}

/// An empty push is answered and has no effect.
pub async fn an_empty_push_changes_nothing(world: &World) {
    let before = everything(world).await;
    assert_eq!(world.push([]).await, []);
    assert_eq!(everything(world).await, before);
}

/// Law 2, with the same content and with different content.
pub async fn a_known_id_is_accepted_again_and_changes_nothing(world: &World) {
    let first = || insert("op-1", "doc").data(r#"{"n":1}"#);
    world.apply([first()]).await;
    let before = everything(world).await;
    let others = [
        first(),
        first().data(r#"{"n":2}"#),
        first().clock(&[("a", 9)]),
        first().clock(&[("b", 1)]),
        first().at(9),
        delete("op-1", "doc"),
        insert("op-1", "doc-2"),
    ];
    for again in others {
        assert_eq!(world.push([again]).await, [Outcome::Duplicate]);
        assert_eq!(everything(world).await, before);
    }
}

/// Law 2, across a compaction.
pub async fn an_id_stays_known_when_its_log_entry_is_compacted_away(world: &World) {
    world.apply([insert("op-1", "doc").data(r#"{"n":1}"#), update("op-2", "doc").clock(&[("a", 2)])]).await;
    assert_eq!(world.compact(0).await, 2);
    let outcomes = world.push([insert("op-1", "doc").clock(&[("a", 9)]), insert("op-2", "doc-2")]).await;
    assert_eq!(outcomes, [Outcome::Duplicate, Outcome::Duplicate]);
    assert_eq!(world.document("doc").await.map(|document| document.rev), Some(Rev::new(2)));
    assert_eq!(world.document("doc-2").await, None);
}

/// Law 2, within one push.
pub async fn an_id_that_stands_twice_in_a_push_takes_effect_once(world: &World) {
    let outcomes = world.push([insert("op-1", "doc-1"), insert("op-1", "doc-2"), insert("op-1", "doc-1")]).await;
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Duplicate, Outcome::Duplicate]);
    assert_eq!(ids(&world.log().await), ["op-1"]);
    assert_eq!(world.document("doc-2").await, None);
}

/// The answer to a conflict has the server's document, and nothing changes.
pub async fn an_earlier_or_concurrent_clock_conflicts_with_the_document_as_it_is(world: &World) {
    let server = insert("op-1", "doc").data(r#"{"n":1}"#).clock(&[("a", 2), ("b", 1)]).at(77);
    world.apply([server]).await;
    let before = everything(world).await;
    for (entries, relation) in [
        (&[("a", 1), ("b", 1)][..], ConflictRelation::HappensBefore),
        (&[("a", 2)], ConflictRelation::HappensBefore),
        (&[], ConflictRelation::HappensBefore),
        (&[("c", 1)], ConflictRelation::Concurrent),
        (&[("a", 3)], ConflictRelation::Concurrent),
        (&[("b", INTEGER_MAX)], ConflictRelation::Concurrent),
    ] {
        for draft in [insert("op-2", "doc"), update("op-2", "doc"), delete("op-2", "doc")] {
            let outcomes = world.push([draft.clock(entries)]).await;
            let Conflict { relation: found, document } = conflict(&outcomes[0]);
            assert_eq!(*found, relation, "{entries:?}");
            assert_eq!(document.data.as_ref().map(Object::as_str), Some(r#"{"n":1}"#));
            assert_eq!((document.rev, document.timestamp), (Rev::new(1), UnixMs::new(77)));
            assert_eq!((document.operation_id.as_str(), document.client_id.as_str()), ("op-1", "a"));
            assert_eq!(document.clock, clock(&[("a", 2), ("b", 1)]));
        }
    }
    assert_eq!(everything(world).await, before);
    assert_eq!(world.push([insert("op-2", "other")]).await, [Outcome::Applied], "a conflict's id is not known");
}

/// Equal and later clocks are accepted. A client that is not in a clock has the counter 0.
pub async fn an_equal_or_later_clock_is_applied_and_counts_a_revision(world: &World) {
    let clocks: [&[(&str, u64)]; 6] = [
        &[("a", 1)],
        &[("a", 1)],
        &[("a", 1), ("b", 0)],
        &[("a", 1), ("b", 1)],
        &[("b", 1), ("a", 1)],
        &[("a", INTEGER_MAX), ("b", INTEGER_MAX)],
    ];
    for (rev, entries) in (1..).zip(clocks) {
        let data = format!(r#"{{"n":{rev}}}"#);
        world.apply([insert(&format!("op-{rev}"), "doc").clock(entries).data(&data)]).await;
        let document = world.document("doc").await.expect("the document exists");
        assert_eq!((document.rev, document.data.as_str()), (Rev::new(rev), &*data));
    }
    let outcomes = world.push([insert("op-9", "doc").clock(&[("a", 1), ("b", 1)])]).await;
    assert_eq!(conflict(&outcomes[0]).document.clock, clock(&[("a", INTEGER_MAX), ("b", INTEGER_MAX)]));
}

/// On a document that was never written, all kinds of operations are applied, with any clock.
pub async fn an_unknown_document_takes_every_operation(world: &World) {
    for (number, entries) in (1..).zip([&[][..], &[("a", 0)], &[("a", 5)], &[("b", 1), ("a", 3)]]) {
        let name = |kind: &str| format!("{kind}-{number}");
        let data = r#"{"n":1}"#;
        world
            .apply([
                insert(&name("op-i"), &name("inserted")).data(data).clock(entries),
                update(&name("op-u"), &name("updated")).data(data).clock(entries),
                delete(&name("op-d"), &name("deleted")).clock(entries),
            ])
            .await;
        assert_eq!(world.data(&name("inserted")).await.as_deref(), Some(data));
        assert_eq!(world.data(&name("updated")).await.as_deref(), Some(data));
        assert_eq!(world.data(&name("deleted")).await, None);
    }
}

/// An update replaces the keys of the document that it names, one level deep. `null` is a value.
pub async fn an_update_merges_one_level_deep(world: &World) {
    let base = r#"{"a":{"x":1},"b":12345678901234567890,"c":[1]}"#;
    let patch = r#"{"d": 1.0,"a":{"y":2},"c":null}"#;
    world.apply([insert("op-1", "doc").data(base), update("op-2", "doc").data(patch)]).await;
    let merged = r#"{"a":{"y":2},"b":12345678901234567890,"c":null,"d":1.0}"#;
    assert_eq!(world.data("doc").await.as_deref(), Some(merged));
    world.apply([update("op-3", "doc").data("{}")]).await;
    assert_eq!(world.data("doc").await.as_deref(), Some(merged));
    assert_eq!(world.document("doc").await.map(|document| document.rev), Some(Rev::new(3)));
    assert_eq!(world.log().await[1].data().map(Object::as_str), Some(patch), "the log has the patch");
}

/// An insert over a document replaces all of it.
pub async fn an_insert_over_a_document_replaces_its_data(world: &World) {
    world.apply([insert("op-1", "doc").data(r#"{"a":1}"#)]).await;
    world.apply([insert("op-2", "doc").data(r#"{"b":2}"#)]).await;
    assert_eq!(world.data("doc").await.as_deref(), Some(r#"{"b":2}"#));
    assert_eq!(world.document("doc").await.map(|document| document.rev), Some(Rev::new(2)));
}

/// A delete hides the document, increments its revision, and keeps its clock.
pub async fn a_delete_leaves_a_tombstone_that_conflicts_like_a_document(world: &World) {
    world.apply([insert("op-1", "doc").data(r#"{"a":1}"#), delete("op-2", "doc").clock(&[("a", 2)])]).await;
    assert_eq!((world.document("doc").await, world.query(&[]).await), (None, vec![]));
    let outcomes = world.push([update("op-3", "doc").clock(&[("b", 1)]), insert("op-4", "doc")]).await;
    let relations = [ConflictRelation::Concurrent, ConflictRelation::HappensBefore];
    for (outcome, relation) in outcomes.iter().zip(relations) {
        let Conflict { relation: found, document } = conflict(outcome);
        assert_eq!((*found, document.rev, document.data.as_ref()), (relation, Rev::new(2), None));
        assert_eq!(document.operation_id.as_str(), "op-2");
    }
    world.apply([delete("op-5", "doc").clock(&[("a", 2)])]).await;
    let outcomes = world.push([insert("op-6", "doc")]).await;
    assert_eq!(conflict(&outcomes[0]).document.rev, Rev::new(3));
}

/// A delete of a document that was never written is accepted and leaves a tombstone.
pub async fn a_delete_of_an_unknown_document_is_logged_and_leaves_a_tombstone(world: &World) {
    world.apply([delete("op-1", "doc").clock(&[("a", 3)])]).await;
    let log = world.log().await;
    assert_eq!((log[0].kind(), log[0].data()), (OperationKind::Delete, None));
    assert_eq!(conflict(&world.push([insert("op-2", "doc")]).await[0]).document.data, None);
    world.apply([insert("op-3", "doc").clock(&[("a", 4)]).data(r#"{"a":1}"#)]).await;
    assert_eq!(world.document("doc").await.map(|document| document.rev), Some(Rev::new(2)));
}

/// A tombstone has no data, so only the reviving update's data are left. The log has it as an insert, for clients that
/// kept theirs.
pub async fn an_update_revives_a_tombstone_alone_and_is_logged_as_an_insert(world: &World) {
    let drafts = [
        insert("op-1", "doc").data(r#"{"a":1}"#),
        delete("op-2", "doc"),
        update("op-3", "doc").data(r#"{"b":2}"#),
        update("op-4", "doc").data(r#"{"c":3}"#),
    ];
    let kinds = [OperationKind::Insert, OperationKind::Delete, OperationKind::Insert, OperationKind::Update];
    for draft in drafts.clone() {
        world.apply([draft]).await;
    }
    world.apply(drafts.map(|draft| draft.renamed("together", "doc-2"))).await;
    for document in ["doc", "doc-2"] {
        assert_eq!(world.data(document).await.as_deref(), Some(r#"{"b":2,"c":3}"#));
        assert_eq!(world.document(document).await.map(|document| document.rev), Some(Rev::new(4)));
        let log = world.log().await;
        let found = log.iter().filter(|entry| entry.key == key(document)).map(LogEntry::kind);
        assert_eq!(found.collect::<Vec<_>>(), kinds, "{document}");
    }
}

/// The operations of a push see the earlier ones, but not the refused ones.
pub async fn later_operations_of_a_push_see_earlier_ones(world: &World) {
    let outcomes = world
        .push([
            insert("op-1", "doc").data(r#"{"n":1}"#),
            update("op-2", "doc").data(r#"{"m":2}"#).clock(&[("b", 1)]),
            update("op-3", "doc").data(r#"{"m":3}"#).clock(&[("a", 2)]),
            delete("op-4", "doc"),
        ])
        .await;
    assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Applied; 2]);
    assert_eq!(conflict(&outcomes[1]).document.rev, Rev::new(1));
    assert_eq!(conflict(&outcomes[3]).document.rev, Rev::new(2));
    assert_eq!(world.data("doc").await.as_deref(), Some(r#"{"n":1,"m":3}"#));
    assert_eq!(ids(&world.log().await), ["op-1", "op-3"]);
}

/// A document of `bytes` bytes with one key.
fn document_of(name: &str, bytes: usize) -> String {
    let frame = format!(r#"{{"{name}":""}}"#).len();
    format!(r#"{{"{name}":"{}"}}"#, "x".repeat(bytes - frame))
}

/// The largest document is stored. One byte more, and the whole push is refused.
pub async fn a_push_that_makes_a_document_too_large_is_refused_as_a_whole(world: &World) {
    let largest = document_of("a", DOCUMENT_MAX_BYTES);
    world.apply([insert("op-1", "doc").data(&largest)]).await;
    assert_eq!(world.data("doc").await, Some(largest));
    let before = everything(world).await;
    let push = operations([insert("op-2", "doc-2"), delete("op-3", "doc-3"), update("op-4", "doc").data(r#"{"b":1}"#)]);
    let refused = world.service.push(&world.tenant, push).await.expect("a refusal is an answer");
    assert_eq!(refused, Pushed::Refused(Refused::DocumentTooLarge { index: 2 }));
    assert_eq!(everything(world).await, before);
    world.apply([insert("op-2", "doc-2"), update("op-4", "doc-4")]).await;
}

/// Documents of 0.9 MB that are too much for one push to load, and how many they are.
async fn many_large_documents(world: &World) -> usize {
    let bytes = 900_000;
    let data = document_of("a", bytes);
    let count = PUSH_LOADED_MAX_BYTES / bytes + 1;
    for number in 0..count {
        world.apply([insert(&format!("large-{number}"), &format!("doc-{number}")).data(&data)]).await;
    }
    count
}

/// Small updates of documents that are too large together change nothing, whatever else the push has (law 10).
pub async fn a_push_whose_documents_are_too_much_to_load_is_refused_as_a_whole_and_half_of_it_is_not(world: &World) {
    let count = many_large_documents(world).await;
    let updates: Vec<Draft> = (0..count)
        .map(|number| update(&format!("op-{number}"), &format!("doc-{number}")).data(r#"{"b":1}"#).clock(&[("a", 99)]))
        .collect();
    let before = world.log().await.len();
    let refused = world.service.push(&world.tenant, operations(updates.clone())).await.expect("a refusal is an answer");
    assert_eq!(refused, Pushed::Refused(Refused::DocumentsTooLarge { max_bytes: PUSH_LOADED_MAX_BYTES }));
    assert_eq!(world.log().await.len(), before);
    for half in updates.chunks(count.div_ceil(5)) {
        world.apply(half.to_vec()).await;
    }
    // A client that sends again what took effect is answered, however large the documents have become.
    let again = world.service.push(&world.tenant, operations(updates)).await.expect("the push is answered");
    assert_eq!(again, Pushed::Decided(vec![Outcome::Duplicate; count]));
}

/// Documents in conflict are loaded too, so they are bounded too (law 10).
pub async fn a_push_that_conflicts_with_too_much_to_load_is_refused_too(world: &World) {
    let count = many_large_documents(world).await;
    let conflicting =
        (0..count).map(|number| update(&format!("op-{number}"), &format!("doc-{number}")).clock(&[("b", 1)]));
    let refused = world.service.push(&world.tenant, operations(conflicting)).await.expect("a refusal is an answer");
    assert_eq!(refused, Pushed::Refused(Refused::DocumentsTooLarge { max_bytes: PUSH_LOADED_MAX_BYTES }));
}

/// The documents that a push writes are bounded, whether their data came from the store or the push (law 10).
pub async fn a_push_that_makes_too_much_to_write_is_refused_as_a_whole(world: &World) {
    let bytes = 900_000;
    let (half, other_half) = (document_of("a", bytes / 2), document_of("b", bytes / 2));
    let count = PUSH_WRITTEN_MAX_BYTES / bytes + 1;
    world.apply((0..count).map(|number| insert(&format!("half-{number}"), &format!("doc-{number}")).data(&half))).await;
    let updates: Vec<Draft> = (0..count)
        .map(|number| update(&format!("op-{number}"), &format!("doc-{number}")).data(&other_half).clock(&[("a", 99)]))
        .collect();
    let before = world.log().await.len();
    let refused = world.service.push(&world.tenant, operations(updates.clone())).await.expect("a refusal is an answer");
    assert_eq!(refused, Pushed::Refused(Refused::DocumentsTooLarge { max_bytes: PUSH_WRITTEN_MAX_BYTES }));
    assert_eq!(world.log().await.len(), before);
    for half in updates.chunks(count.div_ceil(5)) {
        world.apply(half.to_vec()).await;
    }
}

/// Two devices that use one client id give the same counters. In strict pushes the second one is in conflict, also
/// within one push. The original rule takes it for a successor.
pub async fn two_devices_with_one_client_id_are_noticed_by_strict_pushes(world: &World) {
    let strictly = async |drafts: Vec<Draft>| {
        let principal = Principal::new(world.tenant.clone(), Subject::literal("ann"), Role::Writer);
        let pushed = world.service.push_as(&principal, PushRequest::new(operations(drafts)).strict()).await;
        pushed.expect("the push is answered").outcomes().expect("the push is not refused")
    };
    let edit = |id: &str, counter: u64| update(id, "doc").clock(&[("a", counter), ("b", 1)]);
    assert_eq!(strictly(vec![insert("op-1", "doc").clock(&[("b", 1)]).client("b")]).await, [Outcome::Applied]);
    assert_eq!(strictly(vec![edit("phone", 1)]).await, [Outcome::Applied]);
    let outcomes = strictly(vec![edit("laptop", 1), edit("phone", 1), edit("phone-2", 2), edit("laptop-2", 2)]).await;
    assert_eq!(conflict(&outcomes[0]).relation, ConflictRelation::Concurrent);
    assert_eq!(conflict(&outcomes[0]).document.operation_id.as_str(), "phone");
    assert_eq!(outcomes[1..3], [Outcome::Duplicate, Outcome::Applied]);
    assert_eq!(conflict(&outcomes[3]).document.operation_id.as_str(), "phone-2");
    assert_eq!(world.push([edit("laptop-3", 2)]).await, [Outcome::Applied], "the original rule");
}

/// A client from nothing gets no tombstones from before it began. If it makes a document with the id of one, that is a
/// conflict. The answer has the clock of the tombstone, which is all that the client needs to make the document.
pub async fn the_answer_to_a_conflict_with_an_unknown_tombstone_is_enough_to_resolve_it(world: &World) {
    world.apply([insert("op-1", "settings"), delete("op-2", "settings").clock(&[("a", 2)])]).await;
    assert_eq!(world.page(None, 9).await.entries, [], "the client never hears of it");
    let outcomes = world.push([insert("op-3", "settings").clock(&[("new", 1)]).data(r#"{"n":1}"#)]).await;
    let conflict = conflict(&outcomes[0]);
    assert!(conflict.document.is_deleted());
    let mut clock = conflict.document.clock.clone();
    clock.set(ClientId::literal("new"), 2);
    let entries: Vec<(&str, u64)> = clock.iter().map(|(client, counter)| (client.as_str(), counter)).collect();
    world.apply([insert("op-4", "settings").clock(&entries).client("new").data(r#"{"n":1}"#)]).await;
    assert_eq!(world.document("settings").await.map(|document| document.rev), Some(Rev::new(3)));
}
