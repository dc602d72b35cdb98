//! Every limit of the protocol and of the server's own work, in one place.
//!
//! The unit is the last word of a name. Settings may narrow a few of them (see `config`); nothing may widen them.

/// Largest request body as it travels, in bytes; a larger one is answered with 413.
pub const REQUEST_BODY_MAX_BYTES: usize = 10 * 1024 * 1024;

/// Largest request body after its content encoding was undone, in bytes; a larger one is answered with 413.
pub const INFLATED_BODY_MAX_BYTES: usize = 10 * 1024 * 1024;

/// Most members of a compressed request body (of gzip, or frames of zstd), since even one with nothing in it takes work.
pub const BODY_MAX_MEMBERS: usize = 10_000;

/// Largest window of a request body that is compressed with zstd, which is the memory that inflating it takes: so many
/// bits address a byte in it. A window of 16 MiB has room for the largest body.
pub const ZSTD_WINDOW_MAX_BITS: u32 = 24;

/// How long a browser may rely on the answer to a preflight, in seconds.
pub const PREFLIGHT_KEPT_MAX_SECONDS: u64 = 60 * 60;

/// How much of a body that nobody wants is still read before the answer goes out, in bytes: a client that is not listened
/// to any more would see a broken connection in place of the answer.
pub const DISCARDED_BODY_MAX_BYTES: usize = 64 * 1024 * 1024;

/// How long a body that nobody wants is still read before the answer goes out, in seconds.
pub const DISCARD_TIME_MAX_SECONDS: u32 = 5;

/// How long one request may take, in seconds; a longer one is answered with 503.
pub const REQUEST_TIME_MAX_SECONDS: u32 = 30;

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
/// base64 a page stays below [`LAMBDA_ANSWER_MAX_BYTES`].
pub const PAGE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// Largest answer that a Lambda may return, in bytes: the JSON around the HTTP answer, with its body as a string in it.
pub const LAMBDA_ANSWER_MAX_BYTES: usize = 6 * 1024 * 1024;

/// Largest answer that a load balancer takes from a Lambda, in bytes, counted like [`LAMBDA_ANSWER_MAX_BYTES`].
pub const LOAD_BALANCER_ANSWER_MAX_BYTES: usize = 1_000_000;

/// What of a Lambda's answer is left to everything but its body, in bytes: status, headers, and the JSON around them.
pub const LAMBDA_HEAD_MAX_BYTES: usize = 16 * 1024;

/// Largest request body in a Lambda, in bytes, as sent and inflated: a push is answered with as much, and that has to
/// stay below [`LAMBDA_ANSWER_MAX_BYTES`] in base64.
pub const LAMBDA_BODY_MAX_BYTES: usize = 4 * 1024 * 1024;

/// How long before a Lambda's deadline a request is answered at the latest, in milliseconds.
pub const LAMBDA_ANSWER_MARGIN_MS: u64 = 500;

/// How long before a Lambda's deadline a scheduled compaction begins no further step, in milliseconds.
pub const LAMBDA_COMPACTION_MARGIN_MS: u64 = 10_000;

/// Most values that a line of metrics may have for one metric, by the embedded metric format.
pub const METRICS_LINE_MAX_VALUES: usize = 100;

/// Longest namespace of metrics, in bytes, by CloudWatch's rule.
pub const METRICS_NAMESPACE_MAX_BYTES: usize = 255;

/// How many tenants a scheduled compaction asks the store for at a time.
pub const COMPACT_LIST_MAX_TENANTS: usize = 1_000;

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

/// Most faults that one 400 names; the rest are counted.
pub const ERROR_MAX_FAULTS: usize = 20;

/// Longest request id that is taken from a client, in bytes; a longer one is replaced.
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

/// How long a connection may be idle, and how long a client may read nothing of an answer, in seconds.
pub const CONNECTION_IDLE_TIME_MAX_SECONDS: u32 = 75;

/// How long a client may take to read an answer that it goes on reading, in seconds.
pub const CONNECTION_ANSWER_TIME_MAX_SECONDS: u32 = 300;

