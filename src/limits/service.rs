//! Limits of the work that the service does for every store.

use super::protocol::DAY_MS;

/// How many tenants a scheduled compaction reads from the store at a time.
pub const COMPACT_LIST_MAX_TENANTS: usize = 1_000;

/// For how long a server that compacts on its schedule keeps others from beginning, in milliseconds. This is longer
/// than a slice takes, and longer than [`CLOCKS_APART_MAX_MS`].
pub const SCHEDULE_HELD_MS: u64 = 120_000;

/// The most tenants that a scheduled compaction passes over because they fail. After one more it ends, since the store
/// itself does not work then.
pub const SCHEDULE_FAILED_MAX_TENANTS: u64 = 10;

/// How long a scheduled compaction works on one tenant before the server checks that it still has its turn, in
/// milliseconds.
pub const SCHEDULE_SLICE_MS: u64 = 5_000;

/// The longest time until a server asks again whether it is its turn to compact, in milliseconds.
pub const SCHEDULE_LOOK_MAX_MS: u64 = 60_000;

/// How much later than planned a server asks at most, in milliseconds.
pub const SCHEDULE_JITTER_MS: u64 = 5_000;

/// The most active clients of one tenant whose lag a survey of the store counts. The clients that have pulled least
/// come first.
pub const SURVEY_CLIENTS_MAX_ENTRIES: usize = 1_000;

/// Most operations that wait together for one commit.
pub const GROUP_MAX_OPERATIONS: usize = 4_000;

/// Most bytes of `data` that wait together for one commit.
pub const GROUP_MAX_BYTES: usize = 16 * 1024 * 1024;

/// The longest time that a group waits for likely pushes, in milliseconds.
pub const GROUP_GATHERING_MAX_MS: u64 = 5;

/// The number of operations from which on a group does not wait for more pushes.
pub const GROUP_GATHERING_MAX_OPERATIONS: usize = 100;

/// The number of tenants with lanes above which unused lanes are dropped.
pub const LANES_KEPT_TENANTS: usize = 1_000;

/// How often a push is decided while other processes commit in between, before it fails with 503.
pub const PUSH_MAX_ATTEMPTS: u32 = 12;

/// Longest pause before the second attempt of a push, in milliseconds; it doubles with each further one.
pub const PUSH_BACKOFF_FIRST_MS: u64 = 2;

/// Longest pause between two attempts of a push, in milliseconds.
pub const PUSH_BACKOFF_MAX_MS: u64 = 250;

/// How often a pull of an original client is made while its memory changes in between, before it fails with 503.
pub const PULL_MAX_ATTEMPTS: u32 = 8;

/// How long a silent client is included in the statistics, in milliseconds (30 days).
pub const CLIENT_ACTIVE_MS: u64 = 30 * DAY_MS;

/// How long a pull waits for a write that only the statistics need, in milliseconds. After that it is answered without
/// the write.
pub const NOTE_TIME_MAX_MS: u64 = 500;

/// The most log entries that one step of a compaction removes. A push waits for at most one step.
pub const COMPACT_STEP_MAX_ENTRIES: usize = 1_000;

/// The most tombstones and remains of entries that one step of retention removes. A push waits for at most one step.
pub const EXPIRE_STEP_MAX_ENTRIES: usize = 1_000;

/// The most log entries that an operator's request reads at a time.
pub const AUDIT_MAX_ENTRIES: usize = 1_000;

/// The most tenants, ids or clients that an operator's request reads at a time.
pub const LIST_MAX_ENTRIES: usize = 1_000;

/// The most documents that an export reads at a time, and that an import writes at a time.
pub const TRANSFER_MAX_DOCUMENTS: usize = 500;

/// The most bytes of lines that an import collects before it writes them. A single line always fits.
pub const IMPORT_WAITING_MAX_BYTES: usize = 4 * 1024 * 1024;

/// The longest line of an export, in bytes. A document with the largest clock and the longest names stays below it.
pub const EXPORT_LINE_MAX_BYTES: usize = 8 * 1024 * 1024;

/// How often documents of an import are written while others write to the tenant.
pub const IMPORT_MAX_ATTEMPTS: u32 = 12;

/// The most clients of an Express server of which an import remembers that it has written them. If there are more, it
/// writes some of them again, which changes nothing.
pub const EXPRESS_CLIENTS_MAX_ENTRIES: usize = 100_000;

/// The most rows of an Express server that cannot be taken over, before an import reports them. A part that is read may
/// add its own.
pub const EXPRESS_BAD_ROWS_MAX_ENTRIES: usize = 1_000;

/// How often the memory of a client is replaced while the client pulls.
pub const FORGET_MAX_ATTEMPTS: u32 = 8;

