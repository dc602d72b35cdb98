//! Every limit of the protocol and of the server's own work, in one place.
//!
//! The unit is the last word of a name. Settings may narrow a few of them (see `config`); nothing may widen them.

/// The largest request body as sent, in bytes. A larger one is answered with 413.
pub const REQUEST_BODY_MAX_BYTES: usize = 10 * 1024 * 1024;

/// The largest request body after decompression, in bytes. A larger one is answered with 413.
pub const INFLATED_BODY_MAX_BYTES: usize = 10 * 1024 * 1024;

/// The most members of a compressed request body (members of gzip, frames of zstd), because even an empty one takes
/// work.
pub const BODY_MAX_MEMBERS: usize = 10_000;

/// The largest window of a request body that is compressed with zstd, as the number of bits that address a byte in it.
/// The window is the memory that decompression needs. A window of 16 MiB has room for the largest body.
pub const ZSTD_WINDOW_MAX_BITS: u32 = 24;

/// How long a browser may rely on the answer to a preflight, in seconds.
pub const PREFLIGHT_KEPT_MAX_SECONDS: u64 = 60 * 60;

/// How many bytes of an unread body are still read before the answer is sent. Otherwise a client that is still sending
/// would see a broken connection instead of the answer.
pub const DISCARDED_BODY_MAX_BYTES: usize = 64 * 1024 * 1024;

/// How long an unread body is still read before the answer is sent, in seconds.
pub const DISCARD_TIME_MAX_SECONDS: u32 = 5;

/// The time limit of one request, in seconds. A longer one is answered with 503.
pub const REQUEST_TIME_MAX_SECONDS: u32 = 30;

/// The most operations in one push.
pub const PUSH_MAX_OPERATIONS: usize = 1_000;

/// The limit for all documents in the conflicts of one push, in bytes. A single document with its clock always fits.
pub const PUSH_CONFLICTS_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Largest `data` of an operation as sent, in bytes.
pub const DATA_MAX_BYTES: usize = 1024 * 1024;

/// Largest document as stored, in bytes of JSON.
pub const DOCUMENT_MAX_BYTES: usize = 1024 * 1024;

/// The deepest nesting of objects and arrays in `data` or in a filter's value, in levels, including the outermost one.
pub const JSON_MAX_LEVELS: usize = 64;

/// Longest id, collection or client id, in bytes of UTF-8; the shortest is one byte.
pub const NAME_MAX_BYTES: usize = 256;

/// Most clients in one vector clock.
pub const CLOCK_MAX_ENTRIES: usize = 1_000;

/// Greatest counter and greatest timestamp: the greatest integer that a double holds without a gap below it.
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// The greatest `since` of a pull. It is far above the greatest timestamp, because a page may end with a raised
/// timestamp that tells two places of a client apart (see `places`). Up to this limit, a double can hold every second
/// integer.
pub const SINCE_MAX: u64 = 1 << 54;

/// The greatest `since` that may come from the memory of another server or from one that was lost, and that is
/// therefore never given to the client again. Clients do not reach it, because each page takes one step of two. A
/// client that sends its own numbers leaves as many again to the server.
pub const SINCE_FOREIGN_MAX: u64 = (1 << 53) + (1 << 52);

/// The page size of a pull without a limit, in operations.
pub const PAGE_DEFAULT_OPERATIONS: usize = 100;

/// The largest page of a pull, in operations. Larger requested values are clamped.
pub const PAGE_MAX_OPERATIONS: usize = 1_000;

/// The largest page of a pull or a query, in bytes of JSON, with one of its rows counted twice.
///
/// No single row comes close: `data` with a vector clock of 1,000 names, in which every character is escaped, have 1.6
/// MB. In base64, a page stays below [`LAMBDA_ANSWER_MAX_BYTES`].
pub const PAGE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// The largest answer that a Lambda may return, in bytes of the JSON that contains the HTTP answer and its body as a
/// string.
pub const LAMBDA_ANSWER_MAX_BYTES: usize = 6 * 1024 * 1024;

/// The largest answer that a load balancer accepts from a Lambda, in bytes, counted like [`LAMBDA_ANSWER_MAX_BYTES`].
pub const LOAD_BALANCER_ANSWER_MAX_BYTES: usize = 1_000_000;

/// The part of a Lambda's answer that is reserved for everything except its body, in bytes: status, headers, and the
/// JSON around them.
pub const LAMBDA_HEAD_MAX_BYTES: usize = 16 * 1024;

/// The largest request body in a Lambda, in bytes, both as sent and after decompression. The answer to a push repeats
/// it, and must stay below [`LAMBDA_ANSWER_MAX_BYTES`] in base64.
pub const LAMBDA_BODY_MAX_BYTES: usize = 4 * 1024 * 1024;

