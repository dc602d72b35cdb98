//! Operations that name revisions, under policies with which the server resolves conflicts.

use super::*;
use crate::core::clock::Relation;
use crate::core::decide::base::Bases;
use crate::core::decide::policy::{ConflictPolicy, Deletes, Policies};
use crate::limits::protocol::{CLOCK_MAX_BYTES, NAME_MAX_BYTES};

/// A time as real ones are: far above what clients count to.
const NOW: UnixMs = UnixMs::new(1_700_000_000_000);

const INSERT: OperationKind = OperationKind::Insert;
const UPDATE: OperationKind = OperationKind::Update;
const DELETE: OperationKind = OperationKind::Delete;

struct Store {
    policies: Policies,
    snapshot: Snapshot,
    log: Vec<Operation>,
}

/// An operation, and the revision that it names in place of its clock.
type Pushed = (Operation, Option<u64>);

impl Store {
    fn new(policy: ConflictPolicy) -> Self {
        Self { policies: Policies::for_all(policy, Deletes::Win), snapshot: Snapshot::default(), log: Vec::new() }
    }

    fn push(&mut self, pushed: &[Pushed]) -> Vec<Outcome> {
        let revisions = pushed.iter().map(|(_, base)| base.map(Rev::new)).collect();
        let bases = Bases { revisions, places: Vec::new() };
        let operations: Vec<Operation> = pushed.iter().map(|(operation, _)| operation.clone()).collect();
        let push = Push { policies: &self.policies, bases: &bases, ..Push::from(&operations[..]) };
        let (mut decisions, batch) = decide(&[push], &self.snapshot, NOW);
        self.log.extend(batch.operations.iter().cloned());
        let owners: Vec<_> = batch.owners.iter().map(|write| (write.client_id.clone(), write.owner.clone())).collect();
        self.snapshot = after(std::mem::take(&mut self.snapshot), &batch);
        self.snapshot.owners.extend(owners);
        decisions.remove(0).expect("the push is decided")
    }

    /// A letter or a word for the outcome of each operation.
    fn outcomes(&mut self, pushed: &[Pushed]) -> Vec<String> {
        let word = |outcome: Outcome| match outcome {
            Outcome::Reached(reached) if reached.is_new => format!("reached {}", reached.rev.get()),
            Outcome::Reached(reached) => format!("reached {} before", reached.rev.get()),
            Outcome::Resolved(resolved) => resolved.survival.as_str().to_owned(),
            Outcome::Duplicate => "duplicate".to_owned(),
            Outcome::Conflict(_) => "conflict".to_owned(),
            outcome => format!("{outcome:?}"),
        };
        self.push(pushed).into_iter().map(word).collect()
    }

    fn document(&self) -> &Document {
        &self.snapshot.documents[&key("d")]
    }

    fn data(&self) -> &str {
        self.document().data.as_ref().map_or("deleted", Object::as_str)
    }
}

/// An operation of a client that has no clock.
fn of(client: &str, id: &str, kind: OperationKind, data: &str, at: u64, base: u64) -> Pushed {
    let client_id = ClientId::literal(client);
    let made = operation(id, kind, "d", data, &[]);
    (Operation { timestamp: UnixMs::new(at), client_id, ..made }, Some(base))
}

