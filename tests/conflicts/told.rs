//! The table on the page about conflicts: one conflict under each policy.

use serde_json::{Value, json};

use super::Theatre;
use super::rule::{Deletes, Policy, Setting};
use super::server::Conflicts;
use super::wire::{COLLECTION, Clock, Data, Kind, Op};
use crate::support::stores::memory;

const PAGE: &str = include_str!("../../docs/conflicts.md");

fn op(id: &str, kind: Kind, data: &Value, timestamp: u64, clock: &[(&str, u64)]) -> Op {
    let client = id.split('-').next().expect("a client");
    Op {
        id: id.to_owned(),
        kind,
        collection: COLLECTION.to_owned(),
        doc_id: "milk".to_owned(),
        data: data.as_object().cloned(),
        timestamp,
        client_id: client.to_owned(),
        synced: false,
        vector_clock: clock.iter().map(|(client, counter)| ((*client).to_owned(), *counter)).collect::<Clock>(),
    }
}

/// The document and the lost values in the page's row of a policy.
fn row(policy: &str) -> (Value, Data) {
    let beginning = format!("| `{policy}` | `{{");
    let row = PAGE.lines().find(|line| line.starts_with(&beginning)).expect("the page has a row for each policy");
    let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
    let json = |cell: &str| serde_json::from_str(cell).unwrap_or(Value::Null);
    (json(cells[2]), json(cells[3]).as_object().cloned().unwrap_or_default())
}

/// Ann's phone and laptop, as the page tells it.
#[test]
fn the_page_says_what_each_policy_makes_of_its_conflict() {
    let theatre = Theatre::new(memory);
    let setting = |policy| Conflicts::Settled(Setting { policy, deletes: Deletes::Win });
    for (name, conflicts) in [
        ("reject", Conflicts::Rejected),
        ("server-wins", setting(Policy::ServerWins)),
        ("client-wins", setting(Policy::ClientWins)),
        ("last-writer-wins", setting(Policy::LastWriterWins)),
        ("merge", setting(Policy::Merge)),
    ] {
        let server = theatre.server(conflicts, None);
        let push = |client, op| server.push(client, &[op]).expect("the push is answered");
        push("phone", op("phone-1", Kind::Insert, &json!({"title": "Buy milk", "amount": 1}), 1_000, &[("phone", 1)]));
        push("phone", op("phone-2", Kind::Update, &json!({"amount": 2}), 2_200, &[("phone", 2)]));
        let edit = json!({"title": "Buy oat milk", "amount": 3});
        let clock = [("phone", 1), ("laptop", 1)];
        let answer = push("laptop", op("laptop-1", Kind::Update, &edit, 2_100, &clock));
        let lost = answer.resolved.first().map(|resolved| resolved.lost.clone()).unwrap_or_default();
        assert_eq!(answer.conflicts.len(), usize::from(name == "reject"), "{name}");
        assert_eq!((Value::Object(server.documents()["milk"].clone()), lost), row(name), "{name}");
    }
}