/// How long before a Lambda's deadline a request is answered at the latest, in milliseconds.
pub const LAMBDA_ANSWER_MARGIN_MS: u64 = 500;

/// How long before a Lambda's deadline a scheduled compaction begins its last step at the latest, in milliseconds.
pub const LAMBDA_COMPACTION_MARGIN_MS: u64 = 10_000;

/// The most values for one metric in a line of metrics, by the embedded metric format.
pub const METRICS_LINE_MAX_VALUES: usize = 100;

/// Longest namespace of metrics, in bytes, by CloudWatch's rule.
pub const METRICS_NAMESPACE_MAX_BYTES: usize = 255;

/// How many tenants a scheduled compaction reads from the store at a time.
pub const COMPACT_LIST_MAX_TENANTS: usize = 1_000;

/// The default and the largest page of a query, in documents. Larger requested values are clamped.
pub const QUERY_MAX_DOCUMENTS: usize = 1_000;

/// How many bytes of documents a query reads before its page ends, whether or not they match. A page reads at most one
/// document more.
pub const QUERY_MAX_EXAMINED_BYTES: usize = 64 * 1024 * 1024;

/// The cost of reading a document in addition to its data, in bytes.
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

/// The most faults that a 400 names. The others are counted.
pub const ERROR_MAX_FAULTS: usize = 20;

/// The longest request id that is accepted from a client, in bytes. A longer one is replaced.
pub const REQUEST_ID_MAX_BYTES: usize = 128;

/// Most connections that the local server holds open, if it may open so many files.
pub const SERVER_MAX_CONNECTIONS: usize = 4_096;

/// Files that the local server keeps for itself when it decides how many connections it takes; the store's are added.
pub const RESERVED_FILES: usize = 150;

/// Most connections of one address, of a /64 of IPv6, if no setting says otherwise.
pub const ADDRESS_DEFAULT_CONNECTIONS: u32 = 100;

/// Most connections that are told that there is no room for them at the same time; others are closed without a word.
pub const REFUSED_MAX_CONNECTIONS: usize = 64;

/// How long such a connection stays open, so that its client reads the answer, in milliseconds.
pub const REFUSED_TIME_MAX_MS: u64 = 1_000;

/// How much such a connection may send meanwhile, in bytes.
pub const REFUSED_READ_MAX_BYTES: usize = 64 * 1024;

/// Longest head of a request, and what a connection of HTTP/1 holds of what comes or goes, in bytes.
pub const CONNECTION_BUFFER_MAX_BYTES: usize = 32 * 1024;

/// How much of a body may come over HTTP/2 before somebody reads it, in bytes: for each request and for all of them.
pub const STREAM_WINDOW_MAX_BYTES: u32 = 128 * 1024;

/// How long a connection may be idle, and how long a client may stop reading an answer, in seconds.
pub const CONNECTION_IDLE_TIME_MAX_SECONDS: u32 = 75;

/// How long a client may take to read an answer while it continues to read, in seconds.
pub const CONNECTION_ANSWER_TIME_MAX_SECONDS: u32 = 300;

/// How long one request may take from its head until its answer is passed to the connection, in seconds.
pub const CONNECTION_EXCHANGE_TIME_MAX_SECONDS: u32 = 120;

/// How long a connection that has reached a limit may take to close if no request is in progress, in seconds.
pub const CONNECTION_CLOSE_TIME_MAX_SECONDS: u32 = 1;

/// The most connections beyond [`SERVER_MAX_CONNECTIONS`] that were told to close and have not done so yet.
pub const LEAVING_MAX_CONNECTIONS: usize = 50;

/// The most simultaneous requests over one connection of HTTP/2.
pub const CONNECTION_MAX_REQUESTS: u32 = 32;

/// How long a client may take to send the head of a request, and to answer a ping, in seconds.
pub const REQUEST_HEAD_TIME_MAX_SECONDS: u32 = 30;

/// How long the local server waits for requests in progress when it is told to stop, in seconds.
pub const STOP_TIME_MAX_SECONDS: u32 = REQUEST_TIME_MAX_SECONDS + 1;

/// How long after it was told to stop the local server ends, whatever still runs, in seconds.
pub const STOP_END_MAX_SECONDS: u32 = REQUEST_TIME_MAX_SECONDS + 4;

/// How long a connection may be inactive while the local server stops, in seconds.
pub const STOP_QUIET_TIME_SECONDS: u32 = 5;

/// The pause after a connection could not be accepted, in milliseconds. Usually the process has too many open files
/// then.
pub const ACCEPT_PAUSE_MS: u64 = 100;

/// The longest part of a client's text that an error repeats, in characters.
pub const EXCERPT_MAX_CHARACTERS: usize = 120;

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

/// How many places the server remembers for one original client.
pub const CLIENT_MAX_PLACES: usize = 8;

