//! A store with a step before and after the effect of each method.

use std::sync::Arc;

use async_trait::async_trait;
use syncflow_server::core::decide::{Batch, Snapshot};
use syncflow_server::core::document::LiveDocument;
use syncflow_server::core::names::{ClientId, DocumentKey, TenantId};
use syncflow_server::core::page::TimePage;
use syncflow_server::core::progress::Progress;
use syncflow_server::store::{
    Changes, ChangesRequest, ClientMemory, Commit, CompactStep, Compaction, LoadRequest, NewMemory, Query, QueryPage,
    Remember, Result, Stats, Store, TimeRequest,
};

use super::scheduler::Step;

/// A store in steps.
#[derive(Debug)]
pub(super) struct SteppedStore(pub(super) Arc<dyn Store>);

/// Waits for a step, does the work, and waits for another step, in which the answer can be lost after the effect.
async fn in_steps<T>(work: impl Future<Output = T>) -> T {
    Step::default().await;
    let answer = work.await;
    Step::default().await;
    answer
}

#[async_trait]
impl Store for SteppedStore {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    async fn load(&self, tenant: &TenantId, request: LoadRequest) -> Result<Snapshot> {
        in_steps(self.0.load(tenant, request)).await
    }

    async fn commit(&self, tenant: &TenantId, batch: Batch) -> Result<Commit> {
        in_steps(self.0.commit(tenant, batch)).await
    }

    async fn changes(&self, tenant: &TenantId, request: ChangesRequest) -> Result<Changes> {
        in_steps(self.0.changes(tenant, request)).await
    }

    async fn note_pulled(&self, tenant: &TenantId, client: &ClientId, progress: Progress) -> Result<()> {
        in_steps(self.0.note_pulled(tenant, client, progress)).await
    }

    async fn changes_by_time(&self, tenant: &TenantId, request: TimeRequest) -> Result<TimePage> {
        in_steps(self.0.changes_by_time(tenant, request)).await
    }

    async fn client(&self, tenant: &TenantId, client: &ClientId) -> Result<Option<ClientMemory>> {
        in_steps(self.0.client(tenant, client)).await
    }

    async fn remember(&self, tenant: &TenantId, client: &ClientId, memory: NewMemory) -> Result<Remember> {
        in_steps(self.0.remember(tenant, client, memory)).await
    }

    async fn document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<LiveDocument>> {
        in_steps(self.0.document(tenant, key)).await
    }

    async fn query(&self, tenant: &TenantId, query: Query) -> Result<QueryPage> {
        in_steps(self.0.query(tenant, query)).await
    }

    async fn stats(&self, tenant: &TenantId, active_since_ms: u64) -> Result<Stats> {
        in_steps(self.0.stats(tenant, active_since_ms)).await
    }

    async fn compact(&self, tenant: &TenantId, step: CompactStep) -> Result<Compaction> {
        in_steps(self.0.compact(tenant, step)).await
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<TenantId>> {
        in_steps(self.0.tenants(after, limit)).await
    }

    async fn check(&self) -> Result<()> {
        in_steps(self.0.check()).await
    }
}
