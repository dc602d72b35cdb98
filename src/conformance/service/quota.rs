//! Quotas: how much a tenant may keep.

use std::sync::Arc;

use futures_util::future::{FutureExt as _, join_all};
use serde_json::json;

use super::super::draft::{delete, insert, inserts, key, update};
use super::super::faults::FaultyStore;
use super::super::world::{World, ids, operations};
use crate::core::access::{Principal, Role};
use crate::core::decide::quota::{Quota, QuotaExceeded, QuotaKind};
use crate::core::decide::{Outcome, Refused};
use crate::core::names::{ClientId, Subject};
use crate::core::numbers::UnixMs;
use crate::core::operation::Operation;
use crate::service::{
    Host, PullFrom, PullRequest, Pulled, PushRequest, Pushed, ServiceError, SyncService, Write, Written,
};
use crate::store::Store;

fn with_quota(world: &World, store: Arc<dyn Store>, quota: Quota) -> World {
    let service = SyncService::new(store, Arc::clone(&world.host) as Arc<dyn Host>).with_quota(quota);
    World { service: Arc::new(service), ..world.clone() }
}

fn principal(world: &World) -> Principal {
    Principal::new(world.tenant.clone(), Subject::literal("ann"), Role::Writer)
}

async fn push(world: &World, operations: Vec<Operation>) -> Pushed {
    world.service.push_as(&principal(world), PushRequest::new(operations)).await.expect("the push is answered")
}

fn beyond(kind: QuotaKind, max: u64) -> Pushed {
    Pushed::Refused(Refused::QuotaExceeded(QuotaExceeded { kind, max }))
}

/// Each limit is reached exactly, and one more is refused as a whole.
pub async fn a_push_beyond_a_quota_is_refused_and_changes_nothing(world: &World) {
    // An insert of `{}` keeps the same twice: a document, and an entry of the log.
    let bytes_of_one = 2 * r#"{}{"a":1}"#.len() as u64;
    let quotas = [
        (QuotaKind::Documents, 3, Quota { max_documents: Some(3), ..Quota::default() }),
        (QuotaKind::OperationIds, 3, Quota { max_operation_ids: Some(3), ..Quota::default() }),
        (QuotaKind::Bytes, 3 * bytes_of_one, Quota { max_bytes: Some(3 * bytes_of_one), ..Quota::default() }),
    ];
    for (index, (kind, max, quota)) in quotas.into_iter().enumerate() {
        let world = with_quota(&world.as_tenant(&format!("tenant-{index}")), Arc::clone(&world.store), quota);
        assert_eq!(push(&world, operations(inserts(2))).await, Pushed::Decided(vec![Outcome::Applied; 2]));
        let two = operations([insert("op-3", "doc-3"), insert("op-4", "doc-4")]);
        assert_eq!(push(&world, two).await, beyond(kind, max));
        assert_eq!(ids(&world.log().await), ["op-1", "op-2"]);
        assert_eq!(push(&world, operations(inserts(3))).await.outcomes().map(|outcomes| outcomes.len()), Some(3));
        assert_eq!(push(&world, operations([insert("op-4", "doc-4")])).await, beyond(kind, max));
        let known = push(&world, operations(inserts(3))).await;
        assert_eq!(known, Pushed::Decided(vec![Outcome::Duplicate; 3]), "what is known is answered as before");
        assert_eq!(ids(&world.log().await), ["op-1", "op-2", "op-3"]);
    }
}

