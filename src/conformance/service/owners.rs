//! The owners of client ids: each belongs to the subject that used it first.

use std::sync::Arc;

use futures_util::future::{FutureExt as _, join_all};

use super::super::draft::{Draft, insert, update};
use super::super::faults::FaultyStore;
use super::super::world::{World, ids, operations};
use crate::core::access::{Principal, Role};
use crate::core::cursor::Cursor;
use crate::core::decide::owners::ClientOwner;
use crate::core::decide::quota::{Quota, QuotaExceeded, QuotaKind};
use crate::core::decide::{OperationRefused, Outcome, Refused};
use crate::core::names::{ClientId, Subject};
use crate::core::numbers::UnixMs;
use crate::service::{Host, PullFrom, PullRequest, Pulled, PushRequest, Pushed, SyncService};
use crate::store::{LoadRequest, Store};

fn principal(world: &World, subject: &str) -> Principal {
    Principal::new(world.tenant.clone(), Subject::literal(subject), Role::Writer)
}

fn request(client: &str, drafts: impl IntoIterator<Item = Draft>) -> PushRequest {
    PushRequest::new(operations(drafts)).with_client(ClientId::literal(client))
}

async fn push(world: &World, subject: &str, client: &str, drafts: impl IntoIterator<Item = Draft>) -> Pushed {
    let pushed = world.service.push_as(&principal(world, subject), request(client, drafts)).await;
    pushed.expect("the push is answered")
}

async fn pull(world: &World, principal: &Principal, client: &str, from: PullFrom) -> Pulled {
    let request = PullRequest::new(from).with_client(ClientId::literal(client));
    world.service.pull_as(principal, request).await.expect("the pull is answered")
}

/// An insert by a client into a document of the operation's own.
fn of(client: &str, id: &str) -> Draft {
    insert(id, id).clock(&[(client, 1)])
}

/// The subjects that own clients, `-` for none.
async fn owners(world: &World, clients: &[&str]) -> String {
    let client_ids: Vec<ClientId> = clients.iter().map(|client| ClientId::literal(client)).collect();
    let request = LoadRequest { client_ids: client_ids.clone(), ..LoadRequest::default() };
    let owners = world.store.load(&world.tenant, request).await.expect("the store loads").owners;
    let subject = |client| owners.get(client).and_then(|owner: &ClientOwner| owner.subject.as_ref());
    let subjects = client_ids.iter().map(|client| subject(client).map_or("-", Subject::as_str));
    subjects.collect::<Vec<_>>().join(" ")
}

fn applied(count: usize) -> Pushed {
    Pushed::Decided(vec![Outcome::Applied; count])
}

fn foreign(index: Option<usize>) -> Pushed {
    Pushed::Refused(Refused::ForeignClient { index })
}

/// The client that pushes, the authors of its operations and a client that pulls belong to their subject afterwards.
pub async fn a_client_belongs_to_the_subject_that_pushes_or_pulls_first(world: &World) {
    assert_eq!(push(world, "ann", "tab", [of("a", "op-1"), of("a2", "op-2")]).await, applied(2));
    assert!(matches!(pull(world, &principal(world, "bob"), "b", PullFrom::Cursor(None)).await, Pulled::Page(_)));
    let since = PullFrom::Since(UnixMs::EPOCH);
    assert!(matches!(pull(world, &principal(world, "cid"), "c", since).await, Pulled::Page(_)));
    assert_eq!(owners(world, &["tab", "a", "a2", "b", "c", "d"]).await, "ann ann ann bob cid -");
    assert_eq!(push(world, "ann", "a2", [of("tab", "op-3"), of("a", "op-4")]).await, applied(2));
    assert_eq!(push(world, "ann", "tab2", [of("a", "op-4")]).await, Pushed::Decided(vec![Outcome::Duplicate]));
    let conflict = push(world, "ann", "tab3", [insert("op-5", "op-1").clock(&[("a9", 1)])]).await;
    assert!(matches!(conflict, Pushed::Decided(outcomes) if matches!(outcomes[0], Outcome::Conflict(_))));
    assert_eq!(owners(world, &["tab2", "tab3", "a9"]).await, "- - -", "nothing took effect");
    let other = world.as_tenant("another");
    assert_eq!(push(&other, "bob", "a", [of("a", "op-1")]).await, applied(1), "another tenant is another world");
}

