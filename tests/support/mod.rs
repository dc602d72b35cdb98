//! Shared by the suites: stores for tests, a runtime, and seeds.

pub(crate) mod crowd;
pub(crate) mod logs;
pub(crate) mod mongo;
pub(crate) mod mongo_greeter;
pub(crate) mod mongo_server;
pub(crate) mod postgres;
pub(crate) mod postgres_proxy;
pub(crate) mod postgres_server;
pub(crate) mod processes;
pub(crate) mod random;
pub(crate) mod stores;

use syncflow_server::conformance::World;

use stores::TestStore;

/// Runs a future to its end on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(future)
}

/// A runtime on this thread, for work that outlives a single future.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts")
}

/// Runs a test in a world over its own store, and removes the store afterwards.
pub(crate) fn in_a_world(open: impl AsyncFnOnce() -> TestStore, test: impl AsyncFnOnce(&World)) {
    block_on(async {
        let home = open().await;
        test(&World::new(home.store())).await;
    });
}
