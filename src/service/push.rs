//! Push: the operations of clients, decided and committed in groups.

use std::sync::Arc;

use super::SyncService;
use super::error::ServiceError;
use super::group_commit::GroupCommit;
use super::hooks::{Caller, InvalidOperation};
use super::push_lane::{PendingPush, Pushed, commit_group};
use crate::core::access::Principal;
use crate::core::decide::quota::Quota;
use crate::core::decide::{OperationRefused, Outcome};
use crate::core::names::TenantId;
use crate::core::operation::Operation;
use crate::limits::protocol::PUSH_CONFLICTS_MAX_BYTES;

/// Operations that a client pushes, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PushRequest {
    /// The operations, in their order.
    pub operations: Vec<Operation>,
    /// The limit for all documents in the answered conflicts together, in bytes. A push that would answer more is
    /// refused and changes nothing.
    pub conflicts_max_bytes: usize,
    /// Whether operations that are refused do not stop the others. Each of them has the outcome
    /// [`Outcome::Refused`].
    pub is_partial: bool,
}

impl PushRequest {
    /// A push that takes effect as a whole, with the widest limit: [`PUSH_CONFLICTS_MAX_BYTES`].
    #[must_use]
    pub fn new(operations: Vec<Operation>) -> Self {
        Self { operations, conflicts_max_bytes: PUSH_CONFLICTS_MAX_BYTES, is_partial: false }
    }

    /// The same push with another limit for the documents in its conflicts, in bytes.
    #[must_use]
    pub fn with_conflicts_max_bytes(self, conflicts_max_bytes: usize) -> Self {
        Self { conflicts_max_bytes, ..self }
    }

    /// The same push, in which refused operations do not stop the others.
    #[must_use]
    pub fn partial(self) -> Self {
        Self { is_partial: true, ..self }
    }
}

impl SyncService {
    /// Pushes operations: all that is accepted is durable when this answers, or nothing has changed.
    ///
    /// # Errors
    /// When the store fails, or others changed the same documents again and again. An error of the store may have come
    /// after the commit; pushing the same operations again is safe.
    pub async fn push(&self, tenant: &TenantId, operations: Vec<Operation>) -> Result<Pushed, ServiceError> {
        self.push_by(Caller::server(tenant), PushRequest::new(operations), Quota::default()).await
    }

    /// Pushes operations for a principal.
    ///
    /// # Errors
    /// The errors of [`SyncService::push`].
    pub async fn push_as(&self, principal: &Principal, request: PushRequest) -> Result<Pushed, ServiceError> {
        self.push_by(Caller::client(principal), request, self.quota).await
    }

    async fn push_by(&self, caller: Caller<'_>, request: PushRequest, quota: Quota) -> Result<Pushed, ServiceError> {
        let PushRequest { mut operations, conflicts_max_bytes, is_partial } = request;
        let invalid = self.hooks.invalid(caller, &operations);
        if !is_partial && !invalid.is_empty() {
            return Ok(Pushed::Invalid(invalid));
        }
        leave_out(&mut operations, &invalid);
        if operations.is_empty() {
            return Ok(Pushed::Decided(with_invalid(Vec::new(), invalid)));
        }
        let operations = Arc::new(operations);
        let lane = self.lanes.lane(caller.tenant, || GroupCommit::new(Arc::clone(&self.host)));
        let push = PendingPush { operations: Arc::clone(&operations), conflicts_max_bytes, quota, is_partial };
        let (store, host, tenant) = (Arc::clone(&self.store), Arc::clone(&self.host), caller.tenant.clone());
        let commit = async move |pushes: Vec<PendingPush>| commit_group(&*store, &*host, &tenant, &pushes).await;
        match lane.submit(push, commit).await? {
            Pushed::Decided(outcomes) => {
                self.hooks.pushed(caller, &operations, &outcomes);
                Ok(Pushed::Decided(with_invalid(outcomes, invalid)))
            }
            refused => Ok(refused),
        }
    }
}

/// Removes the operations that the application does not allow.
fn leave_out(operations: &mut Vec<Operation>, invalid: &[InvalidOperation]) {
    let mut invalid = invalid.iter().map(|invalid| invalid.index).peekable();
    let mut index = 0;
    operations.retain(|_| {
        let is_invalid = invalid.next_if_eq(&index).is_some();
        index += 1;
        !is_invalid
    });
}

/// The outcomes of all operations, from those of the operations that are allowed.
fn with_invalid(outcomes: Vec<Outcome>, invalid: Vec<InvalidOperation>) -> Vec<Outcome> {
    if invalid.is_empty() {
        return outcomes;
    }
    let count = outcomes.len() + invalid.len();
    let (mut outcomes, mut invalid) = (outcomes.into_iter(), invalid.into_iter().peekable());
    let outcome = |index| match invalid.next_if(|invalid| invalid.index == index) {
        Some(InvalidOperation { message, .. }) => Some(Outcome::Refused(OperationRefused::Invalid(message))),
        None => outcomes.next(),
    };
    (0..count).filter_map(outcome).collect()
}
