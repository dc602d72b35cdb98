//! The tenants that somebody listens to, and the newest place that is known of each.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::core::cursor::Position;
use crate::core::names::TenantId;
use crate::core::numbers::UnixMs;
use crate::limits::service::{LISTENED_MAX_TENANTS, LISTENERS_MAX_ENTRIES};
use crate::limits::store::HEADS_MAX_TENANTS;

/// All listeners of a service.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    slots: HashMap<TenantId, Slot>,
    listeners: usize,
    next_number: u64,
    /// Tenants that have changed, or whose place is not known yet.
    urgent: HashSet<TenantId>,
    /// Tenants that have to be looked at because some time has passed.
    others: Vec<TenantId>,
    /// Wakes the watcher when there is something to read, or nobody left to read it for.
    watcher: Option<Waker>,
    is_watched: bool,
    is_stopped: bool,
}

/// The latest value for the listeners of one tenant.
#[derive(Debug, Default)]
struct Slot {
    place: Option<Position>,
    /// When it became known that the place may have changed, if nothing was read since.
    changed_at_ms: Option<UnixMs>,
    /// The listeners by their numbers. A listener that waits has left a waker.
    listeners: HashMap<u64, Option<Waker>>,
    /// How many of them wait.
    waiting: usize,
    /// Whether the place may have changed while no listener waited. It is read as soon as one does.
    is_stale: bool,
}

impl Registry {
    /// Takes a listener in and returns its number. `None` if there are too many, or if no listener is served any more.
    pub(super) fn enter(&self, tenant: &TenantId) -> Option<u64> {
        let mut state = self.lock();
        let is_new = !state.slots.contains_key(tenant);
        let is_full = state.listeners >= LISTENERS_MAX_ENTRIES || is_new && state.slots.len() >= LISTENED_MAX_TENANTS;
        if state.is_stopped || is_full {
            return None;
        }
        let number = state.next_number;
        state.next_number += 1;
        state.listeners += 1;
        state.slots.entry(tenant.clone()).or_default().listeners.insert(number, None);
        if is_new {
            state.urgent.insert(tenant.clone());
            state.wake_watcher();
        }
        Some(number)
    }

    /// Removes a listener. A tenant without listeners leaves nothing behind.
    pub(super) fn leave(&self, tenant: &TenantId, number: u64) {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(tenant) else { return };
        let Some(left) = slot.listeners.remove(&number) else { return };
        slot.waiting -= usize::from(left.is_some());
        let is_unused = slot.listeners.is_empty();
        state.listeners -= 1;
        if is_unused {
            state.slots.remove(tenant);
            state.urgent.remove(tenant);
            if state.slots.is_empty() {
                state.others.clear();
                state.wake_watcher();
            }
        }
    }

    /// The newest place if the listener has not seen it. `None` when no listener is served any more.
    pub(super) fn poll(
        &self,
        tenant: &TenantId,
        (number, seen): (u64, Option<Position>),
        now_ms: UnixMs,
        context: &Context<'_>,
    ) -> Poll<Option<Position>> {
        let mut state = self.lock();
        if state.is_stopped {
            return Poll::Ready(None);
        }
        let Some(slot) = state.slots.get_mut(tenant) else { return Poll::Ready(None) };
        if slot.place.is_some() && slot.place != seen {
            return Poll::Ready(slot.place);
        }
        let before = slot.listeners.insert(number, Some(context.waker().clone()));
        slot.waiting += usize::from(!matches!(before, Some(Some(_))));
        if std::mem::take(&mut slot.is_stale) {
            // While nobody waited, nobody was woken late.
            slot.changed_at_ms = slot.changed_at_ms.map(|_| now_ms);
            state.urgent.insert(tenant.clone());
            state.wake_watcher();
        }
        Poll::Pending
    }

    /// Records that a tenant may have changed. Nothing happens if nobody listens to it. If nobody waits, its place is
    /// read later.
    pub(super) fn changed(&self, tenant: &TenantId, now_ms: UnixMs) {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(tenant) else { return };
        slot.changed_at_ms.get_or_insert(now_ms);
        if slot.waiting == 0 {
            slot.is_stale = true;
        } else {
            state.urgent.insert(tenant.clone());
            state.wake_watcher();
        }
    }

