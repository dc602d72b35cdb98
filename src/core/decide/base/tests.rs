//! Revisions in place of clocks: what is applied, the clocks that are derived, and that no edit is lost.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::core::clock::Relation;
use crate::core::decide::owners::{Claimant, ClientOwner};
use crate::core::decide::quota::{Quota, QuotaKind};
use crate::core::decide::{
    Batch, Decision, OperationRefused, Outcome, Push, Reached, Refused, Snapshot, client_ids_of, decide,
};
use crate::core::json::Object;
use crate::core::names::{OperationId, Subject};
use crate::core::operation::{Change, Operation};
use crate::limits::protocol::PUSH_DERIVED_CLOCKS_MAX_BYTES;

/// A time as real ones are: far above what clients count to.
const NOW: UnixMs = UnixMs::new(1_700_000_000_000);

fn client(name: &str) -> ClientId {
    ClientId::literal(name)
}

fn key(document: &str) -> DocumentKey {
    DocumentKey::parse("todos", document).unwrap()
}

fn clock(entries: &[(&str, u64)]) -> VectorClock {
    entries.iter().map(|(name, counter)| (client(name), *counter)).collect()
}

fn insert(id: &str, document: &str, author: &str) -> Operation {
    Operation {
        id: OperationId::literal(id),
        change: Change::Insert(Object::literal(r#"{"n":1}"#)),
        key: key(document),
        timestamp: UnixMs::new(1),
        client_id: client(author),
        clock: VectorClock::default(),
    }
}

/// The snapshot that a store would return after it had committed a batch.
fn commit(snapshot: &mut Snapshot, batch: &Batch) {
    snapshot.known.extend(batch.operations.iter().map(|operation| operation.id.clone()));
    snapshot.documents.extend(batch.documents.iter().map(|write| (write.key.clone(), write.document.clone())));
    for write in &batch.owners {
        assert_eq!(snapshot.owners.get(&write.client_id), write.seen.as_ref(), "the guard of an owner");
        snapshot.owners.insert(write.client_id.clone(), write.owner.clone());
    }
}

/// Decides about a push whose operations name revisions, and commits it.
fn push(snapshot: &mut Snapshot, now_ms: UnixMs, operations: &[(Operation, u64)]) -> Decision {
    let bases =
        Bases { revisions: operations.iter().map(|(_, base)| Some(Rev::new(*base))).collect(), places: Vec::new() };
    let operations: Vec<Operation> = operations.iter().map(|(operation, _)| operation.clone()).collect();
    let push = Push { bases: &bases, ..Push::from(&operations[..]) };
    let (mut decisions, batch) = decide(&[push], snapshot, now_ms);
    commit(snapshot, &batch);
    decisions.remove(0)
}

fn outcomes(decision: Decision) -> String {
    let letter = |outcome: &Outcome| match outcome {
        Outcome::Reached(reached) if reached.is_new => 'a',
        Outcome::Reached(_) => 'r',
        Outcome::Applied => 'A',
        Outcome::Duplicate => 'd',
        Outcome::Conflict(_) => 'c',
        Outcome::Resolved(_) => 's',
        Outcome::Refused(_) => 'x',
        Outcome::Forbidden(_) => 'f',
    };
    decision.expect("the push is decided").iter().map(letter).collect()
}

#[test]
fn an_operation_is_applied_if_it_names_the_revision_that_the_document_has() {
    let mut store = Snapshot::default();
    assert_eq!(outcomes(push(&mut store, NOW, &[(insert("1", "d", "a"), 0)])), "a");
    for (id, base, expected) in
        [("2", 0, "c"), ("3", 2, "c"), ("4", 1, "a"), ("5", 1, "c"), ("6", 2, "a"), ("1", 9, "d")]
    {
        assert_eq!(outcomes(push(&mut store, NOW, &[(insert(id, "d", "b"), base)])), expected, "{id}");
    }
    let delete = Operation { change: Change::Delete, ..insert("7", "d", "a") };
    assert_eq!(outcomes(push(&mut store, NOW, &[(delete, 3)])), "a");
    assert_eq!(outcomes(push(&mut store, NOW, &[(insert("8", "d", "a"), 0)])), "c", "a tombstone has a revision");
    assert_eq!(outcomes(push(&mut store, NOW, &[(insert("9", "d", "a"), 4)])), "a");
    assert_eq!(store.documents[&key("d")].rev, Rev::new(5));
}

#[test]
fn the_author_is_told_the_revision_and_how_the_clock_has_grown() {
    let mut store = Snapshot::default();
    let drafts = [(insert("1", "d", "a"), 0), (insert("2", "d", "a"), 0)];
    let told = |store: &mut Snapshot, drafts: &[(Operation, u64)]| -> Vec<Option<Reached>> {
        let reached = |outcome| match outcome {
            Outcome::Reached(reached) => Some(*reached),
            _ => None,
        };
        push(store, NOW, drafts).expect("it is decided").into_iter().map(reached).collect()
    };
    let reached = |is_new, rev, counter| Some(Reached::new(is_new, Rev::new(rev), clock(&[("a", counter)])));
    let now = NOW.get();
    assert_eq!(told(&mut store, &drafts), [reached(true, 1, now), reached(true, 2, now + 1)]);
    assert_eq!(told(&mut store, &drafts), [None, reached(false, 2, now + 1)], "the first state is gone");
    assert_eq!(told(&mut store, &[(insert("3", "d", "b"), 2)]).len(), 1);
    assert_eq!(told(&mut store, &drafts), [None, None]);
    assert_eq!(store.documents[&key("d")].clock, clock(&[("a", now + 1), ("b", now)]));
}

#[test]
fn a_later_operation_of_a_push_has_seen_the_earlier_ones() {
    let [one, two, three] = ["1", "2", "3"].map(|id| insert(id, "d", "a"));
    for bases in [[0, 0, 0], [0, 1, 2], [0, 1, 0], [0, 0, 1]] {
        let operations = [(one.clone(), bases[0]), (two.clone(), bases[1]), (three.clone(), bases[2])];
        assert_eq!(outcomes(push(&mut Snapshot::default(), NOW, &operations)), "aaa", "{bases:?}");
    }
    let ahead = [(one.clone(), 0), (two.clone(), 2), (three.clone(), 1)];
    assert_eq!(outcomes(push(&mut Snapshot::default(), NOW, &ahead)), "aca");
    let mut store = Snapshot::default();
    assert_eq!(outcomes(push(&mut store, NOW, &[(insert("0", "d", "b"), 0)])), "a");
    assert_eq!(
        outcomes(push(&mut store, NOW, &[(one.clone(), 0), (two.clone(), 1), (three, 0)])),
        "cac",
        "0 saw nothing"
    );
    assert_eq!(outcomes(push(&mut store, NOW, &[(insert("4", "d", "a"), 1)])), "c", "another push saw less");
}

#[test]
fn an_operation_has_seen_those_of_its_push_whose_answer_was_lost() {
    let mut store = Snapshot::default();
    let first = [(insert("1", "d", "a"), 0), (insert("2", "d", "a"), 0)];
    assert_eq!(outcomes(push(&mut store, NOW, &first)), "aa");
    let again = [first[0].clone(), first[1].clone(), (insert("3", "d", "a"), 0)];
    assert_eq!(outcomes(push(&mut store, NOW, &again)), "dra");
    assert_eq!(outcomes(push(&mut store, NOW, &[(insert("4", "d", "b"), 3)])), "a");
    let again = [again[2].clone(), (insert("5", "d", "a"), 0)];
    assert_eq!(outcomes(push(&mut store, NOW, &again)), "dc", "another author wrote since");
}

#[test]
fn a_revision_of_a_document_that_does_not_exist_is_refused() {
    let operations = [(insert("1", "d", "a"), 3), (insert("2", "d", "a"), 0), (insert("3", "e", "a"), 0)];
    assert_eq!(push(&mut Snapshot::default(), NOW, &operations), Err(Refused::UnknownBase { index: 0 }));
    let bases = Bases { revisions: operations.iter().map(|(_, base)| Some(Rev::new(*base))).collect(), places: vec![] };
    let plain = operations.map(|(operation, _)| operation);
    let partial = Push { bases: &bases, is_partial: true, ..Push::from(&plain[..]) };
    let (decisions, batch) = decide(&[partial], &Snapshot::default(), NOW);
    let refused = [OperationRefused::UnknownBase, OperationRefused::BuildsOnRefused].map(Outcome::Refused);
    let outcomes = decisions[0].as_ref().expect("it is decided");
    assert_eq!((&outcomes[..2], outcomes[2].is_applied()), (&refused[..], true));
    assert_eq!((batch.operations.len(), batch.owners.len()), (1, 1));
}

#[test]
fn a_place_of_another_log_refuses_the_push_alone() {
    let [there, elsewhere] = [5, 6].map(Fingerprint::from_number);
    let snapshot = Snapshot { fingerprints: [(Seq::new(3), there)].into(), ..Snapshot::default() };
    let place = |seq: u64, fingerprint| Position { seq: Seq::new(seq), fingerprint };
    let operations = [insert("1", "d", "a")];
    let neighbour = [insert("2", "e", "b")];
    for (places, is_of_log) in [
        (vec![], true),
        (vec![Position::START], true),
        (vec![place(3, there)], true),
        (vec![place(3, elsewhere)], false),
        (vec![place(4, there)], false),
        (vec![place(0, there)], false),
        (vec![place(3, there), place(3, elsewhere)], false),
    ] {
        let bases = Bases { revisions: vec![Some(Rev::NONE)], places };
        let pushes = [Push { bases: &bases, ..Push::from(&operations[..]) }, Push::from(&neighbour[..])];
        let (decisions, batch) = decide(&pushes, &snapshot, NOW);
        assert_eq!(decisions[1], Ok(vec![Outcome::Applied]));
        match &decisions[0] {
            Ok(outcomes) => assert!(is_of_log && outcomes[0].is_applied(), "{bases:?}"),
            refused => assert!(!is_of_log && *refused == Err(Refused::OtherLog), "{bases:?}"),
        }
        assert_eq!(batch.operations.len(), 1 + usize::from(is_of_log));
    }
}

#[test]
fn a_client_gets_each_counter_once_in_a_tenant_whatever_the_time_is() {
    let mut store = Snapshot::default();
    let mut last = 0;
    for (number, now) in [NOW, NOW.minus_ms(50), NOW.plus_ms(9), NOW].into_iter().enumerate() {
        let document = format!("d-{}", number % 2);
        let base = number as u64 / 2;
        assert_eq!(outcomes(push(&mut store, now, &[(insert(&number.to_string(), &document, "a"), base)])), "a");
        let counter = store.documents[&key(&document)].clock.get(&client("a"));
        assert!(counter > last && counter >= now.get(), "{counter} {last}");
        assert_eq!(store.owners[&client("a")], ClientOwner { subject: None, counter });
        last = counter;
    }
}

#[test]
fn a_clock_that_its_author_counted_itself_is_behind_the_counters_that_it_is_given() {
    let mut store = Snapshot::default();
    assert_eq!(outcomes(push(&mut store, NOW, &[(insert("1", "d", "a"), 0)])), "a");
    let own = Operation { clock: clock(&[("a", NOW.get() + 5)]), ..insert("2", "d", "a") };
    let (operations, with_revision) = ([own, insert("3", "e", "a")], [None, Some(Rev::NONE)]);
    let bases = Bases { revisions: with_revision.into(), places: vec![] };
    let (_, batch) = decide(&[Push { bases: &bases, ..Push::from(&operations[..]) }], &store, NOW);
    assert_eq!(batch.operations[1].clock, clock(&[("a", NOW.get() + 6)]));
}

#[test]
fn a_made_up_counter_uses_up_no_others() {
    let forged = INTEGER_MAX;
    let mut store = Snapshot::default();
    let made_up = [Operation { clock: clock(&[("a", forged), ("b", 1)]), ..insert("1", "d", "b") }];
    let (_, batch) = decide(&[Push::from(&made_up[..])], &store, NOW);
    commit(&mut store, &batch);
    assert_eq!(outcomes(push(&mut store, NOW, &[(insert("2", "d", "a"), 1), (insert("3", "e", "a"), 0)])), "aa");
    let server = ClientId::clock();
    let expected: VectorClock =
        [(client("a"), forged), (client("b"), 1), (server.clone(), NOW.get())].into_iter().collect();
    assert_eq!(store.documents[&key("d")].clock, expected);
    assert_eq!(store.documents[&key("e")].clock, clock(&[("a", NOW.get())]));
    // The entry of the server is made up as well.
    let half = INTEGER_MAX / 2;
    let clock_of_both = [(client("a"), forged), (server.clone(), half)].into_iter().collect();
    let made_up = [Operation { clock: clock_of_both, ..insert("4", "f", "b") }];
    let (_, batch) = decide(&[Push::from(&made_up[..])], &store, NOW);
    commit(&mut store, &batch);
    assert_eq!(outcomes(push(&mut store, NOW, &[(insert("5", "f", "a"), 1)])), "a");
    assert_eq!(store.documents[&key("f")].clock.get(server), half + 1);
    assert!(store.owners.values().all(|owner| owner.counter <= NOW.get() + 2), "{:?}", store.owners);
}

fn full_clock() -> VectorClock {
    (0..CLOCK_MAX_ENTRIES).map(|number| (client(&format!("old-{number}")), 1)).collect()
}

#[test]
fn a_full_clock_refuses_no_author_and_keeps_its_entries() {
    let full = full_clock();
    let mut store = Snapshot::default();
    let before = [Operation { clock: full.clone(), ..insert("1", "d", "old-0") }];
    let (_, batch) = decide(&[Push::from(&before[..])], &store, NOW);
    commit(&mut store, &batch);
    let mut last = full.clone();
    for (base, author) in ["new", "old-5", "newer", "new"].into_iter().enumerate() {
        let id = format!("op-{base}");
        assert_eq!(outcomes(push(&mut store, NOW, &[(insert(&id, "d", author), base as u64 + 1)])), "a");
        let derived = store.documents[&key("d")].clock.clone();
        assert_eq!(derived.compare(&last), Relation::HappensAfter);
        assert!(full.iter().all(|(client, _)| derived.contains(client)) && derived.len() <= CLOCK_MAX_ENTRIES + 1);
        last = derived;
    }
    assert_eq!(last.get(&client("old-5")), NOW.get());
    let blind = Operation { clock: full, ..insert("blind", "d", "old-1") };
    let (decisions, _) = decide(&[Push::from(&[blind][..])], &store, NOW);
    assert_eq!(outcomes(decisions.into_iter().next().expect("a decision")), "c");
}

#[test]
fn the_clocks_that_a_push_makes_the_server_derive_are_bounded() {
    let long = |number: usize| (client(&format!("{number:0>250}")), 1);
    let large: VectorClock = (0..CLOCK_MAX_ENTRIES - 1).map(long).collect();
    let bytes = large.json().as_str().len();
    let mut store = Snapshot::default();
    let before = [Operation { clock: large, ..insert("0", "d", "a") }];
    let (_, batch) = decide(&[Push::from(&before[..])], &store, NOW);
    commit(&mut store, &batch);
    let count = PUSH_DERIVED_CLOCKS_MAX_BYTES / bytes + 1;
    let operations: Vec<(Operation, u64)> = (1..=count).map(|id| (insert(&id.to_string(), "d", "a"), 1)).collect();
    let too_large = Err(Refused::ClocksTooLarge { max_bytes: PUSH_DERIVED_CLOCKS_MAX_BYTES });
    assert_eq!(push(&mut store, NOW, &operations), too_large);
    assert_eq!((store.known.len(), store.owners.len()), (1, 0), "it has left no trace");
    assert!(push(&mut store, NOW, &operations[..count - 1]).is_ok());
}

#[test]
fn authors_with_revisions_have_owners_within_the_quota_which_leaves_the_server_out() {
    let bases = Bases { revisions: vec![Some(Rev::NONE)], places: vec![] };
    let operations = [insert("1", "d", "a")];
    let quota = Quota { max_clients: Some(1), ..Quota::default() };
    let push = Push { bases: &bases, quota, ..Push::from(&operations[..]) };
    assert_eq!(client_ids_of(&[push]), [client("a"), ClientId::clock().clone()]);
    assert_eq!(client_ids_of(&[Push::from(&operations[..])]), []);
    let full = Snapshot { owned_clients: Some(1), ..Snapshot::default() };
    let (decisions, batch) = decide(&[push], &full, NOW);
    assert!(matches!(&decisions[..], [Err(Refused::QuotaExceeded(exceeded))] if exceeded.kind == QuotaKind::Clients));
    assert!(batch.is_empty() && batch.owners.is_empty());
    let subject = Subject::literal("ann");
    let claimed = Push { claimant: Some(Claimant { subject: &subject, client_id: None }), ..push };
    let (_, batch) = decide(&[claimed], &Snapshot::default(), NOW);
    assert_eq!(batch.owners[0].owner, ClientOwner { subject: Some(subject.clone()), counter: NOW.get() });
}

/// How a client says what it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// By revisions.
    Revisions,
    /// By one clock for each document, and one counter for all of them.
    Clocks,
    /// By one clock for everything, as original clients do.
    OneClock,
}

const DIALECTS: [Dialect; 5] =
    [Dialect::Revisions, Dialect::Revisions, Dialect::Clocks, Dialect::OneClock, Dialect::OneClock];

/// A client, and what it has seen of each document: the last operation, the revision and the clock.
#[derive(Debug, Default)]
struct Reader {
    pulled: usize,
    seen: BTreeMap<DocumentKey, (OperationId, Rev, VectorClock)>,
    everything: VectorClock,
    /// The greatest counter that it has used.
    counter: u64,
    has_seen: BTreeSet<OperationId>,
}

#[derive(Debug, Clone)]
enum Step {
    /// A client edits these documents and pushes.
    Push { author: usize, documents: Vec<&'static str> },
    /// A client pulls so many operations.
    Pull { reader: usize, operations: usize },
    /// The clock of the server moves.
    Time { now_ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let document = select(&["d", "e"][..]);
    prop_oneof![
        5 => (0..DIALECTS.len(), vec(document, 1..4)).prop_map(|(author, documents)| Step::Push { author, documents }),
        4 => (0..DIALECTS.len(), 1..4_usize).prop_map(|(reader, operations)| Step::Pull { reader, operations }),
        1 => (NOW.get() - 3..NOW.get() + 3).prop_map(|now_ms| Step::Time { now_ms }),
    ]
}

/// Plays steps. Every operation that is applied must come from an author that has seen the state before.
fn play(steps: &[Step], is_full: bool) {
    let (mut store, mut now_ms, mut log): (Snapshot, UnixMs, Vec<Operation>) = (Snapshot::default(), NOW, Vec::new());
    let mut readers: Vec<Reader> = DIALECTS.iter().map(|_| Reader::default()).collect();
    if is_full {
        let first = [Operation { clock: full_clock(), ..insert("first", "d", "old-0") }];
        let (_, batch) = decide(&[Push::from(&first[..])], &store, now_ms);
        commit(&mut store, &batch);
        log.extend(batch.operations);
    }
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Time { now_ms: now } => now_ms = UnixMs::new(*now),
            Step::Pull { reader, operations } => {
                let reader = &mut readers[*reader];
                for operation in log.iter().skip(reader.pulled).take(*operations) {
                    let rev = log.iter().take(reader.pulled + 1).filter(|other| other.key == operation.key).count();
                    let state = (operation.id.clone(), Rev::new(rev as u64), operation.clock.clone());
                    reader.seen.insert(operation.key.clone(), state);
                    reader.everything.merge(&operation.clock);
                    reader.has_seen.insert(operation.id.clone());
                    reader.pulled += 1;
                }
            }
            Step::Push { author, documents } => {
                let (name, reader) = (format!("client-{author}"), &mut readers[*author]);
                let mut clocks = reader.seen.clone();
                let mut made = Vec::new();
                for (index, document) in documents.iter().enumerate() {
                    let mut operation = insert(&format!("op-{number}-{index}"), document, &name);
                    let seen = clocks.get(&operation.key).cloned();
                    let rev = seen.as_ref().map_or(Rev::NONE, |(_, rev, _)| *rev);
                    let mut own = match DIALECTS[*author] {
                        Dialect::OneClock => reader.everything.clone(),
                        _ => seen.map(|(_, _, clock)| clock).unwrap_or_default(),
                    };
                    reader.counter = reader.counter.max(own.get(&client(&name))) + 1;
                    own.set(client(&name), reader.counter);
                    if DIALECTS[*author] == Dialect::OneClock {
                        reader.everything = own.clone();
                    }
                    let base = (DIALECTS[*author] == Dialect::Revisions).then_some(rev);
                    if base.is_none() {
                        operation.clock = own.clone();
                        clocks.insert(operation.key.clone(), (operation.id.clone(), rev, own));
                    }
                    made.push((operation, base));
                }
                let bases = Bases { revisions: made.iter().map(|(_, base)| *base).collect(), places: Vec::new() };
                let operations: Vec<Operation> = made.into_iter().map(|(operation, _)| operation).collect();
                let push = Push { bases: &bases, is_strict: true, ..Push::from(&operations[..]) };
                let before = store.clone();
                let (decisions, batch) = decide(&[push], &store, now_ms);
                let mut last: BTreeMap<DocumentKey, OperationId> =
                    before.documents.into_iter().map(|(key, document)| (key, document.operation_id)).collect();
                for (operation, outcome) in operations.iter().zip(decisions[0].as_ref().expect("it is decided")) {
                    if outcome.is_applied() {
                        let overwritten = last.insert(operation.key.clone(), operation.id.clone());
                        let has_seen = overwritten.as_ref().is_none_or(|id| reader.has_seen.contains(id));
                        assert!(has_seen, "{} overwrites {overwritten:?} unseen", operation.id);
                        reader.has_seen.insert(operation.id.clone());
                    }
                }
                commit(&mut store, &batch);
                log.extend(batch.operations);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_edit_that_its_author_has_not_seen_is_overwritten(steps in vec(step(), 1..40)) {
        play(&steps, false);
    }
}

proptest! {
    // A full clock has a thousand entries, which takes its time.
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn no_edit_is_overwritten_unseen_if_a_clock_is_full(steps in vec(step(), 1..20)) {
        play(&steps, true);
    }
}
