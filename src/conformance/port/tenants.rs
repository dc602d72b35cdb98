//! Law 9: no request reads, writes, counts or blocks another tenant's data.

use super::super::draft::{Draft, delete, insert, inserts, key, update};
use super::super::world::{World, ids, page_of};
use crate::core::cursor::{Cursor, Position};
use crate::core::decide::Outcome;
use crate::core::names::{OperationId, TenantId};
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::limits::protocol::CLIENT_FORGOTTEN_AFTER_MS;
use crate::limits::store::HEADS_MAX_TENANTS;
use crate::service::PullFrom;
use crate::store::{LoadRequest, Stats};

/// A tenant with two documents, a tombstone and an original client, and a tenant without anything.
async fn two_tenants(world: &World) -> (World, World) {
    let full = world.as_tenant("full");
    full.apply(inserts(2)).await;
    full.apply([insert("op-3", "doc-3"), delete("op-4", "doc-3")]).await;
    full.since("client", 0, 9).await;
    (full, world.as_tenant("void"))
}

/// No answer to one tenant contains data of another.
pub async fn no_request_reads_another_tenants_data(world: &World) {
    let (_, void) = two_tenants(world).await;
    assert_eq!(void.document("doc-1").await, None);
    assert_eq!(void.query(&[]).await, []);
    assert_eq!(void.page(None, 9).await.entries, []);
    assert_eq!(void.since("client", 0, 9).await.entries, []);
    assert_eq!(void.since_of_nobody(0, 9).await.entries, []);
    assert_eq!(void.stats().await, Stats::default());
    let request = LoadRequest {
        ids: vec![OperationId::literal("op-1")],
        keys: vec![key("doc-1"), key("doc-3")],
        ..LoadRequest::default()
    };
    let snapshot = void.store.load(&void.tenant, request).await.expect("the store loads");
    assert!(snapshot.known.is_empty() && snapshot.documents.is_empty());
}

