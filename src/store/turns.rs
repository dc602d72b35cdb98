//! Turns for work of which only some may be done at the same time, shared fairly among tenants.
//!
//! Without fairness, a tenant with many requests would delay those of all others. Here each tenant has a queue of its
//! own. The queues take turns. So a tenant's first request waits for the work that goes on, and then for at most one
//! request of each other tenant.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;

use crate::core::names::TenantId;

/// Units of work that may be done at the same time, and those who wait for some of them.
#[derive(Debug)]
pub(crate) struct FairTurns {
    max_units: usize,
    shared: Arc<Mutex<Shared>>,
}

impl FairTurns {
    pub(crate) fn new(max_units: usize) -> Self {
        let shared = Shared { free: max_units, order: VecDeque::new(), queues: HashMap::new() };
        Self { max_units, shared: Arc::new(Mutex::new(shared)) }
    }

    /// Takes so many units, or all if that is fewer, when it is the tenant's turn. They are given back when the result
    /// is dropped. A future that is dropped takes nothing.
    pub(crate) async fn acquire(&self, tenant: &TenantId, units: usize) -> Turn {
        let units = units.min(self.max_units);
        let (waiting, granted) = {
            let mut shared = lock(&self.shared);
            if shared.order.is_empty() && shared.free >= units {
                shared.free -= units;
                return Turn { units, shared: Arc::clone(&self.shared) };
            }
            let (grant, waiting) = oneshot::channel();
            shared.wait(tenant, Waiter { units, grant });
            (waiting, shared.next())
        };
        grant(&self.shared, granted);
        // If this future is dropped, the waiters behind this one may have their turn.
        let _gives_way = GivesWay { tenant, shared: &self.shared };
        waiting.await.expect("a waiter is removed only when it has its turn or is gone")
    }

    /// Takes so many units, if they are free and nobody waits.
    #[cfg(test)]
    pub(crate) fn try_acquire(&self, units: usize) -> Option<Turn> {
        let mut shared = lock(&self.shared);
        let is_free = shared.order.is_empty() && shared.free >= units;
        is_free.then(|| {
            shared.free -= units;
            Turn { units, shared: Arc::clone(&self.shared) }
        })
    }
}

/// A waiter that has its turn or gives up.
struct GivesWay<'a> {
    tenant: &'a TenantId,
    shared: &'a Arc<Mutex<Shared>>,
}

impl Drop for GivesWay<'_> {
    fn drop(&mut self) {
        let granted = {
            let mut shared = lock(self.shared);
            shared.forget_gone(self.tenant);
            shared.next()
        };
        grant(self.shared, granted);
    }
}

/// Units that are taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    units: usize,
    shared: Arc<Mutex<Shared>>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let granted = {
            let mut shared = lock(&self.shared);
            shared.free += self.units;
            shared.next()
        };
        grant(&self.shared, granted);
    }
}

#[derive(Debug)]
struct Waiter {
    units: usize,
    grant: oneshot::Sender<Turn>,
}

#[derive(Debug)]
struct Shared {
    free: usize,
    /// The tenants with a queue, in the order of their turns.
    order: VecDeque<TenantId>,
    queues: HashMap<TenantId, VecDeque<Waiter>>,
}

impl Shared {
    fn wait(&mut self, tenant: &TenantId, waiter: Waiter) {
        let Some(queue) = self.queues.get_mut(tenant) else {
            self.order.push_back(tenant.clone());
            self.queues.insert(tenant.clone(), VecDeque::from([waiter]));
            return;
        };
        queue.push_back(waiter);
    }

    /// Removes the waiters of a tenant that gave up.
    fn forget_gone(&mut self, tenant: &TenantId) {
        if let Some(queue) = self.queues.get_mut(tenant) {
            queue.retain(|waiter| !waiter.grant.is_canceled());
        }
    }

    /// Takes the waiters out of the queues that have their turn now. A waiter that needs more than is free is not
    /// overtaken, so that it has its turn some time.
    fn next(&mut self) -> Vec<Waiter> {
        let mut granted = Vec::new();
        while let Some(tenant) = self.order.pop_front() {
            let Some(queue) = self.queues.get_mut(&tenant) else { continue };
            while queue.front().is_some_and(|waiter| waiter.grant.is_canceled()) {
                queue.pop_front();
            }
            let Some(first) = queue.front() else {
                self.queues.remove(&tenant);
                continue;
            };
            if first.units > self.free {
                self.order.push_front(tenant);
                break;
            }
            self.free -= first.units;
            granted.extend(queue.pop_front());
            self.order.push_back(tenant);
        }
        granted
    }
}

