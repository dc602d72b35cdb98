//! Wake-ups of a function: after a push it tells an Event API of AppSync that the tenant has changed.
//!
//! A wake-up is a hint (law 12). So it has little time, and if it fails this is only counted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::metrics::note_wake_up;
use crate::aws::EventApi;
use crate::core::names::TenantId;
use crate::core::operation::Operation;
use crate::limits::lambda::WAKE_UP_TIME_MAX_MS;
use crate::service::{Caller, Observer};

/// The wake-ups of an instance, which takes one request at a time.
#[derive(Debug)]
pub(super) struct WakeUps {
    url: String,
    api: OnceCell<EventApi>,
    changed: Changed,
}

/// The tenants that have changed in this request. It is an observer of the service.
#[derive(Debug, Clone, Default)]
pub(super) struct Changed(Arc<Mutex<BTreeSet<TenantId>>>);

impl Observer for Changed {
    fn accepted(&self, caller: Caller<'_>, _: &[&Operation]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(caller.tenant.clone());
    }
}

impl WakeUps {
    pub(super) fn new(url: String) -> Self {
        Self { url, api: OnceCell::new(), changed: Changed::default() }
    }

    /// The observer that finds out what has changed.
    pub(super) fn observer(&self) -> Changed {
        self.changed.clone()
    }

    /// Publishes what has changed. The answer to the request waits for it, because the instance may be frozen then.
    pub(super) async fn publish(&self) {
        let tenants = std::mem::take(&mut *self.changed.0.lock().unwrap_or_else(PoisonError::into_inner));
        for tenant in tenants {
            let published = timeout(Duration::from_millis(WAKE_UP_TIME_MAX_MS), async {
                let api = self.api.get_or_try_init(|| EventApi::open(&self.url)).await?;
                api.publish(&tenant).await
            });
            let problem = match published.await {
                Ok(Ok(is_published)) => {
                    if is_published {
                        note_wake_up(true);
                    }
                    continue;
                }
                Ok(Err(problem)) => problem.to_string(),
                Err(_) => "it took too long".to_owned(),
            };
            note_wake_up(false);
            tracing::debug!(error.cause = problem, "clients learn of a push later");
        }
    }
}