/// The same ids and documents in two tenants are independent.
pub async fn the_same_names_of_two_tenants_are_different_things(world: &World) {
    let tenants = [("one", r#"{"n":1}"#), ("two", r#"{"n":2}"#)].map(|(name, data)| (world.as_tenant(name), data));
    for (tenant, data) in &tenants {
        let outcomes = tenant.push([insert("op-1", "doc").data(data).clock(&[(tenant.tenant.as_str(), 1)])]).await;
        assert_eq!(outcomes, [Outcome::Applied]);
    }
    for (tenant, data) in &tenants {
        assert_eq!(tenant.data("doc").await.as_deref(), Some(*data));
        assert_eq!(
            tenant.document("doc").await.map(|document| (document.rev, document.seq)),
            Some((Rev::new(1), Seq::new(1)))
        );
        assert_eq!(tenant.query(&[]).await.len(), 1);
        assert_eq!(ids(&tenant.log().await), ["op-1"]);
    }
}

/// Every tenant has its own log, head and horizon.
pub async fn writes_and_compactions_leave_other_tenants_alone(world: &World) {
    let (full, void) = two_tenants(world).await;
    let everything = async || {
        let log = full.log().await;
        let places = page_of(full.pull(PullFrom::Since(UnixMs::new(2)), Some("client"), 9).await);
        (log, places, full.query(&[]).await, full.stats().await, full.head().await, full.memory("client").await)
    };
    let before = everything().await;
    void.apply(inserts(3)).await;
    void.apply([update("x", "doc-1").data(r#"{"x":1}"#), delete("y", "doc-2")]).await;
    assert_eq!(void.compact(0).await, 5);
    void.since("client", 0, 1).await;
    assert_eq!(everything().await, before);
    assert_eq!(ids(&void.log().await), ["op-3", "x", "y"], "it is documents now, for its horizon is its own");
}

/// Law 9: a compaction forgets only the clients of its tenant.
pub async fn forgotten_clients_are_those_of_the_compacted_tenant(world: &World) {
    let (full, void) = two_tenants(world).await;
    for tenant in [&full, &void] {
        tenant.pull(PullFrom::Cursor(None), Some("silent"), 9).await;
    }
    world.host.advance_ms(CLIENT_FORGOTTEN_AFTER_MS + 1);
    void.compact(0).await;
    assert_eq!(void.memory("silent").await, None);
    assert!(full.memory("silent").await.is_some());
    assert_eq!(full.stats().await.operations, 4);
}

/// A cursor names a place in the log of one tenant.
pub async fn a_cursor_of_another_tenant_is_reset(world: &World) {
    let (full, void) = two_tenants(world).await;
    void.apply(inserts(4).into_iter().map(|draft: Draft| draft.renamed("void", "doc"))).await;
    let cursor = full.head().await;
    let pulled = void.pull(PullFrom::Cursor(Some(cursor)), None, 9).await;
    assert_eq!(pulled, crate::service::Pulled::Reset);
}

/// Tenants whose names begin alike, or differ only in case or accents, are different tenants.
pub async fn tenants_with_similar_names_are_different_tenants(world: &World) {
    let names = ["a", "A", "a ", "ab", "a%", "_", "a\u{301}", "á", "a'--", "a.b", "a/b", "1", "01"];
    for name in names {
        world.as_tenant(name).apply([insert("op", "doc").data(&format!(r#"{{"tenant":"{name}"}}"#))]).await;
    }
    for name in names {
        let tenant = world.as_tenant(name);
        assert_eq!(tenant.data("doc").await, Some(format!(r#"{{"tenant":"{name}"}}"#)));
        assert_eq!(tenant.stats().await.operations, 1);
        assert_eq!(tenant.log().await.len(), 1);
    }
}

/// All tenants in one request.
async fn all_tenants(world: &World) -> Vec<TenantId> {
    world.store.tenants(None, usize::MAX).await.expect("the store lists its tenants")
}

/// The order is that of the bytes of UTF-8, whatever the database's rules for case, accents and digits are.
pub async fn tenants_are_listed_in_the_order_of_their_bytes(world: &World) {
    assert_eq!(all_tenants(world).await, []);
    let mut names = ["b", "a", "B", "á", "a\u{301}", "a b", "aa", "10", "9", "_", "\u{10000}", "\u{ffff}", "a'--"];
    for name in names {
        world.as_tenant(name).apply(inserts(1)).await;
    }
    names.sort_unstable();
    assert_eq!(all_tenants(world).await, names.map(TenantId::literal));
}

/// A page continues after a name, whether or not a tenant has this name.
pub async fn tenants_are_listed_in_pages(world: &World) {
    for name in ["c", "a", "e", "g"] {
        world.as_tenant(name).apply(inserts(1)).await;
    }
    for (after, limit, expected) in [
        (None, 2, &["a", "c"][..]),
        (Some("c"), 2, &["e", "g"]),
        (Some("b"), 2, &["c", "e"]),
        (Some("e"), 2, &["g"]),
        (Some("g"), 2, &[]),
        (None, 0, &[]),
    ] {
        let after = after.map(TenantId::literal);
        let page = world.store.tenants(after.as_ref(), limit).await.expect("the store lists its tenants");
        let names: Vec<&str> = page.iter().map(TenantId::as_str).collect();
        assert_eq!(names, expected, "after {after:?}, at most {limit}");
    }
}

/// A read creates no tenant, and a compaction removes none.
pub async fn a_tenant_is_listed_from_its_first_commit_on_and_stays(world: &World) {
    let (full, void) = two_tenants(world).await;
    void.since("client", 0, 9).await;
    void.pull(PullFrom::Cursor(None), Some("client"), 9).await;
    void.compact(0).await;
    assert_eq!(all_tenants(world).await, std::slice::from_ref(&full.tenant));
    full.apply([delete("op-5", "doc-1"), delete("op-6", "doc-2")]).await;
    full.compact(0).await;
    assert_eq!(full.stats().await.operations + full.stats().await.documents, 0);
    assert_eq!(all_tenants(world).await, [full.tenant]);
}

/// The newest places of many tenants come in one answer, in the order in which they were asked for.
pub async fn the_newest_places_of_tenants_come_in_their_order(world: &World) {
    let (full, void) = two_tenants(world).await;
    let other = world.as_tenant("Full");
    other.apply(inserts(1)).await;
    let heads = async |tenants: &[TenantId]| world.store.heads(tenants).await.expect("the store reads its heads");
    let asked = [&void, &other, &full, &full].map(|world| world.tenant.clone());
    let [at_other, at_full] = [other.head().await, full.head().await].map(|head: Cursor| head.position());
    assert_eq!((at_other.seq, at_full.seq), (Seq::new(1), Seq::new(4)));
    assert_eq!(heads(&asked).await, [Position::START, at_other, at_full, at_full]);
    full.compact(0).await;
    assert_eq!(heads(&asked[2..3]).await, [at_full], "a compaction does not move it");
    assert_eq!(heads(&[]).await, []);
    let mut many: Vec<TenantId> =
        (1..HEADS_MAX_TENANTS).map(|number| TenantId::literal(&format!("none-{number}"))).collect();
    many.push(full.tenant.clone());
    let places = heads(&many).await;
    assert_eq!((places.len(), places.last()), (HEADS_MAX_TENANTS, Some(&at_full)));
    assert!(places.iter().take(HEADS_MAX_TENANTS - 1).all(|place| *place == Position::START));
}
