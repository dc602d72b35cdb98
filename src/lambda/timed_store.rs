//! A store that measures the time of its calls.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use super::metrics::note_store_call;
use crate::core::decide::{Batch, Snapshot};
use crate::core::document::LiveDocument;
use crate::core::names::{ClientId, DocumentKey, TenantId};
use crate::core::page::TimePage;
use crate::core::progress::Progress;
use crate::store::{
    Changes, ChangesRequest, ClientMemory, Commit, CompactStep, Compaction, LoadRequest, NewMemory, Query, QueryPage,
    Remember, Result, Stats, Store, TimeRequest,
};

/// Passes every call on to a store and reports its duration to the metrics.
#[derive(Debug)]
pub(super) struct TimedStore(pub(super) Arc<dyn Store>);

/// A call in progress. If it is dropped before the answer, it was cancelled because its time was over.
struct Call {
    began: Instant,
    is_answered: bool,
}

impl Drop for Call {
    fn drop(&mut self) {
        note_store_call(self.began.elapsed(), self.is_answered);
    }
}

async fn timed<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    let mut call = Call { began: Instant::now(), is_answered: false };
    let answer = answer.await;
    call.is_answered = answer.is_ok();
    answer
}

#[async_trait]
impl Store for TimedStore {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    async fn load(&self, tenant: &TenantId, request: LoadRequest) -> Result<Snapshot> {
        timed(self.0.load(tenant, request)).await
    }

    async fn commit(&self, tenant: &TenantId, batch: Batch) -> Result<Commit> {
        timed(self.0.commit(tenant, batch)).await
    }

    async fn changes(&self, tenant: &TenantId, request: ChangesRequest) -> Result<Changes> {
        timed(self.0.changes(tenant, request)).await
    }

    async fn note_pulled(&self, tenant: &TenantId, client: &ClientId, progress: Progress) -> Result<()> {
        timed(self.0.note_pulled(tenant, client, progress)).await
    }

    async fn changes_by_time(&self, tenant: &TenantId, request: TimeRequest) -> Result<TimePage> {
        timed(self.0.changes_by_time(tenant, request)).await
    }

    async fn client(&self, tenant: &TenantId, client: &ClientId) -> Result<Option<ClientMemory>> {
        timed(self.0.client(tenant, client)).await
    }

    async fn remember(&self, tenant: &TenantId, client: &ClientId, memory: NewMemory) -> Result<Remember> {
        timed(self.0.remember(tenant, client, memory)).await
    }

    async fn document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<LiveDocument>> {
        timed(self.0.document(tenant, key)).await
    }

    async fn query(&self, tenant: &TenantId, query: Query) -> Result<QueryPage> {
        timed(self.0.query(tenant, query)).await
    }

    async fn stats(&self, tenant: &TenantId, active_since_ms: u64) -> Result<Stats> {
        timed(self.0.stats(tenant, active_since_ms)).await
    }

    async fn compact(&self, tenant: &TenantId, step: CompactStep) -> Result<Compaction> {
        timed(self.0.compact(tenant, step)).await
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<TenantId>> {
        timed(self.0.tenants(after, limit)).await
    }

    async fn check(&self) -> Result<()> {
        timed(self.0.check()).await
    }
}
