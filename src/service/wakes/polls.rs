//! How long clients wait before they pull again, if nothing wakes them.
//!
//! It is a tenth of the time for which their tenant has not changed: often while somebody writes, and seldom at night.
//! A process knows only of changes between the pulls that it answers. So at first it takes a tenant for one that has
//! just changed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::core::cursor::Position;
use crate::core::names::TenantId;
use crate::core::numbers::UnixMs;
use crate::limits::service::{POLL_AFTER_MAX_SECONDS, POLL_AFTER_MIN_SECONDS, POLLED_MAX_TENANTS};

/// The part of the quiet time after which a client asks again: one in so many.
const QUIET_SHARE: u64 = 10;

/// When the tenants that are polled were seen to change.
#[derive(Debug, Default)]
pub(in crate::service) struct Polls(Mutex<HashMap<TenantId, Quiet>>);

/// A place at which the log of a tenant has been for some time.
#[derive(Debug, Clone, Copy)]
struct Quiet {
    place: Position,
    since_ms: UnixMs,
}

impl Polls {
    /// How long a client waits that has everything up to the end of its tenant's log, in seconds.
    pub(in crate::service) fn after_seconds(&self, tenant: &TenantId, end: Position, now_ms: UnixMs) -> u64 {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tenants.len() >= POLLED_MAX_TENANTS && !tenants.contains_key(tenant) {
            tenants.clear();
        }
        let now = Quiet { place: end, since_ms: now_ms };
        let quiet = tenants.entry(tenant.clone()).or_insert(now);
        if quiet.place != end {
            *quiet = now;
        }
        let quiet_seconds = now_ms.ms_since(quiet.since_ms) / 1_000;
        (quiet_seconds / QUIET_SHARE).clamp(POLL_AFTER_MIN_SECONDS, POLL_AFTER_MAX_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fingerprint::Fingerprint;
    use crate::core::numbers::Seq;

    fn place(seq: u64) -> Position {
        Position { seq: Seq::new(seq), fingerprint: Fingerprint::from_number(seq) }
    }

    #[test]
    fn the_longer_a_tenant_is_quiet_the_later_its_clients_ask_again() {
        let polls = Polls::default();
        let [busy, quiet] = ["busy", "quiet"].map(TenantId::literal);
        let begin = UnixMs::new(1_700_000_000_000);
        for (seconds, expected) in [(0, 5), (40, 5), (100, 10), (1_000, 100), (1_000_000, 300)] {
            let now = begin.plus_ms(seconds * 1_000);
            assert_eq!(polls.after_seconds(&quiet, place(1), now), expected, "{seconds}");
            assert_eq!(polls.after_seconds(&busy, place(seconds), now), 5, "{seconds}");
        }
        assert_eq!(polls.after_seconds(&quiet, place(2), begin), 5, "it has changed, and the clock was put back");
        assert_eq!(polls.after_seconds(&quiet, place(2), begin.plus_ms(100_000)), 10);
    }

    #[test]
    fn no_more_tenants_are_remembered_than_fit() {
        let polls = Polls::default();
        for number in 0..=POLLED_MAX_TENANTS {
            polls.after_seconds(&TenantId::literal(&number.to_string()), place(1), UnixMs::EPOCH);
        }
        assert_eq!(polls.0.lock().unwrap().len(), 1);
    }
}
