//! Resolutions: what the log, the document and the answer become.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::*;
use crate::core::access::rules::{CollectionRules, Holder, Rules};
use crate::core::access::{Principal, Role};
use crate::core::clock::Relation;
use crate::core::decide::policy::{ConflictPolicy, Deletes, Policies};
use crate::core::decide::quota::{Quota, Usage};
use crate::core::names::{Subject, TenantId};
use crate::limits::protocol::{CLOCK_MAX_ENTRIES, NAME_MAX_BYTES, STAMP_AHEAD_MAX_MS};

/// A document that operations change one after the other.
#[derive(Clone)]
pub(super) struct History {
    pub(super) policies: Policies,
    pub(super) snapshot: Snapshot,
    /// The log.
    pub(super) log: Vec<Operation>,
    /// The bytes that are kept beside the log.
    pub(super) kept_bytes: usize,
}

impl History {
    pub(super) fn new(policy: ConflictPolicy, deletes: Deletes) -> Self {
        Self {
            policies: Policies::for_all(policy, deletes),
            snapshot: Snapshot::default(),
            log: Vec::new(),
            kept_bytes: 0,
        }
    }

    pub(super) fn batch(&self, operations: &[Operation]) -> (Decision, Batch) {
        let push = Push { policies: &self.policies, ..Push::from(operations) };
        let (mut decisions, batch) = decide(&[push], &self.snapshot, UnixMs::new(1_000));
        (decisions.remove(0), batch)
    }

    pub(super) fn push(&mut self, operations: &[Operation]) -> Vec<Outcome> {
        let (decision, batch) = self.batch(operations);
        self.log.extend(batch.operations.iter().cloned());
        self.kept_bytes += batch.kept().map(|(_, kept)| kept.as_str().len()).sum::<usize>();
        self.snapshot = after(std::mem::take(&mut self.snapshot), &batch);
        decision.expect("the push is decided")
    }

    pub(super) fn document(&self) -> &Document {
        &self.snapshot.documents[&key("d")]
    }

    pub(super) fn data(&self) -> Option<&str> {
        self.document().data.as_ref().map(Object::as_str)
    }
}

pub(super) fn made(id: &str, kind: OperationKind, data: &str, at: u64, entries: &[(&str, u64)]) -> Operation {
    Operation { timestamp: UnixMs::new(at), ..operation(id, kind, "d", data, entries) }
}

fn resolved(outcome: &Outcome) -> (&str, &str, Option<&str>) {
    let Outcome::Resolved(resolved) = outcome else { panic!("not resolved but {outcome:?}") };
    (resolved.operation_id.as_str(), resolved.survival.as_str(), resolved.lost.as_ref().map(Object::as_str))
}

pub(super) const INSERT: OperationKind = OperationKind::Insert;
pub(super) const UPDATE: OperationKind = OperationKind::Update;
pub(super) const DELETE: OperationKind = OperationKind::Delete;

