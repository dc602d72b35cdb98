//! Limits of the server's own work: connections, phases of a request, files of tokens, keys of providers.

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

/// How much less than the time limit of a request it may wait for changes, in seconds. The reads before and after need
/// some time too.
pub const WAIT_MARGIN_SECONDS: u32 = 5;

/// How long a connection may take to read a stream of events, in seconds. The stream itself ends earlier.
pub const STREAM_TIME_MAX_SECONDS: u32 = 12 * 60;

/// The longest request id that is accepted from a client, in bytes. A longer one is replaced.
pub const REQUEST_ID_MAX_BYTES: usize = 128;

/// Most connections that the local server holds open if no setting says otherwise, and if it may open so many files.
pub const SERVER_DEFAULT_CONNECTIONS: u32 = 4_096;

/// Most connections that the settings may allow: more than there may be streams of events.
pub const SERVER_MAX_CONNECTIONS: u32 = 16_384;

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

/// How long a connection may be idle, in seconds.
pub const CONNECTION_IDLE_TIME_MAX_SECONDS: u32 = 75;

/// How long a client may read nothing of an answer, in seconds. The memory of such an answer is free again within a
/// minute.
pub const CONNECTION_STALL_TIME_MAX_SECONDS: u32 = 50;

/// The size of the pieces in which an answer is compressed and sent, in bytes. Between two pieces, others have their
/// turn, and the server sees whether the client reads.
pub const ANSWER_PIECE_BYTES: usize = 64 * 1024;

/// How long a client may take to read an answer while it continues to read, in seconds.
pub const CONNECTION_ANSWER_TIME_MAX_SECONDS: u32 = 300;

/// How long one request may take from its head to the beginning of its answer, in seconds.
pub const CONNECTION_EXCHANGE_TIME_MAX_SECONDS: u32 = 120;

/// How long a connection that has reached a limit may take to close if no request is in progress, in seconds.
pub const CONNECTION_CLOSE_TIME_MAX_SECONDS: u32 = 1;

/// The most connections beyond those that there may be that were told to close and have not done so yet.
pub const LEAVING_MAX_CONNECTIONS: usize = 50;

/// The most simultaneous requests over one connection of HTTP/2.
pub const CONNECTION_MAX_REQUESTS: u32 = 32;

/// How long a client may take to send the head of a request, and to answer a ping, in seconds.
pub const REQUEST_HEAD_TIME_MAX_SECONDS: u32 = 30;

/// How long the local server waits for requests in progress when it is told to stop, in seconds.
pub const STOP_TIME_MAX_SECONDS: u32 = REQUEST_TIME_MAX_SECONDS + 1;

/// How long after it was told to stop the local server ends, whatever still runs, in seconds.
pub const STOP_END_MAX_SECONDS: u32 = REQUEST_TIME_MAX_SECONDS + 4;

/// How long the local server waits at its end for threads that are blocked, such as by the look-up of a host's address,
/// in milliseconds.
pub const THREADS_END_TIME_MAX_MS: u64 = 1_000;

/// How long a connection may be inactive while the local server stops, in seconds.
pub const STOP_QUIET_TIME_SECONDS: u32 = 5;

/// The pause after a connection could not be accepted, in milliseconds. Usually the process has too many open files
/// then.
pub const ACCEPT_PAUSE_MS: u64 = 100;

/// The first pause before a store that did not answer at the start is checked again, in milliseconds. Each further
/// pause is twice as long.
pub const STORE_RETRY_PAUSE_MIN_MS: u64 = 500;

/// The longest such pause, in milliseconds.
pub const STORE_RETRY_PAUSE_MAX_MS: u64 = 15_000;

/// Largest file of static tokens, in bytes.
pub const TOKENS_FILE_MAX_BYTES: usize = 1024 * 1024;

/// How long the file of static tokens, or that of keys, is trusted until it is read again, in milliseconds.
pub const ACCESS_FILE_TRUSTED_MS: u64 = 1_000;

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
pub const MEMORY_MAX_BYTES: usize = if usize::BITS > 32 { 64 << 30 } else { 1 << 30 };

/// How long a request waits for its share of the memory, in milliseconds; then it is answered with 503.
pub const ROOM_WAIT_MAX_MS: u64 = 2_000;

/// How often somebody who waits for memory closes a connection that holds some, in milliseconds.
pub const ROOM_PAUSE_MS: u64 = 50;

/// How long a request may hold memory while the server waits for its client, in milliseconds. Afterwards its connection
/// may be closed for others that find no room.
pub const ROOM_HELD_MIN_MS: u64 = 1_000;

