//! A fresh store for every test, gone with the test.

use std::sync::Arc;

use syncflow_server::store::Store;
use syncflow_server::store::memory::MemoryStore;
use syncflow_server::store::sqlite::SqliteStore;
use tempfile::TempDir;

/// A store that nobody else uses; what it keeps on disk is removed when this is dropped.
pub(crate) struct TestStore {
    store: Arc<dyn Store>,
    // Behind the store, so that it goes last.
    _directory: Option<TempDir>,
}

impl TestStore {
    /// The store.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }
}

/// The reference, in memory.
pub(crate) async fn memory() -> TestStore {
    TestStore { store: Arc::new(MemoryStore::new()), _directory: None }
}

/// The embedded store, in a directory of its own.
pub(crate) async fn sqlite() -> TestStore {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let store = open_sqlite(&directory.path().join("syncflow.db"));
    TestStore { store, _directory: Some(directory) }
}

/// The embedded store on a file, which others may have open too.
pub(crate) fn open_sqlite(path: &std::path::Path) -> Arc<dyn Store> {
    const READERS: usize = 2;
    Arc::new(SqliteStore::open(path, READERS).expect("the database opens"))
}
