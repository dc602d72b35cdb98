//! Limits of the work that the service does for every store.

use super::protocol::DAY_MS;

/// How many tenants a scheduled compaction asks the store for at a time.
pub const COMPACT_LIST_MAX_TENANTS: usize = 1_000;

/// Most operations that wait together for one commit.
pub const GROUP_MAX_OPERATIONS: usize = 4_000;

/// Most bytes of `data` that wait together for one commit.
pub const GROUP_MAX_BYTES: usize = 16 * 1024 * 1024;

/// How long a group waits at most for pushes that are likely to come, in milliseconds.
pub const GROUP_GATHERING_MAX_MS: u64 = 5;

/// A group that has so many operations waits for no more.
pub const GROUP_GATHERING_MAX_OPERATIONS: usize = 100;

/// How many tenants have lanes before those that nobody uses are dropped.
pub const LANES_KEPT_TENANTS: usize = 1_000;

/// How often a push is decided anew because somebody else committed in between, before it fails with 503.
pub const PUSH_MAX_ATTEMPTS: u32 = 12;

/// Longest pause before the second attempt of a push, in milliseconds; it doubles with each further one.
pub const PUSH_BACKOFF_FIRST_MS: u64 = 2;

/// Longest pause between two attempts of a push, in milliseconds.
pub const PUSH_BACKOFF_MAX_MS: u64 = 250;

/// How often a pull of a legacy client is made anew because its memory changed in between, before it fails with 503.
pub const PULL_MAX_ATTEMPTS: u32 = 8;

/// How long the server remembers how far a silent client has pulled, in milliseconds (90 days). What the `since` of a
/// legacy client stand for is kept for ever: who forgot which numbers were given could give one for another place.
pub const CLIENT_FORGOTTEN_AFTER_MS: u64 = 90 * DAY_MS;

/// How long a silent client counts in the statistics, in milliseconds (30 days).
pub const CLIENT_ACTIVE_MS: u64 = 30 * DAY_MS;

/// How long a pull waits for a note that only the statistics use, in milliseconds; it is answered without it then.
pub const NOTE_TIME_MAX_MS: u64 = 500;

/// Most log entries that one step of a compaction removes; a push waits for one step at most.
pub const COMPACT_STEP_MAX_ENTRIES: usize = 1_000;

/// How far the clocks of two servers may be apart, in milliseconds. A time of reception that is further ahead was written
/// under a wrong clock, and a compaction sets it to now.
pub const CLOCKS_APART_MAX_MS: u64 = 60_000;
