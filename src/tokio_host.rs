//! The clock, timer and randomness of a process that runs on Tokio.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::core::numbers::UnixMs;
use crate::limits::runtime::WORK_MAX_THREADS;
use crate::service::Host;

/// The system's clock, Tokio's timer, and a random number generator that the system seeded.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioHost;

impl Host for TokioHost {
    fn now_ms(&self) -> UnixMs {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs::new(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
    }

    fn random_bits(&self) -> u64 {
        fastrand::u64(..)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        // The runtime ends it at the latest. Outside of a runtime, nothing could poll it.
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn(task));
        }
    }

    fn work(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        static TURNS: Semaphore = Semaphore::const_new(WORK_MAX_THREADS);
        async {
            // The semaphore is never closed. The turn ends with the work, even if nothing waits for it.
            let turn = TURNS.acquire().await;
            let done = spawn_blocking(move || {
                work();
                drop(turn);
            });
            // If the work panics, its caller finds no result.
            let _ = done.await;
        }
        .boxed()
    }
}
