//! Push: the operations of clients, decided and committed in groups.

use std::sync::Arc;

use super::SyncService;
use super::error::ServiceError;
use super::group_commit::GroupCommit;
use super::hooks::Caller;
use super::push_lane::{PendingPush, Pushed, commit_group};
use crate::core::access::Principal;
use crate::core::decide::quota::Quota;
use crate::core::names::TenantId;
use crate::core::operation::Operation;
use crate::limits::protocol::PUSH_CONFLICTS_MAX_BYTES;

impl SyncService {
    /// Pushes operations: all that is accepted is durable when this answers, or nothing has changed.
    ///
    /// # Errors
    /// When the store fails, or others changed the same documents again and again. An error of the store may have come
    /// after the commit; pushing the same operations again is safe.
    pub async fn push(&self, tenant: &TenantId, operations: Vec<Operation>) -> Result<Pushed, ServiceError> {
        self.push_by(Caller::server(tenant), operations, PUSH_CONFLICTS_MAX_BYTES, Quota::default()).await
    }

    /// Pushes operations for a principal; the documents of the conflicts may have at most so many bytes. A push that
    /// would answer more is refused and changes nothing.
    ///
    /// # Errors
    /// The errors of [`SyncService::push`].
    pub async fn push_as(
        &self,
        principal: &Principal,
        operations: Vec<Operation>,
        conflicts_max_bytes: usize,
    ) -> Result<Pushed, ServiceError> {
        self.push_by(Caller::client(principal), operations, conflicts_max_bytes, self.quota).await
    }

    async fn push_by(
        &self,
        caller: Caller<'_>,
        operations: Vec<Operation>,
        conflicts_max_bytes: usize,
        quota: Quota,
    ) -> Result<Pushed, ServiceError> {
        if operations.is_empty() {
            return Ok(Pushed::Decided(Vec::new()));
        }
        let invalid = self.hooks.invalid(caller, &operations);
        if !invalid.is_empty() {
            return Ok(Pushed::Invalid(invalid));
        }
        let operations = Arc::new(operations);
        let lane = self.lanes.lane(caller.tenant, || GroupCommit::new(Arc::clone(&self.host)));
        let push = PendingPush { operations: Arc::clone(&operations), conflicts_max_bytes, quota };
        let (store, host, tenant) = (Arc::clone(&self.store), Arc::clone(&self.host), caller.tenant.clone());
        let commit = async move |pushes: Vec<PendingPush>| commit_group(&*store, &*host, &tenant, &pushes).await;
        let pushed = lane.submit(push, commit).await;
        if let Ok(Pushed::Decided(outcomes)) = &pushed {
            self.hooks.pushed(caller, &operations, outcomes);
        }
        pushed
    }
}