/// Law 7: a push of a client that belongs to another subject is refused as a whole, whatever it contains.
pub async fn a_push_of_another_subject_s_client_changes_nothing(world: &World) {
    assert_eq!(push(world, "ann", "a", [of("a", "op-1")]).await, applied(1));
    for drafts in [vec![of("b", "op-2")], vec![of("a", "op-1")], vec![of("a", "op-2"), of("b", "op-3")]] {
        assert_eq!(push(world, "bob", "a", drafts.clone()).await, foreign(None));
        let partial = world.service.push_as(&principal(world, "bob"), request("a", drafts).partial()).await;
        assert_eq!(partial.expect("the push is answered"), foreign(None));
    }
    let empty = world.service.push_as(&principal(world, "bob"), request("a", []).partial()).await;
    assert_eq!(empty.expect("the push is answered"), foreign(None), "all of its operations may be at fault");
    assert_eq!(ids(&world.log().await), ["op-1"]);
    assert_eq!(owners(world, &["a", "b"]).await, "ann -");
}

/// An operation whose author belongs to another subject is refused with its push, or alone in a partial one.
pub async fn an_operation_of_another_subject_s_client_is_refused(world: &World) {
    assert_eq!(push(world, "ann", "a", [of("a", "op-1")]).await, applied(1));
    let drafts = || {
        [
            of("b", "op-2"),
            of("a", "op-3"),
            update("op-4", "op-3").clock(&[("b", 2)]),
            of("a", "op-1"),
            insert("op-5", "op-2").clock(&[("b", 2)]),
        ]
    };
    assert_eq!(push(world, "bob", "b", drafts()).await, foreign(Some(1)));
    assert_eq!((ids(&world.log().await), owners(world, &["b"]).await), (vec!["op-1"], "-".to_owned()));
    let partial = world.service.push_as(&principal(world, "bob"), request("b", drafts()).partial()).await;
    let refused = Outcome::Refused;
    let expected = vec![
        Outcome::Applied,
        refused(OperationRefused::ForeignClient),
        refused(OperationRefused::BuildsOnRefused),
        Outcome::Duplicate,
        Outcome::Applied,
    ];
    assert_eq!(partial.expect("the push is answered"), Pushed::Decided(expected));
    assert_eq!(ids(&world.log().await), ["op-1", "op-2", "op-5"]);
}

/// A pull of a client that belongs to another subject gets no data, and leaves the memory of the client as it is.
pub async fn a_pull_of_another_subject_s_client_is_refused_and_notes_nothing(world: &World) {
    world.apply([of("x", "op-1"), of("x", "op-2")]).await;
    let (ann, bob) = (principal(world, "ann"), principal(world, "bob"));
    for (client, from) in [("modern", PullFrom::Cursor(None)), ("original", PullFrom::Since(UnixMs::EPOCH))] {
        assert!(matches!(pull(world, &ann, client, from).await, Pulled::Page(_)), "{client}");
    }
    let before = (world.memory("modern").await, world.memory("original").await);
    assert!(before.0.is_some() && before.1.is_some());
    world.host.advance_ms(1_000 * 60 * 60 * 24);
    for client in ["modern", "original"] {
        for from in [
            PullFrom::Cursor(None),
            PullFrom::Cursor(Some(Cursor::BEGINNING)),
            PullFrom::Cursor(Some(world.head().await)),
            PullFrom::Documents { after: None, collections: None },
            PullFrom::Since(UnixMs::EPOCH),
            PullFrom::Since(UnixMs::new(7)),
        ] {
            assert_eq!(pull(world, &bob, client, from.clone()).await, Pulled::ForeignClient, "{client} {from:?}");
        }
    }
    assert_eq!((world.memory("modern").await, world.memory("original").await), before);
    assert!(matches!(pull(world, &ann, "modern", PullFrom::Cursor(None)).await, Pulled::Page(_)));
}

