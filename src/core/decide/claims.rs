//! The owners of client ids while a decision goes on: checks and claims, which are undone with a refused push.

use std::collections::HashMap;

use super::outcome::Refused;
use super::owners::{Claimant, ClientOwner, OwnerWrite, is_foreign};
use super::quota::{Quota, QuotaExceeded, QuotaKind};
use crate::core::names::ClientId;
use crate::core::operation::Operation;

/// The owners that a decision walks over: those that the store had, and those that have changed since.
pub(super) struct Owners<'a> {
    stored: &'a HashMap<ClientId, ClientOwner>,
    changed: HashMap<&'a ClientId, ClientOwner>,
    /// The changes, each with the row before it among those that have changed.
    changes: Vec<(&'a ClientId, Option<ClientOwner>)>,
}

/// A moment between the changes of owners.
#[derive(Clone, Copy)]
pub(super) struct Moment(usize);

impl<'a> Owners<'a> {
    pub(super) fn new(stored: &'a HashMap<ClientId, ClientOwner>) -> Self {
        Self { stored, changed: HashMap::new(), changes: Vec::new() }
    }

    pub(super) fn moment(&self) -> Moment {
        Moment(self.changes.len())
    }

    /// Undoes all changes since a moment.
    pub(super) fn return_to(&mut self, Moment(changes): Moment) {
        for (client_id, before) in self.changes.drain(changes..).rev() {
            match before {
                Some(before) => self.changed.insert(client_id, before),
                None => self.changed.remove(client_id),
            };
        }
    }

    fn get(&self, client_id: &ClientId) -> Option<&ClientOwner> {
        self.changed.get(client_id).or_else(|| self.stored.get(client_id))
    }

    fn set(&mut self, client_id: &'a ClientId, owner: ClientOwner) {
        let before = self.changed.insert(client_id, owner);
        self.changes.push((client_id, before));
    }

    /// The greatest counter that the server has given a client, 0 if it has given none.
    pub(super) fn given(&self, client_id: &ClientId) -> u64 {
        self.get(client_id).map_or(0, |owner| owner.counter)
    }

    /// Notes a counter that the server gives a client.
    pub(super) fn give(&mut self, client_id: &'a ClientId, counter: u64) {
        let owner = self.get(client_id).cloned().unwrap_or_default();
        self.set(client_id, ClientOwner { counter: counter.max(owner.counter), ..owner });
    }

    /// Notes the counter of an operation with a clock, if the server has given its author counters before. Later ones
    /// must be greater. A counter above `credible_max` is left out.
    pub(super) fn note_own(&mut self, operation: &'a Operation, credible_max: u64) {
        let (given, own) = (self.given(&operation.client_id), operation.clock.get(&operation.client_id));
        if given > 0 && own > given && own <= credible_max {
            self.give(&operation.client_id, own);
        }
    }

    /// Whether a client id belongs to another subject than the claimant.
    pub(super) fn is_foreign(&self, client_id: &ClientId, claimant: Claimant<'_>) -> bool {
        let owner = self.get(client_id).and_then(|owner| owner.subject.as_ref());
        is_foreign(owner, claimant.subject)
    }

    /// Refuses a push of a client that belongs to another subject.
    pub(super) fn check_pusher(&self, claimant: Option<Claimant<'_>>) -> Result<(), Refused> {
        let Some(claimant) = claimant else { return Ok(()) };
        match claimant.client_id {
            Some(client_id) if self.is_foreign(client_id, claimant) => Err(Refused::ForeignClient { index: None }),
            _ => Ok(()),
        }
    }

    /// Claims the author of an operation that takes effect, and the client that pushes it, if they belong to nobody.
    pub(super) fn claim_for(&mut self, operation: &'a Operation, claimant: Claimant<'a>) {
        for client_id in [Some(&operation.client_id), claimant.client_id].into_iter().flatten() {
            let owner = self.get(client_id);
            if owner.is_none_or(|owner| owner.subject.is_none()) {
                let counter = owner.map_or(0, |owner| owner.counter);
                self.set(client_id, ClientOwner { subject: Some(claimant.subject.clone()), counter });
            }
        }
    }

    /// Refuses a push that has added rows since a moment if the tenant would have more than it may. `owned` is the
    /// number of rows in the store, if they were counted.
    pub(super) fn check_quota(&self, quota: &Quota, owned: Option<u64>, since: Moment) -> Result<(), Refused> {
        let (Some(max), Some(owned)) = (quota.max_clients, owned) else { return Ok(()) };
        let is_new = |client_id: &ClientId| !client_id.is_server() && !self.stored.contains_key(client_id);
        let has_added = self.changes[since.0..].iter().any(|(client_id, before)| before.is_none() && is_new(client_id));
        let added = self.changed.keys().filter(|client_id| is_new(client_id)).count() as u64;
        if has_added && owned.saturating_add(added) > max {
            return Err(Refused::QuotaExceeded(QuotaExceeded { kind: QuotaKind::Clients, max }));
        }
        Ok(())
    }

    /// The rows to write, in the order of the client ids.
    pub(super) fn into_writes(self) -> Vec<OwnerWrite> {
        let Self { stored, changed, .. } = self;
        let write = |(client_id, owner): (&ClientId, ClientOwner)| OwnerWrite {
            client_id: client_id.clone(),
            seen: stored.get(client_id).cloned(),
            owner,
        };
        let mut writes: Vec<OwnerWrite> = changed.into_iter().map(write).collect();
        writes.sort_unstable_by(|left, right| left.client_id.cmp(&right.client_id));
        writes
    }
}
