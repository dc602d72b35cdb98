//! A store that measures the time of its calls, and says what to do about a database that refuses them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::metrics::note_store_call;
use crate::config::StoreConfig;
use crate::runtime;
use crate::store::{Result, Store, StoreError, delegate_store};

/// Passes every call on to a store and reports its duration to the metrics.
#[derive(Debug)]
pub(super) struct TimedStore {
    store: Arc<dyn Store>,
    config: StoreConfig,
    /// The advice that was logged last.
    said: Mutex<Option<String>>,
}

impl TimedStore {
    pub(super) fn new(store: Arc<dyn Store>, config: StoreConfig) -> Self {
        Self { store, config, said: Mutex::default() }
    }

    /// An obstacle that is gone and comes back is said again.
    fn forget_advice(&self) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Logs what the operator can do about a refused login, missing rights and the like, once until it changes.
    fn advise(&self, error: &StoreError) {
        if error.obstacle().is_none() {
            return;
        }
        let advice = runtime::advice(error, &self.config);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.as_ref() != Some(&advice) {
            tracing::error!("{advice}");
            *said = Some(advice);
        }
    }
}

/// A call in progress. If it is dropped before the answer, it was cancelled because its time was over.
struct Call {
    began: Instant,
    is_answered: bool,
}

impl Drop for Call {
    fn drop(&mut self) {
        note_store_call(self.began.elapsed(), self.is_answered);
    }
}

async fn timed<T>(store: &TimedStore, _: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
    let mut timer = Call { began: Instant::now(), is_answered: false };
    let answer = call.await.inspect_err(|error| store.advise(error)).inspect(|_| store.forget_advice());
    timer.is_answered = answer.is_ok();
    answer
}

impl Store for TimedStore {
    delegate_store!(|this| &*this.store, around timed; all);
}