    /// Whether no listener is served any more.
    pub(super) fn is_stopped(&self) -> bool {
        self.lock().is_stopped
    }

    /// Records that every tenant may have changed.
    pub(super) fn all_changed(&self) {
        let mut state = self.lock();
        let State { slots, others, .. } = &mut *state;
        others.clear();
        for (tenant, slot) in slots {
            if slot.waiting == 0 {
                slot.is_stale = true;
            } else {
                others.push(tenant.clone());
            }
        }
        state.wake_watcher();
    }

    /// Whether a watcher has to begin. It is then taken for granted that it does.
    pub(super) fn needs_watcher(&self) -> bool {
        let mut state = self.lock();
        !state.is_stopped && !std::mem::replace(&mut state.is_watched, true)
    }

    /// Called when a watcher has ended before its time.
    pub(super) fn lost_watcher(&self) {
        self.lock().is_watched = false;
    }

    /// The tenants whose places are to be read next. `None` ends the watcher, because nobody listens.
    pub(super) fn poll_work(&self, context: &Context<'_>) -> Poll<Option<Vec<TenantId>>> {
        let mut state = self.lock();
        if state.slots.is_empty() || state.is_stopped {
            state.is_watched = false;
            state.watcher = None;
            return Poll::Ready(None);
        }
        let work = state.take_work();
        if work.is_empty() {
            state.watcher = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Some(work))
    }

    /// Hands places that were read to the listeners. Returns which tenants have changed, if it was known since when.
    pub(super) fn publish<'t>(&self, tenants: &'t [TenantId], places: Vec<Position>) -> Vec<(&'t TenantId, UnixMs)> {
        let (mut wakers, mut changed) = (Vec::new(), Vec::new());
        {
            let mut state = self.lock();
            for (tenant, place) in tenants.iter().zip(places) {
                let Some(slot) = state.slots.get_mut(tenant) else { continue };
                let changed_at_ms = slot.changed_at_ms.take();
                if slot.place != Some(place) {
                    // A first place is not a change.
                    changed.extend(slot.place.and(changed_at_ms).map(|at_ms| (tenant, at_ms)));
                    slot.place = Some(place);
                    slot.take_wakers(&mut wakers);
                }
            }
        }
        wakers.into_iter().for_each(Waker::wake);
        changed
    }

    /// Ends all listeners, and lets no other one in.
    pub(super) fn stop(&self) {
        let mut wakers = Vec::new();
        {
            let mut state = self.lock();
            state.is_stopped = true;
            state.wake_watcher();
            for slot in state.slots.values_mut() {
                slot.take_wakers(&mut wakers);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many tenants are listened to, and how many listeners there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.slots.len(), state.listeners)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Takes the wakers of the listeners that wait. There may be thousands of others.
    fn take_wakers(&mut self, wakers: &mut Vec<Waker>) {
        if std::mem::take(&mut self.waiting) > 0 {
            wakers.extend(self.listeners.values_mut().filter_map(Option::take));
        }
    }
}

impl State {
    fn wake_watcher(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.wake();
        }
    }

    /// Takes as many tenants as are read at once. Tenants that have changed come first, but leave room for the others.
    fn take_work(&mut self) -> Vec<TenantId> {
        let room = if self.others.is_empty() { HEADS_MAX_TENANTS } else { HEADS_MAX_TENANTS / 2 };
        let mut work: Vec<TenantId> = self.urgent.iter().take(room).cloned().collect();
        for tenant in &work {
            self.urgent.remove(tenant);
        }
        let rest = self.others.len().min(HEADS_MAX_TENANTS - work.len());
        let others = self.others.split_off(self.others.len() - rest);
        // A tenant of both is read twice, and one that nobody listens to any more is left out.
        work.extend(others.into_iter().filter(|tenant| self.slots.contains_key(tenant)));
        work
    }
}