/// How long one request may take from its head until its answer is handed to the connection, in seconds.
pub const CONNECTION_EXCHANGE_TIME_MAX_SECONDS: u32 = 120;

/// How long a connection that has reached a limit may take to close if no request is in flight, in seconds.
pub const CONNECTION_CLOSE_TIME_MAX_SECONDS: u32 = 1;

/// Most connections beyond [`SERVER_MAX_CONNECTIONS`] that have been told to close and have not done so yet.
pub const LEAVING_MAX_CONNECTIONS: usize = 50;

/// Most requests at once over one connection of HTTP/2.
pub const CONNECTION_MAX_REQUESTS: u32 = 32;

/// How long a client may take to send the head of a request, and to answer when it is asked whether it is still there, in
/// seconds.
pub const REQUEST_HEAD_TIME_MAX_SECONDS: u32 = 30;

/// How long the local server waits for what is in flight when it is told to stop, in seconds.
pub const STOP_TIME_MAX_SECONDS: u32 = REQUEST_TIME_MAX_SECONDS + 1;

/// How long after it was told to stop the local server ends, whatever still runs, in seconds.
pub const STOP_END_MAX_SECONDS: u32 = REQUEST_TIME_MAX_SECONDS + 4;

/// How long a connection may do nothing, while the local server stops, until it is closed, in seconds.
pub const STOP_QUIET_TIME_SECONDS: u32 = 5;

/// Pause after a connection could not be accepted, in milliseconds: as a rule because the process has no more files.
pub const ACCEPT_PAUSE_MS: u64 = 100;

/// Longest excerpt of what a client sent that an error repeats, in characters.
pub const EXCERPT_MAX_CHARACTERS: usize = 120;

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

/// How many places the server remembers of one legacy client.
pub const CLIENT_MAX_PLACES: usize = 8;

/// How long the server remembers how far a silent client has pulled, in milliseconds (90 days). What the `since` of a
/// legacy client stand for is kept for ever: who forgot which numbers were given could give one for another place.
pub const CLIENT_FORGOTTEN_AFTER_MS: u64 = 90 * DAY_MS;

/// How long a silent client counts in the statistics, in milliseconds (30 days).
pub const CLIENT_ACTIVE_MS: u64 = 30 * DAY_MS;

/// How stale the time of a client's last pull may become before it is written again, in milliseconds (one hour).
pub const CLIENT_SEEN_PRECISION_MS: u64 = 60 * 60 * 1_000;

/// How long a pull waits for a note that only the statistics use, in milliseconds; it is answered without it then.
pub const NOTE_TIME_MAX_MS: u64 = 500;

/// Age of the log entries that a compaction removes when it is not told, in days.
pub const COMPACT_DEFAULT_DAYS: f64 = 30.0;

/// Most log entries that one step of a compaction removes; a push waits for one step at most.
pub const COMPACT_STEP_MAX_ENTRIES: usize = 1_000;

/// How far the clocks of two servers may be apart, in milliseconds. A time of reception that is further ahead was written
/// under a wrong clock, and a compaction sets it to now.
pub const CLOCKS_APART_MAX_MS: u64 = 60_000;

/// How long one compaction request works before it answers and leaves the rest, in milliseconds.
pub const COMPACT_TIME_MAX_MS: u64 = 20_000;

/// What a client is told to wait before it tries again, in seconds.
pub const RETRY_AFTER_SECONDS: u64 = 1;

/// One day, in milliseconds.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// How long a store tries to connect to its database server, in milliseconds.
pub const STORE_CONNECT_TIME_MAX_MS: u64 = 5_000;

/// How many logins a store tries for one new connection: what the database refuses is read once more where it is kept,
/// since it may have been rotated.
pub const LOGIN_MAX_ATTEMPTS: u32 = 2;

/// How long a secret that was read counts as what there is, in milliseconds, even where the database refuses it; without
/// this pause a database that refuses everything would make a call to AWS of every request.
pub const SECRET_READ_PAUSE_MS: u64 = 1_000;

