//! Limits of the stores. Those of one store alone are in the module of its name.

pub mod mongodb;
pub mod postgres;
pub mod sqlite;

/// How long a store tries to connect to its database server, in milliseconds.
pub const STORE_CONNECT_TIME_MAX_MS: u64 = 5_000;

/// How long a request waits for a free connection to the database server, in milliseconds.
pub const STORE_WAIT_TIME_MAX_MS: u64 = 5_000;

/// How long the database server may take for one statement, in milliseconds.
pub const STORE_STATEMENT_TIME_MAX_MS: u64 = 10_000;

/// How long after its last use a connection to the database server is trusted to be alive, in milliseconds; one that has
/// been silent for longer is asked first, or replaced.
pub const STORE_IDLE_TRUSTED_MS: u64 = 10_000;

/// How long a connection that is asked whether it is alive may take to answer, in milliseconds.
pub const STORE_PROBE_TIME_MAX_MS: u64 = 1_000;

/// Most documents of a query that a store fetches at once to look for those that match.
pub const QUERY_FETCH_MAX_DOCUMENTS: usize = 1_000;