/// A tenant with too many documents or bytes may delete, and may replace documents by smaller ones.
pub async fn what_makes_room_is_accepted_beyond_a_quota(world: &World) {
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(1_000));
    world.apply([insert("op-1", "doc-1").data(&large), insert("op-2", "doc-2"), insert("op-3", "doc-3")]).await;
    let quota = Quota { max_documents: Some(1), max_bytes: Some(10), ..Quota::default() };
    let world = with_quota(world, Arc::clone(&world.store), quota);
    let larger = push(&world, operations([update("op-4", "doc-1").data(r#"{"b":1}"#)])).await;
    assert_eq!(larger, beyond(QuotaKind::Bytes, 10));
    for makes_room in
        [insert("op-5", "doc-1"), delete("op-6", "doc-2"), delete("op-7", "doc-3"), delete("op-8", "never")]
    {
        assert_eq!(push(&world, operations([makes_room])).await, Pushed::Decided(vec![Outcome::Applied]));
    }
    let fourth = push(&world, operations([insert("op-9", "doc-4")])).await;
    assert_eq!(fourth, beyond(QuotaKind::Documents, 1));
}

/// Pushes that share a commit are checked one after the other, each with what those before it have left.
pub async fn a_push_beyond_a_quota_does_not_take_its_neighbours_down(world: &World) {
    let faulty = FaultyStore::new(Arc::clone(&world.store));
    let world = with_quota(world, faulty.clone(), Quota { max_documents: Some(3), ..Quota::default() });
    let gate = faulty.hold(&world.tenant).await;
    let begin = |drafts: Vec<_>| {
        let (world, operations) = (world.clone(), operations(drafts));
        let mut push = async move { push(&world, operations).await }.boxed();
        assert!((&mut push).now_or_never().is_none(), "the push waits for its commit");
        push
    };
    let first = begin(vec![insert("op-1", "doc-1")]);
    let pushes = [
        begin(vec![insert("op-2", "doc-2")]),
        begin(vec![insert("op-3", "doc-3"), insert("op-4", "doc-4")]),
        begin(vec![delete("op-5", "doc-1")]),
        begin(vec![insert("op-6", "doc-5"), insert("op-7", "doc-6")]),
        begin(vec![insert("op-8", "doc-7")]),
    ];
    drop(gate);
    assert_eq!(first.await, Pushed::Decided(vec![Outcome::Applied]));
    let applied = |count| Pushed::Decided(vec![Outcome::Applied; count]);
    let refused = beyond(QuotaKind::Documents, 3);
    assert_eq!(join_all(pushes).await, [applied(1), refused.clone(), applied(1), applied(2), refused]);
    assert_eq!(faulty.commits(), 2, "they shared a commit");
    assert_eq!(ids(&world.log().await), ["op-1", "op-2", "op-5", "op-6", "op-7"]);
}

/// The application is not refused by the quota that it has set for its clients, but its writes count.
pub async fn the_server_itself_writes_beyond_a_quota(world: &World) {
    let quota = Quota { max_documents: Some(1), max_clients: Some(1), ..Quota::default() };
    let world = with_quota(world, Arc::clone(&world.store), quota);
    world.apply(inserts(2)).await;
    let write = Write::put(key("doc-3"), &json!({})).expect("an object");
    let written = world.service.write(&world.tenant, &write).await.expect("it is written");
    assert!(matches!(written, Written::Done(_)), "{written:?}");
    assert_eq!(push(&world, operations([insert("op-9", "doc-9")])).await, beyond(QuotaKind::Documents, 1));
}

/// A client for which there is no room can pull with a cursor, but its progress is not noted. It cannot pull with a
/// `since` that the server would have to remember.
pub async fn a_client_beyond_the_quota_is_not_remembered(world: &World) {
    world.apply(inserts(3)).await;
    let quota = Quota { max_clients: Some(2), ..Quota::default() };
    let world = with_quota(world, Arc::clone(&world.store), quota);
    let pull = async |from, client: &str| {
        let request = PullRequest::new(from).with_client(ClientId::literal(client)).with_max_operations(1);
        world.service.pull_as(&principal(&world), request).await
    };
    for client in ["modern", "original"] {
        let from = if client == "modern" { PullFrom::Cursor(None) } else { PullFrom::Since(UnixMs::EPOCH) };
        assert!(matches!(pull(from, client).await, Ok(Pulled::Page(_))), "{client}");
        assert!(world.memory(client).await.is_some(), "{client}");
    }
    assert!(matches!(pull(PullFrom::Cursor(None), "third").await, Ok(Pulled::Page(page)) if page.has_more));
    assert_eq!(world.memory("third").await, None);
    let refused = pull(PullFrom::Since(UnixMs::EPOCH), "third").await.expect_err("it would have to be remembered");
    let ServiceError::QuotaExceeded(exceeded) = refused else { panic!("another error: {refused}") };
    assert_eq!(exceeded, QuotaExceeded { kind: QuotaKind::Clients, max: 2 });
    for client in ["modern", "original"] {
        let from = if client == "modern" { PullFrom::Cursor(None) } else { PullFrom::Since(UnixMs::new(1)) };
        assert!(pull(from, client).await.is_ok(), "{client} is known");
    }
}
