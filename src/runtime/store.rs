//! Opens the store that the settings name.

mod express;

#[cfg(feature = "postgres")]
use std::path::Path;
use std::sync::{Arc, Weak};

#[cfg(feature = "sqlite")]
use tokio::runtime::Handle;

#[cfg(all(feature = "aws", any(feature = "postgres", feature = "mongodb")))]
use crate::aws;
use crate::config::{Adapter, ConfigError, Connection, StoreConfig};
use crate::store::memory::MemoryStore;
#[cfg(feature = "mongodb")]
use crate::store::mongodb::{MongoOptions, MongoOptionsError, MongoStore, UriSource};
#[cfg(feature = "postgres")]
use crate::store::postgres::{LoginSource, Peer, PostgresOptions, PostgresOptionsError, PostgresStore};
#[cfg(feature = "sqlite")]
use crate::store::sqlite::SqliteStore;
use crate::store::{Pooled, Store};

pub use self::express::open_express;

/// A connection string, and the source of logins if the string has none.
#[cfg(feature = "postgres")]
type PostgresAccess = (String, Option<Arc<dyn LoginSource>>);

/// A URI, and the source of another one if its login is refused.
#[cfg(feature = "mongodb")]
type MongoAccess = (String, Option<Arc<dyn UriSource>>);

/// How many connections SQLite may have for reads on the threads of this runtime. If the disk hangs, one of the threads
/// is left for other requests.
#[cfg(feature = "sqlite")]
fn lookup_connections() -> usize {
    Handle::current().metrics().num_workers().saturating_sub(1)
}

/// A store, and its pools if it has some.
#[expect(missing_debug_implementations, reason = "a store with pools need not be printed")]
pub struct OpenStore {
    /// The store. Dropping it closes it.
    pub store: Arc<dyn Store>,
    /// Its pools, which do not keep it open.
    pub pools: Option<Weak<dyn Pooled>>,
}

impl OpenStore {
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "mongodb"))]
    fn pooled(store: impl Store + Pooled + 'static) -> Self {
        let store = Arc::new(store);
        let pools = Arc::downgrade(&store);
        Self { store, pools: Some(pools) }
    }
}

/// Opens the store that the settings name. Dropping it closes it.
///
/// # Errors
/// If it cannot be opened, or if this build has no such store. The error names the variable to check.
pub async fn open_store(config: &StoreConfig) -> Result<Arc<dyn Store>, ConfigError> {
    open_store_with_pools(config).await.map(|open| open.store)
}

/// The same with the pools of the store.
///
/// # Errors
/// The errors of [`open_store`].
pub async fn open_store_with_pools(config: &StoreConfig) -> Result<OpenStore, ConfigError> {
    match &config.adapter {
        Adapter::Memory => Ok(OpenStore { store: Arc::new(MemoryStore::new()), pools: None }),
        #[cfg(feature = "sqlite")]
        Adapter::Sqlite { path } => {
            let (path, readers, lookups) = (path.clone(), config.pool_size as usize, lookup_connections());
            let opening = tokio::task::spawn_blocking(move || SqliteStore::open_with_lookups(&path, readers, lookups));
            match opening.await {
                Ok(Ok(store)) => Ok(OpenStore::pooled(store)),
                Ok(Err(problem)) => Err(ConfigError::new("SQLITE_PATH", problem)),
                Err(problem) => Err(ConfigError::new("SQLITE_PATH", problem)),
            }
        }
        #[cfg(not(feature = "sqlite"))]
        Adapter::Sqlite { .. } => Err(not_built("sqlite")),
        #[cfg(feature = "postgres")]
        Adapter::Postgres { connection, has_iam_auth, schema, ca_file, has_pooler } => {
            let (connection_string, logins) = postgres_access(connection, *has_iam_auth, ca_file.as_deref()).await?;
            let options = PostgresOptions {
                connection_string,
                logins,
                schema: schema.clone(),
                ca_file: ca_file.clone(),
                peer: if *has_pooler { Peer::Pooler } else { Peer::Server },
                pool_size: config.pool_size as usize,
            };
            let store = PostgresStore::new(&options).map_err(|problem| wrong_postgres_option(&problem, connection))?;
            Ok(OpenStore::pooled(store))
        }
        #[cfg(not(feature = "postgres"))]
        Adapter::Postgres { .. } => Err(not_built("postgres")),
        #[cfg(feature = "mongodb")]
        Adapter::Mongo { connection, database, operations_collection, documents_collection } => {
            let (uri, uris) = mongo_access(connection).await?;
            let options = MongoOptions {
                uris,
                database: database.clone(),
                operations_collection: operations_collection.clone(),
                documents_collection: documents_collection.clone(),
                pool_size: config.pool_size,
                ..MongoOptions::new(&uri)
            };
            let store = MongoStore::new(&options).map_err(|problem| wrong_mongo_option(&problem, connection))?;
            store.refuse_unsuitable_server().await.map_err(|problem| wrong_mongo_option(&problem, connection))?;
            Ok(OpenStore::pooled(store))
        }
        #[cfg(not(feature = "mongodb"))]
        Adapter::Mongo { .. } => Err(not_built("mongodb")),
    }
}

