//! The steps of a compaction of the model store.

use super::{Logged, Tenant};
use crate::core::names::ClientId;
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::store::{CompactStep, Compaction, FORGOTTEN_PULLED_SEQ};

impl Tenant {
    pub(super) fn compact(&mut self, step: CompactStep) -> Compaction {
        let clients_are_left = self.forget_clients(step);
        if self.received_at_ms > step.future_after_ms {
            let mut of_the_future = self.log.values_mut().filter(|logged| logged.received_at_ms > step.now_ms);
            of_the_future.by_ref().take(step.max_entries).for_each(|logged| logged.received_at_ms = step.now_ms);
            if of_the_future.next().is_some() {
                return Compaction { deleted_entries: 0, is_finished: false };
            }
            self.received_at_ms = step.now_ms;
        }
        let is_old = |logged: &Logged| logged.received_at_ms <= step.received_until_ms;
        let old: Vec<Seq> = self
            .log
            .iter()
            .take_while(|(_, logged)| is_old(logged))
            .map(|(seq, _)| *seq)
            .take(step.max_entries)
            .collect();
        for seq in &old {
            if let Some(logged) = self.log.remove(seq) {
                self.remains.insert(*seq, (logged.operation.id, logged.received_at_ms));
            }
            self.horizon = *seq;
        }
        let is_finished = !clients_are_left && self.log.values().next().is_none_or(|logged| !is_old(logged));
        Compaction { deleted_entries: old.len() as u64, is_finished }
    }

    /// Forgets silent clients, the most silent ones first, and sets times in the future to now. Says whether some of
    /// either are left for the next step.
    fn forget_clients(&mut self, step: CompactStep) -> bool {
        let is_silent = |seen_at_ms: UnixMs| seen_at_ms > UnixMs::EPOCH && seen_at_ms < step.forget_clients_before_ms;
        let mut silent: Vec<(UnixMs, ClientId)> = self
            .clients
            .iter()
            .filter(|(_, memory)| is_silent(memory.seen_at_ms))
            .map(|(client, memory)| (memory.seen_at_ms, client.clone()))
            .collect();
        silent.sort_unstable();
        let silent_are_left = silent.len() > step.max_entries;
        for (_, client) in silent.into_iter().take(step.max_entries) {
            match self.clients.get_mut(&client) {
                Some(memory) if memory.revision > Rev::NONE => {
                    memory.seen_at_ms = UnixMs::EPOCH;
                    memory.pulled_seq = FORGOTTEN_PULLED_SEQ;
                }
                _ => drop(self.clients.remove(&client)),
            }
        }
        let mut of_the_future = self.clients.values_mut().filter(|memory| memory.seen_at_ms > step.future_after_ms);
        of_the_future.by_ref().take(step.max_entries).for_each(|memory| memory.seen_at_ms = step.now_ms);
        silent_are_left || of_the_future.next().is_some()
    }
}
