//! Limits of the store on SQLite.

/// The most jobs that wait for a thread. A further job waits for a place in the queue.
pub const QUEUE_MAX_JOBS: usize = 1_024;

/// The most batches of different tenants that share a transaction.
pub const COMMIT_SHARED_MAX_TENANTS: usize = 64;

/// The most bytes of batches that share a transaction. A larger batch has one for itself.
pub const COMMIT_SHARED_MAX_BYTES: usize = 1024 * 1024;

/// How often the change to WAL mode is tried. SQLite does not wait for that lock by itself.
pub const WAL_MAX_ATTEMPTS: u32 = 100;

/// The most connections for reads that the callers' own threads do. There is also one thread of the runtime more than
/// connections.
pub const LOOKUP_MAX_CONNECTIONS: usize = 4;

/// The most rows that the caller's own thread looks for at once.
pub const LOOKUP_MAX_ROWS: usize = 8;

/// The largest documents together that are read by the caller's own thread, in bytes. They have to be read in pieces of
/// 4 KiB.
pub const LOOKUP_MAX_BYTES: usize = 32 * 1024;

/// The size to which the write-ahead log is truncated after a checkpoint, in bytes.
pub const WAL_KEPT_MAX_BYTES: i64 = 64 * 1024 * 1024;

/// The largest file that is vacuumed, in bytes. It is copied in memory, and writes wait meanwhile.
pub const VACUUM_MAX_BYTES: i64 = 64 * 1024 * 1024;

/// The most former files that are kept beside a database that was restored from backups.
pub const RESTORE_KEPT_MAX_FILES: usize = 100;

/// How often the store looks whether another process has written, in milliseconds, while somebody listens.
pub const WATCH_PAUSE_MS: u64 = 100;