/// How to connect to MongoDB. The future that reads a secret is large and rarely used, so it is boxed.
#[cfg(feature = "mongodb")]
#[cfg_attr(not(feature = "aws"), expect(clippy::unused_async, reason = "with the feature `aws` it waits"))]
async fn mongo_access(connection: &Connection) -> Result<MongoAccess, ConfigError> {
    match connection {
        Connection::Given(uri) => Ok((uri.reveal().to_owned(), None)),
        #[cfg(feature = "aws")]
        Connection::Stored { place, given } => {
            let (uri, uris) = Box::pin(aws::uri_from(place, given.as_ref())).await?;
            Ok((uri, Some(uris)))
        }
        #[cfg(not(feature = "aws"))]
        Connection::Stored { place, .. } => Err(not_built_with_aws(place.variable)),
    }
}

/// How to connect to PostgreSQL, and the source of logins if the connection string has none.
#[cfg(all(feature = "postgres", feature = "aws"))]
async fn postgres_access(
    connection: &Connection,
    has_iam_auth: bool,
    ca_file: Option<&Path>,
) -> Result<PostgresAccess, ConfigError> {
    let (connection_string, logins) = match connection {
        Connection::Stored { place, given } => Box::pin(aws::login_from(place, given.as_ref())).await?,
        Connection::Given(text) if has_iam_auth => Box::pin(aws::login_by_role(text, ca_file)).await?,
        Connection::Given(text) => return Ok((text.reveal().to_owned(), None)),
    };
    Ok((connection_string, Some(logins)))
}

#[cfg(all(feature = "postgres", not(feature = "aws")))]
#[expect(clippy::unused_async, reason = "with the feature `aws` it waits, and its callers are the same")]
async fn postgres_access(
    connection: &Connection,
    has_iam_auth: bool,
    _: Option<&Path>,
) -> Result<PostgresAccess, ConfigError> {
    match connection {
        Connection::Stored { place, .. } => Err(not_built_with_aws(place.variable)),
        Connection::Given(_) if has_iam_auth => Err(not_built_with_aws("POSTGRES_IAM_AUTH")),
        Connection::Given(text) => Ok((text.reveal().to_owned(), None)),
    }
}

#[cfg(all(any(feature = "postgres", feature = "mongodb"), not(feature = "aws")))]
fn not_built_with_aws(variable: &'static str) -> ConfigError {
    ConfigError::new(variable, "this build knows nothing of AWS; build it with the feature aws")
}

#[cfg(feature = "postgres")]
fn wrong_postgres_option(problem: &PostgresOptionsError, connection: &Connection) -> ConfigError {
    let variable = match problem {
        PostgresOptionsError::ConnectionString(_) => connection_variable(connection, "POSTGRES_CONNECTION_STRING"),
        PostgresOptionsError::Schema => "POSTGRES_SCHEMA",
        PostgresOptionsError::CaFile(_) => "POSTGRES_CA_FILE",
        PostgresOptionsError::PoolSize => "POOL_SIZE",
    };
    ConfigError::new(variable, problem)
}

#[cfg(feature = "mongodb")]
fn wrong_mongo_option(problem: &MongoOptionsError, connection: &Connection) -> ConfigError {
    let variable = match problem {
        MongoOptionsError::Uri(_) => connection_variable(connection, "MONGO_URI"),
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

/// The variable to check when a connection string is wrong: that of the string or that of the secret.
pub(super) fn connection_variable(connection: &Connection, given_in: &'static str) -> &'static str {
    match connection {
        Connection::Stored { place, given: None } => place.variable,
        Connection::Stored { given: Some(given), .. } | Connection::Given(given) => {
            given.variable().unwrap_or(given_in)
        }
    }
}
