//! The lane of a tenant's pushes: load, decide, commit, with the pushes that wait at the same time in one commit.

mod resolver;

use std::sync::Arc;

use futures_channel::oneshot;
use tracing::span::Id;

use self::resolver::ask;
pub use self::resolver::{Resolution, Resolver};
use super::error::ServiceError;
use super::group_commit::{GroupCommit, Item};
use super::hooks::InvalidOperation;
use super::host::{Host, backoff};
use crate::core::access::View;
use crate::core::decide::base::Bases;
use crate::core::decide::owners::Claimant;
use crate::core::decide::quota::Quota;
use crate::core::decide::{
    self, Batch, Decision, Outcome, Refused, Snapshot, client_ids_of, decide, ids_of, keys_of, places_of, read_bytes,
};
use crate::core::names::{ClientId, DocumentKey, Subject, TenantId};
use crate::core::operation::Operation;
use crate::core::policy::Policies;
use crate::core::retention::Tombstones;
use crate::limits::protocol::PUSH_LOADED_MAX_BYTES;
use crate::limits::service::{
    DECISION_INLINE_MAX_BYTES, GROUP_GATHERING_MAX_OPERATIONS, GROUP_MAX_BYTES, GROUP_MAX_OPERATIONS,
    PUSH_BACKOFF_FIRST_MS, PUSH_BACKOFF_MAX_MS, PUSH_MAX_ATTEMPTS,
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
    /// The application does not allow some of its operations, so it was refused as a whole and changed nothing. A
    /// partial push is decided without them.
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

impl From<Decision> for Pushed {
    fn from(decision: Decision) -> Self {
        match decision {
            Ok(outcomes) => Self::Decided(outcomes),
            Err(refused) => Self::Refused(refused),
        }
    }
}

/// The pushes of one tenant, in groups that share a commit.
pub(super) type PushLane = GroupCommit<PendingPush, Result<Pushed, ServiceError>>;

/// A push that waits for its commit.
#[derive(Debug)]
pub(super) struct PendingPush {
    pub(super) operations: Arc<Vec<Operation>>,
    pub(super) bases: Bases,
    /// The subject that pushes them.
    pub(super) subject: Option<Subject>,
    /// The subject that may use only its own client ids, and the client that pushes.
    pub(super) claimant: Option<(Subject, Option<ClientId>)>,
    pub(super) conflicts_max_bytes: usize,
    pub(super) quota: Quota,
    pub(super) is_partial: bool,
    pub(super) is_lenient: bool,
    pub(super) is_strict: bool,
    pub(super) view: View,
    pub(super) policies: Policies,
    /// The span of the request in the log.
    pub(super) span: Option<Id>,
    pub(super) tombstones: Tombstones,
}

impl From<decide::Push<'_>> for PendingPush {
    fn from(push: decide::Push<'_>) -> Self {
        let decide::Push { operations, subject, claimant, conflicts_max_bytes, quota, is_partial, is_strict, .. } =
            push;
        let bases = push.bases.clone();
        Self {
            operations: Arc::new(operations.to_vec()),
            bases,
            subject: subject.cloned(),
            claimant: claimant.map(|claimant| (claimant.subject.clone(), claimant.client_id.cloned())),
            conflicts_max_bytes,
            quota,
            is_partial,
            is_lenient: push.is_lenient,
            is_strict,
            view: push.view.clone(),
            policies: push.policies.clone(),
            span: None,
            tombstones: push.tombstones,
        }
    }
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
        let Self { operations, bases, subject, claimant, conflicts_max_bytes, quota, is_partial, is_strict, .. } = self;
        let claimant = claimant.as_ref();
        decide::Push {
            operations,
            bases,
            subject: subject.as_ref(),
            claimant: claimant.map(|(subject, client_id)| Claimant { subject, client_id: client_id.as_ref() }),
            conflicts_max_bytes: *conflicts_max_bytes,
            quota: *quota,
            is_partial: *is_partial,
            is_lenient: self.is_lenient,
            is_strict: *is_strict,
            view: &self.view,
            policies: &self.policies,
            tombstones: self.tombstones,
        }
    }
}

/// Decides and commits a group, usually at once.
///
/// If the documents of its pushes are too many bytes for one commit, it is decided in parts. If the store refuses it
/// for good, or takes too long over it, each push is decided alone. So one push does not make its neighbours fail.
pub(super) async fn commit_group(
    store: &dyn Store,
    host: &dyn Host,
    resolver: Option<&dyn Resolver>,
    tenant: &TenantId,
    pushes: &[PendingPush],
) -> Vec<Result<Pushed, ServiceError>> {
    let pushes: Vec<decide::Push<'_>> = pushes.iter().map(PendingPush::to_decide).collect();
    let mut results: Vec<Result<Pushed, ServiceError>> = Vec::with_capacity(pushes.len());
    let (mut part_pushes, mut is_each_alone) = (pushes.len(), false);
    while let rest = &pushes[results.len()..]
        && !rest.is_empty()
    {
        let part = &rest[..rest.len().min(part_pushes)];
        match commit_together(store, host, resolver, tenant, part).await {
            Ok(Together::Decided(decisions)) => {
                results.extend(decisions.into_iter().map(|decision| Ok(Pushed::from(decision))));
                part_pushes = if is_each_alone { 1 } else { part.len() * 2 };
            }
            Ok(Together::TooLarge) if part.len() > 1 => part_pushes = part.len().div_ceil(2),
            Ok(Together::TooLarge) => {
                results.push(Ok(Pushed::Refused(Refused::DocumentsTooLarge { max_bytes: PUSH_LOADED_MAX_BYTES })));
            }
            Err(ServiceError::Store(error)) if may_be_of_one_push(error.kind()) && part.len() > 1 => {
                (part_pushes, is_each_alone) = (1, true);
            }
            Err(ServiceError::Store(error)) if error.kind() == ErrorKind::TooSlow && part[0].operations.len() > 1 => {
                results.push(Ok(Pushed::Refused(Refused::TooSlow)));
            }
            Err(error) => {
                let failed = if is_each_alone { part } else { rest };
                results.extend(failed.iter().map(|_| Err(error.clone())));
            }
        }
    }
    results
}

