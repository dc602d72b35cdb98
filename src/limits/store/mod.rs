//! Limits of the stores. Limits of a single store are in the module with its name.

pub mod mongodb;
pub mod postgres;
pub mod sqlite;

use super::protocol::{DOCUMENT_MAX_BYTES, NAME_MAX_BYTES};

/// How long a store tries to connect to its database server, in milliseconds.
pub const STORE_CONNECT_TIME_MAX_MS: u64 = 5_000;

/// How long a request waits for a free connection to the database server, in milliseconds.
pub const STORE_WAIT_TIME_MAX_MS: u64 = 5_000;

/// The time limit of the database server for one statement, in milliseconds.
pub const STORE_STATEMENT_TIME_MAX_MS: u64 = 10_000;

/// The time limit of the database server for the wait of a statement for a lock, in milliseconds.
pub const STORE_LOCK_TIME_MAX_MS: u64 = STORE_STATEMENT_TIME_MAX_MS - 1_000;

/// How long after its last use a connection to the database server is trusted to be alive, in milliseconds. After that
/// it is checked first, or replaced.
pub const STORE_IDLE_TRUSTED_MS: u64 = 10_000;

/// The time limit for the check whether a connection is alive, in milliseconds.
pub const STORE_PROBE_TIME_MAX_MS: u64 = 1_000;

/// The most documents that a store fetches at once for a query, to look for matching ones.
pub const QUERY_FETCH_MAX_DOCUMENTS: usize = 1_000;

/// The most queries with a filter that a process runs on a database server at the same time. More of them wait.
pub const QUERY_FILTERED_MAX_REQUESTS: usize = 4;

/// The most rows of an Express server that are read at a time.
pub const EXPRESS_PART_MAX_ENTRIES: usize = 100;

/// The longest name of an Express server that is read, in characters. A name that is cut is too long for this server.
pub const EXPRESS_NAME_MAX_CHARACTERS: usize = NAME_MAX_BYTES + 1;

/// The most bytes of data, or of a clock, that are read from an Express server. They have spaces in them that are left
/// out afterwards.
pub const EXPRESS_VALUE_MAX_BYTES: usize = 2 * DOCUMENT_MAX_BYTES;

/// The time limit of an Express server's database for one statement, in milliseconds. The first one sorts the log.
pub const EXPRESS_STATEMENT_TIME_MAX_MS: u64 = 60 * 60 * 1_000;

/// The most tenants whose newest places a store reads at once.
pub const HEADS_MAX_TENANTS: usize = 500;

/// After how many bytes of documents a query lets other requests have their turn.
pub const QUERY_PACE_BYTES: usize = 256 * 1024;
