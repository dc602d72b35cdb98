//! Turns for work of which only some may be done at the same time, shared fairly among tenants.
//!
//! Without fairness, a tenant with many requests would delay those of all others. Here each tenant has a queue of its
//! own. The queues take turns. So a tenant's first request waits for the work that goes on, and then for at most one
//! request of each other tenant.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;

use crate::core::names::TenantId;

/// Some turns, and the requests that wait for one.
#[derive(Debug)]
pub(super) struct FairTurns(Arc<Mutex<Shared>>);

impl FairTurns {
    /// So many turns at the same time.
    pub(super) fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(Shared { free: count, order: VecDeque::new(), queues: HashMap::new() })))
    }

    /// Waits for the tenant's turn. It ends when the result is dropped.
    pub(super) async fn acquire(&self, tenant: &TenantId) -> Turn {
        let granted = {
            let mut shared = lock(&self.0);
            // While a turn is free, no request waits.
            if shared.free > 0 {
                shared.free -= 1;
                return Turn(Arc::clone(&self.0));
            }
            let (grant, granted) = oneshot::channel();
            shared.wait(tenant, grant);
            granted
        };
        let mut waiting = Waiting { tenant, shared: &self.0, granted, has_turn: false };
        let turn = (&mut waiting.granted).await.expect("a request that waits is removed only when it is gone");
        waiting.has_turn = true;
        turn
    }

    /// Takes a turn if one is free.
    #[cfg(test)]
    pub(super) fn try_acquire(&self) -> Option<Turn> {
        let mut shared = lock(&self.0);
        shared.free = shared.free.checked_sub(1)?;
        Some(Turn(Arc::clone(&self.0)))
    }
}

/// A request that waits for its turn, or gives up.
struct Waiting<'a> {
    tenant: &'a TenantId,
    shared: &'a Mutex<Shared>,
    granted: oneshot::Receiver<Turn>,
    has_turn: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.has_turn {
            // A turn that comes at this moment is given back with the field.
            self.granted.close();
            lock(self.shared).forget_gone(self.tenant);
        }
    }
}

/// A turn, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn(Arc<Mutex<Shared>>);

impl Drop for Turn {
    /// Gives the turn to the next request, or back if nobody waits.
    fn drop(&mut self) {
        let next = lock(&self.0).next();
        if let Some(grant) = next {
            // If that request has gone meanwhile, the turn is dropped here, and goes on. So nothing is locked now.
            drop(grant.send(Turn(Arc::clone(&self.0))));
        }
    }
}

type Grant = oneshot::Sender<Turn>;

#[derive(Debug)]
struct Shared {
    free: usize,
    /// The tenants with a queue, in the order of their turns.
    order: VecDeque<TenantId>,
    queues: HashMap<TenantId, VecDeque<Grant>>,
}

impl Shared {
    fn wait(&mut self, tenant: &TenantId, grant: Grant) {
        if let Some(queue) = self.queues.get_mut(tenant) {
            queue.push_back(grant);
            return;
        }
        self.order.push_back(tenant.clone());
        self.queues.insert(tenant.clone(), VecDeque::from([grant]));
    }

    /// Removes the requests of a tenant that gave up.
    fn forget_gone(&mut self, tenant: &TenantId) {
        if let Some(queue) = self.queues.get_mut(tenant) {
            queue.retain(|grant| !grant.is_canceled());
        }
    }

    /// The request that has the turn that just ended. Without one, the turn is free.
    fn next(&mut self) -> Option<Grant> {
        while let Some(tenant) = self.order.pop_front() {
            let Some(queue) = self.queues.get_mut(&tenant) else { continue };
            if let Some(grant) = queue.pop_front() {
                self.order.push_back(tenant);
                return Some(grant);
            }
            self.queues.remove(&tenant);
        }
        self.free += 1;
        None
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use super::*;

    /// A request that has begun to wait.
    fn waiting<'a>(turns: &'a FairTurns, tenant: &'a TenantId) -> BoxFuture<'a, Turn> {
        let mut turn = turns.acquire(tenant).boxed();
        assert!(turn.as_mut().now_or_never().is_none(), "no turn is free");
        turn
    }

    #[test]
    fn a_tenant_with_many_requests_is_not_in_front_of_another_with_one() {
        let turns = FairTurns::new(1);
        let (loud, quiet) = (TenantId::literal("loud"), TenantId::literal("quiet"));
        let held = turns.acquire(&loud).now_or_never().expect("it is free");
        let mut loud_ones: Vec<_> = (0..100).map(|_| waiting(&turns, &loud)).collect();
        let quiet_one = waiting(&turns, &quiet);
        drop(held);
        drop(loud_ones.remove(0).now_or_never().expect("it came first"));
        assert!(quiet_one.now_or_never().is_some(), "the other tenant is the next");
    }

    #[test]
    fn turns_that_are_free_are_for_any_tenant() {
        let turns = FairTurns::new(3);
        let only = TenantId::literal("only");
        for _ in 0..2 {
            let held: Vec<_> = std::iter::from_fn(|| turns.acquire(&only).now_or_never()).collect();
            assert_eq!(held.len(), 3);
        }
    }

    #[test]
    fn a_request_that_gives_up_takes_no_turn_and_holds_up_nobody() {
        let turns = FairTurns::new(1);
        let (gone, here) = (TenantId::literal("gone"), TenantId::literal("here"));
        let held = turns.try_acquire().expect("it is free");
        for _ in 0..3 {
            drop(waiting(&turns, &gone));
        }
        assert!(lock(&turns.0).queues[&gone].is_empty(), "nothing is kept of it");
        let next = waiting(&turns, &here);
        drop(held);
        drop(next.now_or_never().expect("nobody else waits"));
        // A turn that was given but not taken goes on.
        let held = turns.try_acquire().expect("it is free");
        let (given, next) = (waiting(&turns, &gone), waiting(&turns, &here));
        drop(held);
        drop(given);
        drop(next.now_or_never().expect("it has the turn of the one that has gone"));
        assert!(turns.try_acquire().is_some());
        assert!(lock(&turns.0).queues.is_empty());
    }
}
