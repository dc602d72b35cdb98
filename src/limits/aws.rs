//! Limits of calls to AWS.

/// How long a secret that was read counts as what there is, in milliseconds, even where the database refuses it; without
/// this pause a database that refuses everything would make a call to AWS of every request.
pub const SECRET_READ_PAUSE_MS: u64 = 1_000;

/// How long one call to AWS may take, in milliseconds.
pub const AWS_CALL_TIME_MAX_MS: u64 = 2_000;

/// How often a call to AWS is made that fails without an answer of its own.
pub const AWS_CALL_MAX_ATTEMPTS: u32 = 2;

/// Largest answer of AWS to a call, in bytes; a secret has at most 64 KiB.
pub const AWS_ANSWER_MAX_BYTES: usize = 1024 * 1024;

/// How long RDS takes an authentication token, in seconds; it allows no longer.
pub const RDS_TOKEN_TIME_MAX_SECONDS: u64 = 15 * 60;
