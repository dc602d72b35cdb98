//! Push: load, decide, commit, with the pushes of one tenant that wait at the same time in one commit.

use std::sync::Arc;

use super::group_commit::{GroupCommit, Item};
use super::hooks::{Caller, InvalidOperation};
use super::host::{Host, backoff};
use super::{ServiceError, SyncService};
use crate::core::access::Principal;
use crate::core::decide::{self, Answer, Outcome, Refused, decide, ids_of, keys_of};
use crate::core::names::TenantId;
use crate::core::operation::Operation;
use crate::limits::protocol::PUSH_CONFLICTS_MAX_BYTES;
use crate::limits::service::{
    GROUP_GATHERING_MAX_OPERATIONS, GROUP_MAX_BYTES, GROUP_MAX_OPERATIONS, PUSH_BACKOFF_FIRST_MS, PUSH_BACKOFF_MAX_MS,
    PUSH_MAX_ATTEMPTS,
};
use crate::store::{Commit, ErrorKind, LoadRequest, Store};

/// The outcome of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pushed {
    /// It was decided: an outcome for each operation, in their order. Their changes are durable.
    Decided(Vec<Outcome>),
    /// It was refused as a whole and changed nothing.
    Refused(Refused),
    /// The application does not allow some of its operations, so it was refused as a whole and changed nothing.
    Invalid(Vec<InvalidOperation>),
}

impl Pushed {
    /// The outcomes, unless the push was refused.
    #[must_use]
    pub fn outcomes(self) -> Option<Vec<Outcome>> {
        match self {
            Self::Decided(outcomes) => Some(outcomes),
            Self::Refused(_) | Self::Invalid(_) => None,
        }
    }
}

impl From<Answer> for Pushed {
    fn from(answer: Answer) -> Self {
        match answer {
            Ok(outcomes) => Self::Decided(outcomes),
            Err(refused) => Self::Refused(refused),
        }
    }
}

impl SyncService {
    /// Pushes operations: all that is accepted is durable when this answers, or nothing has changed.
    ///
    /// # Errors
    /// When the store fails, or others changed the same documents again and again. An error of the store may have come
    /// after the commit; pushing the same operations again is safe.
    pub async fn push(&self, tenant: &TenantId, operations: Vec<Operation>) -> Result<Pushed, ServiceError> {
        self.push_by(Caller::server(tenant), operations, PUSH_CONFLICTS_MAX_BYTES).await
    }

    /// Pushes operations for a principal; the documents of the conflicts may have at most so many bytes. A push that would
    /// answer more is refused and changes nothing.
    ///
    /// # Errors
    /// The errors of [`SyncService::push`].
    pub async fn push_as(
        &self,
        principal: &Principal,
        operations: Vec<Operation>,
        conflicts_max_bytes: usize,
    ) -> Result<Pushed, ServiceError> {
        self.push_by(Caller::client(principal), operations, conflicts_max_bytes).await
    }

    async fn push_by(
        &self,
        caller: Caller<'_>,
        operations: Vec<Operation>,
        conflicts_max_bytes: usize,
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
        let push = PendingPush { operations: Arc::clone(&operations), conflicts_max_bytes };
        let (store, host, tenant) = (Arc::clone(&self.store), Arc::clone(&self.host), caller.tenant.clone());
        let commit = async move |pushes: Vec<PendingPush>| commit_group(&*store, &*host, &tenant, &pushes).await;
        let pushed = lane.submit(push, commit).await;
        if let Ok(Pushed::Decided(outcomes)) = &pushed {
            self.hooks.pushed(caller, &operations, outcomes);
        }
        pushed
    }
}

/// The pushes of one tenant, in groups that share a commit.
pub(super) type PushLane = GroupCommit<PendingPush, Result<Pushed, ServiceError>>;

/// A push that waits for its commit.
#[derive(Debug)]
pub(super) struct PendingPush {
    operations: Arc<Vec<Operation>>,
    conflicts_max_bytes: usize,
}

/// How much the pushes of a group are together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GroupSize {
    operations: usize,
    data_bytes: usize,
}

impl Item for PendingPush {
    type Total = GroupSize;

    fn add_to(&self, total: GroupSize) -> GroupSize {
        let data_bytes = |operation: &Operation| operation.data().map_or(0, |data| data.as_str().len());
        GroupSize {
            operations: total.operations + self.operations.len(),
            data_bytes: total.data_bytes + self.operations.iter().map(data_bytes).sum::<usize>(),
        }
    }

    fn is_too_much(total: GroupSize) -> bool {
        total.operations > GROUP_MAX_OPERATIONS || total.data_bytes > GROUP_MAX_BYTES
    }

    fn is_large(total: GroupSize) -> bool {
        total.operations >= GROUP_GATHERING_MAX_OPERATIONS
    }
}

impl PendingPush {
    fn to_decide(&self) -> decide::Push<'_> {
        decide::Push { operations: &self.operations, conflicts_max_bytes: self.conflicts_max_bytes }
    }
}

/// Decides and commits a group. If the store refuses it for good, each push is committed alone, so that a push that the
/// store cannot take does not fail its neighbours.
async fn commit_group(
    store: &dyn Store,
    host: &dyn Host,
    tenant: &TenantId,
    pushes: &[PendingPush],
) -> Vec<Result<Pushed, ServiceError>> {
    let pushes: Vec<decide::Push<'_>> = pushes.iter().map(PendingPush::to_decide).collect();
    match commit_together(store, host, tenant, &pushes).await {
        Ok(results) => results.into_iter().map(Ok).collect(),
        Err(ServiceError::Store(error)) if error.kind() == ErrorKind::Failed && pushes.len() > 1 => {
            let mut results = Vec::with_capacity(pushes.len());
            for push in pushes {
                let alone = commit_together(store, host, tenant, &[push]).await;
                results.push(alone.map(|mut only| only.remove(0)));
            }
            results
        }
        Err(error) => vec![Err(error); pushes.len()],
    }
}

/// Load, decide, commit; again from the start while others are faster.
async fn commit_together(
    store: &dyn Store,
    host: &dyn Host,
    tenant: &TenantId,
    pushes: &[decide::Push<'_>],
) -> Result<Vec<Pushed>, ServiceError> {
    let request = LoadRequest { ids: ids_of(pushes), keys: keys_of(pushes) };
    for attempt in 0..PUSH_MAX_ATTEMPTS {
        if attempt > 0 {
            let pause = backoff(attempt - 1, PUSH_BACKOFF_FIRST_MS, PUSH_BACKOFF_MAX_MS, host.random_bits());
            host.sleep(pause).await;
        }
        let snapshot = store.load(tenant, request.clone()).await?;
        let (answers, batch) = decide(pushes, snapshot, host.now_ms());
        let is_written = batch.is_empty() || store.commit(tenant, batch).await? == Commit::Done;
        if is_written {
            return Ok(answers.into_iter().map(Pushed::from).collect());
        }
        tracing::debug!(store.name = store.name(), push.attempt = attempt, "push contended");
    }
    Err(ServiceError::Contended { attempts: PUSH_MAX_ATTEMPTS })
}