/// The first pause before a store that did not answer at the start is asked again, in milliseconds; each further one is
/// twice as long.
pub const STORE_RETRY_PAUSE_MIN_MS: u64 = 500;

/// The longest such pause, in milliseconds.
pub const STORE_RETRY_PAUSE_MAX_MS: u64 = 15_000;

/// Largest file that a secret or a `.env` is read from, in bytes.
pub const SECRET_FILE_MAX_BYTES: usize = 64 * 1024;

/// How long one call to AWS may take, in milliseconds.
pub const AWS_CALL_TIME_MAX_MS: u64 = 2_000;

/// How often a call to AWS is made that fails without an answer of its own.
pub const AWS_CALL_MAX_ATTEMPTS: u32 = 2;

/// Largest answer of AWS to a call, in bytes; a secret has at most 64 KiB.
pub const AWS_ANSWER_MAX_BYTES: usize = 1024 * 1024;

/// How long RDS takes an authentication token, in seconds; it allows no longer.
pub const RDS_TOKEN_TIME_MAX_SECONDS: u64 = 15 * 60;

/// How long a request waits for a free connection to the database server, in milliseconds.
pub const STORE_WAIT_TIME_MAX_MS: u64 = 5_000;

/// How long the database server may take for one statement, in milliseconds.
pub const STORE_STATEMENT_TIME_MAX_MS: u64 = 10_000;

/// How long after its last use a connection to the database server is trusted to be alive, in milliseconds; one that has
/// been silent for longer is asked first, or replaced.
pub const STORE_IDLE_TRUSTED_MS: u64 = 10_000;

/// How long a connection that is asked whether it is alive may take to answer, in milliseconds.
pub const STORE_PROBE_TIME_MAX_MS: u64 = 1_000;

/// Most documents of a query that a store fetches at once to look for those that match.
pub const QUERY_FETCH_MAX_DOCUMENTS: usize = 1_000;

/// How often the store on MongoDB makes a transaction again that failed for another reason than somebody else's.
pub const STORE_TRANSACTION_MAX_ATTEMPTS: u32 = 5;

/// How long the store on MongoDB makes a transaction again while those of others are in its way, in milliseconds.
pub const STORE_CONFLICT_TIME_MAX_MS: u64 = 12_000;

/// Longest pause between two transactions of one commit on MongoDB, in milliseconds.
pub const STORE_CONFLICT_PAUSE_MAX_MS: u64 = 40;

/// How often a writer on MongoDB shows that it is alive while its transaction is open, in milliseconds.
pub const STORE_WRITER_BEAT_MS: u64 = 300;

/// How long a writer on MongoDB may be silent while nothing moves before its transaction is ended by those who wait for
/// it, in milliseconds. So a writer that dies holds up others for less than 5 s.
pub const STORE_WRITER_SILENT_MAX_MS: u64 = 2_000;

/// How long a writer on MongoDB is known after it has last shown itself, in seconds.
pub const STORE_WRITER_FORGOTTEN_AFTER_SECONDS: u64 = 60 * 60;

/// Largest token that is read, in bytes.
pub const TOKEN_MAX_BYTES: usize = 8 * 1024;

/// How far the clock of whoever makes tokens may be from the server's, in milliseconds.
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

/// How long a token is valid that is made for trying out, in seconds.
pub const DEV_TOKEN_TIME_SECONDS: u64 = 60 * 60;

/// How long fetched keys are used until they are fetched again in the background, in milliseconds.
pub const JWKS_FRESH_MS: u64 = 5 * 60 * 1_000;

/// How long fetched keys are used without asking their provider again, in milliseconds.
pub const JWKS_TRUSTED_MS: u64 = 10 * 60 * 1_000;

/// Time between two fetches of keys, in milliseconds, whatever unknown keys tokens name.
pub const JWKS_FETCH_PAUSE_MS: u64 = 30_000;

/// Time between two fetches as long as no keys are known at all, in milliseconds.
pub const JWKS_FIRST_FETCH_PAUSE_MS: u64 = 1_000;

/// How long a fetch of keys may take, in milliseconds.
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
