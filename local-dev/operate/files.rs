//! Backups of an SQLite file, and how they come back.

use std::path::Path;

use serde_json::json;
use syncflow_server::config::{Adapter, StoreConfig};
#[cfg(feature = "sqlite")]
use syncflow_server::store::sqlite;

use super::output::{Output, confirm};
use super::{Done, Failure};

/// The path of the SQLite file. Other databases have programs of their own.
fn path_of(config: &StoreConfig) -> Result<&Path, Failure> {
    let why = match &config.adapter {
        Adapter::Sqlite { path } => return Ok(path),
        Adapter::Postgres { .. } => "use pg_dump and pg_restore of PostgreSQL",
        Adapter::Mongo { .. } => "use mongodump and mongorestore of MongoDB, for all collections of the database",
        Adapter::Memory => "the store in memory is gone when its server ends",
    };
    Err(Failure::Asked(format!("ADAPTER: {why}").into()))
}

#[cfg(feature = "sqlite")]
pub(super) fn backup(config: &StoreConfig, file: &Path, output: Output) -> Done {
    let path = path_of(config)?;
    sqlite::backup(path, file).map_err(|error| Failure::Other(error.to_string()))?;
    let row = json!({ "database": path.display().to_string(), "backup": file.display().to_string() });
    output.row(&row, &format!("{} is a copy of {}", file.display(), path.display()))?;
    Ok(true)
}

#[cfg(feature = "sqlite")]
pub(super) fn restore(config: &StoreConfig, file: &Path, is_confirmed: bool, output: Output) -> Done {
    let path = path_of(config)?;
    let question = format!("Put {} in the place of {}?", file.display(), path.display());
    if path.exists() && !confirm(&question, is_confirmed)? {
        return Ok(false);
    }
    let kept = sqlite::restore(file, path).map_err(|error| Failure::Other(error.to_string()))?;
    let kept = kept.map(|kept| kept.display().to_string());
    let row = json!({ "database": path.display().to_string(), "backup": file.display().to_string(), "kept": kept });
    let text = kept.map(|kept| format!("; the former file is {kept}")).unwrap_or_default();
    output.row(&row, &format!("{} is as in {} again{text}", path.display(), file.display()))?;
    Ok(true)
}

#[cfg(not(feature = "sqlite"))]
pub(super) fn backup(config: &StoreConfig, _: &Path, _: Output) -> Done {
    path_of(config).map(|_| false)
}

#[cfg(not(feature = "sqlite"))]
pub(super) fn restore(config: &StoreConfig, _: &Path, _: bool, _: Output) -> Done {
    path_of(config).map(|_| false)
}
