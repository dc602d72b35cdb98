//! Tests of the checker: one good history with all kinds of exchanges, and the changes of it that break each law.

use syncflow_server::conformance::draft::{Draft, clock, delete, insert, key, update};
use syncflow_server::core::access::labels::FormerLabels;
use syncflow_server::core::cursor::{Cursor, Position};
use syncflow_server::core::decide::{Conflict, ConflictRelation, Outcome};
use syncflow_server::core::document::Document;
use syncflow_server::core::fingerprint::Fingerprint;
use syncflow_server::core::json::Object;
use syncflow_server::core::names::OperationId;
use syncflow_server::core::numbers::{Rev, Seq, UnixMs};
use syncflow_server::core::operation::{Change, LogEntry, Operation};
use syncflow_server::service::{PullFrom, PulledPage};

use super::replay::object;
use super::{Call, Documents, Exchange, Explained, Found, History, Law, Moment, check};
use crate::conflicts::rule::{Deletes, Policy, Setting};

// The exchanges of the good history, by index.
const FIRST_PUSH: usize = 0;
const PUSH_OF_TWO: usize = 1;
const REFUSED_PUSH: usize = 2;
const UNANSWERED_PUSH: usize = 3;
const REPEATED_PUSH: usize = 4;
const READ: usize = 5;
const FIRST_PAGE: usize = 6;
const LAST_PAGE: usize = 7;
const OTHER_PULLER: usize = 8;

fn log(seq: u64) -> Cursor {
    Cursor::Log(Position { seq: Seq::new(seq), fingerprint: Fingerprint::from_number(seq) })
}

fn push<const N: usize>(drafts: [Draft; N], outcomes: Option<[Outcome; N]>) -> Call {
    let operations = drafts.map(Draft::done).to_vec();
    Call::Push { operations, outcomes: outcomes.map(|outcomes| outcomes.to_vec()) }
}

fn page(from: u64, drafts: impl IntoIterator<Item = Draft>, to: u64, has_more: bool) -> Call {
    let entries = drafts.into_iter().map(|draft| entry(&draft.done())).collect();
    let page = PulledPage { entries, cursor: Some(log(to)), has_more, view: None };
    Call::Pull { from: PullFrom::Cursor(Some(log(from))), page }
}

fn entry(operation: &Operation) -> LogEntry {
    LogEntry {
        seq: Seq::START,
        id: operation.id.clone(),
        change: operation.change.clone(),
        key: operation.key.clone(),
        timestamp: operation.timestamp,
        client_id: operation.client_id.clone(),
        clock: operation.clock.json().clone(),
        rev: None,
        subject: None,
        resolution: None,
    }
}

fn found(rev: u64, data: &str) -> Found {
    Found { rev: Rev::new(rev), data: object(&Object::literal(data)) }
}

