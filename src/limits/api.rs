//! Limits of requests and answers as HTTP carries them.

/// The largest request body as sent, in bytes. A larger one is answered with 413.
pub const REQUEST_BODY_MAX_BYTES: usize = 10 * 1024 * 1024;

/// The largest request body after decompression, in bytes. A larger one is answered with 413.
pub const INFLATED_BODY_MAX_BYTES: usize = 10 * 1024 * 1024;

/// Largest request body in a Lambda, in bytes, as sent and inflated. A push is answered with as much, which must stay
/// below [`LAMBDA_ANSWER_MAX_BYTES`](super::lambda::LAMBDA_ANSWER_MAX_BYTES) in base64.
pub const LAMBDA_BODY_MAX_BYTES: usize = 4 * 1024 * 1024;

/// The most faults that a 400 names. The others are counted.
pub const ERROR_MAX_FAULTS: usize = 20;

/// The longest names of faulty fields in a line of the log, in characters.
pub const LOG_FIELDS_MAX_CHARACTERS: usize = 512;

/// The longest part of a client's text that an error repeats, in characters.
pub const EXCERPT_MAX_CHARACTERS: usize = 120;

/// The most faults that the refusal of one operation of a partial push names. The others are counted.
pub const REFUSED_MAX_FAULTS: usize = 5;

/// Room in an answer for the refusal of one operation of a partial push without faults in its fields, in bytes.
pub const REFUSED_MAX_BYTES: usize = 1024;

/// The default age of the log entries that a compaction removes, in days.
pub const COMPACT_DEFAULT_DAYS: f64 = 30.0;

/// How long one compaction request works before it answers and leaves the rest, in milliseconds.
pub const COMPACT_TIME_MAX_MS: u64 = 20_000;

/// The clients of a page of clients, if the request does not say how many.
pub const CLIENTS_DEFAULT_ENTRIES: usize = 100;

/// The most clients of a page of clients.
pub const CLIENTS_MAX_ENTRIES: usize = 1_000;
/// How long a probe of readiness waits for the store, in milliseconds.
pub const READY_TIME_MAX_MS: u64 = 2_000;

/// The longest time that a pull waits for changes, in seconds.
pub const WAIT_MAX_SECONDS: u64 = 25;

/// The most pulls that wait for changes. A further one is answered at once.
pub const WAITS_MAX_REQUESTS: usize = 500;

/// The most pulls of one subject that wait for changes. A further one is answered at once.
pub const SUBJECT_WAITS_MAX_REQUESTS: usize = 50;

/// The shortest time between two reads of a pull that waits, in milliseconds.
pub const WAIT_READ_PAUSE_MS: u64 = 100;

/// The most streams of events, if the settings do not say otherwise.
pub const STREAMS_DEFAULT_REQUESTS: u32 = 500;

/// The most streams of events that the settings may allow.
pub const STREAMS_MAX_REQUESTS: u32 = 10_000;

/// The most streams of events of one subject.
pub const SUBJECT_STREAMS_MAX_REQUESTS: usize = 10;

/// How long a client should wait before it tries again to open a stream, in seconds.
pub const STREAM_RETRY_AFTER_SECONDS: u64 = 10;

/// The shortest time between two events of a stream, in milliseconds.
pub const STREAM_EVENT_PAUSE_MS: u64 = 100;

/// After how long without an event a stream has a comment, in milliseconds.
pub const STREAM_COMMENT_MS: u64 = 20_000;

/// How much earlier or later the comment may come, in milliseconds.
pub const STREAM_COMMENT_JITTER_MS: u64 = 2_000;

/// How old a stream becomes, in milliseconds.
pub const STREAM_AGE_MS: u64 = 10 * 60 * 1_000;

/// How much earlier or later a stream may end, in milliseconds.
pub const STREAM_AGE_JITTER_MS: u64 = 60_000;

/// The shortest time after which the client of a stream should connect again, in milliseconds.
pub const STREAM_RETRY_MS: u64 = 2_000;

/// How much longer that time may be, in milliseconds, so that not all clients come back at once.
pub const STREAM_RETRY_JITTER_MS: u64 = 4_000;

/// How long a client should wait before it tries again, in seconds.
pub const RETRY_AFTER_SECONDS: u64 = 1;
