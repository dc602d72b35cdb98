//! Pushes whose operations name revisions in place of clocks.

use std::sync::Arc;

use futures_util::future::{FutureExt as _, join_all};

use super::super::super::draft::{Draft, delete, insert, key, update};
use super::super::super::faults::{Fault, FaultyStore};
use super::super::super::world::{World, ids, operations};
use crate::core::access::{Principal, Role};
use crate::core::clock::{Relation, VectorClock};
use crate::core::cursor::{Cursor, Position};
use crate::core::decide::base::Bases;
use crate::core::decide::{ConflictRelation, OperationRefused, Outcome, Refused};
use crate::core::document::Document;
use crate::core::fingerprint::Fingerprint;
use crate::core::json::Object;
use crate::core::names::{ClientId, Subject};
use crate::core::numbers::{Rev, Seq};
use crate::core::policy::{ConflictPolicy, Deletes, Policies};
use crate::limits::protocol::CLOCK_MAX_ENTRIES;
use crate::service::{Host, PushRequest, Pushed, SyncService};
use crate::store::{ErrorKind, LoadRequest, Store};

fn principal(world: &World, subject: &str) -> Principal {
    Principal::new(world.tenant.clone(), Subject::literal(subject), Role::Writer)
}

/// A push whose operations name these revisions, or have clocks.
fn request(places: &[Position], drafts: impl IntoIterator<Item = (Draft, Option<u64>)>) -> PushRequest {
    let (drafts, revisions): (Vec<Draft>, Vec<Option<u64>>) = drafts.into_iter().unzip();
    let revisions = revisions.into_iter().map(|revision| revision.map(Rev::new)).collect();
    PushRequest::new(operations(drafts)).with_bases(Bases { revisions, places: places.to_vec() })
}

/// A letter for each outcome: applied, repeated, in conflict, or refused.
fn letters(pushed: &Pushed) -> String {
    let Pushed::Decided(outcomes) = pushed else { panic!("{pushed:?} is not decided") };
    let letter = |outcome: &Outcome| match outcome {
        outcome if outcome.is_applied() => 'a',
        outcome if outcome.is_accepted() => 'r',
        Outcome::Conflict(_) => 'c',
        _ => 'x',
    };
    outcomes.iter().map(letter).collect()
}

async fn push(world: &World, drafts: impl IntoIterator<Item = (Draft, Option<u64>)>) -> Vec<Outcome> {
    let everybody = principal(world, "anybody").for_everybody();
    let pushed = world.service.push_as(&everybody, request(&[], drafts)).await.expect("the push is answered");
    pushed.outcomes().expect("the push is not refused")
}