/// How long the server remembers the progress of a silent client, in milliseconds (90 days). The places of an original
/// client's `since` are kept for ever: a server that forgot which numbers it gave could give one again for another
/// place.
pub const CLIENT_FORGOTTEN_AFTER_MS: u64 = 90 * DAY_MS;

/// How long a silent client is included in the statistics, in milliseconds (30 days).
pub const CLIENT_ACTIVE_MS: u64 = 30 * DAY_MS;

/// How old the stored time of a client's last pull may become before it is written again, in milliseconds (one hour).
pub const CLIENT_SEEN_PRECISION_MS: u64 = 60 * 60 * 1_000;

/// How long a pull waits for a write that only the statistics need, in milliseconds. After that it is answered without
/// the write.
pub const NOTE_TIME_MAX_MS: u64 = 500;

/// The default age of the log entries that a compaction removes, in days.
pub const COMPACT_DEFAULT_DAYS: f64 = 30.0;

/// The most log entries that one step of a compaction removes. A push waits for at most one step.
pub const COMPACT_STEP_MAX_ENTRIES: usize = 1_000;

/// How far the clocks of two servers may differ, in milliseconds. A time of reception that is further ahead comes from
/// a wrong clock, and a compaction sets it to now.
pub const CLOCKS_APART_MAX_MS: u64 = 60_000;

/// How long one compaction request works before it answers and leaves the rest, in milliseconds.
pub const COMPACT_TIME_MAX_MS: u64 = 20_000;

/// How long a client should wait before it tries again, in seconds.
pub const RETRY_AFTER_SECONDS: u64 = 1;

/// One day, in milliseconds.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// How long a store tries to connect to its database server, in milliseconds.
pub const STORE_CONNECT_TIME_MAX_MS: u64 = 5_000;

/// How many logins a store tries for one new connection. After a refusal the login is read again from its source,
/// because it may have been rotated.
pub const LOGIN_MAX_ATTEMPTS: u32 = 2;

/// How long a secret is not read again after it was read, in milliseconds, even if the database refuses it. Without
/// this pause, a database that refuses every login would cause a call to AWS for every request.
pub const SECRET_READ_PAUSE_MS: u64 = 1_000;

/// The first pause before a store that did not answer at the start is checked again, in milliseconds. Each further
/// pause is twice as long.
pub const STORE_RETRY_PAUSE_MIN_MS: u64 = 500;

/// The longest such pause, in milliseconds.
pub const STORE_RETRY_PAUSE_MAX_MS: u64 = 15_000;

/// The largest file with a secret, or `.env` file, in bytes.
pub const SECRET_FILE_MAX_BYTES: usize = 64 * 1024;

/// The time limit of one call to AWS, in milliseconds.
pub const AWS_CALL_TIME_MAX_MS: u64 = 2_000;

/// How often a call to AWS is made if no answer of the service comes.
pub const AWS_CALL_MAX_ATTEMPTS: u32 = 2;

/// The largest accepted answer of AWS, in bytes. A secret has at most 64 KiB.
pub const AWS_ANSWER_MAX_BYTES: usize = 1024 * 1024;

/// How long an authentication token of RDS is valid, in seconds. RDS allows no more.
pub const RDS_TOKEN_TIME_MAX_SECONDS: u64 = 15 * 60;

/// How long a request waits for a free connection to the database server, in milliseconds.
pub const STORE_WAIT_TIME_MAX_MS: u64 = 5_000;

/// The time limit of the database server for one statement, in milliseconds.
pub const STORE_STATEMENT_TIME_MAX_MS: u64 = 10_000;

/// How long after its last use a connection to the database server is trusted to be alive, in milliseconds. After that
/// it is checked first, or replaced.
pub const STORE_IDLE_TRUSTED_MS: u64 = 10_000;

/// The time limit for the check whether a connection is alive, in milliseconds.
pub const STORE_PROBE_TIME_MAX_MS: u64 = 1_000;

/// The most documents that a store fetches at once for a query, to look for matching ones.
pub const QUERY_FETCH_MAX_DOCUMENTS: usize = 1_000;

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

/// The largest token that is read, in bytes.
pub const TOKEN_MAX_BYTES: usize = 8 * 1024;

/// How far the clock of a token's issuer may differ from the server's, in milliseconds.
pub const TOKEN_LEEWAY_MS: u64 = 30_000;

/// Shortest secret that signs tokens, in bytes. Source: RFC 7518, section 3.2.
pub const HS256_SECRET_MIN_BYTES: usize = 32;

/// Largest set of keys that is read, in bytes.
pub const JWKS_MAX_BYTES: usize = 64 * 1024;

/// Most keys of a set.
pub const JWKS_MAX_ENTRIES: usize = 100;