/// Gives turns to waiters whose units were taken for them. If a waiter has gone meanwhile, its turn is given back at
/// once, so this must not run while the state is locked.
fn grant(shared: &Arc<Mutex<Shared>>, granted: Vec<Waiter>) {
    for Waiter { units, grant } in granted {
        let turn = Turn { units, shared: Arc::clone(shared) };
        drop(grant.send(turn));
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::literal(name)
    }

    /// A request that has begun to wait, unless it has its turn already.
    fn waiting<'a>(turns: &'a FairTurns, tenant: &'a TenantId, units: usize) -> BoxFuture<'a, Turn> {
        let mut turn: Pin<Box<_>> = Box::pin(turns.acquire(tenant, units));
        match turn.as_mut().now_or_never() {
            Some(turn) => futures_util::future::ready(turn).boxed(),
            None => turn,
        }
    }

    #[test]
    fn a_tenant_with_many_requests_is_not_in_front_of_another_with_one() {
        let turns = FairTurns::new(1);
        let (loud, quiet) = (tenant("loud"), tenant("quiet"));
        let held = turns.acquire(&loud, 1).now_or_never().expect("it is free");
        let mut loud_ones: Vec<_> = (0..100).map(|_| waiting(&turns, &loud, 1)).collect();
        let quiet_one = waiting(&turns, &quiet, 1);
        drop(held);
        let first_of_loud = loud_ones.remove(0).now_or_never().expect("it came first");
        drop(first_of_loud);
        assert!(quiet_one.now_or_never().is_some(), "the other tenant is the next");
    }

    #[test]
    fn units_that_are_free_are_for_any_tenant() {
        let turns = FairTurns::new(3);
        let only = tenant("only");
        let held: Vec<_> = (0..3).map(|_| turns.acquire(&only, 1).now_or_never()).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(turns.acquire(&only, 1).now_or_never().is_none());
        drop(held);
        assert!(turns.acquire(&only, 9).now_or_never().is_some(), "who wants more than there is gets all");
        assert!(turns.acquire(&only, 3).now_or_never().is_some(), "and gives all back");
    }

    #[test]
    fn a_waiter_that_needs_much_is_not_overtaken() {
        let turns = FairTurns::new(2);
        let (much, little) = (tenant("much"), tenant("little"));
        let held = turns.acquire(&little, 1).now_or_never();
        let needs_both = waiting(&turns, &much, 2);
        let mut needs_one = waiting(&turns, &little, 1);
        assert!((&mut needs_one).now_or_never().is_none());
        drop(held);
        let both = needs_both.now_or_never().expect("both are free");
        assert!((&mut needs_one).now_or_never().is_none());
        drop(both);
        assert!(needs_one.now_or_never().is_some());
    }

    #[test]
    fn a_waiter_that_needs_much_and_gives_up_lets_the_next_one_pass() {
        let turns = FairTurns::new(2);
        let (much, little) = (tenant("much"), tenant("little"));
        let _held = turns.acquire(&little, 1).now_or_never();
        let needs_both = waiting(&turns, &much, 2);
        let mut needs_one = waiting(&turns, &little, 1);
        assert!((&mut needs_one).now_or_never().is_none());
        drop(needs_both);
        assert!(needs_one.now_or_never().is_some());
    }

    #[test]
    fn a_waiter_that_gives_up_takes_nothing_and_holds_up_nobody() {
        let turns = FairTurns::new(1);
        let (gone, here) = (tenant("gone"), tenant("here"));
        let held = turns.acquire(&here, 1).now_or_never();
        for _ in 0..3 {
            drop(waiting(&turns, &gone, 1));
        }
        assert!(lock(&turns.shared).queues.get(&gone).is_none_or(VecDeque::is_empty));
        let next = waiting(&turns, &here, 1);
        drop(held);
        drop(next.now_or_never().expect("nobody else wants a turn"));
        // A turn that was given but not taken is given back.
        let held = turns.acquire(&here, 1).now_or_never();
        let given = waiting(&turns, &gone, 1);
        drop(held);
        drop(given);
        assert!(turns.acquire(&here, 1).now_or_never().is_some());
        assert!(lock(&turns.shared).queues.is_empty());
    }
}
