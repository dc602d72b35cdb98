//! A store that says what to do about a database that refuses its calls.

use std::sync::{Arc, Mutex, PoisonError};

use crate::config::StoreConfig;
use crate::runtime;
use crate::store::{Result, Store, StoreError, delegate_store};

/// Passes every call on to a store and logs advice about its errors.
#[derive(Debug)]
pub(super) struct AdvisedStore {
    store: Arc<dyn Store>,
    config: StoreConfig,
    /// The advice that was logged last.
    said: Mutex<Option<String>>,
}

impl AdvisedStore {
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

async fn advised<T>(store: &AdvisedStore, _: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
    call.await.inspect_err(|error| store.advise(error)).inspect(|_| store.forget_advice())
}

impl Store for AdvisedStore {
    delegate_store!(|this| &*this.store, around advised; all);
}
