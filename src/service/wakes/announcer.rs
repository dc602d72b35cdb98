//! Tells other processes of commits: of many tenants at once, and now and then instead of each time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::core::names::TenantId;
use crate::limits::service::{ANNOUNCE_PAUSE_MS, ANNOUNCED_MAX_TENANTS};
use crate::limits::store::HEADS_MAX_TENANTS;
use crate::service::host::Host;
use crate::store::Store;

/// The tenants whose commits are to be announced.
#[derive(Debug, Default)]
pub(super) struct Announcer(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    tenants: HashSet<TenantId>,
    is_running: bool,
}

impl Announcer {
    /// Records a commit. Returns whether [`announce`] has to be started. It is then taken for granted that it is.
    pub(super) fn committed(&self, tenant: &TenantId) -> bool {
        let mut waiting = self.lock();
        if waiting.tenants.len() < ANNOUNCED_MAX_TENANTS {
            waiting.tenants.insert(tenant.clone());
        }
        !std::mem::replace(&mut waiting.is_running, true)
    }

    /// Takes as many tenants as are announced at once. If there are none, the announcing ends.
    fn take(&self) -> Vec<TenantId> {
        let mut waiting = self.lock();
        let tenants: Vec<TenantId> = waiting.tenants.iter().take(HEADS_MAX_TENANTS).cloned().collect();
        for tenant in &tenants {
            waiting.tenants.remove(tenant);
        }
        waiting.is_running = !tenants.is_empty();
        tenants
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Announces commits until there are no new ones.
pub(super) async fn announce(announcer: Arc<Announcer>, store: Arc<dyn Store>, host: Arc<dyn Host>) {
    let mut lost = Lost { announcer: &announcer, has_ended: false };
    loop {
        let tenants = announcer.take();
        if tenants.is_empty() {
            break;
        }
        if let Err(error) = store.announce(&tenants).await {
            tracing::debug!(store.name = store.name(), error.cause = %error, "other processes learn of commits later");
        }
        host.sleep(Duration::from_millis(ANNOUNCE_PAUSE_MS)).await;
    }
    lost.has_ended = true;
}

/// Says so if the announcing is dropped or panics, so that the next commit starts it again.
struct Lost<'a> {
    announcer: &'a Announcer,
    has_ended: bool,
}

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.announcer.lock().is_running = false;
        }
    }
}
