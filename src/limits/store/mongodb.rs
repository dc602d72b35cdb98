//! Limits of the store on MongoDB.

/// How often the store on MongoDB repeats a transaction that failed for another reason than a conflict.
pub const STORE_TRANSACTION_MAX_ATTEMPTS: u32 = 5;

/// How long the store on MongoDB repeats a transaction while conflicting ones are in progress, in milliseconds.
pub const STORE_CONFLICT_TIME_MAX_MS: u64 = 12_000;

/// Longest pause between two transactions of one commit on MongoDB, in milliseconds.
pub const STORE_CONFLICT_PAUSE_MAX_MS: u64 = 40;

/// How often a writer on MongoDB shows that it is alive while its transaction is open, in milliseconds.
pub const STORE_WRITER_BEAT_MS: u64 = 300;

/// How long a writer on MongoDB may show no sign of life and make no progress before waiting writers end its
/// transaction, in milliseconds. So a writer that dies blocks others for less than 5 s.
pub const STORE_WRITER_SILENT_MAX_MS: u64 = 2_000;

/// How long the announcement of a writer on MongoDB is kept after its last sign of life, in seconds.
pub const STORE_WRITER_FORGOTTEN_AFTER_SECONDS: u64 = 60 * 60;

/// The greatest number of announcements that a process remembers. Beyond it, sessions are announced again.
pub const WRITERS_REMEMBERED_MAX_ENTRIES: usize = 10_000;

/// The greatest number of tenants whose logs are remembered. Beyond it, the process learns them again.
pub const TAILS_REMEMBERED_MAX_TENANTS: usize = 10_000;

/// The most values in one `$in`, because the server's work may grow faster than the list.
pub const LIST_MAX_VALUES: usize = 500;

/// How often a page is read: once, once in the other mode, and both again in a transaction.
pub const READ_MAX_ATTEMPTS: u32 = 4;

/// How often ids are learned while other processes learn or push the same ones.
pub const LEARN_MAX_ATTEMPTS: u32 = 5;

/// How often data in the log are overwritten while a compaction removes some of these entries.
pub const SCRUB_MAX_ATTEMPTS: u32 = 5;

/// How often indexes are requested while other processes create them too.
pub const INDEX_MAX_ATTEMPTS: u32 = 5;

/// The most bytes of data and clocks in one command: well below the 16 MiB of a document and the 48 MB of a message.
pub const COMMAND_MAX_BYTES: usize = 8 * 1024 * 1024;

/// The most operations that one command writes as a whole. With more of them, a few more commands make no difference.
pub const AT_ONCE_MAX_OPERATIONS: usize = 1_000;

/// The longest accepted name of a collection, in bytes. Together with the name of the database it stays below MongoDB's
/// limit.
pub const COLLECTION_NAME_MAX_BYTES: usize = 120;

/// The longest name of a database, in bytes.
pub const DATABASE_NAME_MAX_BYTES: usize = 63;

/// How long the server holds back an answer to a process that listens to commits, in milliseconds, if there are none.
pub const WATCH_AWAIT_MAX_MS: u64 = 1_000;

/// How long a connection that listens may give no answer before it is replaced, in milliseconds.
pub const WATCH_SILENT_MAX_MS: u64 = 30_000;

/// The pause after a stream of commits has broken, or could not be opened, in milliseconds.
pub const WATCH_PAUSE_MS: u64 = 1_000;

/// The longest pause until a stream that cannot be opened is asked for again, in milliseconds. The pauses double.
pub const WATCH_PAUSE_MAX_MS: u64 = 30_000;
