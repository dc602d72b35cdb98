//! The database beneath the servers: how they find it, and how it is killed.

use tempfile::TempDir;

use super::proxy::Proxy;
use crate::support::mongo_server::MongoServer;
use crate::support::postgres_server::PostgresServer;

/// Which store the servers use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreKind {
    Sqlite,
    Postgres,
    Mongodb,
}

/// A database with what stands before it; gone when this is dropped.
pub(super) enum Database {
    /// A file that all servers open: there is no process to kill but theirs.
    Sqlite { directory: TempDir },
    /// A server of its own behind a proxy.
    Postgres { server: PostgresServer, proxy: Proxy },
    /// The same.
    Mongodb { server: MongoServer, proxy: Proxy },
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
            StoreKind::Mongodb => {
                let server = MongoServer::start().await;
                let proxy = Proxy::before(server.port(), random).await;
                Self::Mongodb { server, proxy }
            }
        }
    }

    /// The settings by which a server finds it.
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
            Self::Mongodb { server, proxy } => {
                let uri = server.uri().replace(&server.port().to_string(), &proxy.port().to_string());
                vec![("MONGO_URI", uri)]
            }
        }
    }

    /// What stands between it and the servers.
    pub(super) fn proxy(&self) -> Option<&Proxy> {
        match self {
            Self::Sqlite { .. } => None,
            Self::Postgres { proxy, .. } | Self::Mongodb { proxy, .. } => Some(proxy),
        }
    }

    /// Kills it as a crash would and starts it again after a while; says whether there was something to kill.
    pub(super) async fn crash(&mut self, pause: std::time::Duration) -> bool {
        match self {
            Self::Sqlite { .. } => false,
            Self::Postgres { server, .. } => {
                server.stop("QUIT");
                tokio::time::sleep(pause).await;
                server.start_again().await;
                true
            }
            Self::Mongodb { server, .. } => {
                server.kill();
                tokio::time::sleep(pause).await;
                server.start_again().await;
                true
            }
        }
    }
}
