//! Push: the operations of clients, decided and committed in groups.

mod parts;
mod quarantine;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tracing::{Instrument as _, Span};

pub use self::quarantine::{QUARANTINE, Undecidable};
use super::error::ServiceError;
use super::group_commit::GroupCommit;
use super::hooks::{Caller, InvalidOperation, tell};
use super::push_lane::{PendingPush, Pushed, commit_group};
use super::{SyncService, TRACE_TARGET};
#[cfg(doc)]
use crate::core::access::Role;
use crate::core::access::{Principal, View};
use crate::core::cursor::Position;
use crate::core::decide::base::Bases;
use crate::core::decide::owners::is_foreign;
use crate::core::decide::quota::Quota;
use crate::core::decide::{OperationRefused, Outcome, Refused};
use crate::core::names::{ClientId, TenantId};
use crate::core::numbers::Seq;
use crate::core::operation::Operation;
use crate::limits::protocol::PUSH_CONFLICTS_MAX_BYTES;
use crate::store::LoadRequest;

/// Operations that a client pushes, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PushRequest {
    /// The operations, in their order.
    pub operations: Vec<Operation>,
    /// The revisions that some of them name in place of their clocks, which have no effect then.
    pub bases: Bases,
    /// The client that pushes them, if it is known. It need not be the author of them all.
    pub client_id: Option<ClientId>,
    /// The limit for all documents in the answered conflicts together, in bytes. A push that would answer more is
    /// refused and changes nothing.
    pub conflicts_max_bytes: usize,
    /// Whether operations that are refused stop only those that follow on the same documents. Each of both has the
    /// outcome [`Outcome::Refused`].
    pub is_partial: bool,
    /// Whether a refused operation of a partial push stops no other one.
    pub is_lenient: bool,
    /// Whether an operation is in conflict if its author's counter is not greater than in the document's clock. Without
    /// this, two devices that use one client id overwrite each other's edits unnoticed.
    pub is_strict: bool,
}

impl PushRequest {
    /// A push that takes effect as a whole, with the widest limit: [`PUSH_CONFLICTS_MAX_BYTES`].
    #[must_use]
    pub fn new(operations: Vec<Operation>) -> Self {
        let conflicts_max_bytes = PUSH_CONFLICTS_MAX_BYTES;
        let (bases, client_id, is_partial, is_lenient, is_strict) = (Bases::default(), None, false, false, false);
        Self { operations, bases, client_id, conflicts_max_bytes, is_partial, is_lenient, is_strict }
    }

    /// The same push, whose operations name these revisions in place of clocks.
    #[must_use]
    pub fn with_bases(self, bases: Bases) -> Self {
        Self { bases, ..self }
    }

    /// The same push of a client.
    #[must_use]
    pub fn with_client(self, client_id: ClientId) -> Self {
        Self { client_id: Some(client_id), ..self }
    }

    /// The same push with another limit for the documents in its conflicts, in bytes.
    #[must_use]
    pub fn with_conflicts_max_bytes(self, conflicts_max_bytes: usize) -> Self {
        Self { conflicts_max_bytes, ..self }
    }

    /// The same push, in which a refused operation stops only those that follow on its document.
    #[must_use]
    pub fn partial(self) -> Self {
        Self { is_partial: true, ..self }
    }

    /// The same push, in which a refused operation stops no other one.
    #[must_use]
    pub fn lenient(self) -> Self {
        Self { is_partial: true, is_lenient: true, ..self }
    }

    /// The same push, in which a counter that its author has used before is a conflict.
    #[must_use]
    pub fn strict(self) -> Self {
        Self { is_strict: true, ..self }
    }
}

impl SyncService {
    /// Pushes operations: all that is accepted is durable when this answers, or nothing has changed.
    ///
    /// # Errors
    /// When the store fails, or others changed the same documents again and again. An error of the store may have come
    /// after the commit; pushing the same operations again is safe.
    pub async fn push(&self, tenant: &TenantId, operations: Vec<Operation>) -> Result<Pushed, ServiceError> {
        let view = self.rules.view_of_all();
        self.push_by(Caller::server(tenant), PushRequest::new(operations), Quota::default(), view).await
    }

    /// Pushes operations for a principal. A push of a client that pulls with `since` may take several commits.
    ///
    /// The client that pushes and the authors of the operations belong to the subject of the principal, or to nobody.
    /// The authors of operations that take effect belong to it from then on. This does not concern a principal of the
    /// role [`Role::Service`], and one that [is everybody](Principal::is_everybody).
    ///
    /// # Errors
    /// The errors of [`SyncService::push`].
    pub async fn push_as(&self, principal: &Principal, request: PushRequest) -> Result<Pushed, ServiceError> {
        self.push_by(Caller::client(principal), request, self.quota, self.rules.view(principal)).await
    }

    /// The newest place of a tenant's log, if it is at least `least`. `None` if it cannot be read, or if another log
    /// has taken the place of this one.
    pub(crate) async fn place_from(&self, tenant: &TenantId, least: Seq) -> Option<Position> {
        let newest = self.store.heads(std::slice::from_ref(tenant)).await.ok()?;
        newest.first().copied().filter(|newest| newest.seq >= least)
    }

