//! Pushes of original clients that are too much for one commit.

use std::sync::Arc;

use super::PushRequest;
use crate::core::access::View;
use crate::core::decide::base::Bases;
use crate::core::decide::quota::Quota;
use crate::core::decide::{Outcome, Refused};
use crate::core::numbers::Rev;
use crate::core::operation::Operation;
use crate::limits::service::PUSH_PARTS_MAX_ENTRIES;
use crate::service::hooks::Caller;
use crate::service::{Pushed, ServiceError, SyncService};

impl SyncService {
    /// Decides and commits a push that the application allows.
    ///
    /// A client that pulls with `since` always pushes as many operations at a time, and knows nothing of pushes that
    /// take effect as a whole. If its push is too much for one commit, it is carried out in several ones, and answered
    /// as one. If that fails on the way, the operations before have taken effect, and are known when it pushes again.
    pub(super) async fn commit_in_parts(
        &self,
        caller: Caller<'_>,
        request: PushRequest,
        quota: Quota,
        view: View,
    ) -> Result<(Arc<Vec<Operation>>, Pushed), ServiceError> {
        let PushRequest { mut conflicts_max_bytes, is_partial, is_lenient, is_strict, .. } = request;
        // A partial push is one of a client that can push fewer operations.
        let client_id = request.client_id.clone().filter(|_| !request.bases.are_used() && is_partial == is_lenient);
        let (operations, mut pushed) = self.commit_push(caller, request, quota, view.clone()).await?;
        let Some(client_id) = client_id.filter(|_| is_too_much(&pushed)) else { return Ok((operations, pushed)) };
        let memory = self.store.client(caller.tenant, &client_id).await?;
        if memory.is_none_or(|memory| memory.revision == Rev::NONE) {
            return Ok((operations, pushed));
        }
        let (mut outcomes, mut most) = (Vec::with_capacity(operations.len()), operations.len().div_ceil(2));
        for _ in 0..PUSH_PARTS_MAX_ENTRIES {
            let rest = &operations[outcomes.len()..];
            let part = rest[..most.min(rest.len())].to_vec();
            let (bases, client_id, count) = (Bases::default(), Some(client_id.clone()), part.len());
            let request = PushRequest {
                operations: part,
                bases,
                client_id,
                conflicts_max_bytes,
                is_partial,
                is_lenient,
                is_strict,
            };
            match self.commit_push(caller, request, quota, view.clone()).await {
                Ok((_, Pushed::Decided(of_part))) => {
                    let answered = of_part.iter().map(Outcome::conflict_bytes).sum();
                    conflicts_max_bytes = conflicts_max_bytes.saturating_sub(answered);
                    outcomes.extend(of_part);
                    if outcomes.len() == operations.len() {
                        return Ok((operations, Pushed::Decided(outcomes)));
                    }
                }
                Ok((_, refused)) if is_too_much(&refused) && count > 1 => (pushed, most) = (refused, count / 2),
                Ok((_, refused)) => {
                    pushed = behind(refused, outcomes.len());
                    break;
                }
                Err(error) => {
                    self.hooks.pushed(caller, &operations, &outcomes);
                    return Err(error);
                }
            }
        }
        self.hooks.pushed(caller, &operations, &outcomes);
        Ok((operations, pushed))
    }
}

/// Whether a push is refused that might be taken with fewer operations.
fn is_too_much(pushed: &Pushed) -> bool {
    let Pushed::Refused(refused) = pushed else { return false };
    matches!(refused, Refused::DocumentsTooLarge { .. } | Refused::TooManyKeys { .. } | Refused::TooSlow)
}

/// A refusal with the index of its operation in the whole push, of which so many operations are decided.
fn behind(refused: Pushed, decided: usize) -> Pushed {
    let mut refused = refused;
    if let Pushed::Refused(
        Refused::DocumentTooLarge { index }
        | Refused::ClockTooLarge { index }
        | Refused::ForeignClient { index: Some(index) }
        | Refused::DocumentDamaged { index },
    ) = &mut refused
    {
        *index += decided;
    }
    refused
}
