use super::*;
use crate::core::json::Object;
use crate::core::names::{ClientId, Collection, DocumentId};
use crate::core::operation::OperationKind;

fn key(id: &str) -> DocumentKey {
    DocumentKey { collection: Collection::literal("todos"), id: DocumentId::literal(id) }
}

fn clock(entries: &[(&str, u64)]) -> VectorClock {
    entries.iter().map(|(client, counter)| (ClientId::literal(client), *counter)).collect()
}

fn operation(id: &str, kind: OperationKind, document: &str, data: &str, entries: &[(&str, u64)]) -> Operation {
    let data = (kind != OperationKind::Delete).then(|| Object::literal(data));
    Operation {
        id: OperationId::literal(id),
        change: Change::new(kind, data).expect("the data that the kind has"),
        key: key(document),
        timestamp: 1,
        client_id: ClientId::literal(entries.first().map_or("a", |(client, _)| client)),
        clock: clock(entries),
    }
}

fn insert(id: &str, document: &str, entries: &[(&str, u64)]) -> Operation {
    operation(id, OperationKind::Insert, document, r#"{"n":1}"#, entries)
}

/// The snapshot that a store would return after it had committed a batch.
fn after(mut snapshot: Snapshot, batch: &Batch) -> Snapshot {
    snapshot.known.extend(batch.entries.iter().map(|entry| entry.id.clone()));
    snapshot.documents.extend(batch.documents.iter().map(|write| (write.key.clone(), write.document.clone())));
    snapshot
}

fn decided(snapshot: &Snapshot, operations: &[Operation]) -> (Answer, Batch) {
    let (mut answers, batch) = decide(&[operations.into()], snapshot.clone(), 7);
    (answers.remove(0), batch)
}

#[test]
fn an_operation_on_an_unknown_document_is_applied_whatever_its_clock() {
    for kind in [OperationKind::Insert, OperationKind::Update, OperationKind::Delete] {
        let (answer, batch) = decided(&Snapshot::default(), &[operation("1", kind, "d", r#"{"n":1}"#, &[])]);
        assert_eq!(answer, Ok(vec![Outcome::Applied]));
        assert_eq!(batch.documents.len(), 1);
        assert_eq!(batch.documents[0].seen_rev, None);
        assert_eq!(batch.documents[0].document.rev, 1);
        assert_eq!(batch.documents[0].document.is_deleted(), kind == OperationKind::Delete);
        assert_eq!(batch.live_documents_delta, i64::from(kind != OperationKind::Delete));
        assert_eq!(batch.received_at_ms, 7);
    }
}

#[test]
fn a_known_id_changes_nothing_even_within_one_batch_and_with_another_content() {
    let (answer, batch) =
        decided(&Snapshot::default(), &[insert("1", "d", &[("a", 1)]), insert("1", "e", &[("a", 2)])]);
    assert_eq!(answer, Ok(vec![Outcome::Applied, Outcome::Duplicate]));
    assert_eq!(batch.entries.len(), 1);
    let (answer, batch) = decided(&after(Snapshot::default(), &batch), &[insert("1", "d", &[("a", 9)])]);
    assert_eq!(answer, Ok(vec![Outcome::Duplicate]));
    assert!(batch.is_empty());
}

#[test]
fn later_operations_of_a_batch_see_earlier_ones() {
    let operations = [
        insert("1", "d", &[("a", 1)]),
        operation("2", OperationKind::Update, "d", r#"{"m":2}"#, &[("a", 2)]),
        insert("3", "d", &[("b", 1)]),
    ];
    let (answer, batch) = decided(&Snapshot::default(), &operations);
    let answer = answer.unwrap();
    assert_eq!(answer[..2], [Outcome::Applied, Outcome::Applied]);
    let Outcome::Conflict(conflict) = &answer[2] else { panic!("{answer:?}") };
    assert_eq!(conflict.relation, ConflictRelation::Concurrent);
    assert_eq!(conflict.document.rev, 2);
    assert_eq!(batch.documents.len(), 1, "a document is written once, as the batch leaves it");
    assert_eq!(batch.documents[0].document.data, Some(Object::literal(r#"{"n":1,"m":2}"#)));
    assert_eq!(batch.documents[0].entry_index, 1);
}

#[test]
fn a_clock_that_is_equal_or_later_is_applied_and_an_earlier_or_concurrent_one_conflicts() {
    let (_, batch) = decided(&Snapshot::default(), &[insert("1", "d", &[("a", 2)])]);
    let snapshot = after(Snapshot::default(), &batch);
    let outcome = |entries: &[(&str, u64)]| decided(&snapshot, &[insert("2", "d", entries)]).0.unwrap().remove(0);
    assert_eq!(outcome(&[("a", 2)]), Outcome::Applied);
    assert_eq!(outcome(&[("a", 2), ("b", 1)]), Outcome::Applied);
    for (entries, relation) in
        [(&[("a", 1)][..], ConflictRelation::HappensBefore), (&[("b", 1)], ConflictRelation::Concurrent)]
    {
        let Outcome::Conflict(conflict) = outcome(entries) else { panic!("{entries:?}") };
        assert_eq!(conflict.relation, relation);
    }
}

#[test]
fn a_tombstone_drops_the_data_keeps_the_clock_and_is_revived_by_an_update_alone_that_the_log_calls_an_insert() {
    let operations = [insert("1", "d", &[("a", 1)]), operation("2", OperationKind::Delete, "d", "", &[("a", 2)])];
    let (_, batch) = decided(&Snapshot::default(), &operations);
    assert_eq!(batch.documents[0].document.data, None);
    assert_eq!(batch.documents[0].document.rev, 2);
    assert_eq!(batch.live_documents_delta, 0);
    let snapshot = after(Snapshot::default(), &batch);
    let update = operation("3", OperationKind::Update, "d", r#"{"m":2}"#, &[("a", 3)]);
    let (_, batch) = decided(&snapshot, &[update]);
    assert_eq!(batch.entries[0].kind(), OperationKind::Insert);
    assert_eq!(batch.documents[0].document.data, Some(Object::literal(r#"{"m":2}"#)));
    assert_eq!(batch.documents[0].seen_rev, Some(2));
    assert_eq!(batch.live_documents_delta, 1);
}

#[test]
fn a_push_that_is_refused_leaves_no_trace_and_its_neighbours_are_decided_without_it() {
    let half = format!(r#"{{"a":"{}"}}"#, "x".repeat(DOCUMENT_MAX_BYTES / 2));
    let other_half = format!(r#"{{"b":"{}"}}"#, "x".repeat(DOCUMENT_MAX_BYTES / 2));
    let first = [insert("1", "d", &[("a", 1)])];
    let refused = [
        insert("2", "e", &[("a", 1)]),
        operation("3", OperationKind::Insert, "d", &half, &[("a", 2)]),
        operation("4", OperationKind::Update, "d", &other_half, &[("a", 3)]),
    ];
    let last = [operation("3", OperationKind::Update, "d", r#"{"m":2}"#, &[("a", 2)])];
    let (answers, batch) = decide(&[&first[..], &refused, &last].map(Push::from), Snapshot::default(), 0);
    assert_eq!(answers[1], Err(Refused::DocumentTooLarge { index: 2 }));
    let (without, batch_without) = decide(&[&first[..], &last].map(Push::from), Snapshot::default(), 0);
    assert_eq!([&answers[0], &answers[2]], [&without[0], &without[1]]);
    assert_eq!(batch, batch_without);
}

#[test]
fn a_push_whose_conflicts_would_answer_too_much_is_refused_as_a_whole_and_a_single_one_is_not() {
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(DOCUMENT_MAX_BYTES - 10));
    let stored = operation("1", OperationKind::Insert, "d", &large, &[("a", 2)]);
    let (_, batch) = decided(&Snapshot::default(), &[stored]);
    let snapshot = after(Snapshot::default(), &batch);
    let conflicts_that_fit = PUSH_CONFLICTS_MAX_BYTES / DOCUMENT_MAX_BYTES;
    let conflicting =
        |count: usize| (0..count).map(|index| insert(&format!("c{index}"), "d", &[("b", 1)])).collect::<Vec<_>>();
    assert!(decided(&snapshot, &conflicting(1)).0.is_ok());
    assert!(decided(&snapshot, &conflicting(conflicts_that_fit - 1)).0.is_ok());
    let mut push = vec![insert("2", "e", &[("b", 1)])];
    push.extend(conflicting(conflicts_that_fit + 1));
    let (answer, batch) = decided(&snapshot, &push);
    assert_eq!(answer, Err(Refused::ConflictsTooLarge { max_bytes: PUSH_CONFLICTS_MAX_BYTES }));
    assert!(batch.is_empty());
}

#[test]
fn a_push_may_answer_as_many_bytes_of_conflicts_as_it_says() {
    let (_, batch) = decided(&Snapshot::default(), &[insert("1", "d", &[("a", 2)])]);
    let snapshot = after(Snapshot::default(), &batch);
    let needed = Conflict { relation: ConflictRelation::Concurrent, document: snapshot.documents[&key("d")].clone() }
        .wire_bytes();
    let operations = [insert("2", "e", &[("b", 1)]), insert("3", "d", &[("b", 1)])];
    let decided_within = |conflicts_max_bytes| {
        let push = Push { operations: &operations, conflicts_max_bytes };
        let (mut answers, batch) = decide(&[push], snapshot.clone(), 7);
        (answers.remove(0), batch.entries.len())
    };
    assert!(matches!(decided_within(needed), (Ok(_), 1)));
    let refused = Refused::ConflictsTooLarge { max_bytes: needed - 1 };
    assert_eq!(decided_within(needed - 1), (Err(refused), 0), "what would be accepted beside it is not applied either");
}
