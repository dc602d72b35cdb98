//! PostgreSQL for tests: a separate schema for each test, on the server that `local-dev/test` names.

use syncflow_server::store::postgres::PostgresOptions;
use tokio_postgres::{Client, NoTls};

use super::block_on;

/// The value of a variable that `local-dev/test` sets.
pub(crate) fn required(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; run the tests with local-dev/test"))
}

/// The URL of the server for tests, with a superuser.
pub(crate) fn server_url() -> String {
    required("TEST_POSTGRES_URL")
}

/// A new name for an object on the server. It needs no quotes in SQL.
pub(crate) fn unique_name() -> String {
    format!("test_{}_{:x}", std::process::id(), fastrand::u64(..))
}

/// A statement that a superuser executes when this is dropped.
pub(crate) struct CleanUp {
    url: String,
    sql: String,
}

impl CleanUp {
    pub(crate) fn new(url: &str, sql: String) -> Self {
        Self { url: url.to_owned(), sql }
    }
}

impl Drop for CleanUp {
    fn drop(&mut self) {
        let (url, sql) = (self.url.clone(), self.sql.clone());
        // This needs its own thread, because it may be called inside a runtime, which does not allow blocking.
        let done = std::thread::spawn(move || block_on(async { connect(&url).await.batch_execute(&sql).await }));
        match done.join() {
            Ok(Ok(())) => {}
            failed if std::thread::panicking() => eprintln!("a failed test leaves something: {failed:?}"),
            failed => panic!("a test cannot clean up: {failed:?}"),
        }
    }
}

/// A schema for one test. It is dropped with all its content when this is dropped.
pub(crate) struct Schema {
    url: String,
    name: String,
    _clean_up: CleanUp,
}

impl Schema {
    /// A new schema name on a server. The store creates the schema.
    pub(crate) fn on(url: &str) -> Self {
        // The name has a capital letter, a space and quotes, so that a statement that does not quote it fails.
        let name = format!("Test \"{}\"", unique_name());
        let clean_up = CleanUp::new(url, format!("DROP SCHEMA IF EXISTS {} CASCADE", quote(&name)));
        Self { url: url.to_owned(), name, _clean_up: clean_up }
    }

    /// A schema on the server for tests.
    pub(crate) fn new() -> Self {
        Self::on(&server_url())
    }

    /// The options with which a store opens it.
    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions { schema: Some(self.name.clone()), pool_size: 4, ..PostgresOptions::new(&self.url) }
    }

    /// The name of the schema.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name in quotes for SQL.
    pub(crate) fn quoted(&self) -> String {
        quote(&self.name)
    }
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The parts of a URL that tests need, as `key=value` pairs of libpq, to which more can be added.
pub(crate) fn key_values(url: &str) -> String {
    let config: tokio_postgres::Config = url.parse().expect("a connection string");
    let [tokio_postgres::config::Host::Tcp(host)] = config.get_hosts() else { panic!("one host in {url}") };
    let (port, user) = (config.get_ports().first().unwrap_or(&5432), config.get_user().expect("a user"));
    let password = String::from_utf8_lossy(config.get_password().unwrap_or_default());
    let database = config.get_dbname().unwrap_or(user);
    format!("host={host} port={port} user={user} password='{password}' dbname={database}")
}

/// A direct connection, without a store.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the server can be reached");
    tokio::spawn(connection);
    client
}