/// A document of the revision 2, of which others have seen the revision 1.
fn begun(policy: ConflictPolicy) -> Store {
    let mut store = Store::new(policy);
    let insert = of("a", "1", INSERT, r#"{"x":1,"y":1}"#, 1, 0);
    assert_eq!(store.outcomes(&[insert, of("a", "2", UPDATE, r#"{"x":2}"#, 10, 0)]), ["reached 1", "reached 2"]);
    store
}

#[test]
fn an_operation_that_names_the_present_revision_takes_effect_under_every_policy() {
    for policy in ConflictPolicy::ALL {
        let mut store = begun(policy);
        // Its device is slow, which does not matter.
        let seen = [of("b", "3", UPDATE, r#"{"x":3}"#, 5, 2), of("b", "4", UPDATE, r#"{"y":4}"#, 4, 2)];
        assert_eq!(store.outcomes(&seen), ["reached 3", "reached 4"], "{policy:?}");
        assert_eq!(store.data(), r#"{"x":3,"y":4}"#, "{policy:?}");
        assert_eq!(store.outcomes(&[of("c", "5", DELETE, "", 1, 4)]), ["reached 5"], "{policy:?}");
        for pair in store.log.windows(2) {
            assert_eq!(pair[1].clock.compare(&pair[0].clock), Relation::HappensAfter, "{policy:?}");
        }
        let are_resolutions = store.log[1..].iter().all(|operation| is_reserved(&operation.id));
        assert_eq!(are_resolutions, policy.resolves(), "{policy:?}");
    }
}

#[test]
fn an_operation_that_names_an_earlier_revision_is_left_to_the_policy_although_its_clock_is_the_latest() {
    use ConflictPolicy::{ClientWins, Custom, LastWriterWins, Merge, Reject, ServerWins};
    for (policy, at, data, outcome, after) in [
        (Reject, 20, r#"{"x":3}"#, "conflict", r#"{"x":2,"y":1}"#),
        (Custom, 20, r#"{"x":3}"#, "conflict", r#"{"x":2,"y":1}"#),
        (ServerWins, 20, r#"{"x":3}"#, "lost", r#"{"x":2,"y":1}"#),
        (ClientWins, 5, r#"{"x":3}"#, "won", r#"{"x":3,"y":1}"#),
        (LastWriterWins, 5, r#"{"x":3}"#, "lost", r#"{"x":2,"y":1}"#),
        (LastWriterWins, 20, r#"{"x":3}"#, "won", r#"{"x":3,"y":1}"#),
        (Merge, 5, r#"{"x":3}"#, "lost", r#"{"x":2,"y":1}"#),
        (Merge, 5, r#"{"x":3,"y":3}"#, "merged", r#"{"x":2,"y":3}"#),
        (Merge, 20, r#"{"x":3}"#, "won", r#"{"x":3,"y":1}"#),
    ] {
        for base in [0, 1, 7] {
            let mut store = begun(policy);
            let before = store.document().clock.clone();
            let outcomes = store.outcomes(&[of("b", "3", UPDATE, data, at, base)]);
            assert_eq!((outcomes, store.data()), (vec![outcome.to_owned()], after), "{policy:?} {at} {base}");
            let relation = store.document().clock.compare(&before);
            let expected = if outcome == "conflict" { Relation::Equal } else { Relation::HappensAfter };
            assert_eq!(relation, expected, "{policy:?} {at} {base}");
        }
    }
}

#[test]
fn a_later_operation_of_a_push_does_not_lose_against_an_earlier_one() {
    for policy in [ConflictPolicy::LastWriterWins, ConflictPolicy::Merge] {
        let mut store = begun(policy);
        // The clock of the device steps back between both.
        let pushed = [of("b", "4", UPDATE, r#"{"x":4}"#, 30, 1), of("b", "3", UPDATE, r#"{"x":3}"#, 20, 1)];
        assert_eq!(store.outcomes(&pushed)[0], "won", "{policy:?}");
        assert_eq!(store.data(), r#"{"x":3,"y":1}"#, "{policy:?}");
        // The answer was lost, and the client has made one more operation.
        let again = [&pushed[..], &[of("b", "5", UPDATE, r#"{"x":5}"#, 15, 1)]].concat();
        assert_eq!(store.outcomes(&again)[..2], ["duplicate", "duplicate"], "{policy:?}");
        assert_eq!(store.data(), r#"{"x":5,"y":1}"#, "{policy:?}");
    }
}

#[test]
fn an_author_whose_answer_was_lost_has_seen_what_only_its_push_has_written() {
    let pushed = [of("b", "3", UPDATE, r#"{"x":3}"#, 5, 2), of("b", "4", UPDATE, r#"{"y":4}"#, 4, 2)];
    let again = [&pushed[..], &[of("b", "5", INSERT, r#"{"x":5}"#, 1, 2)]].concat();
    let mut store = begun(ConflictPolicy::Merge);
    store.push(&pushed);
    assert_eq!(store.outcomes(&again), ["duplicate", "reached 4 before", "reached 5"]);
    assert_eq!(store.data(), r#"{"x":5}"#);
    // Another client came between, and has written y. The author has not seen this.
    let mut store = begun(ConflictPolicy::Merge);
    store.push(&pushed[..1]);
    store.push(&[of("c", "6", UPDATE, r#"{"y":6}"#, 40, 3)]);
    store.push(&pushed[1..]);
    assert_eq!(store.outcomes(&again)[..2], ["duplicate", "duplicate"]);
    assert_eq!(store.data(), r#"{"x":5,"y":6}"#);
}

#[test]
fn clients_with_clocks_have_not_seen_an_operation_that_names_a_revision_unless_its_counter_is_in_their_clock() {
    let mut store = begun(ConflictPolicy::LastWriterWins);
    let clock = store.document().clock.clone();
    store.push(&[of("b", "3", UPDATE, r#"{"x":3}"#, 30, 2)]);
    let with_clock = |id, at, mut clock: VectorClock| {
        clock.set(ClientId::literal("c"), 1);
        (Operation { clock, ..of("c", id, UPDATE, r#"{"x":9}"#, at, 0).0 }, None)
    };
    assert_eq!(store.outcomes(&[with_clock("4", 20, clock)]), ["lost"]);
    let seen = store.document().clock.clone();
    assert_eq!(store.push(&[with_clock("5", 20, seen)]), [Outcome::Applied]);
    assert_eq!(store.data(), r#"{"x":9,"y":1}"#);
}

#[test]
fn a_revision_of_a_document_that_does_not_exist_is_refused_under_every_policy() {
    for policy in ConflictPolicy::ALL {
        let mut store = Store::new(policy);
        let bases = Bases { revisions: vec![Some(Rev::new(1))], places: Vec::new() };
        let operations = [of("b", "3", UPDATE, "{}", 5, 1).0];
        let push = Push { policies: &store.policies, bases: &bases, ..Push::from(&operations[..]) };
        let (decisions, batch) = decide(&[push], &store.snapshot, NOW);
        assert_eq!((&decisions[..], batch.is_empty()), (&[Err(Refused::UnknownBase { index: 0 })][..], true));
        assert_eq!(store.outcomes(&[of("b", "3", UPDATE, "{}", 5, 0)]), ["reached 1"], "{policy:?}");
    }
}

#[test]
fn the_entry_of_the_server_says_who_has_seen_an_operation_for_whose_author_the_clock_has_no_place() {
    let mut store = Store::new(ConflictPolicy::LastWriterWins);
    let long = "x".repeat(200);
    let full: VectorClock = (0..1_253_u64).map(|n| (ClientId::literal(&format!("{long}{n:04}")), 1)).collect();
    let bytes = full.json().as_str().len();
    let entry = NAME_MAX_BYTES + r#""":1700000000000,"#.len();
    assert!(bytes <= CLOCK_MAX_BYTES && bytes + entry > CLOCK_MAX_BYTES);
    let author = format!("{long}0000");
    let begin = Operation { clock: full.clone(), ..of(&author, "1", INSERT, r#"{"x":1}"#, 1, 0).0 };
    store.push(&[(begin, None)]);
    assert_eq!(store.outcomes(&[of(&"y".repeat(256), "2", UPDATE, r#"{"x":2}"#, 30, 1)]), ["reached 2"]);
    assert!(store.document().clock.contains(ClientId::clock()));
    let mut clock = full;
    clock.set(ClientId::literal(&author), 2);
    let blind = Operation { clock, ..of(&author, "3", UPDATE, r#"{"x":3}"#, 20, 0).0 };
    assert_eq!(store.outcomes(&[(blind, None)]), ["lost"]);
    assert_eq!(store.data(), r#"{"x":2}"#);
}

#[test]
fn the_author_of_an_edit_has_seen_the_deletes_up_to_its_revision_and_those_of_its_push() {
    let mut store = Store::new(ConflictPolicy::Merge);
    for pushed in [
        of("a", "1", INSERT, r#"{"x":1}"#, 1, 0),
        of("b", "2", DELETE, "", 2, 1),
        of("a", "3", INSERT, r#"{"x":3}"#, 3, 2),
        of("a", "4", UPDATE, r#"{"x":4}"#, 4, 3),
    ] {
        store.push(&[pushed]);
    }
    assert_eq!(store.outcomes(&[of("c", "5", UPDATE, r#"{"y":5}"#, 5, 3)]), ["won"], "the delete led to revision 2");
    assert_eq!(store.outcomes(&[of("c", "6", UPDATE, r#"{"y":6}"#, 60, 1)]), ["lost"]);
    assert_eq!(store.data(), r#"{"x":4,"y":5}"#);
    let push = [of("c", "7", DELETE, "", 7, 4), of("c", "8", INSERT, r#"{"z":8}"#, 8, 4)];
    assert_eq!(store.outcomes(&push)[0], "won");
    assert_eq!(store.data(), r#"{"z":8}"#, "it has seen the delete of its own push");
}
