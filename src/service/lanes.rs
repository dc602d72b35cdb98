//! The lanes of the tenants: each tenant's pushes gather in groups of their own, so that no tenant waits for another.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::core::names::TenantId;
use crate::limits::service::LANES_KEPT_TENANTS;

/// One tenant's writes by this server, one after the other, with the counter of the last one.
///
/// Clients keep one clock for all documents. So a greater counter must stand later in the log, or a client would take a
/// write for one that it has seen.
pub(super) type WriteTurn = async_lock::Mutex<u64>;

/// A lane `L` for each tenant that pushes, and for some that did.
#[derive(Debug)]
pub(super) struct Lanes<L>(Mutex<HashMap<TenantId, Arc<L>>>);

impl<L> Lanes<L> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// The lane of a tenant, which is new if the tenant has none.
    pub(super) fn lane(&self, tenant: &TenantId, new: impl FnOnce() -> L) -> Arc<L> {
        let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(tenant) {
            return Arc::clone(lane);
        }
        // A lane that is not in use has nothing but its rhythm, which is soon found again.
        if lanes.len() >= LANES_KEPT_TENANTS {
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        let lane = Arc::new(new());
        lanes.insert(tenant.clone(), Arc::clone(&lane));
        lane
    }
}

/// The number of things that are in progress.
#[derive(Debug, Default)]
pub(super) struct InProgress(AtomicUsize);

impl InProgress {
    /// Counts one more, until the result is dropped.
    pub(super) fn enter(&self) -> Entered<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Entered(self)
    }

    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One of those that are in progress.
#[derive(Debug)]
pub(super) struct Entered<'a>(&'a InProgress);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_that_are_not_in_use_are_few() {
        let lanes = Lanes::new();
        let used = lanes.lane(&TenantId::literal("used"), || 1);
        for number in 0..2 * LANES_KEPT_TENANTS {
            lanes.lane(&TenantId::literal(&number.to_string()), || 2);
        }
        assert!(lanes.0.lock().unwrap().len() <= LANES_KEPT_TENANTS + 1);
        assert!(Arc::ptr_eq(&used, &lanes.lane(&TenantId::literal("used"), || 3)));
    }
}
