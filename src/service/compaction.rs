//! Compaction in small steps, so that no push waits for more than one.

use super::{ServiceError, SyncService};
use crate::core::limits::{CLIENT_FORGOTTEN_AFTER_MS, COMPACT_STEP_MAX_ENTRIES};
use crate::core::names::TenantId;
use crate::store::{CompactStep, Compaction};

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
            received_until_ms: began_ms.saturating_sub(older_than_ms),
            forget_clients_before_ms: began_ms.saturating_sub(CLIENT_FORGOTTEN_AFTER_MS),
            max_entries: COMPACT_STEP_MAX_ENTRIES,
        };
        let mut deleted_entries = 0;
        loop {
            let done = self.store.compact(tenant, step).await?;
            deleted_entries += done.deleted_entries;
            let is_late = self.host.now_ms().saturating_sub(began_ms) >= time_max_ms;
            if done.is_finished || is_late {
                return Ok(Compaction { deleted_entries, is_finished: done.is_finished });
            }
        }
    }
}
