//! A new store for every test, which is removed after the test.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use syncflow_server::store::Store;
use syncflow_server::store::memory::MemoryStore;
use syncflow_server::store::mongodb::MongoStore;
use syncflow_server::store::postgres::PostgresStore;
use syncflow_server::store::sqlite::SqliteStore;

use super::mongo::Database;
use super::postgres::Schema;

/// The same tests for each store, in a module that has the store's name. In these tests, `open` opens a new store.
///
/// In front of the tests there may be a list of the stores, each with its number of random cases, `CASES`.
///
/// ```text
/// for_each_store!({
///     #[test]
///     fn a_new_store_is_empty() { … open().await … }
/// });
/// for_each_store!([memory: 3_000, sqlite: 200] { … for_random(CASES, …) … });
/// ```
macro_rules! for_each_store {
    ([$($store:ident: $cases:expr),*] $tests:tt) => {
        $($crate::support::stores::for_each_store!(@ $store [const CASES: u32 = $cases;] $tests);)*
    };
    ($tests:tt) => {
        $crate::support::stores::for_each_store!(@ memory [] $tests);
        $crate::support::stores::for_each_store!(@ sqlite [] $tests);
        $crate::support::stores::for_each_store!(@ postgres [] $tests);
        $crate::support::stores::for_each_store!(@ mongodb [] $tests);
    };
    (@ $store:ident [$($cases:tt)*] { $($tests:tt)* }) => {
        mod $store {
            use $crate::support::stores::$store as open;

            $($cases)*
            $($tests)*
        }
    };
}

pub(crate) use for_each_store;

type Open = dyn Fn() -> Arc<dyn Store> + Send + Sync;

/// A store for one test. Its data are removed when this is dropped.
pub(crate) struct TestStore {
    store: Arc<dyn Store>,
    names_given: AtomicU64,
    // It is declared after the store, so that it is dropped last: the closure owns the data, such as a directory.
    open: Box<Open>,
}

impl fmt::Debug for TestStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.store.fmt(formatter)
    }
}

impl TestStore {
    fn opened_by(open: impl Fn() -> Arc<dyn Store> + Send + Sync + 'static) -> Self {
        Self { store: open(), names_given: AtomicU64::new(0), open: Box::new(open) }
    }

    /// The store.
    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// Opens the same database again, as another process would. A store in memory is shared instead.
    pub(crate) fn open_again(&self) -> Arc<dyn Store> {
        (self.open)()
    }

    /// A new name for another tenant.
    pub(crate) fn next_name(&self) -> String {
        format!("tenant-{}", self.names_given.fetch_add(1, Ordering::Relaxed))
    }
}

/// The model store.
pub(crate) async fn memory() -> TestStore {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    TestStore::opened_by(move || Arc::clone(&store))
}

/// The SQLite store, in its own directory.
pub(crate) async fn sqlite() -> TestStore {
    let directory = tempfile::tempdir().expect("a directory can be made");
    TestStore::opened_by(move || open_sqlite(&directory.path().join("syncflow.db")))
}

/// The PostgreSQL store, in its own schema.
pub(crate) async fn postgres() -> TestStore {
    let schema = Schema::new();
    TestStore::opened_by(move || Arc::new(PostgresStore::new(&schema.options()).expect("the options are right")))
}

/// The MongoDB store, in its own database.
pub(crate) async fn mongodb() -> TestStore {
    let database = Database::new();
    TestStore::opened_by(move || Arc::new(MongoStore::new(&database.options()).expect("the options are right")))
}

/// An SQLite store on a file, which may be open elsewhere too.
pub(crate) fn open_sqlite(path: &std::path::Path) -> Arc<dyn Store> {
    const READERS: usize = 2;
    Arc::new(SqliteStore::open_with_lookups(path, READERS, 1).expect("the database opens"))
}
