//! Limits of the protocol, which the core and the routes keep.

/// Most operations in one push.
pub const PUSH_MAX_OPERATIONS: usize = 1_000;

/// Most bytes of documents that the conflicts of one push may answer; a single document and its clock always fit.
pub const PUSH_CONFLICTS_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Largest `data` of an operation as sent, in bytes.
pub const DATA_MAX_BYTES: usize = 1024 * 1024;

/// Largest document as stored, in bytes of JSON.
pub const DOCUMENT_MAX_BYTES: usize = 1024 * 1024;

/// Deepest nesting of objects and arrays in `data` or in a filter's value, the outermost one counted, in levels.
pub const JSON_MAX_LEVELS: usize = 64;

/// Longest id, collection or client id, in bytes of UTF-8; the shortest is one byte.
pub const NAME_MAX_BYTES: usize = 256;

/// Most clients in one vector clock.
pub const CLOCK_MAX_ENTRIES: usize = 1_000;

/// Greatest counter and greatest timestamp: the greatest integer that a double holds without a gap below it.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Greatest `since` of a pull. It is far above the greatest timestamp, since a page may end with one that was raised to
/// tell two places of a client apart (see `places`); up to here a double holds every second integer.
pub const SINCE_MAX: u64 = 1 << 54;

/// Greatest `since` that may have come from another server's memory or from one that was lost, so that it is never given
/// to the client again. No client gets here, one page for each second integer, and one that sends a number of its own
/// leaves as many again to the server.
pub const SINCE_FOREIGN_MAX: u64 = (1 << 53) + (1 << 52);

/// Page size of a pull that asks for none, in operations.
pub const PAGE_DEFAULT_OPERATIONS: usize = 100;

/// Largest page of a pull, in operations; larger asks are clamped.
pub const PAGE_MAX_OPERATIONS: usize = 1_000;

/// Largest page of a pull or a query, in bytes of JSON, one of its rows counted twice.
///
/// No single row comes near: `data` and a vector clock of 1,000 names whose every character is escaped have 1.6 MB. In
/// base64 a page stays below [`LAMBDA_ANSWER_MAX_BYTES`](super::lambda::LAMBDA_ANSWER_MAX_BYTES).
pub const PAGE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Default and largest page of a query, in documents; larger asks are clamped.
pub const QUERY_MAX_DOCUMENTS: usize = 1_000;

/// How many bytes of documents a query looks at before its page ends, matching or not. A page reads one document more at
/// most.
pub const QUERY_MAX_EXAMINED_BYTES: usize = 64 * 1024 * 1024;

/// What looking at a document costs besides its data, in bytes.
pub const QUERY_DOCUMENT_OVERHEAD_BYTES: usize = 256;

/// Most conditions in one filter.
pub const FILTER_MAX_CONDITIONS: usize = 100;

/// Longest path of a filter's condition, in bytes of UTF-8.
pub const FILTER_PATH_MAX_BYTES: usize = 1_024;

/// Most keys in the path of a filter's condition.
pub const FILTER_PATH_MAX_KEYS: usize = JSON_MAX_LEVELS;

/// Largest sum of the values of a filter's conditions, in bytes of their JSON.
pub const FILTER_VALUES_MAX_BYTES: usize = 64 * 1024;

/// Longest filter, in bytes of its JSON.
pub const FILTER_MAX_BYTES: usize = 512 * 1024;

/// How many places the server remembers of one legacy client.
pub const CLIENT_MAX_PLACES: usize = 8;

/// How stale the time of a client's last pull may become before it is written again, in milliseconds (one hour).
pub const CLIENT_SEEN_PRECISION_MS: u64 = 60 * 60 * 1_000;

/// One day, in milliseconds.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The size of a pool's largest chunks of memory, in bytes. A chunk is freed when all texts in it are gone.
pub const TEXT_CHUNK_MAX_BYTES: usize = 64 * 1024;
