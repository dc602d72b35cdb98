//! The bytes on the disk at the end of each month of a year, with retention and without.
//!
//! `SYNCFLOW_CASES` sets the operations a day. The page about performance says with which ones its figures were made.

use std::path::Path;
use std::sync::Arc;

use mongodb::bson::doc;
use syncflow_server::conformance::World;
use syncflow_server::store::Store;
use syncflow_server::store::mongodb::MongoStore;
use syncflow_server::store::postgres::{PostgresOptions, PostgresStore};
use tokio_postgres::Client;

use super::{A_MONTH, Tenant};
use crate::support::mongo::Database;
use crate::support::postgres::{CleanUp, connect, key_values, server_url, unique_name};
use crate::support::random::variable;
use crate::support::stores::open_sqlite;

/// A database of its own, whose bytes can be measured.
trait Disk {
    /// The store in the database.
    fn store(&self) -> Arc<dyn Store>;

    /// The bytes that the database takes, or those of them that are in use.
    async fn bytes(&self) -> u64;
}

/// A year with retention and one without, each with so many operations a day, in steps of some days.
async fn bytes_are_flat_with_retention_and_grow_without<D: Disk>(
    (operations, days): (u64, u64),
    open: impl AsyncFn() -> D,
) {
    let operations = variable("SYNCFLOW_CASES").unwrap_or(operations);
    let mut years = Vec::new();
    for (name, retention) in [("with", Some(A_MONTH)), ("without", None)] {
        let disk = open().await;
        let mut tenant = Tenant::new(World::new(disk.store()), retention);
        let months = tenant.year(operations, days, async |_: &World| disk.bytes().await).await;
        println!("{name} retention, {operations} operations a day: {months:?} bytes");
        years.push(months);
    }
    let [with, without] = &years[..] else { panic!("two years") };
    // From the fourth month on, everything goes as fast as it comes, and takes the room of older rows.
    let (least, most) = (with[3..].iter().min(), with[3..].iter().max());
    let (least, most) = least.zip(most).expect("nine months");
    assert!(*most <= least + least / 4, "{with:?} are not flat");
    assert!(without.is_sorted() && without[11] > 2 * most, "{without:?} beside {with:?}");
}

/// A file in a directory of its own.
struct File(tempfile::TempDir);

impl Disk for File {
    fn store(&self) -> Arc<dyn Store> {
        open_sqlite(&self.0.path().join("syncflow.db"))
    }

    async fn bytes(&self) -> u64 {
        let path = self.0.path().join("syncflow.db");
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        println!("{} bytes in the file and in its log", length(&path) + length(&path.with_extension("db-wal")));
        let connection = rusqlite::Connection::open(&path).expect("the file opens");
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).expect("a number");
        let in_use = (pragma("page_count") - pragma("freelist_count")) * pragma("page_size");
        in_use.unsigned_abs()
    }
}

#[tokio::test]
async fn bytes_of_sqlite_are_flat_with_retention_and_grow_without() {
    let open = async || File(tempfile::tempdir().expect("a directory"));
    bytes_are_flat_with_retention_and_grow_without((20, 1), open).await;
}

/// A database of PostgreSQL, in which no transaction of another test keeps dead rows.
struct Relations {
    options: PostgresOptions,
    client: Client,
    _clean_up: CleanUp,
}

impl Relations {
    async fn new() -> Self {
        let (url, name) = (server_url(), unique_name());
        let create = format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0");
        connect(&url).await.batch_execute(&create).await.expect("a database can be made");
        let clean_up = CleanUp::new(&url, format!("DROP DATABASE {name} WITH (FORCE)"));
        let inside = format!("{} dbname={name}", key_values(&url));
        Self { options: PostgresOptions::new(&inside), client: connect(&inside).await, _clean_up: clean_up }
    }
}

impl Disk for Relations {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(PostgresStore::new(&self.options).expect("the options are right"))
    }

    /// The tables with their indexes. The room of removed rows is first given back to new ones, which the database also
    /// does by itself.
    async fn bytes(&self) -> u64 {
        self.client.batch_execute("VACUUM").await.expect("the superuser may");
        let sql = "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
                   WHERE relkind = 'r' AND relname LIKE 'syncflow%'";
        let bytes: i64 = self.client.query_one(sql, &[]).await.expect("they have a size").get(0);
        bytes.unsigned_abs()
    }
}

#[tokio::test]
async fn bytes_of_postgres_are_flat_with_retention_and_grow_without() {
    bytes_are_flat_with_retention_and_grow_without((30, 3), Relations::new).await;
}

impl Disk for Database {
    fn store(&self) -> Arc<dyn Store> {
        Arc::new(MongoStore::new(&self.options()).expect("the options are right"))
    }

    /// The documents of the database, without its indexes. The stand-in knows no more.
    async fn bytes(&self) -> u64 {
        let found = self.connect().await.run_command(doc! { "dbStats": 1 }).await.expect("it has statistics");
        let size = found.get("dataSize").expect("they have a size").to_string();
        size.split('.').next().and_then(|whole| whole.parse().ok()).expect("a number")
    }
}

#[tokio::test]
async fn bytes_of_mongodb_are_flat_with_retention_and_grow_without() {
    bytes_are_flat_with_retention_and_grow_without((2, 10), async || Database::new()).await;
}
