//! The application's own resolution of conflicts.

use std::collections::HashMap;
use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either, join_all, select};

use crate::core::decide::{CustomAnswer, Push, Snapshot, undecided};
use crate::core::document::Document;
use crate::core::json::Object;
use crate::core::names::{OperationId, TenantId};
use crate::core::operation::Operation;
use crate::limits::service::RESOLVER_TIME_MAX_MS;
use crate::service::host::Host;

/// Resolves the conflicts of collections with the policy [`Custom`](crate::core::policy::ConflictPolicy::Custom).
///
/// The service asks between reading the documents and deciding, for operations whose authors have not seen the content.
/// If another operation changes the document meanwhile, the answer is not used. A push waits for at most
/// [`RESOLVER_TIME_MAX_MS`]. An operation without an answer is in conflict, as with the policy
/// [`Reject`](crate::core::policy::ConflictPolicy::Reject). So the client repeats it after it has pulled.
///
/// The rules of the service are applied to the result, as to a write by the operation's author.
pub trait Resolver: Send + Sync + Debug + 'static {
    /// Decides what the document is after the operation. It must give the same answer for the same arguments.
    fn resolve<'a>(
        &'a self,
        tenant: &'a TenantId,
        operation: &'a Operation,
        document: &'a Document,
    ) -> BoxFuture<'a, Resolution>;
}

/// The decision of a [`Resolver`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolution {
    /// The document has these data.
    Data(Object),
    /// The document is deleted.
    Deleted,
    /// The operation is in conflict and changes nothing.
    Conflict,
}

/// Asks a resolver about all operations that it has to decide.
pub(in crate::service) async fn ask(
    resolver: &dyn Resolver,
    host: &dyn Host,
    tenant: &TenantId,
    pushes: &[Push<'_>],
    snapshot: &Snapshot,
) -> HashMap<OperationId, CustomAnswer> {
    let undecided = undecided(pushes, snapshot, host.now_ms());
    if undecided.is_empty() {
        return HashMap::new();
    }
    let late = host.patience(Duration::from_millis(RESOLVER_TIME_MAX_MS)).shared();
    let answers = undecided.into_iter().map(|(operation, document)| {
        let late = late.clone();
        async move {
            let asked = AssertUnwindSafe(async { resolver.resolve(tenant, operation, document).await }).catch_unwind();
            let resolution = match select(asked.boxed(), late).await {
                Either::Left((Ok(resolution), _)) => resolution,
                Either::Left((Err(_), _)) => {
                    tracing::error!("the resolver of a conflict panicked; the operation is answered as a conflict");
                    Resolution::Conflict
                }
                Either::Right(_) => {
                    tracing::warn!("the resolver of a conflict took too long; the operation is answered as a conflict");
                    Resolution::Conflict
                }
            };
            let data = match resolution {
                Resolution::Data(data) => Some(data),
                Resolution::Deleted => None,
                Resolution::Conflict => return None,
            };
            Some((operation.id.clone(), CustomAnswer { seen_rev: document.rev, data }))
        }
    });
    join_all(answers).await.into_iter().flatten().collect()
}