/// Pushes one operation that names a revision. It must be applied.
async fn apply(world: &World, draft: Draft, revision: u64) {
    let outcomes = push(world, [(draft, Some(revision))]).await;
    let [Outcome::Reached(reached)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!((reached.is_new, reached.rev), (true, Rev::new(revision).next()));
}

async fn state(world: &World, document: &str) -> Document {
    let state = world.service.document_state(&world.tenant, &key(document)).await.expect("the document is read");
    state.expect("there is a document")
}

/// The counters that the server has given clients, 0 for none.
async fn given<const N: usize>(world: &World, clients: [&str; N]) -> [u64; N] {
    let client_ids = clients.map(ClientId::literal).to_vec();
    let request = LoadRequest { client_ids, ..LoadRequest::default() };
    let owners = world.store.load(&world.tenant, request).await.expect("the store loads").owners;
    clients.map(|client| owners.get(&ClientId::literal(client)).map_or(0, |owner| owner.counter))
}

/// An operation is applied if it names the revision of its document, and otherwise it is in conflict. The log has a
/// clock that happens after the one before.
pub async fn an_operation_names_the_revision_that_its_author_saw(world: &World) {
    apply(world, insert("op-1", "doc").data(r#"{"n":1}"#), 0).await;
    apply(world, update("op-2", "doc").data(r#"{"m":2}"#).client("b"), 1).await;
    for revision in [0, 1, 3] {
        let outcomes = push(world, [(insert("op-3", "doc"), Some(revision))]).await;
        let [Outcome::Conflict(conflict)] = &outcomes[..] else { panic!("{outcomes:?}") };
        let document = &conflict.document;
        assert_eq!((conflict.relation, document.rev), (ConflictRelation::Concurrent, Rev::new(2)));
        assert_eq!(document.data.as_ref().map(Object::as_str), Some(r#"{"n":1,"m":2}"#));
    }
    apply(world, delete("op-4", "doc"), 2).await;
    apply(world, insert("op-5", "doc").data("{}"), 3).await;
    let log = world.log().await;
    assert_eq!(ids(&log), ["op-1", "op-2", "op-4", "op-5"]);
    let clocks: Vec<VectorClock> =
        log.iter().map(|entry| VectorClock::parse(entry.clock.as_str()).expect("a clock")).collect();
    for pair in clocks.windows(2) {
        assert_eq!(pair[1].compare(&pair[0]), Relation::HappensAfter, "{pair:?}");
    }
    let state = state(world, "doc").await;
    assert_eq!((state.rev, &state.clock), (Rev::new(4), &clocks[3]));
    let [a, b] = given(world, ["a", "b"]).await;
    assert_eq!([a, b], ["a", "b"].map(|client| state.clock.get(&ClientId::literal(client))));
}

/// Clients with clocks and clients with revisions edit one document, and neither overwrites what it has not seen.
pub async fn clients_with_clocks_and_with_revisions_see_each_others_edits(world: &World) {
    world.apply([insert("op-1", "doc").clock(&[("old", 1)])]).await;
    apply(world, update("op-2", "doc").client("new"), 1).await;
    let blind = world.push([update("op-3", "doc").clock(&[("old", 2)])]).await;
    assert!(matches!(&blind[..], [Outcome::Conflict(_)]), "{blind:?}");
    let seen = state(world, "doc").await.clock.get(&ClientId::literal("new"));
    world.apply([update("op-4", "doc").clock(&[("old", 2), ("new", seen)])]).await;
    let blind = push(world, [(update("op-5", "doc").client("new"), Some(2))]).await;
    assert!(matches!(&blind[..], [Outcome::Conflict(_)]), "{blind:?}");
    apply(world, update("op-6", "doc").client("new"), 3).await;
    // One clock for all documents says nothing about a document that was not pulled.
    apply(world, insert("op-7", "other").client("new"), 0).await;
    let own = state(world, "doc").await.clock.get(&ClientId::literal("new"));
    let blind = world.push([update("op-8", "other").clock(&[("old", 3), ("new", own)])]).await;
    assert!(matches!(&blind[..], [Outcome::Conflict(_)]), "{blind:?}");
}

/// A push has seen what it wrote itself, also if it is pushed again because its answer was lost.
pub async fn later_operations_of_a_push_have_seen_the_earlier_ones(world: &World) {
    apply(world, insert("op-0", "doc"), 0).await;
    let drafts = |revision: u64| [update("op-1", "doc"), update("op-2", "doc")].map(|draft| (draft, Some(revision)));
    assert!(push(world, drafts(1)).await.iter().all(Outcome::is_applied));
    let again = drafts(1).into_iter().chain([(update("op-3", "doc"), Some(1)), (update("op-4", "doc"), Some(4))]);
    assert_eq!(letters(&Pushed::Decided(push(world, again).await)), "rraa");
    assert_eq!(state(world, "doc").await.rev, Rev::new(5));
}

/// The stamps of an operation that names a revision are those of its derived clock.
pub async fn a_policy_resolves_operations_that_name_earlier_revisions(world: &World) {
    let service = SyncService::new(Arc::clone(&world.store), Arc::clone(&world.host) as Arc<dyn Host>);
    let policies = Policies::for_all(ConflictPolicy::Merge, Deletes::Win);
    let world = &World { service: Arc::new(service.with_conflict_policies(policies)), ..world.clone() };
    apply(world, insert("op-1", "doc").data(r#"{"x":1,"y":1}"#).at(1), 0).await;
    apply(world, update("op-2", "doc").client("b").data(r#"{"x":2}"#).at(20), 1).await;
    let stale = [(update("op-3", "doc").client("c").data(r#"{"x":3,"y":3}"#).at(10), Some(1))];
    let outcomes = push(world, stale.clone()).await;
    let [Outcome::Resolved(resolved)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!(resolved.lost.as_ref().map(Object::as_str), Some(r#"{"x":3}"#));
    assert_eq!(letters(&Pushed::Decided(push(world, stale).await)), "r");
    apply(world, update("op-4", "doc").client("c").data(r#"{"y":4}"#).at(5), 3).await;
    assert_eq!(world.data("doc").await.as_deref(), Some(r#"{"x":2,"y":4}"#));
    let log = world.log().await;
    assert_eq!(ids(&log[1..]), ["op-2", "op-3", "op-4"].map(|id| format!("syncflow-server::resolved::{id}")));
    let clocks: Vec<VectorClock> =
        log.iter().map(|entry| VectorClock::parse(entry.clock.as_str()).expect("a clock")).collect();
    for pair in clocks.windows(2) {
        assert_eq!(pair[1].compare(&pair[0]), Relation::HappensAfter, "{pair:?}");
    }
}

/// Two servers that write for one client at the same moment give it different counters.
pub async fn a_client_gets_each_counter_from_one_server(world: &World) {
    let faulty = FaultyStore::new(Arc::clone(&world.store));
    let (first, other) = (world.over(Arc::clone(&faulty) as Arc<dyn Store>), world.over(Arc::clone(&world.store)));
    for round in 0..3 {
        let other = other.clone();
        faulty.meanwhile(async move {
            apply(&other, insert(&format!("theirs-{round}"), &format!("theirs-{round}")), 0).await;
        });
        apply(&first, insert(&format!("mine-{round}"), &format!("mine-{round}")), 0).await;
    }
    let mut counters = Vec::new();
    for entry in world.log().await {
        counters.push(VectorClock::parse(entry.clock.as_str()).expect("a clock").get(&ClientId::literal("a")));
    }
    assert!(counters.len() == 6 && counters.windows(2).all(|pair| pair[0] < pair[1]), "{counters:?}");
    assert_eq!(given(world, ["a"]).await[0], counters[5]);
}

/// A revision is of one log: a push that knows it from another log is refused and changes nothing.
pub async fn a_push_with_a_place_of_another_log_is_refused(world: &World) {
    world.apply([insert("op-1", "doc"), update("op-2", "doc")]).await;
    let Cursor::Log(head) = world.head().await else { panic!("not the end of the log") };
    let first = world.changes(Some(Cursor::BEGINNING), 1).await.next.position();
    let everybody = principal(world, "anybody").for_everybody();
    let push = async |number: u64, places: &[Position]| {
        let draft = (insert(&format!("op-{number}"), &format!("doc-{number}")), Some(0));
        world.service.push_as(&everybody, request(places, [draft])).await.expect("the push is answered")
    };
    for is_compacted in [false, true] {
        let number = 10 + u64::from(is_compacted);
        let pushed = push(number, &[first, head, Position::START]).await;
        assert_eq!(letters(&pushed), "a", "{is_compacted}");
        let other = Fingerprint::from_number(first.fingerprint.to_number() ^ 1);
        for place in [
            Position { fingerprint: other, ..first },
            Position { fingerprint: first.fingerprint, ..head },
            Position { seq: Seq::new(99), ..head },
            Position { seq: Seq::START, ..head },
        ] {
            let refused = Pushed::Refused(Refused::OtherLog);
            assert_eq!(push(20, &[place]).await, refused, "{place:?}");
            assert_eq!(push(20, &[head, place]).await, refused, "{place:?}");
        }
        world.compact(0).await;
    }
    assert_eq!(world.document("doc-20").await, None);
    assert_eq!(world.as_tenant("another").document("doc-20").await, None);
    let other_tenant = Principal { tenant: world.as_tenant("another").tenant, ..everybody.clone() };
    let draft = (insert("op-1", "doc"), Some(0));
    let pushed = world.service.push_as(&other_tenant, request(&[head], [draft])).await;
    assert_eq!(pushed.expect("the push is answered"), Pushed::Refused(Refused::OtherLog));
}

/// Pushes of several authors that share a commit are decided in their order, each with its own revisions.
pub async fn pushes_with_revisions_that_share_a_commit_see_each_other(world: &World) {
    let faulty = FaultyStore::new(Arc::clone(&world.store));
    let world = world.over(Arc::clone(&faulty) as Arc<dyn Store>);
    apply(&world, insert("op-0", "doc"), 0).await;
    let gate = faulty.hold(&world.tenant).await;
    let begin = |subject: &'static str, places: Vec<Position>, drafts: Vec<(Draft, Option<u64>)>| {
        let world = world.clone();
        let mut begun = async move {
            world.service.push_as(&principal(&world, subject), request(&places, drafts)).await.expect("an answer")
        }
        .boxed();
        assert!((&mut begun).now_or_never().is_none(), "the push waits for its commit");
        begun
    };
    let first = begin("eve", vec![], vec![(insert("op-1", "first").client("e"), Some(0))]);
    let elsewhere = Position { seq: Seq::new(1), fingerprint: Fingerprint::from_number(1) };
    let pushes = [
        begin(
            "ann",
            vec![],
            vec![(update("op-2", "doc").client("b"), Some(1)), (update("op-3", "doc").client("b"), Some(1))],
        ),
        begin(
            "bob",
            vec![],
            vec![(update("op-4", "doc").client("c"), Some(1)), (insert("op-5", "own").client("c"), Some(0))],
        ),
        begin("cid", vec![elsewhere], vec![(insert("op-6", "lost").client("d"), Some(0))]),
        begin("bob", vec![], vec![(update("op-7", "doc").client("c"), Some(3))]),
        begin("cid", vec![], vec![(insert("op-8", "foreign").client("b"), Some(0))]),
    ];
    drop(gate);
    assert_eq!(letters(&first.await), "a");
    let mut answers = join_all(pushes).await;
    assert_eq!(faulty.commits(), 3, "they shared a commit");
    assert_eq!(letters(&answers.remove(0)), "aa");
    let Pushed::Decided(outcomes) = answers.remove(0) else { panic!("it is decided") };
    let [Outcome::Conflict(conflict), Outcome::Reached(_)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert_eq!(conflict.document.rev, Rev::new(3));
    assert_eq!(letters(&answers.remove(1)), "a");
    let rest = [Refused::OtherLog, Refused::ForeignClient { index: Some(0) }].map(Pushed::Refused);
    assert_eq!(answers, rest);
    assert_eq!(ids(&world.log().await), ["op-0", "op-1", "op-2", "op-3", "op-5", "op-7"]);
}

/// A partial push is done without the operations that are refused, and the others keep their own revisions.
pub async fn a_partial_push_with_revisions_is_done_without_what_is_refused(world: &World) {
    apply(world, insert("op-1", "doc"), 0).await;
    let drafts = [
        (insert("op-2", "missing"), Some(7)),
        (update("op-3", "missing"), Some(0)),
        (update("op-4", "doc"), Some(1)),
        (update("op-5", "doc").clock(&[("z", 1)]), None),
    ];
    let everybody = principal(world, "anybody").for_everybody();
    let whole = world.service.push_as(&everybody, request(&[], drafts.clone())).await.expect("an answer");
    assert_eq!(whole, Pushed::Refused(Refused::UnknownBase { index: 0 }));
    let partial = world.service.push_as(&everybody, request(&[], drafts).partial()).await.expect("an answer");
    let Pushed::Decided(outcomes) = partial else { panic!("it is decided") };
    let refused = [OperationRefused::UnknownBase, OperationRefused::BuildsOnRefused].map(Outcome::Refused);
    assert_eq!((&outcomes[..2], outcomes[2].is_applied()), (&refused[..], true));
    assert!(matches!(&outcomes[3], Outcome::Conflict(conflict) if conflict.relation == ConflictRelation::Concurrent));
}

/// A document whose clock is full takes the edits of further clients that name its revision, and loses no entry.
/// Clients with clocks go on too.
pub async fn a_full_clock_holds_up_no_client(world: &World) {
    let names: Vec<String> = (0..CLOCK_MAX_ENTRIES).map(|number| format!("old-{number}")).collect();
    let full: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    world.apply([insert("op-1", "doc").clock(&full)]).await;
    for (revision, author) in [(1, "new"), (2, "newer"), (3, "old-3")] {
        apply(world, update(&format!("op-{author}"), "doc").client(author), revision).await;
    }
    let blind = world.push([update("op-2", "doc").clock(&full)]).await;
    assert!(matches!(&blind[..], [Outcome::Conflict(_)]));
    let clock = state(world, "doc").await.clock;
    assert!(
        clock.len() == CLOCK_MAX_ENTRIES + 1 && full.iter().all(|(name, _)| clock.get(&ClientId::literal(name)) > 0)
    );
    let echo: Vec<(String, u64)> = clock.iter().map(|(client, counter)| (client.to_string(), counter)).collect();
    let mut echo: Vec<(&str, u64)> = echo.iter().map(|(client, counter)| (client.as_str(), *counter)).collect();
    echo.sort_by_key(|(client, _)| *client != "old-0");
    echo[0].1 += 1;
    world.apply([update("op-3", "doc").clock(&echo)]).await;
    apply(world, update("op-4", "doc").client("newest"), 5).await;
    let server = "syncflow-server::clock";
    assert_eq!(given(world, [server]).await[0], state(world, "doc").await.clock.get(&ClientId::literal(server)));
}

/// A commit whose answer is lost has taken effect once, and the push can be repeated.
pub async fn a_push_with_revisions_whose_answer_was_lost_takes_effect_once(world: &World) {
    let faulty = FaultyStore::new(Arc::clone(&world.store));
    let lossy = world.over(Arc::clone(&faulty) as Arc<dyn Store>);
    faulty.inject([Fault::AnswerLost(ErrorKind::Unavailable)]);
    let everybody = principal(world, "anybody").for_everybody();
    let drafts = || [(insert("op-1", "doc"), Some(0)), (update("op-2", "doc"), Some(0))];
    assert!(lossy.service.push_as(&everybody, request(&[], drafts())).await.is_err());
    let before = given(world, ["a"]).await;
    assert_eq!(letters(&Pushed::Decided(push(&lossy, drafts()).await)), "rr");
    assert_eq!((given(world, ["a"]).await, state(world, "doc").await.rev), (before, Rev::new(2)));
}
