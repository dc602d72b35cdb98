//! The compaction of all tenants, within the time of a function.

use std::time::SystemTime;

use lambda_runtime::LambdaEvent;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::lazy::LazyService;
use crate::api;
use crate::config::Config;
use crate::core::names::TenantId;
use crate::limits::lambda::LAMBDA_COMPACTION_MARGIN_MS;

/// The function that the schedule calls.
pub(super) struct ScheduledCompaction {
    service: LazyService,
    older_than_days: f64,
}

/// The tenant with which a run begins. The other keys of the event are read as a request of `POST /compact`.
#[derive(Debug, Deserialize)]
struct Start {
    from: Option<String>,
}

/// The result of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Done {
    /// The number of entries that were removed from the logs.
    deleted_count: u64,
    /// The number of tenants that have nothing left to remove.
    tenant_count: u64,
    /// Whether the time was over before all tenants were finished.
    has_more: bool,
    /// The first tenant that was not finished.
    next: Option<String>,
}

impl ScheduledCompaction {
    pub(super) fn new(config: &Config) -> Self {
        let older_than_days = config.compaction.older_than_days;
        Self { service: LazyService::new(config), older_than_days }
    }

    /// Compacts every tenant.
    ///
    /// # Errors
    /// If the event cannot be read or the store fails. The steps before a failure keep their effect.
    pub(super) async fn run(&self, event: LambdaEvent<Box<RawValue>>) -> Result<Done, String> {
        let LambdaEvent { payload, context } = event;
        let older_than_ms = api::compaction_age_ms(payload.get(), self.older_than_days)?;
        let Start { from } = serde_json::from_str(payload.get()).map_err(|problem| format!("from: {problem}"))?;
        let from = from.map(|name| TenantId::parse(&name).map_err(|problem| format!("from: {problem}"))).transpose()?;
        let time_left = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        let time_left_ms = u64::try_from(time_left.as_millis()).unwrap_or(u64::MAX);
        let time_max_ms = time_left_ms.saturating_sub(LAMBDA_COMPACTION_MARGIN_MS);

        let service = self.service.get().await.map_err(|problem| problem.to_string())?;
        let done =
            service.compact_all(from, older_than_ms, time_max_ms).await.map_err(|problem| problem.to_string())?;
        let done = Done {
            deleted_count: done.deleted_entries,
            tenant_count: done.finished_tenants,
            has_more: done.next.is_some(),
            next: done.next.map(|tenant| tenant.as_str().to_owned()),
        };
        tracing::info!(
            compaction.deleted_entries = done.deleted_count,
            compaction.finished_tenants = done.tenant_count,
            compaction.next = done.next,
            "compacted"
        );
        Ok(done)
    }
}
