//! What the suites share: stores that tests own, a runtime, seeds.

pub(crate) mod postgres;
pub(crate) mod postgres_server;
pub(crate) mod processes;
pub(crate) mod random;
pub(crate) mod stores;

use syncflow_server::store::conformance::World;

use stores::TestStore;

/// Runs a future to its end on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(future)
}

/// Runs a test in a world over a store of its own, and cleans up behind it.
pub(crate) fn in_a_world(open: impl AsyncFnOnce() -> TestStore, test: impl AsyncFnOnce(&World)) {
    block_on(async {
        let home = open().await;
        test(&World::new(home.store())).await;
    });
}