/// The outcome of an operation on a document, for each policy, kind of the last write and of the operation, and
/// relation of both.
fn truth_table() -> String {
    let mut table = String::new();
    for policy in ConflictPolicy::ALL {
        for deletes in Deletes::ALL {
            writeln!(table, "{}, deletes {}", policy.as_str(), deletes.as_str()).unwrap();
            for (before, after) in [INSERT, UPDATE, DELETE]
                .into_iter()
                .flat_map(|before| [INSERT, UPDATE, DELETE].map(|after| (before, after)))
            {
                for (relation, at, entries) in [
                    ("after", 5, [("b", 1), ("a", 2)]),
                    ("before", 5, [("b", 0), ("a", 1)]),
                    ("earlier", 5, [("b", 1), ("a", 1)]),
                    ("later", 15, [("b", 1), ("a", 1)]),
                ] {
                    let mut history = History::new(policy, deletes);
                    history.push(&[made("1", INSERT, r#"{"x":1,"y":1}"#, 1, &[("a", 1)])]);
                    history.push(&[made("2", before, r#"{"x":2}"#, 10, &[("a", 2)])]);
                    let outcome = history.push(&[made("3", after, r#"{"y":3,"z":3}"#, at, &entries)]).remove(0);
                    let answer = match &outcome {
                        Outcome::Resolved(_) => {
                            let (_, survival, lost) = resolved(&outcome);
                            format!("{survival} {}", lost.unwrap_or_default())
                        }
                        Outcome::Conflict(_) => "conflict".to_owned(),
                        _ => "applied".to_owned(),
                    };
                    let (kinds, data) = (format!("{} {}", before.as_str(), after.as_str()), history.data());
                    let line = format!("  {kinds} {relation}: {} {answer}", data.unwrap_or("deleted"));
                    writeln!(table, "{}", line.trim_end()).unwrap();
                }
            }
        }
    }
    table
}

#[test]
fn the_truth_table_is_as_written() {
    let table = truth_table();
    // After a change that is meant, the printed table replaces the file.
    assert!(table == include_str!("truth.txt"), "the table is another one:\n{table}");
}

#[test]
fn a_resolution_has_the_whole_state_and_the_clock_of_both() {
    let mut history = History::new(ConflictPolicy::LastWriterWins, Deletes::Win);
    let first = made("1", INSERT, r#"{"x":1}"#, 20, &[("a", 1), ("q", 7)]);
    assert_eq!(history.push(std::slice::from_ref(&first)), [Outcome::Applied]);
    assert_eq!(history.log, [first], "the insert that begins a document is logged as it is");
    let lost = history.push(&[made("2", UPDATE, r#"{"y":2}"#, 10, &[("b", 4)])]);
    assert_eq!(resolved(&lost[0]), ("syncflow-server::resolved::2", "lost", Some(r#"{"y":2}"#)));
    let expected = Operation {
        id: OperationId::literal("syncflow-server::resolved::2"),
        timestamp: UnixMs::new(20),
        client_id: ClientId::literal("a"),
        ..operation("2", INSERT, "d", r#"{"x":1}"#, &[("a", 1), ("b", 4), ("q", 7)])
    };
    assert_eq!(history.log[1], expected, "it is logged although it changed nothing");
    let won = history.push(&[made("3", UPDATE, r#"{"y":3}"#, 30, &[("c", 1)])]);
    assert_eq!(resolved(&won[0]), ("syncflow-server::resolved::3", "won", None));
    assert_eq!(history.data(), Some(r#"{"x":1,"y":3}"#));
    let now = history.document();
    assert_eq!((now.client_id.as_str(), now.timestamp, now.rev), ("c", UnixMs::new(30), Rev::new(3)));
    assert_eq!(now.clock, clock(&[("a", 1), ("b", 4), ("c", 1), ("q", 7)]));
    let seen = made("4", UPDATE, r#"{"x":4}"#, 5, &[("b", 5), ("a", 1), ("c", 1), ("q", 7)]);
    assert_eq!(history.push(&[seen]), [Outcome::Applied], "its author had seen all, so nothing is to be told");
    assert_eq!(history.log[3].data().map(Object::as_str), Some(r#"{"x":4,"y":3}"#));
    for pair in history.log.windows(2) {
        assert!(pair[0].timestamp <= pair[1].timestamp);
        assert!(matches!(pair[1].clock.compare(&pair[0].clock), Relation::HappensAfter | Relation::Equal));
    }
}

#[test]
fn an_update_that_begins_a_document_is_logged_as_the_insert_that_it_results_in() {
    let mut history = History::new(ConflictPolicy::Merge, Deletes::Win);
    assert_eq!(history.push(&[made("1", UPDATE, r#"{"x":1}"#, 5, &[("a", 1)])]), [Outcome::Applied]);
    assert_eq!(history.log[0].id.as_str(), "syncflow-server::resolved::1");
    assert_eq!(history.log[0].kind(), INSERT);
}

#[test]
fn an_operation_is_known_once_it_was_resolved() {
    for policy in [ConflictPolicy::LastWriterWins, ConflictPolicy::Reject] {
        let mut history = History::new(ConflictPolicy::LastWriterWins, Deletes::Win);
        history.push(&[made("1", INSERT, "{}", 5, &[("a", 1)])]);
        let late = made("2", UPDATE, r#"{"x":1}"#, 1, &[("b", 1)]);
        let outcomes = history.push(&[late.clone(), late.clone()]);
        assert!(matches!(outcomes[..], [Outcome::Resolved(_), Outcome::Duplicate]), "{outcomes:?}");
        history.policies = Policies::for_all(policy, Deletes::Win);
        assert_eq!(history.push(&[late]), [Outcome::Duplicate]);
        assert_eq!(history.log.len(), 2);
    }
}

#[test]
fn the_second_of_two_edits_in_flight_does_not_lose_against_the_first() {
    for policy in [ConflictPolicy::ServerWins, ConflictPolicy::LastWriterWins, ConflictPolicy::Merge] {
        let mut history = History::new(policy, Deletes::Win);
        history.push(&[made("1", INSERT, r#"{"x":1}"#, 50, &[("a", 1)])]);
        // The client has seen the insert and nothing else, and its clock stands still.
        let edit =
            |id: &str, counter| made(id, UPDATE, &format!(r#"{{"x":{counter}}}"#), 9, &[("b", counter), ("a", 1)]);
        assert_eq!(history.push(&[edit("2", 1), edit("3", 2)]), [Outcome::Applied, Outcome::Applied]);
        assert_eq!(history.push(&[edit("4", 3)]), [Outcome::Applied]);
        assert_eq!(history.data(), Some(r#"{"x":3}"#), "{policy:?}");
    }
}

#[test]
fn a_time_in_the_future_is_bounded() {
    let mut history = History::new(ConflictPolicy::LastWriterWins, Deletes::Win);
    let far = UnixMs::new(1_000).plus_ms(2 * STAMP_AHEAD_MAX_MS).get();
    let near = UnixMs::new(1_000).plus_ms(STAMP_AHEAD_MAX_MS).get() + 1;
    history.push(&[made("1", INSERT, r#"{"x":1}"#, far, &[("a", 1)])]);
    let outcomes = history.push(&[made("2", INSERT, r#"{"x":2}"#, near, &[("b", 1)])]);
    assert_eq!(resolved(&outcomes[0]).1, "won", "both are taken for a minute ahead, and b comes after a");
    assert_eq!(history.document().timestamp, UnixMs::new(far), "the log's times do not decrease");
}

#[test]
fn a_merge_decides_key_by_key_and_an_insert_removes_what_it_wins_over() {
    let mut history = History::new(ConflictPolicy::Merge, Deletes::Win);
    history.push(&[made("1", INSERT, r#"{"x":1,"y":1,"z":1}"#, 10, &[("a", 1)])]);
    let both = history.push(&[
        made("2", UPDATE, r#"{"x":2}"#, 30, &[("b", 1), ("a", 1)]),
        made("3", UPDATE, r#"{"y":3,"x":3}"#, 20, &[("c", 1), ("a", 1)]),
    ]);
    assert_eq!(both[0], Outcome::Applied);
    assert_eq!(resolved(&both[1]), ("syncflow-server::resolved::3", "merged", Some(r#"{"x":3}"#)));
    assert_eq!(history.data(), Some(r#"{"x":2,"y":3,"z":1}"#));
    let outcomes = history.push(&[made("4", INSERT, r#"{"x":4,"w":4}"#, 25, &[("d", 1), ("a", 1)])]);
    assert_eq!(resolved(&outcomes[0]), ("syncflow-server::resolved::4", "merged", Some(r#"{"x":4}"#)));
    assert_eq!(history.data(), Some(r#"{"x":2,"w":4}"#), "x is later, y and z are earlier than the insert");
    let late = history.push(&[made("5", UPDATE, r#"{"y":5}"#, 22, &[("e", 1), ("a", 1)])]);
    assert_eq!(resolved(&late[0]).1, "lost", "y was removed later");
}

#[test]
fn an_update_that_wins_over_a_delete_has_the_deleted_data_again_while_they_are_kept() {
    for policy in [ConflictPolicy::LastWriterWins, ConflictPolicy::Merge] {
        let mut history = History::new(policy, Deletes::Lose);
        history.push(&[made("1", INSERT, r#"{"x":1,"y":1}"#, 10, &[("a", 1)])]);
        history.push(&[made("2", DELETE, "", 20, &[("a", 2)])]);
        let early = history.push(&[made("3", UPDATE, r#"{"y":3}"#, 15, &[("b", 1), ("a", 1)])]);
        assert_eq!(resolved(&early[0]).1, "lost");
        let late = made("4", UPDATE, r#"{"x":4}"#, 30, &[("c", 1), ("a", 1)]);
        let mut without = history.clone();
        assert_eq!(resolved(&history.push(std::slice::from_ref(&late))[0]).1, "won");
        // A merge gives the same as if the delete had come last.
        let expected = if policy == ConflictPolicy::Merge { r#"{"x":4,"y":3}"# } else { r#"{"x":4,"y":1}"# };
        assert_eq!(history.data(), Some(expected));
        without.snapshot.stamps.values_mut().for_each(|stored| stored.kept = None);
        without.push(&[late]);
        assert_eq!(without.data(), Some(r#"{"x":4}"#), "retention has removed them");
    }
}

#[test]
fn the_data_below_a_tombstone_are_never_larger_than_a_document() {
    let mut history = History::new(ConflictPolicy::Merge, Deletes::Lose);
    history.push(&[made("1", INSERT, r#"{"x":1}"#, 10, &[("a", 1)]), made("2", DELETE, "", 50, &[("a", 2)])]);
    let large = "x".repeat(DOCUMENT_MAX_BYTES * 2 / 3);
    for (id, client) in [("3", "b"), ("4", "c"), ("5", "d")] {
        let edit = made(id, UPDATE, &format!(r#"{{"{client}":"{large}"}}"#), 20, &[(client, 1), ("a", 1)]);
        assert_eq!(resolved(&history.push(&[edit])[0]).1, "lost");
    }
    let kept = history.snapshot.stamps[&key("d")].kept.as_ref().map_or(0, String::len);
    assert!(kept < 2 * DOCUMENT_MAX_BYTES, "it has the operation that lost and the data: {kept}");
    history.push(&[made("6", UPDATE, r#"{"z":6}"#, 60, &[("e", 1), ("a", 1)])]);
    assert_eq!(history.data(), Some(&*format!(r#"{{"x":1,"b":"{large}","z":6}}"#)));
}

#[test]
fn a_collection_may_change_its_policy_at_any_time() {
    let edit = |id: &str, at, client: &str| made(id, UPDATE, &format!(r#"{{"x":"{id}"}}"#), at, &[(client, 1)]);
    let mut history = History::new(ConflictPolicy::Merge, Deletes::Win);
    history.push(&[made("1", INSERT, r#"{"x":1,"y":1}"#, 10, &[("a", 1)]), edit("2", 30, "b"), edit("3", 20, "c")]);
    assert_eq!(history.data(), Some(r#"{"x":"2","y":1}"#));
    let after_merge = history.clone();
    history.policies = Policies::for_all(ConflictPolicy::LastWriterWins, Deletes::Win);
    assert_eq!(resolved(&history.push(&[edit("4", 25, "d")])[0]).1, "lost");
    let mut history = after_merge;
    history.policies = Policies::default();
    let seen = made("5", UPDATE, r#"{"x":5}"#, 1, &[("e", 1), ("a", 1), ("b", 1), ("c", 1)]);
    assert_eq!(history.push(&[seen]), [Outcome::Applied]);
    assert_eq!(history.log.last().map(Operation::kind), Some(UPDATE), "it is logged as it is");
    history.policies = Policies::for_all(ConflictPolicy::Merge, Deletes::Win);
    let outcomes = history.push(&[edit("6", 15, "f")]);
    assert_eq!(resolved(&outcomes[0]).1, "won", "the stamps from before are about another content");
}

#[test]
fn a_refused_push_leaves_no_trace_of_its_resolutions() {
    let mut history = History::new(ConflictPolicy::Merge, Deletes::Lose);
    history.push(&[made("1", INSERT, r#"{"x":1}"#, 10, &[("a", 1)])]);
    let large = format!(r#"{{"large":"{}"}}"#, "x".repeat(DOCUMENT_MAX_BYTES));
    let faulty = [
        made("2", UPDATE, r#"{"x":2}"#, 5, &[("b", 1)]),
        made("3", DELETE, "", 15, &[("c", 1)]),
        made("4", UPDATE, &large, 20, &[("d", 1)]),
    ];
    let (decision, batch) = history.batch(&faulty);
    assert_eq!(decision, Err(Refused::DocumentTooLarge { index: 2 }));
    assert_eq!(batch, Batch { received_at_ms: batch.received_at_ms, ..Batch::default() });
    let good = [made("5", UPDATE, r#"{"y":5}"#, 20, &[("e", 1)])];
    let pushes = [&faulty[..], &good[..]].map(|push| Push { policies: &history.policies, ..Push::from(push) });
    let (decisions, both) = decide(&pushes, &history.snapshot, UnixMs::new(1_000));
    assert_eq!((decisions.len(), history.batch(&good).1), (2, both));
}

#[test]
fn a_clock_that_would_be_too_large_is_refused() {
    let many =
        |name: &str| (0..CLOCK_MAX_ENTRIES as u64).map(|n| (ClientId::literal(&format!("{name}{n}")), 1)).collect();
    let mut history = History::new(ConflictPolicy::Merge, Deletes::Win);
    history.push(&[Operation { clock: many("a"), ..made("1", INSERT, "{}", 10, &[("a0", 1)]) }]);
    let other = Operation { clock: many("b"), ..made("2", UPDATE, "{}", 10, &[("b0", 1)]) };
    assert_eq!(history.batch(std::slice::from_ref(&other)).0, Err(Refused::ClockTooLarge { index: 0 }));
    let push = [other];
    let partial = Push { is_partial: true, policies: &history.policies, ..Push::from(&push[..]) };
    let (decisions, _) = decide(&[partial], &history.snapshot, NOW);
    assert_eq!(decisions, [Ok(vec![Outcome::Refused(OperationRefused::ClockTooLarge)])]);
    assert_eq!(history.push(&[made("3", UPDATE, "{}", 20, &[("a0", 2)])]).len(), 1, "others may still write");
}

#[test]
fn lost_values_are_left_out_of_an_answer_that_they_would_make_too_large() {
    let mut history = History::new(ConflictPolicy::ServerWins, Deletes::Win);
    history.push(&[made("1", INSERT, "{}", 10, &[("a", 1)])]);
    let value = "x".repeat(300);
    let operations = ["2", "3"].map(|id| made(id, UPDATE, &format!(r#"{{"x":"{value}"}}"#), 5, &[(id, 1)]));
    let push = Push { conflicts_max_bytes: 500, policies: &history.policies, ..Push::from(&operations[..]) };
    let (decisions, _) = decide(&[push], &history.snapshot, NOW);
    let outcomes = decisions[0].as_ref().unwrap();
    assert!(resolved(&outcomes[0]).2.is_some());
    assert_eq!(resolved(&outcomes[1]), ("syncflow-server::resolved::3", "lost", None));
}

#[test]
fn a_resolution_is_checked_as_a_write_of_its_author() {
    let rules = Rules::new(
        BTreeMap::default(),
        BTreeMap::default(),
        CollectionRules {
            read: vec![Holder::Everyone],
            write: vec![Holder::Role(Role::Admin)],
            create: vec![Holder::Everyone],
        },
    );
    let view = rules.unwrap().view(&Principal::new(TenantId::literal("t"), Subject::literal("s"), Role::Writer));
    let mut history = History::new(ConflictPolicy::ClientWins, Deletes::Win);
    history.push(&[made("1", INSERT, r#"{"x":1}"#, 10, &[("a", 1)])]);
    let operations = [made("2", UPDATE, r#"{"x":2}"#, 15, &[("b", 1)])];
    let push = Push { view: &view, policies: &history.policies, ..Push::from(&operations[..]) };
    let (decisions, batch) = decide(&[push], &history.snapshot, NOW);
    assert!(matches!(decisions[0].as_deref(), Ok([Outcome::Forbidden(Some(_))])), "{decisions:?}");
    assert!(batch.is_empty());
    // An author that may create, but not change, does not bring a deleted document back.
    let mut history = History::new(ConflictPolicy::LastWriterWins, Deletes::Lose);
    history.push(&[made("1", INSERT, r#"{"x":1}"#, 10, &[("a", 1)]), made("3", DELETE, "", 12, &[("a", 2)])]);
    let push = Push { view: &view, policies: &history.policies, ..Push::from(&operations[..]) };
    assert!(matches!(decide(&[push], &history.snapshot, NOW).0[0].as_deref(), Ok([Outcome::Forbidden(_)])));
}

#[test]
fn an_answer_of_the_application_is_used_for_the_revision_that_it_has_seen() {
    let mut history = History::new(ConflictPolicy::Custom, Deletes::Win);
    history.push(&[made("1", INSERT, r#"{"x":1}"#, 10, &[("a", 1)])]);
    let late = [made("2", UPDATE, r#"{"x":2}"#, 5, &[("b", 1)])];
    let push = [Push { policies: &history.policies, ..Push::from(&late[..]) }];
    let snapshot = history.snapshot.clone();
    let asked = undecided(&push, &snapshot, NOW);
    assert_eq!(asked.iter().map(|(operation, _)| operation.id.as_str()).collect::<Vec<_>>(), ["2"]);
    let data = Some(Object::literal(r#"{"x":12}"#));
    for (seen_rev, is_used) in [(Rev::new(1), true), (Rev::new(2), false)] {
        let answers = [(OperationId::literal("2"), CustomAnswer { seen_rev, data: data.clone() })].into();
        let mut history = History { snapshot: Snapshot { answers, ..history.snapshot.clone() }, ..history.clone() };
        let outcomes = history.push(&late);
        if is_used {
            assert_eq!(resolved(&outcomes[0]), ("syncflow-server::resolved::2", "lost", Some(r#"{"x":2}"#)));
            assert_eq!(history.data(), Some(r#"{"x":12}"#));
        } else {
            assert!(matches!(outcomes[..], [Outcome::Conflict(_)]), "{outcomes:?}");
        }
    }
}

#[test]
fn a_loser_is_kept_with_its_resolution() {
    let mut history = History::new(ConflictPolicy::ServerWins, Deletes::Win);
    history.push(&[made("1", INSERT, r#"{"x":1}"#, 10, &[("a", 1)])]);
    let (_, batch) = history.batch(&[made("2", UPDATE, r#"{"x":2}"#, 5, &[("b", 1)])]);
    let (index, kept) = batch.kept().next().unwrap();
    let expected = concat!(
        r#"{"id":"2","outcome":"lost","relation":"concurrent","winner":{"operationId":"1","clientId":"a"},"#,
        r#""operation":{"id":"2","type":"update","collection":"todos","docId":"d","data":{"x":2},"timestamp":5,"#,
        r#""clientId":"b","vectorClock":{"b":1}}}"#,
    );
    let found = resolution_of(kept.as_str()).unwrap().unwrap();
    assert_eq!((index, found.as_str()), (0, expected));
    let (of_log, of_kept) = (batch.operations[0].kept_bytes(), kept.as_str().len());
    let clock_bytes = r#"{"a":1,"b":1}"#.len() - r#"{"a":1}"#.len();
    let of_stamps = batch.documents[0].stamps.as_ref().unwrap().len();
    assert_eq!(batch.bytes_delta, i64::try_from(of_log + of_kept + clock_bytes + of_stamps).unwrap());
}

#[test]
fn a_quota_of_bytes_stops_what_is_kept_beside_a_tombstone() {
    let quota = Quota { max_bytes: Some(100), ..Quota::default() };
    let value = "x".repeat(200);
    let edit = |id: &str| made(id, UPDATE, &format!(r#"{{"x":"{value}"}}"#), 5, &[(id, 1), ("a", 1)]);
    for deletes in Deletes::ALL {
        let mut history = History::new(ConflictPolicy::Merge, deletes);
        history.push(&[made("1", INSERT, &format!(r#"{{"y":"{value}"}}"#), 10, &[("a", 1)])]);
        let usage = Some(Usage { documents: 1, bytes: 1_000, operation_ids: 1 });
        let mut decided = |operation: Operation| {
            history.snapshot.usage = usage;
            let operations = [operation];
            let push = Push { policies: &history.policies, quota, ..Push::from(&operations[..]) };
            let (decisions, batch) = decide(&[push], &history.snapshot, UnixMs::new(1_000));
            let is_taken = decisions[0].is_ok();
            history.snapshot = after(std::mem::take(&mut history.snapshot), &batch);
            is_taken
        };
        assert!(decided(made("2", DELETE, "", 20, &[("a", 2)])), "a delete makes room");
        assert!(!decided(edit("3")), "an edit that loses is kept");
        // A tombstone with data keeps them again with each delete.
        assert_eq!(decided(made("4", DELETE, "", 30, &[("a", 3)])), deletes == Deletes::Win);
        assert_eq!(decided(made("5", DELETE, "", 12, &[("b", 1), ("a", 1)])), deletes == Deletes::Win);
    }
}

#[test]
fn an_operation_is_known_if_its_resolution_is() {
    let mut history = History::new(ConflictPolicy::Merge, Deletes::Win);
    let short = [made("1", UPDATE, r#"{"x":1}"#, 5, &[("a", 1)])];
    let push = Push { policies: &history.policies, ..Push::from(&short[..]) };
    assert_eq!(ids_of(&[push]), [short[0].id.clone()], "its resolution tells its id, so it becomes known itself");
    let late = [made(&"1".repeat(NAME_MAX_BYTES), UPDATE, r#"{"x":1}"#, 5, &[("a", 1)])];
    let push = Push { policies: &history.policies, ..Push::from(&late[..]) };
    let resolution = resolution_id(&late[0].id);
    assert_eq!(ids_of(&[push]), [late[0].id.clone(), resolution.clone()]);
    assert_eq!(ids_of(&[Push::from(&late[..])]), [late[0].id.clone()], "without a policy there are none");
    history.snapshot.known.insert(resolution);
    assert_eq!(history.push(&late), [Outcome::Duplicate]);
    assert!(history.log.is_empty());
}

#[test]
fn each_operation_that_may_be_resolved_reads_its_document_again() {
    fn bytes(operations: &[Operation], policies: &Policies, snapshot: &Snapshot) -> usize {
        read_bytes(&[Push { policies, ..Push::from(operations) }], snapshot)
    }
    let mut history = History::new(ConflictPolicy::Merge, Deletes::Win);
    let first = made("1", INSERT, &format!(r#"{{"x":"{}"}}"#, "x".repeat(1_000)), 5, &[("a", 1)]);
    let edit = |id: &str| made(id, UPDATE, r#"{"y":1}"#, 6, &[("a", 1)]);
    let operations: Vec<Operation> = (2..102).map(|id| edit(&id.to_string())).collect();
    let whole: Vec<Operation> = std::iter::once(first).chain(operations.iter().cloned()).collect();
    assert!(bytes(&whole, &history.policies, &Snapshot::default()) > 100_000, "the push itself has the document");
    history.push(&whole[..1]);
    assert!(bytes(&operations, &history.policies, &history.snapshot) > 100_000);
    assert!(bytes(&operations, &Policies::default(), &history.snapshot) < 10_000, "they are put over it");
}
