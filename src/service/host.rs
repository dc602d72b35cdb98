//! The clock, the timer and the randomness that the service needs in addition to a store.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use crate::core::numbers::UnixMs;

/// The clock, the timer and the randomness. Entry points and tests pass their own.
pub trait Host: Send + Sync + Debug {
    /// The time.
    fn now_ms(&self) -> UnixMs;

    /// 64 random bits, which are not suitable for secrets.
    fn random_bits(&self) -> u64;

    /// Completes after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Completes after `duration`, which limits work that is not necessary. On a host with a simulated clock it never
    /// completes, because nothing takes time there.
    fn patience(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep(duration)
    }

    /// Runs a task in the background. A host without tasks drops it, and then nobody is woken by changes.
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(task);
    }

    /// Does a long calculation and completes when it is done, even if the future is dropped meanwhile. A host with
    /// threads does it on one of them, a bounded number at a time, so that it holds up no other request.
    fn work(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        work();
        ready(()).boxed()
    }
}

/// The pause before another attempt: exponential with full jitter.
///
/// Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
#[must_use]
pub(super) fn backoff(attempt: u32, first_ms: u64, max_ms: u64, random_bits: u64) -> Duration {
    let longest_ms = first_ms.saturating_mul(1_u64.checked_shl(attempt).unwrap_or(u64::MAX)).min(max_ms);
    Duration::from_millis(random_bits % (longest_ms + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_and_is_bounded() {
        assert_eq!(backoff(0, 2, 250, 2), Duration::from_millis(2));
        assert_eq!(backoff(3, 2, 250, 16), Duration::from_millis(16));
        assert_eq!(backoff(90, 2, 250, 250), Duration::from_millis(250));
        assert_eq!(backoff(90, 2, 250, 251), Duration::ZERO);
    }
}
