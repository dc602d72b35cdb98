//! Limits of the store on SQLite.

/// The most jobs that wait for a thread. A further job waits for a place in the queue.
pub const QUEUE_MAX_JOBS: usize = 1_024;

/// How often the change to WAL mode is tried. SQLite does not wait for that lock by itself.
pub const WAL_MAX_ATTEMPTS: u32 = 100;

/// The size to which the write-ahead log is truncated after a checkpoint, in bytes.
pub const WAL_KEPT_MAX_BYTES: i64 = 64 * 1024 * 1024;

/// The largest file that is vacuumed, in bytes. It is copied in memory, and writes wait meanwhile.
pub const VACUUM_MAX_BYTES: i64 = 64 * 1024 * 1024;
