//! Opening the store that the settings name.

use std::sync::Arc;

use crate::config::{Adapter, ConfigError, StoreConfig};
use crate::store::Store;
use crate::store::memory::MemoryStore;
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
        Adapter::Postgres { .. } => Err(not_built("postgres")),
        Adapter::Mongodb { .. } => Err(not_built("mongodb")),
    }
}

fn not_built(store: &str) -> ConfigError {
    ConfigError::new("ADAPTER", format_args!("this build has no {store} store"))
}
