//! A store that measures the time of its calls.

use std::sync::Arc;
use std::time::Instant;

use super::metrics::note_store_call;
use crate::store::{Result, Store, delegate_store};

/// Passes every call on to a store and reports its duration to the metrics.
#[derive(Debug)]
pub(super) struct TimedStore(pub(super) Arc<dyn Store>);

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

async fn timed<T>(_: &TimedStore, _: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
    let mut timer = Call { began: Instant::now(), is_answered: false };
    let answer = call.await;
    timer.is_answered = answer.is_ok();
    answer
}

impl Store for TimedStore {
    delegate_store!(|this| &*this.0, around timed; all);
}
