//! The survey of a tenant.

use super::Tenant;
use crate::core::numbers::Seq;
use crate::store::{Survey, SurveyRequest};

impl Tenant {
    /// See [`crate::store::Store::survey`].
    pub(super) fn survey(&self, request: &SurveyRequest) -> Survey {
        if self.fingerprints.is_empty() {
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
}
