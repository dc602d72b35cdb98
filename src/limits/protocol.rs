//! Limits of the protocol, which the core and the routes keep.

/// Most operations in one push.
pub const PUSH_MAX_OPERATIONS: usize = 1_000;

/// The limit for all documents in the conflicts of one push, in bytes. A single document with its clock always fits.
pub const PUSH_CONFLICTS_MAX_BYTES: usize = 4 * 1024 * 1024;

/// The limit for all documents that a push finds in the store, with their clocks, in bytes. A single one always fits.
pub const PUSH_LOADED_MAX_BYTES: usize = 16 * 1024 * 1024;

/// The limit for the keys of all documents that one push has updated, because a key takes memory beside its text. A
/// single document always fits.
pub const PUSH_OPEN_MAX_KEYS: usize = 500_000;

/// The limit for all documents that a push writes, with their clocks, in bytes. A single one always fits.
pub const PUSH_WRITTEN_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Largest `data` of an operation as sent, in bytes.
pub const DATA_MAX_BYTES: usize = 1024 * 1024;

/// Largest document as stored, in bytes of JSON.
pub const DOCUMENT_MAX_BYTES: usize = 1024 * 1024;

/// The deepest nesting of objects and arrays in `data` or in a filter's value, in levels, including the outermost one.
pub const JSON_MAX_LEVELS: usize = 64;

/// Longest id, collection or client id, in bytes of UTF-8; the shortest is one byte.
pub const NAME_MAX_BYTES: usize = 256;

/// Most clients in one vector clock. An original client has an entry for every client that it ever met.
pub const CLOCK_MAX_ENTRIES: usize = 10_000;

/// Most clients in all vector clocks of one push together, because an entry takes memory beside its text.
pub const PUSH_CLOCKS_MAX_ENTRIES: usize = 1_000_000;

/// Largest vector clock, in bytes of its JSON.
pub const CLOCK_MAX_BYTES: usize = 256 * 1024;

/// How many bytes a vector clock may have beside these for the entry that the server adds.
pub const CLOCK_OWN_MAX_BYTES: usize = 64;

/// How far ahead of the server's clock the time of an operation counts when a conflict is resolved, in milliseconds.
pub const STAMP_AHEAD_MAX_MS: u64 = 60_000;

/// Most operations that the server remembers as later than the writer of a content, which had seen them.
pub const STAMP_MAX_ENTRIES: usize = 8;

/// Most deletes of a document that the server remembers, none of which has seen another one. If there are more, the
/// oldest one is forgotten, and time decides about edits that have not seen it.
pub const DELETES_MAX_ENTRIES: usize = 32;

/// Most keys of a document that are merged one by one. The keys of a larger document are resolved together.
pub const STAMPS_MAX_KEYS: usize = 1_000;

/// Most bytes of the text that says who wrote which key of a document. If it would be larger, the keys are resolved
/// together.
pub const STAMPS_MAX_BYTES: usize = 128 * 1024;

/// The limit for all clocks that the server derives for one push, in bytes. A single one always fits.
pub const PUSH_DERIVED_CLOCKS_MAX_BYTES: usize = 4 * 1024 * 1024;

/// How far a counter that the server has not given itself may be ahead of the time, in milliseconds, to be credible.
pub const COUNTER_AHEAD_MAX_MS: u64 = 60_000;

/// Greatest counter and greatest timestamp: the greatest integer that a double holds without a gap below it.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The greatest `since` of a pull. It is far above the greatest timestamp, because a page may end with a raised
/// timestamp. That tells two places of a client apart (see `places`). Up to this limit, a double can hold every second
/// integer.
pub const SINCE_MAX: u64 = 1 << 54;

/// The greatest `since` that may come from the memory of another server or from a lost one. It is therefore never given
/// to the client again. Clients do not reach it, because each page takes one step of two. A client that sends its own
/// numbers leaves as many again to the server.
pub const SINCE_FOREIGN_MAX: u64 = (1 << 53) + (1 << 52);

/// The page size of a pull without a limit, in operations.
pub const PAGE_DEFAULT_OPERATIONS: usize = 100;

