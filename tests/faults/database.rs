//! The database of the servers: how they connect to it, and how it is killed.

use tempfile::TempDir;

use super::proxy::Proxy;
use crate::support::mongo_server::MongoServer;
use crate::support::postgres_server::PostgresServer;

/// The kind of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreKind {
    Sqlite,
    Postgres,
    Mongo,
}

/// A database and the proxy before it. Both are removed when this is dropped.
pub(super) enum Database {
    /// A file that all servers open. It has no process that could be killed.
    Sqlite { directory: TempDir },
    /// A server behind a proxy, for this run alone.
    Postgres { server: PostgresServer, proxy: Proxy },
    /// The same for MongoDB.
    Mongo { server: MongoServer, proxy: Proxy },
}

impl Database {
    pub(super) async fn start(store: StoreKind, random: fastrand::Rng) -> Self {
        match store {
            StoreKind::Sqlite => Self::Sqlite { directory: tempfile::tempdir().expect("a directory") },
            StoreKind::Postgres => {
                let server = PostgresServer::start(&["max_connections=200"]).await;
                let proxy = Proxy::before(server.port(), random).await;
                Self::Postgres { server, proxy }
            }
            StoreKind::Mongo => {
                let server = MongoServer::start().await;
                let proxy = Proxy::before(server.port(), random).await;
                Self::Mongo { server, proxy }
            }
        }
    }

    /// The settings with which a server connects to it.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Sqlite { directory } => {
                let path = directory.path().join("syncflow.db");
                vec![("SQLITE_PATH", path.to_str().expect("a path in UTF-8").to_owned())]
            }
            Self::Postgres { server, proxy } => {
                let url = server.url().replace(&server.port().to_string(), &proxy.port().to_string());
                vec![("POSTGRES_CONNECTION_STRING", url)]
            }
            Self::Mongo { server, proxy } => {
                let uri = server.uri().replace(&server.port().to_string(), &proxy.port().to_string());
                vec![("MONGO_URI", uri)]
            }
        }
    }

    /// The proxy between the database and the servers.
    pub(super) fn proxy(&self) -> Option<&Proxy> {
        match self {
            Self::Sqlite { .. } => None,
            Self::Postgres { proxy, .. } | Self::Mongo { proxy, .. } => Some(proxy),
        }
    }

    /// Kills the database as in a crash, and starts it again after a pause. Returns false if it has no process.
    pub(super) async fn crash(&mut self, pause: std::time::Duration) -> bool {
        match self {
            Self::Sqlite { .. } => false,
            Self::Postgres { server, .. } => {
                server.stop("QUIT");
                tokio::time::sleep(pause).await;
                server.start_again().await;
                true
            }
            Self::Mongo { server, .. } => {
                server.kill();
                tokio::time::sleep(pause).await;
                server.start_again().await;
                true
            }
        }
    }
}