/// A claim that cannot be written does not make a pull fail.
pub async fn a_pull_is_answered_if_its_client_cannot_be_claimed(world: &World) {
    world.apply([of("x", "op-1")]).await;
    let faulty = FaultyStore::new(Arc::clone(&world.store));
    faulty.become_read_only();
    let faulty = world.over(faulty);
    let pulled = pull(&faulty, &principal(world, "ann"), "a", PullFrom::Cursor(None)).await;
    assert!(matches!(pulled, Pulled::Page(page) if page.entries.len() == 1));
    assert_eq!(owners(world, &["a"]).await, "-");
}

/// Two subjects claim one client through two servers at the same moment: the one whose commit comes second is refused.
pub async fn of_two_subjects_that_claim_a_client_at_once_one_is_refused(world: &World) {
    let faulty = FaultyStore::new(Arc::clone(&world.store));
    let first = world.over(Arc::clone(&faulty) as Arc<dyn Store>);
    for (number, is_pull) in [false, true].into_iter().enumerate() {
        let (other, client) = (world.over(Arc::clone(&world.store)), format!("a-{number}"));
        let same_client = client.clone();
        faulty.meanwhile(async move {
            if is_pull {
                let pulled = pull(&other, &principal(&other, "bob"), &same_client, PullFrom::Cursor(None)).await;
                assert!(matches!(pulled, Pulled::Page(_)));
            } else {
                let pushed = push(&other, "bob", &same_client, [of(&same_client, "op-bob")]).await;
                assert_eq!(pushed, applied(1));
            }
        });
        let pushed = push(&first, "ann", &client, [of(&client, &format!("op-{number}"))]).await;
        assert_eq!(pushed, foreign(None), "{number}");
        assert_eq!(owners(world, &[&client]).await, "bob");
    }
    assert_eq!(ids(&world.log().await), ["op-bob"]);
}

/// Pushes of two subjects that share a commit are each decided for their own subject, in their order.
pub async fn of_two_subjects_that_claim_a_client_in_one_commit_the_second_is_refused(world: &World) {
    let faulty = FaultyStore::new(Arc::clone(&world.store));
    let world = world.over(Arc::clone(&faulty) as Arc<dyn Store>);
    let gate = faulty.hold(&world.tenant).await;
    let begin = |subject: &'static str, client: &'static str, drafts: Vec<Draft>| {
        let world = world.clone();
        let mut begun = async move { push(&world, subject, client, drafts).await }.boxed();
        assert!((&mut begun).now_or_never().is_none(), "the push waits for its commit");
        begun
    };
    let first = begin("eve", "e", vec![of("e", "op-0")]);
    let pushes = [
        begin("ann", "a", vec![of("a", "op-1")]),
        begin("bob", "a", vec![of("b", "op-2")]),
        begin("bob", "b", vec![of("b", "op-3"), of("a", "op-4")]),
        begin("cid", "c", vec![of("b", "op-5")]),
        begin("bob", "c", vec![of("c", "op-6")]),
        begin("ann", "a", vec![of("a", "op-7")]),
    ];
    drop(gate);
    assert_eq!(first.await, applied(1));
    // The push of `cid` may claim `b`, because the refused one before it has claimed nothing. It claims `c` as well.
    let expected = [applied(1), foreign(None), foreign(Some(1)), applied(1), foreign(None), applied(1)];
    assert_eq!(join_all(pushes).await, expected);
    assert_eq!(faulty.commits(), 2, "they shared a commit");
    assert_eq!(owners(&world, &["a", "b", "c", "e"]).await, "ann cid cid eve");
    let request = PullRequest::new(PullFrom::Cursor(Some(Cursor::BEGINNING))).with_subjects();
    let Ok(Pulled::Page(page)) = world.service.pull(&world.tenant, request).await else { panic!("no page") };
    let subjects: Vec<_> = page.entries.iter().map(|entry| entry.subject.as_ref().map(Subject::as_str)).collect();
    assert_eq!(subjects, ["eve", "ann", "cid", "ann"].map(Some), "each entry has its own subject");
}

