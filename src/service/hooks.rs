//! The hooks of an application: it refuses operations, and it hears of them.

use std::fmt::{self, Debug};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::core::access::Principal;
use crate::core::decide::{Conflict, Outcome, Resolved};
use crate::core::names::{Subject, TenantId};
use crate::core::operation::{LogEntry, Operation};
use crate::store::Expired;

/// The origin of a request: its tenant, and its principal if there is one.
///
/// There is no principal if the application itself calls the service, for example with
/// [`put`](super::SyncService::put).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Caller<'a> {
    /// The tenant that the request is about.
    pub tenant: &'a TenantId,
    /// The principal, if a client made the request.
    pub principal: Option<&'a Principal>,
}

impl<'a> Caller<'a> {
    /// The application itself.
    pub(super) fn server(tenant: &'a TenantId) -> Self {
        Self { tenant, principal: None }
    }

    /// The subject that the log keeps with the operations of the caller.
    pub(super) fn subject(&self) -> Option<&'a Subject> {
        self.principal.and_then(Principal::known_subject)
    }

    /// The subject to whom the client ids in the caller's requests have to belong, if that matters.
    pub(super) fn client_owner(&self) -> Option<&'a Subject> {
        self.principal.and_then(Principal::client_owner)
    }

    /// A client.
    pub(super) fn client(principal: &'a Principal) -> Self {
        Self { tenant: &principal.tenant, principal: Some(principal) }
    }
}

