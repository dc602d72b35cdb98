//! A store with a step before and after the effect of each method.

use std::sync::Arc;

use syncflow_server::store::{Result, Store, delegate_store};

use super::scheduler::Step;

/// A store in steps.
#[derive(Debug)]
pub(super) struct SteppedStore(pub(super) Arc<dyn Store>);

/// Waits for a step, does the work, and waits for another step, in which the answer can be lost after the effect.
async fn in_steps<T>(_: &SteppedStore, _: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
    Step::default().await;
    let answer = call.await;
    Step::default().await;
    answer
}

impl Store for SteppedStore {
    delegate_store!(|this| &*this.0, around in_steps; all);
}
