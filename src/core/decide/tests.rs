mod based;
mod orders;
mod resolving;
mod rights;
mod stamps;

use super::*;
use crate::core::clock::VectorClock;
use crate::core::document::content::OPENED;
use crate::core::json::Object;
use crate::core::names::{ClientId, Collection, DocumentId};
use crate::core::numbers::Rev;
use crate::core::operation::{Change, OperationKind};
use crate::limits::protocol::{DOCUMENT_MAX_BYTES, PUSH_CONFLICTS_MAX_BYTES, PUSH_OPEN_MAX_KEYS};

const NOW: UnixMs = UnixMs::new(7);

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
        timestamp: UnixMs::new(1),
        client_id: ClientId::literal(entries.first().map_or("a", |(client, _)| client)),
        clock: clock(entries),
    }
}

fn insert(id: &str, document: &str, entries: &[(&str, u64)]) -> Operation {
    operation(id, OperationKind::Insert, document, r#"{"n":1}"#, entries)
}

/// The snapshot that a store would return after it had committed a batch.
fn after(mut snapshot: Snapshot, batch: &Batch) -> Snapshot {
    snapshot.known.extend(batch.operations.iter().map(|operation| operation.id.clone()));
    snapshot.known.extend(batch.resolutions.iter().map(|resolution| resolution.pushed_id.clone()));
    for write in &batch.documents {
        let kept = batch.kept().find(|(index, _)| *index == write.operation_index && write.document.is_deleted());
        let kept = kept.map(|(_, kept)| kept.as_str().to_owned());
        let before = snapshot.stamps.remove(&write.key).and_then(|stored| stored.stamps);
        let stamps = write.stamps.clone().or(before).filter(|text| !text.is_empty());
        snapshot.stamps_bytes.insert(write.key.clone(), stamps.as_ref().map_or(0, String::len));
        snapshot.stamps.insert(write.key.clone(), StoredStamps { stamps, kept });
    }
    snapshot.documents.extend(batch.documents.iter().map(|write| (write.key.clone(), write.document.clone())));
    snapshot
}

fn decided(snapshot: &Snapshot, operations: &[Operation]) -> (Decision, Batch) {
    let (mut decisions, batch) = decide(&[operations.into()], snapshot, NOW);
    (decisions.remove(0), batch)
}

#[test]
fn an_operation_on_an_unknown_document_is_applied_whatever_its_clock() {
    for kind in [OperationKind::Insert, OperationKind::Update, OperationKind::Delete] {
        let (decision, batch) = decided(&Snapshot::default(), &[operation("1", kind, "d", r#"{"n":1}"#, &[])]);
        assert_eq!(decision, Ok(vec![Outcome::Applied]));
        assert_eq!(batch.documents.len(), 1);
        assert_eq!(batch.documents[0].seen_rev, None);
        assert_eq!(batch.documents[0].document.rev, Rev::new(1));
        assert_eq!(batch.documents[0].document.is_deleted(), kind == OperationKind::Delete);
        assert_eq!(batch.live_documents_delta, i64::from(kind != OperationKind::Delete));
        assert_eq!(batch.received_at_ms, NOW);
    }
}

#[test]
fn a_known_id_changes_nothing_even_within_one_batch_and_with_another_content() {
    let (decision, batch) =
        decided(&Snapshot::default(), &[insert("1", "d", &[("a", 1)]), insert("1", "e", &[("a", 2)])]);
    assert_eq!(decision, Ok(vec![Outcome::Applied, Outcome::Duplicate]));
    assert_eq!(batch.operations.len(), 1);
    let (decision, batch) = decided(&after(Snapshot::default(), &batch), &[insert("1", "d", &[("a", 9)])]);
    assert_eq!(decision, Ok(vec![Outcome::Duplicate]));
    assert!(batch.is_empty());
}

#[test]
fn later_operations_of_a_batch_see_earlier_ones() {
    let operations = [
        insert("1", "d", &[("a", 1)]),
        operation("2", OperationKind::Update, "d", r#"{"m":2}"#, &[("a", 2)]),
        insert("3", "d", &[("b", 1)]),
    ];
    let (decision, batch) = decided(&Snapshot::default(), &operations);
    let decision = decision.unwrap();
    assert_eq!(decision[..2], [Outcome::Applied, Outcome::Applied]);
    let Outcome::Conflict(conflict) = &decision[2] else { panic!("{decision:?}") };
    assert_eq!(conflict.relation, ConflictRelation::Concurrent);
    assert_eq!(conflict.document.rev, Rev::new(2));
    assert_eq!(batch.documents.len(), 1, "a document is written once, as the batch leaves it");
    assert_eq!(batch.documents[0].document.data, Some(Object::literal(r#"{"n":1,"m":2}"#)));
    assert_eq!(batch.documents[0].operation_index, 1);
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
    assert_eq!(batch.documents[0].document.rev, Rev::new(2));
    assert_eq!(batch.live_documents_delta, 0);
    let snapshot = after(Snapshot::default(), &batch);
    let update = operation("3", OperationKind::Update, "d", r#"{"m":2}"#, &[("a", 3)]);
    let (_, batch) = decided(&snapshot, &[update]);
    assert_eq!(batch.operations[0].kind(), OperationKind::Insert);
    assert_eq!(batch.documents[0].document.data, Some(Object::literal(r#"{"m":2}"#)));
    assert_eq!(batch.documents[0].seen_rev, Some(Rev::new(2)));
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
    let (decisions, batch) = decide(&[&first[..], &refused, &last].map(Push::from), &Snapshot::default(), NOW);
    assert_eq!(decisions[1], Err(Refused::DocumentTooLarge { index: 2 }));
    let (without, batch_without) = decide(&[&first[..], &last].map(Push::from), &Snapshot::default(), NOW);
    assert_eq!([&decisions[0], &decisions[2]], [&without[0], &without[1]]);
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
    let (decision, batch) = decided(&snapshot, &push);
    assert_eq!(decision, Err(Refused::ConflictsTooLarge { max_bytes: PUSH_CONFLICTS_MAX_BYTES }));
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
        let push = Push { conflicts_max_bytes, ..Push::from(&operations[..]) };
        let (mut decisions, batch) = decide(&[push], &snapshot, NOW);
        (decisions.remove(0), batch.operations.len())
    };
    assert!(matches!(decided_within(needed), (Ok(_), 1)));
    let refused = Refused::ConflictsTooLarge { max_bytes: needed - 1 };
    assert_eq!(decided_within(needed - 1), (Err(refused), 0), "what would be accepted beside it is not applied either");
}

fn large_object(name: &str, bytes: usize) -> String {
    format!(r#"{{"{name}":"{}"}}"#, "x".repeat(bytes))
}

#[test]
fn a_document_is_read_once_however_many_operations_change_it() {
    let members: Vec<String> = (0..1_000).map(|number| format!(r#""k{number}":{number}"#)).collect();
    let stored = operation("0", OperationKind::Insert, "d", &format!("{{{}}}", members.join(",")), &[("a", 1)]);
    let snapshot = after(Snapshot::default(), &decided(&Snapshot::default(), &[stored]).1);
    let updates: Vec<Operation> = (2..500)
        .map(|number| {
            let data = format!(r#"{{"k{number}":"new"}}"#);
            operation(&number.to_string(), OperationKind::Update, "d", &data, &[("a", number)])
        })
        .collect();
    let before = OPENED.get();
    let (decision, batch) = decided(&snapshot, &updates);
    assert_eq!(OPENED.get() - before, 1);
    assert!(decision.unwrap().iter().all(|outcome| *outcome == Outcome::Applied));
    assert_eq!(batch.documents[0].document.rev, Rev::new(499));
    let data = batch.documents[0].document.data.as_ref().unwrap().as_str();
    assert!(data.starts_with(r#"{"k0":0,"k1":1,"k2":"new","k3":"new""#) && data.ends_with(r#""k999":999}"#));
}

#[test]
fn a_conflict_shows_the_document_as_it_stood_at_its_operation_also_in_a_push_behind_one_that_is_refused() {
    let too_large = large_object("z", DOCUMENT_MAX_BYTES);
    let first = [
        insert("1", "d", &[("a", 1)]),
        operation("2", OperationKind::Update, "d", r#"{"m":2}"#, &[("a", 2)]),
        insert("3", "d", &[("b", 1)]),
        operation("4", OperationKind::Update, "d", r#"{"n":4}"#, &[("a", 3)]),
        insert("5", "d", &[("b", 1)]),
    ];
    let refused = [
        operation("6", OperationKind::Update, "d", r#"{"n":6,"o":6}"#, &[("a", 4)]),
        operation("7", OperationKind::Delete, "d", "", &[("a", 5)]),
        operation("8", OperationKind::Update, "d", r#"{"p":8}"#, &[("a", 6)]),
        operation("9", OperationKind::Update, "d", &too_large, &[("a", 7)]),
    ];
    let last = [insert("10", "d", &[("b", 1)]), operation("6", OperationKind::Update, "d", "{}", &[("a", 4)])];
    let (decisions, batch) = decide(&[&first[..], &refused, &last].map(Push::from), &Snapshot::default(), NOW);
    let shown = |outcome: &Outcome| match outcome {
        Outcome::Conflict(conflict) => (conflict.document.rev, conflict.document.data.clone().unwrap()),
        other => panic!("{other:?}"),
    };
    let outcomes = decisions[0].as_ref().unwrap();
    assert_eq!(shown(&outcomes[2]), (Rev::new(2), Object::literal(r#"{"n":1,"m":2}"#)));
    assert_eq!(shown(&outcomes[4]), (Rev::new(3), Object::literal(r#"{"n":4,"m":2}"#)));
    assert_eq!(decisions[1], Err(Refused::DocumentTooLarge { index: 3 }));
    let outcomes = decisions[2].as_ref().unwrap();
    assert_eq!(shown(&outcomes[0]), (Rev::new(3), Object::literal(r#"{"n":4,"m":2}"#)));
    assert_eq!(outcomes[1], Outcome::Applied, "a refused push leaves its ids unknown");
    assert_eq!(batch.documents[0].document.data, Some(Object::literal(r#"{"n":4,"m":2}"#)));
    assert_eq!((batch.documents[0].operation_index, batch.operations.len()), (3, 4));
}

#[test]
fn a_push_may_write_so_many_bytes_of_documents_and_not_more() {
    let data = large_object("a", DOCUMENT_MAX_BYTES / 2);
    let fits = PUSH_WRITTEN_MAX_BYTES / (data.len() + r#"{"a":1}"#.len());
    let inserts = |count: usize| -> Vec<Operation> {
        let insert = |number: usize| {
            let name = number.to_string();
            operation(&name, OperationKind::Insert, &name, &data, &[("a", 1)])
        };
        (0..count).map(insert).collect()
    };
    assert!(decided(&Snapshot::default(), &inserts(fits)).0.is_ok());
    let (decision, batch) = decided(&Snapshot::default(), &inserts(fits + 1));
    assert_eq!(decision, Err(Refused::DocumentsTooLarge { max_bytes: PUSH_WRITTEN_MAX_BYTES }));
    assert!(batch.is_empty());
    let mut replaced = inserts(fits + 1);
    replaced.push(operation("delete", OperationKind::Delete, "0", "", &[("a", 2)]));
    assert!(decided(&Snapshot::default(), &replaced).0.is_ok(), "what the push leaves is what it writes");
}

#[test]
fn a_decision_ends_when_the_pushes_before_write_or_show_enough_and_one_document_is_counted_once() {
    let data = large_object("a", DOCUMENT_MAX_BYTES / 2);
    let pushes = |update: &str, document: &dyn Fn(u64) -> String| -> Vec<Vec<Operation>> {
        let change = |number: u64| {
            operation(&number.to_string(), OperationKind::Update, &document(number), update, &[("a", number)])
        };
        (2..100).map(|number| vec![change(number)]).collect()
    };
    let (_, batch) = decided(&Snapshot::default(), &[operation("1", OperationKind::Insert, "d", &data, &[("a", 1)])]);
    let snapshot = after(Snapshot::default(), &batch);
    let decisions = |pushes: &[Vec<Operation>]| {
        let pushes: Vec<Push<'_>> = pushes.iter().map(|push| push.as_slice().into()).collect();
        decide(&pushes, &snapshot, NOW).0.len()
    };
    assert_eq!(decisions(&pushes(r#"{"b":1}"#, &|_| "d".to_owned())), 98, "one document");
    let most = PUSH_WRITTEN_MAX_BYTES / (DOCUMENT_MAX_BYTES / 2) + 1;
    let many = decisions(&pushes(&data, &|number| number.to_string()));
    assert!((most / 2..=most).contains(&many), "{many}");

    let mut shown = pushes(r#"{"b":1}"#, &|_| "d".to_owned());
    for (number, push) in shown.iter_mut().enumerate() {
        push.push(insert(&format!("conflict-{number}"), "d", &[("b", 1)]));
    }
    let many = decisions(&shown);
    assert!((most / 2..=most).contains(&many), "{many}");
}

#[test]
fn a_push_that_updates_documents_of_too_many_keys_is_refused_and_half_of_it_is_not() {
    let keys_each = 90_000;
    let members: Vec<String> = (0..keys_each).map(|number| format!("\"{number:x}\":0")).collect();
    let data = format!("{{{}}}", members.join(","));
    let count = PUSH_OPEN_MAX_KEYS / keys_each + 1;
    let inserts: Vec<Operation> = (0..count)
        .map(|number| operation(&format!("i{number}"), OperationKind::Insert, &number.to_string(), &data, &[("a", 1)]))
        .collect();
    let (decision, batch) = decided(&Snapshot::default(), &inserts);
    assert!(decision.is_ok(), "an insert opens nothing");
    let snapshot = after(Snapshot::default(), &batch);
    let updates: Vec<Operation> = (0..count)
        .map(|number| {
            operation(&format!("u{number}"), OperationKind::Update, &number.to_string(), r#"{"n":1}"#, &[("a", 2)])
        })
        .collect();
    let (decision, batch) = decided(&snapshot, &updates);
    assert_eq!(decision, Err(Refused::TooManyKeys { max_keys: PUSH_OPEN_MAX_KEYS }));
    assert!(batch.is_empty());
    let (first, second) = updates.split_at(count / 2);
    let (decisions, batch) = decide(&[first.into(), second.into()], &snapshot, NOW);
    assert_eq!((decisions.len(), batch.operations.len()), (1, first.len()), "the second is left for the next commit");
    assert!(decided(&snapshot, second).0.is_ok());
}

fn update(id: &str, document: &str, data: &str, counter: u64) -> Operation {
    operation(id, OperationKind::Update, document, data, &[("a", counter)])
}

/// A text of so many bytes, as the only member of an object.
fn large(key: &str, bytes: usize) -> String {
    format!(r#"{{"{key}":"{}"}}"#, "x".repeat(bytes))
}

#[test]
fn a_partial_push_is_decided_without_what_makes_a_document_too_large() {
    let half = DOCUMENT_MAX_BYTES / 2;
    let operations = [
        operation("1", OperationKind::Insert, "d", &large("left", half), &[("a", 1)]),
        update("2", "d", &large("right", half), 2),
        insert("3", "other", &[("a", 3)]),
        update("4", "d", r#"{"small":1}"#, 4),
        operation("1", OperationKind::Insert, "d", &large("left", half), &[("a", 1)]),
    ];
    let refused = |reason| Outcome::Refused(reason);
    let expected = vec![
        Outcome::Applied,
        refused(OperationRefused::DocumentTooLarge),
        Outcome::Applied,
        refused(OperationRefused::BuildsOnRefused),
        Outcome::Duplicate,
    ];
    let partial = Push { is_partial: true, ..Push::from(&operations[..]) };
    let (decisions, batch) = decide(&[partial], &Snapshot::default(), NOW);
    assert_eq!(decisions, [Ok(expected.clone())]);
    let (_, without) = decided(&Snapshot::default(), &[operations[0].clone(), operations[2].clone()]);
    assert_eq!(batch, without, "what is refused leaves no trace");

    let (again, batch) = decide(&[partial], &after(Snapshot::default(), &batch), NOW);
    let known = |outcome| if outcome == Outcome::Applied { Outcome::Duplicate } else { outcome };
    assert_eq!(again, [Ok(expected.into_iter().map(known).collect())], "a repeated push is answered the same");
    assert!(batch.is_empty());
}

#[test]
fn in_a_strict_push_a_counter_that_was_used_before_is_a_conflict() {
    let (_, batch) = decided(&Snapshot::default(), &[insert("1", "d", &[("a", 2), ("b", 5)])]);
    let snapshot = after(Snapshot::default(), &batch);
    for (clock, strictly, otherwise) in [
        (&[("a", 2), ("b", 5)][..], false, true),
        (&[("a", 2), ("b", 6)], false, true),
        (&[("a", 3), ("b", 5)], true, true),
        (&[("a", 3), ("b", 4)], false, false),
        (&[("a", 1), ("b", 5)], false, false),
    ] {
        let operations = [insert("2", "d", clock)];
        let strict = Push { is_strict: true, ..Push::from(&operations[..]) };
        for (push, is_applied) in [(strict, strictly), (Push::from(&operations[..]), otherwise)] {
            let (decisions, _) = decide(&[push], &snapshot, NOW);
            let outcomes = decisions[0].as_ref().expect("it is decided");
            assert_eq!(outcomes[0] == Outcome::Applied, is_applied, "{clock:?}, strict: {}", push.is_strict);
        }
    }
    let known = [insert("1", "d", &[("a", 2), ("b", 5)]), insert("new", "new", &[])];
    let strict = Push { is_strict: true, ..Push::from(&known[..]) };
    assert_eq!(decide(&[strict], &snapshot, NOW).0, [Ok(vec![Outcome::Duplicate, Outcome::Applied])]);
}

#[test]
fn a_document_is_read_once_for_all_operations_that_are_refused_for_it() {
    let (_, batch) = decided(&Snapshot::default(), &[update("1", "d", &large("a", DOCUMENT_MAX_BYTES - 9), 1)]);
    let snapshot = after(Snapshot::default(), &batch);
    let operations: Vec<Operation> =
        (0..1_000).map(|number| update(&format!("more-{number}"), "d", r#"{"b":1}"#, 2)).collect();
    let partial = Push { is_partial: true, ..Push::from(&operations[..]) };
    let before = OPENED.get();
    let (decisions, _) = decide(&[partial], &snapshot, NOW);
    assert_eq!(OPENED.get() - before, 1);
    let outcomes = decisions[0].as_ref().expect("it is decided");
    assert_eq!(outcomes[0], Outcome::Refused(OperationRefused::DocumentTooLarge));
    assert!(outcomes[1..].iter().all(|outcome| *outcome == Outcome::Refused(OperationRefused::BuildsOnRefused)));
}
