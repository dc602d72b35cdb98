//! Compaction in small steps, so that no push waits for more than one.

mod retention;
pub(super) mod schedule;

use super::{ServiceError, SyncService};
use crate::core::names::TenantId;
use crate::core::numbers::Seq;
use crate::limits::service::{CLOCKS_APART_MAX_MS, COMPACT_LIST_MAX_TENANTS, COMPACT_STEP_MAX_ENTRIES};
use crate::store::{CompactStep, Compaction, Expired};

/// The result of a compaction of one tenant, with that of retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// The number of entries that were removed from the log.
    pub entries: u64,
    /// The rows that retention has removed.
    pub expired: Expired,
    /// Whether nothing was left to remove.
    pub is_finished: bool,
}

/// The result of a compaction of all tenants.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionOfAll {
    /// The number of removed entries.
    pub deleted_entries: u64,
    /// The rows that retention has removed.
    pub expired: Expired,
    /// The number of tenants with nothing left to remove.
    pub finished_tenants: u64,
    /// The tenant with which the next compaction continues, if the time was over before the last tenant.
    pub next: Option<TenantId>,
}

impl SyncService {
    /// Removes the log entries that were received `older_than_ms` ago or before, for at most `time_max_ms`. Afterwards
    /// it removes what [retention](SyncService::with_retention) allows.
    ///
    /// The result says whether something was left when the time was over. The next compaction continues there.
    ///
    /// With a quarantine, operations that were received as long ago leave it, and its own log is compacted too. Its
    /// entries and rows are not in the numbers of the result.
    ///
    /// # Errors
    /// If the store fails. The steps before the failure keep their effect, and a later compaction continues after them.
    pub async fn compact(
        &self,
        tenant: &TenantId,
        older_than_ms: u64,
        time_max_ms: u64,
    ) -> Result<Compaction, ServiceError> {
        let Removed { entries, is_finished, .. } = self.remove_old(tenant, older_than_ms, time_max_ms).await?;
        Ok(Compaction { deleted_entries: entries, is_finished })
    }

    /// The same as [`SyncService::compact`], whose result also has what retention has removed.
    ///
    /// # Errors
    /// The errors of [`SyncService::compact`].
    pub async fn remove_old(
        &self,
        tenant: &TenantId,
        older_than_ms: u64,
        time_max_ms: u64,
    ) -> Result<Removed, ServiceError> {
        let began_ms = self.host.now_ms();
        let received_until_ms = began_ms.minus_ms(older_than_ms);
        if tenant.is_quarantine() {
            self.expire_quarantine(tenant, received_until_ms).await?;
        }
        let removed = self.remove_from_log(tenant, older_than_ms, time_max_ms).await?;
        let home = tenant.quarantine();
        if !self.has_quarantine || tenant.is_quarantine() || !self.has_log(&home).await? {
            return Ok(removed);
        }
        // Operations leave the quarantine with the entries of the log that are as old.
        self.expire_quarantine(&home, received_until_ms).await?;
        let left_ms = time_max_ms.saturating_sub(self.host.now_ms().ms_since(began_ms));
        let of_quarantine = self.remove_from_log(&home, older_than_ms, left_ms).await?;
        Ok(Removed { is_finished: removed.is_finished && of_quarantine.is_finished, ..removed })
    }

    /// Compacts the log of one tenant, and then removes what retention allows.
    async fn remove_from_log(
        &self,
        tenant: &TenantId,
        older_than_ms: u64,
        time_max_ms: u64,
    ) -> Result<Removed, ServiceError> {
        let began_ms = self.host.now_ms();
        let Compaction { deleted_entries: entries, is_finished } =
            self.compact_log(tenant, older_than_ms, time_max_ms).await?;
        if !is_finished {
            return Ok(Removed { entries, expired: Expired::default(), is_finished });
        }
        let left_ms = time_max_ms.saturating_sub(self.host.now_ms().ms_since(began_ms));
        let (expired, is_finished) = self.expire(tenant, left_ms).await?;
        Ok(Removed { entries, expired, is_finished })
    }

    /// Whether a tenant ever had a commit.
    async fn has_log(&self, tenant: &TenantId) -> Result<bool, ServiceError> {
        let heads = self.store.heads(std::slice::from_ref(tenant)).await?;
        Ok(heads.first().is_some_and(|head| head.seq > Seq::START))
    }

    async fn compact_log(
        &self,
        tenant: &TenantId,
        older_than_ms: u64,
        time_max_ms: u64,
    ) -> Result<Compaction, ServiceError> {
        let began_ms = self.host.now_ms();
        let step = CompactStep {
            now_ms: began_ms,
            future_after_ms: began_ms.plus_ms(CLOCKS_APART_MAX_MS),
            received_until_ms: began_ms.minus_ms(older_than_ms),
            forget_clients_before_ms: began_ms.minus_ms(self.retention.clients_ms),
            max_entries: COMPACT_STEP_MAX_ENTRIES,
        };
        let mut deleted_entries = 0;
        loop {
            // The time is read again because an operation that was pushed after the first step is not from the future.
            let now_ms = self.host.now_ms().max(began_ms);
            let step = CompactStep { future_after_ms: now_ms.plus_ms(CLOCKS_APART_MAX_MS), ..step };
            let done = self.store.compact(tenant, step).await?;
            deleted_entries += done.deleted_entries;
            self.hooks.compacted(tenant, done.deleted_entries);
            let is_late = self.host.now_ms().ms_since(began_ms) >= time_max_ms;
            if done.is_finished || is_late {
                return Ok(Compaction { deleted_entries, is_finished: done.is_finished });
            }
        }
    }

    /// Compacts one tenant after the other, in the order of the bytes of their names, from the first tenant that is not
    /// before `from`. No step begins after `time_max_ms`, but at least one step is done.
    ///
    /// # Errors
    /// If the store fails. The steps before the failure keep their effect.
    pub async fn compact_all(
        &self,
        from: Option<TenantId>,
        older_than_ms: u64,
        time_max_ms: u64,
    ) -> Result<CompactionOfAll, ServiceError> {
        let began_ms = self.host.now_ms();
        let time_left_ms = || time_max_ms.saturating_sub(self.host.now_ms().ms_since(began_ms));
        let mut done =
            CompactionOfAll { deleted_entries: 0, expired: Expired::default(), finished_tenants: 0, next: None };
        let mut last = None;
        let mut tenants: Vec<TenantId> = from.into_iter().collect();
        let mut is_late = false;
        loop {
            for tenant in tenants {
                if is_late {
                    done.next = Some(tenant);
                    return Ok(done);
                }
                let removed = self.remove_old(&tenant, older_than_ms, time_left_ms()).await?;
                done.deleted_entries += removed.entries;
                done.expired = done.expired.plus(removed.expired);
                if !removed.is_finished {
                    done.next = Some(tenant);
                    return Ok(done);
                }
                done.finished_tenants += 1;
                is_late = time_left_ms() == 0;
                last = Some(tenant);
            }
            tenants = self.store.tenants(last.as_ref(), COMPACT_LIST_MAX_TENANTS).await?;
            if tenants.is_empty() {
                return Ok(done);
            }
        }
    }
}
