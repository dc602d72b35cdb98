//! The clock, timer and randomness of a process that runs on Tokio.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::service::Host;

/// The system's clock, Tokio's timer, and a random number generator that the system seeded.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioHost;

impl Host for TokioHost {
    fn now_ms(&self) -> u64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }

    fn random_bits(&self) -> u64 {
        fastrand::u64(..)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }
}