/// A push that is refused for another reason leaves its clients to nobody.
pub async fn a_refused_push_claims_nothing(world: &World) {
    let quota = Quota { max_documents: Some(1), ..Quota::default() };
    let service = SyncService::new(Arc::clone(&world.store), Arc::clone(&world.host) as Arc<dyn Host>);
    let world = World { service: Arc::new(service.with_quota(quota)), ..world.clone() };
    let refused = push(&world, "ann", "a", [of("a", "op-1"), of("a2", "op-2")]).await;
    assert!(matches!(refused, Pushed::Refused(Refused::QuotaExceeded(_))));
    assert_eq!(owners(&world, &["a", "a2"]).await, "- -");
    assert_eq!(push(&world, "bob", "a", [of("a", "op-1")]).await, applied(1));
}

/// Programs of the operator use any client, and a principal that is everybody tells nobody apart.
pub async fn programs_of_the_operator_and_everybody_claim_nothing_and_are_not_refused(world: &World) {
    assert_eq!(push(world, "ann", "a", [of("a", "op-1")]).await, applied(1));
    let operator = Principal::new(world.tenant.clone(), Subject::literal("operator"), Role::Service);
    let everybody = Principal::new(world.tenant.clone(), Subject::literal("anybody"), Role::Admin).for_everybody();
    for (number, exempt) in [operator, everybody].into_iter().enumerate() {
        let drafts = [of("a", &format!("op-{number}-1")), of("new", &format!("op-{number}-2"))];
        let pushed = world.service.push_as(&exempt, request("a", drafts)).await.expect("the push is answered");
        assert_eq!(pushed, applied(2));
        for client in ["a", "new"] {
            assert!(matches!(pull(world, &exempt, client, PullFrom::Cursor(None)).await, Pulled::Page(_)));
            let since = PullFrom::Since(UnixMs::EPOCH);
            assert!(matches!(pull(world, &exempt, client, since).await, Pulled::Page(_)));
        }
    }
    world.apply([of("a", "op-server")]).await;
    assert!(matches!(world.pull(PullFrom::Cursor(None), Some("a"), 9).await, Pulled::Page(_)));
    assert_eq!(owners(world, &["a", "new"]).await, "ann -");
    let request = PullRequest::new(PullFrom::Cursor(Some(Cursor::BEGINNING))).with_subjects();
    let Ok(Pulled::Page(page)) = world.service.pull(&world.tenant, request).await else { panic!("no page") };
    let subjects: Vec<_> =
        page.entries.iter().map(|entry| entry.subject.as_ref().map_or("-", Subject::as_str)).collect();
    assert_eq!(subjects, ["ann", "operator", "operator", "-", "-", "-"]);
}

/// A tenant with a quota of clients has at most so many owners, whose clients go on.
pub async fn clients_have_owners_up_to_a_quota(world: &World) {
    let quota = Quota { max_clients: Some(2), ..Quota::default() };
    let service = SyncService::new(Arc::clone(&world.store), Arc::clone(&world.host) as Arc<dyn Host>);
    let world = World { service: Arc::new(service.with_quota(quota)), ..world.clone() };
    let beyond = Pushed::Refused(Refused::QuotaExceeded(QuotaExceeded { kind: QuotaKind::Clients, max: 2 }));
    assert_eq!(push(&world, "ann", "a", [of("a", "op-1"), of("b", "op-2"), of("c", "op-3")]).await, beyond);
    assert_eq!(push(&world, "ann", "a", [of("a", "op-1"), of("b", "op-2")]).await, applied(2));
    assert_eq!(push(&world, "ann", "c", [of("a", "op-3")]).await, beyond);
    assert_eq!(push(&world, "bob", "c", [of("c", "op-3")]).await, beyond);
    assert!(matches!(pull(&world, &principal(&world, "bob"), "c", PullFrom::Cursor(None)).await, Pulled::Page(_)));
    assert_eq!(push(&world, "ann", "b", [of("a", "op-3")]).await, applied(1));
    assert_eq!(owners(&world, &["a", "b", "c"]).await, "ann ann -");
    world.apply([of("d", "op-4")]).await;
}