/// Most requests at once.
pub const SERVER_MAX_REQUESTS: usize = 1_000;

/// Memory that is kept for the answer to a pull or a query before the work on it begins, in bytes.
pub const READ_RESERVED_BYTES: usize = super::protocol::PAGE_MAX_BYTES;

/// Memory that is kept for the answer to a request for one document or for numbers, in bytes.
pub const DOCUMENT_RESERVED_BYTES: usize = 2 * 1024 * 1024;

/// Memory that is kept for the answer to a push besides that of its body, in bytes.
pub const PUSH_RESERVED_BYTES: usize = 512 * 1024;

/// The part of the memory that only pushes take, for their work, in bytes.
pub const PUSH_LANE_BYTES: usize = 8 * PUSH_RESERVED_BYTES;

/// Memory of every request that is not counted, in bytes, because [`SERVER_MAX_REQUESTS`] bounds it.
pub const REQUEST_FREE_BYTES: usize = 16 * 1024;

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

/// The most connections that the listener for metrics and probes serves at the same time.
pub const METRICS_MAX_CONNECTIONS: usize = 16;

/// How long such a connection may take from its beginning to its end, in milliseconds.
pub const METRICS_CONNECTION_TIME_MAX_MS: u64 = 10_000;

/// The longest head of a request for metrics, in bytes.
pub const METRICS_CONNECTION_BUFFER_MAX_BYTES: usize = 16 * 1024;

/// The pause between two turns of the survey that the gauges of logs and clients come from, in milliseconds.
pub const SURVEY_PAUSE_MS: u64 = 60_000;

/// The most tenants that one turn of this survey reads.
pub const SURVEY_TURN_MAX_TENANTS: usize = 200;

/// The most tenants that this survey reads before it begins again with the first.
pub const SURVEYED_MAX_TENANTS: usize = 10_000;

/// The longest time for which a server that was told to stop still takes requests, in seconds.
pub const DRAIN_MAX_SECONDS: u32 = 20;

/// The longest time between two scheduled compactions that a setting may give, in hours: a year.
pub const SCHEDULE_MAX_HOURS: u32 = 24 * 366;

/// The longest time that a setting of retention may give, in days: a hundred years.
pub const RETENTION_MAX_DAYS: u64 = 36_500;

/// How many lines of the log may wait to be written, in bytes; more are lost and counted. Lines that are being written
/// are as many again at most.
pub const LOG_QUEUE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// How much memory is kept for lines of the log after they are written, in bytes.
pub const LOG_BUFFER_KEPT_BYTES: usize = 64 * 1024;

/// The most lines of the log that are written at once, in bytes. A pipe takes so many as a whole.
pub const LOG_PIECE_BYTES: usize = 4 * 1024;

/// How long lines of the log are collected after some were written, in milliseconds.
pub const LOG_PAUSE_MS: u64 = 5;

/// How long the log is written after the server has ended, in milliseconds.
pub const LOG_END_TIME_MAX_MS: u64 = 1_000;

/// Longest path and method of a request in the log, in characters.
pub const LOG_PATH_MAX_CHARACTERS: usize = 256;

/// The most long calculations that a host does at the same time.
pub const WORK_MAX_THREADS: usize = 2;

/// The longest name of the service in traces, in bytes.
pub const SERVICE_NAME_MAX_BYTES: usize = 256;

/// The most spans of traces that wait to be sent; more are lost and counted. The spans of one request to the collector
/// are as many again at most.
pub const TRACE_QUEUE_MAX_ENTRIES: usize = 2_048;

/// The most links of a span to other spans, which bound its size.
pub const TRACE_LINKS_MAX_ENTRIES: u32 = 32;

/// The most attributes of a span.
pub const TRACE_ATTRIBUTES_MAX_ENTRIES: u32 = 16;

/// How long spans are collected before they are sent, and the first pause before they are sent again, in milliseconds.
pub const TRACE_PAUSE_MS: u64 = 1_000;

/// How often the same spans are sent if the collector cannot take them.
pub const TRACE_EXPORT_MAX_ATTEMPTS: u32 = 3;

/// The time limit for a request to the collector, in milliseconds.
pub const TRACE_EXPORT_TIME_MAX_MS: u64 = 10_000;

/// The longest answer of the collector that is read, in bytes.
pub const TRACE_ANSWER_MAX_BYTES: usize = 64 * 1024;

/// The least time between two lines of the log about spans that could not be sent, in milliseconds.
pub const TRACE_WARNING_PAUSE_MS: u64 = 60_000;

/// How long spans are still sent after the server has ended, in milliseconds.
pub const TRACE_END_TIME_MAX_MS: u64 = 1_000;
