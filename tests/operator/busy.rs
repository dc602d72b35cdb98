//! Verifications and exports of a tenant that is written to meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::{delete, insert, inserts, update};
use syncflow_server::core::decide::Snapshot;
use syncflow_server::core::names::{OperationId, TenantId};
use syncflow_server::core::numbers::{Seq, UnixMs};
use syncflow_server::service::Host as _;
use syncflow_server::service::operator::Operator;
use syncflow_server::store::memory::MemoryStore;
use syncflow_server::store::{Audit, Changes, ChangesRequest, CompactStep, LoadRequest, Result, Store, delegate_store};

/// The most pushes, so that every verification ends.
const PUSHES_MAX: u64 = 400;

/// A store to which others write before each read.
#[derive(Debug)]
struct Busy {
    world: World,
    reads: AtomicU64,
    /// After so many reads the others compact too.
    compacts_each: u64,
}

impl Busy {
    async fn be_written_to(&self) {
        let number = self.reads.fetch_add(1, Ordering::Relaxed);
        if number >= PUSHES_MAX {
            return;
        }
        let (id, document) = (format!("busy-{number}"), format!("doc-{}", number * 7 % 5));
        let clock = [("b", 10 + number), ("a", 9)];
        let draft = match number % 3 {
            0 => update(&id, &document).data(r#"{"m":1}"#),
            1 => delete(&id, &document),
            _ => insert(&id, &document).data(r#"{"n":2}"#),
        };
        self.world.host.advance_ms(1);
        self.world.apply([draft.clock(&clock)]).await;
        if number % self.compacts_each == self.compacts_each - 1 {
            self.world.compact(3).await;
        }
    }
}

#[async_trait]
impl Store for Busy {
    async fn audit(&self, tenant: &TenantId, after: Seq, max_entries: usize) -> Result<Audit> {
        self.be_written_to().await;
        // Small pages, so that there is more to happen between them.
        self.world.store.audit(tenant, after, max_entries.min(3)).await
    }

    async fn changes(&self, tenant: &TenantId, request: ChangesRequest) -> Result<Changes> {
        self.be_written_to().await;
        self.world.store.changes(tenant, ChangesRequest { max_operations: 2, ..request }).await
    }

    delegate_store!(|this| &*this.world.store; name, load, commit, note_pulled, changes_by_time, client, remember);
    delegate_store!(|this| &*this.world.store; claim, document, query, stats, clients, count_clients, survey, heads);
    delegate_store!(|this| &*this.world.store; operation_ids, client_rows, learn, scrub, erase_tenant, watch);
    delegate_store!(|this| &*this.world.store; announce, check, compact, tenants);
    delegate_store!(|this| &*this.world.store; aged_place, expire, count_expired);
}

#[tokio::test]
async fn what_is_only_in_motion_is_not_reported() {
    for compacts_each in [3, 11, 50, u64::MAX] {
        let world = World::new(Arc::new(MemoryStore::new()));
        world.apply(inserts(30)).await;
        let busy = Arc::new(Busy { world: world.clone(), reads: AtomicU64::new(0), compacts_each });
        let watched = world.over(Arc::clone(&busy) as Arc<dyn Store>);
        let operator = Operator::new(Arc::clone(&watched.service));
        let verified = operator.verify(&watched.tenant).await.expect("the store works");
        assert!(verified.findings.is_empty(), "{compacts_each}: {:?}", verified.findings);
        assert!(!verified.is_complete || verified.documents >= 30, "{verified:?}");
        busy.reads.store(PUSHES_MAX, Ordering::Relaxed);
        let rested = operator.verify(&watched.tenant).await.expect("the store works");
        assert!(rested.findings.is_empty() && rested.is_complete && rested.are_counters_checked, "{rested:?}");
    }
}

/// A store in which a compaction mends times of the future between the pages of a verification.
#[derive(Debug)]
struct Mended {
    world: World,
    pages: AtomicU64,
    /// Before this page and each later one, a step is done.
    mends_from: u64,
}

#[async_trait]
impl Store for Mended {
    async fn audit(&self, tenant: &TenantId, after: Seq, max_entries: usize) -> Result<Audit> {
        if max_entries > 1 && self.pages.fetch_add(1, Ordering::Relaxed) >= self.mends_from {
            let now_ms = self.world.host.now_ms();
            let step = CompactStep {
                now_ms,
                future_after_ms: now_ms.plus_ms(60_000),
                received_until_ms: UnixMs::EPOCH,
                forget_clients_before_ms: UnixMs::EPOCH,
                max_entries: 3,
            };
            self.world.store.compact(tenant, step).await?;
        }
        self.world.store.audit(tenant, after, max_entries.min(2)).await
    }

    delegate_store!(|this| &*this.world.store; name, load, commit, note_pulled, changes_by_time, client, remember);
    delegate_store!(|this| &*this.world.store; claim, document, query, stats, clients, count_clients, survey, heads);
    delegate_store!(|this| &*this.world.store; operation_ids, client_rows, learn, scrub, erase_tenant, watch);
    delegate_store!(|this| &*this.world.store; announce, check, compact, tenants, changes);
    delegate_store!(|this| &*this.world.store; aged_place, expire, count_expired);
}

#[tokio::test]
async fn an_order_that_is_just_being_mended_is_not_reported() {
    const HOUR_MS: u64 = 3_600_000;
    for mends_from in 0..8 {
        let world = World::new(Arc::new(MemoryStore::new()));
        world.apply(inserts(2)).await;
        let now_ms = world.host.now_ms();
        world.host.advance_ms(HOUR_MS);
        world.apply(inserts(11).into_iter().skip(2)).await;
        world.host.set_ms(now_ms.plus_ms(5));
        let mended = Mended { world: world.clone(), pages: AtomicU64::new(0), mends_from };
        let watched = world.over(Arc::new(mended));
        let verified = Operator::new(Arc::clone(&watched.service)).verify(&watched.tenant).await;
        let verified = verified.expect("the store works");
        assert!(verified.findings.is_empty() && verified.is_complete, "{mends_from}: {verified:?}");
    }
}

/// A store in which a document is made just before the ids are read. It is changed after the page that then names it,
/// and before its content is read.
#[derive(Debug)]
struct Overtaken {
    world: World,
    is_made: AtomicBool,
    is_changed: AtomicBool,
}

#[async_trait]
impl Store for Overtaken {
    async fn load(&self, tenant: &TenantId, request: LoadRequest) -> Result<Snapshot> {
        if self.is_made.load(Ordering::Relaxed) && !self.is_changed.swap(true, Ordering::Relaxed) {
            self.world.apply([update("op-2", "doc").data(r#"{"later":1}"#).clock(&[("a", 9)])]).await;
        }
        self.world.store.load(tenant, request).await
    }

    async fn operation_ids(
        &self,
        tenant: &TenantId,
        after: Option<&OperationId>,
        limit: usize,
    ) -> Result<Vec<OperationId>> {
        if !self.is_made.swap(true, Ordering::Relaxed) {
            self.world.apply([insert("op-1", "doc")]).await;
        }
        self.world.store.operation_ids(tenant, after, limit).await
    }

    delegate_store!(|this| &*this.world.store; name, commit, changes, note_pulled, changes_by_time, client, remember);
    delegate_store!(|this| &*this.world.store; claim, document, query, stats, clients, count_clients, survey, heads);
    delegate_store!(|this| &*this.world.store; client_rows, learn, scrub, erase_tenant, watch, audit);
    delegate_store!(|this| &*this.world.store; announce, check, compact, tenants);
    delegate_store!(|this| &*this.world.store; aged_place, expire, count_expired);
}

#[tokio::test]
async fn a_document_that_is_changed_while_its_page_is_read_is_exported() {
    let world = World::new(Arc::new(MemoryStore::new()));
    world.apply([insert("op-0", "doc-0")]).await;
    let (is_made, is_changed) = (AtomicBool::new(false), AtomicBool::new(false));
    let overtaken = world.over(Arc::new(Overtaken { world: world.clone(), is_made, is_changed }));
    let operator = Operator::new(Arc::clone(&overtaken.service));
    let (mut export, mut text) = (operator.export(&overtaken.tenant), String::new());
    while let Some(lines) = export.next().await.expect("the store works") {
        text.extend(lines.iter().map(|line| format!("{line}\n")));
    }
    assert!(text.contains("op-1") && text.contains(r#""docId":"doc""#) && text.contains("later"), "{text}");
}
