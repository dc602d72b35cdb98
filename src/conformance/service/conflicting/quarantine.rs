//! The quarantine of a tenant, which its clients share.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::conformance::draft::insert;
use crate::conformance::world::World;
use crate::core::names::ClientId;
use crate::limits::service::{
    QUARANTINE_CLIENT_MAX_BYTES, QUARANTINE_CLIENT_MAX_DOCUMENTS, QUARANTINE_MAX_DOCUMENTS, QUARANTINE_PART_MAX_BYTES,
};
use crate::service::operator::Operator;
use crate::service::{Host, SyncService, Undecidable};

/// The same store with a service that has a quarantine, and clients that it remembers.
async fn with_quarantine(world: &World, clients: &[&str]) -> World {
    let service = SyncService::new(Arc::clone(&world.store), Arc::clone(&world.host) as Arc<dyn Host>);
    let world = World { service: Arc::new(service.with_quarantine()), ..world.clone() };
    world.apply([insert("op-1", "doc")]).await;
    for client in clients {
        world.since(client, 0_u64, 10).await;
    }
    world
}

async fn put(world: &World, client: &str, texts: &[String]) -> bool {
    let undecidable: Vec<_> = texts.iter().map(|text| Undecidable::new(text, "no".to_owned())).collect();
    let client = ClientId::literal(client);
    let room = async |operations: usize, bytes: usize| {
        world.service.has_room_in_quarantine(&world.tenant, &client, operations, bytes).await.expect("the store works")
    };
    let has_room = room(texts.len(), texts.iter().map(String::len).sum()).await;
    let is_put = world.service.quarantine(&world.tenant, &client, &undecidable).await.expect("the store works");
    assert_eq!(is_put, has_room);
    is_put
}

/// Texts that are different for each client.
fn texts(client: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!(r#"{{"id":"","of":"{client}","number":{number}}}"#)).collect()
}

async fn kept(world: &World) -> usize {
    let (mut count, mut before_seq) = (0, None);
    loop {
        let page = world.service.quarantined(&world.tenant, before_seq).await.expect("the store works");
        count += page.documents.len();
        before_seq = page.more_before;
        if before_seq.is_none() {
            return count;
        }
    }
}

/// Each client has a share, and beyond it its pushes are refused.
pub async fn one_client_cannot_fill_the_quarantine_of_its_tenant(world: &World) {
    let world = &with_quarantine(world, &["greedy", "large", "modest"]).await;
    let share = QUARANTINE_CLIENT_MAX_DOCUMENTS;
    assert!(share * 2 < QUARANTINE_MAX_DOCUMENTS);
    let mut greedy = texts("greedy", share);
    assert!(put(world, "greedy", &greedy.split_off(100)).await);
    assert!(!put(world, "greedy", &texts("more", 101)).await);
    assert!(put(world, "greedy", &greedy).await, "exactly the share");
    assert!(!put(world, "greedy", &texts("one more", 1)).await);
    assert_eq!(kept(world).await, share);
    let large = format!(r#"{{"large":"{}"}}"#, "x".repeat(QUARANTINE_PART_MAX_BYTES));
    let fit = QUARANTINE_CLIENT_MAX_BYTES / large.len();
    for number in 0..fit {
        assert!(put(world, "large", &[format!("{number}{large}")]).await, "{number}");
    }
    assert!(!put(world, "large", std::slice::from_ref(&large)).await, "too many bytes");
    assert!(put(world, "modest", &texts("modest", 10)).await, "there is room for others");
    let page = world.service.quarantined(&world.tenant, None).await.expect("the store works");
    let newest = page.documents.first().expect("there are some").key.id.clone();
    world.service.release_from_quarantine(&world.tenant, &newest).await.expect("the store works");
    assert_eq!(kept(world).await, share + 2 * fit + 9);
}

/// Pushes that come at the same moment do not exceed the share together.
pub async fn pushes_of_one_client_at_the_same_moment_share_its_room_in_quarantine(world: &World) {
    let world = &with_quarantine(world, &["greedy"]).await;
    let client = ClientId::literal("greedy");
    let texts: Vec<_> = (0..8).map(|push| texts(&format!("push {push}"), 60)).collect();
    let client = &client;
    let pushes = texts.iter().map(|texts| async move {
        let undecidable: Vec<_> = texts.iter().map(|text| Undecidable::new(text, "no".to_owned())).collect();
        world.service.quarantine(&world.tenant, client, &undecidable).await.expect("the store works")
    });
    let taken = join_all(pushes).await.into_iter().filter(|is_put| *is_put).count();
    assert_eq!((taken, kept(world).await), (QUARANTINE_CLIENT_MAX_DOCUMENTS / 60, taken * 60));
}

/// A compaction by hand does the same as a scheduled one: operations leave the quarantine, and its log is compacted.
pub async fn a_compaction_makes_room_in_the_quarantine(world: &World) {
    let world = &with_quarantine(world, &["old"]).await;
    let report = async || {
        let operator = Operator::new(Arc::clone(&world.service));
        operator.report(&world.tenant.quarantine()).await.expect("the store works").counters
    };
    let share = texts("old", QUARANTINE_CLIENT_MAX_DOCUMENTS);
    assert!(put(world, "old", &share).await);
    let before = report().await;
    world.host.advance_ms(1_000);
    assert_eq!(world.compact(500).await, 1, "those of its quarantine are not entries of the tenant");
    assert_eq!(kept(world).await, 0);
    let after = report().await;
    assert_eq!(after.documents, 0);
    assert!(after.bytes < before.bytes / 2, "{before:?} {after:?}");
    world.host.advance_ms(1_000);
    world.compact(500).await;
    let last = report().await;
    assert_eq!(last.operations, 0, "the entries of the removal are old too");
    assert!(put(world, "old", &texts("again", QUARANTINE_CLIENT_MAX_DOCUMENTS)).await, "the share is free");
    let verified = Operator::new(Arc::clone(&world.service)).verify(&world.tenant.quarantine()).await;
    assert_eq!(verified.expect("the store works").findings, []);
}
