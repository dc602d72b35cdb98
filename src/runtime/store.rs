//! Opening the store that the settings name.

use std::sync::Arc;

use crate::config::{Adapter, ConfigError, StoreConfig};
use crate::store::Store;
use crate::store::memory::MemoryStore;
#[cfg(feature = "mongodb")]
use crate::store::mongodb::{MongoOptions, MongoOptionsError, MongoStore};
#[cfg(feature = "postgres")]
use crate::store::postgres::{Peer, PostgresOptions, PostgresOptionsError, PostgresStore};
#[cfg(feature = "sqlite")]
use crate::store::sqlite::SqliteStore;

/// Opens the store that the settings name; dropping it closes it.
///
/// # Errors
/// When it cannot be opened, or this build has no such store; the error names the variable to look at.
pub async fn open_store(config: &StoreConfig) -> Result<Arc<dyn Store>, ConfigError> {
    match &config.adapter {
        Adapter::Memory => Ok(Arc::new(MemoryStore::new())),
        #[cfg(feature = "sqlite")]
        Adapter::Sqlite { path } => {
            let (path, readers) = (path.clone(), config.pool_size as usize);
            let opening = tokio::task::spawn_blocking(move || SqliteStore::open(&path, readers));
            match opening.await {
                Ok(Ok(store)) => Ok(Arc::new(store)),
                Ok(Err(problem)) => Err(ConfigError::new("SQLITE_PATH", problem)),
                Err(problem) => Err(ConfigError::new("SQLITE_PATH", problem)),
            }
        }
        #[cfg(not(feature = "sqlite"))]
        Adapter::Sqlite { .. } => Err(not_built("sqlite")),
        #[cfg(feature = "postgres")]
        Adapter::Postgres { connection_string, schema, ca_file, has_pooler } => {
            let options = PostgresOptions {
                connection_string: connection_string.reveal().to_owned(),
                schema: schema.clone(),
                ca_file: ca_file.clone(),
                peer: if *has_pooler { Peer::Pooler } else { Peer::Server },
                pool_size: config.pool_size as usize,
            };
            let store = PostgresStore::new(&options).map_err(|problem| wrong_postgres_option(&problem))?;
            Ok(Arc::new(store))
        }
        #[cfg(not(feature = "postgres"))]
        Adapter::Postgres { .. } => Err(not_built("postgres")),
        #[cfg(feature = "mongodb")]
        Adapter::Mongodb { uri, database, operations_collection, documents_collection } => {
            let options = MongoOptions {
                uri: uri.reveal().to_owned(),
                database: database.clone(),
                operations_collection: operations_collection.clone(),
                documents_collection: documents_collection.clone(),
                pool_size: config.pool_size,
            };
            let store = MongoStore::new(&options).map_err(|problem| wrong_mongo_option(&problem))?;
            store.refuse_unsuitable_server().await.map_err(|problem| wrong_mongo_option(&problem))?;
            Ok(Arc::new(store))
        }
        #[cfg(not(feature = "mongodb"))]
        Adapter::Mongodb { .. } => Err(not_built("mongodb")),
    }
}

#[cfg(feature = "postgres")]
fn wrong_postgres_option(problem: &PostgresOptionsError) -> ConfigError {
    let variable = match problem {
        PostgresOptionsError::ConnectionString(_) => "POSTGRES_CONNECTION_STRING",
        PostgresOptionsError::Schema => "POSTGRES_SCHEMA",
        PostgresOptionsError::CaFile(_) => "POSTGRES_CA_FILE",
        PostgresOptionsError::PoolSize => "POOL_SIZE",
    };
    ConfigError::new(variable, problem)
}

#[cfg(feature = "mongodb")]
fn wrong_mongo_option(problem: &MongoOptionsError) -> ConfigError {
    let variable = match problem {
        MongoOptionsError::Uri(_) => "MONGO_URI",
        MongoOptionsError::Database => "MONGO_DB_NAME",
        MongoOptionsError::OperationsCollection(_) => "MONGO_OPERATIONS_COLLECTION",
        MongoOptionsError::DocumentsCollection(_) => "MONGO_DOCUMENTS_COLLECTION",
        MongoOptionsError::PoolSize => "POOL_SIZE",
    };
    ConfigError::new(variable, problem)
}

#[cfg(not(all(feature = "sqlite", feature = "postgres", feature = "mongodb")))]
fn not_built(store: &str) -> ConfigError {
    ConfigError::new("ADAPTER", format_args!("this build has no {store} store"))
}
