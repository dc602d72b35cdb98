//! Compaction in small steps, so that no push waits for more than one.

use super::{Done, ServiceError, SyncService};
use crate::core::limits::{
    CLIENT_FORGOTTEN_AFTER_MS, CLOCKS_APART_MAX_MS, COMPACT_LIST_MAX_TENANTS, COMPACT_STEP_MAX_ENTRIES,
};
use crate::core::names::TenantId;
use crate::store::{CompactStep, Compaction};

/// What a compaction of all tenants did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactionOfAll {
    /// Entries removed.
    pub deleted_entries: u64,
    /// How many tenants have nothing left to remove for this cut.
    pub finished_tenants: u64,
    /// The tenant to go on with, where the time was over before.
    pub next: Option<TenantId>,
}

impl SyncService {
    /// Removes the log entries that were received `older_than_ms` ago or before, for at most `time_max_ms`.
    ///
    /// What is left when the time is over is said in the answer, and the next compaction goes on there.
    ///
    /// # Errors
    /// When the store fails; the steps before are done then, and a later compaction goes on behind them.
    pub async fn compact(
        &self,
        tenant: &TenantId,
        older_than_ms: u64,
        time_max_ms: u64,
    ) -> Result<Compaction, ServiceError> {
        let began_ms = self.host.now_ms();
        let step = CompactStep {
            now_ms: began_ms,
            future_after_ms: began_ms.saturating_add(CLOCKS_APART_MAX_MS),
            received_until_ms: began_ms.saturating_sub(older_than_ms),
            forget_clients_before_ms: began_ms.saturating_sub(CLIENT_FORGOTTEN_AFTER_MS),
            max_entries: COMPACT_STEP_MAX_ENTRIES,
        };
        let mut deleted_entries = 0;
        loop {
            // An operation that was pushed since the first step is not from the future, however long the steps take.
            let now_ms = self.host.now_ms().max(began_ms);
            let step = CompactStep { future_after_ms: now_ms.saturating_add(CLOCKS_APART_MAX_MS), ..step };
            let done = self.store.compact(tenant, step).await?;
            deleted_entries += done.deleted_entries;
            self.host.note(&Done::Compacted { entries: done.deleted_entries });
            let is_late = self.host.now_ms().saturating_sub(began_ms) >= time_max_ms;
            if done.is_finished || is_late {
                return Ok(Compaction { deleted_entries, is_finished: done.is_finished });
            }
        }
    }

    /// Compacts one tenant after the other, in the order of their names' bytes, for about `time_max_ms`: when that is over
    /// no further step begins, but one step is done in any case. Begins with `from`, or the first tenant behind it.
    ///
    /// # Errors
    /// When the store fails; what was done before stays done.
    pub async fn compact_all(
        &self,
        from: Option<TenantId>,
        older_than_ms: u64,
        time_max_ms: u64,
    ) -> Result<CompactionOfAll, ServiceError> {
        let began_ms = self.host.now_ms();
        let time_left_ms = || time_max_ms.saturating_sub(self.host.now_ms().saturating_sub(began_ms));
        let mut done = CompactionOfAll { deleted_entries: 0, finished_tenants: 0, next: None };
        let mut last = None;
        let mut tenants: Vec<TenantId> = from.into_iter().collect();
        let mut is_late = false;
        loop {
            for tenant in tenants {
                if is_late {
                    done.next = Some(tenant);
                    return Ok(done);
                }
                let compacted = self.compact(&tenant, older_than_ms, time_left_ms()).await?;
                done.deleted_entries += compacted.deleted_entries;
                if !compacted.is_finished {
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
