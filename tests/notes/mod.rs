//! Data that only the statistics use never make a pull fail, even if a database can be read but not written.

use std::sync::Arc;

use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::inserts;
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::{PullFrom, SyncService};
use syncflow_server::store::Store;
use syncflow_server::store::postgres::{PostgresOptions, PostgresStore};

use crate::support::postgres::{Schema, key_values, server_url};
use crate::support::stores::open_sqlite;

/// A world with the clock of the machine.
fn world(store: Arc<dyn Store>) -> World {
    let service = Arc::new(SyncService::new(Arc::clone(&store), Arc::new(TokioHost)));
    World { service, ..World::new(store) }
}

/// Pulls that write, before the database becomes read-only.
async fn prepare(world: &World) {
    world.apply(inserts(3)).await;
    for max_operations in [1, 2] {
        world.since("original", 0, max_operations).await;
    }
}

/// Pulls that need no write are answered. `World` panics if one is not.
async fn pull_everything(world: &World) {
    for max_operations in [1, 2, 3] {
        world.pull(PullFrom::Cursor(None), Some("modern"), max_operations).await;
    }
    for max_operations in [1, 2] {
        world.since("original", 0, max_operations).await;
    }
}

#[tokio::test]
async fn a_pull_from_sqlite_is_answered_while_another_process_holds_the_lock() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("syncflow.db");
    let world = world(open_sqlite(&file));
    prepare(&world).await;
    let other = rusqlite::Connection::open(&file).expect("the file opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock is free");
    pull_everything(&world).await;
    other.execute_batch("COMMIT").expect("the lock was held all the time");
}

#[tokio::test]
async fn a_pull_from_a_read_only_postgres_is_answered() {
    let schema = Schema::new();
    prepare(&world(Arc::new(PostgresStore::new(&schema.options()).expect("the options are right")))).await;
    let url = format!("{} options='-c default_transaction_read_only=on'", key_values(&server_url()));
    let options = PostgresOptions { schema: Some(schema.name().to_owned()), ..PostgresOptions::new(&url) };
    pull_everything(&world(Arc::new(PostgresStore::new(&options).expect("the options are right")))).await;
}
