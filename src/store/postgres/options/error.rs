//! The error of options that cannot be used.

use crate::limits::store::postgres::SCHEMA_NAME_MAX_BYTES;

/// Why options cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresOptionsError {
    /// The connection string is neither a URL nor a known list of `key=value` pairs.
    #[error("{0}")]
    ConnectionString(String),
    /// The schema's name is empty, too long, or contains U+0000.
    #[error("must be a name of 1 to {SCHEMA_NAME_MAX_BYTES} bytes")]
    Schema,
    /// The file of trusted certificates cannot be read or has none in it.
    #[error("{0}")]
    CaFile(String),
    /// The pool is too small for even one connection.
    #[error("must be at least 1")]
    PoolSize,
}
