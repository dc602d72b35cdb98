//! The tenants, and how much each of them keeps.

use super::Operator;
use crate::core::cursor::{Head, Position};
use crate::core::names::TenantId;
use crate::core::numbers::{Seq, UnixMs};
use crate::limits::protocol::INTEGER_MAX;
use crate::limits::service::LIST_MAX_ENTRIES;
use crate::limits::store::HEADS_MAX_TENANTS;
use crate::service::error::ServiceError;
use crate::store::{ClientCounts, Counters, Expired, Result};

/// How much a tenant keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantReport {
    /// The head of the log.
    pub head: Head,
    /// The counters of the head.
    pub counters: Counters,
    /// The entries that at least one active client has not pulled.
    pub unsynced_operations: u64,
    /// The numbers of clients.
    pub clients: ClientCounts,
    /// When the oldest entry of the log was received, in milliseconds since 1970. `None` if the log has none.
    pub oldest_received_at_ms: Option<UnixMs>,
}

impl Operator {
    /// The tenants in the order of the bytes of their names, each with its newest place: the first ones after `after`.
    /// There are no more if there are none. The quarantines of tenants are not among them.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn tenants(&self, after: Option<&TenantId>) -> Result<Vec<(TenantId, Position)>> {
        let store = &self.service.store;
        let mut after = after.cloned();
        let tenants = loop {
            let mut tenants = store.tenants(after.as_ref(), HEADS_MAX_TENANTS.min(LIST_MAX_ENTRIES)).await?;
            after = tenants.last().cloned();
            tenants.retain(|tenant| !tenant.is_quarantine());
            if !tenants.is_empty() || after.is_none() {
                break tenants;
            }
        };
        let heads = store.heads(&tenants).await?;
        Ok(tenants.into_iter().zip(heads).collect())
    }

    /// How much a tenant keeps.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn report(&self, tenant: &TenantId) -> Result<TenantReport> {
        let store = &self.service.store;
        let first = store.audit(tenant, Seq::START, 1).await?;
        Ok(TenantReport {
            head: first.head,
            counters: first.counters,
            unsynced_operations: self.service.stats(tenant).await?.unsynced_operations,
            clients: store.count_clients(tenant, INTEGER_MAX).await?,
            oldest_received_at_ms: first.entries.first().map(|entry| entry.received_at_ms),
        })
    }

    /// How many entries a compaction would remove of those that were received so long ago or before.
    ///
    /// Times of reception never run backwards in the log, so few entries are read.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn would_compact(&self, tenant: &TenantId, older_than_ms: u64) -> Result<u64> {
        let (head, horizon) = self.horizon_after(tenant, older_than_ms).await?;
        Ok(horizon.entries_since(head.horizon))
    }

    /// The rows that retention would remove after such a compaction.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn would_expire(
        &self,
        tenant: &TenantId,
        older_than_ms: u64,
    ) -> std::result::Result<Expired, ServiceError> {
        let (_, horizon) = self.horizon_after(tenant, older_than_ms).await?;
        match self.service.expiry(tenant, horizon).await? {
            Some(expiry) => Ok(self.service.store.count_expired(tenant, expiry).await?),
            None => Ok(Expired::default()),
        }
    }

    /// The head, and the horizon after a compaction.
    async fn horizon_after(&self, tenant: &TenantId, older_than_ms: u64) -> Result<(Head, Seq)> {
        let cut_ms = self.service.now_ms().minus_ms(older_than_ms);
        let store = &self.service.store;
        let head = store.audit(tenant, Seq::AFTER_ALL, 1).await?.head;
        let (mut old, mut young) = (head.horizon, head.position.seq.next());
        // The entry `old` is removed, or it is the horizon; the entry `young` is kept, or there is none.
        while young.entries_since(old) > 1 {
            let middle = old.plus(young.entries_since(old) / 2);
            let audit = store.audit(tenant, middle.previous(), 1).await?;
            match audit.entries.first().filter(|entry| entry.entry.seq == middle) {
                Some(entry) if entry.received_at_ms > cut_ms => young = middle,
                // An entry that is gone was removed meanwhile.
                _ => old = middle,
            }
        }
        Ok((head, old))
    }

    /// The newest place of a tenant and its horizon.
    pub(super) async fn head(&self, tenant: &TenantId) -> Result<Head> {
        Ok(self.service.store.audit(tenant, Seq::AFTER_ALL, 1).await?.head)
    }
}