    async fn push_by(
        &self,
        caller: Caller<'_>,
        request: PushRequest,
        quota: Quota,
        view: View,
    ) -> Result<Pushed, ServiceError> {
        let PushRequest { mut operations, mut bases, is_lenient, .. } = request;
        let invalid = self.hooks.invalid(caller, &operations);
        if !request.is_partial && !invalid.is_empty() {
            return Ok(Pushed::Invalid(invalid));
        }
        let refused = if invalid.is_empty() { BTreeMap::new() } else { refused(&operations, invalid, is_lenient) };
        leave_out(&mut operations, &refused);
        leave_out(&mut bases.revisions, &refused);
        if operations.is_empty() {
            if request.is_partial && self.is_foreign(caller, request.client_id.as_ref()).await? {
                return Ok(Pushed::Refused(Refused::ForeignClient { index: None }));
            }
            self.hooks.refused(caller, refused.len());
            return Ok(Pushed::Decided(with_refused(Vec::new(), refused)));
        }
        let request = PushRequest { operations, bases, ..request };
        let (operations, pushed) = self.commit_in_parts(caller, request, quota, view).await?;
        match pushed {
            Pushed::Decided(outcomes) => {
                self.hooks.pushed(caller, &operations, &outcomes);
                let outcomes = with_refused(outcomes, refused);
                self.hooks.refused(caller, outcomes.iter().filter(|it| matches!(it, Outcome::Refused(_))).count());
                Ok(Pushed::Decided(outcomes))
            }
            pushed => Ok(pushed),
        }
    }

    /// Whether the client that pushes belongs to another subject than the caller.
    async fn is_foreign(&self, caller: Caller<'_>, client_id: Option<&ClientId>) -> Result<bool, ServiceError> {
        let Some((subject, client_id)) = caller.client_owner().zip(client_id) else { return Ok(false) };
        let request = LoadRequest { client_ids: vec![client_id.clone()], ..LoadRequest::default() };
        let owners = self.store.load(caller.tenant, request).await?.owners;
        Ok(is_foreign(owners.get(client_id).and_then(|owner| owner.subject.as_ref()), subject))
    }

    /// Decides and commits a push that the application allows, as a whole.
    async fn commit_push(
        &self,
        caller: Caller<'_>,
        request: PushRequest,
        quota: Quota,
        view: View,
    ) -> Result<(Arc<Vec<Operation>>, Pushed), ServiceError> {
        let PushRequest { operations, bases, client_id, .. } = request;
        let PushRequest { conflicts_max_bytes, is_partial, is_lenient, is_strict, .. } = request;
        let operations = Arc::new(operations);
        let lane = self.lanes.lane(caller.tenant, || GroupCommit::new(Arc::clone(&self.host)));
        let push = PendingPush {
            operations: Arc::clone(&operations),
            bases,
            subject: caller.subject().cloned(),
            claimant: caller.client_owner().map(|subject| (subject.clone(), client_id)),
            conflicts_max_bytes,
            quota,
            is_partial,
            is_lenient,
            is_strict,
            view,
            policies: self.policies.clone(),
            span: Span::current().id(),
            tombstones: self.retention.tombstones(),
        };
        let resolver = self.resolver.clone();
        let (store, host, tenant) = (Arc::clone(&self.store), Arc::clone(&self.host), caller.tenant.clone());
        let hub = Arc::clone(&self.hub);
        let observers = self.hooks.observers();
        let commit = async move |pushes: Vec<PendingPush>| {
            let operations = pushes.iter().map(|push| push.operations.len()).sum::<usize>();
            let span = span_of_group(&pushes, operations);
            let results = commit_group(&*store, &*host, resolver.as_deref(), &tenant, &pushes).instrument(span).await;
            tell(&observers, |observer| observer.committed(&tenant, pushes.len(), operations));
            hub.committed(&tenant);
            results
        };
        let _in_progress = self.pushes.enter();
        Ok((operations, lane.submit(push, commit).await?))
    }
}

/// A span for traces around the work of a group, which belongs to no request alone.
fn span_of_group(pushes: &[PendingPush], operations: usize) -> Span {
    let span = tracing::debug_span!(
        target: TRACE_TARGET,
        parent: None,
        "group of pushes",
        pushes.count = pushes.len(),
        operations.count = operations,
    );
    for push in pushes {
        span.follows_from(push.span.clone());
    }
    span
}

/// The refusals of the operations that the application does not allow, and of those that may build on them.
fn refused(
    operations: &[Operation],
    invalid: Vec<InvalidOperation>,
    is_lenient: bool,
) -> BTreeMap<usize, OperationRefused> {
    let mut invalid: BTreeMap<usize, String> = invalid.into_iter().map(|it| (it.index, it.message)).collect();
    let (mut refused, mut keys) = (BTreeMap::new(), HashSet::new());
    for (index, operation) in operations.iter().enumerate() {
        if let Some(message) = invalid.remove(&index) {
            keys.insert(&operation.key);
            refused.insert(index, OperationRefused::Invalid(message));
        } else if !is_lenient && keys.contains(&operation.key) {
            refused.insert(index, OperationRefused::BuildsOnRefused);
        }
    }
    refused
}

/// Removes the operations that are refused, or something that there is for each operation.
fn leave_out<T>(operations: &mut Vec<T>, refused: &BTreeMap<usize, OperationRefused>) {
    let mut indexes = 0..;
    operations.retain(|_| indexes.next().is_some_and(|index| !refused.contains_key(&index)));
}

/// The outcomes of all operations, from those of the operations that were decided.
fn with_refused(outcomes: Vec<Outcome>, mut refused: BTreeMap<usize, OperationRefused>) -> Vec<Outcome> {
    if refused.is_empty() {
        return outcomes;
    }
    let count = outcomes.len() + refused.len();
    let mut outcomes = outcomes.into_iter();
    let outcome = |index| refused.remove(&index).map(Outcome::Refused).or_else(|| outcomes.next());
    (0..count).filter_map(outcome).collect()
}