fn first() -> Draft {
    insert("op-1", "doc").data(r#"{"a":1,"b":1}"#).clock(&[("a", 1)])
}

fn second() -> [Draft; 2] {
    let over = update("op-2", "doc").data(r#"{"b":2}"#).clock(&[("b", 1), ("a", 1)]);
    [over, insert("op-3", "other").clock(&[("b", 2)])]
}

fn refused() -> Draft {
    update("op-4", "doc").clock(&[("c", 1)])
}

fn removal() -> Draft {
    delete("op-5", "other").clock(&[("a", 2), ("b", 2)])
}

fn conflict() -> Conflict {
    let document = Document {
        rev: Rev::new(2),
        data: Some(Object::literal(r#"{"a":1,"b":2}"#)),
        clock: clock(&[("a", 1), ("b", 1)]),
        operation_id: OperationId::literal("op-2"),
        client_id: second()[0].clone().done().client_id,
        timestamp: UnixMs::new(1),
        former_labels: FormerLabels::default(),
    };
    Conflict::new(ConflictRelation::Concurrent, document)
}

/// Five operations. One is refused, and the answer to another is lost, so that it is pushed again.
fn good() -> History {
    use Outcome::{Applied, Duplicate};
    let [over, other] = second();
    let calls = [
        push([first()], Some([Applied])),
        push(second(), Some([Applied, Applied])),
        push([refused()], Some([Outcome::Conflict(Box::new(conflict()))])),
        push([removal()], None),
        push([removal()], Some([Duplicate])),
        Call::Read { key: key("doc"), found: Some(found(2, r#"{"a":1,"b":2}"#)) },
        page(0, [first(), over.clone()], 2, true),
        page(2, [other.clone(), removal()], 4, false),
        page(0, [first(), over, other, removal()], 4, false),
    ];
    let exchange = |(place, call): (Moment, Call)| Exchange {
        client: format!("client-{place}"),
        sent: 10 * place,
        answered: 10 * place + 5,
        call,
    };
    let mut history = History { exchanges: (1..).zip(calls).map(exchange).collect(), ..History::default() };
    history.end.documents.insert(key("doc"), found(2, r#"{"a":1,"b":2}"#));
    let replica = Documents::from([(key("doc"), found(0, r#"{"b":2,"a":1}"#).data)]);
    history.end.replicas.push(("client-1".to_owned(), replica));
    history
}

#[track_caller]
fn assert_breaks(law: Law, change: impl FnOnce(&mut History)) {
    let mut history = good();
    change(&mut history);
    let violation = check(&history).expect_err("the history is bad");
    let shown = violation.shown_in(&history);
    assert_eq!(violation.law, law, "{shown}");
    assert!(shown.starts_with(&format!("{law:?} is broken: ")), "{shown}");
}

fn operations(exchange: &mut Exchange) -> &mut Vec<Operation> {
    match &mut exchange.call {
        Call::Push { operations, .. } => operations,
        other => panic!("no push but {other:?}"),
    }
}

fn outcomes(exchange: &mut Exchange) -> &mut Option<Vec<Outcome>> {
    match &mut exchange.call {
        Call::Push { outcomes, .. } => outcomes,
        other => panic!("no push but {other:?}"),
    }
}

fn pulled(exchange: &mut Exchange) -> &mut PulledPage {
    match &mut exchange.call {
        Call::Pull { page, .. } => page,
        other => panic!("no pull but {other:?}"),
    }
}

/// Shows the same whole log to every puller.
fn show_all(history: &mut History, drafts: &[Draft]) {
    history.exchanges.truncate(FIRST_PAGE);
    let call = page(0, drafts.iter().cloned(), drafts.len() as u64, false);
    history.exchanges.push(Exchange { client: "puller".to_owned(), sent: 1_000, answered: 1_001, call });
}

#[test]
fn a_good_history_is_explained() {
    assert_eq!(check(&good()).expect("it is good"), Explained { operations: 4, unseen_operations: 0 });
    assert_eq!(check(&History::default()).expect("nothing is wrong with nothing").operations, 0);
}

#[test]
fn an_operation_whose_answer_was_lost_may_have_had_no_effect() {
    let mut history = good();
    history.exchanges.remove(REPEATED_PUSH);
    show_all(&mut history, &[vec![first()], second().to_vec()].concat());
    history.end.documents.insert(key("other"), found(1, "{}"));
    history.end.replicas.clear();
    assert_eq!(check(&history).expect("it is good").operations, 3);
}

#[test]
fn a_page_of_documents_is_not_a_hole_in_a_compacted_log() {
    let mut history = good();
    let compact = Call::Compact { deleted_entries: Some(4) };
    history.exchanges.insert(0, Exchange { client: "compactor".to_owned(), sent: 0, answered: 1, call: compact });
    let whole = insert("op-2", "doc").data(r#"{"a":1,"b":2}"#).clock(&[("b", 1), ("a", 1)]);
    history.exchanges.last_mut().expect("a pull").call = page(0, [whole, removal()], 4, false);
    assert_eq!(check(&history).expect("it is good").operations, 4);
}

#[test]
fn what_was_compacted_before_anybody_saw_it_is_unknown_but_bounded() {
    let mut history = good();
    history.exchanges.truncate(FIRST_PAGE);
    let call = page(2, [second()[1].clone(), removal()], 4, false);
    history.exchanges.push(Exchange { client: "puller".to_owned(), sent: 1_000, answered: 1_001, call });
    assert_eq!(check(&history).expect("it is good"), Explained { operations: 4, unseen_operations: 2 });
    let lost = push([insert("op-6", "more")], Some([Outcome::Applied]));
    history.exchanges.push(Exchange { client: "client".to_owned(), sent: 500, answered: 501, call: lost });
    assert_eq!(check(&history).expect_err("three operations have no room in two numbers").law, Law::Durable);
}

#[test]
fn a_push_that_is_answered_for_a_part_only_breaks_a_law() {
    assert_breaks(Law::Answered, |history| {
        outcomes(&mut history.exchanges[PUSH_OF_TWO]).as_mut().expect("an answer").truncate(1);
    });
}

#[test]
fn an_operation_that_nobody_pushed_breaks_a_law() {
    assert_breaks(Law::Genuine, |history| {
        pulled(&mut history.exchanges[OTHER_PULLER]).entries[0].change =
            Change::Insert(Object::literal(r#"{"a":2,"b":1}"#));
    });
    assert_breaks(Law::Genuine, |history| {
        let mut drafts = vec![first()];
        drafts.extend(second());
        drafts.extend([removal(), insert("op-6", "nowhere")]);
        show_all(history, &drafts);
    });
    assert_breaks(Law::Genuine, |history| history.exchanges[LAST_PAGE].answered = 39);
}

#[test]
fn an_operation_that_took_effect_twice_breaks_a_law() {
    assert_breaks(Law::Once, |history| {
        let [over, other] = second();
        show_all(history, &[first(), over, other, removal(), removal()]);
    });
}

#[test]
fn a_hole_in_the_log_breaks_a_law() {
    assert_breaks(Law::Dense, |history| {
        pulled(&mut history.exchanges[FIRST_PAGE]).entries.pop();
    });
    assert_breaks(Law::Dense, |history| pulled(&mut history.exchanges[OTHER_PULLER]).cursor = Some(log(5)));
}

#[test]
fn pullers_that_see_two_orders_break_a_law() {
    assert_breaks(Law::Dense, |history| pulled(&mut history.exchanges[OTHER_PULLER]).entries.swap(2, 3));
}

#[test]
fn an_accepted_operation_that_is_lost_breaks_a_law() {
    assert_breaks(Law::Durable, |history| {
        let [over, other] = second();
        show_all(history, &[first(), over, other]);
    });
}

#[test]
fn a_push_that_is_torn_apart_breaks_a_law() {
    assert_breaks(Law::Whole, |history| {
        *outcomes(&mut history.exchanges[PUSH_OF_TWO]) = None;
        let [over, _] = second();
        history.exchanges[REPEATED_PUSH].call = push([removal()], None);
        show_all(history, &[first(), over]);
    });
    assert_breaks(Law::Whole, |history| {
        for place in [PUSH_OF_TWO, UNANSWERED_PUSH, REPEATED_PUSH] {
            (history.exchanges[place].sent, history.exchanges[place].answered) = (10, 45);
        }
        operations(&mut history.exchanges[UNANSWERED_PUSH])[0].key = key("third");
        operations(&mut history.exchanges[REPEATED_PUSH])[0].key = key("third");
        let [over, other] = second();
        let between = delete("op-5", "third").clock(&[("a", 2), ("b", 2)]);
        show_all(history, &[first(), over, between, other]);
    });
}

#[test]
fn a_log_against_the_order_of_time_breaks_a_law() {
    assert_breaks(Law::RealTime, |history| {
        let [over, other] = second();
        show_all(history, &[over, other, first(), removal()]);
    });
}

#[test]
fn a_pull_that_is_behind_what_was_answered_before_breaks_a_law() {
    assert_breaks(Law::Fresh, |history| {
        let page = pulled(&mut history.exchanges[OTHER_PULLER]);
        page.entries.pop();
        page.cursor = Some(log(3));
    });
}

#[test]
fn a_write_over_what_its_author_had_not_seen_breaks_a_law() {
    assert_breaks(Law::Linear, |history| {
        *outcomes(&mut history.exchanges[REFUSED_PUSH]) = Some(vec![Outcome::Applied]);
        let [over, other] = second();
        show_all(history, &[first(), over, other, refused(), removal()]);
    });
}

#[test]
fn a_conflict_with_a_document_that_never_was_breaks_a_law() {
    let with = |change: fn(&mut Conflict)| {
        move |history: &mut History| {
            let mut conflict = conflict();
            change(&mut conflict);
            *outcomes(&mut history.exchanges[REFUSED_PUSH]) = Some(vec![Outcome::Conflict(Box::new(conflict))]);
        }
    };
    assert_breaks(Law::Justified, with(|conflict| conflict.relation = ConflictRelation::HappensBefore));
    assert_breaks(Law::Justified, with(|conflict| conflict.document.rev = Rev::new(3)));
    assert_breaks(Law::Justified, with(|conflict| conflict.document.data = None));
    assert_breaks(Law::Justified, with(|conflict| conflict.document.clock = clock(&[("b", 1)])));
    assert_breaks(Law::Justified, with(|conflict| conflict.document.operation_id = OperationId::literal("op-1")));
}

#[test]
fn a_conflict_with_a_document_that_was_not_so_at_the_time_breaks_a_law() {
    // Before the second push was sent, only the state of the first one existed.
    assert_breaks(Law::Justified, |history| {
        (history.exchanges[REFUSED_PUSH].sent, history.exchanges[REFUSED_PUSH].answered) = (16, 18);
    });
}

#[test]
fn a_read_of_what_is_over_or_has_not_come_yet_breaks_a_law() {
    let read = |found: Option<Found>, at: Moment| {
        move |history: &mut History| {
            let call = Call::Read { key: key("doc"), found };
            history.exchanges[READ] = Exchange { client: "reader".to_owned(), sent: at, answered: at + 1, call };
        }
    };
    assert_breaks(Law::Justified, read(None, 16));
    assert_breaks(Law::Justified, read(Some(found(1, r#"{"a":1,"b":1}"#)), 30));
    assert_breaks(Law::Justified, read(Some(found(2, r#"{"a":1,"b":2}"#)), 16));
    assert_breaks(Law::Justified, read(Some(found(2, r#"{"a":2,"b":2}"#)), 30));
    let mut history = good();
    read(Some(found(1, r#"{"a":1,"b":1}"#)), 24)(&mut history);
    check(&history).expect("while the second push is under way, both states may be read");
}

#[test]
fn documents_that_are_not_what_the_log_makes_of_them_break_a_law() {
    assert_breaks(Law::Effect, |history| {
        history.end.documents.insert(key("doc"), found(3, r#"{"a":1,"b":2}"#));
    });
    assert_breaks(Law::Effect, |history| {
        history.end.documents.insert(key("doc"), found(2, r#"{"a":1}"#));
    });
    assert_breaks(Law::Effect, |history| {
        history.end.documents.insert(key("other"), found(1, "{}"));
    });
    assert_breaks(Law::Effect, |history| {
        history.end.documents.insert(key("nowhere"), found(1, "{}"));
    });
}

#[test]
fn a_client_that_holds_something_else_breaks_a_law() {
    assert_breaks(Law::Converged, |history| history.end.replicas[0].1.clear());
    assert_breaks(Law::Converged, |history| {
        history.end.replicas[0].1.insert(key("other"), found(0, "{}").data);
    });
}

#[test]
fn what_is_shown_of_a_bad_history_is_the_part_that_matters() {
    let mut history = good();
    outcomes(&mut history.exchanges[PUSH_OF_TWO]).as_mut().expect("an answer").truncate(1);
    let shown = check(&history).expect_err("it is bad").shown_in(&history);
    assert_eq!(history.exchanges[FIRST_PUSH].to_string().lines().count(), 2);
    assert!(
        shown.contains("op-2 update doc") && shown.contains("op-3 insert other") && !shown.contains("op-1"),
        "{shown}"
    );
}

/// An update of a deleted document is put over its data. If a compaction may have removed these, nobody knows.
#[test]
fn the_data_of_a_tombstone_are_uncertain_after_a_compaction_of_its_delete() {
    let begin = insert("op-1", "doc").data(r#"{"x":1}"#);
    let delete_as = |id: &str| delete(id, "doc").clock(&[("a", 2)]);
    let update_clock = [("b", 1), ("a", 2)];
    let over = update("op-3", "doc").data(r#"{"y":3}"#).clock(&update_clock);
    let resolution = |id: &str| format!("syncflow-server::resolved::{id}");
    for (data, removed_by_compaction, is_good) in [
        (r#"{"x":1,"y":3}"#, None, true),
        (r#"{"y":3}"#, None, false),
        (r#"{"y":3}"#, Some(1), false),
        (r#"{"y":3}"#, Some(2), true),
        (r#"{"x":1,"y":3}"#, Some(2), true),
    ] {
        let after = insert(&resolution("op-3"), "doc").data(data).clock(&update_clock);
        let pages = [page(0, [begin.clone(), delete_as(&resolution("op-2"))], 2, false), page(2, [after], 3, false)];
        let pushes =
            [begin.clone(), delete_as("op-2"), over.clone()].map(|draft| push([draft], Some([Outcome::Applied])));
        let [first_page, last_page] = pages;
        let [first, second, third] = pushes;
        let compact = removed_by_compaction.map(|count| Call::Compact { deleted_entries: Some(count) });
        let calls = [Some(first), Some(second), Some(first_page), compact, Some(third), Some(last_page)];
        let exchange = |(place, call): (Moment, Call)| Exchange {
            client: format!("client-{place}"),
            sent: 10 * place,
            answered: 10 * place + 5,
            call,
        };
        let exchanges = (1..).zip(calls.into_iter().flatten()).map(exchange).collect();
        let setting = Some(Setting { policy: Policy::LastWriterWins, deletes: Deletes::Lose });
        let mut history = History { exchanges, setting, ..History::default() };
        history.end.documents.insert(key("doc"), found(3, data));
        let checked = check(&history);
        let broken = checked.err().map(|violation| violation.law);
        assert_eq!(broken, (!is_good).then_some(Law::Settled), "{data} {removed_by_compaction:?}");
    }
}
