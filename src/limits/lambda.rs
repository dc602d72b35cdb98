//! Limits of AWS Lambda, of what calls a Lambda, and of CloudWatch.

/// Largest answer that a Lambda may return, in bytes: the JSON around the HTTP answer, with its body as a string in it.
pub const LAMBDA_ANSWER_MAX_BYTES: usize = 6 * 1024 * 1024;

/// Largest answer that a load balancer takes from a Lambda, in bytes, counted like [`LAMBDA_ANSWER_MAX_BYTES`].
pub const LOAD_BALANCER_ANSWER_MAX_BYTES: usize = 1_000_000;

/// What of a Lambda's answer is left to everything but its body, in bytes: status, headers, and the JSON around them.
pub const LAMBDA_HEAD_MAX_BYTES: usize = 16 * 1024;

/// How long before a Lambda's deadline a request is answered in any case, in milliseconds.
pub const LAMBDA_ANSWER_MARGIN_MS: u64 = 500;

/// How long before a Lambda's deadline a scheduled compaction begins no further step, in milliseconds.
pub const LAMBDA_COMPACTION_MARGIN_MS: u64 = 10_000;

/// Most values that a line of metrics may have for one metric, by the embedded metric format.
pub const METRICS_LINE_MAX_VALUES: usize = 100;

/// Longest namespace of metrics, in bytes, by CloudWatch's rule.
pub const METRICS_NAMESPACE_MAX_BYTES: usize = 255;
