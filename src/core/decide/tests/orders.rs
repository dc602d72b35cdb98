//! The order in which operations arrive does not change the result.

use proptest::prelude::*;
use serde_json::Value;

use super::resolving::History;
use super::*;
use crate::core::decide::policy::{ConflictPolicy, Deletes};

/// An operation of a client of its own.
#[derive(Debug, Clone)]
struct Plan {
    kind: OperationKind,
    at: u64,
    /// The values of the keys x, y and z.
    values: [Option<u8>; 3],
    /// The earlier operations that its author has seen.
    seen: Vec<usize>,
}

/// The operations of plans. With a base, all but the first have seen the first one, which creates the document. Each
/// has also seen what those have seen that it has seen.
fn operations(plans: &[Plan], has_base: bool) -> Vec<Operation> {
    let mut operations: Vec<Operation> = Vec::new();
    for (index, Plan { kind, at, values, seen }) in plans.iter().enumerate() {
        let client = format!("client-{index}");
        let mut clock = clock(&[(&client, 1)]);
        let seen = seen.iter().copied().filter(|seen| *seen < index).chain((has_base && index > 0).then_some(0));
        seen.for_each(|seen| clock.merge(&operations[seen].clock));
        let keys = ["x", "y", "z"].into_iter().zip(values);
        let members: Vec<String> =
            keys.filter_map(|(key, value)| Some(format!("\"{key}\":\"{index}-{}\"", (*value)?))).collect();
        let made =
            operation(&format!("op-{index}"), *kind, "d", &format!("{{{}}}", members.join(",")), &[(&client, 1)]);
        operations.push(Operation { clock, timestamp: UnixMs::new(*at), ..made });
    }
    operations
}

/// The document after the operations in an order: its data, its clock and its time.
fn result(operations: &[&Operation], policy: ConflictPolicy, deletes: Deletes) -> (Option<Value>, VectorClock, UnixMs) {
    let mut history = History::new(policy, deletes);
    for operation in operations {
        history.push(&[(*operation).clone()]);
    }
    let document = history.document();
    let data = document.data.as_ref().map(|data| serde_json::from_str(data.as_str()).unwrap());
    (data, document.clock.clone(), document.timestamp)
}

/// All orders in which no operation arrives before one that its author has seen.
fn orders(operations: &[Operation]) -> Vec<Vec<&Operation>> {
    fn go_on<'o>(operations: &'o [Operation], order: &mut Vec<&'o Operation>, found: &mut Vec<Vec<&'o Operation>>) {
        if order.len() == operations.len() {
            found.push(order.clone());
        }
        for next in operations {
            let is_there = |other: &Operation| order.iter().any(|there| there.id == other.id);
            let has_seen = |other: &&Operation| {
                other.id != next.id && next.clock.get(&other.client_id) >= other.clock.get(&other.client_id)
            };
            if !is_there(next) && operations.iter().filter(has_seen).all(is_there) {
                order.push(next);
                go_on(operations, order, found);
                order.pop();
            }
        }
    }
    let mut found = Vec::new();
    go_on(operations, &mut Vec::new(), &mut found);
    found
}

fn check(plans: &[Plan], has_base: bool, policy: ConflictPolicy, deletes: Deletes) -> Result<(), TestCaseError> {
    check_all(&operations(plans, has_base), policy, deletes).map(|_| ())
}

/// The data of the document after operations, which must be the same in every order.
fn check_all(
    operations: &[Operation],
    policy: ConflictPolicy,
    deletes: Deletes,
) -> Result<Option<Value>, TestCaseError> {
    let orders = orders(operations);
    let expected = result(&orders[0], policy, deletes);
    for order in &orders[1..] {
        let ids: Vec<&str> = order.iter().map(|operation| operation.id.as_str()).collect();
        prop_assert_eq!(result(order, policy, deletes), expected.clone(), "{:?} {:?} {:?}", policy, deletes, ids);
    }
    Ok(expected.0)
}

