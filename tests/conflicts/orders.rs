//! The order in which concurrent operations arrive does not change the result of `last-writer-wins` and `merge`.

use fastrand::Rng;
use serde_json::Value;

use super::Theatre;
use super::observer::Bug;
use super::rule::{Deletes, Policy, Setting};
use super::server::{Conflicts, Documents};
use super::wire::{COLLECTION, Clock, Data, Kind, Op, join};
use crate::support::random::{seed, variable};
use crate::support::stores::memory;

const CLIENTS: [&str; 3] = ["a", "b", "c"];
const FIELDS: [&str; 2] = ["f", "g"];

/// The number of sets of operations, unless `SYNCFLOW_CASES` is set.
const SETS: u64 = 60;

/// In how many orders each set arrives.
const ORDERS: usize = 4;

/// Operations on one document. Each has seen some of those before it.
struct Operations {
    ops: Vec<Op>,
    /// The operations that each one has seen, by index.
    seen: Vec<Vec<usize>>,
}

impl Operations {
    /// If only one field is written, the document is that of the winner.
    fn random(random: &mut Rng, fields: usize) -> Self {
        let mut all = Self { ops: Vec::new(), seen: Vec::new() };
        for index in 0..random.usize(2..=6) {
            let client = CLIENTS[random.usize(..CLIENTS.len())];
            let mut seen: Vec<usize> = Vec::new();
            for earlier in 0..index {
                if all.ops[earlier].client_id == client || random.u8(..4) == 0 {
                    seen.extend(all.seen[earlier].iter().chain([&earlier]));
                }
            }
            seen.sort_unstable();
            seen.dedup();
            let kind = match random.u8(..6) {
                0 => Kind::Delete,
                1 => Kind::Insert,
                _ => Kind::Update,
            };
            let field = FIELDS[random.usize(..fields)];
            all.add((client, kind, field), random.u64(1..12), seen);
        }
        all
    }

    fn add(&mut self, (client, kind, field): (&str, Kind, &str), timestamp: u64, seen: Vec<usize>) {
        let index = self.ops.len();
        let mut clock = Clock::new();
        for earlier in &seen {
            join(&mut clock, &self.ops[*earlier].vector_clock);
        }
        *clock.entry(client.to_owned()).or_default() += 1;
        self.ops.push(Op {
            id: format!("op-{index}"),
            kind,
            collection: COLLECTION.to_owned(),
            doc_id: "x".to_owned(),
            data: (kind != Kind::Delete).then(|| Data::from_iter([(field.to_owned(), Value::from(index))])),
            timestamp,
            client_id: client.to_owned(),
            synced: false,
            vector_clock: clock,
        });
        self.seen.push(seen);
    }

    /// The operations in a random order in which each one comes after those that it has seen.
    fn in_an_order(&self, random: &mut Rng) -> Vec<Op> {
        let mut left: Vec<usize> = (0..self.ops.len()).collect();
        let mut order = Vec::new();
        while !left.is_empty() {
            let ready: Vec<usize> = left
                .iter()
                .copied()
                .filter(|index| self.seen[*index].iter().all(|seen| !left.contains(seen)))
                .collect();
            let next = ready[random.usize(..ready.len())];
            left.retain(|index| *index != next);
            order.push(self.ops[next].clone());
        }
        order
    }
}

/// The document after all operations have arrived one by one.
fn result(theatre: &Theatre, conflicts: Conflicts, bug: Option<Bug>, ops: &[Op]) -> Documents {
    let server = theatre.server(conflicts, bug);
    for op in ops {
        let answer = server.push(&op.client_id, std::slice::from_ref(op)).expect("the push is answered");
        assert_eq!(answer.accepted, std::slice::from_ref(op));
    }
    server.documents()
}

/// The first set of operations, of these many, whose result depends on the order.
fn difference(first: u64, sets: u64, bug: Option<Bug>, of: impl Fn(Setting) -> Conflicts) -> Option<String> {
    let theatre = Theatre::new(memory);
    for seed in (0..sets).map(|number| first.wrapping_add(number)) {
        let mut random = Rng::with_seed(seed);
        // An update that loses as a whole leaves the keys that it alone had, if it was there first.
        for (policy, fields) in [(Policy::LastWriterWins, 1), (Policy::Merge, 2)] {
            let operations = Operations::random(&mut random, fields);
            let setting = Setting { policy, deletes: Deletes::ALL[random.usize(..2)] };
            let results: Vec<(Vec<Op>, Documents)> = (0..ORDERS)
                .map(|_| operations.in_an_order(&mut random))
                .map(|ops| (ops.clone(), result(&theatre, of(setting), bug, &ops)))
                .collect();
            if let Some(other) = results.iter().find(|(_, documents)| *documents != results[0].1) {
                let replay = format!("replay with SYNCFLOW_SEED={seed} SYNCFLOW_CASES=1");
                return Some(format!("{setting:?}:\n{:#?}\n{other:#?}\n{replay}", results[0]));
            }
        }
    }
    None
}

#[test]
fn the_result_of_the_rule_does_not_depend_on_the_order_of_arrival() {
    let (first, sets) = (seed(), variable("SYNCFLOW_CASES").unwrap_or(SETS));
    if let Some(difference) = difference(first, sets, None, Conflicts::SettledInFront) {
        panic!("{difference}");
    }
}

#[test]
fn the_result_of_the_server_does_not_depend_on_the_order_of_arrival() {
    let (first, sets) = (seed(), variable("SYNCFLOW_CASES").unwrap_or(SETS));
    if let Some(difference) = difference(first, sets, None, Conflicts::Settled) {
        panic!("{difference}");
    }
}

#[test]
fn a_stamp_without_causality_is_seen() {
    let difference = difference(0, SETS, Some(Bug::StampWithoutCausality), Conflicts::SettledInFront);
    assert!(difference.is_some(), "it stays unseen");
}

/// One has the time 10. The next one has seen it, and its device says 3. The last one has seen nothing, and says 5.
#[test]
fn an_operation_that_has_seen_the_winner_wins_in_every_order() {
    let mut operations = Operations { ops: Vec::new(), seen: Vec::new() };
    operations.add(("a", Kind::Insert, "f"), 10, Vec::new());
    operations.add(("c", Kind::Insert, "f"), 3, vec![0]);
    operations.add(("b", Kind::Insert, "f"), 5, Vec::new());
    let theatre = Theatre::new(memory);
    let setting = Setting { policy: Policy::LastWriterWins, deletes: Deletes::Win };
    for order in [[0, 1, 2], [0, 2, 1], [2, 0, 1]] {
        let ops = order.map(|index| operations.ops[index].clone());
        for conflicts in [Conflicts::SettledInFront(setting), Conflicts::Settled(setting)] {
            let documents = result(&theatre, conflicts, None, &ops);
            assert_eq!(documents["x"]["f"], 1, "{order:?}, {conflicts:?}");
        }
    }
}
