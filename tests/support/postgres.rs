//! PostgreSQL for tests: a schema of one's own on the server that `local-dev/test` names.

use std::sync::atomic::{AtomicU64, Ordering};

use syncflow_server::store::postgres::PostgresOptions;
use tokio_postgres::{Client, NoTls};

use super::block_on;

/// The value of a variable that `local-dev/test` sets.
pub(crate) fn required(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; run the tests with local-dev/test"))
}

/// The server that is there for tests, with the rights of a superuser.
pub(crate) fn server_url() -> String {
    required("TEST_POSTGRES_URL")
}

/// A schema that nobody else uses; dropped with everything in it when this is dropped.
pub(crate) struct Schema {
    url: String,
    name: String,
}

impl Schema {
    /// A name for a schema on a server; the store is to create it.
    pub(crate) fn on(url: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Capitals and a quote, so that no statement gets away with a name that is not quoted.
        let name = format!("Test \"{}\" {number} {:x}", std::process::id(), fastrand::u64(..));
        Self { url: url.to_owned(), name }
    }

    /// A schema on the server that is there for tests.
    pub(crate) fn new() -> Self {
        Self::on(&server_url())
    }

    /// How a store finds it.
    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions { schema: self.name.clone(), pool_size: 4, ..PostgresOptions::new(&self.url) }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its name as SQL has it.
    pub(crate) fn quoted(&self) -> String {
        format!("\"{}\"", self.name.replace('"', "\"\""))
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (url, statement) = (self.url.clone(), format!("DROP SCHEMA IF EXISTS {} CASCADE", self.quoted()));
        // A thread, since this may run inside a runtime, where nothing may wait.
        let dropped =
            std::thread::spawn(move || block_on(async { connect(&url).await.batch_execute(&statement).await }));
        match dropped.join() {
            Ok(Ok(())) => {}
            failed if std::thread::panicking() => eprintln!("the schema of a failed test stays: {failed:?}"),
            failed => panic!("the schema of a test cannot be dropped: {failed:?}"),
        }
    }
}

/// A connection past every store.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server can be reached");
    tokio::spawn(connection);
    client
}
