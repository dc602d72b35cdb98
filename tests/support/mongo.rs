//! MongoDB for tests: a database of one's own on the server that `local-dev/test` names.

use std::time::Duration;

use mongodb::Client;
use syncflow_server::store::mongodb::MongoOptions;
use tokio::time::timeout;

use super::block_on;
use super::postgres::{required, unique_name};

/// The server that is there for tests.
pub(crate) fn server_uri() -> String {
    required("TEST_MONGO_URI")
}

/// A database that nobody else uses. When this is dropped, so is the database, if the server is a `mongod`.
///
/// The emulation waits under its one lock for keys that a killed server's transaction holds, and everything else waits
/// with it. There the database stays until the server ends, whose directory goes with it.
pub(crate) struct Database {
    uri: String,
    name: String,
}

impl Database {
    /// A name for a database on a server; the store is to create it.
    pub(crate) fn on(uri: &str) -> Self {
        Self { uri: uri.to_owned(), name: unique_name() }
    }

    /// A database on the server that is there for tests.
    pub(crate) fn new() -> Self {
        Self::on(&server_uri())
    }

    /// How a store finds it.
    pub(crate) fn options(&self) -> MongoOptions {
        MongoOptions { database: self.name.clone(), pool_size: 4, ..MongoOptions::new(&self.uri) }
    }

    /// How a store finds it that waits for longer: the emulation works on one command at a time, those of other tests
    /// among them, and on the largest for seconds.
    pub(crate) fn patient_options(&self) -> MongoOptions {
        MongoOptions { command_timeout: Duration::from_secs(120), ..self.options() }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The database past every store.
    pub(crate) async fn connect(&self) -> mongodb::Database {
        connect(&self.uri).await.database(&self.name)
    }
}

/// A client past every store.
pub(crate) async fn connect(uri: &str) -> Client {
    Client::with_uri_str(uri).await.expect("the URI is right")
}

impl Drop for Database {
    fn drop(&mut self) {
        // A server that lets a killed server's transaction live for its minute, and the drop wait for it.
        const DROP_TIME_MAX: Duration = Duration::from_secs(90);
        if required("TEST_MONGO_KIND") != "mongod" {
            return;
        }
        let (uri, name) = (self.uri.clone(), self.name.clone());
        // A thread, since this may run inside a runtime, where nothing may wait.
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