/// Largest file of static tokens, in bytes.
pub const TOKENS_FILE_MAX_BYTES: usize = 1024 * 1024;

/// How long the file of static tokens is trusted until it is read again, in milliseconds.
pub const TOKENS_FILE_TRUSTED_MS: u64 = 1_000;

/// Most memory for tokens that were verified, in bytes.
pub const VERIFIED_TOKENS_MAX_BYTES: usize = 4 * 1024 * 1024;

/// How long a token from `token dev` is valid, in seconds.
pub const DEV_TOKEN_TIME_SECONDS: u64 = 60 * 60;

/// How long fetched keys are used before they are fetched again in the background, in milliseconds.
pub const JWKS_FRESH_MS: u64 = 5 * 60 * 1_000;

/// How long fetched keys are used before a request waits for new ones, in milliseconds.
pub const JWKS_TRUSTED_MS: u64 = 10 * 60 * 1_000;

/// The least time between two fetches of keys, in milliseconds, whichever unknown keys tokens name.
pub const JWKS_FETCH_PAUSE_MS: u64 = 30_000;

/// The least time between two fetches while no keys are known at all, in milliseconds.
pub const JWKS_FIRST_FETCH_PAUSE_MS: u64 = 1_000;

/// The time limit of a fetch of keys, in milliseconds.
pub const JWKS_FETCH_TIME_MAX_MS: u64 = 5_000;

/// Memory that request bodies, answers and what inflates and compresses them may take together, in bytes, if no setting
/// says otherwise.
pub const MEMORY_DEFAULT_BYTES: usize = 256 * 1024 * 1024;

/// Least memory that a setting may give them, in bytes: one request may take 40 MiB.
pub const MEMORY_MIN_BYTES: usize = 64 * 1024 * 1024;

/// Greatest memory that a setting may give them, in bytes.
pub const MEMORY_MAX_BYTES: usize = 64 * 1024 * 1024 * 1024;

/// How long a request waits for its share of the memory, in milliseconds; then it is answered with 503.
pub const ROOM_WAIT_MAX_MS: u64 = 2_000;

/// How often somebody who waits for memory closes a connection that holds some, in milliseconds.
pub const ROOM_PAUSE_MS: u64 = 50;

/// How long a request may hold memory while the server waits for its client before its connection may be closed for
/// others that find no room, in milliseconds.
pub const ROOM_HELD_MIN_MS: u64 = 1_000;

/// Most requests at once.
pub const SERVER_MAX_REQUESTS: usize = 1_000;

/// Memory that is kept for the answer to a pull or a query before the work on it begins, in bytes.
pub const READ_RESERVED_BYTES: usize = PAGE_MAX_BYTES;

/// Memory that is kept for the answer to a push besides that of its body, in bytes.
pub const PUSH_RESERVED_BYTES: usize = 512 * 1024;

/// Memory that a decoder of brotli or zstd takes at most, in bytes: its window of 16 MiB, and tables.
pub const DECODER_MAX_BYTES: usize = 17 * 1024 * 1024;

/// Memory that a decoder of gzip or deflate takes at most, in bytes.
pub const SMALL_DECODER_MAX_BYTES: usize = 64 * 1024;

/// Memory that compressing an answer takes at least, in bytes.
pub const ENCODER_BASE_BYTES: usize = 512 * 1024;

/// Memory that compressing an answer takes at most, in bytes.
pub const ENCODER_MAX_BYTES: usize = 8 * 1024 * 1024;

/// How large every body may become when it is decompressed, in bytes.
pub const INFLATED_FREE_BYTES: usize = 1024 * 1024;

/// How large a larger body may become for each byte of it that was sent, in bytes.
pub const INFLATED_PER_BYTE_MAX_BYTES: usize = 200;

/// Requests a second of one principal of a server that strangers reach, if no setting says otherwise.
pub const PRINCIPAL_DEFAULT_RATE_REQUESTS: u32 = 50;

/// Requests a second from one address to a server that strangers reach, if no setting says otherwise.
pub const ADDRESS_DEFAULT_RATE_REQUESTS: u32 = 200;

/// Greatest rate that a setting may give, in requests a second.
pub const RATE_MAX_REQUESTS: u32 = 1_000_000;

/// For how long somebody who has been silent may ask at once what the rate allows, in seconds.
pub const RATE_BURST_SECONDS: u32 = 10;

/// Most principals, and most addresses, whose last requests are remembered.
pub const RATE_MAX_KEYS: usize = 20_000;

/// How many lines of the log may wait to be written, in bytes; more are lost and counted.
pub const LOG_QUEUE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// How long the log is written after the server has ended, in milliseconds.
pub const LOG_END_TIME_MAX_MS: u64 = 1_000;

/// Longest path and method of a request in the log, in characters.
pub const LOG_PATH_MAX_CHARACTERS: usize = 256;