/// Plans of which the first one is an insert of all keys.
fn any_plans(
    kinds: &'static [OperationKind],
    whole: bool,
    seen: impl Strategy<Value = Vec<usize>>,
) -> impl Strategy<Value = Vec<Plan>> {
    let value = if whole { Just(Some(1)).boxed() } else { proptest::option::of(0_u8..2).boxed() };
    let values = [value.clone(), value.clone(), value];
    let plan = (proptest::sample::select(kinds), 1_u64..6, values, seen).prop_map(|(kind, at, values, seen)| Plan {
        kind,
        at,
        values,
        seen,
    });
    (1_u64..6, proptest::collection::vec(plan, 0..5)).prop_map(|(at, plans)| {
        let first = Plan { kind: OperationKind::Insert, at, values: [Some(0); 3], seen: Vec::new() };
        [vec![first], plans].concat()
    })
}

/// Plans of which any kind may come first.
fn any_beginning(whole: bool) -> impl Strategy<Value = Vec<Plan>> {
    any_plans(ALL, whole, any_seen()).prop_filter_map("one plan is not enough", |plans| {
        // Without the insert, each plan has seen those that stand one place further to the front.
        let earlier = |seen: Vec<usize>| seen.into_iter().filter_map(|seen| seen.checked_sub(1)).collect();
        let plans: Vec<_> = plans.into_iter().skip(1).map(|plan| Plan { seen: earlier(plan.seen), ..plan }).collect();
        (!plans.is_empty()).then_some(plans)
    })
}

const ALL: &[OperationKind] = &[OperationKind::Insert, OperationKind::Update, OperationKind::Delete];
const EDITS: &[OperationKind] = &[OperationKind::Insert, OperationKind::Update];