/// Whether one push of several may be the reason for an error, so that the others would work without it.
fn may_be_of_one_push(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Failed | ErrorKind::TooSlow)
}

/// The outcome of pushes that share a commit.
enum Together {
    /// The decisions about the first of them, usually about all; they are durable.
    Decided(Vec<Decision>),
    /// Their documents have more bytes than one decision loads; nothing was decided.
    TooLarge,
}

/// Load, decide, commit; again from the start while others are faster.
async fn commit_together(
    store: &dyn Store,
    host: &dyn Host,
    resolver: Option<&dyn Resolver>,
    tenant: &TenantId,
    pushes: &[decide::Push<'_>],
) -> Result<Together, ServiceError> {
    let mut request = LoadRequest {
        ids: ids_of(pushes),
        keys: keys_of(pushes),
        client_ids: client_ids_of(pushes),
        places: places_of(pushes),
        max_bytes: PUSH_LOADED_MAX_BYTES,
        with_usage: pushes.iter().any(|push| push.quota.concerns_pushes()),
        with_labels: pushes.iter().any(|push| push.view.has_rules()),
        with_stamps: pushes.iter().any(|push| push.policies.resolve()),
    };
    for attempt in 0..PUSH_MAX_ATTEMPTS {
        if attempt > 0 {
            let pause = backoff(attempt - 1, PUSH_BACKOFF_FIRST_MS, PUSH_BACKOFF_MAX_MS, host.random_bits());
            host.sleep(pause).await;
        }
        let mut snapshot = store.load(tenant, request.clone()).await?;
        if snapshot.is_cut {
            match pushes {
                [push] if keys_of_unknown(store, tenant, *push, &mut request).await? => continue,
                _ => return Ok(Together::TooLarge),
            }
        }
        let max_clients = pushes.iter().filter_map(|push| push.quota.max_clients).max();
        let is_new = |client_id: &ClientId| !client_id.is_server() && !snapshot.owners.contains_key(client_id);
        if let Some(max_clients) = max_clients.filter(|_| request.client_ids.iter().any(is_new)) {
            // A client is new, so that it matters how many there are.
            snapshot.owned_clients = Some(store.count_clients(tenant, max_clients).await?.owned);
        }
        if let Some(resolver) = resolver {
            snapshot.answers = ask(resolver, host, tenant, pushes, &snapshot).await;
        }
        let (decisions, batch) = decide_in_turn(host, pushes, snapshot).await;
        if batch.is_empty() {
            return Ok(Together::Decided(decisions));
        }
        if store.commit(tenant, batch).await? == Commit::Done {
            return Ok(Together::Decided(decisions));
        }
        tracing::debug!(store.name = store.name(), push.attempt = attempt, "push contended");
    }
    Err(ServiceError::Contended { attempts: PUSH_MAX_ATTEMPTS })
}

/// Leaves the documents of known operations out of a request. A push that took effect is answered the same, however
/// large its documents have become. Returns whether there were any.
async fn keys_of_unknown(
    store: &dyn Store,
    tenant: &TenantId,
    push: decide::Push<'_>,
    request: &mut LoadRequest,
) -> Result<bool, ServiceError> {
    let only_ids = LoadRequest { ids: request.ids.clone(), ..LoadRequest::default() };
    let known = store.load(tenant, only_ids).await?.known;
    let unknown = push.operations.iter().filter(|operation| !known.contains(&operation.id));
    let mut keys: Vec<DocumentKey> = unknown.map(|operation| operation.key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    let are_fewer = keys.len() < request.keys.len();
    request.keys = keys;
    Ok(are_fewer)
}

/// Decides; if this takes a while, it is work of the host.
async fn decide_in_turn(host: &dyn Host, pushes: &[decide::Push<'_>], snapshot: Snapshot) -> (Vec<Decision>, Batch) {
    let now_ms = host.now_ms();
    if read_bytes(pushes, &snapshot) <= DECISION_INLINE_MAX_BYTES {
        return decide(pushes, &snapshot, now_ms);
    }
    let (sender, decided) = oneshot::channel();
    let owned: Vec<PendingPush> = pushes.iter().map(|push| PendingPush::from(*push)).collect();
    let work = move || {
        let pushes: Vec<decide::Push<'_>> = owned.iter().map(PendingPush::to_decide).collect();
        // The receiver may be gone.
        let _ = sender.send(decide(&pushes, &snapshot, now_ms));
    };
    host.work(Box::new(work)).await;
    decided.await.expect("a decision does not panic")
}
