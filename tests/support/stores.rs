//! A fresh store for every test, gone with the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use syncflow_server::store::Store;
use syncflow_server::store::memory::MemoryStore;
use syncflow_server::store::sqlite::SqliteStore;
use tempfile::TempDir;

const DATABASE: &str = "syncflow.db";

/// A store that nobody else uses; what it keeps on disk is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct TestStore {
    store: Arc<dyn Store>,
    names_given: AtomicU64,
    // Behind the store, so that it goes last.
    directory: Option<TempDir>,
}

impl TestStore {
    fn new(store: Arc<dyn Store>, directory: Option<TempDir>) -> Self {
        Self { store, names_given: AtomicU64::new(0), directory }
    }

    /// The store.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// The same database, opened once more as another process would.
    pub(crate) fn open_again(&self) -> Arc<dyn Store> {
        let directory = self.directory.as_ref().expect("a store in memory cannot be opened again");
        open_sqlite(&directory.path().join(DATABASE))
    }

    /// A name that was not given before, for one more tenant.
    pub(crate) fn next_name(&self) -> String {
        format!("tenant-{}", self.names_given.fetch_add(1, Ordering::Relaxed))
    }
}

/// The reference, in memory.
pub(crate) async fn memory() -> TestStore {
    TestStore::new(Arc::new(MemoryStore::new()), None)
}

/// The embedded store, in a directory of its own.
pub(crate) async fn sqlite() -> TestStore {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let store = open_sqlite(&directory.path().join(DATABASE));
    TestStore::new(store, Some(directory))
}

/// The embedded store on a file, which others may have open too.
pub(crate) fn open_sqlite(path: &std::path::Path) -> Arc<dyn Store> {
    const READERS: usize = 2;
    Arc::new(SqliteStore::open(path, READERS).expect("the database opens"))
}
