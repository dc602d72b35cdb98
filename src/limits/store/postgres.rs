//! Limits of the store on PostgreSQL.

/// How many logins a store tries for one new connection. After a refusal the login is read again from its source,
/// because it may have been rotated.
pub const LOGIN_MAX_ATTEMPTS: u32 = 2;

/// The longest name of a schema, in bytes. PostgreSQL would cut longer names.
pub const SCHEMA_NAME_MAX_BYTES: usize = 63;

/// The longest text of a number that is stored unchanged, in bytes.
pub const NUMBER_MAX_BYTES: usize = 4_000;

/// The most digits of an exponent that is stored unchanged.
pub const EXPONENT_MAX_DIGITS: usize = 3;

/// The time limit of the database server for a step of the schema, in milliseconds.
pub const STORE_STEP_TIME_MAX_MS: u64 = 10 * 60 * 1_000;

/// The longest text of a notification, in bytes. PostgreSQL takes less than 8,000.
pub const NOTICE_MAX_BYTES: usize = 7_900;

/// How long a connection that listens may be silent before it is checked, in milliseconds.
pub const WATCH_SILENT_MAX_MS: u64 = 30_000;

/// The pause after a connection that listens has broken, or could not be opened, in milliseconds.
pub const WATCH_PAUSE_MS: u64 = 1_000;