/// Hears what the service has done.
///
/// The service calls these methods within the request, after the commit and before the answer. So they must return at
/// once; longer work goes into a channel or a task. They cannot change the answer, and if one panics, the panic is
/// logged and the request continues.
///
/// If the process is killed or the client hangs up after the commit, they may not be called. [`SyncService::follow`]
/// misses nothing.
///
/// [`SyncService::follow`]: super::SyncService::follow
pub trait Observer: Send + Sync + 'static {
    /// Operations of one push took effect and are durable, in the order of the push.
    fn accepted(&self, _caller: Caller<'_>, _operations: &[&Operation]) {}

    /// Operations of one push had taken effect before, and changed nothing now: their client repeated them.
    fn repeated(&self, _caller: Caller<'_>, _operations: &[&Operation]) {}

    /// Conflicts of one push were resolved by the server, and the resolutions are durable. [`Observer::accepted`] is
    /// told of these operations too.
    fn resolved(&self, _caller: Caller<'_>, _resolved: &[(&Operation, &Resolved)]) {}

    /// Operations of one push are in conflict with the server's documents, and changed nothing.
    fn conflicts(&self, _caller: Caller<'_>, _conflicts: &[(&Operation, &Conflict)]) {}

    /// Operations of one push are forbidden to their author by the rules, and changed nothing.
    fn forbidden(&self, _caller: Caller<'_>, _operations: &[&Operation]) {}

    /// So many operations of one partial push were refused, and changed nothing. Operations with faults in their fields
    /// do not reach the service, and are not among them.
    fn refused(&self, _caller: Caller<'_>, _operations: usize) {}

    /// A page was read for a client; it may be empty.
    fn pulled(&self, _caller: Caller<'_>, _entries: &[LogEntry]) {}

    /// A step of a compaction has removed so many entries of the log; it may be none.
    fn compacted(&self, _tenant: &TenantId, _removed_entries: u64) {}

    /// A step of retention has removed rows; it may be none.
    fn expired(&self, _tenant: &TenantId, _expired: Expired) {}

    /// So many pushes, with so many operations together, were decided and committed together. It may have failed.
    fn committed(&self, _tenant: &TenantId, _pushes: usize, _operations: usize) {}

    /// The listeners of a tenant were woken, so long after this process learned of the first commit that they had not
    /// seen. The time in which none of them waited is left out.
    fn woken(&self, _tenant: &TenantId, _after: Duration) {}
}

/// An operation that the application does not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidOperation {
    /// The operation's index in its push.
    pub index: usize,
    /// Why, in words for the author of the client.
    pub message: String,
}

type Validate = dyn Fn(Caller<'_>, &Operation) -> Result<(), String> + Send + Sync;

/// The hooks of a service.
#[derive(Default)]
pub(super) struct Hooks {
    validate: Option<Box<Validate>>,
    observers: Observers,
}

/// The observers of a service. A copy is cheap.
pub(super) type Observers = Arc<Vec<Arc<dyn Observer>>>;

impl Hooks {
    pub(super) fn validate_with(
        &mut self,
        validate: impl Fn(Caller<'_>, &Operation) -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.validate = Some(Box::new(validate));
    }

    pub(super) fn observe_with(&mut self, observer: Arc<dyn Observer>) {
        Arc::make_mut(&mut self.observers).push(observer);
    }

    /// The observers, for work that outlives a request.
    pub(super) fn observers(&self) -> Observers {
        Arc::clone(&self.observers)
    }

    /// The operations that the application does not allow.
    pub(super) fn invalid(&self, caller: Caller<'_>, operations: &[Operation]) -> Vec<InvalidOperation> {
        let Some(validate) = &self.validate else { return Vec::new() };
        let problem = |(index, operation)| {
            let checked = catch_unwind(AssertUnwindSafe(|| validate(caller, operation))).unwrap_or_else(|_| {
                tracing::error!("the validation of an operation panicked; the operation is refused");
                Err("cannot be checked".to_owned())
            });
            Some(InvalidOperation { index, message: checked.err()? })
        };
        operations.iter().enumerate().filter_map(problem).collect()
    }

    /// Tells what became of the operations of a push.
    pub(super) fn pushed(&self, caller: Caller<'_>, operations: &[Operation], outcomes: &[Outcome]) {
        if self.observers.is_empty() {
            return;
        }
        let (mut accepted, mut repeated, mut conflicts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut forbidden, mut resolutions) = (Vec::new(), Vec::new());
        for (operation, outcome) in operations.iter().zip(outcomes) {
            match outcome {
                Outcome::Applied => accepted.push(operation),
                Outcome::Resolved(resolved) => {
                    accepted.push(operation);
                    resolutions.push((operation, &**resolved));
                }
                Outcome::Reached(reached) if reached.is_new => accepted.push(operation),
                Outcome::Duplicate | Outcome::Reached(_) => repeated.push(operation),
                Outcome::Conflict(conflict) => conflicts.push((operation, &**conflict)),
                Outcome::Forbidden(_) => forbidden.push(operation),
                Outcome::Refused(_) => {}
            }
        }
        if !accepted.is_empty() {
            self.tell(|observer| observer.accepted(caller, &accepted));
        }
        if !repeated.is_empty() {
            self.tell(|observer| observer.repeated(caller, &repeated));
        }
        if !resolutions.is_empty() {
            self.tell(|observer| observer.resolved(caller, &resolutions));
        }
        if !conflicts.is_empty() {
            self.tell(|observer| observer.conflicts(caller, &conflicts));
        }
        if !forbidden.is_empty() {
            self.tell(|observer| observer.forbidden(caller, &forbidden));
        }
    }

    pub(super) fn refused(&self, caller: Caller<'_>, operations: usize) {
        if operations > 0 {
            self.tell(|observer| observer.refused(caller, operations));
        }
    }

    pub(super) fn pulled(&self, caller: Caller<'_>, entries: &[LogEntry]) {
        self.tell(|observer| observer.pulled(caller, entries));
    }

    pub(super) fn compacted(&self, tenant: &TenantId, removed_entries: u64) {
        self.tell(|observer| observer.compacted(tenant, removed_entries));
    }

    pub(super) fn expired(&self, tenant: &TenantId, expired: Expired) {
        self.tell(|observer| observer.expired(tenant, expired));
    }

    fn tell(&self, call: impl Fn(&dyn Observer)) {
        tell(&self.observers, call);
    }
}

/// Calls every observer, whatever becomes of the ones before.
pub(super) fn tell(observers: &[Arc<dyn Observer>], call: impl Fn(&dyn Observer)) {
    for observer in observers {
        if catch_unwind(AssertUnwindSafe(|| call(&**observer))).is_err() {
            tracing::error!("an observer of the service panicked; the request continues");
        }
    }
}

impl Debug for Hooks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hooks = formatter.debug_struct("Hooks");
        hooks.field("validates", &self.validate.is_some()).field("observers", &self.observers.len()).finish()
    }
}

#[cfg(all(test, panic = "unwind"))]
mod tests {
    use super::*;
    use crate::core::clock::VectorClock;
    use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId, TenantId};
    use crate::core::numbers::UnixMs;
    use crate::core::operation::Change;

    fn deletion(id: &str) -> Operation {
        Operation {
            id: OperationId::literal(id),
            change: Change::Delete,
            key: DocumentKey { collection: Collection::literal("c"), id: DocumentId::literal("d") },
            timestamp: UnixMs::new(1),
            client_id: ClientId::literal("a"),
            clock: VectorClock::default(),
        }
    }

    #[test]
    fn an_operation_whose_validation_panics_is_refused() {
        let mut hooks = Hooks::default();
        hooks.validate_with(|_, operation| {
            assert!(operation.id.as_str() != "op-2", "a planted one");
            Ok(())
        });
        let invalid = hooks.invalid(Caller::server(&TenantId::literal("t")), &["op-1", "op-2"].map(deletion));
        assert_eq!(invalid, [InvalidOperation { index: 1, message: "cannot be checked".to_owned() }]);
    }
}