/// The most log entries in which one step overwrites the data of a document.
pub const SCRUB_STEP_MAX_ENTRIES: u64 = 1_000;

/// How often a step of an erasure is tried while others keep the store busy.
pub const ERASE_MAX_ATTEMPTS: u32 = 40;

/// Longest pause before the second attempt of such a step, in milliseconds; it doubles with each further one.
pub const ERASE_BACKOFF_FIRST_MS: u64 = 10;

/// Longest pause between two attempts of such a step, in milliseconds.
pub const ERASE_BACKOFF_MAX_MS: u64 = 1_000;

/// The most rows that one step removes of a tenant that is erased. A push waits for at most one step.
pub const ERASE_STEP_MAX_ENTRIES: usize = 1_000;

/// The most bytes of documents that a verification computes from the log at a time. The log is read once for each such
/// part of the documents. A single document always fits.
pub const VERIFY_PART_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The most parts of the documents, however many bytes they have.
pub const VERIFY_PARTS_MAX_ENTRIES: u64 = 4_096;

/// How often a verification begins again while a tenant is compacted or written to.
pub const VERIFY_MAX_ATTEMPTS: u32 = 3;

/// The most findings that a verification lists. Further ones are counted.
pub const VERIFY_FINDINGS_MAX_ENTRIES: usize = 100;

/// How far the clocks of two servers may differ, in milliseconds. A time of reception that is further ahead comes from
/// a wrong clock, and a compaction sets it to now.
pub const CLOCKS_APART_MAX_MS: u64 = 60_000;

/// The most tenants of which a process listens to changes.
pub const LISTENED_MAX_TENANTS: usize = 10_000;

/// The most listeners of a process, for all tenants together.
pub const LISTENERS_MAX_ENTRIES: usize = 20_000;

/// How often the newest places of all listened tenants are read, in milliseconds. Other processes may have changed them
/// without a word.
pub const WAKE_SWEEP_MS: u64 = 500;

/// The pause between two announcements of commits to other processes, in milliseconds.
pub const ANNOUNCE_PAUSE_MS: u64 = 100;

/// The most tenants whose commits wait to be announced. The commits of others are found without it.
pub const ANNOUNCED_MAX_TENANTS: usize = 10_000;

/// The pause between two reads of newest places, in milliseconds.
pub const WAKE_PAUSE_MS: u64 = 10;

/// Most commits that are tried for a push of an original client that is too much for one. It is more than the 50
/// operations need that these clients push at a time.
pub const PUSH_PARTS_MAX_ENTRIES: usize = 64;

/// Most documents in the quarantine of a tenant. An operation usually takes one.
pub const QUARANTINE_MAX_DOCUMENTS: usize = 1_000;

/// Most bytes that the quarantine of a tenant keeps.
pub const QUARANTINE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Most documents in the quarantine of a tenant that are of one client, so that there is room for others.
pub const QUARANTINE_CLIENT_MAX_DOCUMENTS: usize = 250;

/// Most bytes of operations of one client in the quarantine of a tenant, as they were sent. The quarantine keeps up to
/// four times as many for them.
pub const QUARANTINE_CLIENT_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Most documents that are removed from a quarantine with one commit.
pub const QUARANTINE_RELEASE_MAX_DOCUMENTS: usize = 100;

/// The part of an operation that one document of the quarantine has, in bytes. Escaped it may be twice as long.
pub const QUARANTINE_PART_MAX_BYTES: usize = 400 * 1024;

/// Longest reason that a document of the quarantine has, in bytes. The rest of a longer one is left out.
pub const QUARANTINE_REASON_MAX_BYTES: usize = 16 * 1024;

/// Most documents that are put into quarantine with one commit.
pub const QUARANTINE_COMMIT_MAX_DOCUMENTS: usize = 10;

/// How long an application may take to resolve the conflicts of one commit, in milliseconds. The operations that are
/// left are answered as conflicts.
pub const RESOLVER_TIME_MAX_MS: u64 = 1_000;
/// The shortest pause that clients are asked to make between two pulls, in seconds.
pub const POLL_AFTER_MIN_SECONDS: u64 = 5;

/// The longest pause that clients are asked to make between two pulls, in seconds.
pub const POLL_AFTER_MAX_SECONDS: u64 = 300;

/// The most tenants of which a process remembers when they changed, for the pauses of clients.
pub const POLLED_MAX_TENANTS: usize = 10_000;

/// How many bytes of documents and operations a decision reads within the request's own turn. A larger decision is work
/// of the host.
pub const DECISION_INLINE_MAX_BYTES: usize = 256 * 1024;
