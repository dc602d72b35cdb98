//! MongoDB for tests: a database of one's own on the server that `local-dev/test` names.

use mongodb::Client;
use syncflow_server::store::mongodb::MongoOptions;

use super::block_on;
use super::postgres::{required, unique_name};

/// The server that is there for tests.
pub(crate) fn server_uri() -> String {
    required("TEST_MONGO_URI")
}

/// A database that nobody else uses; dropped with everything in it when this is dropped.
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
        let (uri, name) = (self.uri.clone(), self.name.clone());
        // A thread, since this may run inside a runtime, where nothing may wait.
        let done = std::thread::spawn(move || block_on(async { connect(&uri).await.database(&name).drop().await }));
        match done.join() {
            Ok(Ok(())) => {}
            failed if std::thread::panicking() => eprintln!("a failed test leaves something: {failed:?}"),
            failed => panic!("a test cannot clean up: {failed:?}"),
        }
    }
}
