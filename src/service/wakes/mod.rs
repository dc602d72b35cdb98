//! Wake-ups: a listener learns at once that a tenant has changed, and then pulls.
//!
//! Law 12: a wake-up is a hint. Losing, repeating or delaying one costs time, never data. Only a place in the log
//! travels. Each listener has the latest place and no queue, so a slow one holds up nothing.
//!
//! The listeners of a service share one watcher, which runs only while somebody listens.

mod announcer;
pub(super) mod polls;
mod registry;
mod watcher;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_util::{FutureExt as _, Stream};

use self::announcer::{Announcer, announce};
use self::registry::Registry;
use self::watcher::watch;
use super::hooks::Observers;
use super::host::Host;
use crate::core::cursor::Position;
use crate::core::names::TenantId;
use crate::store::Store;

/// The wake-ups of a service.
pub(super) struct Hub {
    registry: Arc<Registry>,
    announcer: Arc<Announcer>,
    store: Arc<dyn Store>,
    host: Arc<dyn Host>,
    observers: Mutex<Observers>,
}

impl Hub {
    pub(super) fn new(store: Arc<dyn Store>, host: Arc<dyn Host>) -> Arc<Self> {
        Arc::new(Self { registry: Arc::default(), announcer: Arc::default(), store, host, observers: Mutex::default() })
    }

    /// Called after a commit of this process, or after one that failed and may have taken effect.
    pub(super) fn committed(&self, tenant: &TenantId) {
        self.registry.changed(tenant, self.host.now_ms());
        if !self.registry.is_stopped() && self.announcer.committed(tenant) {
            let announcing = announce(Arc::clone(&self.announcer), Arc::clone(&self.store), Arc::clone(&self.host));
            self.host.spawn(announcing.boxed());
        }
    }

    pub(super) fn listen(self: &Arc<Self>, tenant: &TenantId) -> Option<Wakes> {
        let number = self.registry.enter(tenant)?;
        Some(Wakes { hub: Arc::clone(self), tenant: tenant.clone(), number, seen: None })
    }

    /// Tells these observers of wake-ups from now on.
    pub(super) fn observe_with(&self, observers: Observers) {
        *self.observers.lock().unwrap_or_else(PoisonError::into_inner) = observers;
    }

    /// How many listeners there are.
    pub(super) fn listeners(&self) -> usize {
        self.registry.counts().1
    }

    pub(super) fn stop(&self) {
        self.registry.stop();
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hub").finish_non_exhaustive()
    }
}

/// The newest places of one tenant's log, made by [`SyncService::wakes`](super::SyncService::wakes).
///
/// The first item is the place as it is. A further one comes when the place has changed since the last item, and is the
/// latest one. The stream ends when the service stops.
#[derive(Debug)]
pub struct Wakes {
    hub: Arc<Hub>,
    tenant: TenantId,
    number: u64,
    seen: Option<Position>,
}

impl Stream for Wakes {
    type Item = Position;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Position>> {
        let hub = &self.hub;
        let listener = (self.number, self.seen);
        let place = hub.registry.poll(&self.tenant, listener, hub.host.now_ms(), context);
        match place {
            Poll::Ready(Some(place)) => self.seen = Some(place),
            Poll::Ready(None) => {}
            Poll::Pending => {
                if hub.registry.needs_watcher() {
                    let observers = Arc::clone(&hub.observers.lock().unwrap_or_else(PoisonError::into_inner));
                    let (store, host) = (Arc::clone(&hub.store), Arc::clone(&hub.host));
                    let watching = watch(Arc::clone(&hub.registry), store, host, observers);
                    hub.host.spawn(watching.boxed());
                }
            }
        }
        place
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.hub.registry.leave(&self.tenant, self.number);
    }
}

#[cfg(test)]
mod tests;
