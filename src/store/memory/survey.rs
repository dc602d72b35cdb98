//! The survey and the statistics of a tenant.

use std::ops::RangeInclusive;

use super::Tenant;
use crate::core::numbers::{Seq, UnixMs};
use crate::store::{Stats, Survey, SurveyRequest};

impl Tenant {
    /// See [`crate::store::Store::survey`].
    pub(super) fn survey(&self, request: &SurveyRequest) -> Survey {
        if self.newest.seq == Seq::START {
            return Survey::default();
        }
        let active = self.clients.values().filter(|memory| request.active_ms.contains(&memory.seen_at_ms));
        let mut pulled: Vec<Seq> = active.map(|memory| memory.pulled_seq).collect();
        pulled.sort_unstable();
        pulled.truncate(request.max_clients);
        Survey {
            head: self.head().position.seq,
            horizon: self.horizon,
            oldest_received_ms: self.log.values().next().map(|oldest| oldest.received_at_ms),
            pulled,
        }
    }

    pub(super) fn stats(&self, active_ms: &RangeInclusive<UnixMs>) -> Stats {
        let operations = self.log.len() as u64;
        let documents = self.documents.values().filter(|(_, document)| !document.is_deleted()).count() as u64;
        let active = self.clients.values().filter(|memory| active_ms.contains(&memory.seen_at_ms));
        let unsynced_operations = active
            .map(|memory| memory.pulled_seq)
            .min()
            .map_or(0, |pulled| self.log.range(pulled.next()..).count() as u64);
        Stats { operations, documents, unsynced_operations }
    }
}
