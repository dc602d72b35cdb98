//! MongoDB for tests: a separate database for each test, on the server that `local-dev/test` names.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mongodb::Client;
use syncflow_server::store::mongodb::MongoOptions;
use tokio::time::timeout;

use super::block_on;
use super::postgres::{required, unique_name};

/// One of the servers that are there for tests; each call gives the next one, so that all have the same work.
fn server_uri() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let servers = required("TEST_MONGO_URI");
    let servers: Vec<&str> = servers.split_whitespace().collect();
    servers[NEXT.fetch_add(1, Ordering::Relaxed) % servers.len()].to_owned()
}

/// A database for one test. It is dropped together with this value, if the server is a `mongod`.
///
/// On the emulation it stays until the server ends, whose directory is removed then. There, a drop would wait under the
/// emulation's single lock for keys that the transaction of a killed server holds. All other commands would wait with
/// it.
pub(crate) struct Database {
    uri: String,
    name: String,
}

impl Database {
    /// A new database name on a server. The store creates the database.
    pub(crate) fn on(uri: &str) -> Self {
        Self { uri: uri.to_owned(), name: unique_name() }
    }

    /// A database on one of the servers that are there for tests.
    pub(crate) fn new() -> Self {
        Self::on(&server_uri())
    }

    /// The options with which a store opens it. Their time limit is long, because the emulation works on one command at
    /// a time, also for other tests, and large ones take seconds.
    pub(crate) fn options(&self) -> MongoOptions {
        let command_timeout = Duration::from_secs(120);
        MongoOptions { database: self.name.clone(), pool_size: 4, command_timeout, ..MongoOptions::new(&self.uri) }
    }

    /// The URI of its server.
    pub(crate) fn uri(&self) -> &str {
        &self.uri
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A direct connection to the database, without a store.
    pub(crate) async fn connect(&self) -> mongodb::Database {
        connect(&self.uri).await.database(&self.name)
    }
}

/// A direct connection to a server, without a store.
pub(crate) async fn connect(uri: &str) -> Client {
    Client::with_uri_str(uri).await.expect("the URI is right")
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server may keep a killed client's transaction for a minute, and the drop waits for it.
        const DROP_TIME_MAX: Duration = Duration::from_secs(90);
        if required("TEST_MONGO_KIND") != "mongod" {
            return;
        }
        let (uri, name) = (self.uri.clone(), self.name.clone());
        // This needs its own thread, because it may be called inside a runtime, which does not allow blocking.
        let done = std::thread::spawn(move || {
            block_on(timeout(DROP_TIME_MAX, async { connect(&uri).await.database(&name).drop().await }))
        });
        match done.join() {
            Ok(Ok(Ok(()))) => {}
            failed if std::thread::panicking() => eprintln!("a failed test leaves something: {failed:?}"),
            failed => panic!("a test cannot clean up: {failed:?}"),
        }
    }
}
