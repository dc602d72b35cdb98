//! Limits for the rate of requests.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::Request;
use http::request::Parts;
use tokio::time::Instant;

use crate::api::{Authenticate, Denied, PROBES};
use crate::core::access::Principal;
use crate::limits::runtime::{RATE_BURST_SECONDS, RATE_MAX_KEYS};
use crate::runtime::addresses::{Addresses, network_of};

/// A rate limit for each of many callers.
///
/// For each caller it keeps only the time at which the whole rate is available again (the generic cell rate algorithm).
/// If there are too many callers, those that were silent for longest are forgotten.
#[derive(Debug)]
pub(crate) struct Rates {
    /// The part of the rate that one request uses, as a time.
    interval: Duration,
    hasher: RandomState,
    started_at: Instant,
    free_at: Mutex<Generations>,
}

/// When the whole rate of each caller is available again, since the start. The older half is dropped as a whole.
#[derive(Debug, Default)]
struct Generations {
    newer: HashMap<u64, Duration>,
    older: HashMap<u64, Duration>,
}

impl Rates {
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second.max(1),
            hasher: RandomState::new(),
            started_at: Instant::now(),
            free_at: Mutex::default(),
        }
    }

    /// Counts one request of a caller.
    ///
    /// # Errors
    /// The number of seconds to wait, if the caller sent too many requests.
    pub(crate) fn admit(&self, who: impl Hash) -> Result<(), u64> {
        self.admit_at(self.hasher.hash_one(who), self.started_at.elapsed())
    }

    fn admit_at(&self, key: u64, now: Duration) -> Result<(), u64> {
        let mut all = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.newer.get(&key).or_else(|| all.older.get(&key)).copied();
        let free_at = known.unwrap_or_default().max(now) + self.interval;
        let burst = Duration::from_secs(RATE_BURST_SECONDS.into());
        let wait = free_at.saturating_sub(now + burst);
        if !wait.is_zero() {
            return Err(wait.as_secs() + 1);
        }
        if all.newer.len() >= RATE_MAX_KEYS / 2 && !all.newer.contains_key(&key) {
            all.older = std::mem::take(&mut all.newer);
        }
        all.newer.insert(key, free_at);
        Ok(())
    }
}

/// Counts a request of an address, and refuses an address that sends too many.
pub(crate) fn check_rate(rates: Option<&Rates>, request: &Request) -> Result<(), Denied> {
    if let Some(rates) = rates
        && let Some(addresses) = request.extensions().get::<Addresses>()
        && !PROBES.contains(&request.uri().path())
        && let Err(retry_after_seconds) = rates.admit(network_of(addresses.client))
    {
        return Err(Denied::TooManyRequests { retry_after_seconds });
    }
    Ok(())
}

/// Finds the principal of a request, and refuses principals that send too many.
pub(crate) struct AtRate {
    pub(crate) inner: Arc<dyn Authenticate>,
    pub(crate) rates: Rates,
}

#[async_trait]
impl Authenticate for AtRate {
    async fn authenticate(&self, head: &Parts) -> Result<Principal, Denied> {
        let principal = self.inner.authenticate(head).await?;
        let admitted = self.rates.admit((principal.tenant.as_str(), principal.subject.as_str()));
        admitted.map_err(|retry_after_seconds| Denied::TooManyRequests { retry_after_seconds })?;
        Ok(principal)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn somebody_may_ask_at_the_rate_and_for_some_seconds_at_once() {
        let rates = Rates::new(2);
        let burst = 2 * RATE_BURST_SECONDS;
        for _ in 0..burst {
            assert_eq!(rates.admit_at(1, Duration::ZERO), Ok(()));
        }
        assert_eq!(rates.admit_at(1, Duration::ZERO), Err(1));
        assert_eq!(rates.admit_at(2, Duration::ZERO), Ok(()), "others are not concerned");
        assert_eq!(rates.admit_at(1, Duration::from_millis(499)), Err(1));
        assert_eq!(rates.admit_at(1, Duration::from_millis(500)), Ok(()));
        assert_eq!(rates.admit_at(1, Duration::from_millis(500)), Err(1), "a refused request takes nothing");
        for _ in 0..burst {
            assert_eq!(rates.admit_at(1, Duration::from_secs(100)), Ok(()));
        }
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let rates = Rates::new(1);
        for key in 0..RATE_MAX_KEYS as u64 * 3 {
            assert_eq!(rates.admit_at(key, Duration::ZERO), Ok(()));
            let all = rates.free_at.lock().unwrap();
            assert!(all.newer.len() + all.older.len() <= RATE_MAX_KEYS);
        }
    }

    #[test]
    fn addresses_of_one_network_share_a_rate() {
        let network = |text: &str| network_of(text.parse::<IpAddr>().unwrap());
        assert_eq!(network("2001:db8:1:2::3"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:2::3"), network("2001:db8:1:3::3"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
    }
}
