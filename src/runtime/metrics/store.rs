//! A store that measures the time of its calls.

use std::sync::Arc;
use std::time::Instant;

use super::{Counted, Recorder};
use crate::store::{Result, Store, delegate_store};

/// Passes every call on to a store and counts it.
#[derive(Debug)]
pub struct MeasuredStore {
    store: Arc<dyn Store>,
    recorder: Arc<dyn Recorder>,
}

impl MeasuredStore {
    /// Measures the calls of a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, recorder: Arc<dyn Recorder>) -> Self {
        Self { store, recorder }
    }
}

/// A call in progress. If it is dropped before the answer, it was cancelled because its time was over.
struct Call<'a> {
    store: &'a MeasuredStore,
    name: &'static str,
    began: Instant,
    is_answered: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let Self { name: call, is_answered, .. } = *self;
        self.store.recorder.record(Counted::StoreCall { call, took: self.began.elapsed(), is_answered });
    }
}

async fn measured<T>(store: &MeasuredStore, name: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
    let mut timer = Call { store, name, began: Instant::now(), is_answered: false };
    let answer = call.await;
    timer.is_answered = answer.is_ok();
    answer
}

impl Store for MeasuredStore {
    delegate_store!(|this| &*this.store, around measured; all);
}
