//! Limits of calls to AWS.

/// How long a secret is not read again after it was read, in milliseconds, even if the database refuses it. Without
/// this pause, a database that refuses every login would cause a call to AWS for every request.
pub const SECRET_READ_PAUSE_MS: u64 = 1_000;

/// The time limit of one call to AWS, in milliseconds.
pub const AWS_CALL_TIME_MAX_MS: u64 = 2_000;

/// How often a call to AWS is made if no answer of the service comes.
pub const AWS_CALL_MAX_ATTEMPTS: u32 = 2;

/// The largest accepted answer of AWS, in bytes. A secret has at most 64 KiB.
pub const AWS_ANSWER_MAX_BYTES: usize = 1024 * 1024;

/// How long an authentication token of RDS is valid, in seconds. RDS allows no more.
pub const RDS_TOKEN_TIME_MAX_SECONDS: u64 = 15 * 60;

/// The longest part of a channel of AppSync Events, in bytes.
pub const APPSYNC_SEGMENT_MAX_BYTES: usize = 50;