/// The largest page of a pull, in operations. Larger requested values are clamped.
pub const PAGE_MAX_OPERATIONS: usize = 1_000;

/// The most collections to which a pull may be limited.
pub const PULL_MAX_COLLECTIONS: usize = 100;

/// The most places in the log that a store compares for a page of a pull that is limited to some collections. There may
/// be as many places of tombstones.
pub const FEED_MAX_PLACES: usize = 20_000;

/// Largest page of a pull or a query, in bytes of JSON, one of its rows counted twice.
///
/// No single row comes near: `data` and a vector clock have 1.25 MiB, and what was lost in a conflict as much again. In
/// base64 a page stays below [`LAMBDA_ANSWER_MAX_BYTES`](super::lambda::LAMBDA_ANSWER_MAX_BYTES).
pub const PAGE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// The default and the largest page of a query, in documents. Larger requested values are clamped.
pub const QUERY_MAX_DOCUMENTS: usize = 1_000;

/// How many bytes of documents a query reads before its page ends, whether or not they match. A page reads at most one
/// document more.
pub const QUERY_MAX_EXAMINED_BYTES: usize = 64 * 1024 * 1024;

/// The cost of reading a document in addition to its data, in bytes.
pub const QUERY_DOCUMENT_OVERHEAD_BYTES: usize = 256;

/// The cost of comparing a document's value with a condition in addition to its bytes, in bytes.
pub const QUERY_COMPARISON_OVERHEAD_BYTES: usize = 32;

/// Most conditions in one filter, with those inside of others, and with the objects and arrays of its lists.
pub const FILTER_MAX_CONDITIONS: usize = 100;

/// The deepest nesting of `$and`, `$or` and `$not` in a filter, in levels.
pub const FILTER_MAX_LEVELS: usize = 8;

/// Most values in the list of `$in` or `$nin`.
pub const FILTER_LIST_MAX_VALUES: usize = 1_000;

/// How much of a value decides about its place in a sorted query, in bytes of text or digits of a number.
pub const SORT_VALUE_MAX_BYTES: usize = 512;

/// Longest path of a filter's condition, in bytes of UTF-8.
pub const FILTER_PATH_MAX_BYTES: usize = 1_024;

/// Most keys in the path of a filter's condition.
pub const FILTER_PATH_MAX_KEYS: usize = JSON_MAX_LEVELS;

/// Largest sum of the values of a filter's conditions, in bytes of their JSON.
pub const FILTER_VALUES_MAX_BYTES: usize = 64 * 1024;

/// Longest filter, in bytes of its JSON.
pub const FILTER_MAX_BYTES: usize = 512 * 1024;

/// How many places the server remembers for one original client.
pub const CLIENT_MAX_PLACES: usize = 8;

/// How old the stored time of a client's last pull may become before it is written again, in milliseconds (one hour).
pub const CLIENT_SEEN_PRECISION_MS: u64 = 60 * 60 * 1_000;

/// One day, in milliseconds.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The size of a pool's largest chunks of memory, in bytes. A chunk is freed when all texts in it are gone.
pub const TEXT_CHUNK_MAX_BYTES: usize = 64 * 1024;

/// Most labels in the rules.
pub const RULES_MAX_ENTRIES: usize = 32;

/// Longest name of a label, in bytes; the shortest is one byte.
pub const LABEL_NAME_MAX_BYTES: usize = 64;

/// Longest value of a label, in bytes of UTF-8. Longer values of a field or a claim give no label.
pub const LABEL_VALUE_MAX_BYTES: usize = 256;

/// Most labels of one name that a document has. Further elements of an array give none.
pub const LABEL_MAX_VALUES: usize = 100;

/// Most labels that the server remembers after a document has lost them. A write after which there would be more is
/// forbidden.
pub const FORMER_LABELS_MAX_ENTRIES: usize = 1_000;

/// How long the server remembers the progress of a silent client if nothing else is set, in milliseconds (90 days).
///
/// The places of an original client's `since` are kept for ever. A server that forgot which numbers it gave could give
/// one again for another place.
pub const CLIENT_FORGOTTEN_AFTER_MS: u64 = 90 * DAY_MS;
