//! Pushes that share a commit, stores that fail, and other concurrent work.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _, join_all};

use super::super::draft::{Draft, insert, inserts, update};
use super::super::faults::{Fault, FaultyStore};
use super::super::world::{World, ids, operations};
use crate::core::decide::{ConflictRelation, Outcome, Refused};
use crate::core::names::ClientId;
use crate::core::numbers::{Rev, UnixMs};
use crate::limits::protocol::{DOCUMENT_MAX_BYTES, PUSH_LOADED_MAX_BYTES};
use crate::limits::service::{GROUP_MAX_OPERATIONS, PULL_MAX_ATTEMPTS, PUSH_BACKOFF_MAX_MS, PUSH_MAX_ATTEMPTS};
use crate::service::{PullFrom, PullRequest, Pushed, ServiceError};
use crate::store::ErrorKind;

type PushFuture<'w> = BoxFuture<'w, Result<Pushed, ServiceError>>;

/// The world over a store that fails on demand.
fn over_faults(world: &World) -> (World, Arc<FaultyStore>) {
    let faulty = FaultyStore::new(Arc::clone(&world.store));
    (world.over(Arc::clone(&faulty) as Arc<dyn crate::store::Store>), faulty)
}

/// A push that has begun and waits.
fn begin(world: &World, drafts: impl IntoIterator<Item = Draft>) -> PushFuture<'_> {
    let operations = operations(drafts);
    let mut push = world.service.push(&world.tenant, operations).boxed();
    assert!((&mut push).now_or_never().is_none(), "the push waits for its commit");
    push
}

async fn outcomes(push: PushFuture<'_>) -> Vec<Outcome> {
    push.await.expect("the push is answered").outcomes().expect("the push is not refused")
}

