//! The ends of the logs to which only this process has written lately.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::core::cursor::Position;
use crate::core::names::TenantId;
use crate::core::numbers::UnixMs;
use crate::limits::store::mongodb::TAILS_REMEMBERED_MAX_TENANTS;

/// The end of a tenant's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) position: Position,
    /// The time of reception of its newest entry, in milliseconds since 1970.
    pub(crate) received_at_ms: UnixMs,
}

/// The ends of the logs to which this process has written.
///
/// They are guesses, because another process may write at any time. Code that uses one must guard the write.
#[derive(Debug, Default)]
pub(crate) struct Tails(Mutex<HashMap<TenantId, Known>>);

#[derive(Debug)]
struct Known {
    tail: Tail,
    /// Whether no other process had written before the last commit.
    is_ours_alone: bool,
}

impl Tails {
    /// The likely end of a log, unless other processes write to it too.
    pub(crate) fn likely(&self, tenant: &TenantId) -> Option<Tail> {
        self.lock().get(tenant).filter(|known| known.is_ours_alone).map(|known| known.tail)
    }

    /// Whether this process has written to a log.
    pub(crate) fn knows(&self, tenant: &TenantId) -> bool {
        self.lock().contains_key(tenant)
    }

    /// Called when a commit of this process has moved the end of a log.
    pub(crate) fn moved(&self, tenant: &TenantId, before: Position, tail: Tail) {
        let mut tails = self.lock();
        let is_ours_alone = tails.get(tenant).is_none_or(|known| known.tail.position == before);
        if tails.len() >= TAILS_REMEMBERED_MAX_TENANTS && !tails.contains_key(tenant) {
            tails.clear();
        }
        tails.insert(tenant.clone(), Known { tail, is_ours_alone });
    }

    /// Called when the end of a log is not the expected one.
    pub(crate) fn missed(&self, tenant: &TenantId) {
        if let Some(known) = self.lock().get_mut(tenant) {
            known.is_ours_alone = false;
        }
    }

    /// Forgets all ends.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fingerprint::Fingerprint;
    use crate::core::numbers::Seq;

    fn tail(seq: u64) -> Tail {
        Tail {
            position: Position { seq: Seq::new(seq), fingerprint: Fingerprint::from_number(seq) },
            received_at_ms: UnixMs::new(seq),
        }
    }

    #[test]
    fn a_log_is_ours_until_somebody_else_has_written_and_again_after_two_commits_in_a_row() {
        let (tails, tenant) = (Tails::default(), TenantId::literal("t"));
        assert_eq!(tails.likely(&tenant), None);
        tails.moved(&tenant, tail(4).position, tail(5));
        assert_eq!(tails.likely(&tenant), Some(tail(5)));
        tails.missed(&tenant);
        assert_eq!(tails.likely(&tenant), None);
        tails.moved(&tenant, tail(7).position, tail(8));
        assert_eq!(tails.likely(&tenant), None, "somebody else wrote 6 and 7");
        tails.moved(&tenant, tail(8).position, tail(9));
        assert_eq!(tails.likely(&tenant), Some(tail(9)));
    }

    #[test]
    fn no_more_tenants_are_remembered_than_fit() {
        let tails = Tails::default();
        for number in 0..=TAILS_REMEMBERED_MAX_TENANTS {
            tails.moved(&TenantId::literal(&number.to_string()), Position::START, tail(1));
        }
        assert_eq!(tails.lock().len(), 1);
    }
}
