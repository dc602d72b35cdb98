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
            let has_seen = |other: &&Operation| other.id != next.id && next.clock.get(&other.client_id) > 0;
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
    let operations = operations(plans, has_base);
    let orders = orders(&operations);
    let expected = result(&orders[0], policy, deletes);
    for order in &orders[1..] {
        let ids: Vec<&str> = order.iter().map(|operation| operation.id.as_str()).collect();
        prop_assert_eq!(result(order, policy, deletes), expected.clone(), "{:?} {:?} {:?}", policy, deletes, ids);
    }
    Ok(())
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