/// During a commit, new pushes join a group, which is decided as one batch in their order.
pub async fn pushes_that_wait_together_share_a_commit_and_each_gets_its_answer(world: &World) {
    let (world, faulty) = over_faults(world);
    let gate = faulty.hold(&world.tenant).await;
    let first = begin(&world, [insert("op-1", "doc").data(r#"{"n":1}"#)]);
    let second = begin(&world, [update("op-2", "doc").clock(&[("a", 2)]).data(r#"{"m":2}"#), insert("op-3", "other")]);
    let third = begin(&world, [update("op-4", "doc").clock(&[("b", 1)])]);
    let fourth = begin(&world, [insert("op-2", "elsewhere")]);
    drop(gate);
    let answers = join_all([first, second, third, fourth].map(outcomes)).await;
    assert_eq!(answers[0], [Outcome::Applied]);
    assert_eq!(answers[1], [Outcome::Applied, Outcome::Applied]);
    let Outcome::Conflict(conflict) = &answers[2][0] else { panic!("no conflict but {:?}", answers[2]) };
    assert_eq!((conflict.relation, conflict.document.rev), (ConflictRelation::Concurrent, Rev::new(2)));
    assert_eq!(answers[3], [Outcome::Duplicate]);
    assert_eq!(faulty.commits(), 2, "one for the first, one for all that waited");
    assert_eq!(ids(&world.log().await), ["op-1", "op-2", "op-3"]);
}

/// Law 2: one operation in several pushes that wait together is accepted in each and takes effect once.
pub async fn one_operation_in_many_pushes_at_once_is_accepted_in_each(world: &World) {
    let (world, faulty) = over_faults(world);
    let gate = faulty.hold(&world.tenant).await;
    let pushes: Vec<PushFuture<'_>> = (0..8).map(|_| begin(&world, [insert("op-1", "doc")])).collect();
    drop(gate);
    let answers = join_all(pushes.into_iter().map(outcomes)).await;
    assert!(answers.iter().all(|answer| matches!(answer[..], [Outcome::Applied | Outcome::Duplicate])), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer[..] == [Outcome::Applied]).count(), 1);
    assert_eq!(world.document("doc").await.map(|document| document.rev), Some(Rev::new(1)));
}

/// A refused push leaves no trace, and the other pushes of its group are decided without it.
pub async fn a_refused_push_does_not_take_its_neighbours_down(world: &World) {
    let (world, faulty) = over_faults(world);
    let half = format!(r#"{{"a":"{}"}}"#, "x".repeat(DOCUMENT_MAX_BYTES / 2));
    let other_half = format!(r#"{{"b":"{}"}}"#, "x".repeat(DOCUMENT_MAX_BYTES / 2));
    let gate = faulty.hold(&world.tenant).await;
    let first = begin(&world, [insert("op-1", "doc-1")]);
    let before = begin(&world, [insert("op-2", "doc-2")]);
    let refused = begin(&world, [insert("op-3", "doc-3").data(&half), update("op-4", "doc-3").data(&other_half)]);
    let after = begin(&world, [insert("op-5", "doc-3")]);
    drop(gate);
    let answers = join_all([first, before, refused, after]).await;
    let answers: Vec<Pushed> = answers.into_iter().map(|answer| answer.expect("the push is answered")).collect();
    assert_eq!(answers[2], Pushed::Refused(Refused::DocumentTooLarge { index: 1 }));
    for neighbour in [0, 1, 3] {
        assert_eq!(answers[neighbour], Pushed::Decided(vec![Outcome::Applied]));
    }
    assert_eq!(ids(&world.log().await), ["op-1", "op-2", "op-5"]);
}

/// A push that the store refuses permanently fails alone.
pub async fn a_push_that_the_store_refuses_for_good_fails_alone(world: &World) {
    let (world, faulty) = over_faults(world);
    faulty.poison("poison");
    let gate = faulty.hold(&world.tenant).await;
    let first = begin(&world, [insert("op-1", "doc-1")]);
    let before = begin(&world, [insert("op-2", "doc-2")]);
    let poison = begin(&world, [insert("op-3", "doc-3"), insert("poison", "doc-2")]);
    let after = begin(&world, [update("op-4", "doc-2").data(r#"{"after":1}"#)]);
    drop(gate);
    let answers = join_all([first, before, poison, after]).await;
    let Err(ServiceError::Store(error)) = &answers[2] else { panic!("no error but {:?}", answers[2]) };
    assert!(!error.can_retry());
    for neighbour in [0, 1, 3] {
        let answer = answers[neighbour].as_ref().expect("the push is answered");
        assert_eq!(*answer, Pushed::Decided(vec![Outcome::Applied]));
    }
    assert_eq!(ids(&world.log().await), ["op-1", "op-2", "op-4"]);
    assert_eq!(world.data("doc-2").await.as_deref(), Some(r#"{"after":1}"#));
}

/// A group that takes the store too long is decided push by push; a push that does so alone is told to be smaller.
pub async fn a_group_that_takes_too_long_is_decided_push_by_push(world: &World) {
    let (world, faulty) = over_faults(world);
    let too_slow = Fault::Fails(ErrorKind::TooSlow);
    let gate = faulty.hold(&world.tenant).await;
    let first = begin(&world, [insert("op-1", "doc-1")]);
    let large = begin(&world, [insert("op-2", "doc-2"), insert("op-3", "doc-3")]);
    let neighbour = begin(&world, [insert("op-4", "doc-4")]);
    drop(gate);
    assert_eq!(outcomes(first).await, [Outcome::Applied]);
    faulty.inject([too_slow, too_slow]);
    let answers = join_all([large, neighbour]).await;
    let answers: Vec<Pushed> = answers.into_iter().map(|answer| answer.expect("the push is answered")).collect();
    assert_eq!(answers, [Pushed::Refused(Refused::TooSlow), Pushed::Decided(vec![Outcome::Applied])]);
    faulty.inject([too_slow]);
    let smallest = world.service.push(&world.tenant, operations([insert("op-5", "doc-5")])).await;
    let Err(ServiceError::Store(error)) = &smallest else { panic!("no error but {smallest:?}") };
    assert!(error.can_retry(), "one operation cannot be made smaller");
    assert_eq!(ids(&world.log().await), ["op-1", "op-4"]);
}

/// After a failure that came after the commit, no client sees an operation that was applied twice (law 2).
pub async fn a_group_whose_commit_fails_after_it_was_written_is_accepted_once(world: &World) {
    let (world, faulty) = over_faults(world);
    let gate = faulty.hold(&world.tenant).await;
    let first = begin(&world, [insert("op-1", "doc-1")]);
    let second = begin(&world, [insert("op-2", "doc-2")]);
    let third = begin(&world, [update("op-3", "doc-2")]);
    faulty.inject([Fault::Fails(ErrorKind::Failed), Fault::AnswerLost(ErrorKind::Failed)]);
    drop(gate);
    let answers = join_all([first, second, third]).await;
    assert!(answers[0].is_err(), "it was alone, so there was nobody to try it without");
    for answer in &answers[1..] {
        assert_eq!(*answer.as_ref().expect("the push is answered"), Pushed::Decided(vec![Outcome::Duplicate]));
    }
    assert_eq!(ids(&world.log().await), ["op-2", "op-3"]);
    assert_eq!(world.document("doc-2").await.map(|document| document.rev), Some(Rev::new(2)));
}

/// Law 7: if the store cannot be reached, every push says so, nothing has changed, and the next one works.
pub async fn an_unavailable_store_fails_the_pushes_and_changes_nothing(world: &World) {
    let (world, faulty) = over_faults(world);
    for kind in [ErrorKind::Unavailable, ErrorKind::Busy] {
        faulty.inject([Fault::Fails(kind), Fault::Fails(kind)]);
        let gate = faulty.hold(&world.tenant).await;
        let pushes = ["op-1", "op-2", "op-3"].map(|id| begin(&world, [insert(id, id)]));
        drop(gate);
        for answer in join_all(pushes).await {
            let Err(ServiceError::Store(error)) = answer else { panic!("no error but {answer:?}") };
            assert!(error.can_retry());
        }
        assert_eq!(world.log().await, []);
    }
    world.apply(["op-1", "op-2", "op-3"].map(|id| insert(id, id))).await;
}

/// If the answer of a commit is lost, the client pushes again, and every operation has taken effect once.
pub async fn a_push_whose_answer_was_lost_can_be_repeated(world: &World) {
    let (world, faulty) = over_faults(world);
    faulty.inject([Fault::AnswerLost(ErrorKind::Unavailable)]);
    let drafts = || [insert("op-1", "doc"), update("op-2", "doc").clock(&[("a", 2)])];
    let lost = world.service.push(&world.tenant, operations(drafts())).await;
    assert!(matches!(lost, Err(ServiceError::Store(_))));
    assert_eq!(world.push(drafts()).await, [Outcome::Duplicate, Outcome::Duplicate]);
    assert_eq!(world.document("doc").await.map(|document| document.rev), Some(Rev::new(2)));
}

/// Clients that hang up while their push waits do not stop other pushes, and no push is written in part.
pub async fn pushes_whose_clients_went_away_hold_up_nobody(world: &World) {
    let (world, faulty) = over_faults(world);
    let pair = |name: &str| [insert(&format!("{name}-1"), &format!("{name}-1")), insert(&format!("{name}-2"), name)];
    let gate = faulty.hold(&world.tenant).await;
    let first = begin(&world, pair("first"));
    let second = begin(&world, pair("second"));
    let third = begin(&world, pair("third"));
    let fourth = begin(&world, pair("fourth"));
    drop((first, second, fourth));
    drop(gate);
    assert_eq!(outcomes(third).await, [Outcome::Applied, Outcome::Applied]);
    let log = world.log().await;
    for name in ["first", "second", "fourth"] {
        let written = log.iter().filter(|entry| entry.id.as_str().starts_with(name)).count();
        assert_ne!(written, 1, "half of a push was written");
    }
    let gate = faulty.hold(&world.tenant).await;
    drop([begin(&world, pair("fifth")), begin(&world, pair("sixth"))]);
    drop(gate);
    world.apply(pair("last")).await;
}

/// Every retry is bounded: a push that always meets a faster commit fails and has changed nothing.
pub async fn a_push_that_is_always_contended_gives_up(world: &World) {
    let (world, faulty) = over_faults(world);
    faulty.inject([Fault::Contended; 2 * PUSH_MAX_ATTEMPTS as usize]);
    let pushed = world.service.push(&world.tenant, operations([insert("op-1", "doc")])).await;
    assert!(matches!(pushed, Err(ServiceError::Contended { attempts: PUSH_MAX_ATTEMPTS })), "{pushed:?}");
    assert_eq!(faulty.commits(), PUSH_MAX_ATTEMPTS);
    assert!(world.host.slept_ms() > 0, "it waits between the attempts");
    assert!(world.host.slept_ms() <= u64::from(PUSH_MAX_ATTEMPTS) * PUSH_BACKOFF_MAX_MS);
    assert_eq!(world.log().await, []);
}

/// A push that was contended a few times is applied as usual.
pub async fn a_contended_push_is_tried_again(world: &World) {
    let (world, faulty) = over_faults(world);
    faulty.inject([Fault::Contended; 3]);
    world.apply([insert("op-1", "doc")]).await;
    assert_eq!(faulty.commits(), 4);
    assert_eq!(ids(&world.log().await), ["op-1"]);
}

/// Law 3: the next decision sees what another process committed between the decision and the commit.
pub async fn what_happens_between_decision_and_commit_is_decided_about_again(world: &World) {
    let (faulty_world, faulty) = over_faults(world);
    world.apply([insert("op-1", "doc").data(r#"{"n":1}"#)]).await;
    let other = world.clone();
    faulty.meanwhile(async move { other.apply([update("theirs", "doc").clock(&[("b", 1), ("a", 1)])]).await });
    let outcomes = faulty_world.push([update("ours", "doc").clock(&[("a", 2)]), insert("new", "other")]).await;
    let Outcome::Conflict(conflict) = &outcomes[0] else { panic!("no conflict but {outcomes:?}") };
    assert_eq!((conflict.relation, conflict.document.rev), (ConflictRelation::Concurrent, Rev::new(2)));
    assert_eq!(outcomes[1], Outcome::Applied);

    let other = world.clone();
    faulty.meanwhile(async move { other.apply([insert("created", "created").client("b")]).await });
    let outcomes = faulty_world.push([insert("mine", "created").clock(&[("c", 1)])]).await;
    assert!(matches!(outcomes[..], [Outcome::Conflict(_)]), "{outcomes:?}");

    let other = world.clone();
    faulty.meanwhile(async move { other.apply([insert("same", "doc-3")]).await });
    assert_eq!(faulty_world.push([insert("same", "doc-3")]).await, [Outcome::Duplicate]);
}

/// Law 10: a group is bounded, and pushes without room wait for the next commit.
pub async fn a_group_is_bounded(world: &World) {
    let (world, faulty) = over_faults(world);
    let large = |name: &str| {
        let documents = inserts(GROUP_MAX_OPERATIONS as u64 * 3 / 8).into_iter();
        documents.map(|draft| draft.renamed(name, name)).collect::<Vec<_>>()
    };
    let gate = faulty.hold(&world.tenant).await;
    let names = ["first", "second", "third", "fourth", "fifth"];
    let pushes = names.map(|name| begin(&world, large(name)));
    drop(gate);
    for answer in join_all(pushes.map(outcomes)).await {
        assert!(answer.iter().all(|outcome| *outcome == Outcome::Applied));
    }
    assert_eq!(faulty.commits(), 3, "the first alone, then two and two");
}

/// Pushes whose documents are too much for one commit share as many commits as they need (law 10).
pub async fn pushes_that_are_too_much_together_are_decided_apart(world: &World) {
    let (world, faulty) = over_faults(world);
    let bytes = 900_000;
    let data = format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes));
    let count = PUSH_LOADED_MAX_BYTES / bytes + 2;
    for number in 0..count {
        world.apply([insert(&format!("large-{number}"), &format!("doc-{number}")).data(&data)]).await;
    }
    let before = faulty.commits();
    let gate = faulty.hold(&world.tenant).await;
    let first = begin(&world, [insert("first", "first")]);
    let mut pushes: Vec<PushFuture<'_>> = (0..count)
        .map(|number| begin(&world, [update(&format!("op-{number}"), &format!("doc-{number}")).data(r#"{"b":1}"#)]))
        .collect();
    let too_much = (0..count).map(|number| update(&format!("too-{number}"), &format!("doc-{number}")));
    pushes.push(begin(&world, too_much));
    drop(gate);
    assert_eq!(outcomes(first).await, [Outcome::Applied]);
    let mut answers = join_all(pushes).await;
    let refused = answers.pop().expect("the last push").expect("the push is answered");
    assert_eq!(refused, Pushed::Refused(Refused::DocumentsTooLarge { max_bytes: PUSH_LOADED_MAX_BYTES }));
    for answer in answers {
        assert_eq!(answer.expect("the push is answered"), Pushed::Decided(vec![Outcome::Applied]));
    }
    let commits = usize::try_from(faulty.commits() - before).expect("a small number");
    assert!(commits < count, "{commits} commits");
}

/// Law 9: a tenant with a slow commit delays no other tenant.
pub async fn a_commit_that_takes_its_time_blocks_no_other_tenant(world: &World) {
    let (slow, faulty) = over_faults(world);
    let other = slow.as_tenant("other");
    let gate = faulty.hold(&slow.tenant).await;
    let waiting = begin(&slow, [insert("op-1", "doc")]);
    other.apply([insert("op-1", "doc")]).await;
    assert_eq!(ids(&other.page(None, 9).await.entries), ["op-1"]);
    assert_eq!(slow.log().await, [], "reads of the waiting tenant are not held up either");
    drop(gate);
    assert_eq!(outcomes(waiting).await, [Outcome::Applied]);
}

/// Law 6: two concurrent requests of one client never use the other's `since` for their own place.
pub async fn two_requests_of_one_client_at_once_share_no_since(world: &World) {
    let (faulty_world, faulty) = over_faults(world);
    world.apply([insert("op-1", "doc-1").at(5)]).await;
    assert_eq!(ids(&world.since("me", 0, 9).await.entries), ["op-1"]);
    world.apply([insert("op-2", "doc-2").at(7)]).await;
    let other = world.clone();
    faulty.meanwhile(async move {
        other.apply([insert("op-3", "doc-3").at(7)]).await;
        assert_eq!(ids(&other.since("me", 5, 1).await.entries), ["op-2"]);
    });
    let page = faulty_world.since("me", 5, 9).await;
    assert_eq!(ids(&page.entries[..2]), ["op-2", "op-3"], "the page is made again, of what is there now");
    let next = page.entries.iter().map(|entry| entry.timestamp.get()).max();
    assert_eq!(next, Some(8), "7 stands for the other one's place");
    world.apply([insert("op-4", "doc-4").at(1)]).await;
    assert_eq!(ids(&world.since("me", 7, 9).await.entries)[..2], ["op-3", "op-4"]);
    assert_eq!(ids(&world.since("me", 8, 9).await.entries)[..1], ["op-4"]);
}

/// A pull of an original client fails if its client's memory changes at each attempt.
pub async fn a_pull_that_is_always_contended_gives_up(world: &World) {
    let (faulty_world, faulty) = over_faults(world);
    world.apply(inserts(3)).await;
    for number in 0..2 * PULL_MAX_ATTEMPTS as usize {
        let other = world.clone();
        // The memory changes each time, even if only the order of the last used places differs.
        faulty.meanwhile(async move { drop(other.since("me", 0, 1 + number % 2).await) });
    }
    let request =
        PullRequest::new(PullFrom::Since(UnixMs::EPOCH)).with_client(ClientId::literal("me")).with_max_operations(9);
    let pulled = faulty_world.service.pull(&faulty_world.tenant, request).await;
    assert!(matches!(pulled, Err(ServiceError::Contended { attempts: PULL_MAX_ATTEMPTS })), "{pulled:?}");
    assert_eq!(world.memory("me").await.map(|memory| memory.revision), Some(Rev::new(PULL_MAX_ATTEMPTS.into())));
}

/// A store that works reports that it does.
pub async fn a_store_that_works_can_be_reached(world: &World) {
    assert!(world.service.check().await.is_ok());
    assert_eq!(world.service.adapter(), world.store.name());
}
