//! An `Arc` of a store is a store.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Changes, ChangesRequest, ClientMemory, Commit, CompactStep, Compaction, LoadRequest, NewMemory, Query, QueryPage,
    Remember, Result, Stats, Store, TimeRequest,
};
use crate::core::decide::{Batch, Snapshot};
use crate::core::document::LiveDocument;
use crate::core::names::{ClientId, DocumentKey, TenantId};
use crate::core::page::TimePage;
use crate::core::progress::Progress;

#[async_trait]
impl<S: Store + ?Sized> Store for Arc<S> {
    fn name(&self) -> &'static str {
        (**self).name()
    }

    async fn load(&self, tenant: &TenantId, request: LoadRequest) -> Result<Snapshot> {
        (**self).load(tenant, request).await
    }

    async fn commit(&self, tenant: &TenantId, batch: Batch) -> Result<Commit> {
        (**self).commit(tenant, batch).await
    }

    async fn changes(&self, tenant: &TenantId, request: ChangesRequest) -> Result<Changes> {
        (**self).changes(tenant, request).await
    }

    async fn note_pulled(&self, tenant: &TenantId, client: &ClientId, progress: Progress) -> Result<()> {
        (**self).note_pulled(tenant, client, progress).await
    }

    async fn changes_by_time(&self, tenant: &TenantId, request: TimeRequest) -> Result<TimePage> {
        (**self).changes_by_time(tenant, request).await
    }

    async fn client(&self, tenant: &TenantId, client: &ClientId) -> Result<Option<ClientMemory>> {
        (**self).client(tenant, client).await
    }

    async fn remember(&self, tenant: &TenantId, client: &ClientId, memory: NewMemory) -> Result<Remember> {
        (**self).remember(tenant, client, memory).await
    }

    async fn document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<LiveDocument>> {
        (**self).document(tenant, key).await
    }

    async fn query(&self, tenant: &TenantId, query: Query) -> Result<QueryPage> {
        (**self).query(tenant, query).await
    }

    async fn stats(&self, tenant: &TenantId, active_since_ms: u64) -> Result<Stats> {
        (**self).stats(tenant, active_since_ms).await
    }

    async fn compact(&self, tenant: &TenantId, step: CompactStep) -> Result<Compaction> {
        (**self).compact(tenant, step).await
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<TenantId>> {
        (**self).tenants(after, limit).await
    }

    async fn check(&self) -> Result<()> {
        (**self).check().await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::store::memory::MemoryStore;

    #[test]
    fn a_shared_store_answers_as_the_store_in_it() {
        let shared: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let twice: Arc<dyn Store> = Arc::new(Arc::clone(&shared));
        assert_eq!(twice.name(), "memory");
        assert_eq!(twice.tenants(None, 5).now_or_never().unwrap().unwrap(), Vec::new());
    }
}