fn any_seen() -> impl Strategy<Value = Vec<usize>> {
    proptest::collection::vec(0_usize..5, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn concurrent_operations_merge_in_any_order(plans in any_plans(ALL, false, Just(Vec::new()))) {
        for has_base in [true, false] {
            check(&plans, has_base, ConflictPolicy::Merge, Deletes::Win)?;
            check(&plans, has_base, ConflictPolicy::Merge, Deletes::Lose)?;
        }
    }

    #[test]
    fn the_last_of_concurrent_whole_writes_wins_in_any_order(plans in any_plans(ALL, true, Just(Vec::new()))) {
        for has_base in [true, false] {
            check(&plans, has_base, ConflictPolicy::LastWriterWins, Deletes::Win)?;
            check(&plans, has_base, ConflictPolicy::LastWriterWins, Deletes::Lose)?;
        }
    }

    #[test]
    fn edits_that_have_seen_each_other_or_not_merge_in_any_order(plans in any_plans(EDITS, false, any_seen())) {
        check(&plans, true, ConflictPolicy::Merge, Deletes::Win)?;
        check(&plans, false, ConflictPolicy::Merge, Deletes::Lose)?;
    }

    #[test]
    fn the_last_of_whole_writes_that_have_seen_each_other_or_not_wins_in_any_order(
        plans in any_plans(EDITS, true, any_seen())
    ) {
        check(&plans, true, ConflictPolicy::LastWriterWins, Deletes::Win)?;
        check(&plans, false, ConflictPolicy::LastWriterWins, Deletes::Win)?;
    }

    #[test]
    fn documents_that_updates_begin_and_edits_begin_again_merge_in_any_order(plans in any_beginning(false)) {
        check(&plans, false, ConflictPolicy::Merge, Deletes::Win)?;
        check(&plans, false, ConflictPolicy::Merge, Deletes::Lose)?;
    }

    #[test]
    fn the_last_of_whole_writes_wins_in_any_order_also_if_it_begins_the_document_again(plans in any_beginning(true)) {
        check(&plans, false, ConflictPolicy::LastWriterWins, Deletes::Win)?;
        check(&plans, false, ConflictPolicy::LastWriterWins, Deletes::Lose)?;
    }
}

/// An operation on the document, with the whole clock of its author.
fn by(id: &str, kind: OperationKind, data: &str, at: u64, entries: &[(&str, u64)]) -> Operation {
    Operation { timestamp: UnixMs::new(at), ..operation(id, kind, "d", data, entries) }
}

const BY_TIME: [ConflictPolicy; 2] = [ConflictPolicy::LastWriterWins, ConflictPolicy::Merge];

#[test]
fn an_edit_that_has_not_seen_a_delete_loses_to_it_also_after_the_document_was_begun_again() {
    let operations = [
        by("begin", OperationKind::Insert, r#"{"x":1}"#, 1, &[("w", 1)]),
        by("delete", OperationKind::Delete, "", 5, &[("d", 1), ("w", 1)]),
        by("again", OperationKind::Insert, r#"{"x":2}"#, 20, &[("u", 1), ("d", 1), ("w", 1)]),
        by("late", OperationKind::Update, r#"{"x":3}"#, 30, &[("v", 1), ("w", 1)]),
    ];
    for policy in BY_TIME {
        let data = check_all(&operations, policy, Deletes::Win).unwrap();
        assert_eq!(data, Some(serde_json::json!({"x": 2})), "{policy:?}");
        let data = check_all(&operations, policy, Deletes::Lose).unwrap();
        assert_eq!(data, Some(serde_json::json!({"x": 3})), "{policy:?}");
    }
}

#[test]
fn updates_that_begin_a_document_or_begin_it_again_are_merged() {
    let (by_f, by_g) = (r#"{"f":1}"#, r#"{"g":2}"#);
    let first =
        [by("f", OperationKind::Update, by_f, 20, &[("a", 1)]), by("g", OperationKind::Update, by_g, 10, &[("b", 1)])];
    let again = [
        by("delete", OperationKind::Delete, "", 15, &[("d", 1)]),
        by("f", OperationKind::Update, by_f, 20, &[("a", 1), ("d", 1)]),
        by("g", OperationKind::Update, by_g, 10, &[("b", 1), ("d", 1)]),
    ];
    for (operations, deletes) in [&first[..], &again].iter().flat_map(|set| Deletes::ALL.map(|deletes| (set, deletes)))
    {
        let data = check_all(operations, ConflictPolicy::Merge, deletes).unwrap();
        assert_eq!(data, Some(serde_json::json!({"f": 1, "g": 2})), "{deletes:?}");
    }
}

/// The delete has seen a late write of another key than the one that a concurrent update writes.
#[test]
fn a_delete_is_as_late_as_all_that_it_has_seen() {
    let operations = [
        by("1", OperationKind::Insert, r#"{"f":1}"#, 2, &[("c", 1)]),
        by("0", OperationKind::Update, r#"{"g":0}"#, 11, &[("b", 1)]),
        by("2", OperationKind::Update, r#"{"f":2}"#, 3, &[("c", 2)]),
        by("3", OperationKind::Update, r#"{"f":3}"#, 2, &[("a", 1), ("c", 2)]),
        by("4", OperationKind::Delete, "", 1, &[("b", 2), ("c", 2)]),
    ];
    for deletes in Deletes::ALL {
        assert_eq!(check_all(&operations, ConflictPolicy::Merge, deletes).unwrap(), None, "{deletes:?}");
    }
}

#[test]
fn an_edit_that_saw_another_one_wins_over_a_third_although_its_device_is_slow() {
    let whole =
        |at, seen: &[usize]| Plan { kind: OperationKind::Update, at, values: [Some(1); 3], seen: seen.to_vec() };
    let base = Plan { kind: OperationKind::Insert, ..whole(1, &[]) };
    let operations = operations(&[base, whole(10, &[]), whole(3, &[1]), whole(5, &[])], true);
    let orders = orders(&operations);
    assert_eq!(orders.len(), 3);
    for (order, policy) in orders
        .iter()
        .flat_map(|order| [ConflictPolicy::LastWriterWins, ConflictPolicy::Merge].map(|policy| (order, policy)))
    {
        let (data, ..) = result(order, policy, Deletes::Win);
        assert_eq!(data.unwrap()["x"], "2-1", "{policy:?}");
    }
}
